//! Deadlines by the clock of a server that was set.

use std::time::Duration;

use super::fixture::{Rig, Server, claim, eventually};
use super::proxy::Proxy;
use crate::store::redis::{Config, Error, Servers};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_too_late_though_the_clock_was_set_back() {
    const HOUR: u64 = 3_600_000;
    let server = Server::start(&[]).await;
    let proxy = Proxy::start(server.port).await;
    let mut config = Config::new(Servers::Single(proxy.address.clone()));
    config.timeout = Duration::from_millis(200);
    let rig = Rig::open(config).await;
    rig.take(&claim("before", 1)).await;
    for link in rig.store.shared.pool.links() {
        link.is_ahead_by(HOUR);
    }
    // As once a minute.
    rig.store.read_clock().await.expect("an answer");
    proxy.hold();
    let answer = rig.store.claim(&claim("c", 1)).await;
    let is_unanswered = matches!(answer, Err(Error::Unanswered { .. }));
    assert!(is_unanswered, "{answer:?}");
    // The writer, too, has given its connection up.
    eventually("it is noticed", || rig.store.is_down()).await;
    proxy.release().await;
    let keys = server.keys().await;
    assert!(!keys.iter().any(|key| key.ends_with(":s:c")), "{keys:?}");
}
