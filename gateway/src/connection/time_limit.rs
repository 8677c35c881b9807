//! The end of a connection whose client was let in until a time, such as that of its token.
//!
//! The time is one of the wall clock, by which it was written, and the timer one of the machine: a
//! clock that is set is noticed when the timer rings.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::Connection;
use crate::clock::wall_seconds;
use crate::proto::mqtt::Reason;
use crate::session::End;

/// The longest that the wall clock is not looked at.
const LONGEST: Duration = Duration::from_secs(600);

/// Rings when the time is over.
#[derive(Debug)]
pub(super) struct TimeLimit {
    /// In Unix seconds.
    at: u64,
    timer: Pin<Box<Sleep>>,
}

impl TimeLimit {
    pub(super) fn new(at: u64) -> Self {
        Self {
            at,
            timer: Box::pin(tokio::time::sleep(left(at, wall_seconds()))),
        }
    }
}

impl Connection {
    pub(super) fn poll_time_limit(&mut self, context: &mut Context<'_>) -> Option<End> {
        let limit = self.time_limit.as_mut()?;
        while limit.timer.as_mut().poll(context).is_ready() {
            let left = left(limit.at, wall_seconds());
            if left.is_zero() {
                let why = "the time is over until which the client was let in";
                return Some(End::refused(Reason::NotAuthorized, why));
            }
            limit.timer.as_mut().reset(Instant::now() + left);
        }
        None
    }
}

/// How long to wait until the next look.
fn left(at: u64, now: u64) -> Duration {
    Duration::from_secs(at.saturating_sub(now)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_at_the_time_and_now_and_then_before() {
        for (at, now, seconds) in [
            (100, 90, 10),
            (100, 100, 0),
            (100, 101, 0),
            (0, 100, 0),
            (u64::MAX, 100, 600),
            (701, 100, 600),
        ] {
            assert_eq!(left(at, now), Duration::from_secs(seconds), "{at} {now}");
        }
    }
}
