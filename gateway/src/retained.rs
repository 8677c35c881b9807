//! Retained messages: the last one of each topic, in the store, read by key range.
//!
//! A change is visible at once, before it is safe: [`Retained`] keeps what is being committed
//! and lays it over what is stored. So a SUBSCRIBE that follows a PUBLISH sees its message, and
//! whoever is acknowledged was told the truth. Nothing else of it is in memory.

mod replay;
mod seek;

pub(crate) use replay::{Range, Replay, behind, ranges};

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use gatemq_storage::Batch;
use parking_lot::{Mutex, MutexGuard};

use crate::message::{Message, MessageRef};
use crate::metrics::Limit;
use crate::store::{Store, keys};
use crate::turn::Turn;

/// Keys looked at in one sweep for expired messages.
const SWEPT: usize = 2048;

/// Parts of the changes that are being committed, by topic, each behind a lock of its own.
const SHARDS: usize = 32;

/// Changes that are being committed, by topic.
type Shard = HashMap<Box<str>, Pending, RandomState>;

/// The retained messages of a gateway.
#[derive(Debug)]
pub(crate) struct Retained {
    pending: Box<[Mutex<Shard>]>,
    n_pending: AtomicUsize,
    hasher: RandomState,
    count: AtomicUsize,
    /// Bytes of their stored forms.
    n_bytes: AtomicU64,
    /// How often something became pending, or what was pending became safe.
    version: AtomicU64,
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

impl Default for Retained {
    fn default() -> Self {
        Self {
            pending: (0..SHARDS).map(|_| Mutex::default()).collect(),
            n_pending: AtomicUsize::new(0),
            hasher: RandomState::default(),
            count: AtomicUsize::new(0),
            n_bytes: AtomicU64::new(0),
            version: AtomicU64::new(0),
            may_expire: AtomicBool::new(false),
        }
    }
}

impl Retained {
    /// Counts what is stored.
    pub(crate) fn restore(store: &Store) -> Self {
        let retained = Self::default();
        let (start, end) = keys::all(keys::RETAINED);
        let (mut count, mut n_bytes) = (0, 0);
        let mut may_expire = false;
        store.scan(&start, &end, &mut |_, value| {
            count += 1;
            n_bytes += value.len() as u64;
            may_expire |= crate::message::expiry_of(value) != Some(u64::MAX);
            ControlFlow::Continue(())
        });
        retained.count.store(count, Ordering::Relaxed);
        retained.n_bytes.store(n_bytes, Ordering::Relaxed);
        retained.may_expire.store(may_expire, Ordering::Relaxed);
        retained
    }

    fn shard(&self, topic: &str) -> MutexGuard<'_, Shard> {
        self.pending[self.hasher.hash_one(topic) as usize % SHARDS].lock()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// What their stored forms are in all.
    pub(crate) fn n_bytes(&self) -> u64 {
        self.n_bytes.load(Ordering::Relaxed)
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
        quota: Quota,
    ) -> Result<Option<u64>, Full> {
        let mut shard = self.shard(message.topic);
        let old = match shard.get(message.topic) {
            Some(known) => known.message.as_deref().map(weight),
            None => store
                .get(&keys::retained(message.topic))
                .map(|stored| stored.len() as u64),
        };
        let is_clear = message.payload.is_empty();
        let new = (!is_clear).then(|| message.stored_size() as u64);
        if (old, new) == (None, None) && !shard.contains_key(message.topic) {
            return Ok(None); // an earlier clear that is not safe yet is made once more
        }
        self.count_change(old, new, quota)?;
        if message.expires_at != u64::MAX {
            self.may_expire.store(true, Ordering::Relaxed);
        }
        let value = (!is_clear).then(make);
        Ok(Some(self.change(
            &mut shard,
            store,
            batch,
            message.topic,
            value,
        )))
    }

    /// Counts what a topic had and has now, by their bytes, if there is room for it: what takes less
    /// than before always has.
    fn count_change(&self, old: Option<u64>, new: Option<u64>, quota: Quota) -> Result<(), Full> {
        let (has, takes) = (old.unwrap_or(0), new.unwrap_or(0));
        if old.is_none() && new.is_some() && self.len() as u64 >= quota.messages {
            return Err(Full(Limit::MaxRetained));
        }
        let grows = takes.saturating_sub(has);
        if grows > 0 && self.n_bytes().saturating_add(grows) > quota.bytes {
            return Err(Full(Limit::MaxRetainedBytes));
        }
        match (old, new) {
            (None, Some(_)) => _ = self.count.fetch_add(1, Ordering::Relaxed),
            (Some(_), None) => _ = self.count.fetch_sub(1, Ordering::Relaxed),
            _ => {}
        }
        match takes >= has {
            true => self.n_bytes.fetch_add(takes - has, Ordering::Relaxed),
            false => self.n_bytes.fetch_sub(has - takes, Ordering::Relaxed),
        };
        Ok(())
    }

    /// Clears a message if it has expired; returns the number of the change.
    pub(crate) fn expire(
        &self,
        store: &Store,
        batch: &mut Batch,
        topic: &str,
        now: u64,
    ) -> Option<u64> {
        let mut shard = self.shard(topic);
        let message = current(&shard, store, topic)?;
        let old = weight(message.as_ref());
        if !message.as_ref().as_ref().is_expired(now) {
            return None; // a newer one has come
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.n_bytes.fetch_sub(old, Ordering::Relaxed);
        Some(self.change(&mut shard, store, batch, topic, None))
    }

    /// Makes a change: from now on it shows, and it is in the batch.
    fn change(
        &self,
        shard: &mut Shard,
        store: &Store,
        batch: &mut Batch,
        topic: &str,
        message: Option<Arc<Message>>,
    ) -> u64 {
        let number = store.new_number();
        write(batch, &keys::retained(topic), message.as_deref());
        match shard.get_mut(topic) {
            Some(known) => {
                known.latest = number;
                known.message = message;
                known.n_open += 1;
            }
            None => {
                let pending = Pending {
                    latest: number,
                    message,
                    n_open: 1,
                    committed: 0,
                };
                shard.insert(topic.into(), pending);
                self.n_pending.fetch_add(1, Ordering::AcqRel);
            }
        }
        self.version.fetch_add(1, Ordering::AcqRel);
        number
    }

    /// The state of the retained messages if all of it is in the store. As long as this stays the
    /// same, what was read from the store since holds.
    pub(crate) fn settled(&self) -> Option<u64> {
        let version = self.version.load(Ordering::Acquire);
        (self.n_pending.load(Ordering::Acquire) == 0).then_some(version)
    }

    /// The message of a topic.
    pub(crate) fn get(&self, store: &Store, topic: &str) -> Option<Arc<Message>> {
        // Under the lock, so that a change is seen either here or in the store.
        current(&self.shard(topic), store, topic)
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
            turn.expire_retained(&topic);
        }
        next
    }

    /// Notes that a change is safe. Two changes of a topic may be committed in the other order
    /// than they were made; then the later one is written again: `true`, and the change is in
    /// the batch under the same number.
    pub(crate) fn commit(&self, topic: &str, number: u64, batch: &mut Batch) -> bool {
        let mut shard = self.shard(topic);
        let Some(known) = shard.get_mut(topic) else {
            return false;
        };
        known.n_open -= 1;
        known.committed = number;
        if known.n_open > 0 {
            return false;
        }
        if known.committed == known.latest {
            let known = shard.remove(topic);
            self.n_pending.fetch_sub(1, Ordering::AcqRel);
            self.version.fetch_add(1, Ordering::AcqRel);
            drop(shard);
            drop(known);
            return false;
        }
        known.n_open = 1;
        write(batch, &keys::retained(topic), known.message.as_deref());
        true
    }
}

/// There is no room for another retained message, or for one so long: by this limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full(pub(crate) Limit);

/// What there may be of retained messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) messages: u64,
    /// Of their stored forms.
    pub(crate) bytes: u64,
}

/// The bytes that a message counts for.
fn weight(message: &Message) -> u64 {
    message.as_ref().stored_size() as u64
}

/// What a topic holds, looked up under the lock of its shard.
fn current(shard: &Shard, store: &Store, topic: &str) -> Option<Arc<Message>> {
    if let Some(pending) = shard.get(topic) {
        return pending.message.clone();
    }
    let stored = store.get(&keys::retained(topic))?;
    Message::restore(&stored).ok().map(Arc::new)
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::mqtt::Qos;

    fn store() -> Store {
        Store::open(Arc::new(gatemq_storage::Memory::new()), 1).expect("memory")
    }

    const QUOTA: Quota = Quota {
        messages: 5,
        bytes: 1_000,
    };

    fn set(retained: &Retained, store: &Store, name: &str, payload: &[u8]) -> Option<u64> {
        try_set(retained, store, name, payload).expect("there is room")
    }

    fn try_set(
        retained: &Retained,
        store: &Store,
        name: &str,
        payload: &[u8],
    ) -> Result<Option<u64>, Full> {
        let message = MessageRef {
            publisher: 0,
            qos: Qos::AtMostOnce,
            retain: true,
            expires_at: u64::MAX,
            topic: name,
            properties: &[],
            payload,
            trace: None,
        };
        let mut batch = Batch::default();
        let make = || Arc::new(message.to_message());
        let number = retained.set(store, &mut batch, &message, make, QUOTA);
        store.submit(batch, crate::store::Ticket::default());
        number
    }

    fn replayed(retained: &Retained, store: &Store, filter: &str) -> Vec<String> {
        let mut replay = retained.replay(filter, None);
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
        assert!(retained.settled().is_some());
    }

    #[test]
    fn their_bytes_are_exact_whatever_is_set_and_cleared_and_have_a_quota() {
        let (retained, store) = (Retained::default(), store());
        let set = |name: &str, n_bytes: usize| {
            let number = try_set(&retained, &store, name, &vec![b'x'; n_bytes]);
            number.map(|number| (name.to_owned(), number.unwrap_or_default()))
        };
        let bytes = || retained.n_bytes();
        let mut changes = vec![set("a", 1).expect("there is room")];
        let head = bytes() - 2;
        changes.push(set("a", 400).expect("there is room"));
        assert_eq!(bytes(), head + 401);
        assert_eq!(set("bb", 600), Err(Full(Limit::MaxRetainedBytes)));
        let unchanged = (head + 401, 1);
        assert_eq!((bytes(), retained.len()), unchanged);
        changes.push(set("bb", 500).expect("there is room"));
        assert_eq!(bytes(), 2 * head + 903);
        assert!(set("a", 600).is_err(), "it is longer than before");
        // The same where they are safe.
        store.close();
        for (name, number) in changes {
            retained.commit(&name, number, &mut Batch::default());
        }
        assert!(retained.settled().is_some());
        assert_eq!(bytes(), Retained::restore(&store).n_bytes(), "as stored");
        set("a", 3).expect("it is shorter than before");
        set("bb", 0).expect("it is a clear");
        assert_eq!((bytes(), retained.len()), (head + 4, 1));
        set("bb", 0).expect("there is nothing to be cleared");
        let mut batch = Batch::default();
        assert!(retained.expire(&store, &mut batch, "a", u64::MAX).is_some());
        assert_eq!((bytes(), retained.len()), (0, 0));
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
        assert!(retained.settled().is_some());
    }

    #[test]
    fn what_is_being_committed_is_never_hidden_by_what_is_stored() {
        let (retained, store) = (Retained::default(), store());
        let old = set(&retained, &store, "a", b"old").expect("a change");
        store.close();
        retained.commit("a", old, &mut Batch::default());
        assert!(retained.settled().is_some());
        let seen = retained.settled();
        let new = set(&retained, &store, "a", b"new").expect("a change");
        assert_eq!(retained.settled(), None, "the store has the old one");
        let now = |retained: &Retained| {
            let message = retained.get(&store, "a").expect("it is there");
            message.as_ref().as_ref().payload.to_vec()
        };
        assert_eq!(now(&retained), b"new");
        retained.commit("a", new, &mut Batch::default());
        assert_ne!(retained.settled(), seen, "what was read before may be old");
    }

    #[test]
    fn only_what_has_expired_is_cleared_and_a_clear_in_doubt_is_made_again() {
        let (retained, store) = (Retained::default(), store());
        set(&retained, &store, "a", b"1");
        let mut batch = Batch::default();
        assert_eq!(retained.expire(&store, &mut batch, "a", u64::MAX - 1), None);
        assert_eq!(retained.len(), 1);
        assert!(retained.expire(&store, &mut batch, "a", u64::MAX).is_some());
        assert_eq!(retained.len(), 0);
        assert!(set(&retained, &store, "a", b"").is_some(), "not safe yet");
        assert_eq!(retained.len(), 0);
        assert_eq!(set(&retained, &store, "b", b""), None);
    }
}
