//! Clients that a gateway refuses because Redis does not answer: it goes on for none of them for
//! whom it need not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::fixture::{Server, eventually};
use super::gateway::{connect, field, gateway};
use super::proxy::Proxy;
use crate::broker::Broker;
use crate::lifecycle::NoSession;
use crate::store::redis::{Config, Health, Servers};

async fn assert_refused(broker: &Arc<Broker>, client_id: &str) {
    let claimed = connect(broker, client_id).await;
    assert!(
        matches!(claimed, Err(NoSession::Unavailable)),
        "{claimed:?}"
    );
}

/// Nobody is claimed for any more.
async fn until_idle(broker: &Broker, n_tasks: usize) {
    eventually("no claim goes on", || {
        broker.claims.n_gates() == 0 && broker.tasks.len() == n_tasks
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_down_nothing_goes_on_for_a_client_that_was_refused() {
    let mut server = Server::start(&[]).await;
    let broker = gateway(server.config()).await;
    let n_tasks = broker.tasks.len();
    drop(connect(&broker, "before").await.expect("redis is there"));
    server.kill();
    // What is asked through a connection that was lost may have arrived.
    assert_refused(&broker, "first").await;
    let clients: Vec<String> = (0..100).map(|client| format!("c{client}")).collect();
    join_all(clients.iter().map(|client| assert_refused(&broker, client))).await;
    eventually("only the first is asked about", || {
        broker.claims.n_gates() == 1 && broker.tasks.len() == n_tasks + 1
    })
    .await;
    // Its client comes again, and is told as soon as others are.
    assert_refused(&broker, "first").await;
    server.restart().await;
    until_idle(&broker, n_tasks).await;
    for client_id in ["first", "c0", "c99"] {
        assert_eq!(field(&server, client_id, "number").await, "", "{client_id}");
    }
    connect(&broker, "first").await.expect("redis is there");
}

/// A gateway that reaches its Redis through a proxy, and has; with its tasks until then.
async fn behind_a_proxy() -> (Server, Proxy, Arc<Broker>, usize) {
    let server = Server::start(&[]).await;
    let proxy = Proxy::start(server.port).await;
    let config = Config::new(Servers::Single(proxy.address.clone()));
    let broker = gateway(config).await;
    let n_tasks = broker.tasks.len();
    connect(&broker, "before").await.expect("redis is there");
    (server, proxy, broker, n_tasks)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_carried_out_without_an_answer_is_let_go() {
    let (server, proxy, broker, n_tasks) = behind_a_proxy().await;
    proxy.mute();
    assert_refused(&broker, "c").await;
    until_idle(&broker, n_tasks).await;
    let session = broker.registry.lock("c").find("c").cloned();
    let session = session.expect("it is known here");
    assert!(!session.life.lock().is_claimed);
    assert_eq!(
        field(&server, "c", "number").await,
        session.number.to_string()
    );
    let mut connected = String::new();
    for _ in 0..1_000 {
        connected = field(&server, "c", "connected").await;
        if connected == "0" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(connected, "0", "it is let go");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_did_not_arrive_is_not_made_for_a_client_that_was_refused() {
    let (server, proxy, broker, n_tasks) = behind_a_proxy().await;
    proxy.hold();
    assert_refused(&broker, "c").await;
    until_idle(&broker, n_tasks).await;
    proxy.release().await;
    let redis = broker.store.redis().expect("it is there");
    let mut health = redis.health();
    let _ = health.wait_for(|health| *health == Health::Up).await;
    assert_eq!(field(&server, "c", "number").await, "");
}
