//! What is known of the log without reading the disk: its bounds, and the last entries.
//!
//! Every entry that is not safe yet is here; of the others as many as fit, since followers mostly
//! want the newest. Pure.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::consensus::raft::{Entry, LogId, Vote};

/// The log as its writer sees it, which is ahead of the disk.
#[derive(Default)]
pub(super) struct Tail {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) is_committed_unsaved: bool,
    pub(super) purged: Option<LogId>,
    /// The id of the last entry; of the last purged one if there is none.
    pub(super) last: Option<LogId>,
    /// The last index in the snapshot that was submitted last.
    pub(super) snapshot: Option<u64>,
    /// A purge that waits for its snapshot.
    pub(super) owed_purge: Option<LogId>,
    /// Counts truncations: what was appended before one says nothing about later entries.
    pub(super) epoch: u64,
    /// The last entries with their sizes on disk.
    entries: BTreeMap<u64, (Entry, usize)>,
    bytes: usize,
    /// Entries up to this index are safe.
    safe: Option<u64>,
}

/// Entries that are safe are kept up to this many bytes.
const BYTES: usize = 8 << 20;
/// Entries that are safe are kept up to this many.
const ENTRIES: usize = 4_096;

impl Tail {
    pub(super) fn push(&mut self, entry: Entry, size: usize) {
        self.last = Some(entry.log_id);
        self.bytes += size;
        let replaced = self.entries.insert(entry.log_id.index, (entry, size));
        self.bytes -= replaced.map_or(0, |(_, size)| size);
    }

    /// Entries up to `last` that were appended in an epoch are on disk.
    pub(super) fn made_safe(&mut self, epoch: u64, last: u64) {
        if epoch == self.epoch {
            self.safe = self.safe.max(Some(last));
            self.evict();
        }
    }

    /// Removes the entries from an index on; `before` is the id of the one before it, if that is
    /// there.
    pub(super) fn truncate(&mut self, index: u64, before: Option<LogId>) {
        if self.last.is_none_or(|last| last.index < index) {
            return;
        }
        self.epoch += 1;
        let removed = self.entries.split_off(&index);
        self.bytes -= removed.values().map(|(_, size)| size).sum::<usize>();
        self.last = before.or(self.purged);
        self.safe = self.safe.min(index.checked_sub(1));
    }

    pub(super) fn purge(&mut self, up_to: LogId) {
        self.purged = self.purged.max(Some(up_to));
        self.last = self.last.max(self.purged);
        let kept = self.entries.split_off(&(up_to.index + 1));
        let removed = std::mem::replace(&mut self.entries, kept);
        self.bytes -= removed.values().map(|(_, size)| size).sum::<usize>();
    }

    /// Which entries of `start..end` have to be read from the disk, and those that follow them.
    pub(super) fn find(&self, start: u64, end: u64) -> (Range<u64>, Vec<(Entry, usize)>) {
        let first = self.purged.map_or(0, |purged| purged.index + 1);
        let after_last = self.last.map_or(0, |last| last.index + 1);
        let start = start.max(first);
        let end = end.min(after_last);
        if start >= end {
            return (0..0, Vec::new());
        }
        let in_memory = self.entries.keys().next().map_or(end, |first| *first);
        let here = self.entries.range(start..end);
        let here = here.map(|(_, entry)| entry.clone()).collect();
        (start..end.min(in_memory).max(start), here)
    }

    fn evict(&mut self) {
        while self.bytes > BYTES || self.entries.len() > ENTRIES {
            let Some(first) = self.entries.first_entry() else {
                return;
            };
            if Some(*first.key()) > self.safe {
                return;
            }
            let (_, size) = first.remove();
            self.bytes -= size;
        }
    }
}
