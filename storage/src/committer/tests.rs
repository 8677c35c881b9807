//! The committer in front of an engine that waits, fails or counts when it is told to.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::queue::{Backlog, Group, Queue};
use super::*;
use crate::Memory;

/// An engine that asks before each commit.
struct Asking {
    memory: Memory,
    asks: Sender<usize>,
    answers: Mutex<Receiver<Answer>>,
}

enum Answer {
    Commit,
    Fail,
    Panic,
}

impl Engine for Asking {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.memory.get(key)
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.memory.scan(start, end, visit)
    }

    fn last(&self, start: &[u8], end: &[u8]) -> Result<Option<(Bytes, Bytes)>, Error> {
        self.memory.last(start, end)
    }

    fn commit(&self, batches: &[Batch]) -> Result<(), Error> {
        self.asks.send(batches.len()).expect("the test listens");
        let answer = self.answers.lock().recv().expect("the test answers");
        match answer {
            Answer::Commit => self.memory.commit(batches),
            Answer::Fail => Err(Error::Stopped {
                path: "here".into(),
            }),
            Answer::Panic => panic!("as told"),
        }
    }

    fn is_volatile(&self) -> bool {
        false
    }
}

/// A committer with all ends in the hands of the test.
struct Bench {
    committer: Committer<u32>,
    engine: Arc<Asking>,
    /// How many batches each commit has.
    asks: Receiver<usize>,
    answers: Sender<Answer>,
    tags: Receiver<Vec<u32>>,
    failures: Receiver<String>,
}

fn bench() -> Bench {
    let (ask, asks) = mpsc::channel();
    let (answers, answer) = mpsc::channel();
    let (tag, tags) = mpsc::channel();
    let (failure, failures) = mpsc::channel();
    let engine = Arc::new(Asking {
        memory: Memory::new(),
        asks: ask,
        answers: Mutex::new(answer),
    });
    let committer = Committer::start(
        Arc::clone(&engine) as Arc<dyn Engine>,
        move |tags| drop(tag.send(tags)),
        move |error| drop(failure.send(error.to_string())),
    );
    Bench {
        committer,
        engine,
        asks,
        answers,
        tags,
        failures,
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

fn wait<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).expect("it happens")
}

fn put(key: u32) -> Batch {
    let mut batch = Batch::new();
    batch.put(&key.to_be_bytes(), b"value");
    batch
}

#[test]
fn what_waits_during_a_commit_becomes_one() {
    let bench = bench();
    bench.committer.submit(put(0), 0);
    assert_eq!(wait(&bench.asks), 1);
    for number in 1..100 {
        // Every third is empty and passes through in order.
        let batch = if number % 3 == 0 {
            Batch::new()
        } else {
            put(number)
        };
        bench.committer.submit(batch, number);
    }
    assert_eq!(bench.committer.pending_bytes(), 67 * put(0).bytes());
    bench.answers.send(Answer::Commit).expect("it listens");
    assert_eq!(wait(&bench.tags), [0]);
    assert_eq!(wait(&bench.asks), 66);
    bench.answers.send(Answer::Commit).expect("it listens");
    assert_eq!(wait(&bench.tags), (1..100).collect::<Vec<_>>());
    bench.committer.close();
    assert_eq!(bench.committer.pending_bytes(), 0);
    let stats = bench.committer.stats();
    assert_eq!(
        (stats.commits, stats.batches, stats.operations),
        (2, 100, 67)
    );
    assert_eq!(stats.bytes, 67 * put(0).bytes() as u64);
    assert!(bench.engine.get(&99_u32.to_be_bytes()).is_ok());
}

#[test]
fn empty_batches_need_no_commit() {
    let bench = bench();
    bench.committer.submit(Batch::new(), 1);
    assert_eq!(wait(&bench.tags), [1]);
    bench.committer.close();
    assert!(bench.asks.try_recv().is_err());
    assert_eq!(bench.committer.stats().commits, 0);
}

#[test]
fn a_failure_is_final() {
    for (answer, text) in [
        (
            Answer::Fail,
            "here takes no changes after an earlier failure: start again",
        ),
        (
            Answer::Panic,
            "the storage engine panicked (as told): start again and report this",
        ),
    ] {
        let bench = bench();
        bench.committer.submit(put(1), 1);
        wait(&bench.asks);
        bench.committer.submit(put(2), 2);
        bench.answers.send(answer).expect("it listens");
        assert_eq!(wait(&bench.failures), text);
        bench.committer.submit(put(3), 3);
        bench.committer.close();
        assert!(bench.committer.is_failed());
        assert!(bench.tags.try_recv().is_err(), "no tag completes");
        assert!(bench.asks.try_recv().is_err(), "nothing is tried again");
    }
}

#[test]
fn close_waits_for_what_was_submitted() {
    let engine = Arc::new(Memory::new());
    let done = Arc::new(Mutex::new(Vec::new()));
    let tags = Arc::clone(&done);
    let committer = Committer::start(
        Arc::clone(&engine) as Arc<dyn Engine>,
        move |group| tags.lock().extend(group),
        |error| panic!("{error}"),
    );
    for number in 0..40_000 {
        committer.submit(put(number), number);
    }
    committer.close();
    committer.submit(put(50_000), 50_000);
    committer.close();
    assert_eq!(*done.lock(), (0..40_000).collect::<Vec<_>>());
    let last = engine
        .get(&39_999_u32.to_be_bytes())
        .expect("a read succeeds");
    assert!(last.is_some());
    assert!(!committer.is_failed());
}

#[test]
fn dropping_all_clones_finishes_and_lets_go_of_the_engine() {
    let bench = bench();
    bench.committer.submit(put(1), 1);
    drop(bench.committer.clone());
    drop(bench.committer);
    wait(&bench.asks);
    bench.answers.send(Answer::Commit).expect("it listens");
    assert_eq!(wait(&bench.tags), [1]);
    let end = bench.tags.recv_timeout(PATIENCE);
    assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn a_panic_of_the_callback_is_a_failure_and_releases_those_who_wait() {
    let (failed, failure) = mpsc::channel();
    let committer = Committer::start(
        Arc::new(Memory::new()) as Arc<dyn Engine>,
        |_: Vec<u32>| panic!("as told"),
        move |error| failed.send(error).expect("somebody listens"),
    );
    committer.submit(put(1), 1);
    committer.close();
    assert!(committer.is_failed());
    let error = failure.recv_timeout(PATIENCE).expect("it is told");
    assert!(error.to_string().contains("as told"), "{error}");
}

#[test]
fn groups_are_bounded() {
    let queue = Queue::new();
    let (mut backlog, mut group) = (Backlog::new(), Group::default());
    for number in 0..20_000 {
        assert!(queue.push(put(number), number));
    }
    let mut large = Batch::new();
    large.put(b"large", &vec![0; 70 << 20]);
    assert!(queue.push(large, 20_000));
    assert!(queue.push(put(20_001), 20_001));
    queue.close();
    let mut sizes = Vec::new();
    while queue.next(&mut backlog, &mut group) {
        sizes.push(group.take_tags().len());
    }
    assert_eq!(sizes, [16_384, 3_617, 1]);
}
