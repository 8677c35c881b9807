//! The way into a flow, for as long as somebody has it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::channel;

use super::budget::Budget;
use super::mailbox::{Mailbox, Refused};
use super::{Order, Outcome, Terms};

/// Where records of one flow are brought.
#[derive(Clone)]
pub struct Entry {
    flow: usize,
    mailbox: Arc<Mailbox>,
    budget: Arc<Budget>,
    terms: Arc<Terms>,
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(
        flow: usize,
        mailbox: Arc<Mailbox>,
        budget: Arc<Budget>,
        terms: Arc<Terms>,
    ) -> Self {
        Self {
            flow,
            mailbox,
            budget,
            terms,
        }
    }

    /// Hands a record over when the flow has room; what comes after it comes after it in Kafka, too.
    /// It is accepted when Kafka has confirmed it, and unknown at the end of the way. Gives it back if the
    /// flow is closed.
    pub async fn produce(&self, order: Order) -> Result<(), Order> {
        if !self.budget.enter(order.record.len()).await {
            return Err(order);
        }
        self.hand_over(order)
    }

    /// The same for what was in another flow: there is room for it.
    pub(crate) fn take_over(&self, order: Order) -> Result<(), Order> {
        self.budget.force(order.record.len());
        self.hand_over(order)
    }

    /// Says whether a record whose topic is not there is refused from now on; else all wait for it.
    pub(crate) fn refuse_missing(&self, refuses: bool) {
        self.terms.refuses_missing.store(refuses, Relaxed);
    }

    /// Waits until the flow is closed.
    pub(crate) async fn closed(&self) {
        self.budget.closed().await;
    }

    pub(super) fn flow(&self) -> usize {
        self.flow
    }

    /// Whoever waits for room waits no more; returns what is open when the thread has let go of the flow.
    pub(super) fn close(&self) -> Vec<Order> {
        self.budget.close();
        let (tell, told) = channel();
        self.mailbox.close(self.flow, tell);
        told.recv().unwrap_or_default() // a thread that has ended has let go of all
    }

    fn hand_over(&self, order: Order) -> Result<(), Order> {
        match self.mailbox.order(self.flow, order) {
            Ok(()) => Ok(()),
            Err(Refused::Closed(order)) => Err(order),
            Err(Refused::Ended(order)) => {
                self.budget.leave(order.record.len());
                (order.done)(Outcome::Unknown);
                Ok(())
            }
        }
    }
}
