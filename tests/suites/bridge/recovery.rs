//! Kafka dies amid a stream of messages and comes back: everything that was accepted is there, in the
//! order of its key, and twice only under the same id.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gatemq_bridge::bridge::Way;
use gatemq_bridge::produce::{Acks, Compression, Outcome, Partitioner, Settings};
use gatemq_bridge::rule::{Header, Key, Topic, Value};
use gatemq_bridge::spool::{OnFull, disk};
use gatemq_bridge::{Ack, Bridge, Message, Origin, Plan, Rule};
use gatemq_proto::mqtt::{Qos, UserProperties};
use gatemq_tests::{Kafka, eventually, pause};

use super::reader::{judge, read_all};

const N_MESSAGES: usize = 100_000;
const N_TOPICS: usize = 50;
const N_PARTITIONS: i32 = 4;
const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn settings(brokers: String, further: &[(&str, &str)]) -> Settings {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Settings {
        brokers: vec![brokers],
        acks: Acks::All,
        compression: Compression::Zstd,
        partitioner: Partitioner::Murmur2,
        linger: Duration::from_millis(5),
        further: further.iter().map(own).collect(),
    }
}

pub(super) fn plan(settings: Settings, ack: Ack) -> Plan {
    let rule = Rule {
        name: "site".to_owned(),
        filters: vec!["site/#".to_owned()],
        topic: Topic::parse("site").expect("a topic"),
        key: Key::Topic,
        headers: Header::DEFAULT.to_vec(),
        value: Value::Raw,
        ack,
        refuses_missing: false,
        events: vec![],
        subscriptions: vec![],
    };
    Plan {
        ways: vec![Way {
            name: "test".to_owned(),
            settings,
        }],
        rules: vec![(rule, 0)],
        spool_bound: 1 << 30,
        on_full: OnFull::Wait,
        ..Plan::default()
    }
}

/// Publishes messages `from..to`; `n_done` counts those that are accepted.
pub(super) async fn publish(bridge: &Bridge, from: usize, to: usize, n_done: &Arc<AtomicUsize>) {
    for number in from..to {
        let topic = format!("site/{}", number % N_TOPICS);
        let payload = (number / N_TOPICS).to_string();
        let message = Message {
            origin: Some(Origin {
                source: 1,
                id: number as u64 + 1,
            }),
            qos: Qos::AtLeastOnce,
            is_retained: false,
            topic: &topic,
            client_id: "publisher",
            username: "",
            properties: UserProperties::default(),
            block: &[],
            expires_at: None,
            payload: payload.as_bytes(),
            trace: None,
            at: 1_700_000_000_000,
            event: None,
        };
        let n_done = Arc::clone(n_done);
        let done = Box::new(move |outcome| {
            assert_eq!(outcome, Outcome::Accepted);
            n_done.fetch_add(1, Ordering::SeqCst);
        });
        bridge.accept(&message, done).await;
    }
}

fn everything_arrives_though_kafka_was_away(ack: Ack) {
    let kafka = Kafka::start();
    kafka.create_topic("site", N_PARTITIONS as u32);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let engine = disk(folder.path()).expect("a disk");
    let plan = plan(settings(kafka.address(), &[]), ack);
    let bridge = Bridge::start(plan, engine, |error| panic!("{error}")).expect("it starts");
    let n_done = Arc::new(AtomicUsize::new(0));
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.enable_time().build().expect("a runtime");
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| runtime.block_on(publish(&bridge, 0, N_MESSAGES, &n_done)));
        eventually!(LIMIT, n_done.load(Ordering::SeqCst) > N_MESSAGES / 5);
        kafka.kill();
        // Time for the bridge to notice, and to fill what it has room for.
        pause(Duration::from_secs(1));
        kafka.restart();
    });
    eventually!(LIMIT, n_done.load(Ordering::SeqCst) == N_MESSAGES);
    assert!(
        runtime.block_on(bridge.drain(LIMIT)),
        "{:?}",
        bridge.figures()
    );
    let took = start.elapsed();
    let figures = bridge.figures();
    bridge.stop();
    let found = read_all(&kafka.address(), "site", N_PARTITIONS);
    let n_repeats = judge(&found, N_TOPICS, (N_MESSAGES / N_TOPICS) as u64);
    eprintln!("{ack:?}: {N_MESSAGES} in {took:?}, {n_repeats} of them again; {figures:?}");
}

#[test]
fn what_kafka_confirmed_is_there() {
    everything_arrives_though_kafka_was_away(Ack::Kafka);
}

#[test]
fn what_was_safe_in_the_spool_gets_there() {
    everything_arrives_though_kafka_was_away(Ack::Spool);
}

#[test]
fn a_bridge_that_starts_again_sends_what_its_spool_has() {
    const N_EARLY: usize = 5_000;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let kafka = Kafka::start();
    kafka.create_topic("site", N_PARTITIONS as u32);
    kafka.kill();
    let n_done = Arc::new(AtomicUsize::new(0));
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.enable_time().build().expect("a runtime");
    let start = || {
        // Threads of the engine may let go of it a little later; a new process has none of them.
        let mut engine = disk(folder.path());
        eventually!({
            if engine.is_err() {
                engine = disk(folder.path());
            }
            engine.is_ok()
        });
        let engine = engine.expect("a disk");
        let plan = plan(settings(kafka.address(), &[]), Ack::Spool);
        Bridge::start(plan, engine, |error| panic!("{error}")).expect("it starts")
    };
    let bridge = start();
    runtime.block_on(publish(&bridge, 0, N_EARLY, &n_done));
    eventually!(LIMIT, n_done.load(Ordering::SeqCst) == N_EARLY);
    bridge.stop();

    let bridge = start();
    kafka.restart();
    runtime.block_on(publish(&bridge, N_EARLY, 2 * N_EARLY, &n_done));
    eventually!(LIMIT, n_done.load(Ordering::SeqCst) == 2 * N_EARLY);
    assert!(
        runtime.block_on(bridge.drain(LIMIT)),
        "{:?}",
        bridge.figures()
    );
    bridge.stop();
    let found = read_all(&kafka.address(), "site", N_PARTITIONS);
    judge(&found, N_TOPICS, (2 * N_EARLY / N_TOPICS) as u64);
}
