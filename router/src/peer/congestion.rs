//! How much waits in the outboxes of all lanes, and whether publishers should stop.
//!
//! They stop above the bound and go on at three quarters of it, so that they do not wake for each
//! message that leaves.

use std::sync::atomic::Ordering::SeqCst;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

/// Bytes that wait, against a bound.
#[derive(Debug)]
pub(super) struct Congestion {
    /// The gauge of the metrics: counted once.
    waiting: Gauge,
    bound: i64,
    /// Told when `waiting` falls to `low` from above.
    relief: Notify,
}

// === impl Congestion ===

impl Congestion {
    pub(super) fn new(bound: usize, waiting: Gauge) -> Self {
        Self {
            waiting,
            bound: to_signed(bound),
            relief: Notify::new(),
        }
    }

    pub(super) fn add(&self, bytes: usize) {
        self.waiting.inner().fetch_add(to_signed(bytes), SeqCst);
    }

    pub(super) fn release(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let bytes = to_signed(bytes);
        let before = self.waiting.inner().fetch_sub(bytes, SeqCst);
        let is_crossing = before > self.low() && before - bytes <= self.low();
        if is_crossing {
            self.relief.notify_waiters();
        }
    }

    pub(super) fn is_congested(&self) -> bool {
        self.waiting() > self.bound
    }

    fn waiting(&self) -> i64 {
        self.waiting.inner().load(SeqCst)
    }

    /// Waits until no more than three quarters of the bound wait. Cancel-safe.
    pub(super) async fn relieved(&self) {
        loop {
            let relief = self.relief.notified();
            tokio::pin!(relief);
            relief.as_mut().enable();
            // Looked at after `enable`, so that no relief in between is missed.
            if self.waiting() <= self.low() {
                return;
            }
            relief.await;
        }
    }

    fn low(&self) -> i64 {
        self.bound / 4 * 3
    }
}

// === private ===

fn to_signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn publishers_go_on_at_three_quarters() {
        let congestion = Arc::new(Congestion::new(100, Gauge::default()));
        congestion.add(100);
        assert!(!congestion.is_congested());
        congestion.add(1);
        assert!(congestion.is_congested());
        let waiter = tokio::spawn({
            let congestion = congestion.clone();
            async move { congestion.relieved().await }
        });
        tokio::task::yield_now().await;
        congestion.release(25);
        tokio::task::yield_now().await;
        assert!(!congestion.is_congested() && !waiter.is_finished());
        congestion.release(1);
        waiter.await.unwrap();
        congestion.relieved().await;
    }
}
