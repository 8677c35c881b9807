//! The spool over an engine in memory: order, bounds, what is left for the next start.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use gatemq_storage::Memory;

use super::*;
use crate::record::Draft;

fn record(text: &str) -> Record {
    let draft = Draft::new("topic", None, 0, 0);
    draft.finish(|out| out.extend_from_slice(text.as_bytes()))
}

fn open(engine: &Arc<dyn Engine>, bound: u64, on_full: OnFull) -> Spool {
    let options = Options {
        name: "rule".to_owned(),
        home: "main".to_owned(),
        bound,
        on_full,
    };
    let failed = |error| panic!("{error}");
    let spool = Spool::open(Arc::clone(engine), failed);
    assert_eq!(spool.add(&options).expect("it can be read"), 0);
    spool
}

fn memory() -> Arc<dyn Engine> {
    Arc::new(Memory::new())
}

/// Appends these, and returns when they are safe.
async fn append(spool: &Spool, texts: impl IntoIterator<Item = String>) {
    let (tell, mut told) = tokio::sync::mpsc::channel(100_000);
    let mut n_texts = 0;
    for text in texts {
        let tell = tell.clone();
        let done = Box::new(move |outcome| {
            assert_eq!(outcome, Outcome::Accepted);
            tell.try_send(()).expect("the test waits");
        });
        let order = Order {
            record: record(&text),
            done,
        };
        assert!(spool.append(0, order).await.is_ok());
        n_texts += 1;
    }
    for _ in 0..n_texts {
        told.recv().await.expect("it becomes safe");
    }
}

fn take(spool: &Spool, most_bytes: usize) -> (u64, Vec<String>) {
    let taken = spool.take(0, most_bytes).expect("it can be read");
    let through = taken.last().map_or(0, |(number, _)| number + 1);
    let text = |(_, record): (u64, Record)| String::from_utf8_lossy(record.value()).into_owned();
    (through, taken.into_iter().map(text).collect())
}

fn texts(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{number:04}")).collect()
}

#[tokio::test]
async fn what_was_not_confirmed_is_there_at_the_next_start_in_order() {
    let engine = memory();
    let spool = open(&engine, 1 << 20, OnFull::Wait);
    append(&spool, texts(0..100)).await;
    let (through, taken) = take(&spool, 1);
    assert_eq!(taken, ["0000"]);
    assert_eq!(take(&spool, usize::MAX).1, texts(1..100));
    spool.confirm(0, through + 29);
    spool.close();
    drop(spool);

    let spool = open(&engine, 1 << 20, OnFull::Wait);
    let (through, taken) = take(&spool, usize::MAX);
    // What is confirmed is removed now and then, not at once.
    assert!(taken.ends_with(&texts(30..100)), "{taken:?}");
    append(&spool, texts(100..110)).await;
    spool.confirm(0, through);
    let (through, taken) = take(&spool, usize::MAX);
    assert_eq!(taken, texts(100..110));
    spool.confirm(0, through);
    assert!(spool.is_drained(0));
    spool.close();
    drop(spool);
    assert!(open(&engine, 1, OnFull::Wait).is_drained(0));
}

#[tokio::test]
async fn a_record_whose_number_is_none_is_counted_and_nothing_else_suffers() {
    let engine = memory();
    let spool = open(&engine, 1 << 20, OnFull::Wait);
    append(&spool, texts(0..3)).await;
    spool.close();
    drop(spool);
    let mut batch = Batch::new();
    for number in [u64::MAX - 1, u64::MAX] {
        batch.put(&keys::record("rule", number), record("x").as_bytes());
    }
    engine.commit(&[batch]).expect("it is in memory");

    let spool = open(&engine, 1 << 20, OnFull::Wait);
    assert_eq!(spool.figures(0).damaged, 2);
    append(&spool, texts(3..5)).await;
    let (through, taken) = take(&spool, usize::MAX);
    assert_eq!(taken, texts(0..5));
    spool.confirm(0, through);
    assert!(spool.is_drained(0));
}

#[tokio::test]
async fn what_does_not_fit_in_memory_is_read_back_in_order() {
    let engine = memory();
    let spool = open(&engine, 64 << 20, OnFull::Wait);
    let long = |number: usize| format!("{number:04}{}", "x".repeat(100_000));
    append(&spool, (0..200).map(long)).await;
    let mut all = Vec::new();
    loop {
        let (through, taken) = take(&spool, 1 << 20);
        if taken.is_empty() {
            break;
        }
        all.extend(taken.into_iter().map(|text| text[..4].to_owned()));
        spool.confirm(0, through);
        if all.len() < 250 {
            let number = 150 + all.len();
            append(&spool, (number..=number).map(|_| "late".to_owned())).await;
        }
    }
    let in_order: Vec<_> = all.iter().filter(|text| *text != "late").cloned().collect();
    assert_eq!(in_order, texts(0..200));
    assert!(spool.is_drained(0));
}

#[tokio::test]
async fn a_full_queue_holds_back_who_brings_something() {
    let engine = memory();
    let spool = Arc::new(open(&engine, 1_000, OnFull::Wait));
    let n_done = Arc::new(AtomicUsize::new(0));
    let bring = {
        let (spool, n_done) = (Arc::clone(&spool), Arc::clone(&n_done));
        tokio::spawn(async move {
            for text in texts(0..100) {
                let done = Box::new(|_| ());
                let order = Order {
                    record: record(&text),
                    done,
                };
                assert!(spool.append(0, order).await.is_ok());
                n_done.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let mut all = Vec::new();
    while all.len() < 100 {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        let (through, taken) = loop {
            let (through, taken) = take(&spool, 100);
            if !taken.is_empty() {
                break (through, taken);
            }
            assert!(tokio::time::Instant::now() < deadline, "nothing comes");
            tokio::task::yield_now().await;
        };
        all.extend(taken);
        assert!(
            n_done.load(Ordering::SeqCst) <= all.len() + 20,
            "the bound holds"
        );
        assert!(spool.figures(0).bytes <= 1_000);
        spool.confirm(0, through);
    }
    bring.await.expect("it brings all");
    assert_eq!(all, texts(0..100));
    assert_eq!(spool.figures(0).dropped, 0);
}

#[tokio::test]
async fn a_full_queue_drops_its_oldest_and_counts_them() {
    let engine = memory();
    let spool = open(&engine, 1_000, OnFull::DropOldest);
    append(&spool, texts(0..5)).await;
    assert_eq!(take(&spool, 1).1, ["0000"]);
    for text in texts(5..100) {
        append(&spool, [text]).await;
    }
    let (through, taken) = take(&spool, usize::MAX);
    let n_dropped = spool.figures(0).dropped;
    assert_eq!(n_dropped as usize, 99 - taken.len());
    assert!(taken.len() > 5, "{taken:?}");
    assert_eq!(taken, texts(100 - taken.len()..100));
    spool.confirm(0, through);
    assert!(spool.is_drained(0));
}

#[tokio::test]
async fn queues_without_a_rule_are_named_with_the_kafka_that_they_are_for() {
    let engine = memory();
    let spool = open(&engine, 1_000, OnFull::Wait);
    append(&spool, texts(0..3)).await;
    spool.close();
    drop(spool);
    let found = |names: &[&str]| orphans(&*engine, names).expect("it can be read");
    assert!(found(&["rule"]).is_empty());
    let orphan = Orphan {
        name: "rule".to_owned(),
        home: Some("main".to_owned()),
    };
    assert_eq!(found(&["another"]), [orphan]);
}

#[tokio::test]
async fn what_was_given_back_is_taken_again_and_in_order() {
    let spool = open(&memory(), 1 << 20, OnFull::Wait);
    append(&spool, texts(0..10)).await;
    for _ in 0..5 {
        assert_eq!(take(&spool, 1).1.len(), 1);
    }
    spool.confirm(0, 2);
    spool.give_back(0);
    append(&spool, texts(10..12)).await;
    let mut all = Vec::new();
    loop {
        let (_, taken) = take(&spool, 1 << 20);
        if taken.is_empty() {
            break;
        }
        all.extend(taken);
    }
    assert_eq!(all, texts(2..12));
}

#[tokio::test]
async fn nothing_comes_into_a_queue_that_is_shut_and_who_waits_gets_it_back() {
    let spool = Arc::new(open(&memory(), 100, OnFull::Wait));
    append(&spool, texts(0..1)).await;
    let order = |text: &str| Order {
        record: record(text),
        done: Box::new(|_| ()),
    };
    let large = order(&"x".repeat(200));
    let waiting = tokio::spawn({
        let spool = spool.clone();
        async move { spool.append(0, large).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "there is no room");
    spool.shut(0, true);
    let back = waiting
        .await
        .expect("it ends")
        .expect_err("it is given back");
    spool.shut(0, false);
    assert!(
        spool.take_over(0, back).is_ok(),
        "whether there is room or not"
    );
    let (through, taken) = take(&spool, 1 << 20);
    assert_eq!(taken[0], "0000");
    spool.confirm(0, through);
    while !spool.is_drained(0) {
        tokio::task::yield_now().await;
        let (through, _) = take(&spool, 1 << 20);
        spool.confirm(0, through);
    }
    spool.drained(0).await;
    spool.remove(0);
    assert!(spool.append(0, order("x")).await.is_err());
}

/// A disk that writes nothing down until it is let: by the other end, which is dropped.
struct Slow(Memory, parking_lot::Mutex<Receiver<()>>);

impl Engine for Slow {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.0.get(key)
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.0.scan(start, end, each)
    }

    fn last(&self, start: &[u8], end: &[u8]) -> Result<Option<(Bytes, Bytes)>, Error> {
        self.0.last(start, end)
    }

    fn is_volatile(&self) -> bool {
        true
    }

    fn commit(&self, batches: &[Batch]) -> Result<(), Error> {
        let _ = self.1.lock().recv();
        self.0.commit(batches)
    }
}

#[tokio::test]
async fn who_brings_more_than_the_disk_takes_waits() {
    let (lets, let_go) = channel();
    let engine: Arc<dyn Engine> = Arc::new(Slow(Memory::new(), parking_lot::Mutex::new(let_go)));
    let spool = Arc::new(open(&engine, 1 << 30, OnFull::Wait));
    let bringing = tokio::spawn({
        let spool = spool.clone();
        async move {
            for _ in 0..100 {
                let order = Order {
                    record: record(&"x".repeat(1 << 20)),
                    done: Box::new(|_| ()),
                };
                assert!(spool.append(0, order).await.is_ok());
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!bringing.is_finished());
    assert!(spool.figures(0).bytes < 70 << 20);
    drop(lets);
    bringing.await.expect("there is room again");
}
