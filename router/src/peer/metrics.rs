//! What the road between nodes counts, of both directions.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters and gauges, shared by [`super::Peers`] and [`super::service()`]. A clone is the same
/// counters.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) batches_sent: Counter,
    pub(super) batches_received: Counter,
    pub(super) messages_sent: Counter,
    pub(super) messages_received: Counter,
    pub(super) bytes_sent: Counter,
    pub(super) bytes_received: Counter,
    pub(super) messages_dropped: Counter,
    pub(super) messages_resent: Counter,
    pub(super) reconnects: Counter,
    pub(super) unsettled: Gauge,
    pub(super) waiting_bytes: Gauge,
}

// === impl Metrics ===

impl Metrics {
    /// Makes them and registers them as `peer_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("peer");
        let counters: [(&str, &str, &Counter<u64, AtomicU64>); 9] = [
            (
                "batches_sent",
                "batches to other nodes",
                &metrics.batches_sent,
            ),
            (
                "batches_received",
                "batches from other nodes",
                &metrics.batches_received,
            ),
            (
                "messages_sent",
                "messages to other nodes, repeats too",
                &metrics.messages_sent,
            ),
            (
                "messages_received",
                "messages from other nodes",
                &metrics.messages_received,
            ),
            (
                "bytes_sent",
                "encoded bytes of messages to other nodes",
                &metrics.bytes_sent,
            ),
            (
                "bytes_received",
                "bytes of topics, properties and payloads from other nodes",
                &metrics.bytes_received,
            ),
            (
                "messages_dropped",
                "messages of QoS 0 that another node did not get",
                &metrics.messages_dropped,
            ),
            (
                "messages_resent",
                "messages that were sent again after a stream broke",
                &metrics.messages_resent,
            ),
            (
                "reconnects",
                "streams to other nodes that broke",
                &metrics.reconnects,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let gauges: [(&str, &str, &Gauge<i64, AtomicI64>); 2] = [
            (
                "unsettled",
                "messages of QoS 1 and 2 sent to other nodes and not answered",
                &metrics.unsettled,
            ),
            (
                "waiting_bytes",
                "bytes of messages that wait to be sent to other nodes",
                &metrics.waiting_bytes,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        metrics
    }

    /// Messages that were sent again after a stream broke.
    #[must_use]
    pub fn n_resent(&self) -> u64 {
        self.messages_resent.get()
    }

    /// Messages of QoS 0 that another node did not get.
    #[must_use]
    pub fn n_dropped(&self) -> u64 {
        self.messages_dropped.get()
    }

    /// Batches to other nodes, and the messages in them.
    #[must_use]
    pub fn n_sent(&self) -> (u64, u64) {
        (self.batches_sent.get(), self.messages_sent.get())
    }

    /// Batches from other nodes, and the messages in them.
    #[must_use]
    pub fn n_received(&self) -> (u64, u64) {
        (self.batches_received.get(), self.messages_received.get())
    }
}
