//! Whether Redis answers.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// How Redis does, as the writer sees it. It looks once a second if there is nothing to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It answers.
    Up,
    /// It has not answered for a quarter of the timeout.
    Slow,
    /// It does not answer, or not as a master should. What waits is sent until it does.
    Down { since: Instant },
}

/// Tells others, and the log, how Redis does.
#[derive(Debug)]
pub(super) struct Reporter {
    watched: watch::Sender<Health>,
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
            self.change(Health::Slow);
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
