//! How often it has become uncertain where subscribers are, so that no message overtakes another.
//!
//! A subscriber that goes from one node to another is found at the old one by the message before
//! the change, and at the new one by the message behind it; the first comes back, is routed again,
//! and would arrive second. So a publisher's next message waits for those before it if a change
//! may lie between them: if one has begun, by the time that the next one's plan is made, that had
//! not ended before theirs were.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the changes of this node's table, and sessions that leave this node.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A change that goes on until this is dropped.
#[derive(Debug)]
pub(crate) struct Change<'a>(&'a Moves);

/// The changes that had ended by some time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Before(u64);

impl Moves {
    /// Something changes from now on.
    pub(crate) fn change(&self) -> Change<'_> {
        self.begun.fetch_add(1, Ordering::AcqRel);
        Change(self)
    }

    /// To be asked before a plan is made.
    pub(crate) fn before(&self) -> Before {
        Before(self.ended.load(Ordering::Acquire))
    }

    /// To be asked when another plan has been made: whether that and one of before may differ.
    pub(crate) fn any_since(&self, before: Before) -> bool {
        self.begun.load(Ordering::Acquire) != before.0
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_from_its_beginning_and_by_all_that_did_not_see_its_end() {
        let moves = Moves::default();
        let before = moves.before();
        assert!(!moves.any_since(before));
        let first = moves.change();
        assert!(moves.any_since(before));
        let during = moves.before();
        assert!(moves.any_since(during), "a plan of now may be of before");
        let second = moves.change();
        drop(first);
        assert!(moves.any_since(moves.before()), "the second goes on");
        drop(second);
        assert!(!moves.any_since(moves.before()));
        assert!(moves.any_since(during) && moves.any_since(before));
    }
}
