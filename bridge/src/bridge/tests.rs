//! What a message of several rules is worth, and what rules that are gone have left.

use super::*;
use std::sync::mpsc;

fn check(is_refused: bool, outcomes: &[Outcome], expected: Outcome) {
    let (tell, told) = mpsc::channel();
    let join = Join::new(outcomes.len(), is_refused);
    *join.done.lock() = Some(Box::new(move |outcome| {
        tell.send(outcome).expect("the test waits");
    }));
    for outcome in outcomes {
        assert!(told.try_recv().is_err(), "too early");
        join.on_done(*outcome);
    }
    assert_eq!(told.try_recv(), Ok(expected));
}

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

#[test]
fn a_message_of_several_rules_is_as_safe_as_the_least_of_them() {
    use Outcome::{Accepted, Refused, Unknown};
    check(false, &[Accepted, Accepted], Accepted);
    check(false, &[Accepted, Refused], Refused);
    check(false, &[Refused, Unknown, Accepted], Unknown);
    check(true, &[Accepted], Refused);
}
