//! How a snapshot is stored: parts first, then, in one commit, the head that makes them count.
//!
//! The parts of a snapshot are written beside those of the last one, in several commits between
//! which entries of the log find room. The head names its generation; the commit of the head also
//! removes the parts of all others. Parts without a head are what a crash has left, and are
//! removed with the next head.

use bytes::{Buf, BufMut};
use gatemq_proto::cluster::prost::Message;
use gatemq_proto::cluster::raft as proto;
use gatemq_storage::Batch;

use super::{Closed, Store, keys, put_purge};
use crate::consensus::raft::SnapshotMeta;
use crate::consensus::wire;
use crate::state::State;

/// The last snapshot, and what the next one is called. Locked while one is being stored, so that
/// there is one at a time.
pub(super) struct Saving {
    pub(super) next_generation: u64,
    pub(super) last: Option<SnapshotMeta>,
}

/// The record that makes parts a snapshot.
pub(super) struct Head {
    pub(super) generation: u64,
    pub(super) n_parts: u32,
    pub(super) meta: SnapshotMeta,
}

/// Parts are committed when they have this many bytes.
const COMMIT_BYTES: usize = 1 << 20;

impl Store {
    /// Stores a snapshot in the place of the last one (blocking); does nothing if the last one is
    /// as new.
    pub(crate) fn save_snapshot(&self, meta: &SnapshotMeta, state: &State) -> Result<(), Closed> {
        let mut saving = self.shared.saving.lock();
        let is_newer = saving
            .last
            .as_ref()
            .is_none_or(|last| meta.last_log_id > last.last_log_id);
        if !is_newer {
            return Ok(());
        }
        let generation = saving.next_generation;
        saving.next_generation += 1;
        let n_parts = self.save_parts(generation, state)?;
        let head = Head {
            generation,
            n_parts,
            meta: meta.clone(),
        };
        self.save_head(&head)?;
        saving.last = Some(head.meta);
        Ok(())
    }

    fn save_parts(&self, generation: u64, state: &State) -> Result<u32, Closed> {
        let mut n_parts = 0;
        let mut batch = Batch::new();
        for part in state.parts() {
            batch.put(&keys::part(generation, n_parts), &part.encode_to_vec());
            n_parts += 1;
            if batch.bytes() >= COMMIT_BYTES {
                let batch = std::mem::take(&mut batch);
                self.submit(batch).blocking_recv().map_err(|_| Closed)?;
            }
        }
        self.submit(batch).blocking_recv().map_err(|_| Closed)?;
        Ok(n_parts)
    }

    fn save_head(&self, head: &Head) -> Result<(), Closed> {
        let mut batch = Batch::new();
        batch.put(keys::SNAPSHOT, &head.encode());
        let own = keys::part(head.generation, 0);
        let end = keys::part(head.generation, head.n_parts);
        batch.delete_range(keys::ALL_PARTS.0, &own);
        batch.delete_range(&end, keys::ALL_PARTS.1);
        let done = {
            // Held until the batch is submitted: a purge that comes later finds the snapshot.
            let mut tail = self.shared.tail.lock();
            let index = head.meta.last_log_id.map(|last| last.index);
            tail.snapshot = tail.snapshot.max(index);
            if let Some(owed) = tail.owed_purge.take_if(|owed| Some(owed.index) <= index) {
                put_purge(&mut batch, &owed);
            }
            self.submit(batch)
        };
        done.blocking_recv().map_err(|_| Closed)
    }
}

impl Head {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_u64(self.generation);
        bytes.put_u32(self.n_parts);
        bytes.put_slice(&wire::snapshot_meta(&self.meta).encode_to_vec());
        bytes
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let generation = bytes.try_get_u64().ok()?;
        let n_parts = bytes.try_get_u32().ok()?;
        let meta = proto::SnapshotMeta::decode(bytes).ok()?;
        Some(Self {
            generation,
            n_parts,
            meta: wire::to_snapshot_meta(meta),
        })
    }
}
