//! Reading the retained messages that match a filter, a page at a time, by key range.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Retained, seek};
use crate::message::Message;
use crate::proto::topic;
use crate::store::{Store, keys};

/// Messages read at once.
const PAGE: usize = 128;
/// Keys looked at in one step: a filter may match few of those in its range.
const SCANNED: usize = 512;
/// Keys in a row that do not match before the rest of them is stepped over.
const MISSED: usize = 2;
/// Steps for one page, so that others get their turn.
const STEPS: usize = 64;

/// Keys of retained messages, from the first up to but not including the second.
pub(crate) type Range = (Vec<u8>, Vec<u8>);

/// The retained messages of a filter, on their way to a new subscriber.
#[derive(Debug)]
pub(crate) struct Replay {
    filter: Box<str>,
    /// Key ranges still to be read.
    ranges: Vec<Range>,
    /// Topics that were taken from the pending changes.
    taken: HashSet<Box<str>>,
    /// Of pending changes only those behind this topic are wanted.
    from: Option<Box<str>>,
    is_begun: bool,
}

impl Retained {
    /// Begins to read the messages that match a filter, those behind a topic only if there is one.
    pub(crate) fn replay(&self, filter: &str, from: Option<&str>) -> Replay {
        Replay {
            filter: filter.into(),
            ranges: match from {
                Some(topic) => behind(ranges(filter), topic),
                None => ranges(filter),
            },
            taken: HashSet::new(),
            from: from.map(Into::into),
            is_begun: false,
        }
    }

    /// Reads on; an empty page with `replay.is_done()` is the end. What is read from the store
    /// may be older than a change that is being committed: whoever delivers it looks at
    /// [`Self::get`] first, unless [`Self::settled`] has stayed the same.
    pub(crate) fn page(&self, store: &Store, replay: &mut Replay) -> Vec<Arc<Message>> {
        let mut page = Vec::new();
        if !replay.is_begun {
            replay.is_begun = true;
            for shard in &self.pending {
                for (name, pending) in shard.lock().iter() {
                    let is_behind = replay.from.as_ref().is_none_or(|from| name > from);
                    if is_behind && topic::matches(&replay.filter, name) {
                        replay.taken.insert(name.clone());
                        page.extend(pending.message.clone());
                    }
                }
            }
        }
        if self.is_empty() {
            replay.ranges.clear();
            return page;
        }
        let mut n_steps = 0;
        while page.len() < PAGE
            && n_steps < STEPS
            && let Some((start, end)) = replay.ranges.pop()
        {
            n_steps += 1;
            if let Some(next) = self.read(store, replay, &start, &end, &mut page) {
                replay.ranges.push((next, end));
            }
        }
        page
    }

    /// Reads from a range; returns where to go on if it was not read to its end.
    fn read(
        &self,
        store: &Store,
        replay: &Replay,
        start: &[u8],
        end: &[u8],
        page: &mut Vec<Arc<Message>>,
    ) -> Option<Vec<u8>> {
        let (mut n_seen, mut n_missed) = (0, 0);
        let mut next = None;
        store.scan(start, end, &mut |key, value| {
            if n_seen >= SCANNED || page.len() >= PAGE {
                next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            n_seen += 1;
            let name = std::str::from_utf8(&key[1..]).unwrap_or_default();
            if !topic::matches(&replay.filter, name) {
                n_missed += 1;
                if n_missed < MISSED {
                    return ControlFlow::Continue(());
                }
                next = seek::next(&replay.filter, name).map(|name| keys::retained(&name).to_vec());
                return ControlFlow::Break(());
            }
            n_missed = 0;
            if !replay.taken.contains(name) {
                match Message::restore(value) {
                    Ok(message) => page.push(Arc::new(message)),
                    Err(error) => {
                        tracing::error!(topic = name, %error, "retained message left out");
                    }
                }
            }
            ControlFlow::Continue(())
        });
        next.filter(|next| **next < *end)
    }
}

impl Replay {
    pub(crate) fn is_done(&self) -> bool {
        self.is_begun && self.ranges.is_empty()
    }

    /// Whether a message of this topic came in its order: those of pending changes come before all
    /// others.
    pub(crate) fn is_in_order(&self, topic: &str) -> bool {
        !self.taken.contains(topic)
    }
}

/// What is left of some ranges behind a topic.
pub(crate) fn behind(mut ranges: Vec<Range>, topic: &str) -> Vec<Range> {
    let mut next = keys::retained(topic).to_vec();
    next.push(0); // no topic has U+0000
    ranges.retain_mut(|(start, end)| {
        if *start < next {
            start.clone_from(&next);
        }
        start < end
    });
    ranges
}

/// The key ranges that can hold topics of a filter, in the order in which to pop them.
pub(crate) fn ranges(filter: &str) -> Vec<Range> {
    let exact = |topic: &str| {
        let start = keys::retained(topic).to_vec();
        let mut end = start.clone();
        end.push(0); // no topic has U+0000
        (start, end)
    };
    let below = |prefix: &str| {
        let start = keys::retained(prefix).to_vec();
        let mut end = start.clone();
        // 0xFF is in no UTF-8 text
        end.push(0xFF);
        (start, end)
    };
    let Some(wildcard) = filter.find(['+', '#']) else {
        return vec![exact(filter)];
    };
    let prefix = &filter[..wildcard];
    match (filter.as_bytes()[wildcard], prefix.strip_suffix('/')) {
        (b'#', Some(parent)) => vec![below(prefix), exact(parent)], // `a/#` matches `a`
        _ => vec![below(prefix)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What of these topics is in what is left of a filter's ranges behind a topic.
    fn check(filter: &str, topic: &str, expected: &[&str]) {
        let topics = ["a", "a/b", "a/b/c", "a/c", "ab", "b"];
        let left = behind(ranges(filter), topic);
        let is_left = |topic: &&str| {
            let key = keys::retained(topic).to_vec();
            left.iter().any(|(start, end)| (start..end).contains(&&key))
        };
        let found: Vec<_> = topics.into_iter().filter(is_left).collect();
        assert_eq!(found, expected, "{filter} behind {topic}");
    }

    #[test]
    fn behind_a_topic_are_those_that_have_not_been_read() {
        check("a/#", "", &["a", "a/b", "a/b/c", "a/c"]);
        check("a/#", "a", &["a/b", "a/b/c", "a/c"]);
        check("a/#", "a/b", &["a/b/c", "a/c"]);
        check("a/#", "a/c", &[]);
        check("#", "a/c", &["ab", "b"]);
        check("a/b", "a/a", &["a/b"]);
        check("a/b", "a/b", &[]);
    }
}
