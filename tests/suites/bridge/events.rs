//! What clients do is told to Kafka: as comqtt wrote it, and by a template. It costs a CONNECT nothing
//! while no bridge is there, and no client can pass for a gateway.

use std::time::Duration;

use gatemq_tests::cluster::Kind;
use gatemq_tests::{Client, Cluster, Connect, Kafka, Node, Properties, Publish, eventually, wire};

use super::reader::{Found, read_all};

const LIMIT: Duration = Duration::from_secs(30);
const ALL: &str = "events: [connect, disconnect, subscribe, unsubscribe]";

fn start(kafka: &Kafka, rules: &str) -> Cluster {
    let kafka = format!("{{brokers: ['{}']}}", kafka.address());
    let setting = format!("bridge: {{kafka: [{kafka}], rules: [{rules}]}}");
    let builder = Cluster::builder().setting(&setting);
    let mut cluster = builder.control(1).gateways(2).start();
    cluster.add(Kind::Bridge, "b1");
    cluster
}

fn connect(node: &Node, connect: &Connect) -> Client {
    node.connect(connect).0
}

/// The events of a client, once there are as many.
fn events_of(kafka: &Kafka, topic: &str, client_id: &str, n_events: usize) -> Vec<String> {
    let read = || -> Vec<Found> {
        let found = read_all(&kafka.address(), topic, 1).into_iter();
        found.filter(|found| found.key == client_id).collect()
    };
    eventually!(LIMIT, read().len() >= n_events);
    let found = read();
    assert!(found.iter().all(|found| !found.id.is_empty()), "{found:?}");
    found.into_iter().map(|found| found.value).collect()
}

/// Holds the text of an event against comqtt's: time and address may be any.
fn check(event: &str, expected: &str) {
    let parsed: serde_json::Value = serde_json::from_str(event).expect("JSON");
    let seconds = parsed["ts"].as_u64().expect("a time");
    assert!(seconds > 1_700_000_000, "{event}");
    let mut expected = expected.replace("TS", &seconds.to_string());
    if let Some(remote) = parsed["remote"].as_str() {
        assert!(remote.starts_with("127.0.0.1:"), "{event}");
        expected = expected.replace("REMOTE", remote);
    }
    assert_eq!(event, expected);
}

#[test]
fn kafka_is_told_what_clients_do_as_comqtt_did_and_by_a_template() {
    let kafka = Kafka::start();
    let template = r#"{"what": "${event}", "who": "${client-id}", "why": "${reason}", "filters": "${filters}", "qos": "${qos}"}"#;
    for topic in ["clients", "templates"] {
        kafka.create_topic(topic, 1);
    }
    let rules = format!(
        "{{name: comqtt, topic: clients, value: comqtt, headers: [id], {ALL}, subscriptions: ['a/#']}}, \
         {{name: own, topic: templates, value: json, template: '{template}', {ALL}}}"
    );
    let cluster = start(&kafka, &rules);
    let (one, other) = (cluster.node("g1"), cluster.node("g2"));

    let mut client = connect(one, &Connect::new(4, "dev-1").username("ann"));
    for filter in ["a/b", "c"] {
        client.subscribe(filter, 1);
    }
    client.unsubscribe(&["a/b", "never/subscribed"]);
    client.disconnect();
    let events = events_of(&kafka, "clients", "dev-1", 4);
    let expected = [
        r#"{"action":"connect","clientid":"dev-1","username":"ann","remote":"REMOTE","listener":"tcp","protocolVersion":4,"clean":true,"ts":TS}"#,
        r#"{"action":"subscribe","clientid":"dev-1","username":"ann","topics":["a/b"],"ts":TS}"#,
        r#"{"action":"unsubscribe","clientid":"dev-1","username":"ann","topics":["a/b"],"ts":TS}"#,
        r#"{"action":"disconnect","clientid":"dev-1","username":"ann","ts":TS}"#,
    ];
    assert_eq!(events.len(), expected.len(), "{events:?}");
    for (event, expected) in events.iter().zip(expected) {
        check(event, expected);
    }
    let expected = [
        r#"{"filters":null,"qos":null,"what":"connect","who":"dev-1","why":null}"#,
        r#"{"filters":["a/b"],"qos":null,"what":"subscribe","who":"dev-1","why":null}"#,
        r#"{"filters":["c"],"qos":null,"what":"subscribe","who":"dev-1","why":null}"#,
        r#"{"filters":["a/b","never/subscribed"],"qos":null,"what":"unsubscribe","who":"dev-1","why":null}"#,
        r#"{"filters":null,"qos":null,"what":"disconnect","who":"dev-1","why":null}"#,
    ];
    assert_eq!(events_of(&kafka, "templates", "dev-1", 5), expected);

    // One that is cut off, and comes back to the session that it has.
    connect(one, &Connect::persistent(5, "dev-2")).cut();
    let events = events_of(&kafka, "clients", "dev-2", 2);
    check(
        &events[0],
        r#"{"action":"connect","clientid":"dev-2","username":"","remote":"REMOTE","listener":"tcp","protocolVersion":5,"ts":TS}"#,
    );
    check(
        &events[1],
        r#"{"action":"disconnect","clientid":"dev-2","username":"","payload":"RU9G","ts":TS}"#,
    );

    // One that is taken over from the other gateway, and one that an operator sends away.
    let mut first = connect(one, &Connect::new(5, "dev-3"));
    let mut second = connect(other, &Connect::new(5, "dev-3"));
    first.expect_disconnect(0x8E);
    let kicked = cluster.node("c1").ask("DELETE", "/api/v1/clients/dev-3");
    assert!(kicked.is_some_and(|(status, _)| (200..300).contains(&status)));
    second.expect_disconnect(0x98);
    let reasons = || {
        let events = events_of(&kafka, "templates", "dev-3", 4);
        let events = events.iter().map(|event| serde_json::from_str(event));
        let events = events.map(|event: Result<serde_json::Value, _>| event.expect("JSON"));
        let ends = events.filter(|event| event["what"] == "disconnect");
        let reasons = ends.filter_map(|event| event["why"].as_str().map(str::to_owned));
        reasons.collect::<Vec<_>>()
    };
    let reasons = reasons();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons.iter().all(|reason| !reason.is_empty()));
}

#[test]
fn events_are_dropped_and_counted_while_no_bridge_is_there() {
    let kafka = Kafka::start();
    kafka.create_topic("clients", 1);
    let rules = format!("{{name: comqtt, topic: clients, value: comqtt, headers: [id], {ALL}}}");
    let cluster = start(&kafka, &rules);
    let node = cluster.node("g1");
    connect(node, &Connect::new(5, "early")).disconnect();
    assert_eq!(events_of(&kafka, "clients", "early", 2).len(), 2);
    assert!(cluster.node("b1").terminate().success());
    let dropped = || {
        node.metric("gateway_events_dropped_total")
            .unwrap_or_default()
    };
    let before = dropped();
    connect(node, &Connect::new(5, "meanwhile")).disconnect();
    eventually!(LIMIT, dropped() >= before + 2.0);
    cluster.node("b1").restart();
    // The gateway learns of it a moment later.
    let is_told = || {
        connect(node, &Connect::new(5, "late")).disconnect();
        let found = read_all(&kafka.address(), "clients", 1);
        found.iter().any(|found| found.key == "late")
    };
    eventually!(LIMIT, is_told());
}

#[test]
fn clients_have_no_part_in_what_bridges_are_told() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let mut client = cluster.node("g1").v5("c");
    let filters = [
        ("$bridge/events/+", 1),
        ("$bridge/#", 1),
        ("$share/x/$bridge/#", 1),
    ];
    let suback = client.subscribe_with(&Properties::default(), &filters);
    assert_eq!(suback.codes, [0x8F; 3]);
    let publish = Publish::new("$bridge/events/0000000000000000", "x").qos(1, 7);
    client.send(&publish.bytes(5));
    assert_eq!(client.expect_ack(wire::PUBACK, 7).reason, 0x87);
}
