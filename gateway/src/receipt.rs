//! What a connection is owed for a turn, and what has to be done before it may leave.
//!
//! Most turns wait for one thing at most, the commit of their batch: their [`Owed`] goes with it.
//! What goes to other nodes is awaited, too: the turn then has a [`Receipt`] with a [`Leg`] for
//! each of those things, and whoever does the last of them sends what is owed. A leg may fail:
//! then the packet that would have said yes says no.
//!
//! Turns end in any order, and what they owe leaves in the order of the turns: acknowledgements
//! keep the order of what they acknowledge `[MQTT-4.6.0-2]`.

use std::sync::Arc;

use gatemq_node::trace::Span;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::proto::mqtt::{PacketId, Reason};
use crate::session::acks::Kind;
use crate::session::outbound::Outbound;
use crate::session::received::Print;
use crate::session::{Asked, Life, Session};

/// Packets that a connection is owed: acknowledgements, mostly.
#[derive(Debug)]
pub(crate) struct Owed {
    pub(crate) session: Arc<Session>,
    /// The connection that they are for; a later one of the session does not get them.
    pub(crate) epoch: u64,
    /// Counts what the connection is owed, from 1.
    pub(crate) number: u64,
    pub(crate) packets: Vec<u8>,
    /// How many publishes they acknowledge.
    pub(crate) n_released: u64,
    /// The packets that depend on a leg, in their order.
    pub(crate) marks: Vec<Mark>,
    /// Marks that failed, and why.
    pub(crate) failures: Vec<(usize, Reason)>,
    /// Whether what it confirms was refused by the store: it never leaves, nor does what comes
    /// after it.
    pub(crate) is_void: bool,
    /// Whether the identifiers of exchanges that it refuses are no longer stored.
    pub(crate) is_taken_back: bool,
    /// What waits for this, in turn: what is routed behind a commit has a receipt of its own.
    pub(crate) parent: Option<Leg>,
    /// Somebody without a connection who waits: told why it failed, if it has.
    pub(crate) waiter: Option<oneshot::Sender<Option<Reason>>>,
}

/// Where a packet that may have to say no is.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) subject: Subject,
}

/// What is acknowledged.
#[derive(Debug)]
pub(crate) enum Subject {
    /// A publish. Where this says what becomes of it, and no receipt of its own does, it is known by
    /// its print.
    Publish {
        kind: Kind,
        packet_id: PacketId,
        print: Option<Print>,
    },
    /// The message of a publish of QoS 1 that was stored before it was routed: nothing of its own.
    Retained,
    /// One filter of a SUBSCRIBE: its reason code is the byte at `start`. What was `asked` for is taken
    /// back if it is refused, if no SUBSCRIBE of it has been confirmed.
    Subscribe {
        filter: Box<str>,
        asked: Option<Asked>,
    },
}

/// The mark of a leg that no packet depends on, or that cannot fail.
const NO_MARK: usize = usize::MAX;

/// What follows if a message is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IfRefused {
    /// Its publisher is told, and may publish it again, as another message.
    #[default]
    Told,
    /// Nobody would publish it again: it is acknowledged, or a will.
    Lost,
    /// It comes again under its name, before all that its publisher has behind it; if it is for now.
    InRow,
}

/// What a turn waits for.
#[derive(Debug)]
pub(crate) struct Receipt {
    state: Mutex<State>,
    if_refused: IfRefused,
    /// As which incarnation of this gateway it was begun.
    incarnation: u64,
}

#[derive(Debug)]
struct State {
    /// Legs that are not done; the turn itself is one until it ends.
    n_waiting: usize,
    /// Of those, how many each mark has.
    n_by_mark: Vec<u32>,
    is_sealed: bool,
    owed: Option<Owed>,
    failures: Vec<(usize, Reason)>,
    /// Spans that end when everything is done.
    spans: Vec<Span>,
}

/// Where a message stands among those of its publisher that are not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// None is before it.
    First,
    /// At least one is before it.
    Behind,
    /// Nobody waits for acknowledgements in their order: the connection is gone, or there was none.
    Unknown,
}

/// One thing that has to be done.
#[derive(Debug)]
pub(crate) struct Leg {
    receipt: Arc<Receipt>,
    mark: usize,
}

impl Owed {
    /// What is owed where somebody without a connection waits.
    pub(crate) fn of_nobody(waiter: oneshot::Sender<Option<Reason>>) -> Self {
        // What is owed goes to a session: to one that nobody is connected to.
        let session = Session::new(0, "", Outbound::new(false), Life::default());
        Self {
            session: Arc::new(session),
            epoch: 0,
            number: 0,
            packets: Vec::new(),
            n_released: 0,
            marks: Vec::new(),
            failures: Vec::new(),
            is_void: false,
            is_taken_back: false,
            parent: None,
            waiter: Some(waiter),
        }
    }

    /// What is owed when the message of a QoS 2 exchange is safe: nothing itself.
    pub(crate) fn of_exchange(
        session: Arc<Session>,
        (packet_id, print): (PacketId, Print),
        parent: Option<Leg>,
    ) -> Self {
        let subject = Subject::Publish {
            kind: Kind::Rec,
            packet_id,
            print: Some(print),
        };
        Self::of_message(session, subject, parent)
    }

    /// The same of a retained message of QoS 1 that was stored before.
    pub(crate) fn of_retained(session: Arc<Session>, parent: Option<Leg>) -> Self {
        Self::of_message(session, Subject::Retained, parent)
    }

    fn of_message(session: Arc<Session>, subject: Subject, parent: Option<Leg>) -> Self {
        let mark = Mark {
            start: 0,
            end: 0,
            subject,
        };
        Self {
            session,
            epoch: 0,
            number: 0,
            packets: Vec::new(),
            n_released: 0,
            marks: vec![mark],
            failures: Vec::new(),
            is_void: false,
            is_taken_back: false,
            parent,
            waiter: None,
        }
    }
}

impl Receipt {
    /// A receipt that waits for the end of its turn.
    pub(crate) fn new(incarnation: u64) -> Arc<Self> {
        Self::of(IfRefused::Told, incarnation)
    }

    /// The same, of messages of which this follows if they are refused.
    pub(crate) fn of(if_refused: IfRefused, incarnation: u64) -> Arc<Self> {
        let state = State {
            n_waiting: 1,
            n_by_mark: Vec::new(),
            is_sealed: false,
            owed: None,
            failures: Vec::new(),
            spans: Vec::new(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            if_refused,
            incarnation,
        })
    }

    /// Another thing to wait for; the packet of this mark depends on it.
    pub(crate) fn leg(self: &Arc<Self>, mark: Option<usize>) -> Leg {
        let mut state = self.state.lock();
        state.n_waiting += 1;
        if let Some(mark) = mark {
            if state.n_by_mark.len() <= mark {
                state.n_by_mark.resize(mark + 1, 0);
            }
            state.n_by_mark[mark] += 1;
        }
        drop(state);
        Leg {
            receipt: self.clone(),
            mark: mark.unwrap_or(NO_MARK),
        }
    }

    /// Spans that end when nothing is left to wait for.
    pub(crate) fn keep(&self, spans: Vec<Span>) {
        if !spans.is_empty() {
            self.state.lock().spans = spans;
        }
    }

    /// The turn has ended, with these packets; what is owed if nothing is left to wait for.
    pub(crate) fn seal(&self, owed: Option<Owed>) {
        let mut state = self.state.lock();
        (state.owed, state.is_sealed) = (owed, true);
    }

    /// What of the turn was to be stored for its own session was refused, if that is one of these:
    /// whenever the rest is done, nothing of it is confirmed.
    pub(crate) fn void(&self, is_refused: impl Fn(u64) -> bool) {
        if let Some(owed) = &mut self.state.lock().owed {
            owed.is_void |= is_refused(owed.session.number);
        }
    }

    /// One thing less to wait for: the commit.
    pub(crate) fn commit(&self) -> Option<Owed> {
        self.done(NO_MARK, None)
    }

    fn done(&self, mark: usize, failure: Option<Reason>) -> Option<Owed> {
        let mut state = self.state.lock();
        state.failures.extend(failure.map(|reason| (mark, reason)));
        if let Some(n_legs) = state.n_by_mark.get_mut(mark) {
            *n_legs -= 1;
        }
        state.n_waiting -= 1;
        if state.n_waiting > 0 {
            return None;
        }
        state.spans.clear();
        let mut owed = state.owed.take()?;
        owed.failures = std::mem::take(&mut state.failures);
        Some(owed)
    }
}

impl Leg {
    /// Another thing to be done for the same packet.
    pub(crate) fn fork(&self) -> Self {
        let mark = (self.mark != NO_MARK).then_some(self.mark);
        self.receipt.leg(mark)
    }

    /// Whether it is for the same packet as another one.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.receipt, &other.receipt) && self.mark == other.mark
    }

    /// Whether nobody would publish the message again if it were refused.
    pub(crate) fn is_orphan(&self) -> bool {
        self.receipt.if_refused == IfRefused::Lost
    }

    /// Whether the message comes again if it is refused, before all that its publisher has behind it.
    pub(crate) fn is_in_row(&self) -> bool {
        self.receipt.if_refused == IfRefused::InRow
    }

    /// Whether nobody waits for it any more once this gateway is this incarnation: it was taken for
    /// gone meanwhile, and whoever published the message publishes it again elsewhere. Routed here
    /// once more, it would come behind what was published since.
    pub(crate) fn is_stale(&self, incarnation: u64) -> bool {
        !self.is_orphan() && self.receipt.incarnation != incarnation
    }

    /// It is done, or has failed for this reason. Returns what may leave now.
    #[must_use = "what is owed has to be sent"]
    pub(crate) fn done(self, failure: Option<Reason>) -> Option<Owed> {
        self.receipt.done(self.mark, failure)
    }

    /// Where the message that it is for stands among those of its publisher.
    pub(crate) fn standing(&self) -> Standing {
        match self.turn() {
            TurnOf::Behind => Standing::Behind,
            TurnOf::Nobody => Standing::Unknown,
            TurnOf::Connection(session, epoch, number) => session.standing_of(epoch, number),
        }
    }

    fn turn(&self) -> TurnOf {
        let state = self.receipt.state.lock();
        let before = &state.n_by_mark[..self.mark.min(state.n_by_mark.len())];
        if !state.is_sealed || before.iter().any(|n_legs| *n_legs > 0) {
            return TurnOf::Behind;
        }
        match &state.owed {
            None => TurnOf::Nobody,
            Some(owed) => match &owed.parent {
                Some(parent) => parent.turn(),
                None if owed.number == 0 => TurnOf::Nobody,
                None => TurnOf::Connection(owed.session.clone(), owed.epoch, owed.number),
            },
        }
    }
}

/// Whose turn a leg belongs to.
enum TurnOf {
    /// Something before it in that turn is not done.
    Behind,
    Nobody,
    /// The connection of this epoch, and the turn's number there.
    Connection(Arc<Session>, u64, u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owed() -> Owed {
        let session = Session::new(1, "c", Outbound::new(false), Life::default());
        Owed {
            session: Arc::new(session),
            epoch: 1,
            number: 1,
            packets: vec![1],
            n_released: 1,
            marks: Vec::new(),
            failures: Vec::new(),
            is_void: false,
            is_taken_back: false,
            parent: None,
            waiter: None,
        }
    }

    #[test]
    fn what_is_owed_leaves_with_the_last_thing_that_it_waits_for() {
        let receipt = Receipt::new(1);
        let (first, second) = (receipt.leg(Some(0)), receipt.leg(Some(1)));
        assert!(second.done(Some(Reason::QuotaExceeded)).is_none());
        receipt.seal(Some(owed()));
        assert!(receipt.commit().is_none());
        let owed = first.done(None).expect("nothing is left to wait for");
        assert_eq!(owed.failures, [(1, Reason::QuotaExceeded)]);
    }

    #[test]
    fn what_a_refused_session_is_owed_stays_void_until_the_last_leg() {
        let receipt = Receipt::new(1);
        let leg = receipt.leg(None);
        receipt.seal(Some(owed()));
        receipt.void(|session| session == 2);
        receipt.void(|session| session == 1);
        receipt.void(|_| false);
        assert!(receipt.commit().is_none());
        assert!(leg.done(None).expect("it was the last").is_void);
    }

    #[test]
    fn a_message_is_first_when_nothing_before_it_is_open() {
        let receipt = Receipt::new(1);
        let (first, second) = (receipt.leg(Some(0)), receipt.leg(Some(1)));
        assert_eq!(first.standing(), Standing::Behind, "its turn goes on");
        receipt.seal(Some(owed()));
        // Its connection is gone.
        assert_eq!(first.standing(), Standing::Unknown);
        assert_eq!(second.standing(), Standing::Behind);
        let again = first.fork();
        assert!(first.done(None).is_none());
        assert_eq!(second.standing(), Standing::Behind);
        assert!(again.done(None).is_none());
        assert_eq!(second.standing(), Standing::Unknown);
        // What an exchange waits for stands where its publish does.
        let exchange = Receipt::new(1);
        let leg = exchange.leg(Some(0));
        let mut of_exchange = owed();
        (of_exchange.number, of_exchange.parent) = (0, Some(second));
        exchange.seal(Some(of_exchange));
        assert_eq!(leg.standing(), Standing::Unknown);
        let before = receipt.leg(Some(0));
        assert_eq!(leg.standing(), Standing::Behind);
        drop(before);
    }

    #[test]
    fn a_leg_that_is_done_at_once_does_not_end_the_turn() {
        let receipt = Receipt::new(1);
        assert!(receipt.leg(None).done(None).is_none());
        receipt.seal(Some(owed()));
        assert!(receipt.commit().is_some());
    }
}
