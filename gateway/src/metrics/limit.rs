//! How often each limit was reached, by its name in the configuration.

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
    ClientPublishRate,
    ClientPublishBytes,
    MaxFailures,
    MaxLoginsPerAddress,
    MaxSessions,
    MaxSessionsPerUser,
    Memory,
    UserPublishRate,
    UserPublishBytes,
    ListenerPublishRate,
    ListenerPublishBytes,
}

/// The counters, one for each limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct LimitsHit(Family<[(&'static str, &'static str); 1], Counter>);

// === impl Limit ===

impl Limit {
    const ALL: [Self; 15] = [
        Self::MaxFailures,
        Self::MaxLoginsPerAddress,
        Self::Memory,
        Self::MaxSessions,
        Self::MaxSessionsPerUser,
        Self::MaxConnections,
        Self::MaxConnectionsPerAddress,
        Self::ConnectionRate,
        Self::ConnectionRatePerAddress,
        Self::ClientPublishRate,
        Self::ClientPublishBytes,
        Self::UserPublishRate,
        Self::UserPublishBytes,
        Self::ListenerPublishRate,
        Self::ListenerPublishBytes,
    ];

    /// Its key in the configuration.
    fn name(self) -> &'static str {
        match self {
            Self::MaxFailures => "max-failures",
            Self::MaxLoginsPerAddress => "max-logins-per-address",
            Self::Memory => "memory",
            Self::MaxSessions => "max-sessions",
            Self::MaxSessionsPerUser => "max-sessions-per-user",
            Self::MaxConnections => "max-connections",
            Self::MaxConnectionsPerAddress => "max-connections-per-address",
            Self::ConnectionRate => "connection-rate",
            Self::ConnectionRatePerAddress => "connection-rate-per-address",
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

impl LimitsHit {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let counters = Self::default();
        for limit in Limit::ALL {
            counters.counter(limit); // it is shown with 0
        }
        let help = "how often somebody came up against a limit";
        registry.register("limits_hit", help, counters.0.clone());
        counters
    }

    pub(crate) fn inc(&self, limit: Limit) {
        self.counter(limit).inc();
    }

    fn counter(&self, limit: Limit) -> Counter {
        self.0.get_or_create(&[("limit", limit.name())]).clone()
    }
}
