//! Kills a process that commits, again and again: what it said is stored must be there, and no
//! commit may be there in part.
//!
//! SIGKILL leaves the system's caches alone, so this proves order and atomicity, not the sync; for
//! redb the simulated power cuts in `src/redb/tests.rs` prove that.

use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use gatemq_storage::{Batch, Engine, Fjall, Redb, Way, fjall};

const KILLS: u64 = 20;
const BOUND: Duration = Duration::from_secs(10);

/// Commits that are kept; each one deletes what is older.
const KEPT: u64 = 50;
const RECORDS: u64 = 20;

const WAY: &str = "STORAGE_CRASH_WAY";
const DIRECTORY: &str = "STORAGE_CRASH_DIRECTORY";

#[test]
fn redb_keeps_what_it_confirmed() {
    kill_again_and_again(Way::Redb);
}

#[test]
fn fjall_keeps_what_it_confirmed() {
    kill_again_and_again(Way::Fjall);
}

/// The process that is killed; started by the tests above.
#[test]
#[ignore = "is a part of the other tests"]
fn child() {
    let (Ok(way), Ok(directory)) = (std::env::var(WAY), std::env::var(DIRECTORY)) else {
        return;
    };
    let way = way.parse().expect("a way");
    let engine = open(way, &PathBuf::from(directory));
    let mut number = latest(&*engine);
    loop {
        number += 1;
        engine.commit(&batches(number)).expect("a commit succeeds");
        let mut out = std::io::stdout().lock();
        writeln!(out, "committed {number}").expect("the parent reads");
        out.flush().expect("the parent reads");
    }
}

fn kill_again_and_again(way: Way) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut random = std::process::id().into();
    let start = Instant::now();
    let mut confirmed = 0;
    for kill in 0..KILLS {
        let child = spawn(way, directory.path());
        let commits = next(&mut random) % 40;
        let delay = Duration::from_micros(next(&mut random) % 3_000);
        confirmed = confirmed.max(kill_after(child, commits, delay));
        let engine = open(way, directory.path());
        check(&*engine, confirmed);
        confirmed = latest(&*engine);
        if start.elapsed() > BOUND {
            eprintln!("{way}: stopped after {} kills", kill + 1);
            break;
        }
    }
    assert!(confirmed > 0);
}

fn spawn(way: Way, directory: &Path) -> Child {
    let binary = std::env::current_exe().expect("the path of this test");
    Command::new(binary)
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(WAY, way.name())
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test can be started")
}

/// Kills the child some time after it has said so often that it committed; gives what it said last.
fn kill_after(mut child: Child, commits: u64, delay: Duration) -> u64 {
    let (send, receive) = mpsc::channel();
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let reader = std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            let number = line.strip_prefix("committed ").map(str::parse::<u64>);
            if let Some(Ok(number)) = number {
                let _ = send.send(number);
            }
        }
    });
    let mut confirmed = 0;
    for _ in 0..=commits {
        match receive.recv_timeout(BOUND) {
            Ok(number) => confirmed = number,
            Err(error) => panic!("the child stopped: {error}"),
        }
    }
    let deadline = Instant::now() + delay;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match receive.recv_timeout(left) {
            Ok(number) => confirmed = number,
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => panic!("the child stopped"),
        }
    }
    child.kill().expect("the child runs");
    child.wait().expect("the child ends");
    reader.join().expect("the reader ends");
    receive.try_iter().last().unwrap_or(confirmed)
}

fn check(engine: &dyn Engine, confirmed: u64) {
    let latest = latest(engine);
    assert!(
        latest == confirmed || latest == confirmed + 1,
        "{latest} is stored, {confirmed} was confirmed"
    );
    let first = latest.saturating_sub(KEPT) + 1;
    let mut expected = (first..=latest).flat_map(|n| (0..RECORDS).map(move |r| (n, r)));
    let mut visit = |found_key: &[u8], found: &[u8]| {
        let (number, record) = expected.next().expect("no more entries than expected");
        assert_eq!(found_key, key(number, record));
        assert_eq!(found, value(number, record));
        ControlFlow::Continue(())
    };
    engine
        .scan(b"r", b"s", &mut visit)
        .expect("a scan succeeds");
    assert_eq!(expected.next(), None, "an entry is missing");
}

fn latest(engine: &dyn Engine) -> u64 {
    let value = engine.get(b"latest").expect("a read succeeds");
    value.map_or(0, |value| {
        u64::from_be_bytes(value.as_ref().try_into().expect("eight bytes"))
    })
}

/// One commit: two batches that belong together.
fn batches(number: u64) -> [Batch; 2] {
    let mut batches = [Batch::new(), Batch::new()];
    let [first, second] = &mut batches;
    first.put(b"latest", &number.to_be_bytes());
    for record in 0..RECORDS {
        let batch = if record % 2 == 0 {
            &mut *first
        } else {
            &mut *second
        };
        batch.put(&key(number, record), &value(number, record));
    }
    second.delete_range(b"r", &key((number + 1).saturating_sub(KEPT), 0));
    batches
}

fn key(number: u64, record: u64) -> Vec<u8> {
    [b"r", &number.to_be_bytes()[..], &record.to_be_bytes()].concat()
}

fn value(number: u64, record: u64) -> Vec<u8> {
    let length = (number * 7_919 + record * 104_729) % 4_096;
    vec![(number + record) as u8; length as usize]
}

fn open(way: Way, directory: &Path) -> Box<dyn Engine> {
    match way {
        Way::Memory => unreachable!("it keeps nothing"),
        Way::Redb => Box::new(Redb::open(directory).unwrap_or_else(|error| panic!("{error}"))),
        Way::Fjall => {
            // Small bounds, so that table files are written and merged under way.
            let options = fjall::Options {
                memtable_bytes: 128 << 10,
                ..fjall::Options::default()
            };
            let engine = Fjall::open_with(directory, options);
            Box::new(engine.unwrap_or_else(|error| panic!("{error}")))
        }
    }
}

fn next(random: &mut u64) -> u64 {
    *random = random
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    *random >> 33
}
