//! The state machine: the state in memory, changed by what is committed, and its snapshots.
//!
//! Only snapshots are stored. A node that starts has the state of its last snapshot, goes on to
//! the entries that it knows to be committed, and hears of the others from the leader; until then
//! its state may be older than the one it had before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use gatemq_proto::cluster::state::{Command, Outcome};
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, RaftSnapshotBuilder};
use parking_lot::{Mutex, RwLock};

use super::raft::{
    Entry, LogId, Snapshot, SnapshotMeta, StorageError, StorageIoError, StoredMembership,
    TypeConfig,
};
use super::store::{Closed, Store};
use crate::state::State;

/// Hears of everything that is applied, in the order of the log.
///
/// The state has a change before this is called for it. Called on the task that applies: what
/// takes time belongs elsewhere.
pub trait Applied: Send + Sync + 'static {
    /// A command has changed the state.
    fn applied(&mut self, index: u64, command: &Command);

    /// The entry at this index has changed nothing: it was no command, or one that was refused or
    /// had been done before.
    fn passed(&mut self, index: u64);

    /// The state is another one now, from a snapshot.
    fn reset(&mut self, state: &State);
}

/// The state machine that openraft drives.
pub(crate) struct Machine<A> {
    current: Arc<Current>,
    listener: A,
    store: Store,
}

/// Builds a snapshot of the state at one moment.
pub(crate) struct Builder {
    current: Arc<Current>,
    applied: AppliedState,
    store: Store,
}

/// The state as it is now, for readers.
pub(crate) struct Current {
    applied: RwLock<AppliedState>,
    snapshot: Mutex<Option<Snapshot>>,
    /// Tells apart snapshots that were built at the same place of the log.
    n_built: AtomicU64,
}

#[derive(Clone, Default)]
struct AppliedState {
    state: State,
    last: Option<LogId>,
    membership: StoredMembership,
}

// === impl Machine ===

impl<A: Applied> Machine<A> {
    /// The machine in the state of the last snapshot.
    pub(crate) fn new(
        store: Store,
        snapshot: Option<(SnapshotMeta, State)>,
        mut listener: A,
    ) -> Self {
        let mut applied = AppliedState::default();
        if let Some((meta, state)) = &snapshot {
            applied = AppliedState::of(meta, state);
            listener.reset(state);
        }
        let snapshot = snapshot.map(|(meta, state)| Snapshot {
            meta,
            snapshot: Box::new(state),
        });
        let current = Arc::new(Current {
            applied: RwLock::new(applied),
            snapshot: Mutex::new(snapshot),
            n_built: AtomicU64::new(0),
        });
        Self {
            current,
            listener,
            store,
        }
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current)
    }

    fn apply_entry(&mut self, entry: &Entry) -> Outcome {
        let index = entry.log_id.index;
        let mut applied = self.current.applied.write();
        applied.last = Some(entry.log_id);
        if let EntryPayload::Normal(command) = &entry.payload {
            let done = applied.state.apply_noting(index, command);
            drop(applied);
            if done.has_changed {
                self.listener.applied(index, command);
            } else {
                self.listener.passed(index);
            }
            return done.outcome;
        }
        if let EntryPayload::Membership(membership) = &entry.payload {
            applied.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
        }
        applied.state.pass(index);
        drop(applied);
        self.listener.passed(index);
        Outcome {
            index,
            refused: String::new(),
        }
    }
}

impl<A: Applied> RaftStateMachine<TypeConfig> for Machine<A> {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let applied = self.current.applied.read();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries = entries.into_iter();
        Ok(entries.map(|entry| self.apply_entry(&entry)).collect())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            current: Arc::clone(&self.current),
            applied: self.current.applied.read().clone(),
            store: self.store.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<State>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<State>,
    ) -> Result<(), StorageError> {
        save(&self.store, meta, &snapshot).await?;
        *self.current.applied.write() = AppliedState::of(meta, &snapshot);
        self.listener.reset(&snapshot);
        tracing::info!(
            revision = snapshot.revision(),
            "state replaced by a snapshot"
        );
        self.current.keep(meta, &snapshot);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        Ok(self.current.snapshot.lock().clone())
    }
}

// === impl Builder ===

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let AppliedState {
            state,
            last,
            membership,
        } = self.applied.clone();
        let number = self.current.n_built.fetch_add(1, Relaxed);
        let meta = SnapshotMeta {
            last_log_id: last,
            last_membership: membership,
            snapshot_id: format!("{}-{number}", last.map_or(0, |last| last.index)),
        };
        save(&self.store, &meta, &state).await?;
        self.current.keep(&meta, &state);
        tracing::debug!(revision = state.revision(), "snapshot stored");
        Ok(Snapshot {
            meta,
            snapshot: Box::new(state),
        })
    }
}

// === impl Current ===

impl Current {
    /// The state as it is now.
    pub(crate) fn state(&self) -> State {
        self.applied.read().state.clone()
    }

    /// Looks at the state without a copy; the state does not change meanwhile.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.applied.read().state)
    }

    /// Whether a number was removed, as far as this node has applied: it is none of the control
    /// plane any more. Its vote may still be needed to take it out of the membership.
    pub(crate) fn is_removed(&self, number: u64) -> bool {
        self.applied.read().is_removed(number)
    }

    /// Whether a number was removed, and no decision needs it any more.
    pub(crate) fn is_dismissed(&self, number: u64) -> bool {
        let applied = self.applied.read();
        let membership = applied.membership.membership();
        applied.is_removed(number) && membership.get_node(&number).is_none()
    }

    fn keep(&self, meta: &SnapshotMeta, state: &State) {
        let mut snapshot = self.snapshot.lock();
        let is_newer = snapshot
            .as_ref()
            .is_none_or(|last| meta.last_log_id > last.meta.last_log_id);
        if is_newer {
            *snapshot = Some(Snapshot {
                meta: meta.clone(),
                snapshot: Box::new(state.clone()),
            });
        }
    }
}

// === private ===

impl AppliedState {
    fn of(meta: &SnapshotMeta, state: &State) -> Self {
        Self {
            state: state.clone(),
            last: meta.last_log_id,
            membership: meta.last_membership.clone(),
        }
    }

    /// Numbers are indexes of the log: one above the revision is news that is on its way.
    fn is_removed(&self, number: u64) -> bool {
        self.state.cluster_id().is_some()
            && number <= self.state.revision()
            && self.state.control_node(number).is_none()
    }
}

/// Stores a snapshot on a thread that may wait.
async fn save(store: &Store, meta: &SnapshotMeta, state: &State) -> Result<(), StorageError> {
    let (store, meta, state) = (store.clone(), meta.clone(), state.clone());
    let signature = meta.signature();
    let saved = tokio::task::spawn_blocking(move || store.save_snapshot(&meta, &state)).await;
    let saved = saved.unwrap_or(Err(Closed));
    saved.map_err(|Closed| {
        StorageIoError::write_snapshot(Some(signature), AnyError::new(&Closed)).into()
    })
}
