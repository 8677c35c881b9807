//! Clients that get no session from Redis, told in one line a period: how many, since when, and
//! why. While Redis does not answer, everybody comes again and again.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::broker::Broker;

/// How long it is waited for others before the first line.
const FIRST: Duration = Duration::from_secs(1);
/// The time between two lines.
const PERIOD: Duration = Duration::from_secs(10);

/// Clients that were refused.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    tally: Mutex<Tally>,
    arrived: Notify,
    n_unknown: AtomicUsize,
}

#[derive(Debug, Default)]
struct Tally {
    /// When the first one was, of this trouble.
    since: Option<Instant>,
    /// Since the last line.
    n_new: u64,
    /// Since the first one.
    n_all: u64,
    /// What the first since the last line was told.
    why: String,
}

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    n_new: u64,
    n_all: u64,
    lasts: Duration,
    why: String,
}

/// A claim of which nobody knows yet whether Redis has carried it out.
#[derive(Debug)]
pub(super) struct Unknown<'a>(&'a Refusals);

// === impl Refusals ===

impl Refusals {
    /// A client was refused.
    pub(super) fn note(&self, why: &impl Display) {
        self.tally.lock().note(why, Instant::now());
        self.arrived.notify_one();
    }

    /// A claim is to be asked about until its outcome is known.
    pub(super) fn unknown(&self) -> Unknown<'_> {
        self.n_unknown.fetch_add(1, Ordering::Relaxed);
        Unknown(self)
    }
}

impl Drop for Unknown<'_> {
    fn drop(&mut self) {
        self.0.n_unknown.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tally {
    fn note(&mut self, why: &impl Display, now: Instant) {
        self.since.get_or_insert(now);
        if self.n_new == 0 {
            self.why = why.to_string();
        }
        self.n_new += 1;
        self.n_all += 1;
    }

    /// What is to be said now; if that is nothing, the trouble is over.
    fn line(&mut self, now: Instant) -> Option<Line> {
        let Self { n_new, n_all, .. } = *self;
        let Some(since) = self.since.filter(|_| n_new > 0) else {
            *self = Self::default();
            return None;
        };
        self.n_new = 0;
        Some(Line {
            n_new,
            n_all,
            lasts: now - since,
            why: std::mem::take(&mut self.why),
        })
    }
}

/// Tells the log, until the gateway stops.
pub(crate) async fn tell(broker: Arc<Broker>) {
    let refusals = &broker.refusals;
    let telling = async {
        loop {
            refusals.arrived.notified().await;
            tokio::time::sleep(FIRST).await;
            loop {
                let Some(line) = refusals.tally.lock().line(Instant::now()) else {
                    break;
                };
                tracing::warn!(
                    n_clients = line.n_new,
                    n_since_begin = line.n_all,
                    began_s_ago = line.lasts.as_secs(),
                    n_claims_unknown = refusals.n_unknown.load(Ordering::Relaxed),
                    why = line.why,
                    "clients were refused: the store gives no sessions"
                );
                tokio::time::sleep(PERIOD).await;
            }
        }
    };
    tokio::select! {
        () = telling => {}
        () = broker.tasks_end.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_refusals_are_one_line_with_how_many_since_when_and_why() {
        let (mut tally, begin) = (Tally::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        for client in 0..1_000 {
            tally.note(&format_args!("client {client}"), at(0));
        }
        let line = |n_new, n_all, lasts, why: &str| {
            Some(Line {
                n_new,
                n_all,
                lasts: Duration::from_secs(lasts),
                why: why.to_owned(),
            })
        };
        assert_eq!(tally.line(at(1)), line(1_000, 1_000, 1, "client 0"));
        tally.note(&"again", at(9));
        assert_eq!(tally.line(at(11)), line(1, 1_001, 11, "again"));
        assert_eq!(tally.line(at(21)), None);
        // What comes later is another trouble.
        tally.note(&"later", at(30));
        assert_eq!(tally.line(at(31)), line(1, 1, 1, "later"));
    }
}
