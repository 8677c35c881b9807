//! From clients to Kafka: two gateways and two bridges. Kafka and a bridge are killed amid the stream
//! and come back; what was acknowledged is in Kafka all the same, in the order of its topic, and
//! twice only under the same id. `GATEMQ_BRIDGE_MESSAGES` says how many messages, where it is more
//! or less than a test may take.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use gatemq_tests::cluster::Kind;
use gatemq_tests::{
    Client, Cluster, Connect, Kafka, Node, Properties, Publish, eventually, pause, unique, wire,
};

use super::reader::{judge, read_all};

/// Each publishes to topics of its own.
const PUBLISHERS: [(&str, &str); 4] = [("a", "g1"), ("b", "g2"), ("c", "g1"), ("d", "g2")];
const N_TOPICS: usize = 10;
/// Of all publishers.
const N_MESSAGES: u64 = 1_000_000;
/// Unacknowledged ones of a publisher, for each of its topics.
const WINDOW: u64 = 50;
const N_PARTITIONS: u32 = 4;
/// How long an acknowledgement may take while Kafka is started.
const LIMIT: Duration = Duration::from_secs(120);

fn start(kafka: &Kafka, further: &str) -> Cluster {
    kafka.create_topic("site", N_PARTITIONS);
    let rule = "{name: site, filters: ['site/#'], topic: site}";
    let kafka = format!("{{brokers: ['{}']}}", kafka.address());
    let setting = format!("bridge: {{kafka: [{kafka}], rules: [{rule}]}}\n{further}");
    let builder = Cluster::builder().setting(&setting);
    builder.control(1).gateways(2).start()
}

/// How many messages each topic gets.
fn n_each() -> u64 {
    let given = std::env::var("GATEMQ_BRIDGE_MESSAGES").ok();
    let n_messages = given.map_or(N_MESSAGES, |text| text.parse().expect("a number"));
    n_messages.div_ceil((PUBLISHERS.len() * N_TOPICS) as u64)
}

/// Publishes the numbers from 0 on to each of some topics, and waits until all are acknowledged.
fn publish(mut client: Client, prefix: &str, n_each: u64) {
    client.set_limit(LIMIT);
    let topics: Vec<_> = (0..N_TOPICS)
        .map(|n| format!("site/{prefix}/{n}"))
        .collect();
    let mut next = 0;
    while next < n_each {
        let end = n_each.min(next + WINDOW);
        let numbers = (next..end).flat_map(|n| topics.iter().map(move |topic| (topic, n)));
        let sent: Vec<u16> = numbers
            .map(|(topic, n)| send(&mut client, topic, n))
            .collect();
        for id in sent {
            let ack = client.expect_ack(wire::PUBACK, id);
            assert!(ack.reason < 0x80, "{prefix} after {next}: {ack:02x?}");
        }
        next = end;
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
    let mut cluster = start(&kafka, "");
    for name in ["b1", "b2"] {
        cluster.add(Kind::Bridge, name);
    }
    let n_each = n_each();
    let publishers = PUBLISHERS.map(|(prefix, gateway)| {
        let client = connect(cluster.node(gateway));
        thread::spawn(move || publish(client, prefix, n_each))
    });
    let n_topics = PUBLISHERS.len() * N_TOPICS;
    let part = |percent: u64| (n_topics as u64 * n_each * percent / 100) as f64;
    // What the bridges that were ended had confirmed; a bridge counts from 0 when it starts.
    let mut before = 0.0;
    let confirmed = |name: &str| -> f64 {
        let metric = cluster
            .node(name)
            .metric("bridge_confirmed_total{kafka=\"main\"}");
        metric.unwrap_or_default()
    };
    let reach = |percent: u64, names: &[&str], before: f64| {
        let limit = LIMIT + Duration::from_millis(n_each * n_topics as u64);
        let deadline = Instant::now() + limit;
        loop {
            let sum = before + names.iter().map(|name| confirmed(name)).sum::<f64>();
            if sum >= part(percent) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{sum} confirmed of {}",
                part(100)
            );
            pause(Duration::from_millis(50));
        }
    };
    reach(10, &["b1", "b2"], before);
    kafka.kill();
    pause(Duration::from_millis(500));
    kafka.restart();
    reach(40, &["b1", "b2"], before);
    before += confirmed("b1");
    cluster.node("b1").kill();
    reach(60, &["b2"], before);
    // Its topics come back to it.
    cluster.node("b1").restart();
    reach(80, &["b1", "b2"], before);
    before += confirmed("b2");
    assert!(cluster.node("b2").terminate().success());
    for publisher in publishers {
        publisher.join().expect("all are acknowledged");
    }
    assert!(before + confirmed("b1") >= part(99));
    let found = read_all(&kafka.address(), "site", N_PARTITIONS as i32);
    let n_repeats = judge(&found, n_topics, n_each);
    println!("{} records, {n_repeats} of them again", found.len());
}

#[test]
fn without_a_bridge_nothing_that_is_for_kafka_is_acknowledged() {
    let kafka = Kafka::start();
    let mut cluster = start(&kafka, "cluster: {bridge-wait: 100ms}");
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

/// A client before 5.0 can be told of a refusal only by the end of its connection.
#[test]
fn while_the_only_bridge_is_started_again_publishes_wait_for_it() {
    let kafka = Kafka::start();
    let mut cluster = start(&kafka, "cluster: {bridge-wait: 2m}");
    cluster.add(Kind::Bridge, "b1");
    let mut client = cluster.node("g1").v4(&unique("publisher"));
    client.set_limit(LIMIT);
    let publish = |client: &mut Client, number: u64| {
        let id = client.next_id();
        let publish = Publish {
            qos: 1,
            id: Some(id),
            ..Publish::new("site/x", number.to_string())
        };
        client.send(&publish.bytes(4));
        id
    };
    let mut number = 0;
    for is_killed in [false, true] {
        for _ in 0..10 {
            let id = publish(&mut client, number);
            client.expect_ack(wire::PUBACK, id);
            number += 1;
        }
        match is_killed {
            true => cluster.node("b1").kill(),
            false => assert!(cluster.node("b1").terminate().success()),
        }
        let sent: Vec<u16> = (number..number + 20)
            .map(|n| publish(&mut client, n))
            .collect();
        number += 20;
        client.expect_silence(500);
        let held = || cluster.node("g1").metric("gateway_bridge_held_bytes");
        eventually!(is_killed || held().is_some_and(|bytes| bytes > 0.0));
        cluster.node("b1").restart();
        for id in sent {
            client.expect_ack(wire::PUBACK, id);
        }
        eventually!(held() == Some(0.0));
    }
    let found = read_all(&kafka.address(), "site", N_PARTITIONS as i32);
    judge(&found, 1, number);
}

#[test]
fn kafka_is_told_who_has_published() {
    let kafka = Kafka::start();
    kafka.create_topic("site", 1);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let users = folder.path().join("users.yml");
    let content = "{password-hash: plain, unrestricted: true, \
                   users: [{username: ann, password: secret}]}";
    std::fs::write(&users, content).expect("it is writable");
    let template = r#"["${client-id}", "${username}", "${qos}", "${topic}"]"#;
    let rule = format!(
        "{{name: site, filters: ['site/#'], topic: site, value: json, template: '{template}'}}"
    );
    let address = kafka.address();
    let cluster = Cluster::builder().setting(&format!(
        "bridge: {{kafka: [{{brokers: ['{address}']}}], rules: [{rule}]}}"
    ));
    let cluster = cluster.setting(&format!(
        "auth: {{sources: [{{type: file, path: '{}'}}]}}",
        users.display()
    ));
    let mut cluster = cluster.control(1).gateways(1).start();
    cluster.add(Kind::Bridge, "b1");
    let connect = Connect::new(5, "dev-1").username("ann").password("secret");
    let connect = connect.will(wire::Will::new("site/will", "gone").qos(1));
    let mut client = Client::connect_tcp(cluster.node("g1").tcp());
    assert_eq!(client.handshake(&connect).code, 0);
    for qos in [0, 1, 2] {
        client.publish(&format!("site/{qos}"), "x", qos);
    }
    client.publish_retained("site/kept", "x", 1);
    client.cut();
    let expected = [
        r#"["dev-1","ann",0,"site/0"]"#,
        r#"["dev-1","ann",1,"site/1"]"#,
        r#"["dev-1","ann",2,"site/2"]"#,
        r#"["dev-1","ann",1,"site/kept"]"#,
        r#"["dev-1","ann",1,"site/will"]"#,
    ];
    let values = || -> BTreeSet<String> {
        let found = read_all(&address, "site", 1).into_iter();
        found.map(|found| found.value).collect()
    };
    let limit = Duration::from_secs(30);
    eventually!(limit, values().len() >= expected.len());
    assert_eq!(values(), expected.map(str::to_owned).into());
}

#[test]
fn clients_do_not_subscribe_as_a_bridge() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let mut client = cluster.node("g1").v5(&unique("c"));
    let filters = [("$share/$bridge/site/#", 1), ("$share/$team/site/#", 1)];
    let suback = client.subscribe_with(&Properties::default(), &filters);
    assert_eq!(suback.codes, [0x8F, 1]);
}

/// Neither another rule's messages, nor what other clients do.
#[test]
fn a_kafka_that_does_not_answer_keeps_nobody_from_another() {
    let kafka = Kafka::start();
    for topic in ["good", "events"] {
        kafka.create_topic(topic, 1);
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let setting = format!(
        "bridge: {{kafka: [{{brokers: ['{}']}}, {{name: nobody, brokers: ['127.0.0.1:1']}}], \
         rules: [{{name: good, filters: ['good/#'], topic: good, kafka: main}}, \
         {{name: spooled, filters: ['spooled/#'], topic: good, kafka: nobody, ack: spool}}, \
         {{name: bad, filters: ['bad/#'], topic: bad, kafka: nobody}}, \
         {{name: events, events: [connect], topic: events, kafka: nobody}}], \
         spool: {{path: '{}'}}}}",
        kafka.address(),
        folder.path().display(),
    );
    let builder = Cluster::builder().setting(&setting).control(1);
    let mut cluster = builder.gateways(1).start();
    cluster.add(Kind::Bridge, "b1");
    let mut waits = connect(cluster.node("g1"));
    for number in 0..10 {
        send(&mut waits, "bad/x", number);
    }
    waits.expect_silence(200);
    for round in 0..20 {
        let mut client = connect(cluster.node("g1"));
        client.set_limit(Duration::from_secs(10));
        for topic in ["good", "spooled"] {
            for n in 0..4 {
                assert!(is_taken(&mut client, &format!("{topic}/{round}/{n}")));
            }
        }
        send(&mut waits, "bad/y", round);
    }
    waits.expect_silence(200);
}
