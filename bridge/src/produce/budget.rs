//! How much of a flow may be on its way: who brings more waits.

use std::pin::pin;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The room of one flow.
#[derive(Default)]
pub(crate) struct Budget {
    used: Mutex<Used>,
    room: Notify,
}

#[derive(Default)]
struct Used {
    n_records: usize,
    n_bytes: usize,
    is_closed: bool,
}

// === impl Budget ===

impl Budget {
    /// Waits for room for a record, and takes it; false once the flow is closed. One record always
    /// finds some in an empty flow.
    pub(crate) async fn enter(&self, n_bytes: usize) -> bool {
        loop {
            let mut room = pin!(self.room.notified());
            room.as_mut().enable();
            if let Some(has_entered) = self.try_enter(n_bytes) {
                return has_entered;
            }
            room.await;
        }
    }

    /// Takes room that may not be there.
    pub(super) fn force(&self, n_bytes: usize) {
        self.used.lock().take(n_bytes);
    }

    /// Nobody enters any more.
    pub(super) fn close(&self) {
        self.used.lock().is_closed = true;
        self.room.notify_waiters();
    }

    /// Waits until nobody may enter.
    pub(super) async fn closed(&self) {
        loop {
            let mut news = pin!(self.room.notified());
            news.as_mut().enable();
            if self.used.lock().is_closed {
                return;
            }
            news.await;
        }
    }

    /// Gives back what a record took.
    pub(crate) fn leave(&self, n_bytes: usize) {
        let mut used = self.used.lock();
        let was_full = !used.has_room();
        used.n_records = used.n_records.saturating_sub(1);
        used.n_bytes = used.n_bytes.saturating_sub(n_bytes);
        let has_room = used.has_room();
        drop(used);
        if was_full && has_room {
            self.room.notify_waiters();
        }
    }

    /// Whether nothing is on its way.
    pub(super) fn is_unused(&self) -> bool {
        self.used.lock().n_records == 0
    }

    /// Whether it has, once that is decided.
    fn try_enter(&self, n_bytes: usize) -> Option<bool> {
        let mut used = self.used.lock();
        if used.is_closed {
            return Some(false);
        }
        if !used.has_room() {
            return None;
        }
        used.take(n_bytes);
        Some(true)
    }
}

// === impl Used ===

impl Used {
    fn take(&mut self, n_bytes: usize) {
        self.n_records += 1;
        self.n_bytes += n_bytes;
    }

    fn has_room(&self) -> bool {
        self.n_records < MOST_RECORDS && self.n_bytes < MOST_BYTES
    }
}

/// How many records of a flow are on their way, at most.
pub(super) const MOST_RECORDS: usize = 16_384;
/// And how many bytes, but for the last record.
pub(super) const MOST_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn who_brings_too_much_waits_until_some_of_it_is_gone() {
        let budget = Arc::new(Budget::default());
        for _ in 0..4 {
            assert!(budget.enter(MOST_BYTES / 4).await);
        }
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.enter(1).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        budget.leave(MOST_BYTES / 4);
        assert!(waiting.await.expect("it ends"), "it enters");
    }

    #[tokio::test]
    async fn who_waits_for_a_flow_that_is_closed_does_not_enter() {
        let budget = Arc::new(Budget::default());
        assert!(budget.enter(MOST_BYTES).await);
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.enter(1).await }
        });
        tokio::task::yield_now().await;
        budget.close();
        assert!(!waiting.await.expect("it ends"));
        budget.leave(MOST_BYTES);
        assert!(!budget.enter(1).await);
        budget.closed().await;
    }
}
