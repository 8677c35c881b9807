//! Lines of the log about what comes from elsewhere and is left out: no more than so many.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The lines of one rule.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<(Option<Instant>, u64)>);

/// A line comes no sooner after another.
const PAUSE: Duration = Duration::from_secs(5);

// === impl Refusals ===

impl Refusals {
    /// How many were left out without a line, if there is room for one now.
    pub(crate) fn room(&self, now: Instant) -> Option<u64> {
        let mut lines = self.0.lock();
        let (last, n_more) = &mut *lines;
        if last.is_some_and(|last| now < last + PAUSE) {
            *n_more += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(n_more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_line_is_counted_in_the_next() {
        let (refusals, begin) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.room(begin), Some(0));
        assert_eq!(refusals.room(begin + PAUSE / 2), None);
        assert_eq!(refusals.room(begin + PAUSE / 2), None);
        assert_eq!(refusals.room(begin + PAUSE), Some(2));
        assert_eq!(refusals.room(begin + PAUSE * 3), Some(0));
    }
}
