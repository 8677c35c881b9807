//! What the sources say of clients that connect, and how long they take for it.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::{Admission, Denied};
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

impl Metrics {
    /// Registers what the guard counts as `gateway_auth_…`; limits are counted with all others.
    pub(super) fn register(&mut self, registry: &mut Registry, limits_hit: LimitsHit) {
        self.limits_hit = limits_hit;
        let registry = registry.sub_registry_with_prefix("gateway_auth");
        registry.register(
            "answers",
            "what a source said of clients that connect: allow, deny, pass to the next, unavailable",
            self.asked.clone(),
        );
        registry.register(
            "answer_seconds",
            "how long a source took to say it",
            self.seconds.clone(),
        );
    }

    /// A source, by its place and kind, has answered after so long.
    pub(super) fn count(
        &self,
        (place, kind): (usize, &'static str),
        answer: &Result<Admission, Denied>,
        after: Duration,
    ) {
        let outcome = match answer {
            Ok(Admission::Allowed(_)) => "allow",
            Ok(Admission::Unknown) => "pass",
            Err(denied) if denied.reason == Reason::ServerUnavailable => "unavailable",
            Ok(Admission::Denied) | Err(_) => "deny",
        };
        let source = [("place", place.to_string()), ("source", kind.to_owned())];
        self.seconds
            .get_or_create(&source)
            .observe(after.as_secs_f64());
        let [place, source] = source;
        let said = [place, source, ("outcome", outcome.to_owned())];
        self.asked.get_or_create(&said).inc();
    }
}
