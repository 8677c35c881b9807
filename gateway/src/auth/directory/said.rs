//! What was complained about, so that it is said once and not with each client that comes.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

/// Things that are remembered; what is new beyond them is not said any more.
const MAX: usize = 1_000;

/// What was said.
#[derive(Debug, Default)]
pub(super) struct Said {
    known: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

impl Said {
    /// Whether a thing is to be said.
    pub(super) fn is_new(&self, thing: &impl Hash) -> bool {
        let mut known = self.known.lock();
        known.len() < MAX && known.insert(self.hasher.hash_one(thing))
    }

    /// Everything is to be said again.
    pub(super) fn forget(&self) {
        self.known.lock().clear();
    }
}
