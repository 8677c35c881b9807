//! What a node of a cluster tells over HTTP.

use std::time::Duration;

use gatemq_tests::{Cluster, Node, patience::becomes_true, unique};

use crate::listeners::json;

#[track_caller]
fn get(node: &Node, path: &str) -> String {
    let (status, body) = node.get(path).expect("the node answers");
    assert_eq!(status, 200, "{path} of {}: {body}", node.name());
    body
}

/// The fields of each object of a list.
fn list(text: &str) -> Vec<Vec<(String, String)>> {
    // The reader of the tests reads one object: a list in it is a raw value.
    let wrapped = format!("{{\"list\":{text}}}");
    assert!(json::fields(&wrapped).is_some(), "no JSON: {text}");
    let inner = text
        .trim()
        .strip_prefix('[')
        .and_then(|it| it.strip_suffix(']'));
    let inner = inner.unwrap_or_else(|| panic!("no list: {text}"));
    let objects = inner.split("},{").map(|object| {
        let object = object.trim_matches(|it| it == '{' || it == '}');
        json::fields(&format!("{{{object}}}")).unwrap_or_else(|| panic!("no object: {object}"))
    });
    objects.collect()
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    let found = fields.iter().find(|(found, _)| found == name);
    let (_, value) = found.unwrap_or_else(|| panic!("no {name} in {fields:?}"));
    value.trim_matches('"')
}

#[test]
fn cluster_conf_is_this_nodes_settings() {
    let cluster = Cluster::shared();
    for (number, node) in (1..).zip(cluster.three()) {
        let text = get(node, "/cluster/conf");
        let fields = json::fields(&text).unwrap_or_else(|| panic!("no JSON: {text}"));
        assert_eq!(field(&fields, "node-name"), format!("n{number}"));
        assert_eq!(field(&fields, "bind-addr"), "127.0.0.1");
        let (_, port) = node.gossip().rsplit_once(':').map(own).expect("a port");
        assert_eq!(field(&fields, "bind-port"), port);
        assert_eq!(field(&fields, "raft-bootstrap"), (number == 1).to_string());
        assert_eq!(field(&fields, "control-size"), "3");
        assert!(!text.contains("gossip-keys"), "keys are nobody's business");
    }
}

fn own((first, second): (&str, &str)) -> (String, String) {
    (first.to_owned(), second.to_owned())
}

#[test]
fn a_gateway_by_itself_says_where_the_api_is() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let api = format!("http://{}/api/v1", cluster.node("c1").http());
    let asked = || {
        let (status, body) = cluster.node("g1").get("/api/v1/bans").expect("it answers");
        assert_eq!(status, 404, "{body}");
        body
    };
    let limit = Duration::from_secs(10);
    assert!(
        becomes_true(limit, || asked().contains(&api)),
        "{}",
        asked()
    );
}

#[test]
fn cluster_ms_lists_every_node_with_its_roles() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let (control, gateway) = (cluster.node("c1"), cluster.node("g1"));
    for node in [control, gateway] {
        let mut members = Vec::new();
        let all = becomes_true(Duration::from_secs(10), || {
            members = list(&get(node, "/cluster/ms"));
            members.len() == 2
        });
        assert!(all, "{members:?}");
        members.sort_by_key(|member| field(member, "name").to_owned());
        for (member, of) in members.iter().zip([control, gateway]) {
            assert_eq!(field(member, "name"), of.name());
            let address = format!("{}:{}", field(member, "addr"), field(member, "port"));
            assert_eq!(address, of.gossip());
            assert_eq!(
                field(member, "is-self"),
                (of.name() == node.name()).to_string()
            );
            assert_eq!(field(member, "http"), of.http().to_string());
            let role = if of.has_control() {
                "control"
            } else {
                "gateway"
            };
            assert_eq!(field(member, "roles"), role);
        }
    }
    // Who leaves in order is on the list no more.
    gateway.terminate();
    let has_left = becomes_true(Duration::from_secs(10), || {
        list(&get(control, "/cluster/ms")).len() == 1
    });
    assert!(has_left, "{}", get(control, "/cluster/ms"));
}

#[test]
fn the_metrics_tell_of_the_road_between_nodes() {
    let cluster = Cluster::shared();
    let [one, two, _] = cluster.three();
    let topic = unique("metrics");
    let mut subscriber = two.v4(&unique("sub"));
    subscriber.subscribe(&topic, 1);
    let before = one.metric("peer_messages_sent_total").expect("a metric");
    let mut publisher = one.v4(&unique("pub"));
    for _ in 0..10 {
        publisher.publish(&topic, b"x", 1);
        subscriber.receive();
    }
    let after = one.metric("peer_messages_sent_total").expect("a metric");
    assert!(after >= before + 10.0, "{before} {after}");
    assert_eq!(get(one, "/readyz").trim(), "ready");
}
