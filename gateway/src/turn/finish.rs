//! The end of a turn: what is to be stored goes to the store, and what got something is written.
//!
//! Links are written a few at a time ([`crate::rounds`]). Whoever takes the next message of the same
//! source waits until all have the last one: nothing else holds a source back that is faster than the
//! links are written.

use super::{SPARE, Turn};
use crate::cluster::answers::Accepted;
use crate::lifecycle::Overfull;
use crate::receipt::Owed;
use crate::rounds::{Added, Unwritten};
use crate::store::Ticket;

impl Turn<'_> {
    /// Ends the turn: submits what is to be stored, and has every link written that got something.
    /// `owed` goes out when the batch is safe.
    pub(crate) fn finish(self, owed: Option<Owed>) {
        let broker = self.broker;
        if let Some(unwritten) = self.finish_in_parts(owed) {
            broker.see_to("links", unwritten.write());
        }
    }

    /// As [`Self::finish`], of one that is followed by others of the same source: the links that are
    /// not written yet, if there are very many.
    pub(crate) fn finish_in_parts(mut self, owed: Option<Owed>) -> Option<Unwritten> {
        self.submit(owed);
        let n_delivered = self.tally.delivered;
        let unwritten = self.broker.rounds.begin(&mut self.spare.dirty, n_delivered);
        self.end();
        unwritten
    }

    /// Ends the turn of a connection: as [`Self::finish`], but the links are written at the end
    /// of the thread's round, or by whoever gets those that are not.
    pub(crate) fn finish_in_round(mut self, owed: Option<Owed>) -> Added {
        self.submit(owed);
        let n_delivered = self.tally.delivered;
        let added = self.broker.rounds.add(&mut self.spare.dirty, n_delivered);
        self.end();
        added
    }

    /// Ends a turn that took messages of another node: they are answered when they are safe.
    pub(crate) fn finish_forwarded(mut self, accepted: Accepted) -> Option<Unwritten> {
        if self.must_commit {
            self.accepted = Some(accepted);
            return self.finish_in_parts(None);
        }
        let unwritten = self.finish_in_parts(None);
        accepted.settle();
        unwritten
    }

    fn submit(&mut self, mut owed: Option<Owed>) {
        let receipt = self.receipt.take();
        let has_changes = !self.batch.is_empty()
            || !self.deliveries.is_empty()
            || !self.repeats.is_empty()
            || !self.published.is_empty()
            || self.accepted.is_some()
            || !self.legs.is_empty();
        let mut spans = std::mem::take(&mut self.spans);
        if let Some(receipt) = &receipt {
            receipt.keep(std::mem::take(&mut spans));
            receipt.seal(owed.take());
            if !has_changes {
                self.broker.settle(receipt.commit());
                return;
            }
        }
        if owed.is_some() || has_changes {
            let ticket = Ticket {
                accepted: self.accepted.take(),
                legs: std::mem::take(&mut self.legs),
                deliveries: std::mem::take(&mut self.deliveries),
                repeats: std::mem::take(&mut self.repeats),
                edges: std::mem::take(&mut self.shelves.edges),
                owed,
                receipt,
                retained: std::mem::take(&mut self.retained),
                published: std::mem::take(&mut self.published),
                waiter: None,
                verdict: None,
                spans,
            };
            self.broker
                .store
                .submit(std::mem::take(&mut self.batch), ticket);
        }
    }

    fn end(mut self) {
        debug_assert!(
            self.parent.is_none(),
            "a leg that nobody finishes holds its packet back"
        );
        for wanted in std::mem::take(&mut self.shelves.wanted) {
            self.broker.load_page(wanted);
        }
        for session in std::mem::take(&mut self.doomed) {
            self.broker.end_overfull(&session, Overfull::Queue);
        }
        self.broker.metrics.add(&self.tally);
        SPARE.with_borrow_mut(|spares| {
            if spares.len() < 4 {
                spares.push(std::mem::take(&mut self.spare));
            }
        });
    }
}
