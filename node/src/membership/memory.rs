//! The members that were known last, on disk: more seeds for the next start.
//!
//! ```text
//! gatemq members 1
//! 10.0.0.1:7946 node-a
//! ```
//! A file that is absent, or damaged, costs nothing but these seeds.

use super::config::MAX_NAME;
use super::member::Member;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Members that were known, those that were there last first; at most [`MAX_KEPT`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory(Vec<Remembered>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Remembered {
    address: SocketAddr,
    name: String,
}

/// Why nothing is remembered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it does not begin with {HEADER:?}")]
    Header,
    #[error("line {0} is not an address and a name")]
    Line(usize),
}

impl Memory {
    /// Where the members were reached.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.0.iter().map(|member| member.address)
    }

    /// Takes in who is there now. Those that are gone stay as long as there is room and nobody has
    /// taken their name or address: they may be back by the next start.
    fn update(&mut self, members: &[Member]) {
        let others = members.iter().filter(|member| !member.is_self);
        let mut kept: Vec<Remembered> = others
            .map(|member| Remembered {
                address: member.address,
                name: member.name.clone(),
            })
            .collect();
        let own = members.iter().find(|member| member.is_self);
        for old in &self.0 {
            let is_replaced = |new: &Remembered| new.name == old.name || new.address == old.address;
            let is_own = own.is_some_and(|own| own.address == old.address || own.name == old.name);
            if !is_own && !kept.iter().any(is_replaced) {
                kept.push(old.clone());
            }
        }
        kept.truncate(MAX_KEPT);
        self.0 = kept;
    }

    fn encode(&self) -> String {
        let lines = self.0.iter();
        let lines = lines.map(|member| format!("{} {}\n", member.address, member.name));
        format!("{HEADER}\n{}", lines.collect::<String>())
    }

    fn decode(text: &str) -> Result<Self, Damage> {
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return Err(Damage::Header);
        }
        let parse = |(index, line): (usize, &str)| {
            let (address, name) = line.split_once(' ')?;
            let is_name = (1..=MAX_NAME).contains(&name.len());
            let address = address.parse().ok().filter(|_| is_name)?;
            let name = name.to_owned();
            Some((index, Remembered { address, name }))
        };
        let mut kept = Vec::new();
        for (index, line) in lines.enumerate().take(MAX_KEPT) {
            let (_, member) = parse((index, line)).ok_or(Damage::Line(index + 2))?;
            kept.push(member);
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

/// Writes whenever the members have changed, until `stop`.
pub(super) async fn run(
    path: PathBuf,
    mut memory: Memory,
    mut members: watch::Receiver<Arc<[Member]>>,
    stop: CancellationToken,
) {
    let mut written = memory.clone();
    loop {
        memory.update(&members.borrow_and_update());
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
        match stop.run_until_cancelled(members.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return,
        }
    }
}

fn read(path: &Path) -> Result<Memory, Damage> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Memory::decode(&text)
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

const HEADER: &str = "gatemq members 1";
/// Members that are remembered.
const MAX_KEPT: usize = 64;
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

    fn after(steps: &[&[Member]]) -> String {
        let mut memory = Memory::default();
        steps.iter().for_each(|members| memory.update(members));
        memory.encode()
    }

    #[test]
    fn those_that_are_gone_are_kept_behind_those_that_are_there() {
        let all = [member("a", 1), member("b", 2), member("own", 3)];
        let text = after(&[&all, &[member("b", 2), member("own", 3)]]);
        assert_eq!(text, "gatemq members 1\n10.0.0.1:2 b\n10.0.0.1:1 a\n");
        let text = after(&[&all, &[member("a", 5), member("c", 2)]]);
        assert_eq!(text, "gatemq members 1\n10.0.0.1:5 a\n10.0.0.1:2 c\n");
    }

    #[test]
    fn what_is_written_is_read_and_is_bounded() {
        let many: Vec<Member> = (1..100)
            .map(|port| member(&format!("n{port}"), port))
            .collect();
        let mut memory = Memory::default();
        memory.update(&many);
        assert_eq!(memory.addresses().count(), MAX_KEPT);
        assert_eq!(Memory::decode(&memory.encode()).unwrap(), memory);
    }

    #[test]
    fn damage_is_an_error_that_says_where() {
        let error = |text: &str| Memory::decode(text).unwrap_err().to_string();
        assert!(error("").contains("begin"));
        assert!(error("gatemq members 2\n").contains("begin"));
        let line = "gatemq members 1\n10.0.0.1:1 a\n10.0.0.1 b\n";
        assert_eq!(error(line), "line 3 is not an address and a name");
        assert!(error("gatemq members 1\n10.0.0.1:1 \n").contains("line 2"));
    }

    #[tokio::test]
    async fn an_absent_or_damaged_file_is_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("members");
        assert_eq!(load(&path).await, Memory::default());
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(load(&path).await, Memory::default());
        write(&path, "gatemq members 1\n10.0.0.1:1 a\n").unwrap();
        assert_eq!(load(&path).await.addresses().count(), 1);
        assert_eq!(load(folder.path()).await, Memory::default());
    }
}
