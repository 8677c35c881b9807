//! Leaders that go, and those who find another.

use std::time::Duration;

use gatemq_control_plane::consensus::ProposeError;
use tokio::time::Instant;

use crate::harness::*;

async fn three() -> [Node; 3] {
    let gossip = Gossip::new();
    let mut nodes = ["c01", "c02", "c03"].map(|name| Node::on_memory(name, &gossip));
    nodes[0].config.bootstrap = true;
    form(&mut nodes).await;
    voters(&nodes, 3).await;
    nodes
}

#[tokio::test]
async fn another_leader_is_found_soon() {
    let mut nodes = three().await;
    commit(&nodes, 0).await;
    let first = leader(&nodes).await;
    let term = nodes[first].running().leadership().borrow().term;
    nodes[first].stop().await;
    let start = Instant::now();
    let second = leader(&nodes).await;
    let took = start.elapsed();
    assert_ne!(first, second);
    assert!(nodes[second].running().leadership().borrow().term > term);
    // At most 1 s by the timers; the rest is for a busy machine.
    assert!(took < Duration::from_secs(10), "{took:?}");
    commit(&nodes, 1).await;
    nodes[first].start().await;
    commit(&nodes, 2).await;
    let state = same_state(&nodes).await;
    assert_eq!(state.settings().history().count(), 3);
}

#[tokio::test]
async fn a_follower_says_who_leads() {
    let nodes = three().await;
    let place = leader(&nodes).await;
    let leader = nodes[place].running();
    assert!(leader.quorum_age().unwrap() < PATIENCE);
    let address = leader.leadership().borrow().leader.clone().unwrap().address;
    let follower = nodes[(place + 1) % 3].running();
    assert_eq!(follower.quorum_age(), None);
    assert!(!follower.leadership().borrow().is_self);
    let error = follower.propose(configure(0)).await.unwrap_err();
    let leader_address = Some(address);
    assert_eq!(error, ProposeError::NotLeader { leader_address });
}

#[tokio::test]
async fn without_a_quorum_nothing_is_promised() {
    let mut nodes = three().await;
    let place = leader(&nodes).await;
    for other in [place + 1, place + 2] {
        nodes[other % 3].stop().await;
    }
    let alone = nodes[place].running().clone();
    // First nobody knows; then the leader knows that it is alone.
    let first = alone.propose(configure(7)).await;
    assert_eq!(first, Err(ProposeError::Unknown));
    eventually("the leader knows", || async {
        let error = alone.propose(configure(8)).await.unwrap_err();
        (error == ProposeError::NoQuorum).then_some(())
    })
    .await;
    assert_eq!(alone.state().settings().history().count(), 0);
    start_all(&mut nodes).await;
    commit(&nodes, 9).await;
    same_state(&nodes).await;
}

#[tokio::test]
async fn what_is_not_for_others_to_propose_is_refused() {
    use gatemq_proto::cluster::state::{Command, Dismiss, command};

    let gossip = Gossip::new();
    let mut node = Node::on_memory("c01", &gossip).founding(1);
    let node = node.start().await;
    let dismiss = command::Kind::Dismiss(Dismiss { number: 1 });
    for kind in [None, Some(dismiss)] {
        let error = node.propose(Command { kind }).await.unwrap_err();
        assert!(matches!(error, ProposeError::Invalid(_)), "{error:?}");
    }
}
