//! Snapshots, changes, and who gets neither.

use gatemq_proto::cluster::control::watch_reply::Kind;
use gatemq_proto::cluster::state::{Route, Routes, command, part};
use tonic::Code;

use super::fake::{Cluster, config, patient};
use super::gateway::{Gateway, hello};
use super::*;

fn routes(incarnation: u64, number: u64, n_routes: usize, length: usize) -> command::Kind {
    let route = |number: usize| Route {
        filter: format!("{number:0length$}"),
        ..Route::default()
    };
    command::Kind::Routes(Routes {
        incarnation,
        number,
        set: (0..n_routes).map(route).collect(),
        ..Routes::default()
    })
}

fn small_ring(n_commands: usize) -> Bounds {
    Bounds {
        n_commands,
        ..Bounds::default()
    }
}

#[tokio::test]
async fn a_gateway_without_anything_gets_a_snapshot_and_then_changes() {
    let cluster = Cluster::start(1).await;
    let incarnation = cluster.register();
    let last = cluster.commit(routes(incarnation, 1, 3, 8));
    let mut gateway = Gateway::watch(cluster.node(1), incarnation, 0).await;
    assert!(matches!(gateway.next().await, Some(Kind::Begin(_))));
    let mut parts = Vec::new();
    let changes = loop {
        match gateway.next().await {
            Some(Kind::Part(part)) => parts.push(part.kind.expect("a kind")),
            other => break other,
        }
    };
    assert!(matches!(parts.first(), Some(part::Kind::Summary(_))));
    let Some(Kind::Changes(changes)) = changes else {
        panic!("{changes:?} after the parts");
    };
    assert_eq!((changes.changes.len(), changes.revision), (0, last));
    assert_eq!(gateway.seen.routes[&incarnation], 3);

    let next = cluster.commit(routes(incarnation, 2, 5, 8));
    gateway.until(|seen| seen.revision == next).await;
    assert_eq!(gateway.seen.routes[&incarnation], 5);
    assert_eq!(gateway.seen.n_commands, 1);
    cluster.stop().await;
}

#[tokio::test]
async fn a_gateway_that_comes_back_gets_only_what_it_misses_from_any_node() {
    let cluster = Cluster::start(2).await;
    let incarnation = cluster.register();
    let known = cluster.commit(routes(incarnation, 1, 1, 8));
    let missed = cluster.commit(routes(incarnation, 2, 2, 8));
    for node in [1, 2] {
        let mut gateway = Gateway::watch(cluster.node(node), incarnation, known).await;
        gateway.until(|seen| seen.revision == missed).await;
        assert_eq!((gateway.seen.n_begins, gateway.seen.n_commands), (0, 1));
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_gateway_that_missed_more_than_the_feed_has_gets_a_snapshot() {
    let cluster = Cluster::start_with(1, small_ring(4), config()).await;
    let incarnation = cluster.register();
    for number in 1..=10 {
        cluster.commit(routes(incarnation, number, 1, 8));
    }
    let last = cluster.commit(routes(incarnation, 11, 7, 8));
    let mut gateway = Gateway::watch(cluster.node(1), incarnation, incarnation).await;
    gateway.until(|seen| seen.revision == last).await;
    assert_eq!((gateway.seen.n_begins, gateway.seen.n_commands), (1, 0));
    assert_eq!(gateway.seen.routes[&incarnation], 7);
    cluster.stop().await;
}

#[tokio::test]
async fn a_gateway_that_does_not_read_is_heard_and_gets_a_snapshot_later() {
    let cluster = Cluster::start_with(1, small_ring(64), patient()).await;
    let incarnation = cluster.register();
    let mut gateway = Gateway::watch(cluster.node(1), incarnation, 0).await;
    gateway.until(|seen| seen.revision == incarnation).await;
    let beat = gateway.beat(incarnation).await;
    gateway.until(|seen| seen.mark.beat == beat).await;
    // 30 MB, far more than sockets and windows take.
    let mut last = 0;
    for number in 1..=1000 {
        last = cluster.commit(routes(incarnation, number, 30, 1000));
        tokio::task::yield_now().await;
    }
    let beat = gateway.beat(incarnation).await;
    let mut client = cluster.node(1).client().await;
    let heard = async {
        loop {
            let status = client.status(StatusRequest {}).await.unwrap().into_inner();
            if status
                .attendants
                .iter()
                .any(|attendant| attendant.beat == beat)
            {
                return;
            }
        }
    };
    timeout(DEADLINE, heard).await.expect("it is heard");
    let fill = cluster.node(1).service.shared.feed.fill();
    assert_eq!(fill.n_commands, 64);

    gateway.until(|seen| seen.revision == last).await;
    assert!(
        gateway.seen.n_begins >= 2,
        "it was too far behind: {:?}",
        gateway.seen
    );
    assert!(
        gateway.seen.n_commands < 900,
        "nothing kept what it did not read"
    );
    assert_eq!(gateway.seen.routes[&incarnation], 30);
    cluster.stop().await;
}

#[tokio::test]
async fn a_second_stream_of_a_gateway_ends_the_first() {
    let cluster = Cluster::start(1).await;
    let incarnation = cluster.register();
    let mut first = Gateway::watch(cluster.node(1), incarnation, 0).await;
    first.until(|seen| seen.revision == incarnation).await;
    let mut second = Gateway::watch(cluster.node(1), incarnation, incarnation).await;
    while first.next().await.is_some() {}
    let next = cluster.commit(routes(incarnation, 1, 1, 8));
    second.until(|seen| seen.revision == next).await;
    let beat = second.beat(next).await;
    second.until(|seen| seen.mark.beat == beat).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_fenced_gateway_is_told_after_the_command_that_fenced_it() {
    let cluster = Cluster::start(2).await;
    let incarnation = cluster.register();
    let mut gateway = Gateway::watch(cluster.node(2), incarnation, 0).await;
    gateway.until(|seen| seen.revision == incarnation).await;
    let fence = cluster.fence(incarnation);
    gateway.until(|seen| seen.mark.is_fenced).await;
    assert_eq!(gateway.seen.revision, fence);
    cluster.stop().await;
}

#[tokio::test]
async fn fenced_and_unknown_gateways_are_told_at_once() {
    let cluster = Cluster::start(1).await;
    let incarnation = cluster.register();
    cluster.fence(incarnation);
    // The first entry of the term is no registration.
    for incarnation in [incarnation, 1, 0] {
        let mut gateway = Gateway::watch(cluster.node(1), incarnation, 0).await;
        gateway.until(|seen| seen.mark.is_fenced).await;
        assert!(gateway.next().await.is_none());
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_that_is_behind_does_not_call_a_new_gateway_fenced() {
    let cluster = Cluster::start(2).await;
    cluster.node(2).fake.set_behind(true);
    let incarnation = cluster.register();
    let client = cluster.node(2).client().await;
    let watch = tokio::spawn(Gateway::say(client, hello(incarnation, 0)));
    tokio::task::yield_now().await;
    cluster.node(2).fake.set_behind(false);
    let mut gateway = watch.await.unwrap().unwrap();
    gateway.until(|seen| seen.revision == incarnation).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_that_stays_behind_sends_gateways_elsewhere() {
    let config = Config {
        catch_up_within: Duration::from_millis(50),
        ..config()
    };
    let cluster = Cluster::start_with(2, Bounds::default(), config).await;
    cluster.node(2).fake.set_behind(true);
    let incarnation = cluster.register();
    let client = cluster.node(2).client().await;
    let status = Gateway::say(client, hello(incarnation, 0))
        .await
        .err()
        .unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("try another node"), "{status}");
    cluster.stop().await;
}

#[tokio::test]
async fn another_cluster_and_another_protocol_are_refused() {
    let cluster = Cluster::start(1).await;
    let incarnation = cluster.register();
    let mut other = hello(incarnation, 0);
    other.cluster_id = b"fedcba9876543210".as_slice().into();
    let client = cluster.node(1).client().await;
    let status = Gateway::say(client.clone(), other).await.err().unwrap();
    assert_eq!(status.code(), Code::FailedPrecondition);
    for id in [
        "30313233343536373839616263646566",
        "66656463626139383736353433323130",
    ] {
        assert!(status.message().contains(id), "{status}");
    }
    let newer = gatemq_proto::cluster::PROTOCOL + 1;
    for (protocol, age) in [(0, "an older"), (newer, "a newer")] {
        let mut other = hello(incarnation, 0);
        other.protocol = protocol;
        let status = Gateway::say(client.clone(), other).await.err().unwrap();
        assert_eq!(status.code(), Code::FailedPrecondition);
        let expected = format!("is of {age} version: it speaks form {protocol} of the protocol");
        assert!(status.message().contains(&expected), "{status}");
    }
    cluster.stop().await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let config = Config {
        max_streams: 1,
        ..config()
    };
    let cluster = Cluster::start_with(1, Bounds::default(), config).await;
    let (one, other) = (cluster.register(), cluster.register());
    let _first = Gateway::watch(cluster.node(1), one, 0).await;
    let client = cluster.node(1).client().await;
    let status = Gateway::say(client, hello(other, 0)).await.err().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    cluster.stop().await;
}

#[tokio::test]
async fn a_silent_stream_is_ended() {
    let config = Config {
        silent_for: Duration::from_millis(100),
        ..config()
    };
    let cluster = Cluster::start_with(1, Bounds::default(), config).await;
    let incarnation = cluster.register();
    let mut gateway = Gateway::watch(cluster.node(1), incarnation, 0).await;
    while gateway.next().await.is_some() {}
    cluster.stop().await;
}

#[tokio::test]
async fn the_end_of_the_service_ends_its_streams() {
    let cluster = Cluster::start(2).await;
    let incarnation = cluster.register();
    let mut gateway = Gateway::watch(cluster.node(2), incarnation, 0).await;
    gateway.until(|seen| seen.revision == incarnation).await;
    cluster.stop().await;
    while gateway.next().await.is_some() {}
}
