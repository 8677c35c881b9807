//! A crash at every commit of a scripted run, before it took effect and after.
//!
//! After each: nothing that was reported as safe is gone, neither vote nor log went back, the log
//! has no hole, and the state is what the entries that were committed make.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use gatemq_storage::{Memory, Redb};
use openraft::storage::{RaftLogStorageExt, RaftStateMachine};
use openraft::{RaftSnapshotBuilder, StorageHelper};

use super::*;
use crate::consensus::raft::{SnapshotMeta, StorageError, StoredMembership};

/// An engine whose power is cut at a commit.
struct Cut {
    engine: Arc<dyn Engine>,
    /// Commits that are left before the cut.
    left: AtomicUsize,
    /// Whether the last one still takes effect, although nobody hears of it.
    takes_effect: bool,
}

impl Engine for Cut {
    fn get(&self, key: &[u8]) -> Result<Option<bytes::Bytes>, Error> {
        self.engine.get(key)
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.engine.scan(start, end, visit)
    }

    fn last(
        &self,
        start: &[u8],
        end: &[u8],
    ) -> Result<Option<(bytes::Bytes, bytes::Bytes)>, Error> {
        self.engine.last(start, end)
    }

    fn commit(&self, batches: &[Batch]) -> Result<(), Error> {
        let left = self.left.load(SeqCst);
        if left > 0 {
            self.left.store(left - 1, SeqCst);
            return self.engine.commit(batches);
        }
        if self.takes_effect {
            self.engine.commit(batches)?;
        }
        Err(Error::Panicked("the power is cut".to_owned()))
    }

    fn is_volatile(&self) -> bool {
        self.engine.is_volatile()
    }
}

/// What was reported as safe, and what was asked for.
#[derive(Default)]
struct Witness {
    /// The last vote that was reported.
    vote: Option<Vote>,
    /// The last vote that was asked for.
    asked_vote: Option<Vote>,
    /// Entries that were reported and not truncated since: the log must have them, or a snapshot.
    safe: Vec<LogId>,
    /// All entries that were ever asked for.
    asked: Vec<LogId>,
    /// The last index that was committed in the whole group, where this node has it safe.
    committed: u64,
    /// The last index of a snapshot that was reported.
    snapshot: Option<u64>,
}

struct Node1 {
    store: Store,
    machine: Machine<Listener>,
    witness: Witness,
}

impl Node1 {
    async fn vote(&mut self, vote: Vote) -> Result<(), StorageError> {
        self.witness.asked_vote = Some(vote);
        openraft::storage::RaftLogStorage::save_vote(&mut self.store, &vote).await?;
        self.witness.vote = Some(vote);
        Ok(())
    }

    async fn append(&mut self, entries: Vec<Entry>) -> Result<(), StorageError> {
        let ids: Vec<_> = entries.iter().map(|entry| entry.log_id).collect();
        self.witness.asked.extend(&ids);
        self.store.blocking_append(entries).await?;
        self.witness.safe.extend(ids);
        Ok(())
    }

    fn truncate(&mut self, index: u64) {
        self.witness.safe.retain(|it| it.index < index);
        self.store.truncate(index).unwrap();
    }

    /// Applies what is committed, as openraft does.
    async fn commit(&mut self, range: std::ops::RangeInclusive<u64>) -> Result<(), StorageError> {
        let last = *range.end();
        let entries = self.store.read(range, usize::MAX).unwrap();
        self.store.set_committed(entries.last().map(|it| it.log_id));
        self.machine.apply(entries).await?;
        self.witness.committed = last;
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<(), StorageError> {
        let mut builder = self.machine.get_snapshot_builder().await;
        let snapshot = builder.build_snapshot().await?;
        self.witness.snapshot = snapshot.meta.last_log_id.map(|last| last.index);
        Ok(())
    }

    async fn purge(&mut self, up_to: LogId) {
        self.store.purge(up_to);
        self.witness.safe.retain(|it| it.index > up_to.index);
    }

    /// As openraft does: purges before the snapshot is stored.
    async fn install(&mut self, state: &State, last: LogId) -> Result<(), StorageError> {
        let meta = SnapshotMeta {
            last_log_id: Some(last),
            last_membership: StoredMembership::new(Some(id(1, 0)), membership()),
            snapshot_id: "from the leader".to_owned(),
        };
        self.store.purge(last);
        self.machine
            .install_snapshot(&meta, Box::new(state.clone()))
            .await?;
        self.witness.safe.retain(|it| it.index > last.index);
        self.witness.committed = last.index;
        self.witness.snapshot = Some(last.index);
        Ok(())
    }
}

/// The life of a node: follower, conflict, snapshot, purge, follower far behind, leader.
async fn script(node: &mut Node1) -> Result<(), StorageError> {
    node.vote(Vote::new(1, 2)).await?;
    node.vote(Vote::new_committed(1, 2)).await?;
    node.append(entries(1, 0..=5)).await?;
    node.append(entries(1, 6..=12)).await?;
    node.commit(0..=8).await?;
    node.vote(Vote::new_committed(2, 3)).await?;
    node.truncate(9);
    // Shorter than what it replaces.
    node.append(entries(2, 9..=10)).await?;
    node.append(entries(2, 11..=14)).await?;
    node.commit(9..=11).await?;
    node.snapshot().await?;
    node.purge(id(1, 6)).await;
    node.append(entries(2, 15..=16)).await?;
    node.commit(12..=16).await?;
    node.snapshot().await?;
    node.purge(id(2, 12)).await;
    node.append(entries(2, 17..=18)).await?;
    node.vote(Vote::new_committed(3, 2)).await?;
    let installed = state_of(history(30));
    node.install(&installed, id(2, 30)).await?;
    node.append(entries(3, 31..=33)).await?;
    node.commit(31..=33).await?;
    node.vote(Vote::new(4, 1)).await?;
    node.append(entries(4, 34..=34)).await?;
    node.snapshot().await
}

fn entries(term: u64, range: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    range.map(|index| entry(term, index)).collect()
}

/// What the group has committed, up to an index.
fn history(last: u64) -> impl Iterator<Item = Entry> {
    (0..=last).map(|index| {
        let term = match index {
            0..=8 => 1,
            9..=30 => 2,
            31..=33 => 3,
            _ => 4,
        };
        entry(term, index)
    })
}

fn open(engine: Arc<dyn Engine>) -> (Node1, Option<Identity>) {
    // A cut leaves nothing to do: the process would have ended.
    let opened = Store::open(engine, |_| {}).unwrap();
    let store = opened.store;
    let machine = Machine::new(store.clone(), opened.snapshot, Listener::default());
    let node = Node1 {
        store,
        machine,
        witness: Witness::default(),
    };
    (node, opened.identity)
}

/// Runs the script until the cut; returns how it ended and what was seen.
async fn run(engine: Arc<dyn Engine>, cut_at: usize, takes_effect: bool) -> (bool, Witness) {
    let cut = Arc::new(Cut {
        engine,
        left: AtomicUsize::new(cut_at),
        takes_effect,
    });
    let (mut node, _) = open(cut);
    let has_finished = script(&mut node).await.is_ok();
    node.store.close();
    (has_finished, node.witness)
}

/// Opens what the crash has left and checks it.
async fn check(engine: Arc<dyn Engine>, seen: &Witness, context: &str) {
    let (mut node, identity) = open(engine);
    assert_eq!(identity, Some(super::identity()), "{context}");
    let vote = node.store.vote();
    assert!(vote >= seen.vote, "{context}: the vote went back");
    assert!(vote <= seen.asked_vote, "{context}: a vote out of nowhere");
    let (purged, _) = node.store.bounds();
    let first = purged.map_or(0, |purged| purged.index + 1);
    let log: Vec<_> = node.store.read(.., usize::MAX).unwrap();
    for (place, entry) in log.iter().enumerate() {
        assert_eq!(
            entry.log_id.index,
            first + place as u64,
            "{context}: a hole"
        );
        assert!(
            seen.asked.contains(&entry.log_id),
            "{context}: out of nowhere"
        );
        assert_eq!(
            *entry,
            self::entry(entry.log_id.leader_id.term, entry.log_id.index)
        );
    }
    let in_snapshot = node.machine.applied_state().await.unwrap().0;
    assert!(
        in_snapshot.map(|it| it.index) >= seen.snapshot,
        "{context}: an older snapshot"
    );
    for id in &seen.safe {
        let is_there = log.iter().any(|entry| entry.log_id == *id);
        let is_covered = in_snapshot >= Some(*id);
        assert!(
            is_there || is_covered,
            "{context}: {id} was safe and is gone"
        );
    }
    // The start that openraft makes: reads all, applies what is known to be committed.
    let mut helper = StorageHelper::new(&mut node.store, &mut node.machine);
    let start = helper.get_initial_state().await.unwrap();
    let applied = start.committed.map_or(0, |it| it.index);
    let state = node.machine.current().state();
    let expected = if applied == 0 {
        State::default()
    } else {
        state_of(history(applied))
    };
    assert_eq!(
        state.hash(),
        expected.hash(),
        "{context}: state at {applied}"
    );
    // What was committed is there to be applied once the leader says so.
    let rest = node.store.read(
        applied + u64::from(applied > 0)..=seen.committed,
        usize::MAX,
    );
    let mut state = state;
    for entry in rest.unwrap() {
        match &entry.payload {
            EntryPayload::Normal(command) => drop(state.apply(entry.log_id.index, command)),
            _ => state.pass(entry.log_id.index),
        }
    }
    if seen.committed > 0 {
        let last = applied.max(seen.committed);
        assert_eq!(
            state.hash(),
            state_of(history(last)).hash(),
            "{context}: committed"
        );
    }
    node.store.close();
}

async fn prepared(engine: &Arc<dyn Engine>) {
    let opened = Store::open(Arc::clone(engine), no_failure).unwrap();
    opened.store.save_identity(&identity()).await.unwrap();
    opened.store.close();
}

async fn cut_everywhere<G>(make: impl Fn() -> (G, Arc<dyn Engine>)) {
    for takes_effect in [false, true] {
        let mut n_cuts = 0;
        loop {
            let (_guard, engine) = make();
            prepared(&engine).await;
            let (has_finished, seen) = run(Arc::clone(&engine), n_cuts, takes_effect).await;
            let context = format!("cut at commit {n_cuts}, takes effect: {takes_effect}");
            check(engine, &seen, &context).await;
            if has_finished {
                break;
            }
            n_cuts += 1;
        }
        assert!(n_cuts > 20, "the script has commits: {n_cuts}");
    }
}

#[tokio::test]
async fn nothing_safe_is_lost_on_memory() {
    cut_everywhere(|| ((), Arc::new(Memory::new()) as Arc<dyn Engine>)).await;
}

#[tokio::test]
async fn nothing_safe_is_lost_on_redb() {
    cut_everywhere(|| {
        let dir = tempfile::tempdir().unwrap();
        let engine = Arc::new(Redb::open(dir.path()).unwrap());
        (dir, engine as Arc<dyn Engine>)
    })
    .await;
}
