//! From clients to Kafka: two gateways and two bridges. Kafka and a bridge are killed amid the stream;
//! what was acknowledged is in Kafka all the same, in the order of its topic, and twice only under the
//! same id.

use std::thread;
use std::time::{Duration, Instant};

use gatemq_tests::cluster::Kind;
use gatemq_tests::{
    Client, Cluster, Kafka, Node, Properties, Publish, eventually, pause, unique, wire,
};

use super::reader::{judge, read_all};

/// Of each gateway's publisher.
const N_TOPICS: usize = 10;
const N_EACH: u64 = 1_000;
/// Unacknowledged ones of a publisher.
const WINDOW: usize = 50;
const N_PARTITIONS: u32 = 4;
/// How long an acknowledgement may take while Kafka is started.
const LIMIT: Duration = Duration::from_secs(120);

fn start(kafka: &Kafka) -> Cluster {
    kafka.create_topic("site", N_PARTITIONS);
    let rule = "{name: site, filters: ['site/#'], topic: site}";
    let kafka = format!("{{brokers: ['{}']}}", kafka.address());
    let setting = format!("bridge: {{kafka: [{kafka}], rules: [{rule}]}}");
    let builder = Cluster::builder().setting(&setting);
    builder.control(1).gateways(2).start()
}

/// Publishes the numbers from 0 on to each of some topics, and waits until all are acknowledged.
fn publish(mut client: Client, prefix: &str) {
    client.set_limit(LIMIT);
    for first in (0..N_EACH).step_by(WINDOW) {
        for topic in 0..N_TOPICS {
            let topic = format!("site/{prefix}/{topic}");
            let numbers = first..first + WINDOW as u64;
            let sent: Vec<u16> = numbers.map(|n| send(&mut client, &topic, n)).collect();
            for id in sent {
                let ack = client.expect_ack(wire::PUBACK, id);
                assert!(ack.reason < 0x80, "{topic}: {ack:02x?}");
            }
        }
    }
}

fn send(client: &mut Client, topic: &str, number: u64) -> u16 {
    let id = client.next_id();
    let publish = Publish {
        qos: 1,
        id: Some(id),
        ..Publish::new(topic, number.to_string())
    };
    client.send(&publish.bytes(5));
    id
}

fn connect(node: &Node) -> Client {
    node.v5(&unique("publisher"))
}

/// Whether a publish is acknowledged with success.
fn is_taken(client: &mut Client, topic: &str) -> bool {
    let id = send(client, topic, 0);
    client.expect_ack(wire::PUBACK, id).reason < 0x80
}

#[test]
fn what_is_acknowledged_is_in_kafka_though_kafka_and_a_bridge_were_killed() {
    let kafka = Kafka::start();
    let mut cluster = start(&kafka);
    for name in ["b1", "b2"] {
        cluster.add(Kind::Bridge, name);
    }
    let publishers: Vec<_> = ["g1", "g2"]
        .map(|name| {
            let client = connect(cluster.node(name));
            thread::spawn(move || publish(client, name))
        })
        .into();
    let confirmed = || -> f64 {
        let bridges = ["b1", "b2"].map(|name| cluster.node(name));
        let counts = bridges.map(|node| node.metric("bridge_confirmed_total{kafka=\"main\"}"));
        counts.into_iter().flatten().sum()
    };
    let part = |n: f64| (N_TOPICS as u64 * N_EACH * 2) as f64 * n;
    eventually!(confirmed() > part(0.1));
    kafka.kill();
    pause(Duration::from_millis(500));
    kafka.restart();
    let deadline = Instant::now() + LIMIT;
    while confirmed() < part(0.4) {
        assert!(Instant::now() < deadline, "{} confirmed", confirmed());
        pause(Duration::from_millis(50));
    }
    cluster.node("b1").kill();
    for publisher in publishers {
        publisher.join().expect("all are acknowledged");
    }
    let found = read_all(&kafka.address(), "site", N_PARTITIONS as i32);
    let n_repeats = judge(&found, 2 * N_TOPICS, N_EACH);
    println!("{} records, {n_repeats} of them again", found.len());
}

#[test]
fn without_a_bridge_nothing_that_is_for_kafka_is_acknowledged() {
    let kafka = Kafka::start();
    let mut cluster = start(&kafka);
    let mut client = connect(cluster.node("g1"));
    client.set_limit(LIMIT);
    assert!(
        is_taken(&mut client, "site/x"),
        "no bridge has been there yet"
    );
    cluster.add(Kind::Bridge, "b1");
    assert!(is_taken(&mut client, "site/x"));
    assert!(cluster.node("b1").terminate().success());
    assert!(!is_taken(&mut client, "site/x"), "it is waited for");
    assert!(is_taken(&mut client, "other/x"), "nobody bridges that");
    cluster.node("b1").restart();
    eventually!(is_taken(&mut client, "site/x"));
    // Whoever is gone for good is removed by name.
    cluster.node("b1").kill();
    eventually!(!is_taken(&mut client, "site/x"));
    let removed = cluster.node("c1").ask("DELETE", "/api/v1/members/b1");
    assert_eq!(removed.map(|(status, _)| status), Some(200));
    eventually!(is_taken(&mut client, "site/x"));
}

#[test]
fn clients_do_not_subscribe_as_a_bridge() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let mut client = cluster.node("g1").v5(&unique("c"));
    let filters = [("$share/$bridge/site/#", 1), ("$share/$team/site/#", 1)];
    let suback = client.subscribe_with(&Properties::default(), &filters);
    assert_eq!(suback.codes, [0x8F, 1]);
}
