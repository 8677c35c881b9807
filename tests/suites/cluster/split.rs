//! The size that is meant for production: three control nodes, three gateways, Redis, each of them
//! lost in turn, and what the gateways tell of all of them together.

use std::time::Duration;

use gatemq_tests::{Client, Cluster, Node, patience::becomes_true, traffic::Traffic, unique};

/// How long a figure may take to reach `$SYS`: it is published every second.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn every_process_can_be_lost_in_turn() {
    let what = "each process in turn";
    let cluster = Cluster::builder().control(3).gateways(3).start();
    cluster.wait_for_voters();
    let traffic = Traffic::new(what, &cluster)
        .with_absent_subscribers()
        .with_present_subscribers()
        .with_publishers();
    traffic.stream(100);
    let all: Vec<_> = cluster.nodes().iter().map(Node::name).collect();
    for name in &all {
        cluster.node(name).kill();
        traffic.stream(100);
        cluster.node(name).restart();
        traffic.stream(50);
    }
    cluster.redis().kill();
    cluster.redis().restart();
    traffic.stream(100);
    traffic.finish_lossless(what, 150 * all.len() + 200);
}

/// What waits then is seen by its clients only, and the log says why.
#[test]
fn a_gateway_that_does_not_reach_the_control_plane_says_so_once() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let log = cluster.node("g1").log();
    let (lost, back) = ("the control plane is not reached: ", "is reached again");
    assert_eq!(log.count(lost) + log.count(back), 0);
    cluster.node("c1").pause();
    assert!(
        becomes_true(SOON, || log.count(lost) == 1),
        "{}",
        log.text()
    );
    cluster.node("c1").resume();
    assert!(becomes_true(SOON, || log.count(back) > 0), "{}", log.text());
}

/// The latest value of a figure, as a new subscriber gets it.
fn figure(client: &mut Client, name: &str) -> Option<String> {
    let topic = format!("$SYS/cluster/{name}");
    client.subscribe(&topic, 0);
    let packet = client.recv_within(SOON);
    client.unsubscribe(&[&topic]);
    let payload = packet?.publish(4).payload;
    String::from_utf8(payload).ok()
}

#[track_caller]
fn becomes(node: &Node, name: &str, wanted: &str) {
    let mut client = node.v4(&unique("sys"));
    let mut last = None;
    let is_it = becomes_true(SOON, || {
        last = figure(&mut client, name);
        last.as_deref() == Some(wanted)
    });
    let node = node.name();
    assert!(is_it, "{node}: {name} is {last:?} instead of {wanted}");
}

#[test]
fn every_gateway_tells_the_sums_of_all() {
    let cluster = Cluster::builder()
        .control(1)
        .gateways(3)
        .setting("sys-interval: 1s")
        .start();
    let [one, two, three] = cluster.three();
    let nodes = [one, one, two, three, three, three];
    let mut clients: Vec<_> = nodes.iter().map(|node| node.v5(&unique("here"))).collect();
    for client in &mut clients {
        client.subscribe("all/+", 0);
    }
    clients[0].publish_retained("all/1", b"kept", 1);
    for node in [one, two, three] {
        becomes(node, "gateways", "3");
        becomes(node, "clients/connected", "7"); // and the one that looks
        becomes(node, "retained", "1");
    }
    three.kill();
    becomes(one, "gateways", "2");
    becomes(two, "clients/connected", "4");
}
