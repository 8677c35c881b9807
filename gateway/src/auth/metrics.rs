//! What the sources say of clients that connect, and how long they take for it.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::{Admission, Denied, Proof};
use crate::metrics::LimitsHit;
use crate::proto::mqtt::Reason;

/// Its place in `auth.sources`, and what it is.
type Source = [(&'static str, String); 2];
/// The same, and what it said.
type Said = [(&'static str, String); 3];

/// What the guard counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    asked: Family<Said, Counter>,
    seconds: Family<Source, Histogram, fn() -> Histogram>,
    pub(super) limits_hit: LimitsHit,
}

/// What a source has said, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Allow,
    Deny,
    /// It does not know the client: the next one is asked.
    Pass,
    Unavailable,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            asked: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            limits_hit: LimitsHit::default(),
        }
    }
}

/// From half a millisecond to 16 s, each twice as long as the one before it.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 16))
}

impl Outcome {
    /// Of a source that was asked whether a client is let in.
    pub(super) fn of(answer: &Result<Admission, Denied>) -> Self {
        match answer {
            Ok(Admission::Allowed(_)) => Self::Allow,
            Ok(Admission::Unknown) => Self::Pass,
            Ok(Admission::Denied) => Self::Deny,
            Err(denied) => Self::of_denied(denied),
        }
    }

    /// Of one that was asked for what a proof is held against; `None` until there is a proof.
    pub(super) fn of_proof(answer: &Result<Proof, Denied>) -> Option<Self> {
        match answer {
            Ok(Proof::Of(..)) => None,
            Ok(Proof::Unknown) => Some(Self::Pass),
            Ok(Proof::None) => Some(Self::Deny),
            Err(denied) => Some(Self::of_denied(denied)),
        }
    }

    fn of_denied(denied: &Denied) -> Self {
        match denied.reason {
            Reason::ServerUnavailable => Self::Unavailable,
            _ => Self::Deny,
        }
    }
}

impl Metrics {
    /// Registers what the guard counts as `gateway_auth_…`; limits are counted with all others.
    pub(super) fn register(&mut self, registry: &mut Registry, limits_hit: LimitsHit) {
        self.limits_hit = limits_hit;
        let registry = registry.sub_registry_with_prefix("gateway_auth");
        registry.register(
            "answers",
            "what a source said of clients that connect, or prove again who they are: allow, deny, pass to \
             the next, unavailable",
            self.asked.clone(),
        );
        registry.register(
            "answer_seconds",
            "how long a source took to say it",
            self.seconds.clone(),
        );
    }

    /// A source, by its place and kind, has answered after so long.
    pub(super) fn time(&self, (place, kind): (usize, &'static str), after: Duration) {
        let source = [("place", place.to_string()), ("source", kind.to_owned())];
        let seconds = self.seconds.get_or_create(&source);
        seconds.observe(after.as_secs_f64());
    }

    /// What it has said comes to this.
    pub(super) fn count(&self, (place, kind): (usize, &'static str), outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Allow => "allow",
            Outcome::Deny => "deny",
            Outcome::Pass => "pass",
            Outcome::Unavailable => "unavailable",
        };
        let [place, kind] = [place.to_string(), kind.to_owned()];
        let said = [
            ("place", place),
            ("source", kind),
            ("outcome", outcome.to_owned()),
        ];
        self.asked.get_or_create(&said).inc();
    }
}
