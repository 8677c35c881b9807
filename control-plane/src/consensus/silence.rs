//! Which nodes of the control plane do not answer this one, and since when: told in the log when it
//! lasts longer than a start takes, and when it ends, however often they are called meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::{Code, Status};

/// The nodes that do not answer.
#[derive(Debug, Default)]
pub(super) struct Silence(Mutex<BTreeMap<u64, Silent>>);

/// One of them.
#[derive(Debug)]
struct Silent {
    since: Instant,
    is_told: bool,
}

/// How long one may be silent that is started again, and no reason to look.
const PATIENCE: Duration = Duration::from_secs(5);

// === impl Silent ===

impl Silent {
    /// Whether it is to be told now.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_over = now.saturating_duration_since(self.since) >= PATIENCE;
        is_over && !std::mem::replace(&mut self.is_told, true)
    }
}

// === impl Silence ===

impl Silence {
    /// A call to a node has failed.
    pub(super) fn begun(&self, number: u64, address: &str, status: &Status) {
        if !is_silence(status.code()) {
            return; // it says no: it is there
        }
        let is_due = {
            let now = Instant::now();
            let mut silent = self.0.lock();
            let begun = Silent {
                since: now,
                is_told: false,
            };
            silent.entry(number).or_insert(begun).is_due(now)
        };
        if is_due {
            let why = status.message();
            tracing::warn!(
                number,
                address,
                why,
                "a node of the control plane does not answer"
            );
        }
    }

    /// A node has answered.
    pub(super) fn broken(&self, number: u64, address: &str) {
        let silent = self.0.lock().remove(&number);
        if let Some(silent) = silent.filter(|silent| silent.is_told) {
            let after = silent.since.elapsed();
            tracing::info!(
                number,
                address,
                ?after,
                "a node of the control plane answers again"
            );
        }
    }

    /// For how long each has not answered.
    pub(super) fn all(&self) -> BTreeMap<u64, Duration> {
        let silent = self.0.lock();
        let silent = silent.iter();
        silent
            .map(|(number, silent)| (*number, silent.since.elapsed()))
            .collect()
    }
}

/// Whether a status is that of nobody, rather than what somebody said.
fn is_silence(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_started_again_is_not_told_of_and_one_that_stays_away_is_once() {
        let since = Instant::now();
        let mut silent = Silent {
            since,
            is_told: false,
        };
        let told = (0..20).filter(|second| silent.is_due(since + Duration::from_secs(*second)));
        assert_eq!(told.collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn a_silence_lasts_from_the_first_call_that_fails_to_the_first_answer() {
        let silence = Silence::default();
        let refused = Status::failed_precondition("this is another node");
        silence.begun(2, "c2:1", &refused);
        assert!(silence.all().is_empty(), "it is there");
        let gone = Status::unavailable("connection refused");
        silence.begun(2, "c2:1", &gone);
        std::thread::yield_now();
        let first = silence.all()[&2];
        silence.begun(2, "c2:1", &gone);
        assert!(silence.all()[&2] >= first, "it goes on");
        silence.broken(3, "c3:1");
        assert_eq!(silence.all().len(), 1);
        silence.broken(2, "c2:1");
        assert!(silence.all().is_empty());
    }
}
