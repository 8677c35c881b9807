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

/// The places of all sessions that this gateway has.
#[derive(Debug, Default)]
pub(super) struct Places {
    by_number: RwLock<HashMap<u64, Arc<Place>, RandomState>>,
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
        self.by_number.write().insert(number, place);
    }

    pub(super) fn remove(&self, number: u64) {
        self.by_number.write().remove(&number);
    }

    pub(super) fn slice(&self, number: u64) -> Option<u16> {
        self.by_number.read().get(&number).map(|place| place.slice)
    }
}
