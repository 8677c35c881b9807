//! Who knows that a session is here, and so has sent it here what it is to get.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Session;
use crate::turn::Since;

/// Instead of the stamp of a session that is on its way into the table.
pub(super) const ARRIVING: u64 = u64::MAX;

/// Since when every gateway knows that a session is here.
///
/// What others send before that was planned by the table in which the session is elsewhere, as was
/// what they sent to that place before: it would overtake that. So it is given back, and comes again
/// in its order.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// A revision of the cluster's state that has it here; 0 if it began here.
    revision: AtomicU64,
    /// What came first from this stamp on was given to it if its source knew so much.
    stamp: AtomicU64,
}

impl Session {
    /// Whether a message that was routed at a stamp has found it.
    pub(crate) fn was_here(&self, stamp: u64) -> bool {
        self.arrived.load(Ordering::Acquire) <= stamp
    }

    /// It comes from another gateway, and the others do not know that yet.
    pub(crate) fn arrives(&mut self) {
        *self.arrived.get_mut() = ARRIVING;
        self.known = Known {
            revision: AtomicU64::new(u64::MAX),
            stamp: AtomicU64::new(ARRIVING),
        };
    }

    /// Whoever has followed the cluster's state up to this revision knows that it is here.
    pub(crate) fn become_known(&self, revision: u64, stamp: u64) {
        self.known.stamp.store(stamp, Ordering::Release);
        self.known.revision.store(revision, Ordering::Release);
    }

    /// Whether a gateway that has followed the cluster's state up to this revision may have sent it
    /// a message elsewhere that is not here yet.
    #[inline]
    pub(crate) fn is_unknown_to(&self, knows: u64) -> bool {
        self.known.revision.load(Ordering::Acquire) > knows
    }

    /// Whether a message that was routed before was given to it then.
    pub(crate) fn has_had(&self, since: Since) -> bool {
        match since {
            Since::Routed(stamp) => self.was_here(stamp),
            Since::Seen(first) => {
                !self.is_unknown_to(first.knows)
                    && self.known.stamp.load(Ordering::Acquire) <= first.stamp
            }
        }
    }
}
