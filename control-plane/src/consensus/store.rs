//! What a node of the control plane keeps on disk: who it is, its vote, the log, a snapshot.
//!
//! One thread commits everything, in the order in which it was submitted, and whoever has to know
//! that something is safe is told after the commit and never before. A commit that fails ends the
//! process: nobody knows what is on the disk until it is read anew. So after a crash the disk has
//! what the submissions up to some point give, and at least all that was reported as safe.
//!
//! openraft purges the log that a received snapshot covers before that snapshot is stored. A purge
//! beyond the stored snapshot is therefore only remembered, and done in the commit that stores the
//! snapshot: what is on disk always makes a whole state.

mod identity;
mod keys;
mod open;
mod snapshot;
mod tail;

use std::ops::{Bound, ControlFlow, RangeBounds};
use std::sync::Arc;

use gatemq_proto::cluster::prost::Message;
use gatemq_proto::cluster::raft as proto;
use gatemq_storage::{Batch, Committer, Engine, Error};
use openraft::storage::LogFlushed;
use parking_lot::Mutex;
use tokio::sync::oneshot;

pub(crate) use self::identity::{CLUSTER_ID, Identity};
pub(crate) use self::open::Opened;
pub use self::open::Unreadable;
use self::snapshot::Saving;
use self::tail::Tail;
use super::raft::{Entry, LogId, TypeConfig, Vote};
use super::wire;

/// The store of a node. A cheap clone.
#[derive(Clone)]
pub(crate) struct Store {
    shared: Arc<Shared>,
}

/// What is done when something is safe.
enum Ticket {
    /// Entries of the log: in which epoch of the tail, and up to which index.
    Append {
        epoch: u64,
        last: u64,
        flushed: Box<LogFlushed<TypeConfig>>,
    },
    Done(oneshot::Sender<()>),
    Nothing,
}

struct Shared {
    engine: Arc<dyn Engine>,
    committer: Committer<Ticket>,
    tail: Arc<Mutex<Tail>>,
    saving: Mutex<Saving>,
}

/// Nothing can be stored any more: a commit failed, or the store is closed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the store is closed")]
pub(crate) struct Closed;

/// Why entries of the log cannot be read back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Engine(#[from] Error),
    #[error("entry {index} of the log cannot be read: {why}")]
    Entry { index: u64, why: String },
}

// === impl Store ===

/// The cluster that the node of an engine is of, if it is of one; what cannot be read says nothing
/// here, and ends the start later.
pub(crate) fn cluster_of(engine: &dyn Engine) -> Option<bytes::Bytes> {
    let stored = engine.get(keys::IDENTITY).ok()??;
    Some(Identity::decode(&stored)?.cluster_id)
}

impl Store {
    /// `on_failure` is called once if a commit fails, and should end the process.
    fn new(
        engine: Arc<dyn Engine>,
        tail: Tail,
        saving: Saving,
        on_failure: impl FnOnce(Error) + Send + 'static,
    ) -> Self {
        let tail = Arc::new(Mutex::new(tail));
        let of_committer = Arc::clone(&tail);
        let complete = move |tickets: Vec<Ticket>| {
            for ticket in tickets {
                ticket.complete(&of_committer);
            }
        };
        let committer = Committer::start(Arc::clone(&engine), complete, on_failure);
        Self {
            shared: Arc::new(Shared {
                engine,
                committer,
                tail,
                saving: Mutex::new(saving),
            }),
        }
    }

    /// Waits (blocking) until all that was submitted is safe; takes nothing any more.
    pub(crate) fn close(&self) {
        self.shared.committer.close();
    }

    /// Stores who this node is, before it takes part in anything.
    pub(crate) async fn save_identity(&self, identity: &Identity) -> Result<(), Closed> {
        let mut batch = Batch::new();
        batch.put(keys::IDENTITY, &identity.encode());
        self.submit_and_wait(batch).await
    }

    pub(crate) async fn save_vote(&self, vote: Vote) -> Result<(), Closed> {
        let mut batch = Batch::new();
        batch.put(keys::VOTE, &wire::vote(&vote).encode_to_vec());
        let done = {
            let mut tail = self.shared.tail.lock();
            tail.vote = Some(vote);
            self.submit(batch)
        };
        done.await.map_err(|_| Closed)
    }

    pub(crate) fn vote(&self) -> Option<Vote> {
        self.shared.tail.lock().vote
    }

    /// Remembers how far the log is committed. It is stored along with the next entries: a start
    /// that finds an older one only has less to apply at once.
    pub(crate) fn set_committed(&self, committed: Option<LogId>) {
        let mut tail = self.shared.tail.lock();
        if committed > tail.committed {
            tail.committed = committed;
            tail.is_committed_unsaved = true;
        }
    }

    pub(crate) fn committed(&self) -> Option<LogId> {
        self.shared.tail.lock().committed
    }

    /// How far the log is purged, and its last id.
    pub(crate) fn bounds(&self) -> (Option<LogId>, Option<LogId>) {
        let tail = self.shared.tail.lock();
        (tail.purged, tail.last)
    }

    /// Appends entries, which can be read at once, and calls back when they are safe.
    pub(crate) fn append(
        &self,
        entries: impl IntoIterator<Item = Entry>,
        flushed: LogFlushed<TypeConfig>,
    ) {
        let mut batch = Batch::new();
        // Held until the batch is submitted: the order of the tail is the order on the disk.
        let mut tail = self.shared.tail.lock();
        for entry in entries {
            let bytes = wire::entry(&entry).encode_to_vec();
            batch.put(&keys::log(entry.log_id.index), &bytes);
            tail.push(entry, bytes.len());
        }
        if std::mem::take(&mut tail.is_committed_unsaved)
            && let Some(committed) = &tail.committed
        {
            let bytes = wire::log_id(committed).encode_to_vec();
            batch.put(keys::COMMITTED, &bytes);
        }
        let ticket = Ticket::Append {
            epoch: tail.epoch,
            last: tail.last.map_or(0, |last| last.index),
            flushed: Box::new(flushed),
        };
        self.shared.committer.submit(batch, ticket);
    }

    /// Removes the entries from an index on.
    ///
    /// # Errors
    ///
    /// The entry before it cannot be read.
    pub(crate) fn truncate(&self, index: u64) -> Result<(), ReadError> {
        let before = match index.checked_sub(1) {
            Some(before) => self.read(before..index, usize::MAX)?.pop(),
            None => None,
        };
        let mut batch = Batch::new();
        batch.delete_range(&keys::log(index), keys::ALL_LOG.1);
        let mut tail = self.shared.tail.lock();
        tail.truncate(index, before.map(|entry| entry.log_id));
        self.shared.committer.submit(batch, Ticket::Nothing);
        Ok(())
    }

    /// Removes the entries up to one.
    pub(crate) fn purge(&self, up_to: LogId) {
        let mut tail = self.shared.tail.lock();
        tail.purge(up_to);
        if tail.snapshot >= Some(up_to.index) {
            let mut batch = Batch::new();
            put_purge(&mut batch, &up_to);
            self.shared.committer.submit(batch, Ticket::Nothing);
        } else {
            tail.owed_purge = Some(up_to);
        }
    }

    /// The entries in a range, as far as they are there; stops after the one that makes them
    /// larger than so many bytes.
    pub(crate) fn read(
        &self,
        range: impl RangeBounds<u64>,
        most_bytes: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let (on_disk, in_memory) = self.shared.tail.lock().find(start, end);
        let mut entries = Vec::new();
        let mut bytes = 0;
        if !on_disk.is_empty() {
            let (start, end) = (keys::log(on_disk.start), keys::log(on_disk.end));
            let mut flaw = None;
            self.shared.engine.scan(&start, &end, &mut |key, value| {
                match decode_entry(key, value) {
                    Ok(entry) => entries.push(entry),
                    Err(error) => {
                        flaw = Some(error);
                        return ControlFlow::Break(());
                    }
                }
                bytes += value.len();
                if bytes >= most_bytes {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            if let Some(flaw) = flaw {
                return Err(flaw);
            }
        }
        for (entry, size) in in_memory {
            if bytes >= most_bytes {
                break;
            }
            bytes += size;
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Hands over a batch; the receiver gets a value when it is safe, and an error if it never
    /// will be.
    fn submit(&self, batch: Batch) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.shared.committer.submit(batch, Ticket::Done(sender));
        receiver
    }

    async fn submit_and_wait(&self, batch: Batch) -> Result<(), Closed> {
        self.submit(batch).await.map_err(|_| Closed)
    }
}

// === private ===

impl Ticket {
    fn complete(self, tail: &Mutex<Tail>) {
        match self {
            Self::Append {
                epoch,
                last,
                flushed,
            } => {
                tail.lock().made_safe(epoch, last);
                flushed.log_io_completed(Ok(()));
            }
            // Nobody may wait for it any more.
            Self::Done(sender) => drop(sender.send(())),
            Self::Nothing => {}
        }
    }
}

fn put_purge(batch: &mut Batch, up_to: &LogId) {
    batch.put(keys::PURGED, &wire::log_id(up_to).encode_to_vec());
    batch.delete_range(keys::ALL_LOG.0, &keys::log(up_to.index.saturating_add(1)));
}

fn decode_entry(key: &[u8], value: &[u8]) -> Result<Entry, ReadError> {
    let index = keys::log_index(key).unwrap_or_default();
    let unreadable = |why: String| ReadError::Entry { index, why };
    let entry = proto::Entry::decode(value).map_err(|error| unreadable(error.to_string()))?;
    let entry = wire::to_entry(entry).map_err(|error| unreadable(error.to_string()))?;
    if entry.log_id.index != index {
        return Err(unreadable(format!("it is entry {}", entry.log_id.index)));
    }
    Ok(entry)
}

#[cfg(test)]
mod tests;
