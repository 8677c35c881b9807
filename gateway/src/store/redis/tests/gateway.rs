//! A gateway on a Redis of the tests, and what it makes of a CONNECT.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::{Server, tag};
use crate::broker::Broker;
use crate::lifecycle::{Claim, Claimed, NoSession};
use crate::proto::mqtt::Version;
use crate::store::Store;
use crate::store::redis::Config;
use crate::{completion, shared};

/// A gateway without listeners, of a Redis that is given up on soon.
pub(super) async fn gateway(config: Config) -> Arc<Broker> {
    gateway_with(config, |_| ()).await
}

/// The same, changed before it begins.
pub(super) async fn gateway_with(
    mut config: Config,
    change: impl FnOnce(&mut Broker),
) -> Arc<Broker> {
    config.timeout = Duration::from_millis(300);
    patient_gateway_with(config, change).await
}

/// The same, which waits for Redis as long as it is told to.
pub(super) async fn patient_gateway_with(
    config: Config,
    change: impl FnOnce(&mut Broker),
) -> Arc<Broker> {
    let opened = Store::open_redis(config, Default::default()).await;
    let (store, clock) = opened.expect("the store opens");
    let mut broker = Broker::of_store(store, clock);
    change(Arc::get_mut(&mut broker).expect("nobody else's"));
    broker.tasks.spawn(completion::run(broker.clone()));
    broker.tasks.spawn(shared::tell_refusals(broker.clone()));
    broker
}

/// What a CONNECT gets.
pub(super) async fn connect(broker: &Arc<Broker>, client_id: &str) -> Result<Claimed, NoSession> {
    let claim = Claim {
        client_id,
        principal: None,
        clean_start: false,
        version: Version::V5,
        expiry: 3600,
    };
    broker.claim_shared(&claim).await
}

/// A field of a session in Redis; empty where there is none.
pub(super) async fn field(server: &Server, client_id: &str, name: &str) -> String {
    let key = format!("gatemq:{}:s:{client_id}", tag(client_id));
    let value = server.ask(&["HGET", &key, name]).await;
    let value: Option<String> = redis::from_redis_value(value).expect("text or nothing");
    value.unwrap_or_default()
}
