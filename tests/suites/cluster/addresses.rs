//! Control nodes that come back under other addresses, as containers do.

use std::time::Duration;

use gatemq_tests::{Cluster, Node, cluster::Kind, patience::becomes_true};

/// How long all of them may take to agree again.
const SOON: Duration = Duration::from_secs(60);

/// Nobody is left whom a leader could reach where it was, so nobody could write the new addresses.
#[test]
fn all_control_nodes_may_come_back_in_the_places_of_the_others() {
    let cluster = Cluster::builder().control(3).gateways(1).start();
    cluster.wait_for_voters();
    let old = cluster.controls();
    old.iter().for_each(|node| node.kill());
    let places = old.iter().cycle().skip(1);
    let moved: Vec<_> = (old.iter().zip(places))
        .map(|(node, place)| node.in_place_of(place))
        .collect();
    for node in &moved {
        node.launch().expect("its place is free");
    }
    for node in &moved {
        become_ready(node);
    }
    agree(&cluster, &moved);
}

/// Each as soon as the one before says that it is ready, as Kubernetes does it.
#[test]
fn control_nodes_may_come_back_elsewhere_one_after_the_other() {
    let cluster = Cluster::builder().control(3).gateways(1).start();
    cluster.wait_for_voters();
    let mut moved = Vec::new();
    for node in cluster.controls().into_iter().rev() {
        node.terminate();
        let elsewhere = node.elsewhere();
        elsewhere.launch().expect("a place is free");
        become_ready(&elsewhere);
        moved.push(elsewhere);
    }
    agree(&cluster, &moved);
}

/// A node that remembers that it led knows of no leader while the others are away.
#[test]
fn a_control_node_alone_says_that_it_is_not_ready() {
    let cluster = Cluster::builder().control(3).start();
    cluster.wait_for_voters();
    let controls = cluster.controls();
    let leads = |node: &&&Node| node.metric("control_leads") == Some(1.0);
    let leader = controls.iter().find(leads).expect("a leader");
    controls.iter().for_each(|node| node.kill());
    leader.restart();
    let (status, why) = leader.get("/readyz").expect("it answers");
    assert_eq!(status, 503);
    assert!(
        why.contains("no leader of the control plane is known"),
        "{why}"
    );
    for figure in ["control_leads", "control_knows_leader"] {
        assert_eq!(leader.metric(figure), Some(0.0), "{figure}");
    }
}

#[track_caller]
fn become_ready(node: &Node) {
    if let Err(trouble) = node.wait_until_ready() {
        panic!("{}: {trouble}\n{}", node.name(), node.log().tail(40));
    }
    let is_ready = || node.get("/readyz").is_some_and(|(status, _)| status == 200);
    let (name, log) = (node.name(), node.log());
    assert!(becomes_true(SOON, is_ready), "{name}: {}", log.tail(40));
}

/// All vote, where they are now, and take in another gateway.
#[track_caller]
fn agree(cluster: &Cluster, controls: &[Node]) {
    let all = || cluster.nodes().iter().chain(controls);
    let count = |what| all().map(|node| node.log().count(what)).sum::<usize>();
    let all_written = || count("address changed") >= controls.len();
    assert!(
        becomes_true(SOON, all_written),
        "{}",
        controls[0].log().tail(40)
    );
    assert_eq!(count("voter removed"), 0);
    let members: Vec<_> = controls.iter().map(Node::gossip).collect();
    let members = format!("--members={}", members.join(","));
    let gateway = cluster.prepare_with(Kind::Gateway, "g2", vec![members]);
    gateway.restart();
    let leads = |node: &&Node| node.metric("control_leads") == Some(1.0);
    let has_leader = || controls.iter().filter(leads).count() == 1;
    assert!(becomes_true(SOON, has_leader), "one leads");
}
