//! The gateway's clock: Unix milliseconds that never go back by more than a thread is held up between
//! two looks at it, times 1 in 100, and never jump.
//!
//! Which clock is for what:
//!
//! - [`Clock`] is for all that expires or has a rate: sessions, messages in queues, retained
//!   messages, wills, leases, limits. Where the store is in Redis it is set by Redis's time, before
//!   anything is read, and follows it ([`course`]): what one gateway has written there, another one
//!   compares with its own, and their machines need not agree on the time. Elsewhere it is taken
//!   from the wall clock once, at the start. Since then it goes by the time that the machine has been
//!   up: a wall clock that jumps expires no session and no message, and a machine that was asleep
//!   does not take its lease for one that runs.
//! - The wall clock of this machine ([`wall_seconds`], [`wall_millis`]) is for what is compared with
//!   times that others than gateways have written (certificates, JSON Web Tokens, what a server that
//!   is asked for clients says, bans) or that people read (the log, captured lines).
//! - Between two nodes a message carries the time that it has left, and no time of a clock.

mod course;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use gatemq_node::uptime;

pub(crate) use course::Reading;
use course::{Course, micros};

/// A clock; a clone is the same one.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    course: Arc<ArcSwap<Course>>,
    started_at: u64,
}

impl Clock {
    /// One that goes by the wall clock as it is now.
    pub(crate) fn start() -> Self {
        let uptime = uptime();
        let ahead = wall_micros() - micros(uptime);
        Self::on(Course::straight(ahead), uptime)
    }

    /// One that goes by the clock of a store.
    pub(crate) fn of_store(reading: Reading) -> Self {
        Self::on(Course::straight(reading.middle()), uptime())
    }

    fn on(course: Course, uptime: Duration) -> Self {
        Self {
            started_at: millis(course.at(micros(uptime))),
            course: Arc::new(ArcSwap::from_pointee(course)),
        }
    }

    /// Unix milliseconds.
    pub(crate) fn now(&self) -> u64 {
        self.at(uptime())
    }

    /// What it shows when the machine has been up for so long.
    fn at(&self, uptime: Duration) -> u64 {
        millis(self.course.load().at(micros(uptime)))
    }

    /// When the gateway started, in Unix milliseconds.
    pub(crate) fn started_at(&self) -> u64 {
        self.started_at
    }

    /// Goes over to where the store's clock is, slowly. Returns by how much that one is ahead, in
    /// milliseconds; 0 as long as it may be where this one is. By one task at a time.
    pub(crate) fn follow(&self, reading: Reading) -> i64 {
        let course = self.course.load().towards(micros(uptime()), reading);
        self.course.store(Arc::new(course));
        course.bend() / 1000
    }

    /// By how much the wall clock of this machine is ahead, in milliseconds.
    pub(crate) fn wall_ahead(&self) -> i64 {
        let up = micros(uptime());
        (wall_micros() - self.course.load().at(up)) / 1000
    }
}

/// Unix seconds by the wall clock: what is compared with times that others have written.
pub(crate) fn wall_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Unix milliseconds by the wall clock, likewise.
pub(crate) fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

fn wall_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, micros)
}

fn millis(micros: i64) -> u64 {
    u64::try_from(micros / 1000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatemq_router::control::lease::Lease;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_lease_is_over_after_a_sleep() {
        let clock = Clock::start();
        let (before, lease) = (clock.now(), Lease::default());
        lease.renew(before, before);
        assert!(lease.is_held(clock.now()));
        let slept = uptime() + Duration::from_secs(60);
        assert!(clock.at(slept) >= before + 60_000);
        assert!(!lease.is_held(clock.at(slept)));
    }

    /// What a store says at this moment whose clock is so much ahead of the wall clock.
    fn store(ahead: i64) -> Reading {
        let now = uptime();
        Reading::new(now, wall_micros() + ahead, now)
    }

    #[test]
    fn gateways_of_one_store_agree_whatever_their_wall_clocks_say() {
        let hour = micros(HOUR);
        let clock = Clock::of_store(store(hour));
        let wall = Clock::start();
        let apart = clock.now() as i64 - wall.now() as i64;
        assert!((apart - hour / 1000).abs() < 1_000, "{apart}");
        assert!((clock.wall_ahead() + hour / 1000).abs() < 1_000);
        assert!(clock.now() - clock.started_at() < 1_000);
    }

    #[test]
    fn a_store_that_is_another_all_at_once_is_followed_and_not_jumped_after() {
        let clock = Clock::of_store(store(0));
        let before = clock.now();
        let same = clock.clone();
        let ahead = clock.follow(store(-micros(HOUR)));
        assert!((ahead + 3_600_000).abs() < 1_000, "{ahead}");
        let after = same.now();
        assert!(
            after >= before && after < before + 1_000,
            "{before} {after}"
        );
        let later = clock.at(uptime() + Duration::from_secs(1_000));
        assert!((990_000..997_000).contains(&(later - before)), "{later}");
        assert_eq!(same.at(uptime() + HOUR), clock.at(uptime() + HOUR));
    }
}
