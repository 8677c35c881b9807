//! When links are written: at the end of a round of a worker thread, not of each turn.
//!
//! A thread that comes back from waiting has many connections to look at. The first turn that
//! has something for a link puts its own task at the end of the thread's queue; the turns in
//! between only add to the list. When the task runs again it writes each link once, with what
//! all of them had for it: one write instead of one for each publisher. A list belongs to a
//! slot, not to a thread, so that it is found again if the task runs on another one.

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

impl Rounds {
    pub(crate) fn new(clock: Clock, metrics: Arc<Metrics>) -> Arc<Self> {
        let slots = (0..SLOTS).map(|_| Mutex::default()).collect();
        Arc::new(Self {
            clock,
            metrics,
            slots,
        })
    }

    /// Adds links to this thread's round; whoever gets a promise has to come back.
    pub(crate) fn add(self: &Arc<Self>, links: &mut Vec<Arc<Session>>) -> Option<Promise> {
        if links.is_empty() {
            return None;
        }
        let number = SLOT.get();
        let mut slot = self.slots[number].lock();
        slot.links.append(links);
        if std::mem::replace(&mut slot.is_promised, true) {
            return None;
        }
        Some(Promise {
            rounds: self.clone(),
            slot: number,
        })
    }

    fn write(&self, slot: usize) {
        let now = self.clock.now();
        let mut links = {
            let mut slot = self.slots[slot].lock();
            slot.is_promised = false;
            std::mem::take(&mut slot.links)
        };
        let n_written = links.drain(..).map(|session| session.flush(now)).sum();
        self.metrics.bytes_sent.inc_by(n_written);
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
