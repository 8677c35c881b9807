//! How control planes come into being and survive restarts.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use gatemq_control_plane::consensus::{ChangeError, Consensus};
use gatemq_proto::cluster::PROTOCOL;
use gatemq_proto::cluster::control::{JoinReply, JoinRequest};
use gatemq_proto::cluster::state::ControlNode;

use crate::harness::*;

/// Foundings that somebody waits for: what he is told may hang on which of two things that are there
/// at once is looked at first.
const N_FOUNDINGS: usize = 12;
/// Nodes that ask at a time.
const N_ASKING: usize = 8;

#[tokio::test]
async fn one_node_keeps_what_it_committed() {
    let gossip = Gossip::new();
    let mut nodes = [Node::on_redb("c01", &gossip).founding(1)];
    form(&mut nodes).await;
    for value in 0..20 {
        commit(&nodes, value).await;
    }
    let before = nodes[0].running().state();
    let cluster_id = nodes[0].running().cluster_id().clone();
    assert_eq!(before.cluster_id(), Some(&cluster_id));
    assert_eq!(nodes[0].running().number(), 1);
    // The flag stays in the configuration: it founds nothing more.
    nodes[0].stop().await;
    nodes[0].start().await;
    assert_eq!(nodes[0].running().cluster_id(), &cluster_id);
    commit(&nodes, 20).await;
    let after = nodes[0].running().state();
    assert!(after.revision() > before.revision());
    assert_eq!(after.settings().history().count(), 21);
}

#[tokio::test]
async fn three_nodes_form_and_survive_the_restart_of_each() {
    let gossip = Gossip::new();
    let mut nodes = ["c01", "c02", "c03"].map(|name| Node::on_redb(name, &gossip));
    nodes[0].config.bootstrap = true;
    form(&mut nodes).await;
    let numbers = voters(&nodes, 3).await;
    assert!(numbers.contains(&1));
    let mut value = 0;
    for place in 0..3 {
        commit(&nodes, value).await;
        let number = nodes[place].running().number();
        nodes[place].stop().await;
        value += 1;
        commit(&nodes, value).await;
        nodes[place].start().await;
        assert_eq!(nodes[place].running().number(), number);
        value += 1;
        leader(&nodes).await;
    }
    let state = same_state(&nodes).await;
    assert_eq!(state.control_nodes().count(), 3);
    assert_eq!(voters(&nodes, 3).await, numbers);
}

#[tokio::test]
async fn all_nodes_at_once_may_stop_and_start() {
    let gossip = Gossip::new();
    let mut nodes = ["c01", "c02", "c03"].map(|name| Node::on_redb(name, &gossip));
    nodes[0].config.bootstrap = true;
    form(&mut nodes).await;
    voters(&nodes, 3).await;
    let done = commit(&nodes, 1).await;
    for node in &mut nodes {
        node.stop().await;
    }
    start_all(&mut nodes).await;
    commit(&nodes, 2).await;
    let state = same_state(&nodes).await;
    assert!(state.revision() > done.index);
    assert_eq!(state.settings().history().count(), 2);
}

#[tokio::test]
async fn voters_grow_from_one_to_three_to_five() {
    let gossip = Gossip::new();
    let names = ["c01", "c02", "c03", "c04", "c05"];
    let mut nodes = names.map(|name| Node::on_memory(name, &gossip));
    nodes[0] = Node::on_memory("c01", &gossip).founding(5);
    nodes[0].start().await;
    // All sizes that the founder goes through.
    let founder = nodes[0].running().clone();
    let watching = tokio::spawn(async move {
        let mut seen = BTreeSet::new();
        loop {
            let status = founder.status();
            if !status.voters.is_empty() {
                seen.insert(status.voters.len());
            }
            if status.voters.len() == 5 {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    form(&mut nodes[1..2]).await;
    commit(&nodes, 0).await;
    eventually("c02 learns", || async {
        let state = nodes[1].running().state();
        state.control_node_named("c02").map(drop)
    })
    .await;
    assert_eq!(
        voters_of(nodes[0].running()).len(),
        1,
        "two voters are worse than one"
    );
    form(&mut nodes[2..3]).await;
    voters(&nodes, 3).await;
    form(&mut nodes[3..]).await;
    voters(&nodes, 5).await;
    let seen = watching.await.unwrap();
    assert!(seen.is_subset(&BTreeSet::from([1, 3, 5])), "{seen:?}");
    commit(&nodes, 1).await;
    same_state(&nodes).await;
}

/// Its founder leads a moment before it has said that there is a cluster.
#[tokio::test(flavor = "multi_thread")]
async fn who_would_join_before_there_is_a_cluster_asks_again() {
    for _ in 0..N_FOUNDINGS {
        let mut founder = Node::on_memory("c01", &Gossip::new()).founding(3);
        let founder = founder.start().await;
        let asking = (0..N_ASKING).map(|number| ask_to_join(founder.clone(), number));
        let asking = join_all(asking.map(tokio::spawn));
        let replies = tokio::time::timeout(PATIENCE, asking).await;
        for reply in replies.expect("all are answered") {
            let reply = reply.expect("it does not panic");
            assert_eq!(reply.refused, "");
            assert!(reply.number > 0, "{reply:?}");
        }
    }
}

/// Asks without a pause, as long as there is nobody who could say yes or no.
async fn ask_to_join(founder: Consensus, number: usize) -> JoinReply {
    let node = ControlNode {
        name: format!("new-{number}"),
        address: "127.0.0.1:1".to_owned(),
        version: "test".to_owned(),
    };
    let request = JoinRequest {
        node: Some(node),
        protocol: PROTOCOL,
        ..JoinRequest::default()
    };
    loop {
        match founder.join(request.clone()).await {
            Ok(reply) => return reply,
            Err(ChangeError::Refused(why)) => panic!("refused: {why}"),
            Err(_not_yet) => tokio::task::yield_now().await,
        }
    }
}
