//! Redis is wrong of who has a session, and where its client is connected.

use std::time::Duration;

use super::fixture::{NOW, Rig, Server, claim, detached, eventually, tag};
use super::gateway::{connect, field, gateway_in_cluster, set_field, settled};
use crate::session::End;
use crate::shared::adopt;
use crate::store::keys;
use crate::store::redis::layout::slice_of;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_redis_takes_for_connected_is_let_in_where_it_comes() {
    let server = Server::start(&[]).await;
    let one = gateway_in_cluster(server.config(), 1).await;
    let two = gateway_in_cluster(server.config(), 2).await;
    let [first, second] = [&one, &two].map(|broker| broker.cluster.clone().expect("a cluster"));
    first.meet(&one, &second).await;
    let session = connect(&one, "c").await.expect("redis is there").session;
    one.detach(&session, &End::Lost);
    settled(&one).await;
    assert_eq!(field(&server, "c", "connected").await, "0");
    set_field(&server, "c", "connected", "1").await;
    let connecting = tokio::time::timeout(Duration::from_secs(8), connect(&two, "c"));
    let claimed = connecting.await.expect("in time").expect("it is let in");
    assert!(claimed.is_present && claimed.session.number == session.number);
    eventually("it is gone here", || session.life.lock().is_ended).await;
}

/// That nobody need stand in for it is said once, which Redis may lose with its last second.
#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_ends_though_redis_has_lost_that_all_know_where_the_session_is() {
    const DEAD: u64 = 9;
    let server = Server::start(&[]).await;
    let rig = Rig::open(server.config()).await;
    let number = rig.take(&claim("c", DEAD)).await.number;
    rig.write(|batch| batch.put(&keys::session(number), &detached("c", 3600, NOW)))
        .await;
    let broker = gateway_in_cluster(server.config(), 1).await;
    let owned = format!("gatemq:{}:o:{DEAD}", tag("c"));
    for _ in 0..2 {
        let slices = [u32::from(slice_of("c"))];
        let adopting = adopt(&broker, (DEAD, 1), &slices);
        let adopting = tokio::time::timeout(Duration::from_secs(10), adopting);
        adopting.await.expect("it ends").expect("it is not fenced");
        assert_eq!(field(&server, "c", "owner").await, "1");
        assert_eq!(field(&server, "c", "trail").await, "");
        set_field(&server, "c", "trail", &DEAD.to_string()).await;
        server.ask(&["SADD", &owned, "c"]).await;
    }
}

/// The same where another gateway has it, which is asked to say it again.
#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_where_another_gateway_has_the_session() {
    const DEAD: u64 = 9;
    let server = Server::start(&[]).await;
    let one = gateway_in_cluster(server.config(), 1).await;
    let two = gateway_in_cluster(server.config(), 2).await;
    let [first, second] = [&one, &two].map(|broker| broker.cluster.clone().expect("a cluster"));
    second.meet(&two, &first).await;
    connect(&two, "c").await.expect("redis is there");
    settled(&two).await;
    let owned = format!("gatemq:{}:o:{DEAD}", tag("c"));
    set_field(&server, "c", "trail", &DEAD.to_string()).await;
    server.ask(&["SADD", &owned, "c"]).await;
    let slices = [u32::from(slice_of("c"))];
    let adopting = adopt(&one, (DEAD, 1), &slices);
    let adopting = tokio::time::timeout(Duration::from_secs(20), adopting);
    adopting.await.expect("it ends").expect("it is not fenced");
    assert_eq!(field(&server, "c", "owner").await, "2");
    assert_eq!(field(&server, "c", "trail").await, "");
}
