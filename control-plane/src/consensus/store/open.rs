//! Reading back what is on disk, and refusing what does not make sense.
//!
//! The whole log is read: a node that starts with a hole in it could elect a leader that lacks
//! what was committed.

use std::ops::ControlFlow;
use std::sync::Arc;

use gatemq_proto::cluster::prost::Message;
use gatemq_proto::cluster::raft as proto;
use gatemq_proto::cluster::state::Part;
use gatemq_storage::{Engine, Error};

use super::snapshot::{Head, Saving};
use super::tail::Tail;
use super::{Identity, ReadError, Store, decode_entry, keys};
use crate::consensus::raft::{LogId, SnapshotMeta};
use crate::consensus::wire;
use crate::state::{Restoring, State};

/// A store that was read back.
pub(crate) struct Opened {
    pub(crate) store: Store,
    /// `None` for a node that is of no cluster yet.
    pub(crate) identity: Option<Identity>,
    pub(crate) snapshot: Option<(SnapshotMeta, State)>,
}

/// Why a node cannot start from what it has on disk.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] Error),
    /// A record that cannot be what was written.
    #[error(
        "the control plane's data cannot be read: {0}. If the other nodes are well, remove this \
         node from the control plane, empty its data directory, and let it join anew"
    )]
    Data(String),
}

/// What is known of the log on disk.
#[derive(Default)]
struct Log {
    purged: Option<LogId>,
    last: Option<LogId>,
}

impl Store {
    /// Reads back what is there; an empty engine is a new node.
    ///
    /// `on_failure` is called once if a commit fails, and should end the process.
    ///
    /// # Errors
    ///
    /// Anything that cannot be read, or does not fit the rest.
    pub(crate) fn open(
        engine: Arc<dyn Engine>,
        on_failure: impl FnOnce(Error) + Send + 'static,
    ) -> Result<Opened, Unreadable> {
        let identity = record(&*engine, keys::IDENTITY, "its identity", |bytes| {
            Identity::decode(bytes)
        })?;
        let vote = record(&*engine, keys::VOTE, "its vote", |bytes| {
            proto::VoteRecord::decode(bytes).ok()
        })?;
        let committed = record(&*engine, keys::COMMITTED, "what is committed", log_id)?;
        let head = record(&*engine, keys::SNAPSHOT, "its snapshot", Head::decode)?;
        let log = read_log(&*engine)?;
        let generation = head.as_ref().map_or(0, |head| head.generation + 1);
        let snapshot = match head {
            Some(head) => Some(read_snapshot(&*engine, &head)?),
            None => None,
        };
        let meta = snapshot.as_ref().map(|(meta, _)| meta.clone());
        let in_snapshot = meta.as_ref().and_then(|meta| meta.last_log_id);
        if log.purged > in_snapshot {
            return Err(flaw("the log begins after the snapshot"));
        }
        if committed > log.last.max(in_snapshot) {
            return Err(flaw("entries are missing that were committed"));
        }
        if identity.is_none() && (vote.is_some() || log.last.is_some()) {
            return Err(flaw("its identity is missing"));
        }
        let mut tail = Tail::default();
        tail.vote = vote.map(wire::to_vote);
        tail.committed = committed;
        tail.purged = log.purged;
        tail.last = log.last;
        tail.snapshot = in_snapshot.map(|last| last.index);
        let saving = Saving {
            next_generation: generation,
            last: meta,
        };
        Ok(Opened {
            store: Self::new(engine, tail, saving, on_failure),
            identity,
            snapshot,
        })
    }
}

/// Goes over all entries: none may be missing, none may be older than the one before.
fn read_log(engine: &dyn Engine) -> Result<Log, Unreadable> {
    let purged = record(engine, keys::PURGED, "what is purged", log_id)?;
    let mut log = Log {
        purged,
        last: purged,
    };
    let mut error = None;
    let (start, end) = keys::ALL_LOG;
    engine.scan(start, end, &mut |key, value| {
        match decode_entry(key, value) {
            Ok(entry) => match log.follow(entry.log_id) {
                Ok(()) => return ControlFlow::Continue(()),
                Err(flaw) => error = Some(flaw),
            },
            Err(ReadError::Engine(engine)) => error = Some(engine.into()),
            Err(entry) => error = Some(flaw(entry.to_string())),
        }
        ControlFlow::Break(())
    })?;
    error.map_or(Ok(log), Err)
}

impl Log {
    fn follow(&mut self, next: LogId) -> Result<(), Unreadable> {
        let expected = self.last.map_or(0, |last| last.index + 1);
        if next.index != expected {
            let index = next.index;
            return Err(flaw(format!("entry {expected} is missing before {index}")));
        }
        if Some(next) < self.last {
            return Err(flaw(format!("entry {expected} is of an earlier term")));
        }
        self.last = Some(next);
        Ok(())
    }
}

fn read_snapshot(engine: &dyn Engine, head: &Head) -> Result<(SnapshotMeta, State), Unreadable> {
    let last = head.meta.last_log_id;
    let last = last.ok_or_else(|| flaw("its snapshot has no place in the log"))?;
    let start = keys::part(head.generation, 0);
    let end = keys::part(head.generation, head.n_parts);
    let mut restoring = Restoring::default();
    let mut n_parts = 0;
    let mut error = None;
    engine.scan(&start, &end, &mut |key, value| {
        let added = if key == keys::part(head.generation, n_parts) {
            Part::decode(value)
                .map_err(|error| error.to_string())
                .and_then(|part| restoring.add(part).map_err(|error| error.to_string()))
        } else {
            Err("a part is missing".to_owned())
        };
        n_parts += 1;
        match added {
            Ok(()) => ControlFlow::Continue(()),
            Err(why) => {
                error = Some(flaw(format!("part {n_parts} of its snapshot: {why}")));
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = error {
        return Err(error);
    }
    if n_parts != head.n_parts {
        return Err(flaw("parts of its snapshot are missing"));
    }
    Ok((head.meta.clone(), restoring.finish(last.index)))
}

fn record<T>(
    engine: &dyn Engine,
    key: &[u8],
    what: &str,
    decode: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<Option<T>, Unreadable> {
    let Some(bytes) = engine.get(key)? else {
        return Ok(None);
    };
    decode(&bytes).map(Some).ok_or_else(|| flaw(what))
}

fn log_id(bytes: &[u8]) -> Option<LogId> {
    proto::LogId::decode(bytes).ok().map(wire::to_log_id)
}

fn flaw(what: impl Into<String>) -> Unreadable {
    Unreadable::Data(what.into())
}
