//! When links are written: at the end of a round of a worker thread, not of each turn.
//!
//! A thread that comes back from waiting has many connections to look at. The first turn that
//! has something for a link puts its own task at the end of the thread's queue; the turns in
//! between only add to the list. When the task runs again it writes each link once, with what
//! all of them had for it: one write instead of one for each publisher. A list belongs to a
//! slot, not to a thread, so that it is found again if the task runs on another one.
//!
//! A message with very many subscribers has a list of its own, [`Unwritten`]: a write costs
//! microseconds, and thousands of them in one go would keep all other clients of the thread waiting.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::session::Session;

/// Slots; threads beyond that many share them.
const SLOTS: usize = 64;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SLOT: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS);
}

/// Links that are written in one go: a fraction of a millisecond.
const AT_ONCE: usize = 64;

/// The links of each slot that have something to be written.
#[derive(Debug)]
pub(crate) struct Rounds {
    clock: Clock,
    metrics: Arc<Metrics>,
    slots: Box<[Mutex<Slot>]>,
}

#[derive(Debug, Default)]
struct Slot {
    links: Vec<Arc<Session>>,
    /// Whether a task will come back to write them.
    is_promised: bool,
}

/// The duty to write the links of a slot. Kept when it is dropped, too.
#[derive(Debug)]
pub(crate) struct Promise {
    rounds: Arc<Rounds>,
    slot: usize,
}

/// Links that are written some at a time, all of them when it is dropped.
#[derive(Debug)]
pub(crate) struct Unwritten {
    rounds: Arc<Rounds>,
    links: Vec<Arc<Session>>,
}

/// What became of links that were to be written.
#[derive(Debug)]
#[must_use]
pub(crate) enum Added {
    /// They are seen to.
    Done,
    /// The thread's round needs somebody who comes back.
    Promised(Promise),
    /// They are too many for a round.
    Own(Unwritten),
}

impl Rounds {
    pub(crate) fn new(clock: Clock, metrics: Arc<Metrics>) -> Arc<Self> {
        let slots = (0..SLOTS).map(|_| Mutex::default()).collect();
        Arc::new(Self {
            clock,
            metrics,
            slots,
        })
    }

    /// Adds links to this thread's round, unless there would be too many.
    pub(crate) fn add(self: &Arc<Self>, links: &mut Vec<Arc<Session>>) -> Added {
        if links.is_empty() {
            return Added::Done;
        }
        let number = SLOT.get();
        let mut slot = self.slots[number].lock();
        if slot.links.len() + links.len() > AT_ONCE {
            return Added::Own(self.own(links));
        }
        slot.links.append(links);
        match std::mem::replace(&mut slot.is_promised, true) {
            true => Added::Done,
            false => Added::Promised(Promise {
                rounds: self.clone(),
                slot: number,
            }),
        }
    }

    /// Writes links, as many as are written in one go; the others are not written yet.
    pub(crate) fn begin(self: &Arc<Self>, links: &mut Vec<Arc<Session>>) -> Option<Unwritten> {
        if links.len() > AT_ONCE {
            return Some(self.own(links));
        }
        self.flush(links.drain(..));
        None
    }

    fn own(self: &Arc<Self>, links: &mut Vec<Arc<Session>>) -> Unwritten {
        Unwritten {
            rounds: self.clone(),
            links: std::mem::take(links),
        }
    }

    fn flush(&self, links: impl Iterator<Item = Arc<Session>>) {
        let now = self.clock.now();
        let n_written = links.map(|session| session.flush(now)).sum();
        self.metrics.bytes_sent.inc_by(n_written);
    }

    fn write(&self, slot: usize) {
        let mut links = {
            let mut slot = self.slots[slot].lock();
            slot.is_promised = false;
            std::mem::take(&mut slot.links)
        };
        self.flush(links.drain(..));
        let mut slot = self.slots[slot].lock();
        if slot.links.capacity() == 0 {
            slot.links = links; // keeps its buffer
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.rounds.write(self.slot);
    }
}

impl Unwritten {
    /// Writes some; whether all are written.
    pub(crate) fn write_some(&mut self) -> bool {
        let rest = self.links.len().saturating_sub(AT_ONCE);
        self.rounds.flush(self.links.drain(rest..));
        self.links.is_empty()
    }

    /// Writes all, and lets others go on in between.
    pub(crate) async fn write(mut self) {
        while !self.write_some() {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        while !self.write_some() {}
    }
}
