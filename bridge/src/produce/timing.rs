//! Which time a record has in Kafka: that of its message, or that of its sending where its topic takes
//! none that is so far from the broker's clock (`message.timestamp.before.max.ms` and its like).
//! Pure.
//!
//! How far a topic goes is not known to a client. It is felt for: when a record is refused for its
//! time, those that are at least half as far off go with the time of now. That many records of a
//! backlog lose theirs for no need; the half, not a little less, since each try costs a client.

use std::collections::BTreeMap;

/// What is known of the topics of a flow.
#[derive(Debug, Default)]
pub(super) struct Timing {
    /// By topic: how many milliseconds are too many.
    bounds: BTreeMap<String, u64>,
}

// === impl Timing ===

impl Timing {
    /// The time, in milliseconds since 1970, with which a record of that time goes; none if with
    /// its own.
    pub(super) fn instead(&self, topic: &str, at: i64, now: i64) -> Option<i64> {
        let bound = self.bounds.get(topic)?;
        (at.abs_diff(now) >= *bound).then_some(now)
    }

    /// A record was refused for its time. Says whether there is something to be done about it: not
    /// if the time of now was refused.
    pub(super) fn on_refused(&mut self, topic: &str, at: i64, now: i64) -> bool {
        if self.instead(topic, at, now).is_some() {
            return false;
        }
        if self.bounds.len() >= MOST {
            self.bounds.clear(); // it is felt for again
        }
        let bound = (at.abs_diff(now) / 2).max(LEAST);
        self.bounds.insert(topic.to_owned(), bound);
        true
    }
}

// === private ===

/// No topic takes less than that, in milliseconds: what is refused then is refused for a clock that
/// is wrong.
const LEAST: u64 = 1_000;
/// Topics of which it is known.
const MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_000_000 * HOUR;

    #[test]
    fn what_is_as_old_as_what_was_refused_goes_with_the_time_of_now() {
        let mut timing = Timing::default();
        assert_eq!(timing.instead("a", NOW - 24 * HOUR, NOW), None);
        assert!(timing.on_refused("a", NOW - 24 * HOUR, NOW));
        assert_eq!(timing.instead("a", NOW - 24 * HOUR, NOW + 5), Some(NOW + 5));
        assert_eq!(timing.instead("a", NOW - 12 * HOUR, NOW), Some(NOW));
        assert_eq!(timing.instead("a", NOW - 11 * HOUR, NOW), None);
        assert_eq!(timing.instead("b", NOW - 24 * HOUR, NOW), None, "another");
        assert!(!timing.on_refused("a", NOW - 24 * HOUR, NOW), "that of now");
    }

    #[test]
    fn a_backlog_of_weeks_takes_few_tries_whatever_the_bound() {
        let mut timing = Timing::default();
        let mut n_tries = 0;
        for age in (0..24 * 14).rev() {
            let at = NOW - age * HOUR;
            let is_refused = |timing: &Timing| {
                let with = timing.instead("a", at, NOW).unwrap_or(at);
                NOW - with > HOUR
            };
            while is_refused(&timing) {
                assert!(timing.on_refused("a", at, NOW));
                n_tries += 1;
            }
        }
        assert!(n_tries <= 9, "{n_tries}");
        assert_eq!(timing.instead("a", NOW - HOUR / 2, NOW), None);
    }

    #[test]
    fn a_record_of_now_keeps_its_time_whatever_is_refused() {
        let mut timing = Timing::default();
        assert!(timing.on_refused("a", NOW - 10, NOW));
        assert_eq!(timing.instead("a", NOW - 10, NOW), None);
        assert_eq!(timing.instead("a", NOW - 2_000, NOW), Some(NOW));
        assert!(!timing.on_refused("a", NOW - 2_000, NOW));
    }
}
