//! How often each limit was reached, by its name in the configuration.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    MaxConnections,
    MaxConnectionsPerAddress,
    ConnectionRate,
    ConnectionRatePerAddress,
    MaxFailures,
    MaxLoginsPerAddress,
    Memory,
    MaxSessions,
    MaxSessionsPerUser,
    MaxSubscriptions,
    MaxRetained,
    MaxRetainedBytes,
    MaxQueued,
    StuckTimeout,
    ClientPublishRate,
    ClientPublishBytes,
    UserPublishRate,
    UserPublishBytes,
    ListenerPublishRate,
    ListenerPublishBytes,
}

/// The counters, in the order of the limits.
#[derive(Clone, Debug)]
pub(crate) struct LimitsHit(Arc<[Counter]>);

// === impl Limit ===

impl Limit {
    const ALL: [Self; 20] = [
        Self::MaxConnections,
        Self::MaxConnectionsPerAddress,
        Self::ConnectionRate,
        Self::ConnectionRatePerAddress,
        Self::MaxFailures,
        Self::MaxLoginsPerAddress,
        Self::Memory,
        Self::MaxSessions,
        Self::MaxSessionsPerUser,
        Self::MaxSubscriptions,
        Self::MaxRetained,
        Self::MaxRetainedBytes,
        Self::MaxQueued,
        Self::StuckTimeout,
        Self::ClientPublishRate,
        Self::ClientPublishBytes,
        Self::UserPublishRate,
        Self::UserPublishBytes,
        Self::ListenerPublishRate,
        Self::ListenerPublishBytes,
    ];

    /// Its key in the configuration; of queues there are two, for messages and for bytes.
    fn name(self) -> &'static str {
        match self {
            Self::MaxConnections => "max-connections",
            Self::MaxConnectionsPerAddress => "max-connections-per-address",
            Self::ConnectionRate => "connection-rate",
            Self::ConnectionRatePerAddress => "connection-rate-per-address",
            Self::MaxFailures => "max-failures",
            Self::MaxLoginsPerAddress => "max-logins-per-address",
            Self::Memory => "memory",
            Self::MaxSessions => "max-sessions",
            Self::MaxSessionsPerUser => "max-sessions-per-user",
            Self::MaxSubscriptions => "max-subscriptions",
            Self::MaxRetained => "max-retained",
            Self::MaxRetainedBytes => "max-retained-bytes",
            Self::MaxQueued => "max-queued",
            Self::StuckTimeout => "stuck-timeout",
            Self::ClientPublishRate => "client-publish-rate",
            Self::ClientPublishBytes => "client-publish-bytes",
            Self::UserPublishRate => "user-publish-rate",
            Self::UserPublishBytes => "user-publish-bytes",
            Self::ListenerPublishRate => "listener-publish-rate",
            Self::ListenerPublishBytes => "listener-publish-bytes",
        }
    }
}

// === impl LimitsHit ===

impl Default for LimitsHit {
    fn default() -> Self {
        Self(Limit::ALL.map(|_| Counter::default()).into())
    }
}

impl LimitsHit {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let family = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let counter = |limit: Limit| family.get_or_create(&[("limit", limit.name())]).clone();
        let counters = Self(Limit::ALL.map(counter).into());
        let help = "how often somebody came up against a limit";
        registry.register("limits_hit", help, family.clone());
        counters
    }

    pub(crate) fn inc(&self, limit: Limit) {
        self.0[limit as usize].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_its_counter() {
        for (at, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, at, "{limit:?}");
        }
        let mut registry = Registry::default();
        LimitsHit::register(&mut registry).inc(Limit::ListenerPublishBytes);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        for limit in Limit::ALL {
            let n = u8::from(limit == Limit::ListenerPublishBytes);
            let line = format!("limits_hit_total{{limit=\"{}\"}} {n}", limit.name());
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
