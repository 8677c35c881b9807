//! Room on the disk that nothing new may take: what is there must still be confirmed and removed, which
//! takes some, and a disk that is full ends the process, now and at each start.

use std::time::{Duration, Instant};

use gatemq_storage::Engine;
use parking_lot::Mutex;

/// Looks at the disk now and then.
#[derive(Debug, Default)]
pub(super) struct Reserve(Mutex<Look>);

#[derive(Debug, Default)]
struct Look {
    at: Option<Instant>,
    /// Bytes that were left; none where that is not known or does not matter.
    room: Option<u64>,
    is_short: bool,
}

// === impl Reserve ===

impl Reserve {
    /// Whether so many bytes more, with those that wait for the disk, would take of the reserve.
    pub(super) fn is_short(&self, engine: &dyn Engine, n_bytes: u64, now: Instant) -> bool {
        let mut look = self.0.lock();
        let is_due = look.at.is_none_or(|at| now - at >= PAUSE);
        if is_due {
            look.at = Some(now);
            look.room = engine.room();
        }
        let is_short = look.room.is_some_and(|room| room < RESERVE + n_bytes);
        if is_due && std::mem::replace(&mut look.is_short, is_short) != is_short {
            let room = look.room;
            match is_short {
                true => tracing::error!(room, "the disk is nearly full: nothing new is spooled"),
                false => tracing::info!(room, "there is room on the disk for the spool again"),
            }
        }
        is_short
    }
}

// === private ===

/// Bytes on the disk that nothing new may take, as a gateway leaves.
pub(super) const RESERVE: u64 = 64 << 20;
/// How old a look may be: a disk that takes a gigabyte in a second takes less meanwhile.
const PAUSE: Duration = Duration::from_millis(50);
