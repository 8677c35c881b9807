//! What is to be done when a batch is safe.

use std::sync::Arc;

use gatemq_node::trace::Span;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::cluster::answers::Accepted;
use crate::message::Message;
use crate::proto::mqtt::{PacketId, Qos};
use crate::receipt::{Leg, Owed, Receipt};
use crate::session::Session;
use crate::session::queued::Share;
use crate::session::received::{Origin, Print};
use crate::store::redis::Verdict;

/// Goes with a batch through the commit.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    /// Messages that a stored session may be sent now.
    pub(crate) deliveries: Vec<Stored>,
    /// Messages that were on their way to a session when they came again.
    pub(crate) repeats: Vec<Repeat>,
    /// Up to where queues may be sent now.
    pub(crate) edges: Vec<(Arc<Session>, u64)>,
    /// Packets that a connection is owed now.
    pub(crate) owed: Option<Owed>,
    /// What waits for more than the commit.
    pub(crate) receipt: Option<Arc<Receipt>>,
    /// Messages of other nodes that are safe with the batch.
    pub(crate) accepted: Option<Accepted>,
    /// Legs of messages that were routed again.
    pub(crate) legs: Vec<Leg>,
    /// Retained topics that were set or cleared, each with the number of that change.
    pub(crate) retained: Vec<(Box<str>, u64)>,
    /// Messages that go to their subscribers now: retained ones, and of QoS 2.
    pub(crate) published: Vec<Published>,
    /// Whoever waits for the commit: told whether all of it is safe.
    pub(crate) waiter: Option<oneshot::Sender<bool>>,
    /// What of the batch was refused, where it can be.
    pub(crate) verdict: Option<Verdict>,
    /// Spans that end with it.
    pub(crate) spans: Vec<Span>,
}

/// What a ticket, or one message on it, takes in memory beside its bytes, roughly.
const OVERHEAD: usize = 512;

impl Ticket {
    /// Takes out everything that acknowledges or answers something.
    pub(super) fn take_acknowledgements(&mut self) -> Self {
        let of_deliveries = self.deliveries.iter_mut();
        let of_deliveries = of_deliveries.filter_map(|stored| stored.again.as_mut()?.leg.take());
        let of_published = self.published.iter_mut();
        let of_published = of_published.filter_map(|published| published.leg.take());
        Self {
            legs: of_deliveries
                .chain(of_published)
                .chain(self.legs.drain(..))
                .collect(),
            owed: self.owed.take(),
            receipt: self.receipt.take(),
            accepted: self.accepted.take(),
            ..Self::default()
        }
    }

    /// The bytes that it takes in memory until it is done, beside those of its batch.
    pub(crate) fn weight(&self) -> usize {
        let owed = self.owed.as_ref().map_or(0, |owed| owed.packets.len());
        let published = self.published.iter();
        let published = published.map(|published| published.message.as_ref().as_ref().size());
        let n_messages =
            self.published.len() + self.deliveries.len() + self.repeats.len() + self.edges.len();
        owed + published.sum::<usize>() + (1 + n_messages) * OVERHEAD
    }
}

impl Name {
    pub(crate) fn origin(self) -> Origin {
        match self {
            Self::Will(origin) | Self::Bridged(origin, _) => origin,
        }
    }

    /// Whether somebody may have had the message.
    pub(crate) fn is_repeat(self) -> bool {
        match self {
            Self::Will(_) => true, // others look after the same will
            Self::Bridged(_, was_sent) => was_sent,
        }
    }

    /// Under what a message of this QoS is kept as a retained one once: there are few of QoS 2, and
    /// of wills.
    pub(crate) fn kept_as(self, qos: Qos) -> Option<Origin> {
        match self {
            Self::Bridged(..) if qos < Qos::ExactlyOnce => None,
            Self::Will(origin) | Self::Bridged(origin, _) => Some(origin),
        }
    }
}

/// A message in the queue of a stored session.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) session: Arc<Session>,
    pub(crate) seq: u64,
    /// What is needed to route it again, where the session may turn out to be another gateway's.
    pub(crate) again: Option<Box<Again>>,
}

impl Stored {
    /// Whether another member could have it.
    pub(crate) fn is_of_group(&self) -> bool {
        self.again
            .as_ref()
            .is_some_and(|again| again.share.is_some())
    }
}

/// A message that is on its way into a session's queue, and that somebody else routed, too.
#[derive(Debug)]
pub(crate) struct Repeat {
    pub(crate) session: Arc<Session>,
    pub(crate) again: Box<Again>,
}

/// A message that may have to be routed again.
#[derive(Debug)]
pub(crate) struct Again {
    pub(crate) message: Arc<Message>,
    /// What a session that has had it knows it by.
    pub(crate) key: u64,
    /// As what QoS the session remembers it.
    pub(crate) qos: Qos,
    /// Under what other nodes know it, and when it was routed first.
    pub(crate) origin: Origin,
    pub(crate) stamp: u64,
    /// The group that it came through.
    pub(crate) share: Option<Arc<Share>>,
    /// What its publisher waits for, a client of this gateway.
    pub(crate) leg: Option<Leg>,
    /// Its place among the messages of another node that the turn took.
    pub(crate) inbound: Option<usize>,
}

/// A message that goes to its subscribers when the batch is safe.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) message: Arc<Message>,
    pub(crate) client_id: Box<str>,
    /// As whom the client is known, where there is no session to ask.
    pub(crate) username: Box<str>,
    /// What its publisher waits for.
    pub(crate) leg: Option<Leg>,
    /// The session that published it, and whether its further publishes wait for it.
    pub(crate) publisher: Option<Arc<Session>>,
    pub(crate) is_held: bool,
    /// Whether it is still to be kept as its topic's retained message, before it is routed.
    pub(crate) is_unkept: bool,
    /// The QoS 2 exchange that it begins.
    pub(crate) exchange: Option<Begun>,
    /// Under what it may have been routed before, if it is no client's publish.
    pub(crate) name: Option<Name>,
    /// Whether it was not stored, and its publisher has been told.
    pub(crate) is_refused: bool,
}

/// What a message is known by, however often it is tried and by whichever gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Name {
    /// A will's.
    Will(Origin),
    /// Of what a bridge brings; with whether it may have been published before.
    Bridged(Origin, bool),
}

/// A QoS 2 exchange that another gateway may have to go on with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) packet_id: PacketId,
    /// Under what its message is routed, however often.
    pub(crate) origin: Origin,
    /// Whether another gateway may have routed it already.
    pub(crate) is_resumed: bool,
    /// What its publish is told by from another one of the same identifier.
    pub(crate) print: Print,
}

/// Tickets whose batches are safe, in the order in which they were submitted. Bounded by the
/// bytes that the store lets wait.
#[derive(Debug, Default)]
pub(crate) struct Completed {
    groups: Mutex<Vec<Vec<Ticket>>>,
    arrived: Notify,
}

impl Completed {
    pub(crate) fn push(&self, tickets: Vec<Ticket>) {
        let mut groups = self.groups.lock();
        let was_empty = groups.is_empty();
        groups.push(tickets);
        drop(groups);
        if was_empty {
            self.arrived.notify_one();
        }
    }

    /// All that have arrived; waits for at least one.
    pub(crate) async fn take(&self) -> Vec<Vec<Ticket>> {
        loop {
            let groups = std::mem::take(&mut *self.groups.lock());
            if !groups.is_empty() {
                return groups;
            }
            self.arrived.notified().await;
        }
    }
}
