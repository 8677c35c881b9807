//! Waiting without sleeping, and names that no other test uses.

use std::{
    process,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Waits until the condition holds, for at most 5 s or the time that is given first.
///
/// `eventually!(broker.fd_count() <= before)` or
/// `eventually!(Duration::from_secs(20), broker.fd_count() <= before)`.
#[macro_export]
macro_rules! eventually {
    ($condition:expr $(,)?) => {
        $crate::eventually!(std::time::Duration::from_secs(5), $condition)
    };
    ($limit:expr, $condition:expr $(,)?) => {
        assert!(
            $crate::patience::becomes_true($limit, || $condition),
            "not within {:?}: {}",
            $limit,
            stringify!($condition)
        )
    };
}

/// Asks until the answer is yes; `false` when the time is over.
pub fn becomes_true(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        pause(Duration::from_millis(20));
    }
}

/// Lets time pass. Only for tests whose subject is time itself (keep alive, expiry, will delay);
/// everything else waits for an event.
pub fn pause(time: Duration) {
    let deadline = Instant::now() + time;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        if left.is_zero() {
            break;
        }
        thread::park_timeout(left);
    }
}

/// A name that no other call, test or run has: letters and digits after the prefix, so that it is
/// good as a client id, a topic and a file name.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!(
        "{prefix}{}x{}",
        process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}
