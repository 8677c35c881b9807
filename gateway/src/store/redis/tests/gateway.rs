//! A gateway on a Redis of the tests, and what it makes of a CONNECT.

use std::sync::Arc;
use std::time::Duration;

use gatemq_storage::Batch;
use tokio::sync::oneshot;

use super::fixture::{Server, subscribed, tag};
use crate::broker::Broker;
use crate::cluster::Cluster;
use crate::lifecycle::{Claim, Claimed, NoSession};
use crate::message::MessageRef;
use crate::proto::mqtt::{Qos, Reason, Version};
use crate::receipt::Owed;
use crate::session::Session;
use crate::store::Store;
use crate::store::redis::Config;
use crate::turn::Turn;
use crate::turn::author::Author;
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

/// The same, with this incarnation in a cluster that has no control plane, and a lease all the same.
pub(super) async fn gateway_in_cluster(config: Config, incarnation: u64) -> Arc<Broker> {
    gateway_with(config, |broker| join(broker, incarnation)).await
}

/// It has this incarnation in a cluster from now on, and a lease.
pub(super) fn join(broker: &mut Broker, incarnation: u64) {
    let tasks = (&broker.tasks, &broker.tasks_end);
    let (store, clock) = (&broker.store, broker.clock.clone());
    let cluster = Cluster::numbered(incarnation, store, clock, tasks);
    cluster.begin_lease(broker.clock.now());
    broker.cluster = Some(cluster);
}

/// All that a gateway has submitted is in Redis, or refused.
pub(super) async fn settled(broker: &Broker) {
    let settled = broker.store.make_safe(Batch::default());
    settled.await.expect("it is judged");
}

/// What a CONNECT asks for.
pub(super) fn claim_of(client_id: &str) -> Claim<'_> {
    Claim {
        client_id,
        principal: None,
        clean_start: false,
        version: Version::V5,
        expiry: 3600,
    }
}

/// What a CONNECT gets.
pub(super) async fn connect(broker: &Arc<Broker>, client_id: &str) -> Result<Claimed, NoSession> {
    broker.claim_shared(&claim_of(client_id)).await
}

/// From now on a session gets all that is published.
pub(super) fn subscribe(broker: &Arc<Broker>, session: &Arc<Session>) {
    let (filter, subscribed) = (MessageRef::any(Qos::AtLeastOnce).topic, subscribed(0));
    broker.subscribe(session, filter, &subscribed, || None);
    let mut subscriptions = session.subscriptions.lock();
    subscriptions.insert(filter.into(), subscribed);
}

/// Publishes a message; what its publisher is told.
pub(super) async fn publish(broker: &Arc<Broker>) -> Option<Reason> {
    let message = MessageRef::any(Qos::AtLeastOnce);
    let (owed, told) = oneshot::channel();
    {
        let plan = broker.table.plan(message.topic);
        let mut turn = Turn::new(broker);
        turn.has_publisher = true;
        turn.route(message, &plan, Author::named("p", ""));
        turn.finish(Some(Owed::of_nobody(owed)));
    }
    told.await.expect("it is told")
}

/// Changes a field of a session in Redis.
pub(super) async fn set_field(server: &Server, client_id: &str, name: &str, value: &str) {
    let key = format!("gatemq:{}:s:{client_id}", tag(client_id));
    server.ask(&["HSET", &key, name, value]).await;
}

/// A field of a session in Redis; empty where there is none.
pub(super) async fn field(server: &Server, client_id: &str, name: &str) -> String {
    let key = format!("gatemq:{}:s:{client_id}", tag(client_id));
    let value = server.ask(&["HGET", &key, name]).await;
    let value: Option<String> = redis::from_redis_value(value).expect("text or nothing");
    value.unwrap_or_default()
}
