//! What waits for the thread that produces: records, reports, and that there is something to look
//! at. It is woken once for all that waits.

use parking_lot::{Condvar, Mutex};
use std::time::Instant;

use super::Order;
use super::window::Answer;

/// The mailbox of one thread.
#[derive(Default)]
pub(crate) struct Mailbox {
    letters: Mutex<Letters>,
    news: Condvar,
}

/// What was in it.
#[derive(Default)]
pub(super) struct Letters {
    /// Records, each for a flow, in order.
    pub(super) orders: Vec<(usize, Order)>,
    /// What became of records.
    pub(super) reports: Vec<Report>,
    /// Whether there is something else to look at: the client's state, or a spool.
    pub(super) must_look: bool,
    /// Whether to end.
    pub(super) must_stop: bool,
}

/// What became of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// Which client says so.
    pub(crate) generation: u64,
    /// The flow that the record is of.
    pub(crate) flow: usize,
    /// Its number there.
    pub(crate) number: u64,
    /// What became of it.
    pub(crate) answer: Answer,
}

// === impl Mailbox ===

impl Mailbox {
    /// Hands over a record; `false` if the thread takes none any more.
    pub(super) fn order(&self, flow: usize, order: Order) -> Result<(), Order> {
        let mut letters = self.letters.lock();
        if letters.must_stop {
            return Err(order);
        }
        letters.orders.push((flow, order));
        drop(letters);
        self.news.notify_one();
        Ok(())
    }

    /// Tells what became of a record.
    pub(crate) fn report(&self, report: Report) {
        self.letters.lock().reports.push(report);
        self.news.notify_one();
    }

    /// Tells that there is something to look at.
    pub(crate) fn look(&self) {
        self.letters.lock().must_look = true;
        self.news.notify_one();
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.letters.lock().must_stop = true;
        self.news.notify_one();
    }

    /// Waits for news, or until then. Takes all there is.
    pub(super) fn wait(&self, until: Instant, into: &mut Letters) {
        let mut letters = self.letters.lock();
        while letters.is_silent() {
            if self.news.wait_until(&mut letters, until).timed_out() {
                break;
            }
        }
        into.orders.append(&mut letters.orders);
        into.reports.append(&mut letters.reports);
        into.must_look = std::mem::take(&mut letters.must_look);
        into.must_stop = letters.must_stop;
    }
}

// === impl Letters ===

impl Letters {
    fn is_silent(&self) -> bool {
        self.orders.is_empty() && self.reports.is_empty() && !self.must_look && !self.must_stop
    }
}
