//! Rules of bridges that are changed through the API while messages come.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use gatemq_tests::cluster::Kind;
use gatemq_tests::{Client, Cluster, Kafka, Node, Publish, eventually, pause, unique, wire};
use serde_json::{Value, json};

use super::reader::{Found, read_all};
use crate::cluster::api::{ask, refused};

const LIMIT: Duration = Duration::from_secs(60);
const WINDOW: u64 = 20;

/// A control node, gateways, and bridges that know this Kafka, one that is not there, and no rule.
fn start(kafka: &Kafka, n_gateways: usize, bridges: &[&str], further: &str) -> Cluster {
    let setting = format!(
        "bridge: {{kafka: [{{brokers: ['{}']}}, {{name: nobody, brokers: ['127.0.0.1:1']}}]{further}}}",
        kafka.address()
    );
    let builder = Cluster::builder().setting(&setting).control(1);
    let mut cluster = builder.gateways(n_gateways).start();
    for name in bridges {
        cluster.add(Kind::Bridge, name);
    }
    cluster
}

/// Sets a rule, and holds that all go by it.
fn set(cluster: &Cluster, name: &str, rule: Value) {
    let request = format!("PUT /bridge/rules/{name}");
    let changed = ask(cluster.node("c1"), &request, Some(rule));
    assert_eq!(changed["is_in_force"], true, "{changed}");
}

fn connect(node: &Node) -> Client {
    let mut client = node.v5(&unique("publisher"));
    client.set_limit(LIMIT);
    client
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

fn is_taken(client: &mut Client, topic: &str, number: u64) -> bool {
    let id = send(client, topic, number);
    client.expect_ack(wire::PUBACK, id).reason < 0x80
}

/// Publishes the numbers from 0 on to a topic, and waits until all are acknowledged.
fn publish(mut client: Client, topic: &str, n_messages: u64) {
    let mut next = 0;
    while next < n_messages {
        let end = n_messages.min(next + WINDOW);
        let sent: Vec<u16> = (next..end).map(|n| send(&mut client, topic, n)).collect();
        for id in sent {
            let ack = client.expect_ack(wire::PUBACK, id);
            assert!(ack.reason < 0x80, "{topic} after {next}: {ack:02x?}");
        }
        next = end;
    }
}

/// The numbers of each key, without what is there again; in the order of the topic.
fn numbers(found: &[Found]) -> HashMap<&str, Vec<u64>> {
    let mut all: HashMap<&str, Vec<u64>> = HashMap::new();
    for Found { key, value, .. } in found {
        let number = value.parse().expect("a number");
        let known = all.entry(key).or_default();
        if !known.contains(&number) {
            known.push(number);
        }
    }
    all
}

fn values(kafka: &Kafka, topic: &str) -> Vec<String> {
    let found = read_all(&kafka.address(), topic, 1).into_iter();
    found.map(|found| found.value).collect()
}

#[test]
fn rules_change_while_messages_come_and_none_is_lost_or_overtaken() {
    let kafka = Kafka::start();
    for topic in ["one", "two"] {
        kafka.create_topic(topic, 1);
    }
    let cluster = start(&kafka, 2, &["b1", "b2"], "");
    let rule = |topic: &str, ack: &str, compression: &str| {
        json!({"filters": ["live/#"], "topic": topic, "kafka": "main", "ack": ack,
               "compression": compression})
    };
    set(&cluster, "live", rule("one", "kafka", "lz4"));
    const N_MESSAGES: u64 = 4_000;
    let publishers = ["g1", "g2", "g1", "g2"].into_iter().enumerate();
    let publishers: Vec<_> = publishers
        .map(|(n, gateway)| {
            let client = connect(cluster.node(gateway));
            thread::spawn(move || publish(client, &format!("live/{n}"), N_MESSAGES))
        })
        .collect();
    let changes = [
        ("two", "kafka", "lz4"),
        ("two", "kafka", "none"),
        ("one", "spool", "none"),
        ("one", "spool", "lz4"),
        ("two", "kafka", "lz4"),
        ("one", "kafka", "zstd"),
    ];
    let mut n_changes = 0;
    while !publishers.iter().all(thread::JoinHandle::is_finished) {
        let (topic, ack, compression) = changes[n_changes % changes.len()];
        set(&cluster, "live", rule(topic, ack, compression));
        n_changes += 1;
        pause(Duration::from_millis(100));
    }
    assert!(n_changes >= changes.len(), "{n_changes}");
    for publisher in publishers {
        publisher.join().expect("all are acknowledged");
    }
    set(&cluster, "live", rule("one", "kafka", "lz4"));
    let is_drained = |name: &str| {
        let spooled = cluster
            .node(name)
            .metric("bridge_spool_bytes{rule=\"live\"}");
        spooled.is_none_or(|bytes| bytes == 0.0)
    };
    eventually!(LIMIT, is_drained("b1") && is_drained("b2"));
    let found = ["one", "two"].map(|topic| read_all(&kafka.address(), topic, 1));
    let both = [numbers(&found[0]), numbers(&found[1])];
    for n in 0..4 {
        let key = format!("live/{n}");
        let mut all: Vec<u64> = Vec::new();
        for of_topic in &both {
            let numbers = of_topic.get(&*key).cloned().unwrap_or_default();
            assert!(numbers.is_sorted(), "{key}: {numbers:?}");
            all.extend(numbers);
        }
        all.sort_unstable();
        all.dedup();
        assert!(all.into_iter().eq(0..N_MESSAGES), "{key}");
    }
    println!("{n_changes} changes");
}

#[test]
fn who_waits_for_a_kafka_that_is_gone_is_answered_by_the_one_that_a_rule_names_now() {
    let kafka = Kafka::start();
    kafka.create_topic("site", 1);
    let cluster = start(&kafka, 1, &["b1"], "");
    set(
        &cluster,
        "site",
        json!({"filters": ["site/#"], "topic": "site", "kafka": "nobody"}),
    );
    let mut client = connect(cluster.node("g1"));
    let sent: Vec<u16> = (0..50).map(|n| send(&mut client, "site/x", n)).collect();
    client.expect_silence(500);
    set(
        &cluster,
        "site",
        json!({"filters": ["site/#"], "topic": "site", "kafka": "main"}),
    );
    for id in sent {
        assert!(client.expect_ack(wire::PUBACK, id).reason < 0x80);
    }
    let expected: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(values(&kafka, "site"), expected);
}

#[test]
fn a_rule_of_the_cluster_is_over_the_one_of_the_file_and_outlives_a_bridge() {
    let kafka = Kafka::start();
    for topic in ["filed", "set"] {
        kafka.create_topic(topic, 1);
    }
    let filed = ", rules: [{name: site, filters: ['site/#'], topic: filed, kafka: main}]";
    let cluster = start(&kafka, 1, &["b1"], filed);
    let node = cluster.node("c1");
    let mut client = connect(cluster.node("g1"));
    assert!(is_taken(&mut client, "site/x", 0));
    let listed = ask(node, "GET /bridge/rules/site", None);
    assert_eq!(listed["items"][0]["source"], "file", "{listed}");
    assert_eq!(listed["items"][0]["rule"]["topic"], "filed");
    let rule = json!({"filters": ["site/#"], "topic": "set", "kafka": "main"});
    set(&cluster, "site", rule);
    assert!(is_taken(&mut client, "site/x", 1));
    let listed = ask(node, "GET /bridge/rules", None);
    assert_eq!(
        listed["items"].as_array().map(Vec::len),
        Some(1),
        "{listed}"
    );
    assert_eq!(listed["items"][0]["source"], "cluster");
    assert_eq!(listed["items"][0]["bridges"], json!(["b1"]));
    assert_eq!(listed["bridges"][0]["problem"], Value::Null);
    cluster.node("b1").kill();
    cluster.node("b1").restart();
    eventually!(LIMIT, is_taken(&mut client, "site/x", 2));
    let taken_back = ask(node, "DELETE /bridge/rules/site", None);
    assert_eq!(taken_back["is_in_force"], true, "{taken_back}");
    assert!(is_taken(&mut client, "site/x", 3));
    let off = json!({"enabled": false, "filters": ["site/#"], "kafka": "main"});
    set(&cluster, "site", off);
    assert!(is_taken(&mut client, "site/x", 4), "nobody bridges it");
    assert_eq!(values(&kafka, "filed"), ["0", "3"]);
    let mut set = values(&kafka, "set");
    set.dedup(); // it may have been tried more than once while the bridge was away
    assert_eq!(set, ["1", "2"]);
    let history = ask(node, "GET /config/history", None);
    assert_eq!(history["items"][0]["key"], "bridge.rules.site", "{history}");
}

#[test]
fn a_rule_that_does_not_go_is_refused_with_the_reason_and_nothing_changes() {
    let kafka = Kafka::start();
    let cluster = start(&kafka, 1, &["b1"], "");
    let node = cluster.node("c1");
    let request = "PUT /bridge/rules/bad";
    let cases = [
        (json!({"filters": ["a/#/b"], "kafka": "main"}), "filters: "),
        (json!({"filters": ["a"], "kafka": "none"}), "kafka: "),
        (json!({"filters": ["a"]}), "kafka: "),
        (
            json!({"filters": ["a"], "kafka": "main", "toppic": "x"}),
            "toppic: ",
        ),
        (
            json!({"filters": ["a"], "kafka": "main", "topic": "${nothing}"}),
            "topic: ",
        ),
    ];
    for (rule, key) in cases {
        let detail = refused(node, request, Some(rule), 400);
        assert!(detail.starts_with(key) && detail.contains("b1"), "{detail}");
    }
    refused(node, request, Some(json!(["a"])), 400);
    let large = json!({"filters": ["a".repeat(20_000)], "kafka": "main"});
    refused(node, request, Some(large), 400);
    let good = json!({"filters": ["a"], "kafka": "main"});
    let tried = ask(
        node,
        "PUT /bridge/rules/bad?dry_run=true",
        Some(good.clone()),
    );
    assert_eq!(tried["revision"], Value::Null);
    let listed = ask(node, "GET /bridge/rules", None);
    assert_eq!(listed["items"], json!([]));
    refused(node, "GET /bridge/rules/bad", None, 404);
    assert!(cluster.node("b1").terminate().success());
    refused(node, request, Some(good), 503);
}

/// It has no filter to announce, and says so.
#[test]
fn a_bridge_that_comes_back_without_a_rule_frees_what_it_had() {
    let kafka = Kafka::start();
    kafka.create_topic("site", 1);
    let setting = format!(
        "bridge: {{kafka: [{{brokers: ['{}']}}]}}\ncluster: {{bridge-wait: 100ms}}",
        kafka.address()
    );
    let builder = Cluster::builder().setting(&setting).control(1);
    let mut cluster = builder.gateways(1).start();
    cluster.add(Kind::Bridge, "b1");
    set(
        &cluster,
        "site",
        json!({"filters": ["site/#"], "topic": "site"}),
    );
    let mut client = connect(cluster.node("g1"));
    assert!(is_taken(&mut client, "site/x", 0));
    cluster.node("b1").kill();
    let taken_back = ask(cluster.node("c1"), "DELETE /bridge/rules/site", None);
    assert!(taken_back["revision"].is_u64(), "{taken_back}");
    eventually!(!is_taken(&mut client, "site/x", 1));
    cluster.node("b1").restart();
    eventually!(LIMIT, is_taken(&mut client, "site/x", 2));
}
