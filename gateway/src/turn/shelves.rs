//! What a turn reads of the queues of sessions and changes in them.

use std::sync::Arc;

use gatemq_storage::Batch;

use crate::broker::Broker;
use crate::session::Session;
use crate::store::{QueueShelf, Wanted};

/// What the queues of sessions leave to the end of a turn.
#[derive(Debug, Default)]
pub(super) struct Shelves {
    /// Pages that take a while.
    pub(super) wanted: Vec<Wanted>,
    /// Edges that move with the batch.
    pub(super) edges: Vec<(Arc<Session>, u64)>,
}

impl Shelves {
    /// The queue of a session. What it changes goes into the batch of the turn.
    pub(super) fn of<'a>(
        &'a mut self,
        session: &'a Arc<Session>,
        broker: &'a Broker,
        batch: &'a mut Batch,
    ) -> QueueShelf<'a> {
        QueueShelf {
            store: &broker.store,
            captures: &broker.captures,
            session,
            batch,
            wanted: &mut self.wanted,
            edges: &mut self.edges,
        }
    }
}
