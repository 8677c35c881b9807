//! One turn of work: everything that follows from one read of a socket, one group of commits,
//! or one timer.
//!
//! A turn collects: packets go into outboxes and their links on a list, changes into one batch.
//! [`Turn::finish`] then hands the batch to the store and writes each link once, however many
//! messages it got. [`route`] finds the sessions of a message, [`deliver`] gives it to one, [`share`]
//! to a member of a group, [`captured`] tells traces of it, [`finish`] is the end. Comes after
//! [`crate::connection`]; what waits for the commit continues in [`crate::completion`].

pub(crate) mod ask;
pub(crate) mod author;
pub(crate) mod bridge;
mod captured;
pub(crate) mod deliver;
pub(crate) mod event;
mod finish;
mod leased;
mod pick;
mod room;
mod route;
pub(crate) mod share;
mod shelves;
pub(crate) mod traced;

use std::cell::RefCell;
use std::sync::Arc;

use arc_swap::Guard;
use gatemq_node::trace::Span;
use gatemq_router::control::lease::Generation;
use gatemq_router::peer::First;
use gatemq_storage::Batch;
use hashbrown::HashMap;

use crate::broker::Broker;
use crate::cluster::answers::Accepted;
use crate::cluster::forward::Forwarded;
use crate::cluster::moves::Before;
use crate::metrics::Tally;
use crate::proto::mqtt::Reason;
use crate::receipt::{IfRefused, Leg, Mark, Receipt, Subject};
use crate::session::frames::Frames;
use crate::session::link::Link;
use crate::session::outbound::Outbound;
use crate::session::received::Origin;
use crate::session::{Asked, Session};
use crate::settings::InForce;
use crate::store::{self, Name, Repeat, Stored};
use crate::vital::has_panicked;
use route::Overlap;
use shelves::Shelves;

/// Packets of one turn, and the bytes that it may cause, before others get theirs.
const PACKETS: u64 = 512;
const WEIGHT: usize = 4 * 1024 * 1024;

/// The work of one turn.
#[derive(Debug)]
pub(crate) struct Turn<'b> {
    pub(crate) broker: &'b Arc<Broker>,
    /// Unix milliseconds, read once.
    pub(crate) now: u64,
    /// Settings that may change from turn to turn.
    pub(crate) settings: Guard<Arc<InForce>>,
    /// Changes of the store.
    pub(crate) batch: Batch,
    /// Whether something in the batch must be safe before its cause is acknowledged.
    pub(crate) must_commit: bool,
    pub(crate) tally: Tally,
    /// Packets for the connection whose turn it is, to go out at its end.
    pub(crate) replies: Vec<u8>,
    /// Packets for it that go out when the batch is safe.
    pub(crate) deferred: Vec<u8>,
    deliveries: Vec<Stored>,
    repeats: Vec<Repeat>,
    shelves: Shelves,
    /// The message that is being routed: the number under which other nodes know it, and when
    /// that was first; 0 if none do.
    pub(crate) message_id: u64,
    pub(crate) stamp: u64,
    /// As which incarnation this gateway takes what comes.
    pub(crate) incarnation: u64,
    /// A stamp from before this turn looked anybody up: who has arrived since may not be found.
    pub(crate) began: u64,
    /// The node that routed it first; 0 for this one.
    pub(crate) source: u64,
    /// Its place among the messages of another node that this turn takes.
    pub(crate) inbound: Option<usize>,
    /// Whether a message of another node counts as taken by now.
    pub(crate) has_taken: bool,
    /// Whether somebody whom it was for has gone to another node.
    pub(crate) is_moved: bool,
    /// What had changed before anything of this turn was routed.
    pub(crate) before: Before,
    /// The lease that there was then.
    pub(crate) lease: Generation,
    /// How many nodes had been added to the table by then.
    pub(crate) n_nodes_added: u64,
    /// And up to which revision of the cluster's state it was known who wants what.
    pub(crate) knows: u64,
    /// The same of the node whose message this turn takes; all there is to know of its own.
    pub(crate) source_knows: u64,
    /// Messages that go to their subscribers when the batch is safe.
    pub(crate) published: Vec<store::Published>,
    /// What has to be done elsewhere before the deferred packets may leave.
    receipt: Option<Arc<Receipt>>,
    /// The packets that depend on it; the last one is still to be written while `is_marked`.
    pub(crate) marks: Vec<Mark>,
    is_marked: bool,
    /// Whether the message that is being routed has a publisher who waits for an acknowledgement.
    pub(crate) has_publisher: bool,
    /// What follows if it is refused.
    pub(crate) if_refused: IfRefused,
    /// Its session, where further publishes of it may have to wait.
    pub(crate) publisher: Option<Arc<Session>>,
    /// The QoS 2 exchange whose message is routed as soon as its identifier is stored.
    pub(crate) exchange: Option<store::Begun>,
    /// What its publisher waits for, of a message of an earlier turn.
    pub(crate) parent: Option<Leg>,
    /// Only sessions that came after this go on: the message has been routed before.
    pub(crate) since: Option<Since>,
    /// Whether it may have been routed before, by whomever: then a member of a group may have it.
    pub(crate) is_repeat: bool,
    /// Whether it is a retained one for a new subscriber, and so for nobody else.
    is_replay: bool,
    /// Whether it is one of a row, a bridge's, which goes on when everybody has taken it: it comes again
    /// until then.
    pub(crate) is_in_row: bool,
    /// Messages of another node that this turn takes.
    accepted: Option<Accepted>,
    /// Legs of messages that are routed again.
    pub(crate) legs: Vec<Leg>,
    /// Retained topics that changed, with the numbers of the changes.
    pub(crate) retained: Vec<(Box<str>, u64)>,
    doomed: Vec<Arc<Session>>,
    /// Spans that end when what this turn did is safe everywhere.
    pub(crate) spans: Vec<Span>,
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

/// When a message was routed before.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Since {
    /// At this stamp, by this gateway for its own subscribers.
    Routed(u64),
    /// When it came from another gateway, or might have.
    Seen(First),
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Published {
    /// Whether any subscriber matched.
    pub(crate) is_matched: bool,
    /// Why it must not be acknowledged with success.
    pub(crate) refused: Option<Reason>,
}

impl Published {
    /// What its publisher is told.
    pub(crate) fn reason(&self) -> Reason {
        match self.refused {
            Some(reason) => reason,
            None if self.is_matched => Reason::Success,
            None => Reason::NoMatchingSubscribers,
        }
    }
}

thread_local! {
    static SPARE: RefCell<Vec<Spare>> = const { RefCell::new(Vec::new()) };
}

impl<'b> Turn<'b> {
    pub(crate) fn new(broker: &'b Arc<Broker>) -> Self {
        Self {
            broker,
            now: broker.clock.now(),
            settings: broker.settings.load(),
            batch: Batch::default(),
            must_commit: false,
            tally: Tally::default(),
            replies: Vec::new(),
            deferred: Vec::new(),
            deliveries: Vec::new(),
            repeats: Vec::new(),
            shelves: Shelves::default(),
            message_id: 0,
            stamp: 0,
            incarnation: broker.incarnation(),
            began: broker.cluster.as_ref().map_or(0, |cluster| cluster.stamp()),
            source: 0,
            inbound: None,
            has_taken: false,
            is_moved: false,
            n_nodes_added: broker.table.n_nodes_added(),
            knows: broker.cluster.as_ref().map_or(0, |cluster| cluster.knows()),
            source_knows: u64::MAX,
            before: broker.moves_before(),
            lease: broker.lease_generation(),
            published: Vec::new(),
            receipt: None,
            marks: Vec::new(),
            is_marked: false,
            has_publisher: false,
            if_refused: IfRefused::default(),
            publisher: None,
            exchange: None,
            parent: None,
            since: None,
            is_repeat: false,
            is_replay: false,
            is_in_row: false,
            accepted: None,
            legs: Vec::new(),
            retained: Vec::new(),
            doomed: Vec::new(),
            spans: Vec::new(),
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

    /// Something else that it caused takes so many bytes.
    pub(crate) fn weigh(&mut self, n_bytes: usize) {
        self.weight += n_bytes + deliver::OVERHEAD;
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

    /// The number under which other nodes know the message that is being routed.
    pub(crate) fn message_id(&mut self) -> u64 {
        if self.message_id == 0 {
            self.message_id = self.broker.store.new_number();
        }
        self.message_id
    }

    /// What a session that has had the message knows it by: who routed it first, and its number.
    pub(crate) fn message_key(&mut self) -> u64 {
        self.origin().key()
    }

    /// Under what all nodes know the message that is being routed.
    pub(crate) fn origin(&mut self) -> Origin {
        let source = match (self.source, &self.broker.cluster) {
            (0, Some(cluster)) => cluster.source,
            (source, _) => source,
        };
        let id = self.message_id();
        Origin { source, id }
    }

    /// Routes a message under what it may have been routed before, by this node or another one:
    /// whoever had it from that time is left out.
    pub(crate) fn go_on(&mut self, origin: Origin) {
        (self.source, self.message_id) = (origin.source, origin.id);
        if let Some(cluster) = &self.broker.cluster {
            let mut seen = cluster.seen.lock();
            let now = First {
                stamp: self.stamp,
                knows: u64::MAX,
            };
            self.since = seen.note(origin.source, origin.id, now).map(Since::Seen);
        }
        // Behind whatever the first time has put into the store.
        self.must_commit |= self.since.is_some();
    }

    /// The same of one that has a name; if others may have tried it, it is asked who has had it.
    pub(crate) fn go_on_as(&mut self, name: Name) {
        self.go_on(name.origin());
        self.is_repeat = name.is_repeat();
        self.is_in_row = matches!(name, Name::Bridged(..));
    }

    /// Goes on with a message that came back: under its number, and for the same publisher.
    pub(crate) fn take_up(&mut self, forwarded: &Forwarded) {
        let Origin { source, id } = forwarded.origin;
        (self.source, self.message_id, self.stamp) = (source, id, forwarded.stamp);
        self.is_repeat = true;
        self.parent = forwarded.leg.as_ref().map(Leg::fork);
        self.has_publisher = self.parent.is_some();
    }

    /// Begins to route a message.
    pub(crate) fn begin_message(&mut self) {
        (self.source, self.message_id, self.stamp) = (0, 0, self.began);
        (self.is_repeat, self.is_replay, self.is_in_row) = (false, false, false);
    }

    /// Something that has to be done before the packet that is written next may leave.
    pub(crate) fn leg(&mut self) -> Leg {
        if let Some(parent) = &self.parent {
            return parent.fork();
        }
        self.is_marked = true;
        let mark = self.marks.len();
        self.receipt().leg(Some(mark))
    }

    /// Something that has to be done before what this turn owes may leave, and cannot fail.
    pub(crate) fn sure_leg(&mut self) -> Leg {
        self.receipt().leg(None)
    }

    /// Something that has to be done before one filter of a SUBSCRIBE is confirmed. The mark has
    /// to be put in its place when the SUBACK is written.
    pub(crate) fn leg_of_filter(&mut self, filter: &str, asked: Option<Asked>, at: usize) -> Leg {
        let mark = self.marks.len();
        self.marks.push(Mark {
            start: at,
            end: at + 1,
            subject: Subject::Subscribe {
                filter: filter.into(),
                asked,
            },
        });
        self.receipt().leg(Some(mark))
    }

    fn receipt(&mut self) -> &Arc<Receipt> {
        let (if_refused, incarnation) = (self.if_refused, self.incarnation);
        let begin = || Receipt::of(if_refused, incarnation);
        self.receipt.get_or_insert_with(begin)
    }

    /// Says where the packet is that depends on the legs that were made last.
    pub(crate) fn mark_packet(&mut self, start: usize, end: usize, subject: Subject) {
        if std::mem::take(&mut self.is_marked) {
            self.marks.push(Mark {
                start,
                end,
                subject,
            });
        }
    }

    /// Whether a packet that acknowledges what this turn did has to wait.
    pub(crate) fn must_wait(&self) -> bool {
        self.must_commit || self.receipt.is_some()
    }

    /// Sends a session what it may be sent now, or when there is a lease again.
    pub(crate) fn pump(&mut self, session: &Arc<Session>) {
        let mut outbound = session.outbound.lock();
        if self.waits_for_lease(session, &mut outbound) {
            return;
        }
        let mut shelf = self.shelves.of(session, self.broker, &mut self.batch);
        self.tally.delivered += outbound.pump(
            &mut shelf,
            &mut self.spare.frames,
            self.now,
            &self.settings.bounds,
        );
        self.mark(session, &mut outbound);
    }

    /// Notes that a session's link may have something to be written.
    pub(crate) fn mark(&mut self, session: &Arc<Session>, outbound: &mut Outbound) {
        if let Some(link) = &mut outbound.link {
            self.spare.mark(session, link);
        }
    }
}

/// A turn that a panic ends is half done. What it has numbered would never be stored, and who was not
/// reached yet would count as having had what other nodes send again: nothing may be acknowledged on
/// top of that.
impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let is_begun = self.has_taken || !self.deliveries.is_empty();
        if is_begun && std::thread::panicking() {
            has_panicked("turn");
        }
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
