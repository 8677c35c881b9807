//! What is to be done when a batch is safe.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::cluster::inbound::Accepted;
use crate::receipt::{Leg, Owed, Receipt};
use crate::session::Session;

/// Goes with a batch through the commit.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    /// Messages that a stored session may be sent now, by sequence number.
    pub(crate) deliveries: Vec<(Arc<Session>, u64)>,
    /// Packets that a connection is owed now.
    pub(crate) owed: Option<Owed>,
    /// What waits for more than the commit.
    pub(crate) receipt: Option<Arc<Receipt>>,
    /// Messages of other nodes that are safe with the batch.
    pub(crate) accepted: Option<Accepted>,
    /// Legs of messages that were routed again.
    pub(crate) legs: Vec<Leg>,
    /// Retained topics that were set or cleared, each with the number of that change.
    pub(crate) retained: Vec<(Box<str>, u64)>,
    /// Whoever waits for the commit.
    pub(crate) waiter: Option<oneshot::Sender<()>>,
}

/// Tickets whose batches are safe, in the order in which they were submitted. Bounded by the
/// bytes that the store lets wait.
#[derive(Debug, Default)]
pub(crate) struct Completed {
    groups: Mutex<Vec<Vec<Ticket>>>,
    arrived: Notify,
}

impl Completed {
    pub(crate) fn push(&self, tickets: Vec<Ticket>) {
        let mut groups = self.groups.lock();
        let was_empty = groups.is_empty();
        groups.push(tickets);
        drop(groups);
        if was_empty {
            self.arrived.notify_one();
        }
    }

    /// All that have arrived; waits for at least one.
    pub(crate) async fn take(&self) -> Vec<Vec<Ticket>> {
        loop {
            let groups = std::mem::take(&mut *self.groups.lock());
            if !groups.is_empty() {
                return groups;
            }
            self.arrived.notified().await;
        }
    }
}
