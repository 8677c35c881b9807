//! One turn of work: everything that follows from one read of a socket, one group of commits,
//! or one timer.
//!
//! A turn collects: packets go into outboxes and their links on a list, changes into one batch.
//! [`Turn::finish`] then hands the batch to the store and writes each link once, however many
//! messages it got. [`route`] finds the sessions of a message, [`deliver`] gives it to one,
//! [`share`] to a member of a group. Comes after [`crate::connection`]; what waits for the commit
//! continues in [`crate::completion`].

mod deliver;
mod route;
mod share;

use std::cell::RefCell;
use std::sync::Arc;

use gatemq_storage::Batch;
use hashbrown::HashMap;

use crate::broker::Broker;
use crate::metrics::Tally;
use crate::proto::mqtt::Reason;
use crate::rounds::Promise;
use crate::session::Session;
use crate::session::frames::Frames;
use crate::session::link::Link;
use crate::session::outbound::Outbound;
use crate::store::{Owed, QueueShelf, Ticket};
use route::Overlap;

/// Packets of one turn, and the bytes that it may cause, before others get theirs.
const PACKETS: u64 = 512;
const WEIGHT: usize = 4 * 1024 * 1024;

/// The work of one turn.
#[derive(Debug)]
pub(crate) struct Turn<'b> {
    pub(crate) broker: &'b Arc<Broker>,
    /// Unix milliseconds, read once.
    pub(crate) now: u64,
    /// Changes of the store.
    pub(crate) batch: Batch,
    /// Whether something in the batch must be safe before its cause is acknowledged.
    pub(crate) must_commit: bool,
    pub(crate) tally: Tally,
    /// Packets for the connection whose turn it is, to go out at its end.
    pub(crate) replies: Vec<u8>,
    /// Packets for it that go out when the batch is safe.
    pub(crate) deferred: Vec<u8>,
    deliveries: Vec<(Arc<Session>, u64)>,
    /// Retained topics that changed, with the numbers of the changes.
    pub(crate) retained: Vec<(Box<str>, u64)>,
    doomed: Vec<Arc<Session>>,
    /// Bytes that this turn has put into outboxes, queues and the batch, roughly.
    weight: usize,
    /// The body that was stored last.
    stored_body: u64,
    spare: Spare,
}

/// What is kept from turn to turn for its buffers.
#[derive(Debug, Default)]
struct Spare {
    frames: Frames,
    dirty: Vec<Arc<Session>>,
    overlapping: HashMap<u64, Overlap>,
    value: Vec<u8>,
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Published {
    /// Whether any subscriber matched.
    pub(crate) is_matched: bool,
    /// Why it must not be acknowledged with success.
    pub(crate) refused: Option<Reason>,
}

thread_local! {
    static SPARE: RefCell<Vec<Spare>> = const { RefCell::new(Vec::new()) };
}

impl<'b> Turn<'b> {
    pub(crate) fn new(broker: &'b Arc<Broker>) -> Self {
        Self {
            broker,
            now: broker.clock.now(),
            batch: Batch::default(),
            must_commit: false,
            tally: Tally::default(),
            replies: Vec::new(),
            deferred: Vec::new(),
            deliveries: Vec::new(),
            retained: Vec::new(),
            doomed: Vec::new(),
            weight: 0,
            stored_body: 0,
            spare: SPARE.with_borrow_mut(Vec::pop).unwrap_or_default(),
        }
    }

    /// Whether this turn has done so much that it should end.
    pub(crate) fn is_enough(&self) -> bool {
        self.tally.packets_in >= PACKETS || self.is_heavy()
    }

    /// Whether what this turn caused should be written before more is.
    pub(crate) fn is_heavy(&self) -> bool {
        self.weight >= WEIGHT
    }

    /// Where packets for the connection whose turn it is go: out at the end of the turn, or on
    /// its ticket.
    pub(crate) fn packets(&mut self, is_deferred: bool) -> &mut Vec<u8> {
        self.tally.packets_out += 1;
        if is_deferred {
            &mut self.deferred
        } else {
            &mut self.replies
        }
    }

    /// Sends a session what it may be sent now.
    pub(crate) fn pump(&mut self, session: &Arc<Session>) {
        let mut outbound = session.outbound.lock();
        let mut shelf = QueueShelf {
            store: &self.broker.store,
            session: session.number,
            batch: &mut self.batch,
        };
        self.tally.delivered += outbound.pump(
            &mut shelf,
            &mut self.spare.frames,
            self.now,
            &self.broker.bounds,
        );
        self.mark(session, &mut outbound);
    }

    /// Notes that a session's link may have something to be written.
    pub(crate) fn mark(&mut self, session: &Arc<Session>, outbound: &mut Outbound) {
        if let Some(link) = &mut outbound.link {
            self.spare.mark(session, link);
        }
    }

    /// Ends the turn: submits what is to be stored, and writes every link that got something.
    /// `owed` goes out when the batch is safe.
    pub(crate) fn finish(mut self, owed: Option<Owed>) {
        self.submit(owed);
        while let Some(session) = self.spare.dirty.pop() {
            self.tally.bytes_out += session.flush(self.now);
        }
        self.end();
    }

    /// Ends the turn of a connection: as [`Self::finish`], but the links are written at the end
    /// of the thread's round. Whoever gets the promise has to come back for that.
    pub(crate) fn finish_in_round(mut self, owed: Option<Owed>) -> Option<Promise> {
        self.submit(owed);
        let promise = self.broker.rounds.add(&mut self.spare.dirty);
        self.end();
        promise
    }

    fn submit(&mut self, owed: Option<Owed>) {
        if owed.is_some() || !self.batch.is_empty() || !self.deliveries.is_empty() {
            let ticket = Ticket {
                deliveries: std::mem::take(&mut self.deliveries),
                owed,
                retained: std::mem::take(&mut self.retained),
                waiter: None,
            };
            self.broker
                .store
                .submit(std::mem::take(&mut self.batch), ticket);
        }
    }

    fn end(mut self) {
        for session in std::mem::take(&mut self.doomed) {
            self.broker.end_overfull(&session);
        }
        self.broker.metrics.add(&self.tally);
        SPARE.with_borrow_mut(|spares| {
            if spares.len() < 4 {
                spares.push(self.spare);
            }
        });
    }
}

impl Spare {
    fn mark(&mut self, session: &Arc<Session>, link: &mut Link) {
        if !link.is_dirty && !link.outbox.is_empty() {
            link.is_dirty = true;
            self.dirty.push(session.clone());
        }
    }
}
