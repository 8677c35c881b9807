//! Kills a process that fills its spool, again and again: what it said is safe must be there, in
//! order, and nothing that was not confirmed may be gone.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gatemq_bridge::produce::Order;
use gatemq_bridge::record::{Draft, Record};
use gatemq_bridge::spool::{OnFull, Options, Spool, disk};

const KILLS: usize = 8;
const BOUND: Duration = Duration::from_secs(20);
const DIRECTORY: &str = "SPOOL_CRASH_DIRECTORY";
const NEXT: &str = "SPOOL_CRASH_NEXT";

#[test]
fn a_spool_keeps_what_is_safe_until_it_is_confirmed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (mut first, mut last, mut confirmed) = (1, 0, 0);
    for kill in 0..KILLS {
        let run = run_and_kill(directory.path(), last + 1, 600 + kill * 137);
        confirmed = run.confirmed.max(confirmed);
        let spool = open(directory.path());
        let there = numbers(&spool);
        first = *there.first().expect("something is there");
        last = *there.last().expect("something is there");
        let expected: Vec<_> = (first..=last).collect();
        assert_eq!(there, expected, "in order, and no gap");
        assert!(
            last >= run.safe,
            "{last} is the last, {} was safe",
            run.safe
        );
        assert!(
            first <= confirmed + 1,
            "{first} is the first, {confirmed} was confirmed"
        );
        spool.close();
    }
    assert!(first > 1, "nothing was removed");
}

/// The process that is killed; started by the test above.
#[test]
#[ignore = "is a part of the other test"]
fn child() {
    let (Ok(directory), Ok(next)) = (std::env::var(DIRECTORY), std::env::var(NEXT)) else {
        return;
    };
    let spool = open(Path::new(&directory));
    let next: u64 = next.parse().expect("a number");
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().expect("a runtime");
    for number in next.. {
        let (tell, told) = mpsc::channel();
        let done = Box::new(move |_| tell.send(()).expect("it waits"));
        let record = record(number);
        let appended = runtime.block_on(spool.append(0, Order { record, done }));
        assert!(appended.is_ok());
        told.recv().expect("it becomes safe");
        say(&format!("safe {number}"));
        if number.is_multiple_of(10) {
            // More than half of what has come meanwhile.
            let taken = spool.take(0, 150).expect("it can be read");
            let (at, record) = taken.last().expect("some are there");
            // Before it is: whoever is killed between the two has confirmed it.
            say(&format!("confirmed {}", value(record)));
            spool.confirm(0, at + 1);
        }
    }
}

/// How far the child came.
struct Run {
    safe: u64,
    confirmed: u64,
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").expect("the parent reads");
    out.flush().expect("the parent reads");
}

/// Lets the child go on from a number, and kills it after so many lines.
fn run_and_kill(directory: &Path, next: u64, n_lines: usize) -> Run {
    let binary = std::env::current_exe().expect("the path of this test");
    let mut child = Command::new(binary)
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(NEXT, next.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this test can be started");
    let (send, receive) = mpsc::channel();
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let reader = std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    let (mut safe, mut confirmed) = (0, 0);
    let mut read = |line: String| {
        let number = |name| line.strip_prefix(name).and_then(|rest| rest.parse().ok());
        safe = number("safe ").unwrap_or(safe).max(safe);
        confirmed = number("confirmed ").unwrap_or(confirmed).max(confirmed);
    };
    for _ in 0..n_lines {
        read(receive.recv_timeout(BOUND).expect("the child goes on"));
    }
    child.kill().expect("the child runs");
    child.wait().expect("the child ends");
    reader.join().expect("the reader ends");
    receive.try_iter().for_each(read);
    Run { safe, confirmed }
}

#[expect(clippy::disallowed_methods, reason = "no worker is blocked here")]
fn open(directory: &Path) -> Spool {
    let options = Options {
        name: "rule".to_owned(),
        home: "main".to_owned(),
        bound: 1 << 20,
        on_full: OnFull::Wait,
    };
    // Threads of the one before let go of the directory a little after it was closed.
    let deadline = Instant::now() + BOUND;
    let engine = loop {
        match disk(directory) {
            Ok(engine) => break engine,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let failed = |error| panic!("{error}");
    let spool = Spool::open(engine, failed);
    spool.add(&options).expect("it can be read");
    spool
}

/// The numbers in the records of the spool.
fn numbers(spool: &Spool) -> Vec<u64> {
    let mut numbers = Vec::new();
    loop {
        let taken = spool.take(0, 10_000).expect("it can be read");
        if taken.is_empty() {
            return numbers;
        }
        numbers.extend(taken.iter().map(|(_, record)| value(record)));
    }
}

fn record(number: u64) -> Record {
    let draft = Draft::new("topic", None, 0, 0);
    draft.finish(|out| out.extend_from_slice(number.to_string().as_bytes()))
}

fn value(record: &Record) -> u64 {
    let text = std::str::from_utf8(record.value()).expect("a number");
    text.parse().expect("a number")
}
