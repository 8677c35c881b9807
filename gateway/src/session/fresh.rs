//! What reaches a session live while it reads retained messages that other gateways set, too: what
//! it reads of those topics is older, and must not follow. Pure.
//!
//! A retained message is stored before it goes to anybody. So what has come before a page is asked for
//! is in that page, or something newer is; only what comes from then on is newer than the page. Of
//! which topics a page is nobody knows before it is there, so all that come are noted. They are noted
//! for longer than that, so that what came live comes no second time, but not without a bound: then
//! all that was noted is forgotten. A page that is on its way is read once more then; of one that is
//! there the topics are known, and however long its client makes it wait, only those count.

use std::collections::HashSet;

use foldhash::fast::RandomState;

/// Bytes of the topics that are noted, with what each costs beside its text.
const MOST: usize = 1024 * 1024;
const OVERHEAD: usize = 64;

type Topics = HashSet<Box<str>, RandomState>;

/// What has come live, while anything is read.
#[derive(Debug, Default)]
pub(crate) struct Fresh(Option<Box<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    topics: Topics,
    /// What they cost, in bytes.
    cost: usize,
    /// Whether some have been forgotten since the last page was asked for.
    has_forgotten: bool,
    /// Topics of the page that is there of which nothing newer has come.
    left: Topics,
}

impl Fresh {
    /// A page is about to be read.
    pub(crate) fn expect_page(&mut self) {
        let noted = self.0.get_or_insert_default();
        noted.has_forgotten = false;
        noted.left.clear();
    }

    /// A message that is retained is on its way to the session.
    pub(crate) fn note(&mut self, topic: &str) {
        let Some(noted) = &mut self.0 else { return };
        noted.left.remove(topic);
        if noted.topics.contains(topic) {
            return;
        }
        noted.cost += topic.len() + OVERHEAD;
        if noted.cost > MOST {
            noted.topics = Topics::default();
            noted.cost = topic.len() + OVERHEAD;
            noted.has_forgotten = true;
        }
        noted.topics.insert(topic.into());
    }

    /// The page that was expected has come, with these topics. False if it is not known what of it is
    /// old: it has to be read once more.
    pub(crate) fn handle_page<'a>(&mut self, topics: impl Iterator<Item = &'a str>) -> bool {
        let Some(noted) = self.0.as_mut().filter(|noted| !noted.has_forgotten) else {
            return false;
        };
        let left = topics.filter(|topic| !noted.topics.contains(*topic));
        noted.left = left.map(Into::into).collect();
        true
    }

    /// Whether a newer message has come than the one of this topic in the page that is there.
    pub(crate) fn is_old(&self, topic: &str) -> bool {
        let noted = self.0.as_ref();
        noted.is_some_and(|noted| !noted.left.contains(topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More topics than are noted.
    fn note_too_many(fresh: &mut Fresh) {
        for n in 0..=MOST / OVERHEAD {
            fresh.note(&n.to_string());
            let noted = fresh.0.as_ref().expect("something is read");
            assert!(noted.topics.len() <= MOST / OVERHEAD && noted.cost <= MOST);
        }
    }

    #[test]
    fn what_comes_while_pages_are_read_or_wait_is_newer() {
        let mut fresh = Fresh::default();
        fresh.note("a");
        assert!(!fresh.is_old("a"), "nothing is read");
        fresh.expect_page();
        for topic in ["b", "z"] {
            fresh.note(topic);
        }
        assert!(fresh.handle_page(["a", "b", "c", "d"].into_iter()));
        fresh.note("c");
        let old = ["a", "b", "c", "d"].map(|topic| fresh.is_old(topic));
        assert_eq!(old, [false, true, true, false]);
        fresh.expect_page();
        assert!(fresh.handle_page(["y", "z"].into_iter()));
        assert_eq!(["y", "z"].map(|topic| fresh.is_old(topic)), [false, true]);
    }

    #[test]
    fn a_page_that_waits_knows_what_of_it_is_old_whatever_else_comes() {
        let mut fresh = Fresh::default();
        fresh.expect_page();
        fresh.note("a");
        assert!(fresh.handle_page(["a", "b", "c"].into_iter()));
        note_too_many(&mut fresh);
        fresh.note("b");
        let old = ["a", "b", "c"].map(|topic| fresh.is_old(topic));
        assert_eq!(old, [true, true, false]);
    }

    #[test]
    fn a_page_during_which_too_much_came_is_read_once_more() {
        let mut fresh = Fresh::default();
        fresh.expect_page();
        fresh.note("a");
        note_too_many(&mut fresh);
        assert!(!fresh.handle_page(["a", "b"].into_iter()));
        fresh.expect_page();
        fresh.note("b");
        assert!(fresh.handle_page(["a", "b"].into_iter()));
        assert_eq!(["a", "b"].map(|topic| fresh.is_old(topic)), [false, true]);
    }
}
