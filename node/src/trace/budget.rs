//! How many traces those who publish may ask for: whoever may send anything may ask for all of it, and a
//! trace costs several times what its message does, here and at the collector.
//!
//! A leaky bucket that holds what comes in a second (the generic cell rate algorithm).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is left of it.
#[derive(Debug)]
pub(super) struct Budget {
    /// What one takes, in nanoseconds; `None` if nobody may ask.
    price: Option<u64>,
    start: Instant,
    /// Up to when it is spent, counted from the start.
    spent: AtomicU64,
}

const SECOND: u64 = Duration::from_secs(1).as_nanos() as u64;

// === impl Budget ===

impl Budget {
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            price: SECOND.checked_div(u64::from(per_second)),
            start: Instant::now(),
            spent: AtomicU64::new(0),
        }
    }

    /// Takes one; returns whether there was one.
    pub(super) fn take(&self) -> bool {
        let now = self.start.elapsed().as_nanos();
        self.take_at(u64::try_from(now).unwrap_or(u64::MAX))
    }

    fn take_at(&self, now: u64) -> bool {
        let Some(price) = self.price else {
            return false;
        };
        let spend = |spent: u64| {
            let spent = spent.max(now).saturating_add(price);
            (spent <= now.saturating_add(SECOND)).then_some(spent)
        };
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.spent.fetch_update(set, fetch, spend).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_what_comes_in_a_second_and_no_more_is_saved() {
        let budget = Budget::new(100);
        let taken = |now: u64| (0..1_000).filter(|_| budget.take_at(now)).count();
        assert_eq!(taken(0), 100);
        assert_eq!(taken(SECOND / 10), 10);
        assert_eq!(taken(SECOND / 10), 0);
        assert_eq!(taken(60 * SECOND), 100);
        assert!(!Budget::new(0).take());
    }
}
