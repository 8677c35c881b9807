//! How often somebody may fail to say who it is before it has to wait. Pure: times are passed in.
//!
//! What is counted is one name from one address: a device with an old password does not keep out
//! the others behind its router, and nobody keeps out a user from elsewhere. After so many failures
//! each one doubles the wait, up to a minute, in which nothing is compared for it. Whoever gets in,
//! or is quiet for long enough, is a newcomer again.
//!
//! Memory is bounded: two tables, of which the older one is forgotten when the younger one is full
//! or old.

use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

/// The waits, in milliseconds.
const FIRST_WAIT: u64 = 1_000;
const LONGEST_WAIT: u64 = 60_000;
/// How long a failure is remembered at least.
const MEMORY: u64 = 2 * LONGEST_WAIT;
/// Names in one table: some 2 MB.
const MOST: usize = 32_768;

/// Who failed lately, and how often.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// Failures that cost nothing; 0 if none ever does.
    free: u32,
    hasher: RandomState,
    tables: Mutex<Tables>,
}

/// One name from one address; hashed, so that a long one takes no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attempt(u64);

#[derive(Debug, Default)]
struct Tables {
    young: HashMap<Attempt, Failures, RandomState>,
    old: HashMap<Attempt, Failures, RandomState>,
    /// When the younger one was begun.
    began: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    n_failures: u32,
    last: u64,
}

// === impl Backoff ===

impl Backoff {
    pub(crate) fn new(free: u32) -> Self {
        Self {
            free,
            hasher: RandomState::default(),
            tables: Mutex::default(),
        }
    }

    pub(crate) fn attempt(&self, address: Option<IpAddr>, name: &str) -> Attempt {
        Attempt(self.hasher.hash_one((address, name)))
    }

    /// Whether it has to wait now.
    pub(crate) fn must_wait(&self, attempt: Attempt, now: u64) -> bool {
        if self.free == 0 {
            return false;
        }
        let tables = self.tables.lock();
        let failures = tables.find(attempt);
        now < failures.last + failures.wait(self.free)
    }

    /// It failed.
    pub(crate) fn fail(&self, attempt: Attempt, now: u64) {
        if self.free == 0 {
            return;
        }
        let mut tables = self.tables.lock();
        tables.age(now);
        let mut failures = tables.find(attempt);
        if now > failures.last + MEMORY {
            failures.n_failures = 0;
        }
        failures.n_failures += 1;
        failures.last = now;
        tables.young.insert(attempt, failures);
    }

    /// It got in.
    pub(crate) fn succeed(&self, attempt: Attempt) {
        let mut tables = self.tables.lock();
        tables.young.remove(&attempt);
        tables.old.remove(&attempt);
    }
}

// === impl Tables ===

impl Tables {
    fn find(&self, attempt: Attempt) -> Failures {
        let found = self.young.get(&attempt).or_else(|| self.old.get(&attempt));
        found.copied().unwrap_or_default()
    }

    fn age(&mut self, now: u64) {
        if self.young.len() >= MOST || now > self.began + MEMORY {
            self.old = std::mem::take(&mut self.young);
            self.began = now;
        }
    }
}

// === impl Failures ===

impl Failures {
    fn wait(self, free: u32) -> u64 {
        match self.n_failures.checked_sub(free) {
            None => 0,
            Some(n_more) => (FIRST_WAIT << n_more.min(10)).min(LONGEST_WAIT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    #[test]
    fn c13_each_failure_beyond_the_free_ones_doubles_the_wait() {
        let backoff = Backoff::new(3);
        let ann = backoff.attempt(HERE, "ann");
        let mut now = 1_000_000;
        for _ in 0..2 {
            backoff.fail(ann, now);
            assert!(!backoff.must_wait(ann, now));
        }
        for wait in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
            backoff.fail(ann, now);
            assert!(backoff.must_wait(ann, now + wait - 1), "{wait}");
            now += wait;
            assert!(!backoff.must_wait(ann, now), "{wait}");
        }
        // Neither others from there, nor the same one from elsewhere.
        backoff.fail(ann, now);
        assert!(!backoff.must_wait(backoff.attempt(HERE, "bob"), now));
        assert!(!backoff.must_wait(backoff.attempt(None, "ann"), now));
    }

    #[test]
    fn who_gets_in_or_is_quiet_for_long_begins_anew() {
        let backoff = Backoff::new(1);
        let ann = backoff.attempt(HERE, "ann");
        for now in [1, 2, 3, 4, 5] {
            backoff.fail(ann, now);
        }
        backoff.succeed(ann);
        assert!(!backoff.must_wait(ann, 6));
        for now in [1, 2, 3, 4, 5] {
            backoff.fail(ann, now);
        }
        let later = 6 + MEMORY;
        backoff.fail(ann, later);
        assert!(backoff.must_wait(ann, later + 999) && !backoff.must_wait(ann, later + 1_000));
    }

    #[test]
    fn a_crowd_of_names_takes_bounded_memory() {
        let backoff = Backoff::new(1);
        let bad = backoff.attempt(HERE, "bad");
        for number in 0..5 * MOST {
            backoff.fail(backoff.attempt(HERE, &number.to_string()), 1);
            if number % 1_000 == 0 {
                backoff.fail(bad, 1);
            }
        }
        let tables = backoff.tables.lock();
        assert!(tables.young.len() <= MOST && tables.old.len() <= MOST);
        drop(tables);
        assert!(backoff.must_wait(bad, LONGEST_WAIT), "it never stopped");
    }

    #[test]
    fn nobody_waits_where_that_is_turned_off() {
        let backoff = Backoff::new(0);
        let ann = backoff.attempt(HERE, "ann");
        (0..100).for_each(|now| backoff.fail(ann, now));
        assert!(!backoff.must_wait(ann, 100));
    }
}
