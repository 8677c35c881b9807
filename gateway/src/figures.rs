//! The gateway's figures at one moment, for `$SYS`, `/mqtt/stats` and the gauges of `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::Serialize;

use crate::broker::Broker;
use crate::condition::Condition;
use crate::store::redis::Health;

/// Figures; the names are those of comqtt's statistics.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) version: &'static str,
    /// When the gateway started, in Unix seconds.
    pub(crate) started: u64,
    /// Now, in Unix seconds.
    pub(crate) time: u64,
    /// Seconds since the start.
    pub(crate) uptime: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) clients_connected: usize,
    /// Sessions without a connection.
    pub(crate) clients_disconnected: usize,
    /// Most clients that were connected at once.
    pub(crate) clients_maximum: usize,
    pub(crate) clients_total: usize,
    pub(crate) messages_received: u64,
    pub(crate) messages_sent: u64,
    pub(crate) messages_dropped: u64,
    pub(crate) retained: usize,
    /// Bytes of those, as they are stored.
    pub(crate) retained_bytes: u64,
    /// QoS 1 and 2 messages on their way to clients.
    pub(crate) inflight: usize,
    pub(crate) subscriptions: usize,
    pub(crate) subscriptions_shared: usize,
    /// Different topic filters.
    pub(crate) filters: usize,
    pub(crate) packets_received: u64,
    pub(crate) packets_sent: u64,
    /// Resident memory, in bytes.
    pub(crate) memory_alloc: u64,
    pub(crate) threads: u64,
    /// Changes of the store, and batches that became safe with them.
    pub(crate) store_commits: u64,
    pub(crate) store_batches: u64,
    /// How long the last commit took, in microseconds.
    pub(crate) store_last_commit_micros: u64,
    /// Bytes that wait to be committed.
    pub(crate) store_pending_bytes: usize,
}

impl Figures {
    /// Reads the figures.
    pub(crate) fn of(broker: &Broker) -> Self {
        let now = broker.clock.now();
        let metrics = &broker.metrics;
        let counts = broker.table.counts();
        let n_sessions = broker.registry.n_sessions();
        let n_connected = broker.registry.n_connected();
        let sessions = broker.registry.all();
        let stats = broker.store.stats();
        let (memory_alloc, threads) = process();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            started: broker.clock.started_at() / 1000,
            time: now / 1000,
            uptime: (now - broker.clock.started_at()) / 1000,
            bytes_received: metrics.bytes_received.get(),
            bytes_sent: metrics.bytes_sent.get(),
            clients_connected: n_connected,
            clients_disconnected: n_sessions.saturating_sub(n_connected),
            clients_maximum: broker.registry.most_connected(),
            clients_total: n_sessions,
            messages_received: metrics.messages_received.get(),
            messages_sent: metrics.messages_sent.get(),
            messages_dropped: metrics.messages_dropped.get(),
            retained: match broker.store.redis() {
                Some(redis) => redis.n_retained() as usize,
                None => broker.retained.len(),
            },
            retained_bytes: match broker.store.redis() {
                Some(redis) => redis.n_retained_bytes(),
                None => broker.retained.n_bytes(),
            },
            inflight: sessions
                .iter()
                .map(|session| session.outbound.lock().n_inflight())
                .sum(),
            subscriptions: counts.subscriptions,
            subscriptions_shared: counts.shared,
            filters: counts.filters,
            packets_received: metrics.packets_received.get(),
            packets_sent: metrics.packets_sent.get(),
            memory_alloc,
            threads,
            store_commits: stats.commits,
            store_batches: stats.batches,
            store_last_commit_micros: stats.last_commit_micros,
            store_pending_bytes: broker.store.pending_bytes(),
        }
    }
}

impl Figures {
    /// All that are numbers, by name.
    pub(crate) fn numbers(&self) -> BTreeMap<String, u64> {
        let fields = match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(), // it is a structure of numbers and a text
        };
        let numbers = fields.into_iter();
        numbers
            .filter_map(|(name, value)| Some((name, value.as_u64()?)))
            .collect()
    }
}

/// Resident bytes of this process.
pub(crate) fn resident() -> u64 {
    process().0
}

/// Resident bytes and threads of this process; zeros where the system does not say.
fn process() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    (
        field("VmRSS:").unwrap_or(0) * 1024,
        field("Threads:").unwrap_or(0),
    )
}

/// Shows the figures that go up and down as Prometheus gauges.
#[derive(Debug)]
pub(crate) struct Gauges(pub(crate) Weak<Broker>);

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(broker) = self.0.upgrade() else {
            return Ok(());
        };
        let figures = Figures::of(&broker);
        let guard = broker.guard.as_ref();
        let passwords = guard.map(|guard| guard.pool.load()).unwrap_or_default();
        let gauges = [
            (
                "gateway_clients_connected",
                "clients connected now",
                figures.clients_connected as u64,
            ),
            (
                "gateway_sessions",
                "sessions, connected or not",
                figures.clients_total as u64,
            ),
            (
                "gateway_subscriptions",
                "subscriptions",
                figures.subscriptions as u64,
            ),
            (
                "gateway_filters",
                "different topic filters",
                figures.filters as u64,
            ),
            (
                "gateway_retained_messages",
                "retained messages",
                figures.retained as u64,
            ),
            (
                "gateway_retained_bytes",
                "bytes of retained messages, as they are stored",
                figures.retained_bytes,
            ),
            (
                "gateway_inflight_messages",
                "QoS 1 and 2 messages on their way",
                figures.inflight as u64,
            ),
            (
                "gateway_passwords_compared",
                "passwords that are being compared",
                passwords.comparing as u64,
            ),
            (
                "gateway_passwords_waiting",
                "passwords that wait for their comparison",
                passwords.waiting as u64,
            ),
            (
                "gateway_memory_resident_bytes",
                "resident memory of the process",
                figures.memory_alloc,
            ),
            (
                "gateway_memory_limit_bytes",
                "what it may have; 0 is no limit",
                broker.memory.limit,
            ),
            (
                "gateway_memory_level",
                "1: nobody new is let in, 2: nobody at all, nor may anybody publish",
                broker.memory.level() as u64,
            ),
            (
                "gateway_store_pending_bytes",
                "bytes to be committed",
                figures.store_pending_bytes as u64,
            ),
            (
                "gateway_store_commits",
                "changes of the store",
                figures.store_commits,
            ),
            (
                "gateway_store_batches",
                "batches that became safe",
                figures.store_batches,
            ),
            (
                "gateway_store_last_commit_microseconds",
                "how long the last commit took",
                figures.store_last_commit_micros,
            ),
        ];
        let shared = broker.cluster.as_ref().map(|cluster| {
            let has_lease = cluster.lease.is_held(broker.clock.now());
            [
                (
                    "gateway_cluster_lease",
                    "whether the routing table may be taken for current",
                    u64::from(has_lease),
                ),
                (
                    "gateway_cluster_unsettled_filters",
                    "filters that some gateway may not know of",
                    cluster.n_unsettled() as u64,
                ),
                (
                    "gateway_cluster_nodes",
                    "gateways and bridges of the cluster",
                    cluster.n_nodes() as u64,
                ),
                (
                    "gateway_bridge_held_bytes",
                    "messages that wait for a bridge to come",
                    cluster.returns.held.bytes() as u64,
                ),
            ]
        });
        let redis = broker.store.redis().map(|redis| {
            let is_up = *redis.health().borrow() == Health::Up;
            let help = "whether Redis answers";
            ("gateway_redis_up", help, u64::from(is_up))
        });
        let gauges = gauges
            .into_iter()
            .chain(shared.into_iter().flatten())
            .chain(redis);
        for (name, help, value) in gauges {
            let gauge = ConstGauge::<u64>::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        if broker.store.redis().is_some() {
            let name = "gateway_clock_skew_seconds";
            let help = "by how much the wall clock of this machine is ahead of Redis's";
            let gauge = ConstGauge::new(broker.clock.wall_ahead() as f64 / 1000.0);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let help = "how the gateway does: 1 for the state that it is in";
        let mut states =
            encoder.encode_descriptor("gateway_state", help, None, MetricType::Gauge)?;
        let state = Condition::of(&broker).name();
        for name in Condition::NAMES {
            let gauge = ConstGauge::<u64>::new(u64::from(name == state));
            gauge.encode(states.encode_family(&[("state", name)])?)?;
        }
        let help = "bans in force, by what they name";
        let mut bans = encoder.encode_descriptor("gateway_bans", help, None, MetricType::Gauge)?;
        for (kind, n_bans) in broker.bans.count().by_kind() {
            let gauge = ConstGauge::<u64>::new(n_bans as u64);
            gauge.encode(bans.encode_family(&[("kind", kind)])?)?;
        }
        Ok(())
    }
}

/// The routes that the gateway adds to the process's HTTP server.
pub(crate) fn routes(broker: &Arc<Broker>) -> axum::Router {
    let broker = broker.clone();
    let stats = move || {
        let broker = broker.clone();
        async move { axum::Json(Figures::of(&broker)) }
    };
    axum::Router::new().route("/mqtt/stats", axum::routing::get(stats))
}
