//! The engine that keeps everything in memory, in one ordered tree behind a lock.
//!
//! A scan holds the lock for one page at a time. If it needs a second page it registers as a
//! snapshot, and from then on each commit leaves the values that it replaces in the `undo` list,
//! where the scan finds what it would have seen. With the last snapshot the list is dropped.

mod record;
mod snapshot;

use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use self::snapshot::{Page, Snapshot, Snapshots, State};
use crate::engine::{check_batches, check_keys};
use crate::{Batch, Engine, Error, Op};

/// An engine that forgets everything when the process ends.
#[derive(Default)]
pub struct Memory {
    state: RwLock<State>,
    /// Taken while `state` is held, never the other way around.
    snapshots: Mutex<Snapshots>,
}

// === impl Memory ===

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Engine for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        check_keys([key])?;
        let state = self.state.read();
        let record = state.records.get(key);
        Ok(record.map(|record| Bytes::copy_from_slice(record.value())))
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        check_keys([start, end])?;
        if start >= end {
            return Ok(());
        }
        let mut page = Page::default();
        let mut snapshot = None;
        {
            let state = self.state.read();
            state.read(&mut page, Bound::Included(start), end, state.version);
            if page.has_more {
                snapshot = Some(Snapshot::new(self, state.version));
            }
        }
        loop {
            if page.iter().try_for_each(|(k, v)| visit(k, v)).is_break() {
                return Ok(());
            }
            let (Some(snapshot), Some(last)) = (&snapshot, page.take_last()) else {
                return Ok(());
            };
            let state = self.state.read();
            state.read(&mut page, Bound::Excluded(&last), end, snapshot.version);
        }
    }

    fn last(&self, start: &[u8], end: &[u8]) -> Result<Option<(Bytes, Bytes)>, Error> {
        check_keys([start, end])?;
        if start >= end {
            return Ok(None);
        }
        let state = self.state.read();
        let range = (Bound::Included(start), Bound::Excluded(end));
        let record = state.records.range::<[u8], _>(range).next_back();
        Ok(record.map(|record| {
            let copy = Bytes::copy_from_slice;
            (copy(record.key()), copy(record.value()))
        }))
    }

    fn commit(&self, batches: &[Batch]) -> Result<(), Error> {
        check_batches(batches)?;
        let mut state = self.state.write();
        let newest = self.snapshots.lock().newest();
        state.begin(newest);
        for op in batches.iter().flat_map(Batch::iter) {
            match op {
                Op::Put { key, value } => state.put(key, value),
                Op::Delete { key } => state.delete(key),
                Op::DeleteRange { start, end } => state.delete_range(start, end),
                Op::DeleteUnlessAny { key, start, end } => {
                    if !state.any(start, end) {
                        state.delete(key);
                    }
                }
            }
        }
        Ok(())
    }

    fn is_volatile(&self) -> bool {
        true
    }
}
