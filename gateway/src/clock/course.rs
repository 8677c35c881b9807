//! How a clock that goes by the time that the machine has been up follows the clock of a store
//! (pure). All times are microseconds.
//!
//! A reading says between which bounds the store's clock was: it was read after the question was
//! sent, and before the answer came. Only what lies outside of them is certain to be wrong, so a
//! slow answer moves nothing that need not be moved.
//!
//! What is wrong is made up for at [`RATE`]: a clock that follows never stands still, never goes
//! back, and measures a lease as the control plane allows for (rates that differ by less than 1 %,
//! see its `leases.rs`). Machines drift a hundred times less. A store whose clock was set, or that
//! another server stands in for, is gone after for 200 times as long as it is apart.

use std::time::Duration;

/// What part of the time that passes makes up for what is wrong, at most: 1 in so many.
const RATE: i64 = 200;

/// From when on by how much a clock is ahead of the time that the machine has been up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Course {
    /// When it was set.
    since: i64,
    /// By how much the clock was ahead then, and by how much it is to be.
    from: i64,
    to: i64,
}

/// Between which bounds a store's clock is ahead of the time that this machine has been up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    least: i64,
    most: i64,
}

// === impl Course ===

impl Course {
    /// One that stays as it is.
    pub(super) fn straight(ahead: i64) -> Self {
        Self {
            since: 0,
            from: ahead,
            to: ahead,
        }
    }

    /// What the clock shows when the machine has been up for so long.
    pub(super) fn at(&self, up: i64) -> i64 {
        up.saturating_add(self.ahead(up))
    }

    fn ahead(&self, up: i64) -> i64 {
        let most = up.saturating_sub(self.since).max(0) / RATE;
        self.from + self.bend().clamp(-most, most)
    }

    /// By how much it is to be more ahead than it was when it was set.
    pub(super) fn bend(&self) -> i64 {
        self.to.saturating_sub(self.from)
    }

    /// From now on towards where the store's clock is known to be.
    pub(super) fn towards(&self, up: i64, reading: Reading) -> Self {
        let from = self.ahead(up);
        Self {
            since: up,
            from,
            to: from.clamp(reading.least, reading.most),
        }
    }
}

// === impl Reading ===

impl Reading {
    /// The store said that it was `store`, in Unix microseconds, to who had been up for `sent` when it
    /// asked, and for `received` when it had the answer.
    pub(crate) fn new(sent: Duration, store: i64, received: Duration) -> Self {
        let least = store.saturating_sub(micros(received));
        Self {
            least,
            most: store.saturating_sub(micros(sent)).max(least),
        }
    }

    /// What is known with a later reading, too: the later one if they cannot both be true, as the
    /// clock was set in between.
    pub(crate) fn and(self, later: Self) -> Self {
        let both = Self {
            least: self.least.max(later.least),
            most: self.most.min(later.most),
        };
        match both.least <= both.most {
            true => both,
            false => later,
        }
    }

    /// The guess that is the least wrong: the server looked at its clock half of the way.
    pub(super) fn middle(self) -> i64 {
        self.least + (self.most - self.least) / 2
    }
}

pub(super) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    /// Of a store that is so much ahead, and answers after a time.
    fn reading(ahead: i64, up: i64, takes: i64) -> Reading {
        let at = |up: i64| Duration::from_micros(up.try_into().expect("after the start"));
        Reading::new(at(up), up + takes / 2 + ahead, at(up + takes))
    }

    #[test]
    fn it_begins_half_of_the_way_back() {
        let course = Course::straight(reading(1_000 * SECOND, SECOND, 300).middle());
        assert_eq!(course.at(5 * SECOND), 1_005 * SECOND);
        let asymmetric = Reading::new(Duration::ZERO, 0, Duration::from_micros(300));
        assert_eq!(asymmetric.middle(), -150);
    }

    #[test]
    fn it_follows_at_its_rate_and_stops_where_the_store_is() {
        for sign in [1, -1] {
            let to = sign * 2 * SECOND;
            let course = Course::straight(0).towards(SECOND, reading(to, SECOND, 0));
            assert_eq!(course.bend(), to);
            assert_eq!(course.at(SECOND), SECOND);
            assert_eq!(course.at(201 * SECOND), 201 * SECOND + sign * SECOND);
            assert_eq!(course.at(401 * SECOND), 401 * SECOND + to);
            assert_eq!(course.at(4_001 * SECOND), 4_001 * SECOND + to);
        }
    }

    #[test]
    fn it_never_goes_back_and_runs_by_half_a_per_cent_wrong_at_most() {
        let (mut course, mut up, mut last) = (Course::straight(0), 0, 0);
        // The store's clock is set to and fro, by what there is no reason for, and by hours.
        for (round, to) in [-3_600, 5, 3_600, -1, 0, -86_400].into_iter().enumerate() {
            course = course.towards(up, reading(to * SECOND, up, 40 * round as i64));
            for step in [0, 1, 1, 7, 199, 1_000, 60 * SECOND] {
                up += step;
                let now = course.at(up);
                let went = now - last;
                assert!(went >= 0, "{last} {now}");
                assert!((went - step).abs() <= step / RATE + 1, "{step} {went}");
                last = now;
            }
        }
    }

    #[test]
    fn what_is_not_certain_moves_nothing() {
        let course = Course::straight(0);
        let slow = reading(SECOND, 0, 3 * SECOND); // between 0.5 s behind and 2.5 s ahead
        assert_eq!(course.towards(0, slow).bend(), 0);
        let far = reading(4 * SECOND, 0, 3 * SECOND);
        assert_eq!(course.towards(0, far).bend(), 5 * SECOND / 2);
    }

    #[test]
    fn readings_narrow_each_other_and_the_later_one_wins() {
        let wide = reading(SECOND, 0, 2 * SECOND);
        let narrow = reading(SECOND, 2 * SECOND, 100);
        assert_eq!(wide.and(narrow), narrow);
        assert_eq!(narrow.and(wide), narrow);
        let set = reading(-SECOND, 3 * SECOND, 100);
        assert_eq!(narrow.and(set), set);
    }
}
