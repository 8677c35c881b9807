//! What rules that are gone have left, and rules that change.

use super::*;
use crate::rule::Ack;
use gatemq_storage::Engine;

fn plan(brokers: String, kafka: &str, rules: &[(&str, usize)]) -> Plan {
    let rule = |(name, way): &(&str, usize)| {
        let rule = Rule {
            name: (*name).to_owned(),
            filters: vec!["a/#".to_owned()],
            topic: crate::rule::Topic::parse("topic").expect("a topic"),
            key: crate::rule::Key::Topic,
            headers: vec![],
            value: crate::rule::Value::Raw,
            ack: Ack::Spool,
            refuses_missing: false,
            events: vec![],
            subscriptions: vec![],
        };
        (rule, *way)
    };
    let settings = Settings {
        brokers: vec![brokers],
        acks: produce::Acks::All,
        compression: produce::Compression::None,
        partitioner: produce::Partitioner::Murmur2,
        linger: Duration::ZERO,
        further: vec![],
    };
    let name = kafka.to_owned();
    Plan {
        ways: vec![Way { name, settings }],
        rules: rules.iter().map(rule).collect(),
        spool_bound: 1 << 20,
        on_full: OnFull::Wait,
        ..Plan::default()
    }
}

async fn accept(bridge: &Bridge, payload: &[u8]) {
    let message = Message {
        topic: "a/b",
        payload,
        ..crate::rule::tests::sample()
    };
    let (tell, told) = tokio::sync::oneshot::channel();
    let done = Box::new(move |outcome| tell.send(outcome).expect("the test waits"));
    bridge.accept(&message, done).await;
    assert_eq!(told.await, Ok(Outcome::Accepted));
}

#[tokio::test]
async fn what_a_rule_that_is_gone_has_left_is_sent_where_it_was_for() {
    let kafka = rdkafka::mocking::MockCluster::new(1).expect("a mock");
    kafka.create_topic("topic", 1, 1).expect("a topic");
    let engine: Arc<dyn Engine> = Arc::new(gatemq_storage::Memory::new());
    let failed = |error: StorageError| panic!("{error}");
    let start = |plan| Bridge::start(plan, engine.clone(), failed).expect("it starts");
    // Nobody is there who would take it.
    let nobody = || "127.0.0.1:1".to_owned();
    let bridge = start(plan(nobody(), "main", &[("old", 0)]));
    for number in 0..10_u8 {
        accept(&bridge, &[number]).await;
    }
    bridge.stop();
    let bridge = start(plan(nobody(), "another", &[("new", 0)]));
    let figures = bridge.figures();
    assert_eq!((figures.orphans, figures.queues.len()), (1, 1), "it stays");
    bridge.stop();
    let bridge = start(plan(kafka.bootstrap_servers(), "main", &[("new", 0)]));
    assert!(bridge.drain(Duration::from_secs(30)).await);
    let figures = bridge.figures();
    assert_eq!((figures.orphans, figures.ways[0].1.confirmed), (0, 10));
    bridge.stop();
}

fn rule(name: &str, ack: Ack) -> Rule {
    let mut rule = plan(String::new(), "main", &[(name, 0)]).rules.remove(0).0;
    rule.ack = ack;
    rule
}

fn way(brokers: String) -> Way {
    plan(brokers, "main", &[]).ways.remove(0)
}

/// Brings so many, and gives what will be heard of them.
fn bring(bridge: &Arc<Bridge>, numbers: std::ops::Range<u8>) -> std::sync::mpsc::Receiver<Outcome> {
    let (tell, told) = std::sync::mpsc::channel();
    let bridge = Arc::clone(bridge);
    tokio::spawn(async move {
        for number in numbers {
            let tell = tell.clone();
            let message = Message {
                topic: "a/b",
                payload: &[number],
                ..crate::rule::tests::sample()
            };
            let done = Box::new(move |outcome| {
                let _ = tell.send(outcome);
            });
            bridge.accept(&message, done).await;
        }
    });
    told
}

fn hear(told: &std::sync::mpsc::Receiver<Outcome>) -> Outcome {
    told.recv_timeout(Duration::from_secs(30))
        .expect("something is heard")
}

/// What is in the topic, in order.
fn values(
    kafka: &rdkafka::mocking::MockCluster<'_, rdkafka::producer::DefaultProducerContext>,
    n: usize,
) -> Vec<u8> {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::{ClientConfig, Message, TopicPartitionList};
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap_servers());
    config
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut all = TopicPartitionList::new();
    all.add_partition_offset("topic", 0, rdkafka::Offset::Beginning)
        .expect("a partition");
    consumer.assign(&all).expect("it is assigned");
    let mut values = Vec::new();
    while values.len() < n {
        let polled = consumer.poll(Duration::from_secs(30)).expect("a record");
        values.extend(polled.expect("a record").payload().unwrap_or_default());
    }
    values
}

fn mock() -> rdkafka::mocking::MockCluster<'static, rdkafka::producer::DefaultProducerContext> {
    let kafka = rdkafka::mocking::MockCluster::new(1).expect("a mock");
    kafka.create_topic("topic", 1, 1).expect("a topic");
    kafka
}

fn start(plan: Plan) -> Arc<Bridge> {
    let engine: Arc<dyn Engine> = Arc::new(gatemq_storage::Memory::new());
    let bridge = Bridge::start(plan, engine, |error| panic!("{error}"));
    Arc::new(bridge.expect("it starts"))
}

async fn change(bridge: &Arc<Bridge>, ways: Vec<Way>, rules: Vec<(Rule, usize)>) {
    let bridge = Arc::clone(bridge);
    let changing = tokio::task::spawn_blocking(move || bridge.change(ways, rules));
    changing.await.expect("no panic").expect("it goes");
}

/// From whichever way of taking messages to whichever: what waits for a Kafka that is gone goes to the
/// new one, and before what comes after it.
async fn moves(before: Ack, after: Ack) {
    let kafka = mock();
    let nobody = || way("127.0.0.1:1".to_owned());
    let mut first = plan(String::new(), "main", &[]);
    (first.ways, first.rules) = (vec![nobody()], vec![(rule("r", before), 0)]);
    let bridge = start(first);
    let told = bring(&bridge, 0..50);
    tokio::time::sleep(Duration::from_millis(100)).await;
    if before == Ack::Kafka {
        assert!(told.try_recv().is_err(), "there is no kafka");
    }
    let to = way(kafka.bootstrap_servers());
    change(&bridge, vec![to], vec![(rule("r", after), 0)]).await;
    let late = bring(&bridge, 50..60);
    for told in [(&told, 50), (&late, 10)] {
        for _ in 0..told.1 {
            assert_eq!(hear(told.0), Outcome::Accepted);
        }
    }
    assert!(bridge.drain(Duration::from_secs(30)).await);
    assert_eq!(values(&kafka, 60), (0..60).collect::<Vec<_>>());
    let figures = bridge.figures();
    assert_eq!(figures.orphans, 0);
    assert_eq!(figures.ways.len(), 1, "of one name");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_kafka_that_is_gone_goes_where_its_rule_goes_now() {
    moves(Ack::Kafka, Ack::Kafka).await;
    moves(Ack::Kafka, Ack::Spool).await;
    moves(Ack::Spool, Ack::Spool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_spool_goes_before_what_does_not_go_through_it_any_more() {
    let kafka = mock();
    kafka.broker_down(1).expect("it goes");
    let to = way(kafka.bootstrap_servers());
    let mut first = plan(String::new(), "main", &[]);
    (first.ways, first.rules) = (vec![to.clone()], vec![(rule("r", Ack::Spool), 0)]);
    let bridge = start(first);
    let told = bring(&bridge, 0..50);
    for _ in 0..50 {
        assert_eq!(hear(&told), Outcome::Accepted);
    }
    change(&bridge, vec![to], vec![(rule("r", Ack::Kafka), 0)]).await;
    let late = bring(&bridge, 50..60);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(late.try_recv().is_err(), "what is in the spool is first");
    kafka.broker_up(1).expect("it comes");
    for _ in 0..10 {
        assert_eq!(hear(&late), Outcome::Accepted);
    }
    assert_eq!(values(&kafka, 60), (0..60).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_rule_that_is_taken_back_waits_no_more() {
    let nobody = || way("127.0.0.1:1".to_owned());
    let mut first = plan(String::new(), "main", &[]);
    (first.ways, first.rules) = (vec![nobody()], vec![(rule("r", Ack::Kafka), 0)]);
    let bridge = start(first);
    let told = bring(&bridge, 0..50);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(told.try_recv().is_err(), "there is no kafka");
    change(&bridge, vec![], vec![]).await;
    for _ in 0..50 {
        assert_eq!(hear(&told), Outcome::Accepted);
    }
    assert!(bridge.filters().is_empty());
    assert_eq!(hear(&bring(&bridge, 0..1)), Outcome::Accepted);
    change(&bridge, vec![nobody()], vec![(rule("r", Ack::Kafka), 0)]).await;
    assert_eq!(bridge.filters().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_changes_keeps_its_order_while_messages_come() {
    let kafka = mock();
    let to = || way(kafka.bootstrap_servers());
    let mut first = plan(String::new(), "main", &[]);
    (first.ways, first.rules) = (vec![to()], vec![(rule("r", Ack::Kafka), 0)]);
    let bridge = start(first);
    let told = bring(&bridge, 0..250);
    for round in 0..20 {
        let ack = if round % 3 == 0 {
            Ack::Spool
        } else {
            Ack::Kafka
        };
        change(&bridge, vec![to()], vec![(rule("r", ack), 0)]).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..250 {
        assert_eq!(hear(&told), Outcome::Accepted);
    }
    assert!(bridge.drain(Duration::from_secs(30)).await);
    let mut seen = values(&kafka, 250);
    seen.dedup();
    let mut first = BTreeSet::new();
    let order: Vec<u8> = seen.into_iter().filter(|it| first.insert(*it)).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_client_of_kafka_would_never_take_is_not_acknowledged() {
    let kafka = mock();
    for ack in [Ack::Kafka, Ack::Spool] {
        let mut first = plan(String::new(), "main", &[]);
        (first.ways, first.rules) = (
            vec![way(kafka.bootstrap_servers())],
            vec![(rule("r", ack), 0)],
        );
        let bridge = start(first);
        for (n_bytes, expected) in [(1_000_000, Outcome::Refused), (900_000, Outcome::Accepted)] {
            let payload = vec![0; n_bytes];
            let message = Message {
                topic: "a/b",
                payload: &payload,
                ..crate::rule::tests::sample()
            };
            let (tell, told) = tokio::sync::oneshot::channel();
            let done = Box::new(move |outcome| tell.send(outcome).expect("the test waits"));
            bridge.accept(&message, done).await;
            assert_eq!(told.await, Ok(expected), "{ack:?}: {n_bytes}");
        }
    }
}

#[tokio::test]
async fn what_the_spool_has_for_another_broker_is_not_read_as_if_for_kafka() {
    let engine: Arc<dyn Engine> = Arc::new(gatemq_storage::Memory::new());
    let nobody = || "127.0.0.1:1".to_owned();
    let failed = |error: StorageError| panic!("{error}");
    let spool = spool::Spool::open(Arc::clone(&engine), failed);
    let options = spool::Options {
        name: "r".to_owned(),
        home: "mqtt:hq".to_owned(),
        bound: 1 << 20,
        on_full: OnFull::Wait,
    };
    let queue = spool.add(&options).expect("it can be read");
    let draft = crate::record::Draft::new("topic", None, 0, 0);
    let order = Order {
        record: draft.finish(|out| out.push(1)),
        done: Box::new(|_| ()),
    };
    assert!(spool.append(queue, order).await.is_ok());
    spool.close();
    let started = Bridge::start(plan(nobody(), "main", &[("r", 0)]), engine.clone(), failed);
    let error = started.expect_err("they are of another form");
    assert!(error.to_string().contains("mqtt:hq"), "{error}");
    assert!(Bridge::start(plan(nobody(), "main", &[("s", 0)]), engine, failed).is_ok());
}
