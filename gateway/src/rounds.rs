//! When links are written: at the end of a round of a worker thread, not of each turn.
//!
//! A thread that comes back from waiting has many connections to look at. The first turn that
//! has something for a link puts its own task at the end of the thread's queue; the turns in
//! between only add to the list. When the task runs again it writes each link once, with what
//! all of them had for it: one write instead of one for each publisher. A list belongs to a
//! slot, not to a thread, so that it is found again if the task runs on another one.
//!
//! A write costs microseconds, and thousands of them in one go would keep all other clients of the
//! thread waiting. So the links of messages with very many subscribers are in one queue for all
//! threads, and whoever sent such messages writes some of it, first in first out, each time it is its
//! turn ([`Unwritten`]): it goes on when its own have been written, however many others there are.

use std::cell::Cell;
use std::collections::VecDeque;
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
    queue: Mutex<Queue>,
}

/// Links of messages with very many subscribers.
#[derive(Debug, Default)]
struct Queue {
    links: VecDeque<Arc<Session>>,
    /// How many have been taken out of it.
    n_taken: u64,
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

/// The duty to write the queue up to some link, some at a time; all of that when it is dropped.
#[derive(Debug)]
pub(crate) struct Unwritten {
    rounds: Arc<Rounds>,
    /// How many have been taken out by then.
    upto: u64,
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
    Queued(Unwritten),
}

impl Rounds {
    pub(crate) fn new(clock: Clock, metrics: Arc<Metrics>) -> Arc<Self> {
        let slots = (0..SLOTS).map(|_| Mutex::default()).collect();
        Arc::new(Self {
            clock,
            metrics,
            slots,
            queue: Mutex::default(),
        })
    }

    /// Adds the links that got something in a turn, and are on no list yet, to this thread's round, or
    /// to the queue if they are too many.
    pub(crate) fn add(self: &Arc<Self>, links: &mut Vec<Arc<Session>>, n_delivered: u64) -> Added {
        if links.is_empty() {
            return match self.behind(n_delivered) {
                Some(unwritten) => Added::Queued(unwritten),
                None => Added::Done,
            };
        }
        let number = SLOT.get();
        let mut slot = self.slots[number].lock();
        if slot.links.len() + links.len() > AT_ONCE {
            return Added::Queued(self.enqueue(links));
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

    /// Writes links, unless they are too many: then they are in the queue.
    pub(crate) fn begin(
        self: &Arc<Self>,
        links: &mut Vec<Arc<Session>>,
        n_delivered: u64,
    ) -> Option<Unwritten> {
        if links.len() > AT_ONCE {
            return Some(self.enqueue(links));
        }
        if links.is_empty() {
            return self.behind(n_delivered);
        }
        self.flush(links.drain(..));
        None
    }

    fn enqueue(self: &Arc<Self>, links: &mut Vec<Arc<Session>>) -> Unwritten {
        let mut queue = self.queue.lock();
        queue.links.extend(links.drain(..));
        self.upto_the_last(&queue)
    }

    /// Of a turn with very many deliveries all links may be in the queue already, through others: it
    /// waits for them, too, or nothing would hold it back.
    fn behind(self: &Arc<Self>, n_delivered: u64) -> Option<Unwritten> {
        if n_delivered <= AT_ONCE as u64 {
            return None;
        }
        let queue = self.queue.lock();
        (!queue.links.is_empty()).then(|| self.upto_the_last(&queue))
    }

    fn upto_the_last(self: &Arc<Self>, queue: &Queue) -> Unwritten {
        Unwritten {
            rounds: self.clone(),
            upto: queue.n_taken + queue.links.len() as u64,
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
    /// Writes some; whether all are written, or are being so by others.
    fn write_some(&mut self) -> bool {
        let (some, is_done) = {
            let mut queue = self.rounds.queue.lock();
            let n_left = self.upto.saturating_sub(queue.n_taken);
            let n_some = n_left.min(AT_ONCE as u64);
            queue.n_taken += n_some;
            let some: Vec<_> = queue.links.drain(..n_some as usize).collect();
            (some, n_left == n_some)
        };
        self.rounds.flush(some.into_iter());
        is_done
    }

    /// Writes some of what is unwritten, if anything is: nothing is left of the duty when all is.
    pub(crate) fn advance(unwritten: &mut Option<Self>) {
        if unwritten.as_mut().is_none_or(Self::write_some) {
            *unwritten = None;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Life;
    use crate::session::outbound::Outbound;

    fn links(n_links: u64) -> Vec<Arc<Session>> {
        let link = |number| {
            let session = Session::new(number, "c", Outbound::new(false), Life::default());
            Arc::new(session)
        };
        (0..n_links).map(link).collect()
    }

    fn queued(added: Added) -> Unwritten {
        match added {
            Added::Queued(unwritten) => unwritten,
            added => panic!("{added:?}"),
        }
    }

    #[test]
    fn a_round_has_few_links_and_very_many_are_queued() {
        let rounds = Rounds::new(Clock::start(), Arc::new(Metrics::default()));
        let Added::Promised(promise) = rounds.add(&mut links(40), 40) else {
            panic!("the first one writes them");
        };
        assert!(matches!(rounds.add(&mut links(20), 20), Added::Done));
        assert!(queued(rounds.add(&mut links(20), 20)).write_some());
        drop(promise);
        assert!(rounds.begin(&mut links(64), 1_000).is_none());
        let mut first = queued(rounds.add(&mut links(200), 200));
        // All that it delivered to is in the queue already.
        let mut second = queued(rounds.add(&mut Vec::new(), 200));
        assert!(matches!(rounds.add(&mut Vec::new(), 5), Added::Done));
        let third = rounds.begin(&mut links(100), 100).expect("very many");
        for _ in 0..3 {
            assert!(!first.write_some());
        }
        assert!(second.write_some() && first.write_some());
        assert_eq!(rounds.queue.lock().links.len(), 100);
        drop(third);
        assert!(rounds.queue.lock().links.is_empty());
    }
}
