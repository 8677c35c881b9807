//! Nodes that are too far behind for the log.

use std::sync::atomic::Ordering::SeqCst;

use crate::harness::*;

fn with_short_logs(mut node: Node) -> Node {
    node.config.snapshot_every = 100;
    node.config.keep_log = 10;
    node
}

#[tokio::test]
async fn a_node_far_behind_gets_a_snapshot() {
    let gossip = Gossip::new();
    let names = ["c01", "c02", "c03"];
    let mut nodes = names.map(|name| with_short_logs(Node::on_redb(name, &gossip)));
    nodes[0].config.bootstrap = true;
    form(&mut nodes).await;
    voters(&nodes, 3).await;
    let place = (leader(&nodes).await + 1) % 3;
    nodes[place].stop().await;
    let resets = nodes[place].resets.load(SeqCst);
    for value in 0..400 {
        commit(&nodes, value).await;
    }
    nodes[place].start().await;
    let state = same_state(&nodes).await;
    assert_eq!(state.settings().history().count(), 400);
    assert!(
        nodes[place].resets.load(SeqCst) > resets,
        "it got a snapshot"
    );
    // And it starts from what it got.
    nodes[place].stop().await;
    commit(&nodes, 400).await;
    nodes[place].start().await;
    same_state(&nodes).await;
}

#[tokio::test]
async fn a_node_that_joins_late_gets_a_snapshot() {
    let gossip = Gossip::new();
    let mut nodes = vec![with_short_logs(Node::on_memory("c01", &gossip).founding(3))];
    form(&mut nodes).await;
    for value in 0..300 {
        commit(&nodes, value).await;
    }
    for name in ["c02", "c03"] {
        let mut node = with_short_logs(Node::on_memory(name, &gossip));
        node.start().await;
        nodes.push(node);
    }
    voters(&nodes, 3).await;
    same_state(&nodes).await;
    assert!(nodes[1].resets.load(SeqCst) > 0);
}
