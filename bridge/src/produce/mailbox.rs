//! What waits for the thread that produces: records, reports, flows that are opened and closed, and
//! that there is something to look at. It is woken once for all that waits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::budget::Budget;
use super::window::Answer;
use super::{Feed, Order, Terms};

/// The mailbox of one thread.
#[derive(Default)]
pub(crate) struct Mailbox {
    letters: Mutex<Letters>,
    news: Condvar,
}

/// What was in it.
#[derive(Default)]
pub(crate) struct Letters {
    /// Flows that begin, before any of their records.
    pub(super) opened: Vec<(usize, Opened)>,
    /// Records, each for a flow, in order.
    pub(super) orders: Vec<(usize, Order)>,
    /// Flows that end, and who gets what is open.
    pub(super) closed: Vec<(usize, Sender<Vec<Order>>)>,
    /// Flows that take no records any more.
    ended: BTreeSet<usize>,
    /// What became of records.
    pub(crate) reports: Vec<Report>,
    /// Whether there is something else to look at: the client's state, or a spool.
    pub(super) must_look: bool,
    /// Whether to end.
    pub(super) must_stop: bool,
}

/// What a flow begins with.
pub(super) type Opened = (Feed, Arc<Budget>, Arc<Terms>);

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

/// Why a record is not handed over.
pub(super) enum Refused {
    /// The thread takes none any more.
    Ended(Order),
    /// The flow is closed.
    Closed(Order),
}

// === impl Mailbox ===

impl Mailbox {
    /// Hands over a record.
    pub(super) fn order(&self, flow: usize, order: Order) -> Result<(), Refused> {
        let mut letters = self.letters.lock();
        if letters.must_stop {
            return Err(Refused::Ended(order));
        }
        if letters.ended.contains(&flow) {
            return Err(Refused::Closed(order));
        }
        letters.orders.push((flow, order));
        drop(letters);
        self.news.notify_one();
        Ok(())
    }

    /// Begins a flow.
    pub(super) fn open(&self, flow: usize, opened: Opened) {
        let mut letters = self.letters.lock();
        letters.ended.remove(&flow);
        letters.opened.push((flow, opened));
        drop(letters);
        self.news.notify_one();
    }

    /// Ends a flow: the other end gets what is open when the thread has let go of it.
    pub(super) fn close(&self, flow: usize, tell: Sender<Vec<Order>>) {
        let mut letters = self.letters.lock();
        letters.ended.insert(flow);
        if !letters.must_stop {
            letters.closed.push((flow, tell));
        }
        drop(letters);
        self.news.notify_one();
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
    pub(crate) fn wait(&self, until: Instant, into: &mut Letters) {
        let mut letters = self.letters.lock();
        while letters.is_silent() {
            if self.news.wait_until(&mut letters, until).timed_out() {
                break;
            }
        }
        into.opened.append(&mut letters.opened);
        into.orders.append(&mut letters.orders);
        into.closed.append(&mut letters.closed);
        into.reports.append(&mut letters.reports);
        into.must_look = std::mem::take(&mut letters.must_look);
        into.must_stop = letters.must_stop;
    }
}

// === impl Letters ===

impl Letters {
    fn is_silent(&self) -> bool {
        let is_empty = self.orders.is_empty() && self.reports.is_empty();
        let is_settled = self.opened.is_empty() && self.closed.is_empty();
        is_empty && is_settled && !self.must_look && !self.must_stop
    }
}
