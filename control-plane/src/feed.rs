//! The latest applied commands, for those who follow them.
//!
//! The state machine tells of each command in order; readers, one for each gateway, take what is
//! new to them. A reader that is behind by more than the ring holds is lost: it needs a snapshot,
//! and reads on from the revision of that. Commands are shared, not copied, and a reader holds the
//! lock for as long as it takes to count up references of one batch.

use std::collections::VecDeque;
use std::sync::Arc;

use gatemq_proto::cluster::prost::Message;
use gatemq_proto::cluster::state::Command;
use parking_lot::RwLock;
use tokio::sync::watch;

/// How much is kept; what is oldest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Commands; at least one is kept.
    pub n_commands: usize,
    /// Bytes of them as they are encoded.
    pub n_bytes: usize,
}

/// The ring that the state machine writes to.
#[derive(Debug)]
pub struct Feed {
    bounds: Bounds,
    ring: RwLock<Ring>,
    /// Wakes readers. Set after the ring, so that whoever sees a revision here finds it there.
    revision: watch::Sender<u64>,
}

/// An applied command.
#[derive(Debug)]
pub struct Applied {
    /// Its index in the log.
    pub revision: u64,
    /// What it says.
    pub command: Command,
    /// How long it is when encoded, in bytes.
    pub n_bytes: usize,
}

/// What a reader gets at once.
#[derive(Debug)]
pub struct Batch {
    /// In the order of the log; may be empty, for not every entry of the log is a command.
    pub commands: Vec<Arc<Applied>>,
    /// Everything up to here is in this batch or was in one before it.
    pub revision: u64,
}

/// A place in the feed.
#[derive(Debug)]
pub struct Reader {
    feed: Arc<Feed>,
    revision: watch::Receiver<u64>,
    position: u64,
}

/// What comes next for the reader is not in the ring any more: it needs a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the changes after revision {position} are gone")]
pub struct Lost {
    /// The last revision that the reader has.
    pub position: u64,
}

/// How full the ring is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Commands in it.
    pub n_commands: usize,
    /// Bytes of them.
    pub n_bytes: usize,
    /// The oldest revision from which a reader can go on.
    pub from: u64,
}

#[derive(Debug)]
struct Ring {
    commands: VecDeque<Arc<Applied>>,
    n_bytes: usize,
    /// Whatever came after this revision is in the ring.
    from: u64,
    /// The last revision that was told.
    revision: u64,
}

// === impl Feed ===

impl Feed {
    /// An empty one, behind a state of that revision.
    #[must_use]
    pub fn new(bounds: Bounds, revision: u64) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            ring: RwLock::new(Ring::new(revision)),
            revision: watch::Sender::new(revision),
        })
    }

    /// A command was applied. Told in the order of the log, once the state that has it can be read.
    pub fn applied(&self, index: u64, command: &Command) {
        let applied = Arc::new(Applied {
            revision: index,
            n_bytes: command.encoded_len(),
            command: command.clone(),
        });
        self.ring.write().push(applied, self.bounds);
        self.revision.send_replace(index);
    }

    /// An entry of the log was applied that is no command: it only moves the revision.
    pub fn advance(&self, index: u64) {
        self.ring.write().revision = index;
        self.revision.send_replace(index);
    }

    /// The state was replaced by one of that revision: who has less needs a snapshot.
    pub fn reset(&self, revision: u64) {
        *self.ring.write() = Ring::new(revision);
        self.revision.send_replace(revision);
    }

    /// The last revision that was told.
    #[must_use]
    pub fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// Waits until a revision has been told. Cancel-safe.
    pub async fn reached(&self, revision: u64) {
        let mut told = self.revision.subscribe();
        // The sender lives as long as `self`.
        let _ = told.wait_for(|told| *told >= revision).await;
    }

    /// Begins to read after a revision, which need not have been told yet.
    #[must_use]
    pub fn reader(self: &Arc<Self>, after: u64) -> Reader {
        Reader {
            feed: Arc::clone(self),
            revision: self.revision.subscribe(),
            position: after,
        }
    }

    /// How full it is, for metrics.
    #[must_use]
    pub fn fill(&self) -> Fill {
        let ring = self.ring.read();
        Fill {
            n_commands: ring.commands.len(),
            n_bytes: ring.n_bytes,
            from: ring.from,
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            n_commands: 65_536,
            n_bytes: 64 << 20,
        }
    }
}

// === impl Reader ===

impl Reader {
    /// Waits for what comes next: at most `most`, but at least one command. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The reader is lost and stays so.
    pub async fn next(&mut self, most: Bounds) -> Result<Batch, Lost> {
        let position = self.position;
        // The sender lives as long as `self.feed`.
        let _ = self.revision.wait_for(|told| *told > position).await;
        self.take(most)
    }

    /// The last revision that was taken.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    fn take(&mut self, most: Bounds) -> Result<Batch, Lost> {
        let ring = self.feed.ring.read();
        if self.position < ring.from {
            drop(ring);
            return Err(self.lost());
        }
        let batch = ring.after(self.position, most);
        drop(ring);
        self.position = self.position.max(batch.revision);
        Ok(batch)
    }

    fn lost(&self) -> Lost {
        Lost {
            position: self.position,
        }
    }
}

// === impl Ring ===

impl Ring {
    fn new(revision: u64) -> Self {
        Self {
            commands: VecDeque::new(),
            n_bytes: 0,
            from: revision,
            revision,
        }
    }

    fn push(&mut self, applied: Arc<Applied>, bounds: Bounds) {
        self.revision = applied.revision;
        self.n_bytes += applied.n_bytes;
        self.commands.push_back(applied);
        while self.commands.len() > 1
            && (self.commands.len() > bounds.n_commands || self.n_bytes > bounds.n_bytes)
            && let Some(oldest) = self.commands.pop_front()
        {
            self.n_bytes -= oldest.n_bytes;
            self.from = oldest.revision;
        }
    }

    fn after(&self, position: u64, most: Bounds) -> Batch {
        let start = self
            .commands
            .partition_point(|applied| applied.revision <= position);
        let mut commands = Vec::new();
        let mut n_bytes = 0;
        for applied in self.commands.range(start..) {
            n_bytes += applied.n_bytes;
            let is_full = commands.len() >= most.n_commands || n_bytes > most.n_bytes;
            if is_full && let Some(last) = commands.last() {
                let last: &Arc<Applied> = last;
                return Batch {
                    revision: last.revision,
                    commands,
                };
            }
            commands.push(Arc::clone(applied));
        }
        Batch {
            commands,
            revision: self.revision,
        }
    }
}

#[cfg(test)]
mod tests;
