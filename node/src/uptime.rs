//! How long the machine has been up, asleep or not.
//!
//! The usual monotonic clock stands still while a machine is suspended. Whoever counts by it what
//! others have granted for a time believes after a long sleep that no time has passed: leases are
//! counted by this one.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The clock that goes on while the machine sleeps.
#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
/// Elsewhere the monotonic clock is all that there is.
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// How long the machine has been up. It never goes back.
#[must_use]
pub fn uptime() -> Duration {
    let now = clock_gettime(CLOCK);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// What the system shows counts sleep, see proc(5).
    #[test]
    fn it_is_what_the_system_shows() {
        let text = std::fs::read_to_string("/proc/uptime").unwrap();
        let shown: f64 = text.split(' ').next().unwrap().parse().unwrap();
        let now = uptime();
        assert!((now.as_secs_f64() - shown).abs() < 5.0, "{now:?}, {shown}");
        assert!(uptime() >= now);
    }
}
