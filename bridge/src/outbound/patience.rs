//! How long a message is tried again that is refused for now, since a subscriber is full: pure.
//!
//! What waits behind it waits as well, and a gateway has to know that: it is told with each message
//! whether this is the last time. So when trying again was of no use, the next ones that are
//! refused are given up at once, for nine times as long: a subscriber that stays full takes a tenth
//! of the time of a rule, and one that is slow loses nothing.

use std::time::{Duration, Instant};

/// What is known of the first message of a lane.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    /// When it was refused first.
    since: Option<Instant>,
    /// It is tried once more, and given up if it is refused then, too.
    is_over: bool,
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
            is_over: false,
            gone_until: None,
        }
    }

    /// Whether the first message is sent for the last time.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether whatever is sent now is sent for the last time.
    pub(super) fn is_gone(&self, now: Instant) -> bool {
        self.limit.is_zero() || self.gone_until.is_some_and(|until| now < until)
    }

    /// The first message is refused, and comes again.
    pub(super) fn on_refused(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        self.is_over |= now.saturating_duration_since(since) >= self.limit;
    }

    /// The first message is given up, perhaps one of many: another is the first. That says something
    /// of the next ones only if it was tried for long: it may have left while none was tried again, and
    /// be answered when they are.
    pub(super) fn on_given_up(&mut self, now: Instant) {
        if self.is_over && !self.is_gone(now) {
            self.gone_until = now.checked_add(self.limit.saturating_mul(REST));
        }
        self.on_settled();
    }

    /// It is settled: another is the first.
    pub(super) fn on_settled(&mut self) {
        (self.since, self.is_over) = (None, false);
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
            patience.on_refused(now);
            now += LIMIT - Duration::from_millis(1);
            patience.on_refused(now);
            assert!(!patience.is_over() && !patience.is_gone(now));
            patience.on_settled();
        }
    }

    #[test]
    fn what_is_taken_at_the_last_try_leaves_patience_for_the_next() {
        let (mut patience, now) = (Patience::new(LIMIT), Instant::now());
        patience.on_refused(now);
        patience.on_refused(now + LIMIT);
        assert!(patience.is_over() && !patience.is_gone(now + LIMIT));
        patience.on_settled();
        assert!(!patience.is_over() && !patience.is_gone(now + LIMIT));
    }

    #[test]
    fn what_stays_full_takes_a_tenth_of_the_time() {
        let (mut patience, begin) = (Patience::new(LIMIT), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        patience.on_refused(begin);
        patience.on_refused(at(10));
        assert!(patience.is_over());
        patience.on_given_up(at(10));
        for seconds in [10, 50, 99] {
            assert!(patience.is_gone(at(seconds)), "{seconds}");
            patience.on_given_up(at(seconds));
            patience.on_settled(); // of one that goes elsewhere
        }
        assert!(!patience.is_gone(at(100)));
        patience.on_given_up(at(101)); // it left before
        assert!(!patience.is_gone(at(101)));
        patience.on_refused(at(100));
        assert!(!patience.is_over());
        patience.on_refused(at(110));
        assert!(patience.is_over());
    }

    #[test]
    fn there_may_be_none_or_no_end_of_it() {
        let now = Instant::now();
        assert!(Patience::new(Duration::ZERO).is_gone(now));
        let mut endless = Patience::new(Duration::MAX);
        endless.on_refused(now);
        endless.on_refused(now + LIMIT);
        assert!(!endless.is_over() && !endless.is_gone(now));
    }
}
