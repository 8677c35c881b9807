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
}

/// Filters of one command: all there are, as a rule, so that a run says at once what it wants.
const BATCH: usize = 5_000;

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
            let new = wanted.difference(&self.known).take(BATCH);
            let set: Vec<_> = new.map(|filter| route(filter)).collect();
            let gone = self.known.difference(wanted).take(BATCH - set.len());
            let removed: Vec<_> = gone.cloned().collect();
            // The first is said in any case: an earlier run's are gone with it.
            if set.is_empty() && removed.is_empty() && self.number > 0 {
                return None;
            }
            self.number += 1;
            self.open = Some(Routes {
                incarnation: self.incarnation,
                number: self.number,
                set,
                removed,
            });
        }
        self.open.clone()
    }

    /// What was to be said is agreed on.
    pub(super) fn on_agreed(&mut self) {
        let Some(routes) = self.open.take() else {
            return;
        };
        for filter in &routes.removed {
            self.known.remove(filter);
        }
        let set = routes.set.into_iter();
        self.known.extend(set.map(|route| route.filter));
    }
}

// === private ===

fn route(filter: &str) -> Route {
    Route {
        filter: filter.to_owned(),
        n_online: 1,
        n_offline: 0,
    }
}

#[cfg(test)]
mod tests {
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
        announcement.on_agreed();
        assert_eq!(announcement.next(&wanted(&["a", "b"])), None);
        let second = announcement.next(&wanted(&["b", "c"])).expect("a change");
        assert_eq!(second.number, 2);
        assert_eq!(filters(&second), (vec!["c"], vec!["a"]));
        announcement.on_agreed();
        assert_eq!(announcement.next(&wanted(&["b", "c"])), None);
    }

    #[test]
    fn what_nothing_is_known_of_is_said_again_as_it_was() {
        let mut announcement = Announcement::new(7);
        let first = announcement.next(&wanted(&["a"])).expect("one");
        assert_eq!(announcement.next(&wanted(&["b"])), Some(first));
        announcement.on_agreed();
        let second = announcement.next(&wanted(&["b"])).expect("a change");
        assert_eq!(
            (second.number, filters(&second)),
            (2, (vec!["b"], vec!["a"]))
        );
    }

    #[test]
    fn that_there_is_nothing_is_said_once() {
        let mut announcement = Announcement::new(7);
        let first = announcement
            .next(&wanted(&[]))
            .expect("it frees an earlier run's");
        assert_eq!((first.number, filters(&first)), (1, (vec![], vec![])));
        announcement.on_agreed();
        assert_eq!(announcement.next(&wanted(&[])), None);
    }

    #[test]
    fn many_are_said_in_parts() {
        let mut announcement = Announcement::new(1);
        let many: BTreeSet<_> = (0..BATCH + 3).map(|it| it.to_string()).collect();
        assert_eq!(announcement.next(&many).expect("some").set.len(), BATCH);
        announcement.on_agreed();
        assert_eq!(announcement.next(&many).expect("some").set.len(), 3);
        announcement.on_agreed();
        assert_eq!(announcement.next(&many), None);
    }
}
