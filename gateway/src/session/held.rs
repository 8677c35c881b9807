//! Retained publishes of a session that are not with their subscribers yet: what it publishes next
//! must not overtake them.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many there are.
#[derive(Debug, Default)]
pub(crate) struct Held {
    all: AtomicU64,
    /// Those of them that are not even kept: a retained publish behind one would be replaced by it.
    unkept: AtomicU64,
}

impl Held {
    /// One more; it is kept `late`, behind the identifier of its exchange, or is kept now.
    pub(crate) fn add(&self, late: bool) {
        self.all.fetch_add(1, Ordering::AcqRel);
        self.unkept.fetch_add(u64::from(late), Ordering::AcqRel);
    }

    /// One is with its subscribers.
    pub(super) fn remove(&self, late: bool) {
        self.all.fetch_sub(1, Ordering::AcqRel);
        self.unkept.fetch_sub(u64::from(late), Ordering::AcqRel);
    }

    /// Whether a publish has to wait that would be routed now and, if it is retained, kept now.
    pub(crate) fn is_before(&self, is_retained: bool) -> bool {
        let waits_for = match is_retained {
            true => &self.unkept,
            false => &self.all,
        };
        waits_for.load(Ordering::Acquire) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_now_overtakes_only_what_is_kept_already() {
        let held = Held::default();
        held.add(false);
        assert_eq!([true, false].map(|it| held.is_before(it)), [false, true]);
        held.add(true);
        assert_eq!([true, false].map(|it| held.is_before(it)), [true, true]);
        held.remove(false);
        assert_eq!([true, false].map(|it| held.is_before(it)), [true, true]);
        held.remove(true);
        assert_eq!([true, false].map(|it| held.is_before(it)), [false, false]);
    }
}
