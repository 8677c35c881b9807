//! What a gateway lacks has one name, in `/readyz` and in its metrics, and the name goes when it has
//! it again.

use std::time::Duration;

use gatemq_tests::{Cluster, Node, patience::becomes_true};

/// How long a gateway may take to notice.
const NOTICED: Duration = Duration::from_secs(30);

/// The state in `/metrics`, which has to be one.
fn state(node: &Node) -> String {
    let (_, text) = node.get("/metrics").expect("it answers");
    let states = text.lines().filter_map(|line| {
        let name = line.strip_prefix("gateway_state{state=\"")?;
        name.strip_suffix("\"} 1").map(str::to_owned)
    });
    let states: Vec<String> = states.collect();
    assert_eq!(states.len(), 1, "{states:?}");
    states.concat()
}

/// The state is told of, with this status of `/readyz`.
#[track_caller]
fn becomes(node: &Node, expected: &str, status: u16) {
    let is_told = || {
        let (is, body) = node.get("/readyz").expect("it answers");
        let name = format!("\"state\":\"{expected}\"");
        let is_named = match expected {
            "serving" => body == "ready\n",
            _ => body.contains(&name),
        };
        is == status && is_named && state(node) == expected
    };
    let told = becomes_true(NOTICED, is_told);
    let seen = (node.get("/readyz"), state(node));
    assert!(told, "{expected}: {seen:?}\n{}", node.log().tail(20));
    assert_eq!(node.get("/healthz").map(|(status, _)| status), Some(200));
}

#[test]
fn a_gateway_says_whether_it_lacks_its_store_the_quorum_or_the_control_plane() {
    let cluster = Cluster::builder().control(3).gateways(1).start();
    cluster.wait_for_voters();
    let node = cluster.gateways()[0];
    becomes(node, "serving", 200);

    cluster.redis().kill();
    becomes(node, "store", 503);
    cluster.redis().restart();
    becomes(node, "serving", 200);

    for name in ["c1", "c2"] {
        cluster.node(name).kill();
    }
    becomes(node, "quorum", 200);
    cluster.node("c3").kill();
    becomes(node, "lease", 200);
    for name in ["c1", "c2", "c3"] {
        cluster.node(name).restart();
    }
    becomes(node, "serving", 200);
}
