//! Of a session that ended, how far its queue was sent is known to whoever clears that.

use std::sync::Arc;
use std::time::Duration;

use gatemq_router::GroupNode;
use tokio::time::Instant;

use super::fixture::{NOW, Rig, Server, append, claim, detached, eventually, subscribed, tag};
use super::gateway::{connect, gateway, gateway_in_cluster, settled};
use super::proxy::Proxy;
use crate::broker::Broker;
use crate::lifecycle::Claim;
use crate::proto::mqtt::Version;
use crate::restore::tests::shared;
use crate::session::Session;
use crate::store::keys;
use crate::store::redis::layout::slice_of;
use crate::store::redis::{Config, Ended, Place, Servers};

/// A session of the first owner with ten messages, sent up to the fourth.
async fn sent_in_part(rig: &Rig, client_id: &str) -> u64 {
    let number = rig.take(&claim(client_id, 1)).await.number;
    rig.write(|batch| {
        append(batch, number, 0..10);
        batch.put(&keys::edge(number), &4_u64.to_be_bytes());
    })
    .await;
    number
}

/// Somebody else takes the client id with a clean start.
async fn cleaned(rig: &Rig, client_id: &str, number: u64, owner: u64) -> Ended {
    let mut clean = claim(client_id, owner);
    (clean.clean_start, clean.force) = (true, Some((number, 1)));
    let ended = rig.take(&clean).await.ended.expect("there was one");
    assert_eq!((ended.number, ended.n_queued), (number, 10));
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_start_elsewhere_says_how_far_the_queue_was_sent() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let cut_off = sent_in_part(&rig, "cut off").await;
    let ended = cleaned(&rig, "cut off", cut_off, 2).await;
    assert_eq!(ended.sent_below, Some(4));
    let in_order = sent_in_part(&rig, "in order").await;
    rig.write(|batch| batch.put(&keys::session(in_order), &detached("in order", 60, NOW)))
        .await;
    let ended = cleaned(&rig, "in order", in_order, 2).await;
    assert_eq!(ended.sent_below, Some(3), "as its record says");
    let old = rig.take(&claim("old", 1)).await.number;
    rig.write(|batch| append(batch, old, 0..10)).await;
    let ended = cleaned(&rig, "old", old, 2).await;
    assert_eq!(ended.sent_below, None, "of an earlier version");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_whoever_dies_before_the_queue_is_cleared() {
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    // One that its owner has ended itself, knowing exactly, and one that came by a clean start.
    let ours = sent_in_part(&rig, "ours").await;
    rig.write(|batch| {
        batch.delete(&keys::session(ours));
        batch.put(&keys::edge(ours), &2_u64.to_be_bytes());
    })
    .await;
    let theirs = sent_in_part(&rig, "theirs").await;
    cleaned(&rig, "theirs", theirs, 1).await;
    for (client_id, number, sent_below) in [("ours", ours, 2), ("theirs", theirs, 4)] {
        // The heir of the dead one dies, too.
        for (from, owner) in [(1, 2), (2, 3)] {
            let buried = rig.store.bury(from, slice_of(client_id)).await;
            buried.expect("an answer");
            let left = rig.store.inherit(client_id, number, from, owner).await;
            let left = left.expect("an answer").expect("something is left");
            let expected = (10, Some(sent_below));
            assert_eq!((left.n_queued, left.sent_below), expected, "{client_id}");
            let done = rig.store.inherited(client_id, number, from).await;
            done.expect("an answer");
        }
        rig.store.attach(number, Place::ended(client_id, 3));
        let (start, end) = keys::of_session(keys::QUEUE, number);
        rig.write(|batch| batch.delete_range(&start, &end)).await;
    }
    let keys = server.keys().await;
    let is_left = |key: &&String| key.contains(":m:") || key.contains(":q:") || key.contains(":e:");
    assert_eq!(keys.iter().find(is_left), None, "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_was_never_sent_goes_to_another_one_wherever_it_ends() {
    let server = Server::start(&[]).await;
    let broker = gateway(server.config()).await;
    let other = join_group(&broker).await;
    let rig = Rig::open(server.config()).await;
    queue_for_group(&rig, 10).await;
    broker.claim_shared(&CLEAN).await.expect("redis is there");
    // Three of them may have been sent.
    let n_given = || other.outbound.lock().n_queued();
    eventually("they are given on", || n_given() == 7).await;
}

/// Should this gateway die before the other one has answered, who goes on has to find them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_on_stays_in_the_queue_until_it_is_safe_elsewhere() {
    const N_QUEUED: u64 = 300; // more than one page
    let server = Server::start(&[]).await;
    let proxy = Proxy::start(server.port).await;
    let slow = Config::new(Servers::Single(proxy.address.clone()));
    let one = gateway_in_cluster(server.config(), 1).await;
    let two = gateway_in_cluster(slow, 2).await;
    let [first, second] = [&one, &two].map(|broker| broker.cluster.clone().expect("a cluster"));
    second.meet(&two, &first).await;
    let other = join_group(&two).await;
    let node = GroupNode {
        node: 2,
        n_online: 0,
        n_offline: 1,
    };
    one.table.set_node(Some("g"), "t", node);
    let rig = Rig::open(server.config()).await;
    let member = queue_for_group(&rig, N_QUEUED).await;
    settled(&two).await;
    proxy.hold_all();
    one.claim_shared(&CLEAN).await.expect("redis is there");
    let n_given = || other.outbound.lock().n_queued();
    eventually("a page is on its way", || n_given() >= 253).await;
    settled(&one).await;
    assert_eq!(rig.seqs(member).await.len(), 300);
    assert_eq!(n_given(), 253, "the next page waits");
    proxy.let_through();
    eventually("all are given on", || n_given() == 297).await;
    let queue = format!("gatemq:{}:q:{member}", tag("member"));
    let is_left = async || server.keys().await.contains(&queue);
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_left().await {
        assert!(Instant::now() < deadline, "never: its queue is removed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A clean start of the member.
const CLEAN: Claim<'_> = Claim {
    client_id: "member",
    principal: None,
    clean_start: true,
    version: Version::V5,
    expiry: 3600,
};

/// Another member of the group, here.
async fn join_group(broker: &Arc<Broker>) -> Arc<Session> {
    let other = connect(broker, "other").await.expect("redis is there");
    let filter = "$share/g/t";
    let subscribed = subscribed(0);
    broker.subscribe(&other.session, filter, &subscribed, || None);
    let subscriptions = &other.session.subscriptions;
    subscriptions.lock().insert(filter.into(), subscribed);
    other.session
}

/// A member elsewhere, with messages of the group in its queue, of which three may have been sent.
async fn queue_for_group(rig: &Rig, n_queued: u64) -> u64 {
    let member = rig.take(&claim("member", 9)).await.number;
    rig.write(|batch| {
        for seq in 0..n_queued {
            batch.put(&keys::queue(member, seq), &shared(&seq.to_be_bytes()));
        }
        batch.put(&keys::session(member), &detached("member", 3600, NOW));
    })
    .await;
    member
}
