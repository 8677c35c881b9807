//! The tree with its versions: what a commit changes, and what a scan that began before it sees.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::Memory;
use super::record::Record;

/// The entries, and what scans that are under way need of older versions.
#[derive(Default)]
pub(super) struct State {
    pub(super) records: BTreeSet<Record>,
    /// How many commits there were.
    pub(super) version: u64,
    /// By key: what the commit that made the version replaced; versions ascend.
    undo: BTreeMap<Box<[u8]>, Vec<Replaced>>,
    /// The newest version that a scan reads.
    newest: Option<u64>,
}

/// The version that replaced an entry, and what was there before.
type Replaced = (u64, Option<Record>);

/// The versions that scans read, with the number of scans.
#[derive(Default)]
pub(super) struct Snapshots(BTreeMap<u64, usize>);

/// Keeps a version readable.
pub(super) struct Snapshot<'a> {
    memory: &'a Memory,
    pub(super) version: u64,
}

/// A copy of a few entries in order, in one buffer.
#[derive(Default)]
pub(super) struct Page {
    bytes: Vec<u8>,
    /// Where keys and values end.
    ends: Vec<(usize, usize)>,
    /// Whether entries follow after the last one.
    pub(super) has_more: bool,
    /// How many entries fill it.
    room: usize,
}

/// Entries of the first page: many scans look at no more.
const FIRST_ENTRIES: usize = 4;
/// Each page is larger than the one before, up to this.
const PAGE_ENTRIES: usize = 128;
const PAGE_BYTES: usize = 64 << 10;

// === impl State ===

impl State {
    /// Begins the next version. `newest` is the newest version that a scan reads.
    pub(super) fn begin(&mut self, newest: Option<u64>) {
        self.version += 1;
        self.newest = newest;
    }

    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) {
        let replaced = self.records.replace(Record::new(key, value));
        self.remember(key, replaced);
    }

    pub(super) fn delete(&mut self, key: &[u8]) {
        if let Some(replaced) = self.records.take(key) {
            self.remember(key, Some(replaced));
        }
    }

    pub(super) fn delete_range(&mut self, start: &[u8], end: &[u8]) {
        if start >= end {
            return;
        }
        let range = Record::new(start, &[])..Record::new(end, &[]);
        if self.newest.is_none() {
            return self.records.extract_if(range, |_| true).for_each(drop);
        }
        let removed: Vec<_> = self.records.extract_if(range, |_| true).collect();
        for record in removed {
            let key: Box<[u8]> = record.key().into();
            self.remember(&key, Some(record));
        }
    }

    /// Whether there is a key in a range.
    pub(super) fn any(&self, start: &[u8], end: &[u8]) -> bool {
        let range = (Bound::Included(start), Bound::Excluded(end));
        start < end && self.records.range::<[u8], _>(range).next().is_some()
    }

    /// Fills the page with what a version has in a range.
    pub(super) fn read(&self, page: &mut Page, from: Bound<&[u8]>, end: &[u8], version: u64) {
        page.clear();
        let range = (from, Bound::Excluded(end));
        let mut records = self.records.range::<[u8], _>(range).peekable();
        let mut undo = self.undo.range::<[u8], _>(range).peekable();
        loop {
            let order = match (records.peek(), undo.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(record), Some((key, _))) => record.key().cmp(key),
            };
            if page.is_full() {
                page.has_more = true;
                return;
            }
            let current = (order != Ordering::Greater)
                .then(|| records.next())
                .flatten();
            let earlier = (order != Ordering::Less).then(|| undo.next()).flatten();
            let replaced = earlier.and_then(|(_, list)| {
                let mut list = list.iter();
                list.find(|(made, _)| *made > version)
            });
            let seen = replaced.map_or(current, |(_, record)| record.as_ref());
            if let Some(record) = seen {
                page.push(record);
            }
        }
    }

    /// Keeps what this version replaced, if a scan would look for it.
    fn remember(&mut self, key: &[u8], replaced: Option<Record>) {
        let Some(newest) = self.newest else { return };
        if let Some(list) = self.undo.get_mut(key) {
            if list.last().is_none_or(|(made, _)| newest >= *made) {
                list.push((self.version, replaced));
            }
        } else {
            self.undo.insert(key.into(), vec![(self.version, replaced)]);
        }
    }
}

// === impl Snapshots ===

impl Snapshots {
    pub(super) fn newest(&self) -> Option<u64> {
        self.0.last_key_value().map(|(version, _)| *version)
    }
}

// === impl Snapshot ===

impl<'a> Snapshot<'a> {
    /// Registers a version. The caller holds the state, so that it is still the latest one.
    pub(super) fn new(memory: &'a Memory, version: u64) -> Self {
        *memory.snapshots.lock().0.entry(version).or_default() += 1;
        Self { memory, version }
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        let mut state = self.memory.state.write();
        let mut snapshots = self.memory.snapshots.lock();
        if let Some(scans) = snapshots.0.get_mut(&self.version) {
            *scans -= 1;
            if *scans == 0 {
                snapshots.0.remove(&self.version);
            }
        }
        if snapshots.0.is_empty() {
            state.undo = BTreeMap::new();
        }
    }
}

// === impl Page ===

impl Page {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |&(key, value)| {
            let entry = (&self.bytes[start..key], &self.bytes[key..value]);
            start = value;
            entry
        })
    }

    /// The last key, if the next page begins after it.
    pub(super) fn take_last(&mut self) -> Option<Vec<u8>> {
        self.has_more.then_some(())?;
        self.iter().last().map(|(key, _)| key.to_vec())
    }

    fn push(&mut self, record: &Record) {
        self.bytes.extend_from_slice(record.key());
        let key = self.bytes.len();
        self.bytes.extend_from_slice(record.value());
        self.ends.push((key, self.bytes.len()));
    }

    fn is_full(&self) -> bool {
        self.ends.len() >= self.room || self.bytes.len() >= PAGE_BYTES
    }

    /// Makes it ready for what follows.
    fn clear(&mut self) {
        self.room = (self.room * 4).clamp(FIRST_ENTRIES, PAGE_ENTRIES);
        self.bytes.clear();
        self.ends.clear();
        self.has_more = false;
    }
}
