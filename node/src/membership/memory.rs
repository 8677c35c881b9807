//! The members that were known last, on disk: more seeds for the next start.
//!
//! ```text
//! gatemq members 2
//! 10.0.0.1:7946 node-a 1764331200
//! ```
//! The number is when it was there last, in seconds since 1970. One that is gone is kept, for it may
//! be back by the next start: at most 64 are, and none that was removed from the cluster, or was not
//! there for seven days in which others were. A file that is absent, or damaged, costs nothing but
//! these seeds.

use super::config::MAX_NAME;
use super::member::Member;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Members that were known, those that were there last first; at most [`MAX_KEPT`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory(Vec<Remembered>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Remembered {
    address: SocketAddr,
    name: String,
    /// When it was there last, in seconds since 1970.
    seen: u64,
}

/// Why nothing is remembered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it does not begin with {HEADER:?}")]
    Header,
    #[error("line {0} is not an address, a name and a time")]
    Line(usize),
}

impl Memory {
    /// Where the members were reached.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.0.iter().map(|member| member.address)
    }

    /// Takes in who is there now. Those that are gone stay as long as there is room, nobody has
    /// taken their name or address, they are not removed, and others are not there for much longer.
    fn update(&mut self, members: &[Member], removed: &BTreeSet<String>, now: u64) {
        let others = members.iter().filter(|member| !member.is_self);
        let mut kept: Vec<Remembered> = others
            .map(|member| Remembered {
                address: member.address,
                name: member.name.clone(),
                seen: now,
            })
            .collect();
        let own = members.iter().find(|member| member.is_self);
        for old in &self.0 {
            let is_replaced = |new: &Remembered| new.name == old.name || new.address == old.address;
            let is_own = own.is_some_and(|own| own.address == old.address || own.name == old.name);
            let is_removed = removed.contains(&old.name);
            if !is_own && !is_removed && !kept.iter().any(is_replaced) {
                kept.push(old.clone());
            }
        }
        // A node that is alone forgets nobody, however long.
        let newest = kept.iter().map(|member| member.seen).max().unwrap_or(0);
        kept.retain(|member| newest.saturating_sub(member.seen) <= MAX_AGE.as_secs());
        kept.truncate(MAX_KEPT);
        self.0 = kept;
    }

    fn encode(&self) -> String {
        let lines = self.0.iter();
        let lines = lines.map(
            |Remembered {
                 address,
                 name,
                 seen,
             }| { format!("{address} {name} {seen}\n") },
        );
        format!("{HEADER}\n{}", lines.collect::<String>())
    }

    fn decode(text: &str, now: u64) -> Result<Self, Damage> {
        let mut lines = text.lines();
        let has_times = match lines.next() {
            Some(HEADER) => true,
            Some(HEADER_1) => false,
            _ => return Err(Damage::Header),
        };
        let parse = |line: &str| {
            let (address, rest) = line.split_once(' ')?;
            let (name, seen) = match has_times {
                true => rest.split_once(' ')?,
                false => (rest, ""),
            };
            let is_name = (1..=MAX_NAME).contains(&name.len());
            Some(Remembered {
                address: address.parse().ok().filter(|_| is_name)?,
                name: name.to_owned(),
                seen: if has_times { seen.parse().ok()? } else { now },
            })
        };
        let mut kept = Vec::new();
        for (index, line) in lines.enumerate().take(MAX_KEPT) {
            kept.push(parse(line).ok_or(Damage::Line(index + 2))?);
        }
        Ok(Self(kept))
    }
}

/// Reads what was remembered; says so if it cannot.
pub(super) async fn load(path: &Path) -> Memory {
    let file = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read(&file)).await;
    match read.unwrap_or_else(|error| Err(io::Error::other(error).into())) {
        Ok(memory) => memory,
        Err(error) => {
            let is_absent =
                matches!(&error, Damage::Io(error) if error.kind() == io::ErrorKind::NotFound);
            let path = path.display();
            match is_absent {
                true => tracing::info!(%path, "no members are remembered from an earlier start"),
                false => tracing::warn!(
                    %path, %error,
                    "the members of an earlier start cannot be read; the file will be written anew"
                ),
            }
            Memory::default()
        }
    }
}

/// Writes whenever the members have changed, and now and then, until `stop`. Those that are
/// `removed` are not kept.
pub(super) async fn run(
    path: PathBuf,
    mut memory: Memory,
    mut members: watch::Receiver<Arc<[Member]>>,
    mut removed: watch::Receiver<BTreeSet<String>>,
    stop: CancellationToken,
) {
    let mut written = memory.clone();
    loop {
        memory.update(
            &members.borrow_and_update(),
            &removed.borrow_and_update(),
            now(),
        );
        if memory != written {
            let (file, text) = (path.clone(), memory.encode());
            let done = tokio::task::spawn_blocking(move || write(&file, &text)).await;
            match done.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(()) => written = memory.clone(),
                Err(error) => {
                    let path = path.display();
                    tracing::warn!(%path, %error, "the members cannot be remembered");
                }
            }
        }
        let has_changed = async {
            tokio::select! {
                changed = members.changed() => changed,
                Ok(()) = removed.changed() => Ok(()),
                () = sleep(AGAIN) => Ok(()),
            }
        };
        match stop.run_until_cancelled(has_changed).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return,
        }
    }
}

fn read(path: &Path) -> Result<Memory, Damage> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Memory::decode(&text, now())
}

/// Either the old file is there afterwards or the new one, whole.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

const HEADER: &str = "gatemq members 2";
/// Without times.
const HEADER_1: &str = "gatemq members 1";
/// Members that are remembered.
const MAX_KEPT: usize = 64;
/// How long one is remembered that is not there, while others are.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How often it is noted that those that are there still are.
const AGAIN: Duration = Duration::from_secs(6 * 60 * 60);
/// Bytes that are read: more than all that are remembered take.
const MAX_FILE: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, port: u16) -> Member {
        Member {
            name: name.to_owned(),
            address: ([10, 0, 0, 1], port).into(),
            meta: None,
            is_self: name == "own",
        }
    }

    /// What is kept after these members were there at these times.
    fn after(steps: &[(u64, &[Member])], removed: &[&str]) -> Vec<String> {
        let mut memory = Memory::default();
        let removed = removed.iter().map(|&name| name.to_owned()).collect();
        for (now, members) in steps {
            memory.update(members, &removed, *now);
        }
        let kept = memory.0.iter();
        kept.map(|member| format!("{} {}", member.address.port(), member.name))
            .collect()
    }

    const DAY: u64 = 24 * 60 * 60;

    #[test]
    fn those_that_are_gone_are_kept_behind_those_that_are_there() {
        let all = [member("a", 1), member("b", 2), member("own", 3)];
        let kept = after(&[(0, &all), (1, &[member("b", 2), member("own", 3)])], &[]);
        assert_eq!(kept, ["2 b", "1 a"]);
        let kept = after(&[(0, &all), (1, &[member("a", 5), member("c", 2)])], &[]);
        assert_eq!(kept, ["5 a", "2 c"]);
    }

    #[test]
    fn who_is_gone_for_long_is_forgotten_but_not_by_a_node_that_is_alone() {
        let all = [member("a", 1), member("b", 2), member("own", 3)];
        let (without_a, alone) = ([member("b", 2), member("own", 3)], [member("own", 3)]);
        let kept = after(&[(0, &all), (7 * DAY, &without_a)], &[]);
        assert_eq!(kept, ["2 b", "1 a"]);
        let kept = after(&[(0, &all), (7 * DAY + 1, &without_a)], &[]);
        assert_eq!(kept, ["2 b"]);
        let kept = after(&[(0, &all), (DAY, &alone), (99 * DAY, &alone)], &[]);
        assert_eq!(kept, ["1 a", "2 b"]);
    }

    #[test]
    fn who_is_removed_is_forgotten_once_it_is_gone() {
        let all = [member("a", 1), member("b", 2), member("own", 3)];
        assert_eq!(after(&[(0, &all)], &["a"]), ["1 a", "2 b"]);
        let gone = [member("b", 2), member("own", 3)];
        assert_eq!(after(&[(0, &all), (1, &gone)], &["a"]), ["2 b"]);
    }

    #[test]
    fn what_is_written_is_read_and_is_bounded() {
        let many: Vec<Member> = (1..100)
            .map(|port| member(&format!("n{port}"), port))
            .collect();
        let mut memory = Memory::default();
        memory.update(&many, &BTreeSet::new(), 9);
        assert_eq!(memory.addresses().count(), MAX_KEPT);
        assert_eq!(Memory::decode(&memory.encode(), 10).unwrap(), memory);
        let without_times = "gatemq members 1\n10.0.0.1:1 a\n";
        let read = Memory::decode(without_times, 10).unwrap();
        assert_eq!(read.encode(), "gatemq members 2\n10.0.0.1:1 a 10\n");
    }

    #[test]
    fn damage_is_an_error_that_says_where() {
        let error = |text: &str| Memory::decode(text, 1).unwrap_err().to_string();
        assert!(error("").contains("begin"));
        assert!(error("gatemq members 3\n").contains("begin"));
        let line = "gatemq members 2\n10.0.0.1:1 a 1\n10.0.0.1 b 1\n";
        assert_eq!(error(line), "line 3 is not an address, a name and a time");
        assert!(error("gatemq members 2\n10.0.0.1:1 a\n").contains("line 2"));
        assert!(error("gatemq members 1\n10.0.0.1:1 \n").contains("line 2"));
    }

    #[tokio::test]
    async fn an_absent_or_damaged_file_is_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("members");
        assert_eq!(load(&path).await, Memory::default());
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(load(&path).await, Memory::default());
        write(&path, "gatemq members 2\n10.0.0.1:1 a 1\n").unwrap();
        assert_eq!(load(&path).await.addresses().count(), 1);
        assert_eq!(load(folder.path()).await, Memory::default());
    }
}
