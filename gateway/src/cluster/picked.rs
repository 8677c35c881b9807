//! Which messages members of groups here have had, under the names that all gateways know them by,
//! and which gateway sees to those that nobody here has had.
//!
//! A gateway that goes on with a message asks first ([`crate::turn::ask`]). Where it is told no, only
//! that gateway may choose a member here from then on, this one included: whoever else comes with the
//! message, such as the one that routed it first and was slow, is sent back to ask, too. If several
//! ask at a time, the one that is the oldest in the cluster goes first.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use gatemq_router::peer::{First, Seen};
use parking_lot::Mutex;

use crate::session::received::{Origin, spread};

/// For so long one that has asked goes before one that is younger, in milliseconds: longer than it
/// takes to ask all others.
pub(crate) const FIRST: u64 = 2_000;
/// For so long it is known who has asked, in milliseconds: longer than a gateway can be that has not
/// heard that another one goes on with its messages. Gateways of earlier versions do not ask.
const KNOWN: u64 = 300_000;

/// A group's name and filter.
pub(crate) type Named<'a> = (&'a str, &'a str);

/// What is known; see the module.
#[derive(Debug)]
pub(crate) struct PickedHere(Mutex<Seen>);

/// What a group may do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is to have it now.
    Given,
    /// It has had it.
    Had,
    /// Another gateway sees to it.
    Others,
}

/// What a gateway is told that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Had,
    /// And nobody else is to choose here.
    No,
    /// Another one has just asked.
    Later,
}

// === impl PickedHere ===

impl PickedHere {
    pub(super) fn new(seen: Seen) -> Self {
        Self(Mutex::new(seen))
    }

    /// A gateway wants a member of a group here to have a message.
    pub(crate) fn claim(&self, origin: Origin, pick: Named<'_>, by: u64, now: u64) -> Claim {
        let id = pick_id(origin.id, pick);
        let mut seen = self.0.lock();
        let asked = seen.refused(origin.source, id);
        let asked = asked.filter(|asked| now.saturating_sub(asked.stamp) < KNOWN);
        if asked.is_some_and(|asked| asked.knows != by) {
            return Claim::Others;
        }
        let claimed = First {
            stamp: asked.map_or(0, |asked| asked.stamp),
            knows: by,
        };
        match seen.note(origin.source, id, claimed) {
            Some(_) => Claim::Had,
            None => Claim::Given,
        }
    }

    /// A gateway asks, and no member is known to have had it.
    pub(crate) fn ask(&self, origin: Origin, pick: Named<'_>, by: u64, now: u64) -> Said {
        let id = pick_id(origin.id, pick);
        let mut seen = self.0.lock();
        if seen.has(origin.source, id) {
            return Said::Had;
        }
        if let Some(asked) = seen.refused(origin.source, id)
            && asked.knows < by
            && now.saturating_sub(asked.stamp) < FIRST
        {
            return Said::Later;
        }
        let asked = First {
            stamp: now,
            knows: by,
        };
        seen.refuse_as(origin.source, id, asked);
        Said::No
    }

    /// Whether a member of a group here has had a message.
    pub(crate) fn has(&self, origin: Origin, pick: Named<'_>) -> bool {
        let id = pick_id(origin.id, pick);
        self.0.lock().has(origin.source, id)
    }

    /// A group has not had a message after all, as who claimed it thought, or whoever did: it is taken
    /// when it comes again; where that one had asked, from that one.
    pub(crate) fn forget(&self, origin: Origin, pick: Named<'_>, by: Option<u64>) {
        let (source, id) = (origin.source, pick_id(origin.id, pick));
        let mut seen = self.0.lock();
        if !seen.has(source, id) {
            return;
        }
        let claimed = seen.note(source, id, First::default());
        let claimed = claimed.filter(|claimed| by.is_none_or(|by| claimed.knows == by));
        if let Some(claimed) = claimed {
            seen.strike(source, id);
            if claimed.stamp > 0 {
                seen.refuse_as(source, id, claimed);
            }
        }
    }

    /// Forgets nodes: see [`Seen::forget_silent`].
    pub(super) fn forget_silent(&self, is_there: impl Fn(u64) -> bool) {
        self.0.lock().forget_silent(is_there);
    }
}

/// The number under which it is known that a group has had a message.
fn pick_id(id: u64, pick: Named<'_>) -> u64 {
    FixedState::with_seed(spread(id)).hash_one(pick)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const IT: Origin = Origin { source: 5, id: 1 };
    const GROUP: Named<'_> = ("g", "t");

    #[test]
    fn who_was_told_no_is_the_only_one_who_may_choose() {
        let picked = PickedHere::new(Seen::new(64, 8));
        let (old, young) = (6, 7);
        assert_eq!(picked.ask(IT, GROUP, young, 100), Said::No);
        assert_eq!(picked.claim(IT, GROUP, old, 100), Claim::Others);
        assert_eq!(picked.ask(IT, GROUP, old, 101), Said::No, "it goes first");
        assert_eq!(picked.ask(IT, GROUP, young, 102), Said::Later);
        assert_eq!(picked.claim(IT, GROUP, young, 102), Claim::Others);
        picked.forget(IT, GROUP, None);
        assert_eq!(picked.claim(IT, GROUP, young, 102), Claim::Others, "still");
        assert_eq!(picked.claim(IT, GROUP, old, 103), Claim::Given);
        for by in [old, young] {
            assert_eq!(picked.ask(IT, GROUP, by, 104), Said::Had);
            assert_eq!(picked.claim(IT, GROUP, by, 104), Claim::Had);
        }
        picked.forget(IT, GROUP, Some(young));
        assert!(picked.has(IT, GROUP), "it is not its");
        picked.forget(IT, GROUP, Some(old));
        assert_eq!(
            picked.claim(IT, GROUP, young, 105),
            Claim::Others,
            "it had asked"
        );
        assert_eq!(picked.claim(IT, GROUP, old, 106), Claim::Given);
        let other = Origin { source: 5, id: 2 };
        assert_eq!(picked.claim(other, GROUP, young, 107), Claim::Given);
        picked.forget(other, GROUP, None);
        assert_eq!(
            picked.claim(other, GROUP, old, 108),
            Claim::Given,
            "nobody had"
        );
    }

    #[test]
    fn who_asked_and_is_gone_is_in_nobodys_way() {
        let picked = PickedHere::new(Seen::new(64, 8));
        assert_eq!(picked.ask(IT, GROUP, 6, 100), Said::No);
        assert_eq!(picked.ask(IT, GROUP, 7, 100 + FIRST), Said::No);
        assert_eq!(picked.claim(IT, GROUP, 9, 100 + KNOWN), Claim::Others);
        assert_eq!(
            picked.claim(IT, GROUP, 9, 100 + FIRST + KNOWN),
            Claim::Given
        );
    }

    #[test]
    fn what_a_group_has_had_is_not_taken_for_what_another_one_had() {
        let ids = |group| (0..20_000).map(move |id| pick_id(id, (group, "a/#")));
        let all: HashSet<_> = ["g1", "g2", "g3"].into_iter().flat_map(ids).collect();
        assert_eq!(all.len(), 3 * 20_000);
    }
}
