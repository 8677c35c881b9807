//! The gateway's clock: Unix milliseconds that no clock adjustment can move.
//!
//! Taken from the wall clock once, at the start, and since then from the time that the machine has
//! been up: a wall clock that jumps expires no session and no message, and a machine that was
//! asleep does not take its lease for one that runs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatemq_node::uptime;

/// A clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started_at: u64,
    started: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            started_at: since.map_or(0, |since| since.as_millis() as u64),
            started: uptime(),
        }
    }

    /// Unix milliseconds.
    pub(crate) fn now(&self) -> u64 {
        self.at(uptime())
    }

    /// What it shows when the machine has been up for so long.
    fn at(&self, uptime: Duration) -> u64 {
        self.started_at + uptime.saturating_sub(self.started).as_millis() as u64
    }

    /// When the gateway started, in Unix milliseconds.
    pub(crate) fn started_at(&self) -> u64 {
        self.started_at
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

#[cfg(test)]
mod tests {
    use super::*;
    use gatemq_router::control::lease::Lease;

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
}
