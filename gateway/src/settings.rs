//! Settings that change while the gateway runs.
//!
//! What is in force is a small structure behind an [`ArcSwap`]: a turn takes it once, at its
//! beginning. What the control plane says is laid over what the gateway was started with, so a
//! setting that is taken back is again what it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use gatemq_node::log;
use gatemq_node::settings::{self, Value};

use crate::config::{Config, OnFull, ShareStrategy};
use crate::session::outbound::Bounds;

/// What may change, as it is now.
#[derive(Clone, Debug)]
pub(crate) struct InForce {
    /// Of sessions' queues and outboxes.
    pub(crate) bounds: Bounds,
    /// QoS 1 and 2 messages on their way to one client, of new connections.
    pub(crate) max_inflight: u16,
    pub(crate) max_sessions: usize,
    pub(crate) max_subscriptions: usize,
    /// Longest life of a message, in seconds; 0 is no limit.
    pub(crate) message_expiry: u32,
    pub(crate) share_strategy: ShareStrategy,
    /// What is logged; `None` for what the process was started with.
    log: Option<String>,
}

/// The settings of a gateway.
#[derive(Debug)]
pub(crate) struct Settings {
    configured: InForce,
    in_force: ArcSwap<InForce>,
}

// === impl Settings ===

impl Settings {
    pub(crate) fn new(config: &Config) -> Self {
        let limits = &config.limits;
        let configured = InForce {
            bounds: Bounds {
                messages: limits.max_queued_messages,
                bytes: limits.max_queued_bytes,
                outbox: limits.max_outbox_bytes,
                on_full: config.session.on_full,
                queue_qos0: config.session.queue_qos0,
            },
            max_inflight: limits.max_inflight,
            max_sessions: limits.max_sessions,
            max_subscriptions: limits.max_subscriptions,
            message_expiry: limits.message_expiry,
            share_strategy: config.share_strategy,
            log: None,
        };
        Self {
            in_force: ArcSwap::from_pointee(configured.clone()),
            configured,
        }
    }

    /// What is in force now.
    #[inline]
    pub(crate) fn load(&self) -> Guard<Arc<InForce>> {
        self.in_force.load()
    }

    /// Puts into force what the cluster has set, and nothing else; values by key.
    pub(crate) fn apply(&self, set: &BTreeMap<String, String>) {
        let mut next = self.configured.clone();
        for (key, text) in set {
            let value = settings::find(key).and_then(|setting| setting.read(text));
            match value {
                Ok(value) => next.set(key, &value),
                // A newer control plane knows it: this version goes on as it is.
                Err(problem) => tracing::warn!(key, why = problem.what, "setting left out"),
            }
        }
        if let Err(error) = log::change(next.log.as_deref()) {
            tracing::warn!(%error, "the log goes on as it is");
        }
        self.in_force.store(Arc::new(next));
    }
}

// === impl InForce ===

impl InForce {
    /// Sets what the table of settings has read.
    fn set(&mut self, key: &str, value: &Value) {
        let bounds = &mut self.bounds;
        match (key, value) {
            // Stores are read back on the strength of the window that was configured.
            ("limits.max-inflight", Value::Number(number)) => {
                self.max_inflight = saturate::<u16>(*number).min(self.max_inflight);
            }
            ("limits.max-outbox-bytes", Value::Number(number)) => bounds.outbox = saturate(*number),
            ("limits.max-queued-bytes", Value::Number(number)) => bounds.bytes = saturate(*number),
            ("limits.max-queued-messages", Value::Number(number)) => {
                bounds.messages = saturate(*number);
            }
            ("limits.max-sessions", Value::Number(number)) => self.max_sessions = saturate(*number),
            ("limits.max-subscriptions", Value::Number(number)) => {
                self.max_subscriptions = saturate(*number);
            }
            ("limits.message-expiry", Value::Number(number)) => {
                self.message_expiry = saturate(*number);
            }
            ("log.level", Value::Text(filter)) => self.log = Some(filter.clone()),
            ("session.queue-qos0", Value::Switch(is_on)) => bounds.queue_qos0 = *is_on,
            ("session.on-full", Value::Text(name)) => {
                bounds.on_full = match &**name {
                    "reject" => OnFull::Reject,
                    "drop-oldest" => OnFull::DropOldest,
                    _ => OnFull::EndSession,
                };
            }
            ("share-strategy", Value::Text(name)) => {
                self.share_strategy = match &**name {
                    "random" => ShareStrategy::Random,
                    "sticky" => ShareStrategy::Sticky,
                    "hash-client" => ShareStrategy::HashClient,
                    "hash-topic" => ShareStrategy::HashTopic,
                    "local" => ShareStrategy::Local,
                    _ => ShareStrategy::RoundRobin,
                };
            }
            _ => tracing::warn!(key, "setting left out: this version cannot change it"),
        }
    }
}

/// The number, or the largest there is.
fn saturate<T: TryFrom<u64> + Bounded>(number: u64) -> T {
    T::try_from(number).unwrap_or(T::MOST)
}

trait Bounded {
    const MOST: Self;
}

impl Bounded for u16 {
    const MOST: Self = Self::MAX;
}

impl Bounded for u32 {
    const MOST: Self = Self::MAX;
}

impl Bounded for usize {
    const MOST: Self = Self::MAX;
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatemq_node::settings::{Kind, SETTINGS};

    /// A value of each setting that is not its default.
    fn other(kind: Kind) -> String {
        match kind {
            Kind::Number(least, _) | Kind::Bytes(least, _) => (least + 6).to_string(),
            Kind::Seconds(..) => "1h".to_owned(),
            Kind::Switch => "true".to_owned(),
            Kind::Choice(names) => names.last().copied().unwrap_or_default().to_owned(),
            Kind::LogFilter => "warn".to_owned(),
        }
    }

    #[test]
    fn every_setting_takes_effect_and_can_be_taken_back() {
        let settings = Settings::new(&Config::default());
        let before = format!("{:?}", **settings.load());
        for setting in SETTINGS {
            let set = BTreeMap::from([(setting.key.to_owned(), other(setting.kind))]);
            settings.apply(&set);
            let after = format!("{:?}", **settings.load());
            assert_ne!(before, after, "{}", setting.key);
            settings.apply(&BTreeMap::new());
            assert_eq!(before, format!("{:?}", **settings.load()));
        }
    }

    #[test]
    fn a_window_never_grows_beyond_the_configured_one() {
        let settings = Settings::new(&Config::default());
        let set =
            |value: &str| BTreeMap::from([("limits.max-inflight".to_owned(), value.to_owned())]);
        settings.apply(&set("65535"));
        assert_eq!(settings.load().max_inflight, 1024);
        settings.apply(&set("3"));
        assert_eq!(settings.load().max_inflight, 3);
    }

    #[test]
    fn what_is_not_known_changes_nothing_else() {
        let settings = Settings::new(&Config::default());
        let set = [
            ("limits.max-sessions", "9"),
            ("limits.max-subscriptions", "many"),
            ("limits.of-the-future", "1"),
        ];
        settings.apply(
            &set.map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        );
        let in_force = settings.load();
        assert_eq!(in_force.max_sessions, 9);
        assert_eq!(in_force.max_subscriptions, 100_000);
    }
}
