//! Nodes that stop in order: gossip and control plane outlive the gateway, which takes leave of its
//! clients and of the others through them.

use std::time::Duration;

use gatemq_tests::{Cluster, Connect, Node, patience::becomes_true, unique};

/// How long anything may take until it is told of.
const LIMIT: Duration = Duration::from_secs(20);

/// What a node logs that could not take leave, or did not know that it had.
const COMPLAINTS: [&str; 6] = [
    "took this gateway for gone",
    "joined again",
    "the control plane was not told",
    "stopping although",
    "did not end in time",
    "panicked",
];

fn stops_in_order(node: &Node) {
    let topic = unique("absent");
    let mut client = node.connect(&Connect::persistent(5, unique("sub"))).0;
    client.subscribe(&topic, 1);
    client.disconnect();
    let _present = node.v5(&unique("present"));
    assert!(node.terminate().success());
    for complaint in COMPLAINTS {
        let log = node.log();
        assert_eq!(log.count(complaint), 0, "{complaint}: {}", log.tail(30));
    }
}

#[test]
fn the_only_node_stops_in_order() {
    let cluster = Cluster::builder().whole(1).start();
    stops_in_order(cluster.node("n1"));
}

#[test]
fn the_leader_stops_in_order() {
    let cluster = Cluster::builder().whole(3).start();
    cluster.wait_for_voters();
    stops_in_order(cluster.node("n1"));
    let mut client = cluster.node("n2").v5(&unique("client"));
    client.subscribe(&unique("filter"), 1);
}

/// What an operator does on purpose is no reason to look.
#[test]
fn orderly_starts_and_stops_are_no_warnings() {
    let cluster = Cluster::builder().control(3).gateways(2).start();
    cluster.wait_for_voters();
    let follower = cluster.node("c3");
    assert!(follower.terminate().success());
    follower.restart();
    let [staying, leaving] = ["g1", "g2"].map(|name| cluster.node(name));
    // A message crosses, so that there is a connection to lose.
    let topic = unique("crossing");
    let mut subscriber = leaving.v5(&unique("sub"));
    subscriber.subscribe(&topic, 1);
    staying.v5(&unique("pub")).publish(&topic, b"over", 1);
    assert_eq!(subscriber.receive().payload, b"over");
    for n_lives in 1..=2 {
        assert!(leaving.terminate().success());
        let is_told = becomes_true(LIMIT, || staying.log().count("node left") == n_lives);
        assert!(is_told, "{}", staying.log().tail(20));
        leaving.restart();
    }
    let is_warning = |line: &str| {
        let is_ours = !line.contains("openraft") && !line.contains("memberlist");
        is_ours && (line.contains(" WARN ") || line.contains(" ERROR "))
    };
    assert_eq!(cluster.complaints(is_warning), [] as [String; 0]);
    // One that goes without a word is one.
    leaving.kill();
    let is_told = becomes_true(LIMIT, || staying.log().count("node is gone") == 1);
    assert!(is_told, "{}", staying.log().tail(20));
}
