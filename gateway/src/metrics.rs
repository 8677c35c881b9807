//! What a gateway counts. A turn counts in plain numbers and adds them up once, at its end.
//! [`limit`] counts limits that were reached, [`refused`] connections by what they were told.

mod limit;
mod refused;

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

pub(crate) use limit::{Limit, LimitsHit};
pub(crate) use refused::{Refused, Stage};

/// The gateway's counters; gauges are read when asked for, in [`crate::figures`].
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) packets_received: Counter,
    pub(crate) packets_sent: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) messages_received: Counter,
    pub(crate) messages_sent: Counter,
    pub(crate) messages_dropped: Counter,
    pub(crate) publishes_denied: Counter,
    pub(crate) subscribes_denied: Counter,
    pub(crate) deliveries_denied: Counter,
    pub(crate) connections_accepted: Counter,
    pub(crate) connections_refused: Refused,
    pub(crate) sessions_overfull: Counter,
    pub(crate) violations: Counter,
    pub(crate) events_dropped: Counter,
    pub(crate) limits_hit: LimitsHit,
}

/// What one turn counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) packets_in: u64,
    pub(crate) packets_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
    pub(crate) publishes_denied: u64,
    pub(crate) subscribes_denied: u64,
    pub(crate) deliveries_denied: u64,
}

impl Metrics {
    /// Makes the counters and registers them as `gateway_…`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("gateway");
        let metrics = Self {
            limits_hit: LimitsHit::register(registry),
            connections_refused: Refused::register(registry),
            ..Self::default()
        };
        let counters: [(&str, &str, &Counter<u64, AtomicU64>); 14] = [
            (
                "packets_received",
                "control packets from clients",
                &metrics.packets_received,
            ),
            (
                "packets_sent",
                "control packets to clients",
                &metrics.packets_sent,
            ),
            (
                "bytes_received",
                "bytes of packets from clients",
                &metrics.bytes_received,
            ),
            (
                "bytes_sent",
                "bytes written to clients' sockets, before TLS and WebSocket frames",
                &metrics.bytes_sent,
            ),
            (
                "messages_received",
                "PUBLISH packets from clients",
                &metrics.messages_received,
            ),
            (
                "messages_sent",
                "messages put on their way to clients",
                &metrics.messages_sent,
            ),
            (
                "messages_dropped",
                "messages that a session did not take",
                &metrics.messages_dropped,
            ),
            (
                "publishes_denied",
                "PUBLISH packets of clients that may not publish to their topic",
                &metrics.publishes_denied,
            ),
            (
                "subscribes_denied",
                "topic filters that clients may not subscribe to",
                &metrics.subscribes_denied,
            ),
            (
                "deliveries_denied",
                "messages withheld from subscribers that may not have their topic",
                &metrics.deliveries_denied,
            ),
            (
                "connections_accepted",
                "connections taken",
                &metrics.connections_accepted,
            ),
            (
                "sessions_overfull",
                "sessions ended because they take no more messages: a full queue, or no room in Redis",
                &metrics.sessions_overfull,
            ),
            (
                "violations",
                "connections ended for bad input",
                &metrics.violations,
            ),
            (
                "events_dropped",
                "events of clients that no bridge has got",
                &metrics.events_dropped,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        metrics
    }

    /// Adds what a turn counted.
    pub(crate) fn add(&self, tally: &Tally) {
        let pairs = [
            (&self.packets_received, tally.packets_in),
            (&self.packets_sent, tally.packets_out + tally.delivered),
            (&self.bytes_received, tally.bytes_in),
            (&self.bytes_sent, tally.bytes_out),
            (&self.messages_received, tally.published),
            (&self.messages_sent, tally.delivered),
            (&self.messages_dropped, tally.dropped),
            (&self.publishes_denied, tally.publishes_denied),
            (&self.subscribes_denied, tally.subscribes_denied),
            (&self.deliveries_denied, tally.deliveries_denied),
        ];
        for (counter, n) in pairs {
            if n > 0 {
                counter.inc_by(n);
            }
        }
    }
}
