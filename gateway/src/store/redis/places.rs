//! Which session a number stands for: where its keys are, and under which epoch it is written.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use super::layout::slice_of;

/// Where the keys of a session are, and what its writes must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) client_id: Arc<str>,
    pub(super) slice: u16,
    /// The incarnation that claimed it.
    pub(crate) owner: u64,
    /// The epoch that the claim gave; without meaning for a session that has ended.
    pub(crate) epoch: u64,
    /// Whether it has ended, and only what it left is still to be looked after.
    pub(crate) is_ended: bool,
}

/// The places of all sessions that this gateway has, until the last write for them is done.
#[derive(Debug, Default)]
pub(super) struct Places {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_number: HashMap<u64, Arc<Place>, RandomState>,
    /// How many of them a client id has: more than one while an earlier session is removed.
    by_client: HashMap<Arc<str>, u32, RandomState>,
}

// === impl Place ===

impl Place {
    /// A session that was claimed or adopted.
    pub(crate) fn live(client_id: impl Into<Arc<str>>, owner: u64, epoch: u64) -> Self {
        let client_id = client_id.into();
        Self {
            slice: slice_of(&client_id),
            client_id,
            owner,
            epoch,
            is_ended: false,
        }
    }

    /// A session that ended, whose will and queue are still to be looked after.
    pub(crate) fn ended(client_id: impl Into<Arc<str>>, owner: u64) -> Self {
        Self {
            is_ended: true,
            ..Self::live(client_id, owner, 0)
        }
    }
}

// === impl Places ===

impl Places {
    pub(super) fn insert(&self, number: u64, place: Arc<Place>) {
        let mut known = self.known.write();
        let client_id = place.client_id.clone();
        if known.by_number.insert(number, place).is_none() {
            *known.by_client.entry(client_id).or_default() += 1;
        }
    }

    /// Forgets a number, unless it was attached again since.
    pub(super) fn remove(&self, number: u64, place: &Arc<Place>) {
        let mut known = self.known.write();
        let is_same = |known: &Arc<Place>| Arc::ptr_eq(known, place);
        if !known.by_number.get(&number).is_some_and(is_same) {
            return;
        }
        known.by_number.remove(&number);
        if let Some(n) = known.by_client.get_mut(&place.client_id) {
            *n -= 1;
            if *n == 0 {
                known.by_client.remove(&place.client_id);
            }
        }
    }

    pub(super) fn slice(&self, number: u64) -> Option<u16> {
        let known = self.known.read();
        known.by_number.get(&number).map(|place| place.slice)
    }

    /// Whether something may still be written for a client id.
    pub(super) fn has_client(&self, client_id: &str) -> bool {
        self.known.read().by_client.contains_key(client_id)
    }
}
