//! How long a message is tried again that is refused for now, since a subscriber is full: pure.
//!
//! What waits behind it waits as well. So when trying again was of no use, the next ones that are
//! refused are given up at once, for nine times as long: a subscriber that stays full takes a tenth
//! of the time of a rule, and one that is slow loses nothing.

use std::time::{Duration, Instant};

/// What is known of the first message of a lane.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    /// When it was refused first.
    since: Option<Instant>,
    /// Trying again was of no use: until when none is tried again.
    gone_until: Option<Instant>,
}

/// How many times the limit nobody is tried again for.
const REST: u32 = 9;

// === impl Patience ===

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: None,
            gone_until: None,
        }
    }

    /// The first message is refused: whether it is to be tried again.
    pub(super) fn has_some(&mut self, now: Instant) -> bool {
        if self.gone_until.is_some_and(|until| now < until) {
            return false;
        }
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) < self.limit {
            return true;
        }
        self.since = None;
        self.gone_until = now.checked_add(self.limit.saturating_mul(REST));
        false
    }

    /// It is settled: another is the first.
    pub(super) fn on_settled(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_slow_is_waited_for_as_often_as_it_takes() {
        let (mut patience, mut now) = (Patience::new(LIMIT), Instant::now());
        for _ in 0..100 {
            assert!(patience.has_some(now));
            now += LIMIT - Duration::from_millis(1);
            assert!(patience.has_some(now));
            patience.on_settled();
        }
    }

    #[test]
    fn what_stays_full_takes_a_tenth_of_the_time() {
        let (mut patience, begin) = (Patience::new(LIMIT), Instant::now());
        assert!(patience.has_some(begin));
        assert!(!patience.has_some(begin + LIMIT));
        for seconds in [10, 50, 99] {
            let now = begin + Duration::from_secs(seconds);
            assert!(!patience.has_some(now), "{seconds}");
            patience.on_settled(); // of one that goes elsewhere
        }
        assert!(patience.has_some(begin + Duration::from_secs(100)));
        assert!(!patience.has_some(begin + Duration::from_secs(110)));
    }

    #[test]
    fn there_may_be_none_or_no_end_of_it() {
        let now = Instant::now();
        assert!(!Patience::new(Duration::ZERO).has_some(now));
        let mut endless = Patience::new(Duration::MAX);
        assert!(endless.has_some(now) && endless.has_some(now + LIMIT));
    }
}
