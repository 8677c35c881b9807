//! How many connections were turned away, by the reason that their CONNACK had, or by what they did not
//! get through before.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::proto::mqtt::Reason;

/// The counters, by the names that the standard gives the reasons.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused(Family<[(&'static str, &'static str); 1], Counter>);

/// What a connection did not get through, before there was any MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its address is banned.
    Ban,
    Tls,
    WebSocket,
}

/// What those are counted under that were closed without a word.
const UNTOLD: &str = "no CONNACK";

impl Refused {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let refused = Self::default();
        refused.counter(UNTOLD); // there is something to sum up before anybody is turned away
        let help = "connections turned away, by the reason in CONNACK, or by what was before it";
        registry.register("connections_refused", help, refused.0.clone());
        refused
    }

    /// One was turned away, with or without a CONNACK.
    pub(crate) fn inc(&self, reason: Option<Reason>) {
        self.counter(reason.map_or(UNTOLD, Reason::name)).inc();
    }

    /// One was turned away before it said anything of MQTT.
    pub(crate) fn inc_early(&self, stage: Option<Stage>) {
        self.counter(stage.map_or(UNTOLD, Stage::name)).inc();
    }

    fn counter(&self, reason: &'static str) -> Counter {
        self.0.get_or_create(&[("reason", reason)]).clone()
    }
}

// === impl Stage ===

impl Stage {
    /// As it is in the metrics and in the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ban => Reason::Banned.name(),
            Self::Tls => "TLS handshake",
            Self::WebSocket => "WebSocket upgrade",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_over_reasons_is_how_many_were_turned_away() {
        let mut registry = Registry::default();
        let refused = Refused::register(&mut registry);
        for reason in [
            None,
            Some(Reason::Banned),
            Some(Reason::NotAuthorized),
            Some(Reason::Banned),
        ] {
            refused.inc(reason);
        }
        refused.inc_early(Some(Stage::Tls));
        refused.inc_early(None);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        for (reason, n) in [
            ("no CONNACK", 2),
            ("Banned", 2),
            ("Not authorized", 1),
            ("TLS handshake", 1),
        ] {
            let line = format!("connections_refused_total{{reason=\"{reason}\"}} {n}");
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
