//! Nodes that stop in order: gossip and control plane outlive the gateway, which takes leave of its
//! clients and of the others through them.

use gatemq_tests::{Cluster, Connect, Node, unique};

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
