//! Messages that a session has given back because their source did not know yet that it is here, so
//! that none overtakes them.
//!
//! The source routes them again, one after the other, and lets nothing pass that its publisher sends
//! from when it hears of it. But what it had sent before that is on its way, and would be first: the
//! source of those may be known to know of the session by now, which is found out at any moment. So
//! whatever comes behind one that is still away is given back as well. Pure.
//!
//! One that never comes again, such as one that has expired meanwhile, is noted no longer than this node
//! knows that it has come before: until then a repeat would be taken for one that was had, if it were
//! not noted here that it was given back. Behind that it is a new one. So there are never many more
//! notes than the node itself has of messages.

use std::collections::BTreeSet;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::received::Origin;

/// Publishers whose messages are noted. With more of them at once nothing is: some may be overtaken.
const MOST: usize = 4_096;
/// How many more may be noted before it is looked which are of no use any more.
const FEW: usize = 1_024;

/// Those that are away.
#[derive(Debug, Default)]
pub(crate) struct GivenBack {
    /// By who routed them first and by publisher.
    publishers: HashMap<(u64, u64), Away, RandomState>,
    /// How many were noted, or were to be, since it was looked last, and how many were of use then.
    n_new: usize,
    n_old: usize,
}

/// Of one publisher.
#[derive(Debug, Default)]
struct Away {
    /// What comes behind these is given back.
    waited_for: BTreeSet<u64>,
    /// One behind these is back: they are done with in another way, or come late.
    passed: BTreeSet<u64>,
}

/// Where a message stands among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// None before it is away.
    Free,
    /// One before it is: it is given back, too, and away itself from now on.
    Behind,
    /// It was away, and whoever routes it says that its turn has come.
    Back,
}

// === impl GivenBack ===

impl GivenBack {
    /// A message is given back.
    pub(crate) fn note(&mut self, origin: Origin, publisher: u64) {
        let (publishers, whose) = (&mut self.publishers, (origin.source, publisher));
        self.n_new += 1;
        if publishers.len() < MOST || publishers.contains_key(&whose) {
            let away = publishers.entry(whose).or_default();
            away.waited_for.insert(origin.id);
        }
    }

    /// Forgets those of which this node does not know any more that they have come before, where very
    /// many are noted; `is_known` says of which it does.
    pub(crate) fn tidy(&mut self, is_known: impl Fn(Origin) -> bool) {
        if self.n_new < self.n_old.max(FEW) {
            return;
        }
        (self.n_new, self.n_old) = (0, 0);
        self.publishers.retain(|(source, _), away| {
            for ids in [&mut away.waited_for, &mut away.passed] {
                let source = *source;
                ids.retain(|id| is_known(Origin { source, id: *id }));
                self.n_old += ids.len();
            }
            !(away.waited_for.is_empty() && away.passed.is_empty())
        });
    }

    /// Whether none is away.
    pub(crate) fn is_empty(&self) -> bool {
        self.publishers.is_empty()
    }

    /// A message of a source that knows of the session comes.
    pub(crate) fn stand(&mut self, origin: Origin, publisher: u64) -> Standing {
        let (whose, id) = ((origin.source, publisher), origin.id);
        let Some(away) = self.publishers.get_mut(&whose) else {
            return Standing::Free;
        };
        if away.waited_for.remove(&id) {
            let behind = away.waited_for.split_off(&id);
            let passed = std::mem::replace(&mut away.waited_for, behind);
            away.passed.extend(passed);
            if away.waited_for.is_empty() && away.passed.is_empty() {
                self.publishers.remove(&whose);
            }
            return Standing::Back;
        }
        if away.passed.remove(&id) {
            return Standing::Back;
        }
        if away.waited_for.first().is_some_and(|first| *first < id) {
            away.waited_for.insert(id);
            self.n_new += 1;
            return Standing::Behind;
        }
        if away.waited_for.is_empty() {
            self.publishers.remove(&whose); // a new one: all before it are done with
        }
        Standing::Free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another gateway.
    const SOURCE: u64 = 5;
    const PUBLISHER: u64 = 7;

    fn origin(id: u64) -> Origin {
        Origin { source: SOURCE, id }
    }

    #[test]
    fn what_comes_behind_one_that_is_away_is_given_back_until_it_comes_again() {
        let mut given_back = GivenBack::default();
        given_back.note(origin(10), PUBLISHER);
        given_back.note(origin(11), PUBLISHER);
        let mut stand = |id| given_back.stand(origin(id), PUBLISHER);
        assert_eq!(stand(9), Standing::Free, "it is before them");
        assert_eq!([stand(12), stand(13)], [Standing::Behind; 2]);
        assert_eq!([stand(10), stand(11)], [Standing::Back; 2]);
        assert_eq!(stand(14), Standing::Behind, "12 and 13 are away");
        assert_eq!([stand(12), stand(13), stand(14)], [Standing::Back; 3]);
        assert_eq!(stand(15), Standing::Free);
        assert!(given_back.is_empty());
    }

    #[test]
    fn others_are_not_held_up_and_nobody_is_for_one_that_does_not_come_again() {
        let mut given_back = GivenBack::default();
        given_back.note(origin(10), PUBLISHER);
        let mut stand = |id, publisher| given_back.stand(origin(id), publisher);
        assert_eq!(stand(11, PUBLISHER + 1), Standing::Free);
        assert_eq!(stand(11, PUBLISHER), Standing::Behind);
        assert_eq!(stand(11, PUBLISHER), Standing::Back, "10 has expired");
        assert_eq!(stand(12, PUBLISHER), Standing::Free);
        assert!(given_back.is_empty());
    }

    /// Where their publisher does not wait any more, they may come in another order.
    #[test]
    fn one_that_comes_behind_a_later_one_has_not_been_here_either() {
        let mut given_back = GivenBack::default();
        given_back.note(origin(10), PUBLISHER);
        let mut stand = |id| given_back.stand(origin(id), PUBLISHER);
        assert_eq!([stand(12), stand(13)], [Standing::Behind; 2]);
        assert_eq!([stand(13), stand(12), stand(10)], [Standing::Back; 3]);
        assert_eq!(stand(14), Standing::Free);
        assert!(given_back.is_empty());
    }

    #[test]
    fn one_that_never_comes_again_is_noted_as_long_as_it_is_known_to_have_come() {
        const KNOWN: u64 = 1_000;
        let mut given_back = GivenBack::default();
        // Each publisher has one that is away, and comes no more.
        for publisher in 0..10 * MOST as u64 {
            let id = publisher + 1;
            given_back.tidy(|known| known.id + KNOWN > id);
            given_back.note(origin(id), publisher);
            let n_noted = given_back.publishers.len();
            assert!(n_noted <= KNOWN as usize + FEW, "{n_noted}");
            assert_eq!(
                given_back.stand(origin(id + 1), publisher),
                Standing::Behind
            );
            assert_eq!(given_back.stand(origin(id + 1), publisher), Standing::Back);
        }
        // What is known still is away.
        let last = 10 * MOST as u64;
        let of_last = |id| (origin(id), last - 1);
        let (early, late) = (of_last(last), of_last(last + 2));
        assert_eq!(given_back.stand(late.0, late.1), Standing::Free);
        given_back.note(early.0, early.1);
        given_back.n_new = usize::MAX;
        given_back.tidy(|known| known == early.0);
        assert_eq!(given_back.publishers.len(), 1);
        assert_eq!(given_back.stand(late.0, late.1), Standing::Behind);
        given_back.n_new = usize::MAX;
        given_back.tidy(|_| false);
        assert!(given_back.is_empty());
    }
}
