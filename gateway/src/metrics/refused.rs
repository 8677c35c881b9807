//! How many connections were turned away, by the reason that their CONNACK had.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::proto::mqtt::Reason;

/// The counters, by the names that the standard gives the reasons.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused(Family<[(&'static str, &'static str); 1], Counter>);

/// What those are counted under that were closed without a word.
const UNTOLD: &str = "no CONNACK";

impl Refused {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let refused = Self::default();
        refused.counter(UNTOLD); // there is something to sum up before anybody is turned away
        let help = "connections turned away, by the reason in CONNACK, or without one";
        registry.register("connections_refused", help, refused.0.clone());
        refused
    }

    /// One was turned away, with or without a CONNACK.
    pub(crate) fn inc(&self, reason: Option<Reason>) {
        self.counter(reason.map_or(UNTOLD, Reason::name)).inc();
    }

    fn counter(&self, reason: &'static str) -> Counter {
        self.0.get_or_create(&[("reason", reason)]).clone()
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
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        for (reason, n) in [("no CONNACK", 1), ("Banned", 2), ("Not authorized", 1)] {
            let line = format!("connections_refused_total{{reason=\"{reason}\"}} {n}");
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
