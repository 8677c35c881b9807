//! Nodes that must not start, and calls that must not be answered.

use std::time::Duration;

use gatemq_control_plane::consensus::{Consensus, StartError};
use gatemq_proto::cluster::PROTOCOL;
use gatemq_proto::cluster::control::JoinRequest;
use gatemq_proto::cluster::prost::Message;
use gatemq_proto::cluster::raft::membership::Voters;
use gatemq_proto::cluster::raft::raft_client::RaftClient;
use gatemq_proto::cluster::raft::{
    Addressee, AppendRequest, LogId, Membership, SnapshotHead, SnapshotMeta, SnapshotPiece,
    StoredMembership, VoteRecord, VoteRequest, membership,
};
use gatemq_proto::cluster::state::ControlNode;
use tokio_stream::StreamExt;
use tonic::Code;

use crate::harness::*;

#[tokio::test]
async fn a_second_bootstrap_is_refused() {
    let gossip = Gossip::new();
    let mut first = Node::on_memory("c01", &gossip).founding(3);
    first.start().await;
    let mut second = Node::on_memory("c02", &gossip).founding(3);
    let error = second.try_start().await.unwrap_err();
    assert!(matches!(error, StartError::Founded { .. }), "{error}");
    // Without the flag it joins.
    second.config.bootstrap = false;
    second.start().await;
    assert_eq!(second.running().cluster_id(), first.running().cluster_id());
}

/// The first node is known and does not answer yet, as one that is just being started.
#[tokio::test]
async fn a_second_bootstrap_asks_again_whoever_did_not_answer() {
    let gossip = Gossip::new();
    let mut first = Node::on_redb("c01", &gossip).founding(3);
    first.start().await;
    first.stop().await;
    let mut second = Node::on_memory("c02", &gossip).founding(3);
    let late = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        first.start().await;
    };
    let (founded, ()) = tokio::join!(second.try_start(), late);
    let error = founded.unwrap_err();
    assert!(matches!(error, StartError::Founded { .. }), "{error}");
}

#[tokio::test]
async fn an_empty_directory_under_an_old_name_is_refused() {
    let gossip = Gossip::new();
    let mut nodes = ["c01", "c02", "c03"].map(|name| Node::on_redb(name, &gossip));
    nodes[0].config.bootstrap = true;
    form(&mut nodes).await;
    voters(&nodes, 3).await;
    let lead = leader(&nodes).await;
    let place = (lead + 1) % 3;
    let number = nodes[place].running().number();
    nodes[place].stop().await;
    nodes[place].lose_data();
    nodes[place].config.bootstrap = false;
    let error = nodes[place].try_start().await.unwrap_err().to_string();
    let expected = format!("{} is a member already", nodes[place].config.name);
    assert!(error.contains(&expected), "{error}");
    // Somebody says that it is gone: then it may come as a new one.
    nodes[lead].running().remove(number).await.unwrap();
    nodes[place].start().await;
    assert_ne!(nodes[place].running().number(), number);
    voters(&nodes, 3).await;
}

#[tokio::test]
async fn an_empty_founder_that_would_found_again_is_refused() {
    let gossip = Gossip::new();
    let mut nodes = ["c01", "c02", "c03"].map(|name| Node::on_memory(name, &gossip));
    nodes[0].config.bootstrap = true;
    form(&mut nodes).await;
    voters(&nodes, 3).await;
    nodes[0].stop().await;
    nodes[0].lose_data();
    let error = nodes[0].try_start().await.unwrap_err();
    assert!(matches!(error, StartError::Founded { .. }), "{error}");
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused() {
    let (here, there) = (Gossip::new(), Gossip::new());
    let mut ours = Node::on_memory("c01", &here).founding(1);
    ours.start().await;
    let mut theirs = Node::on_memory("c02", &there).founding(1);
    theirs.start().await;
    theirs.stop().await;
    theirs.gossip = here;
    let error = theirs.try_start().await.unwrap_err().to_string();
    assert!(
        error.contains("this node's data is of the cluster"),
        "{error}"
    );
}

#[tokio::test]
async fn a_node_of_another_version_is_not_taken_in() {
    let gossip = Gossip::new();
    let mut node = Node::on_memory("c01", &gossip).founding(1);
    let consensus = node.start().await.clone();
    for (protocol, age) in [(0, "an older"), (PROTOCOL + 1, "a newer")] {
        let request = JoinRequest {
            node: Some(ControlNode {
                name: "c02".to_owned(),
                ..ControlNode::default()
            }),
            protocol,
            ..JoinRequest::default()
        };
        let reply = consensus.join(request).await.unwrap();
        assert_eq!((reply.number, reply.protocol), (0, PROTOCOL));
        let expected = format!("c02 is of {age} version");
        assert!(reply.refused.contains(&expected), "{}", reply.refused);
    }
}

#[tokio::test]
async fn a_call_for_another_is_refused() {
    let gossip = Gossip::new();
    let mut node = Node::on_memory("c01", &gossip).founding(1);
    let consensus = node.start().await.clone();
    commit(std::slice::from_ref(&node), 1).await;
    let address = format!("http://{}", node.config.address);
    let mut client = RaftClient::connect(address).await.unwrap();
    let term = consensus.leadership().borrow().term;
    let vote = VoteRecord {
        term: term + 10,
        node: 1,
        is_committed: false,
    };
    let own = consensus.cluster_id().clone();
    for (cluster_id, number) in [(vec![1; 16].into(), 1), (own.clone(), 2)] {
        let to = Some(Addressee {
            cluster_id,
            node: number,
        });
        let request = VoteRequest {
            to: to.clone(),
            vote: Some(vote),
            last: None,
        };
        let status = client.vote(request).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        let request = AppendRequest {
            to,
            vote: Some(vote),
            ..AppendRequest::default()
        };
        let status = client.append(request).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    }
    let status = client.vote(VoteRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    // A number that was never given, and lies before the present: it was dismissed.
    let stranger = VoteRequest {
        to: Some(Addressee {
            cluster_id: own,
            node: 1,
        }),
        vote: Some(VoteRecord { node: 2, ..vote }),
        last: None,
    };
    let status = client.vote(stranger).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert_eq!(consensus.leadership().borrow().term, term);
}

#[tokio::test]
async fn a_node_that_finds_nobody_waits_until_it_is_stopped() {
    let gossip = Gossip::new();
    let mut node = Node::on_memory("c02", &gossip);
    let waiting = tokio::time::timeout(Duration::from_millis(300), node.try_start()).await;
    assert!(waiting.is_err(), "nobody is there to ask");
}

/// A sender that gives up ends its stream as one does that has sent all.
#[tokio::test]
async fn half_a_snapshot_is_refused() {
    let gossip = Gossip::new();
    let mut node = Node::on_memory("c01", &gossip).founding(1);
    let consensus = node.start().await.clone();
    for value in 0..10 {
        commit(std::slice::from_ref(&node), value).await;
    }
    let state = consensus.state();
    let address = format!("http://{}", node.config.address);
    let client = RaftClient::connect(address).await.unwrap();
    let parts: Vec<_> = state.parts().collect();
    let of_parts = |n: usize, is_last: bool| {
        let head = snapshot_head(&consensus);
        let pieces = parts[..n]
            .iter()
            .enumerate()
            .map(|(i, part)| SnapshotPiece {
                head: (i == 0).then(|| head.clone()),
                data: part.encode_length_delimited_to_vec().into(),
                is_last: is_last && i + 1 == n,
            });
        tokio_stream::iter(pieces.collect::<Vec<_>>())
    };
    assert!(parts.len() > 2, "there is something to lose");

    let endless = of_parts(2, false).chain(tokio_stream::pending());
    let mut first = client.clone();
    let given_up = tokio::time::timeout(Duration::from_millis(300), first.snapshot(endless)).await;
    assert!(given_up.is_err());
    // One is received at a time: the one that was given up is over when this one is looked at.
    eventually("half a snapshot is looked at", || async {
        let ended = client.clone().snapshot(of_parts(2, false)).await;
        let code = ended.map_or_else(|status| status.code(), |_| Code::Ok);
        assert!(code == Code::InvalidArgument || code == Code::ResourceExhausted);
        (code == Code::InvalidArgument).then_some(())
    })
    .await;
    assert_eq!(consensus.state().hash(), state.hash());

    let whole = client.clone().snapshot(of_parts(parts.len(), true)).await;
    whole.unwrap();
    eventually("a whole one is taken", || async {
        let now = consensus.state();
        (now.revision() == 1_000 && now.parts().eq(state.parts())).then_some(())
    })
    .await;
}

/// Of another leader, far in the future.
fn snapshot_head(consensus: &Consensus) -> SnapshotHead {
    let term = consensus.leadership().borrow().term + 10;
    let last = LogId {
        term,
        node: 2,
        index: 1_000,
    };
    let nodes = [1, 2].map(|number| membership::Node {
        number,
        name: format!("c0{number}"),
        address: format!("127.0.0.1:{number}"),
    });
    SnapshotHead {
        to: Some(Addressee {
            cluster_id: consensus.cluster_id().clone(),
            node: 1,
        }),
        vote: Some(VoteRecord {
            term,
            node: 2,
            is_committed: true,
        }),
        meta: Some(SnapshotMeta {
            last: Some(last),
            membership: Some(StoredMembership {
                log_id: Some(last),
                membership: Some(Membership {
                    joint: vec![Voters { nodes: vec![1, 2] }],
                    nodes: nodes.into(),
                }),
            }),
            id: "of a test".to_owned(),
        }),
    }
}
