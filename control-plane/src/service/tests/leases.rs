//! Leases and the watermark over several gateways and nodes.

use std::time::Instant;

use gatemq_proto::cluster::state::fence::Why;
use gatemq_proto::cluster::state::{Fence, Routes, command};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::fake::{Cluster, TERMS};
use super::gateway::Gateway;
use super::*;

fn change(cluster: &Cluster) -> u64 {
    cluster.commit(command::Kind::Routes(Routes::default()))
}

/// Two gateways with leases: one at the leader, one at node 2, which passes its beats on.
async fn two(cluster: &Cluster) -> (Gateway, Gateway) {
    let (one, two) = (cluster.register(), cluster.register());
    let mut one = Gateway::watch(cluster.node(1), one, 0).await;
    let mut two = Gateway::watch(cluster.node(2), two, 0).await;
    for gateway in [&mut one, &mut two] {
        gateway.until(|seen| seen.revision > 0).await;
        let beat = gateway.beat(gateway.seen.revision).await;
        gateway.until(|seen| seen.mark.beat == beat).await;
    }
    (one, two)
}

#[tokio::test]
async fn the_watermark_waits_for_gateways_of_all_nodes_and_is_told_to_all() {
    let cluster = Cluster::start_patient(2).await;
    let (mut one, mut two) = two(&cluster).await;
    let change = change(&cluster);
    one.until(|seen| seen.revision == change).await;
    let beat = one.beat(change).await;
    one.until(|seen| seen.mark.beat == beat).await;
    assert!(one.seen.mark.watermark < change, "{:?}", one.seen);
    two.until(|seen| seen.revision == change).await;
    two.beat(change).await;
    one.until(|seen| seen.mark.watermark == change).await;
    two.until(|seen| seen.mark.watermark == change).await;
    assert_eq!(cluster.node(2).service.watermark(), change);

    let mut client = cluster.node(1).client().await;
    let status = client.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.watermark, status.attendants.len()), (change, 2));
    cluster.stop().await;
}

#[tokio::test]
async fn a_gateway_that_stops_beating_is_waited_for_as_long_as_its_lease_may_run() {
    let cluster = Cluster::start(2).await;
    let (one, mut two) = two(&cluster).await;
    let mut one = one.live();
    let stopped = Instant::now();
    let beat = two.beat(two.seen.revision).await;
    two.until(|seen| seen.mark.beat == beat).await;
    let change = change(&cluster);
    let seen = one.until(|seen| seen.mark.watermark >= change).await;
    assert!(stopped.elapsed() >= TERMS.lease + TERMS.margin, "{seen:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn a_gateway_that_is_silent_for_long_is_fenced_by_the_leader() {
    let cluster = Cluster::start(2).await;
    let (one, mut two) = two(&cluster).await;
    let mut one = one.live();
    // It reads, but does not beat.
    two.until(|seen| seen.mark.is_fenced).await;
    let fence = two.seen.revision;
    one.until(|seen| seen.mark.watermark >= fence).await;
    let fenced = cluster.node(1).fake.view().members();
    assert!(
        fenced
            .iter()
            .any(|member| member.fenced == Some(Why::Lease))
    );
    assert_eq!(
        fenced
            .iter()
            .filter(|member| member.fenced.is_some())
            .count(),
        1
    );
    cluster.stop().await;
}

#[tokio::test]
async fn gateways_that_left_are_not_waited_for() {
    let cluster = Cluster::start_patient(2).await;
    let (mut one, two) = two(&cluster).await;
    let change = change(&cluster);
    one.until(|seen| seen.revision == change).await;
    one.beat(change).await;
    let leave = |incarnation| {
        let why = Why::Left.into();
        cluster.commit(command::Kind::Fence(Fence { incarnation, why }))
    };
    leave(two.incarnation);
    one.until(|seen| seen.mark.watermark == change).await;
    // Without any gateway it is what the control plane itself has applied.
    let last = leave(one.incarnation);
    let watermark = async {
        while cluster
            .nodes
            .iter()
            .any(|node| node.service.watermark() < last)
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, watermark)
        .await
        .expect("nobody is waited for");
    cluster.stop().await;
}

#[tokio::test]
async fn a_new_leader_waits_for_whom_the_old_one_may_have_given_a_lease() {
    let cluster = Cluster::start(3).await;
    let (one, two) = two(&cluster).await;
    let mut one = one.live();
    drop(two);
    let elected = Instant::now();
    cluster.lead(3);
    let change = change(&cluster);
    // The new leader hears of the one through node 1, which led before.
    let seen = one.until(|seen| seen.mark.watermark >= change).await;
    let grace = TERMS.quorum_within + TERMS.lease + TERMS.margin;
    assert!(elected.elapsed() >= grace, "{seen:?}");
    cluster.stop().await;
}

#[tokio::test]
async fn gateways_keep_their_streams_when_the_office_moves() {
    // All are heard of at once, so that no lease has to be waited for.
    let cluster = Cluster::start_patient(3).await;
    let (one, two) = two(&cluster).await;
    let mut gateways = [one.live(), two.live()];
    for leader in [2, 3, 1] {
        cluster.lead(leader);
        let change = change(&cluster);
        for gateway in &mut gateways {
            let seen = gateway.until(|seen| seen.mark.watermark >= change).await;
            assert_eq!((seen.n_begins, seen.mark.is_fenced), (1, false));
            let beat = seen.mark.beat;
            gateway.until(|seen| seen.mark.beat > beat).await;
        }
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_new_leader_hears_of_everybody_without_another_beat() {
    let cluster = Cluster::start_patient(2).await;
    let (mut one, mut two) = two(&cluster).await;
    let change = change(&cluster);
    for gateway in [&mut one, &mut two] {
        gateway.until(|seen| seen.revision == change).await;
        gateway.beat(change).await;
        gateway.until(|seen| seen.mark.beat == 2).await;
    }
    cluster.lead(2);
    let mut client = cluster.node(2).client().await;
    let heard = async {
        loop {
            let status = client.status(StatusRequest {}).await.unwrap().into_inner();
            let heard = status
                .attendants
                .iter()
                .filter(|attendant| attendant.applied == change);
            if heard.count() == 2 {
                return;
            }
        }
    };
    timeout(DEADLINE, heard).await.expect("both are heard of");
    cluster.stop().await;
}

#[tokio::test]
async fn only_a_leader_is_attended() {
    let cluster = Cluster::start(2).await;
    let (requests, receiver) = mpsc::channel(1);
    requests.send(AttendRequest::default()).await.unwrap();
    let mut client = cluster.node(2).client().await;
    let status = client
        .attend(ReceiverStream::new(receiver))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);

    let (requests, receiver) = mpsc::channel(1);
    requests.send(AttendRequest::default()).await.unwrap();
    let mut client = cluster.node(1).client().await;
    let replies = client.attend(ReceiverStream::new(receiver)).await.unwrap();
    let mut replies = replies.into_inner();
    assert!(replies.message().await.unwrap().is_some());
    cluster.node(1).fake.forget_leader();
    let status = loop {
        match timeout(DEADLINE, replies.message()).await.expect("it ends") {
            Ok(reply) => assert!(reply.is_some(), "it says why it ends"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    cluster.stop().await;
}

#[tokio::test]
async fn without_a_quorum_beats_are_not_confirmed_but_the_watermark_is_told() {
    let cluster = Cluster::start(2).await;
    let (mut one, mut two) = two(&cluster).await;
    cluster.node(1).fake.will.lock().quorum_age = Some(TERMS.quorum_within);
    let change = change(&cluster);
    for gateway in [&mut one, &mut two] {
        gateway.until(|seen| seen.revision == change).await;
        gateway.beat(change).await;
    }
    for gateway in [&mut one, &mut two] {
        gateway.until(|seen| seen.mark.watermark == change).await;
        assert_eq!(gateway.seen.mark.beat, 1);
    }
    cluster.node(1).fake.will.lock().quorum_age = Some(Duration::ZERO);
    for gateway in [&mut one, &mut two] {
        let beat = gateway.beat(change).await;
        gateway.until(|seen| seen.mark.beat == beat).await;
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_that_is_behind_tells_no_watermark_above_what_it_sent() {
    let cluster = Cluster::start(3).await;
    let (one, two) = two(&cluster).await;
    let (mut one, mut two) = (one.live(), two.live());
    let third = cluster.register();
    // It has no lease, so it is not waited for.
    let mut third = Gateway::watch(cluster.node(3), third, 0).await;
    third.until(|seen| seen.revision > 0).await;
    let before = third.seen.revision;
    cluster.node(3).fake.set_behind(true);
    let change = change(&cluster);
    for gateway in [&mut one, &mut two] {
        gateway.until(|seen| seen.mark.watermark >= change).await;
    }
    let told = async {
        while cluster.node(3).service.watermark() < change {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, told).await.expect("node 3 is told");
    third.until(|seen| seen.mark.watermark == before).await;
    cluster.node(3).fake.set_behind(false);
    // That no mark comes before its changes is checked of every message of every test.
    third.until(|seen| seen.mark.watermark >= change).await;
    cluster.stop().await;
}
