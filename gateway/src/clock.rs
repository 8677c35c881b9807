//! The gateway's clock: Unix milliseconds that no clock adjustment can move.
//!
//! Taken from the wall clock once, at the start, and from the monotonic clock since: a wall
//! clock that jumps expires no session and no message.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started_at: u64,
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            started_at: since.map_or(0, |since| since.as_millis() as u64),
            started: Instant::now(),
        }
    }

    /// Unix milliseconds.
    pub(crate) fn now(&self) -> u64 {
        self.started_at + self.started.elapsed().as_millis() as u64
    }

    /// When the gateway started, in Unix milliseconds.
    pub(crate) fn started_at(&self) -> u64 {
        self.started_at
    }
}
