//! `$SYS`: the broker's own topics, under the names that comqtt's users know.

use std::{collections::HashMap, time::Duration};

use gatemq_tests::{Broker, Client, Connect, Publish, Shared, eventually, unique};

const TOPICS: [&str; 20] = [
    "version",
    "time",
    "uptime",
    "started",
    "load/bytes/received",
    "load/bytes/sent",
    "clients/connected",
    "clients/disconnected",
    "clients/maximum",
    "clients/total",
    "packets/received",
    "packets/sent",
    "messages/received",
    "messages/sent",
    "messages/dropped",
    "messages/inflight",
    "retained",
    "subscriptions",
    "system/memory",
    "system/threads",
];

fn broker() -> Shared {
    Broker::builder().config("sys-interval: 1s\n").shared()
}

/// The retained values, by their names after `$SYS/broker/`.
fn values(broker: &Broker) -> HashMap<String, String> {
    let mut client = Client::v4(broker, &unique("sys"));
    client.subscribe("$SYS/broker/#", 0);
    let mut values = HashMap::new();
    while let Some(packet) = client.recv_within(Duration::from_millis(300)) {
        let publish = packet.publish(4);
        if !publish.retain {
            break;
        }
        let name = publish
            .topic
            .strip_prefix("$SYS/broker/")
            .expect("the filter")
            .to_owned();
        values.insert(name, String::from_utf8(publish.payload).expect("text"));
    }
    client.disconnect();
    values
}

/// 0 until the first values are there.
fn number(broker: &Broker, name: &str) -> u64 {
    values(broker).get(name).map_or(0, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}: {value} is no number"))
    })
}

#[test]
fn every_topic_is_retained_for_who_asks() {
    let broker = broker();
    eventually!(
        Duration::from_secs(10),
        values(&broker).len() >= TOPICS.len()
    );
    let values = values(&broker);
    for topic in TOPICS {
        let value = values
            .get(topic)
            .unwrap_or_else(|| panic!("no {topic} in {values:?}"));
        if topic != "version" {
            assert!(
                value.parse::<f64>().is_ok(),
                "{topic}: {value} is no number"
            );
        }
    }
}

#[test]
fn values_follow_what_happens() {
    let broker = Broker::builder().config("sys-interval: 1s\n").start();
    let topic = unique("counted");
    let mut client = Client::v5(&broker, &unique("counted"));
    client.subscribe(&topic, 1);
    for _ in 0..10 {
        client.publish(&topic, b"x", 1);
    }
    client.publish_retained(&topic, b"x", 1);
    let limit = Duration::from_secs(8);
    // The one that asks is there, too.
    eventually!(limit, number(&broker, "clients/connected") >= 1);
    eventually!(limit, number(&broker, "messages/received") >= 11);
    eventually!(limit, number(&broker, "subscriptions") >= 1);
    eventually!(limit, number(&broker, "retained") >= 1);
    eventually!(limit, number(&broker, "messages/inflight") >= 11);
    assert!(number(&broker, "load/bytes/received") > 0);
    assert!(number(&broker, "system/memory") > 0);
    assert!(number(&broker, "system/threads") > 0);
    let uptime = number(&broker, "uptime");
    eventually!(limit, number(&broker, "uptime") > uptime);
}

#[test]
fn subscribers_get_each_new_value() {
    let broker = broker();
    let mut client = Client::v5(&broker, &unique("sys"));
    client.subscribe("$SYS/broker/uptime", 0);
    let values: Vec<u64> = (0..4)
        .map(|_| String::from_utf8(client.receive().payload).expect("text"))
        .map(|value| value.parse().expect("a number"))
        .collect();
    assert!(
        values.windows(2).all(|pair| pair[0] <= pair[1]),
        "{values:?}"
    );
    assert!(values[0] < values[3], "{values:?}");
}

// [MQTT-4.7.2-1]
#[test]
fn wildcards_do_not_match_them() {
    let broker = broker();
    let mut client = Client::v5(&broker, &unique("wild"));
    client.subscribe("+/broker/#", 0);
    client.subscribe("+/broker/uptime", 0);
    client.expect_silence(2500);
}

#[test]
fn clients_do_not_write_them() {
    let broker = broker();
    eventually!(
        Duration::from_secs(10),
        values(&broker).contains_key("version")
    );
    let version = values(&broker)["version"].clone();
    for level in [4, 5] {
        let connect = Connect::new(level, unique("liar"));
        let mut client = Client::connect(&broker, &connect).0;
        let lie = Publish::new("$SYS/broker/version", b"0.0.0-lie").retain();
        client.send(&lie.clone().qos(1, 1).bytes(level));
        client.send(&lie.bytes(level));
        // Refused, dropped or cut off.
        let _answers =
            std::iter::from_fn(|| client.recv_within(Duration::from_millis(200))).count();
    }
    assert_eq!(values(&broker)["version"], version);
}

#[test]
fn an_interval_of_zero_turns_them_off() {
    let broker = Broker::builder().config("sys-interval: 0s\n").start();
    let mut client = Client::v5(&broker, &unique("sys"));
    client.subscribe("$SYS/#", 0);
    client.expect_silence(1500);
}

/// Bytes and messages that leave are counted, whatever kind of session they go to.
#[test]
fn what_leaves_is_counted() {
    for way in ["memory", "redb"] {
        let broker = Broker::builder()
            .storage(way)
            .config("sys-interval: 1s\n")
            .start();
        let topic = unique("counted");
        let mut stored = Client::connect(&broker, &Connect::persistent(5, unique("stored"))).0;
        stored.subscribe(&topic, 1);
        let mut clean = Client::v4(&broker, &unique("clean"));
        clean.subscribe(&topic, 1);
        let mut publisher = Client::v4(&broker, &unique("pub"));
        for _ in 0..10 {
            publisher.publish(&topic, vec![7; 20_000], 1);
            stored.receive();
            clean.receive();
        }
        eventually!(number(&broker, "messages/sent") >= 20);
        eventually!(number(&broker, "load/bytes/sent") >= 20 * 20_000);
    }
}
