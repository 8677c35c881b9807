//! Redis is wrong of who has a session, and where its client is connected.

use std::time::Duration;

use super::fixture::{Server, eventually};
use super::gateway::{connect, field, gateway_in_cluster, set_field, settled};
use crate::session::End;

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
