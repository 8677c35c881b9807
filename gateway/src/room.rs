//! Room for messages that wait for somebody else: so many bytes in all, each message's given back when
//! it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes are taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room(Arc<AtomicUsize>);

/// What one message takes, until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    room: Room,
    n_bytes: usize,
}

// === impl Room ===

impl Room {
    /// Takes so many bytes; `None` if more than `most` would be taken then.
    pub(crate) fn take(&self, n_bytes: usize, most: usize) -> Option<Place> {
        let before = self.0.fetch_add(n_bytes, Ordering::AcqRel);
        let place = Place {
            room: self.clone(),
            n_bytes,
        };
        (before.saturating_add(n_bytes) <= most).then_some(place)
    }

    /// How many bytes are taken.
    pub(crate) fn n_bytes(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.0.fetch_sub(self.n_bytes, Ordering::AcqRel);
    }
}
