//! Proposals at any node, and what is said when nothing came of them.

use gatemq_proto::cluster::prost::bytes::Bytes;
use gatemq_proto::cluster::state::{Configure, Forget, command};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tonic::Code;

use super::fake::{CLUSTER, Cluster, config};
use super::*;

fn request(n_hops: u32) -> ProposeRequest {
    let kind = command::Kind::Forget(Forget { incarnation: 77 });
    ProposeRequest {
        cluster_id: CLUSTER.into(),
        command: Some(Command { kind: Some(kind) }),
        n_hops,
    }
}

async fn refusal(cluster: &Cluster, node: u64, request: ProposeRequest) -> Status {
    let mut client = cluster.node(node).client().await;
    client.propose(request).await.unwrap_err()
}

#[tokio::test]
async fn every_node_takes_proposals() {
    let cluster = Cluster::start(2).await;
    for (node, index) in [(1, 2), (2, 3)] {
        let mut client = cluster.node(node).client().await;
        let outcome = client.propose(request(0)).await.unwrap().into_inner();
        assert_eq!(outcome.index, index);
        let outcome = cluster.node(node).fake.view().revision();
        assert_eq!(outcome, index);
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_proposal_is_passed_on_once() {
    let cluster = Cluster::start(2).await;
    let status = refusal(&cluster, 2, request(1)).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("node 1 does"), "{status}");
    // Two that take each other for the leader pass nothing on for ever.
    let address = cluster.node(2).address.to_string();
    cluster.node(1).fake.follow(&address);
    let status = refusal(&cluster, 2, request(0)).await;
    assert_eq!(status.code(), Code::Unavailable);
    cluster.stop().await;
}

#[tokio::test]
async fn without_a_known_leader_it_is_said_that_nothing_was_done() {
    let cluster = Cluster::start(1).await;
    cluster.node(1).fake.forget_leader();
    let status = refusal(&cluster, 1, request(0)).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("no leader"), "{status}");
    cluster.stop().await;
}

#[tokio::test]
async fn a_leader_that_cannot_be_reached_has_done_nothing() {
    let cluster = Cluster::start(1).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    cluster.node(1).fake.follow(&address);
    let status = refusal(&cluster, 1, request(0)).await;
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    cluster.stop().await;
}

#[tokio::test]
async fn a_leader_that_dies_meanwhile_may_have_done_it() {
    let cluster = Cluster::start(1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    cluster
        .node(1)
        .fake
        .follow(&listener.local_addr().unwrap().to_string());
    // Takes connections, and closes each once something has come.
    let dies = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 64 << 10]).await.unwrap() > 0);
        }
    };
    let status = tokio::select! {
        status = refusal(&cluster, 1, request(0)) => status,
        () = dies => unreachable!("it never ends"),
    };
    assert_eq!(status.code(), Code::Unknown, "{status}");
    cluster.stop().await;
}

#[tokio::test]
async fn after_a_timeout_nobody_knows() {
    let config = Config {
        propose_within: Duration::from_millis(100),
        ..config()
    };
    let cluster = Cluster::start_with(2, Bounds::default(), config).await;
    cluster.node(1).fake.will.lock().is_stuck = true;
    for node in [1, 2] {
        let status = refusal(&cluster, node, request(0)).await;
        assert_eq!(status.code(), Code::Unknown);
        assert!(status.message().starts_with("nobody knows"), "{status}");
    }
    cluster.stop().await;
}

#[tokio::test]
async fn what_no_node_would_take_is_refused_at_once() {
    let cluster = Cluster::start(1).await;
    let mut other = request(0);
    other.cluster_id = Bytes::from_static(b"another");
    let status = refusal(&cluster, 1, other).await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    let mut none = request(0);
    none.command = None;
    assert_eq!(
        refusal(&cluster, 1, none).await.code(),
        Code::InvalidArgument
    );
    let mut unknown = request(0);
    unknown.command = Some(Command::default());
    assert_eq!(
        refusal(&cluster, 1, unknown).await.code(),
        Code::InvalidArgument
    );
    let mut long = request(0);
    let kind = command::Kind::Configure(Configure {
        key: "k".repeat(MAX_COMMAND),
        ..Configure::default()
    });
    long.command = Some(Command { kind: Some(kind) });
    assert_eq!(
        refusal(&cluster, 1, long).await.code(),
        Code::InvalidArgument
    );
    cluster.stop().await;
}

#[tokio::test]
async fn a_join_of_another_cluster_is_refused() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.node(1).client().await;
    let mut join = JoinRequest {
        number: 5,
        ..JoinRequest::default()
    };
    assert_eq!(
        client.join(join.clone()).await.unwrap().into_inner().number,
        5
    );
    join.cluster_id = Bytes::from_static(b"another");
    let status = client.join(join).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    cluster.stop().await;
}
