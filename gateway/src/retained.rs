//! Retained messages: the last one of each topic, in the store, read by key range.
//!
//! A change is visible at once, before it is safe: [`Retained`] keeps what is being committed
//! and lays it over what is stored. So a SUBSCRIBE that follows a PUBLISH sees its message, and
//! whoever is acknowledged was told the truth. Nothing else of it is in memory.

mod seek;

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use gatemq_storage::Batch;
use parking_lot::Mutex;

use crate::message::{Message, MessageRef};
use crate::proto::topic;
use crate::store::{Store, keys};
use crate::turn::Turn;

/// Messages read at once.
const PAGE: usize = 128;
/// Keys looked at in one step: a filter may match few of those in its range.
const SCANNED: usize = 512;
/// Keys in a row that do not match before the rest of them is stepped over.
const MISSED: usize = 2;
/// Steps for one page, so that others get their turn.
const STEPS: usize = 64;
/// Keys looked at in one sweep for expired messages.
const SWEPT: usize = 2048;

/// The retained messages of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    pending: Mutex<HashMap<Box<str>, Pending, foldhash::fast::RandomState>>,
    count: AtomicUsize,
    /// How many changes there were.
    n_changes: AtomicU64,
    /// Whether there may be messages that expire.
    may_expire: AtomicBool,
}

/// A topic with changes that are being committed.
#[derive(Debug)]
struct Pending {
    /// The number of the latest change, and what it left.
    latest: u64,
    message: Option<Arc<Message>>,
    /// Changes not yet committed, and the last one that was.
    n_open: usize,
    committed: u64,
}

/// The retained messages of a filter, on their way to a new subscriber.
#[derive(Debug)]
pub(crate) struct Replay {
    filter: Box<str>,
    /// Key ranges still to be read.
    ranges: Vec<(Vec<u8>, Vec<u8>)>,
    /// Topics that were taken from the pending changes.
    taken: HashSet<Box<str>>,
    is_begun: bool,
}

impl Retained {
    /// Counts what is stored.
    pub(crate) fn restore(store: &Store) -> Self {
        let retained = Self::default();
        let (start, end) = keys::all(keys::RETAINED);
        let mut count = 0;
        let mut may_expire = false;
        store.scan(&start, &end, &mut |_, value| {
            count += 1;
            may_expire |= crate::message::expiry_of(value) != Some(u64::MAX);
            ControlFlow::Continue(())
        });
        retained.count.store(count, Ordering::Relaxed);
        retained.may_expire.store(may_expire, Ordering::Relaxed);
        retained
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there are none, now or as soon as a commit is through.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets, or with an empty payload clears, the message of a topic `[MQTT-3.3.1-5]`,
    /// `[MQTT-3.3.1-6]`. Returns the number of the change, `None` where nothing changes, and
    /// `Err` where there is no room for another topic.
    pub(crate) fn set(
        &self,
        store: &Store,
        batch: &mut Batch,
        message: &MessageRef<'_>,
        make: impl FnOnce() -> Arc<Message>,
        maximum: usize,
    ) -> Result<Option<u64>, Full> {
        let key = keys::retained(message.topic);
        let mut pending = self.pending.lock();
        let known = pending.get_mut(message.topic);
        let exists = match &known {
            Some(known) => known.message.is_some(),
            None => store.get(&key).is_some(),
        };
        let is_clear = message.payload.is_empty();
        match (exists, is_clear) {
            (false, true) => return Ok(None),
            (false, false) => {
                if self.count.load(Ordering::Relaxed) >= maximum {
                    return Err(Full);
                }
                self.count.fetch_add(1, Ordering::Relaxed);
            }
            (true, true) => {
                self.count.fetch_sub(1, Ordering::Relaxed);
            }
            (true, false) => {}
        }
        let number = store.new_number();
        if message.expires_at != u64::MAX {
            self.may_expire.store(true, Ordering::Relaxed);
        }
        self.n_changes.fetch_add(1, Ordering::AcqRel);
        let message = (!is_clear).then(make);
        write(batch, &key, message.as_deref());
        match known {
            Some(known) => {
                known.latest = number;
                known.message = message;
                known.n_open += 1;
            }
            None => {
                let topic = std::str::from_utf8(&key[1..]).unwrap_or_default();
                pending.insert(
                    topic.into(),
                    Pending {
                        latest: number,
                        message,
                        n_open: 1,
                        committed: 0,
                    },
                );
            }
        }
        Ok(Some(number))
    }

    /// How many changes there were: the same number twice means that nothing changed between.
    pub(crate) fn n_changes(&self) -> u64 {
        self.n_changes.load(Ordering::Acquire)
    }

    /// The message of a topic.
    pub(crate) fn get(&self, store: &Store, topic: &str) -> Option<Arc<Message>> {
        if let Some(pending) = self.pending.lock().get(topic) {
            return pending.message.clone();
        }
        let stored = store.get(&keys::retained(topic))?;
        Message::restore(&stored).ok().map(Arc::new)
    }

    /// Clears a message that has expired, if it still has: a newer one stays.
    pub(crate) fn expire(&self, store: &Store, topic: &str, now: u64, turn: &mut Turn<'_>) {
        let Some(message) = self.get(store, topic) else {
            return;
        };
        if !message.as_ref().as_ref().is_expired(now) {
            return;
        }
        let clear = MessageRef {
            payload: &[],
            expires_at: u64::MAX,
            ..message.as_ref().as_ref()
        };
        let make = || Arc::new(clear.to_message());
        if let Ok(Some(number)) = self.set(store, &mut turn.batch, &clear, make, usize::MAX) {
            turn.retained.push((topic.into(), number));
        }
    }

    /// Looks at some of the stored messages, from `from` on, and clears those that have expired.
    /// Returns where to go on, `None` at the end.
    pub(crate) fn sweep(&self, from: Option<Vec<u8>>, turn: &mut Turn<'_>) -> Option<Vec<u8>> {
        if !self.may_expire.load(Ordering::Relaxed) {
            return None;
        }
        let store = &turn.broker.store;
        let (start, end) = keys::all(keys::RETAINED);
        let start = from.unwrap_or_else(|| start.to_vec());
        let (mut expired, mut n_seen, mut next) = (Vec::new(), 0, None);
        let now = turn.now;
        store.scan(&start, &end, &mut |key, value| {
            if n_seen >= SWEPT {
                next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            n_seen += 1;
            if crate::message::expiry_of(value).is_some_and(|expires_at| expires_at <= now) {
                expired.extend(std::str::from_utf8(&key[1..]).map(str::to_owned));
            }
            ControlFlow::Continue(())
        });
        for topic in expired {
            self.expire(store, &topic, now, turn);
        }
        next
    }

    /// Notes that a change is safe. Two changes of a topic may be committed in the other order
    /// than they were made; then the later one is written again: `true`, and the change is in
    /// the batch under the same number.
    pub(crate) fn commit(&self, topic: &str, number: u64, batch: &mut Batch) -> bool {
        let mut pending = self.pending.lock();
        let Some(known) = pending.get_mut(topic) else {
            return false;
        };
        known.n_open -= 1;
        known.committed = number;
        if known.n_open > 0 {
            return false;
        }
        if known.committed == known.latest {
            let known = pending.remove(topic);
            drop(pending);
            drop(known);
            return false;
        }
        known.n_open = 1;
        write(batch, &keys::retained(topic), known.message.as_deref());
        true
    }

    /// Begins to read the messages that match a filter.
    pub(crate) fn replay(&self, filter: &str) -> Replay {
        Replay {
            filter: filter.into(),
            ranges: ranges(filter),
            taken: HashSet::new(),
            is_begun: false,
        }
    }

    /// Reads on; an empty page with `replay.is_done()` is the end.
    pub(crate) fn page(&self, store: &Store, replay: &mut Replay) -> Vec<Arc<Message>> {
        let mut page = Vec::new();
        if !replay.is_begun {
            replay.is_begun = true;
            for (name, pending) in self.pending.lock().iter() {
                if topic::matches(&replay.filter, name) {
                    replay.taken.insert(name.clone());
                    page.extend(pending.message.clone());
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
}

/// There is no room for another retained message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

fn write(batch: &mut Batch, key: &[u8], message: Option<&Message>) {
    match message {
        Some(message) => {
            let mut value = Vec::new();
            message.as_ref().store(&mut value);
            batch.put(key, &value);
        }
        None => batch.delete(key),
    }
}

/// The key ranges that can hold topics of a filter, in the order in which to pop them.
fn ranges(filter: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
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
    use crate::proto::mqtt::Qos;

    fn store() -> Store {
        Store::open(Arc::new(gatemq_storage::Memory::new()), 1).expect("memory")
    }

    fn set(retained: &Retained, store: &Store, name: &str, payload: &[u8]) -> Option<u64> {
        let message = MessageRef {
            publisher: 0,
            qos: Qos::AtMostOnce,
            retain: true,
            expires_at: u64::MAX,
            topic: name,
            properties: &[],
            payload,
        };
        let mut batch = Batch::default();
        let make = || Arc::new(message.to_message());
        let number = retained
            .set(store, &mut batch, &message, make, 5)
            .expect("there is room");
        store.submit(batch, crate::store::Ticket::default());
        number
    }

    fn replayed(retained: &Retained, store: &Store, filter: &str) -> Vec<String> {
        let mut replay = retained.replay(filter);
        let mut topics = Vec::new();
        while !replay.is_done() {
            let page = retained.page(store, &mut replay);
            topics.extend(
                page.iter()
                    .map(|message| message.as_ref().as_ref().topic.to_owned()),
            );
        }
        topics.sort();
        topics
    }

    #[test]
    fn changes_show_before_and_after_they_are_safe() {
        let (retained, store) = (Retained::default(), store());
        let topics = ["a", "a/b", "a/c/d", "ab", "$SYS/x"];
        let numbers: Vec<_> = topics
            .iter()
            .map(|name| set(&retained, &store, name, b"1"))
            .collect();
        for _ in 0..2 {
            assert_eq!(replayed(&retained, &store, "a/#"), ["a", "a/b", "a/c/d"]);
            assert_eq!(replayed(&retained, &store, "a/+"), ["a/b"]);
            assert_eq!(replayed(&retained, &store, "a"), ["a"]);
            assert_eq!(
                replayed(&retained, &store, "#"),
                ["a", "a/b", "a/c/d", "ab"]
            );
            assert_eq!(replayed(&retained, &store, "+"), ["a", "ab"]);
            assert_eq!(retained.len(), 5);
            store.close();
            for (name, number) in topics.iter().zip(&numbers) {
                retained.commit(name, number.unwrap_or_default(), &mut Batch::default());
            }
        }
        assert!(retained.pending.lock().is_empty());
    }

    #[test]
    fn a_change_that_was_overtaken_is_written_again() {
        let (retained, store) = (Retained::default(), store());
        let first = set(&retained, &store, "a", b"1").expect("a change");
        let second = set(&retained, &store, "a", b"").expect("a change");
        assert_eq!(retained.len(), 0);
        let mut batch = Batch::default();
        assert!(!retained.commit("a", second, &mut batch));
        assert!(
            retained.commit("a", first, &mut batch),
            "the first came last"
        );
        assert_eq!(batch.len(), 1);
        assert!(!retained.commit("a", second, &mut batch));
        assert!(retained.pending.lock().is_empty());
    }
}
