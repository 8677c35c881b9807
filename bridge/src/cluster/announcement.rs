//! What the control plane has been told of this incarnation's filters, and what it is told next: pure.
//!
//! Commands are numbered, and each is taken once. Of one of which nothing is known it may have been
//! taken, or not: just that is said again before anything else.

use std::collections::BTreeSet;

use gatemq_proto::cluster::state::{Route, Routes};

/// The filters of one incarnation, as far as they are agreed on.
#[derive(Debug, Default)]
pub(super) struct Announcement {
    incarnation: u64,
    /// The number of the last command.
    number: u64,
    known: BTreeSet<String>,
    /// The command of which nothing is known.
    open: Option<Routes>,
    /// Whether the last one that was agreed on said that more would follow.
    is_part: bool,
    /// Whoever has applied this index knows of all that is agreed on; 0 before anything is.
    index: u64,
}

/// Filters of one command: all there are, as a rule, so that a run says at once what it wants. And the
/// bytes after which none is added: with the longest filter on top it is below the MiB that a command may
/// have.
const BATCH: usize = 5_000;
const BATCH_BYTES: usize = 512 << 10;
/// What a filter costs beside its text, at most.
const OVERHEAD: usize = 32;

// === impl Announcement ===

impl Announcement {
    /// That of a new incarnation.
    pub(super) fn new(incarnation: u64) -> Self {
        Self {
            incarnation,
            ..Self::default()
        }
    }

    /// What is to be said so that these are agreed on; `None` once they are.
    pub(super) fn next(&mut self, wanted: &BTreeSet<String>) -> Option<Routes> {
        if self.open.is_none() {
            let mut room = Room::default();
            let mut new = wanted.difference(&self.known).peekable();
            let mut set = Vec::new();
            while let Some(filter) = new.next_if(|filter| room.takes(filter)) {
                set.push(route(filter));
            }
            let is_part = new.peek().is_some();
            let gone = self.known.difference(wanted);
            let gone = gone.take_while(|filter| room.takes(filter));
            let removed: Vec<_> = gone.cloned().collect();
            // The first is said in any case: an earlier run's are gone with it. So is that nothing follows,
            // where more was to.
            if set.is_empty() && removed.is_empty() && self.number > 0 && !self.is_part {
                return None;
            }
            self.number += 1;
            self.open = Some(Routes {
                incarnation: self.incarnation,
                number: self.number,
                set,
                removed,
                is_part,
            });
        }
        self.open.clone()
    }

    /// What was to be said is agreed on, at this index.
    pub(super) fn on_agreed(&mut self, index: u64) {
        let Some(routes) = self.open.take() else {
            return;
        };
        self.index = self.index.max(index);
        self.is_part = routes.is_part;
        for filter in &routes.removed {
            self.known.remove(filter);
        }
        let set = routes.set.into_iter();
        self.known.extend(set.map(|route| route.filter));
    }

    /// The index of what was agreed on last; 0 for nothing. It is that of the incarnation, not of a
    /// line: nothing has to be said on another line, and not all may have applied it yet.
    pub(super) fn index(&self) -> u64 {
        self.index
    }
}

// === private ===

/// What a command has so far.
#[derive(Default)]
struct Room {
    n_filters: usize,
    n_bytes: usize,
}

impl Room {
    /// Whether another filter goes in; if so, it has.
    fn takes(&mut self, filter: &str) -> bool {
        if self.n_filters >= BATCH || self.n_bytes >= BATCH_BYTES {
            return false;
        }
        self.n_filters += 1;
        self.n_bytes += filter.len() + OVERHEAD;
        true
    }
}

fn route(filter: &str) -> Route {
    Route {
        filter: filter.to_owned(),
        n_online: 1,
        n_offline: 0,
    }
}

#[cfg(test)]
mod tests {
    use gatemq_proto::cluster::state::{Command, command};
    use prost::Message;

    use super::*;

    fn wanted(filters: &[&str]) -> BTreeSet<String> {
        filters.iter().map(|it| (*it).to_owned()).collect()
    }

    fn filters(routes: &Routes) -> (Vec<&str>, Vec<&str>) {
        let set = routes.set.iter().map(|route| &*route.filter);
        let removed = routes.removed.iter().map(|filter| &**filter);
        (set.collect(), removed.collect())
    }

    #[test]
    fn only_what_is_new_or_gone_is_said() {
        let mut announcement = Announcement::new(7);
        let first = announcement.next(&wanted(&["a", "b"])).expect("two");
        assert_eq!((first.incarnation, first.number), (7, 1));
        assert_eq!(filters(&first), (vec!["a", "b"], vec![]));
        announcement.on_agreed(1);
        assert_eq!(announcement.next(&wanted(&["a", "b"])), None);
        let second = announcement.next(&wanted(&["b", "c"])).expect("a change");
        assert_eq!(second.number, 2);
        assert_eq!(filters(&second), (vec!["c"], vec!["a"]));
        announcement.on_agreed(1);
        assert_eq!(announcement.next(&wanted(&["b", "c"])), None);
    }

    #[test]
    fn what_nothing_is_known_of_is_said_again_as_it_was() {
        let mut announcement = Announcement::new(7);
        let first = announcement.next(&wanted(&["a"])).expect("one");
        assert_eq!(announcement.next(&wanted(&["b"])), Some(first));
        announcement.on_agreed(1);
        let second = announcement.next(&wanted(&["b"])).expect("a change");
        assert_eq!(
            (second.number, filters(&second)),
            (2, (vec!["b"], vec!["a"]))
        );
    }

    #[test]
    fn by_when_all_know_of_it_does_not_depend_on_the_line_on_which_it_was_said() {
        let mut announcement = Announcement::new(7);
        assert_eq!(announcement.index(), 0);
        announcement.next(&wanted(&["a"])).expect("one");
        announcement.on_agreed(9);
        // On another line.
        assert_eq!(announcement.next(&wanted(&["a"])), None);
        assert_eq!(announcement.index(), 9);
        announcement.next(&wanted(&["b"])).expect("a change");
        assert_eq!(announcement.index(), 9);
        announcement.on_agreed(12);
        assert_eq!(announcement.index(), 12);
        assert_eq!(Announcement::new(8).index(), 0);
    }

    #[test]
    fn that_there_is_nothing_is_said_once() {
        let mut announcement = Announcement::new(7);
        let first = announcement
            .next(&wanted(&[]))
            .expect("it frees an earlier run's");
        assert_eq!((first.number, filters(&first)), (1, (vec![], vec![])));
        announcement.on_agreed(1);
        assert_eq!(announcement.next(&wanted(&[])), None);
    }

    #[test]
    fn many_are_said_in_parts() {
        let mut announcement = Announcement::new(1);
        let many: BTreeSet<_> = (0..BATCH + 3).map(|it| it.to_string()).collect();
        let part = announcement.next(&many).expect("some");
        assert_eq!((part.set.len(), part.is_part), (BATCH, true));
        announcement.on_agreed(1);
        let rest = announcement.next(&many).expect("some");
        assert_eq!((rest.set.len(), rest.is_part), (3, false));
        announcement.on_agreed(1);
        assert_eq!(announcement.next(&many), None);
    }

    /// More than 1 MiB, which is refused for good: that bridge would never join.
    /// What had not been said is not wanted any more.
    #[test]
    fn that_no_more_parts_follow_is_said_though_there_is_nothing_else_to_say() {
        let mut announcement = Announcement::new(9);
        let many: BTreeSet<_> = (0..BATCH + 3).map(|n| format!("{n:05}")).collect();
        let part = announcement.next(&many).expect("the first");
        announcement.on_agreed(1);
        let said: BTreeSet<_> = part.set.into_iter().map(|route| route.filter).collect();
        let last = announcement.next(&said).expect("the last");
        assert!(last.set.is_empty() && last.removed.is_empty() && !last.is_part);
        announcement.on_agreed(2);
        assert_eq!(announcement.next(&said), None);
    }

    #[test]
    fn long_ones_are_said_in_parts_that_are_taken() {
        const MAX_COMMAND: usize = 1 << 20; // of the control plane
        const MOST: usize = 65_535;
        let long = |at| format!("{at:02}{}", "x".repeat(MOST - 2));
        let mut announcement = Announcement::new(u64::MAX);
        let many: BTreeSet<_> = (0..40).map(long).collect();
        let mut none = BTreeSet::new();
        none.insert("a".to_owned());
        for wanted in [&many, &none] {
            let mut n_parts = 0;
            while let Some(part) = announcement.next(wanted) {
                let kind = Some(command::Kind::Routes(part));
                assert!(Command { kind }.encoded_len() <= MAX_COMMAND);
                announcement.on_agreed(1);
                n_parts += 1;
            }
            assert!((5..=6).contains(&n_parts), "{n_parts}");
        }
        assert_eq!(announcement.known, none);
    }
}
