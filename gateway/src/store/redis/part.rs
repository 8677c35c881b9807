//! Sorts the changes of many batches by session and by shard of the retained messages: what one
//! fenced call in Redis is to do.
//!
//! Changes of a session are gathered by key, so that only the last of each counts: first go what
//! is removed, then comes what is put. So a call has the effect of its batches one after the
//! other, whatever they hold, and can be carried out again.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Add, AddAssign};

use foldhash::fast::RandomState;
use gatemq_storage::{Batch, Op};

use super::super::keys;
use super::layout;

/// The changes of some batches.
#[derive(Debug, Default)]
pub(super) struct Round<'a> {
    pub(super) sessions: HashMap<u64, Part<'a>, RandomState>,
    pub(super) retained: BTreeMap<u8, Vec<Retain<'a>>>,
    /// What the next change of a retained message is known by, with its topic.
    once: Option<(&'a [u8], &'a [u8])>,
    /// Whose it is, with its topic.
    whose: Option<(&'a [u8], Whose)>,
    /// Operations that have no meaning here, which is a mistake of the caller.
    pub(super) n_foreign: usize,
}

/// Of which session a change of a retained message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) session: u64,
    /// How long it is certain that this gateway has that, in milliseconds that the machine has been up.
    pub(crate) until: u64,
}

/// A change of a retained message: set, or with `None` cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retain<'a> {
    pub(super) topic: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
    /// What it is known by if it is to be made once, whoever asks for it; or else empty.
    pub(super) once: &'a [u8],
    /// `None` if it is no session's.
    pub(super) whose: Option<Whose>,
    /// Why it is not to be made any more, if so.
    pub(super) withheld: Option<Withheld>,
}

/// Why a change is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withheld {
    /// Its session is another gateway's.
    Elsewhere,
    /// It does not arrive in time.
    TooSlow,
}

/// The changes of one session.
#[derive(Debug, Default)]
pub(super) struct Part<'a> {
    /// Its record; `None` within where it ends.
    pub(super) record: Option<Option<&'a [u8]>>,
    pub(super) will: Option<Option<&'a [u8]>>,
    pub(super) filters: Entries<'a>,
    pub(super) received: Entries<'a>,
    pub(super) queue: Queue<'a>,
    /// What QoS 2 messages that were put into the queue are known by, with their seqs.
    pub(super) recent: Vec<(u64, &'a [u8])>,
    /// Up to where its queue may be sent from now on.
    pub(super) edge: Option<u64>,
}

/// Entries of a hash or a set.
#[derive(Debug, Default)]
pub(super) struct Entries<'a> {
    /// All that was there goes first.
    pub(super) is_cleared: bool,
    pub(super) changes: BTreeMap<&'a [u8], Option<&'a [u8]>>,
}

/// Entries of a queue.
#[derive(Debug, Default)]
pub(super) struct Queue<'a> {
    pub(super) is_cleared: bool,
    /// What goes: from a seq up to but not including another.
    pub(super) deleted: Vec<(u64, u64)>,
    /// What comes after that, in the order of the seqs.
    pub(super) puts: Vec<(u64, &'a [u8])>,
}

/// What of a key belongs to.
enum Place<'a> {
    Session(u64),
    Filter(u64, &'a [u8]),
    Queue(u64, u64),
    Received(u64, &'a [u8]),
    Recent(u64, u64),
    Edge(u64),
    Will(u64),
    Retained(&'a [u8]),
    Once(&'a [u8]),
    Whose(&'a [u8]),
}

// === impl Whose ===

impl Whose {
    /// As it is in a batch.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.session) << 64 | u128::from(self.until)).to_be_bytes()
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (session, until) = bytes.split_first_chunk()?;
        Some(Self {
            session: u64::from_be_bytes(*session),
            until: u64::from_be_bytes(until.try_into().ok()?),
        })
    }
}

// === impl Round ===

impl<'a> Round<'a> {
    /// Adds the changes of a batch.
    pub(super) fn add(&mut self, batch: &'a Batch) {
        for op in batch.iter() {
            let is_known = match op {
                Op::Put { key, value } => self.change(key, Some(value)),
                Op::Delete { key } => self.change(key, None),
                Op::DeleteRange { start, end } => self.delete_range(start, end),
                Op::DeleteUnlessAny { .. } => false,
            };
            self.n_foreign += usize::from(!is_known);
        }
    }

    fn change(&mut self, key: &'a [u8], value: Option<&'a [u8]>) -> bool {
        let Some(place) = Place::of(key) else {
            return false;
        };
        match place {
            Place::Session(number) => self.part(number).record = Some(value),
            Place::Will(number) => self.part(number).will = Some(value),
            Place::Filter(number, filter) => {
                self.part(number).filters.changes.insert(filter, value);
            }
            Place::Received(number, id) => {
                self.part(number).received.changes.insert(id, value);
            }
            Place::Queue(number, seq) => self.part(number).queue.change(seq, value),
            Place::Recent(number, seq) => {
                let Some(value) = value else { return false };
                self.part(number).recent.push((seq, value));
            }
            Place::Edge(number) => {
                let edge = value.and_then(|value| Some(u64::from_be_bytes(value.try_into().ok()?)));
                let Some(edge) = edge else { return false };
                self.part(number).edge = Some(edge);
            }
            Place::Retained(topic) => {
                let once = self.once.take().filter(|(of, _)| *of == topic);
                let whose = self.whose.take().filter(|(of, _)| *of == topic);
                let shard = self.retained.entry(layout::shard_of(topic)).or_default();
                shard.push(Retain {
                    topic,
                    value,
                    once: once.map_or(&[], |(_, once)| once),
                    whose: whose.map(|(_, whose)| whose),
                    withheld: None,
                });
            }
            Place::Once(topic) => {
                let Some(value) = value else { return false };
                self.once = Some((topic, value));
            }
            Place::Whose(topic) => {
                let Some(whose) = value.and_then(Whose::of_bytes) else {
                    return false;
                };
                self.whose = Some((topic, whose));
            }
        }
        true
    }

    /// Removes all of a kind, or part of a queue.
    fn delete_range(&mut self, start: &[u8], end: &[u8]) -> bool {
        let (Some(kind), Some(number)) = (start.first().copied(), keys::number(start)) else {
            return false;
        };
        let is_whole = {
            let (first, bound) = keys::of_session(kind, number);
            start == &first[..] && end == &bound[..]
        };
        match kind {
            keys::FILTER if is_whole => self.part(number).filters.clear(),
            keys::RECEIVED if is_whole => self.part(number).received.clear(),
            keys::QUEUE if is_whole => self.part(number).queue.clear(),
            keys::QUEUE if start.len() == 17 && end.len() == 17 && start[..9] == end[..9] => {
                let (from, to) = (keys::seq(start), keys::seq(end));
                self.part(number).queue.delete(from, to);
            }
            _ => return false,
        }
        true
    }

    fn part(&mut self, number: u64) -> &mut Part<'a> {
        self.sessions.entry(number).or_default()
    }
}

// === impl Part ===

impl Part<'_> {
    /// Whether the session ends with it.
    pub(super) fn is_end(&self) -> bool {
        self.record == Some(None)
    }
}

impl<'a> Entries<'a> {
    fn clear(&mut self) {
        self.is_cleared = true;
        self.changes.clear();
    }

    /// What goes and is not put again; nothing if all goes.
    pub(super) fn deleted(&self) -> impl Iterator<Item = &'a [u8]> {
        let deleted = self.changes.iter().filter(|(_, value)| value.is_none());
        deleted.map(|(entry, _)| *entry)
    }

    pub(super) fn puts(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let puts = self.changes.iter();
        puts.filter_map(|(entry, value)| Some((*entry, (*value)?)))
    }
}

impl<'a> Queue<'a> {
    fn clear(&mut self) {
        *self = Self {
            is_cleared: true,
            ..Self::default()
        };
    }

    fn change(&mut self, seq: u64, value: Option<&'a [u8]>) {
        let Some(value) = value else {
            return self.delete(seq, seq.saturating_add(1));
        };
        // Almost always it comes at the end.
        match self.puts.last() {
            Some((last, _)) if *last >= seq => {
                match self.puts.binary_search_by_key(&seq, |(seq, _)| *seq) {
                    Ok(at) => self.puts[at].1 = value,
                    Err(at) => self.puts.insert(at, (seq, value)),
                }
            }
            _ => self.puts.push((seq, value)),
        }
    }

    fn delete(&mut self, from: u64, to: u64) {
        if to <= from {
            return;
        }
        if self.puts.last().is_some_and(|(last, _)| *last >= from) {
            let start = self.puts.partition_point(|(seq, _)| *seq < from);
            let end = self.puts.partition_point(|(seq, _)| *seq < to);
            self.puts.drain(start..end);
        }
        match self.deleted.last_mut() {
            Some((_, end)) if *end == from => *end = to,
            _ => self.deleted.push((from, to)),
        }
    }
}

impl<'a> Place<'a> {
    fn of(key: &'a [u8]) -> Option<Self> {
        let (kind, rest) = key.split_first()?;
        match *kind {
            keys::RETAINED => return Some(Self::Retained(rest)),
            keys::ONCE => return Some(Self::Once(rest)),
            keys::WHOSE => return Some(Self::Whose(rest)),
            _ => {}
        }
        let number = keys::number(key)?;
        let rest = keys::rest(key);
        match *kind {
            keys::SESSION if rest.is_empty() => Some(Self::Session(number)),
            keys::WILL if rest.is_empty() => Some(Self::Will(number)),
            keys::EDGE if rest.is_empty() => Some(Self::Edge(number)),
            keys::FILTER => Some(Self::Filter(number, rest)),
            keys::QUEUE if rest.len() == 8 => Some(Self::Queue(number, keys::seq(key))),
            keys::RECENT if rest.len() == 8 => Some(Self::Recent(number, keys::seq(key))),
            keys::RECEIVED if rest.len() == 2 => Some(Self::Received(number, rest)),
            _ => None,
        }
    }
}

/// The sessions and the retained topics that a batch changes, in order, for the verdict on it.
pub(super) fn touched(batch: &Batch) -> impl Iterator<Item = Touched<'_>> {
    batch.iter().filter_map(|op| match op {
        Op::Put { key, .. } | Op::Delete { key } => match key.split_first()? {
            (&keys::RETAINED, topic) => Some(Touched::Retained(topic)),
            (&(keys::ONCE | keys::WHOSE), _) => None,
            _ => Some(Touched::Session(keys::number(key)?)),
        },
        Op::DeleteRange { start, .. } => Some(Touched::Session(keys::number(start)?)),
        Op::DeleteUnlessAny { .. } => None,
    })
}

/// How much of a batch is to be retained.
pub(super) fn retained(batch: &Batch) -> Size {
    let mut size = Size::default();
    for op in batch.iter() {
        let (key, n_bytes) = match op {
            Op::Put { key, value } => (key, key.len() + value.len()),
            Op::Delete { key } => (key, key.len()),
            Op::DeleteRange { .. } | Op::DeleteUnlessAny { .. } => continue,
        };
        if key.first() == Some(&keys::RETAINED) {
            size += Size { n: 1, n_bytes };
        }
    }
    size
}

/// How many changes there are, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub(super) n: usize,
    pub(super) n_bytes: usize,
}

impl Add for Size {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            n: self.n + more.n,
            n_bytes: self.n_bytes + more.n_bytes,
        }
    }
}

impl AddAssign for Size {
    fn add_assign(&mut self, more: Self) {
        *self = *self + more;
    }
}

/// One of what a batch changes.
pub(super) enum Touched<'a> {
    Session(u64),
    Retained(&'a [u8]),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries a part out on what a queue holds, as the script does.
    fn apply<'a>(stored: &mut BTreeMap<u64, &'a [u8]>, queue: &Queue<'a>) {
        if queue.is_cleared {
            stored.clear();
        }
        for (from, to) in &queue.deleted {
            stored.retain(|seq, _| seq < from || seq >= to);
        }
        stored.extend(queue.puts.iter().copied());
    }

    /// A small generator of numbers, so that a failure can be repeated.
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn a_part_does_what_its_batches_do_one_after_the_other() {
        let mut state = 0x1234_5678_9abc_def1;
        for _ in 0..2_000 {
            let mut batch = Batch::new();
            let mut expected: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
            let mut before: BTreeMap<u64, &[u8]> = BTreeMap::new();
            for seq in 0..4 {
                before.insert(seq, b"old");
                expected.insert(seq, b"old".to_vec());
            }
            for _ in 0..random(&mut state) % 12 {
                let (seq, to) = (random(&mut state) % 8, random(&mut state) % 9);
                let value = random(&mut state).to_be_bytes();
                match random(&mut state) % 10 {
                    0 => {
                        let (start, end) = keys::of_session(keys::QUEUE, 7);
                        batch.delete_range(&start, &end);
                        expected.clear();
                    }
                    1 => {
                        batch.delete_range(&keys::queue(7, seq), &keys::queue(7, to));
                        expected.retain(|at, _| *at < seq || *at >= to);
                    }
                    2..=4 => {
                        batch.delete(&keys::queue(7, seq));
                        expected.remove(&seq);
                    }
                    _ => {
                        batch.put(&keys::queue(7, seq), &value);
                        expected.insert(seq, value.to_vec());
                    }
                }
            }
            let mut round = Round::default();
            round.add(&batch);
            let part = round.sessions.remove(&7).unwrap_or_default();
            assert!(part.queue.puts.is_sorted_by_key(|(seq, _)| *seq));
            for _ in 0..2 {
                apply(&mut before, &part.queue); // twice is as good as once
                assert!(
                    before
                        .iter()
                        .map(|(a, b)| (*a, *b))
                        .eq(expected.iter().map(|(seq, value)| (*seq, &value[..]))),
                    "{batch:?}"
                );
            }
        }
    }

    #[test]
    fn the_last_change_of_a_key_counts() {
        let mut batch = Batch::new();
        batch.put(&keys::filter(7, "a/#"), b"1");
        batch.put(&keys::filter(7, "b"), b"1");
        batch.delete(&keys::filter(7, "b"));
        batch.put(&keys::session(7), b"record");
        batch.put(&keys::will(8), b"will");
        batch.delete(&keys::will(8));
        batch.delete(&keys::session(8));
        let whose = Whose {
            session: 7,
            until: 9,
        };
        batch.put(&keys::whose("a/b"), &whose.to_bytes());
        batch.put(&keys::retained("a/b"), b"x");
        batch.delete(&keys::retained("a/b"));
        let mut round = Round::default();
        round.add(&batch);
        let part = &round.sessions[&7];
        assert_eq!(part.record, Some(Some(&b"record"[..])));
        assert!(!part.is_end());
        assert!(part.filters.puts().eq([(&b"a/#"[..], &b"1"[..])]));
        assert!(part.filters.deleted().eq([&b"b"[..]]));
        assert!(round.sessions[&8].is_end());
        assert_eq!(round.sessions[&8].will, Some(None));
        let retained = &round.retained[&layout::shard_of(b"a/b")];
        assert_eq!(retained.len(), 2, "each has an outcome");
        assert_eq!((retained[0].whose, retained[1].whose), (Some(whose), None));
        assert_eq!(round.n_foreign, 0);
    }

    #[test]
    fn what_has_no_place_in_redis_is_counted() {
        let mut batch = Batch::new();
        batch.put(&keys::body(1), b"x");
        batch.delete_unless_any(&keys::body(1), b"a", b"b");
        batch.delete_range(b"q", b"r");
        batch.delete(b"");
        let mut round = Round::default();
        round.add(&batch);
        assert_eq!(round.n_foreign, 4);
        assert!(round.sessions.is_empty());
    }
}
