//! How long to wait before a destination is tried again. Pure: chance is passed in.

use std::time::Duration;

/// The shortest wait.
const FIRST: Duration = Duration::from_millis(50);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(2);

/// Waits that double from 50 ms up to 2 s, each shortened by up to a half, so that many who lost
/// the same node do not come back at the same moment.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

// === impl Backoff ===

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The destination was there: begin anew.
    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// The next wait.
    pub(super) fn next(&mut self, chance: u32) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        jitter(wait, chance)
    }

    /// The wait where trying again soon cannot help.
    pub(super) fn longest(&mut self, chance: u32) -> Duration {
        self.next = LONGEST;
        jitter(LONGEST, chance)
    }
}

fn jitter(wait: Duration, chance: u32) -> Duration {
    wait - wait.mul_f64(f64::from(chance) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::new();
        let waits: Vec<u128> = (0..8).map(|_| backoff.next(0).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(backoff.next(u32::MAX), LONGEST / 2);
        backoff.reset();
        assert_eq!(backoff.next(0), FIRST);
        assert_eq!(backoff.longest(0), LONGEST);
        assert_eq!(backoff.next(0), LONGEST);
    }
}
