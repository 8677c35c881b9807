//! Nodes that move, are removed, or lose an answer.

use futures_util::FutureExt;
use gatemq_control_plane::consensus::{ChangeError, StartError};
use gatemq_proto::cluster::PROTOCOL;
use gatemq_proto::cluster::control::JoinRequest;
use gatemq_proto::cluster::state::ControlNode;

use crate::harness::*;

async fn formed(names: &[&str]) -> Vec<Node> {
    formed_in(&Gossip::new(), names).await
}

async fn formed_in(gossip: &Gossip, names: &[&str]) -> Vec<Node> {
    let nodes = names.iter().map(|name| Node::on_memory(name, gossip));
    let mut nodes: Vec<_> = nodes.collect();
    nodes[0].config.bootstrap = true;
    form(&mut nodes).await;
    voters(&nodes, 3).await;
    nodes
}

#[tokio::test]
async fn a_follower_that_has_moved_votes_again() {
    moved_votes_again(1).await;
}

#[tokio::test]
async fn a_leader_that_has_moved_votes_again() {
    moved_votes_again(0).await;
}

/// Moves the leader, or the node that many places after it.
async fn moved_votes_again(after_leader: usize) {
    let mut nodes = formed(&["c01", "c02", "c03"]).await;
    let numbers = voters(&nodes, 3).await;
    let place = (leader(&nodes).await + after_leader) % 3;
    let before = nodes[place].config.address.clone();
    nodes[place].stop().await;
    nodes[place].move_away();
    nodes[place].start().await;
    assert_ne!(nodes[place].config.address, before);
    all_know_where_it_is(&nodes, place).await;
    assert_eq!(voters(&nodes, 3).await, numbers);
    commit(&nodes, 1).await;
    same_state(&nodes).await;
}

async fn all_know_where_it_is(nodes: &[Node], place: usize) {
    let number = nodes[place].running().number();
    let address = &nodes[place].config.address;
    eventually("all know where it is", || async {
        let is_known = running(nodes).all(|node| {
            let status = node.status();
            let mut found = status.nodes.iter().filter(|it| it.number == number);
            let node = found.next().and_then(|it| it.node.as_ref());
            node.is_some_and(|node| node.address == *address)
        });
        is_known.then_some(())
    })
    .await;
}

/// No leader is left who could write down where they are: gossip has to say it.
#[tokio::test]
async fn all_may_move_at_once() {
    let mut nodes = formed_in(&Gossip::telling_places(), &["c01", "c02", "c03"]).await;
    let numbers = voters(&nodes, 3).await;
    for node in &mut nodes {
        node.stop().await;
        node.move_away();
    }
    start_all(&mut nodes).await;
    leader(&nodes).await;
    for place in 0..3 {
        all_know_where_it_is(&nodes, place).await;
    }
    assert_eq!(voters(&nodes, 3).await, numbers);
    commit(&nodes, 1).await;
    same_state(&nodes).await;
}

/// Each moves as soon as the one before is ready, as where containers are replaced in turn.
#[tokio::test]
async fn a_node_that_moves_is_ready_when_it_votes() {
    let mut nodes = formed(&["c01", "c02", "c03"]).await;
    for node in &mut nodes {
        node.stop().await;
        node.move_away();
        let node = node.start().await;
        eventually("it is ready", || async {
            node.hindrance().is_none().then_some(())
        })
        .await;
        assert_eq!(voters_of(node).len(), 3);
    }
    let alone = nodes[0].running().clone();
    nodes[1].stop().await;
    nodes[2].stop().await;
    eventually("it knows no leader", || async {
        (alone.status().leader == 0).then_some(())
    })
    .await;
    let why = alone.hindrance().expect("it is not ready");
    assert_eq!(why.state, "quorum");
    assert!(why.reason.contains("no leader"), "{why:?}");
}

#[tokio::test]
async fn the_only_node_may_move() {
    let gossip = Gossip::new();
    let mut nodes = [Node::on_memory("c01", &gossip).founding(1)];
    form(&mut nodes).await;
    commit(&nodes, 1).await;
    nodes[0].stop().await;
    nodes[0].move_away();
    nodes[0].start().await;
    commit(&nodes, 2).await;
    let address = nodes[0].config.address.clone();
    eventually("it knows where it is", || async {
        let leader = nodes[0].running().leadership().borrow().leader.clone()?;
        (leader.address == address).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_removed_node_is_replaced_and_does_not_come_back() {
    let mut nodes = formed(&["c01", "c02", "c03", "c04"]).await;
    commit(&nodes, 1).await;
    let lead = leader(&nodes).await;
    let voting = voters(&nodes, 3).await;
    let is_follower =
        |place: &usize| *place != lead && voting.contains(&nodes[*place].running().number());
    let place = (0..4).find(is_follower).unwrap();
    let number = nodes[place].running().number();
    let leading = nodes[lead].running().clone();
    leading.remove(number).await.unwrap();
    assert!(matches!(
        leading.remove(number).await,
        Err(ChangeError::Refused(_))
    ));
    nodes[place].stop().await;
    let now = voters(&nodes, 3).await;
    assert!(!now.contains(&number));
    // It is applied by all that nothing needs it any more.
    commit(&nodes, 1).await;
    same_state(&nodes).await;
    let error = nodes[place].try_start().await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("is no node of this control plane any more"),
        "{text}"
    );
    // Empty, it may join anew, under its name and another number.
    nodes[place].lose_data();
    nodes[place].start().await;
    assert_ne!(nodes[place].running().number(), number);
    commit(&nodes, 2).await;
    same_state(&nodes).await;
}

/// Four nodes, of which one was removed while it was stopped; and its place.
async fn removed_and_stopped() -> (Vec<Node>, usize) {
    let mut nodes = formed(&["c01", "c02", "c03", "c04"]).await;
    let lead = leader(&nodes).await;
    let voting = voters(&nodes, 3).await;
    let is_learner = |place: &usize| !voting.contains(&nodes[*place].running().number());
    let place = (0..4).find(is_learner).expect("one does not vote");
    let number = nodes[place].running().number();
    // It hears nothing of its removal.
    nodes[place].stop().await;
    let removed = nodes[lead].running().remove(number).await;
    removed.expect("a test's own machinery");
    let request = JoinRequest {
        cluster_id: nodes[lead].running().cluster_id().clone(),
        number,
        protocol: PROTOCOL,
        ..JoinRequest::default()
    };
    eventually("it is out", || async {
        let reply = nodes[lead].running().join(request.clone()).await.ok()?;
        reply.is_dismissed.then_some(())
    })
    .await;
    commit(&nodes, 1).await;
    same_state(&nodes).await;
    (nodes, place)
}

#[tokio::test]
async fn a_removed_node_that_gossip_tells_nothing_asks_those_of_its_log() {
    let (mut nodes, place) = removed_and_stopped().await;
    nodes[place].gossip = Gossip::new();
    let error = nodes[place].try_start().await.unwrap_err().to_string();
    assert!(error.contains("was removed"), "{error}");
}

#[tokio::test]
async fn a_node_that_runs_finds_out_that_it_was_removed() {
    let (mut nodes, place) = removed_and_stopped().await;
    for at in (0..4).filter(|at| *at != place) {
        nodes[at].stop().await;
    }
    // Nobody is there to say so yet.
    nodes[place].start().await;
    start_all(&mut nodes).await;
    let dismissed = tokio::time::timeout(PATIENCE, nodes[place].running().dismissed());
    let said = dismissed.await.unwrap().to_string();
    assert!(said.contains("was removed"), "{said}");
    for at in (0..4).filter(|at| *at != place) {
        let dismissed = nodes[at].running().dismissed().now_or_never();
        assert!(dismissed.is_none(), "{}", nodes[at].config.name);
    }
}

#[tokio::test]
async fn a_voter_that_is_removed_while_it_runs_says_so_and_the_others_go_on() {
    for after_leader in [0, 1] {
        let nodes = formed(&["c01", "c02", "c03"]).await;
        let lead = leader(&nodes).await;
        let place = (lead + after_leader) % 3;
        let number = nodes[place].running().number();
        nodes[lead].running().remove(number).await.unwrap();
        let dismissed = tokio::time::timeout(PATIENCE, nodes[place].running().dismissed());
        dismissed.await.unwrap();
        eventually("two voters", || async {
            let mut rest = (0..3).filter(|at| *at != place);
            rest.all(|at| voters_of(nodes[at].running()).len() == 2)
                .then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn the_leader_may_be_removed() {
    let mut nodes = formed(&["c01", "c02", "c03"]).await;
    let lead = leader(&nodes).await;
    let number = nodes[lead].running().number();
    nodes[lead].running().remove(number).await.unwrap();
    eventually("two voters", || async {
        let mut rest = (0..3).filter(|place| *place != lead);
        let is_gone = rest.all(|place| {
            let voters = voters_of(nodes[place].running());
            voters.len() == 2 && !voters.contains(&number)
        });
        is_gone.then_some(())
    })
    .await;
    nodes[lead].stop().await;
    leader(&nodes).await;
    commit(&nodes, 1).await;
    same_state(&nodes).await;
}

#[tokio::test]
async fn a_removal_that_leaves_too_few_is_refused() {
    let mut nodes = formed(&["c01", "c02", "c03"]).await;
    let lead = leader(&nodes).await;
    let [gone, other] = [(lead + 1) % 3, (lead + 2) % 3];
    nodes[gone].stop().await;
    let number = nodes[other].running().number();
    let error = nodes[lead].running().remove(number).await.unwrap_err();
    assert!(matches!(error, ChangeError::Refused(_)), "{error:?}");
    let error = nodes[other].running().remove(number).await.unwrap_err();
    assert!(matches!(error, ChangeError::NotLeader { .. }), "{error:?}");
    assert_eq!(voters_of(nodes[lead].running()).len(), 3);
}

#[tokio::test]
async fn a_lost_answer_costs_a_number_not_the_name() {
    let gossip = Gossip::new();
    let mut founder = Node::on_memory("c01", &gossip).founding(3);
    let founder = founder.start().await.clone();
    let request = JoinRequest {
        node: Some(ControlNode {
            name: "c02".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            version: String::new(),
        }),
        protocol: PROTOCOL,
        ..JoinRequest::default()
    };
    let ask = async || {
        eventually("a leader", || async {
            founder.join(request.clone()).await.ok()
        })
        .await
    };
    let first = ask().await;
    let mut node = Node::on_memory("c02", &gossip);
    let number = node.start().await.number();
    assert!(number > first.number);
    eventually("c02 is taken in", || async {
        let state = node.running().state();
        state.control_node(number).map(drop)
    })
    .await;
    // From here on the number may have voted.
    let refused = ask().await.refused;
    assert!(refused.contains("c02 is a member already"), "{refused}");
    // And the first number is nobody's.
    let late = JoinRequest {
        cluster_id: first.cluster_id,
        number: first.number,
        ..request.clone()
    };
    let refused = founder.join(late).await.unwrap().refused;
    assert!(
        refused.contains("is no node of this control plane"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_node_under_another_name_does_not_start() {
    let gossip = Gossip::new();
    let mut node = Node::on_memory("c01", &gossip).founding(1);
    node.start().await;
    eventually("founded", || async {
        node.running().state().cluster_id().map(drop)
    })
    .await;
    commit(std::slice::from_ref(&node), 1).await;
    node.stop().await;
    node.config.name = "c09".to_owned();
    let error = node.try_start().await.unwrap_err();
    assert!(matches!(error, StartError::OtherName { .. }), "{error}");
}
