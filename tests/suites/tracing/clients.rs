//! Traces of clients: what one does is written down by the gateway where it does it, and read through
//! the API.

use gatemq_tests::{Cluster, Connect, Publish, eventually, unique};
use serde_json::{Value, json};

use super::LIMIT;
use crate::cluster::api::ask;

/// What happened where; sorted, for two gateways may say the same time.
fn events(read: &Value) -> Vec<String> {
    let items = read["items"].as_array().expect("items").iter();
    let mut events: Vec<_> = items
        .map(|item| {
            let text = |field: &str| item[field].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("node"), text("event"))
        })
        .collect();
    events.sort();
    events
}

#[test]
fn what_a_client_does_at_any_gateway_is_read_in_one_place_and_gone_when_it_is_taken_back() {
    let cluster = Cluster::builder().control(1).gateways(2).start();
    let node = cluster.node("c1");
    let (watched, other) = (unique("watched"), unique("other"));
    let lines = |name: &str| ask(node, &format!("GET /traces/{name}?limit=1000"), None);
    for (name, kind, value) in [
        ("one", "client_id", &*watched),
        ("two", "topic", "site/#"),
        ("three", "address", "127.0.0.0/8"),
    ] {
        let wanted = json!({"name": name, kind: value, "seconds": 600});
        ask(node, "POST /traces", Some(wanted));
        // Each gateway says that it has begun.
        eventually!(LIMIT, events(&lines(name)) == ["g1 trace", "g2 trace"]);
    }
    let (mut client, _) = cluster.node("g1").connect(&Connect::new(5, &watched));
    client.subscribe("site/+", 1);
    let mut publisher = cluster.node("g2").v5(&other);
    let id = Some(publisher.next_id());
    let publish = Publish {
        qos: 1,
        id,
        ..Publish::new("site/7", "secret")
    };
    publisher.publish_packet(publish);
    client.receive();
    client.disconnect();
    let (mut again, _) = cluster.node("g2").connect(&Connect::new(4, &watched));
    again.publish("elsewhere", "x", 0);
    again.disconnect();
    let seen = [
        "g1 connect",
        "g1 deliver",
        "g1 disconnect",
        "g1 puback",
        "g1 subscribe",
        "g1 trace",
        "g2 connect",
        "g2 disconnect",
        "g2 publish",
        "g2 trace",
    ];
    eventually!(LIMIT, events(&lines("one")) == seen);
    let of_topic = lines("two");
    let of_site = [
        "g1 deliver",
        "g1 subscribe",
        "g1 trace",
        "g2 publish",
        "g2 trace",
    ];
    assert_eq!(events(&of_topic), of_site);
    let items = of_topic["items"].as_array().expect("items");
    let of = |event: &str| items.iter().find(|item| item["event"] == event);
    let published = of("publish").expect("a publish");
    for (field, expected) in [
        ("client_id", json!(other)),
        ("address", json!("127.0.0.1")),
        ("topic", json!("site/7")),
        ("qos", json!(1)),
        ("packet_id", json!(id)),
        ("length", json!(6)),
        ("reason", json!("Success")),
    ] {
        assert_eq!(published[field], expected, "{field} of {published}");
    }
    let delivered = of("deliver").expect("a delivery");
    let acknowledged = lines("one");
    let acknowledged = acknowledged["items"].as_array().expect("items").iter();
    let mut acknowledged = acknowledged.filter(|item| item["event"] == "puback");
    let acknowledged = acknowledged.next().expect("an acknowledgement");
    assert_eq!(delivered["packet_id"], acknowledged["packet_id"]);
    assert!(delivered["packet_id"].is_u64(), "{delivered}");
    assert!(!of_topic.to_string().contains("secret"), "no payload");
    assert!(events(&lines("three")).len() > seen.len());
    // One that starts again goes on with it.
    let file = |gateway: &str, name: &str| {
        let folder = cluster.node(gateway).data_dir().join("traces");
        folder.join(format!("{name}.jsonl"))
    };
    cluster.node("g1").restart();
    cluster.node("g1").v5(&watched).disconnect();
    eventually!(LIMIT, events(&lines("one")).len() == seen.len() + 2);
    // One that is stopped can be read; nothing comes to it any more.
    let stopped = ask(node, "POST /traces/one/stop", None);
    assert_eq!(stopped["trace"]["is_over"], true);
    ask(
        node,
        "POST /traces",
        Some(json!({"name": "four", "client_id": watched})),
    );
    eventually!(LIMIT, events(&lines("four")).len() == 2);
    cluster.node("g1").v5(&watched).disconnect();
    eventually!(LIMIT, events(&lines("four")).len() == 4);
    assert_eq!(events(&lines("one")).len(), seen.len() + 2);
    // Its files go, also where the gateway is away.
    cluster.node("g2").terminate();
    let back = ask(node, "DELETE /traces/one", None);
    assert_eq!(back["was_there"], true);
    eventually!(LIMIT, !file("g1", "one").exists());
    assert!(file("g1", "two").is_file());
    assert!(file("g2", "one").is_file());
    cluster.node("g2").launch().expect("it starts");
    eventually!(LIMIT, !file("g2", "one").exists());
    assert!(file("g2", "two").is_file());
}
