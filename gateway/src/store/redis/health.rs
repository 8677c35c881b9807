//! Whether Redis answers.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// How Redis does, as the writer sees it. It looks once a second if there is nothing to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It answers.
    Up,
    /// It has not answered for a quarter of the timeout, or replicas have not what it has.
    Slow { since: Instant },
    /// It does not answer, or not as a master should. What waits is sent until it does.
    Down { since: Instant },
}

/// How long it does not answer before that is an outage: it has been looked at again by then.
const BLIP: Duration = Duration::from_secs(2);
/// How long nothing may be confirmed while it answers.
const SLOW: Duration = Duration::from_secs(10);

/// Tells others, and the log, how Redis does.
#[derive(Debug)]
pub(super) struct Reporter {
    watched: watch::Sender<Health>,
}

// === impl Health ===

impl Health {
    /// How long it has been down, unless that may be over with the next look: one answer that is
    /// late, or a connection that was lost.
    pub(crate) fn outage(self, now: Instant) -> Option<Duration> {
        let (since, blip) = match self {
            Self::Up => return None,
            Self::Slow { since } => (since, SLOW),
            Self::Down { since } => (since, BLIP),
        };
        let lasts = now.saturating_duration_since(since);
        (lasts >= blip).then_some(lasts)
    }
}

// === impl Reporter ===

impl Reporter {
    pub(super) fn new() -> Self {
        Self {
            watched: watch::Sender::new(Health::Up),
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Health> {
        self.watched.subscribe()
    }

    pub(super) fn up(&self) {
        self.change(Health::Up);
    }

    /// It takes long; if it is down already, that says more.
    pub(super) fn slow(&self) {
        if *self.watched.borrow() == Health::Up {
            let since = Instant::now();
            self.change(Health::Slow { since });
        }
    }

    pub(super) fn down(&self, why: &str) {
        if matches!(*self.watched.borrow(), Health::Down { .. }) {
            return;
        }
        tracing::warn!(why, "redis does not answer as it should");
        let since = Instant::now();
        self.change(Health::Down { since });
    }

    fn change(&self, health: Health) {
        self.watched.send_if_modified(|known| {
            if let (Health::Down { since }, Health::Up) = (*known, health) {
                let down = since.elapsed().max(Duration::from_millis(1));
                tracing::info!(down_ms = down.as_millis(), "redis answers again");
            }
            std::mem::replace(known, health) != health
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_next_look_may_end_is_no_outage() {
        let since = Instant::now();
        let after = |millis| since + Duration::from_millis(millis);
        let down = Health::Down { since };
        assert_eq!(down.outage(after(0)), None);
        assert_eq!(down.outage(after(1_999)), None);
        assert_eq!(down.outage(after(5_000)), Some(Duration::from_secs(5)));
        let slow = Health::Slow { since };
        assert_eq!(slow.outage(after(9_999)), None);
        assert_eq!(slow.outage(after(10_000)), Some(Duration::from_secs(10)));
        assert_eq!(Health::Up.outage(after(60_000)), None);
    }
}
