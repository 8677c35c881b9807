//! `$SYS`: figures as retained messages of the gateway's own, in memory only: its own ones below
//! `$SYS/broker`, and in a cluster the sums over all gateways below `$SYS/cluster`.

mod totals;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::figures::Figures;
use crate::message::{Message, MessageRef};
use crate::proto::mqtt::Qos;
use crate::proto::topic;
use crate::sys::totals::totals;
use crate::turn::Turn;
use crate::turn::author::Author;

/// The latest value of each `$SYS` topic.
#[derive(Debug, Default)]
pub(crate) struct Sys {
    latest: Mutex<BTreeMap<&'static str, Arc<Message>>>,
    /// What the last ones were made of, and when.
    figures: Mutex<Option<(Instant, Figures)>>,
}

impl Sys {
    /// The last figures that were published, unless they are older than this.
    pub(crate) fn recent(&self, max_age: Duration) -> Option<Figures> {
        let figures = self.figures.lock();
        let (at, figures) = figures.as_ref()?;
        (at.elapsed() <= max_age).then(|| figures.clone())
    }

    /// The values whose topics match a filter.
    pub(crate) fn matching(&self, filter: &str) -> Vec<Arc<Message>> {
        if !filter.starts_with("$SYS") {
            return Vec::new();
        }
        let latest = self.latest.lock();
        let matching = latest
            .iter()
            .filter(|(name, _)| topic::matches(filter, name));
        matching.map(|(_, message)| message.clone()).collect()
    }
}

/// Publishes the figures every so often, until the gateway stops.
pub(crate) async fn run(broker: Arc<Broker>) {
    let interval = broker.config.sys_interval;
    if interval.is_zero() {
        return;
    }
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = broker.tasks_end.cancelled() => return,
        }
        let figures = Figures::of(&broker);
        publish(&broker, topics(&figures));
        *broker.sys.figures.lock() = Some((Instant::now(), figures.clone()));
        if let Some(cluster) = &broker.cluster {
            // The others' own last figures are as old as their interval, which is ours.
            let totals = totals(cluster, &figures, 2 * interval).await;
            publish(&broker, totals);
        }
    }
}

fn publish(broker: &Arc<Broker>, topics: impl IntoIterator<Item = (&'static str, String)>) {
    let mut turn = Turn::new(broker);
    for (name, value) in topics {
        let message = MessageRef {
            publisher: 0,
            qos: Qos::AtMostOnce,
            retain: true,
            expires_at: u64::MAX,
            topic: name,
            properties: &[],
            payload: value.as_bytes(),
            trace: None,
        };
        let plan = broker.table.plan(name);
        if !plan.filters().is_empty() {
            turn.route(message, &plan, Author::BROKER);
        }
        broker
            .sys
            .latest
            .lock()
            .insert(name, Arc::new(message.to_message()));
    }
    turn.finish(None);
}

fn topics(figures: &Figures) -> [(&'static str, String); 25] {
    let f = figures;
    [
        ("$SYS/broker/version", format!("gatemq {}", f.version)),
        ("$SYS/broker/time", f.time.to_string()),
        ("$SYS/broker/uptime", f.uptime.to_string()),
        ("$SYS/broker/started", f.started.to_string()),
        (
            "$SYS/broker/load/bytes/received",
            f.bytes_received.to_string(),
        ),
        ("$SYS/broker/load/bytes/sent", f.bytes_sent.to_string()),
        (
            "$SYS/broker/clients/connected",
            f.clients_connected.to_string(),
        ),
        (
            "$SYS/broker/clients/disconnected",
            f.clients_disconnected.to_string(),
        ),
        ("$SYS/broker/clients/maximum", f.clients_maximum.to_string()),
        ("$SYS/broker/clients/total", f.clients_total.to_string()),
        (
            "$SYS/broker/packets/received",
            f.packets_received.to_string(),
        ),
        ("$SYS/broker/packets/sent", f.packets_sent.to_string()),
        (
            "$SYS/broker/messages/received",
            f.messages_received.to_string(),
        ),
        ("$SYS/broker/messages/sent", f.messages_sent.to_string()),
        (
            "$SYS/broker/messages/dropped",
            f.messages_dropped.to_string(),
        ),
        ("$SYS/broker/messages/inflight", f.inflight.to_string()),
        ("$SYS/broker/retained", f.retained.to_string()),
        (
            "$SYS/broker/retained messages/count",
            f.retained.to_string(),
        ),
        ("$SYS/broker/subscriptions", f.subscriptions.to_string()),
        (
            "$SYS/broker/subscriptions/count",
            f.subscriptions.to_string(),
        ),
        (
            "$SYS/broker/subscriptions/shared",
            f.subscriptions_shared.to_string(),
        ),
        ("$SYS/broker/filters", f.filters.to_string()),
        ("$SYS/broker/system/memory", f.memory_alloc.to_string()),
        ("$SYS/broker/system/threads", f.threads.to_string()),
        ("$SYS/broker/store/commits", f.store_commits.to_string()),
    ]
}
