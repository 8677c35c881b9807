//! Lines of the log about what comes from elsewhere and is left out: one in five seconds, with how many
//! had none before it.

use std::time::{Duration, Instant};

use gatemq_node::log::lines::{Lines, Verdict};
use parking_lot::Mutex;

/// The lines of one rule.
#[derive(Debug)]
pub(crate) struct Refusals(Mutex<Lines>);

// === impl Refusals ===

impl Default for Refusals {
    fn default() -> Self {
        Self(Mutex::new(Lines::new(1, Duration::from_secs(5))))
    }
}

impl Refusals {
    /// How many were left out without a line, if there is room for one now.
    pub(crate) fn room(&self, now: Instant) -> Option<u64> {
        let mut lines = self.0.lock();
        (lines.note(now) == Verdict::Said).then(|| lines.take_left_out())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_line_is_counted_in_the_next() {
        let (refusals, begin) = (Refusals::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(refusals.room(at(0)), Some(0));
        assert_eq!(refusals.room(at(2)), None);
        assert_eq!(refusals.room(at(4)), None);
        assert_eq!(refusals.room(at(5)), Some(2));
        assert_eq!(refusals.room(at(20)), Some(0));
    }
}
