//! What a history tells, in the form that several rules need: one pass over the events, and an
//! index of subscriptions by topic.
//!
//! A moment is the place of an event among the records, so that what is simultaneous for the clock
//! still has an order.

mod build;
mod subscriptions;

use std::collections::{BTreeMap, HashMap, HashSet};

use super::excuse::{self, Reach};
use crate::history::{Ending, Name, Record, Uid};

/// PUBACK, PUBREC: somebody has no room for the message.
pub(super) const QUOTA_EXCEEDED: u8 = 0x97;

/// Place of an event among the records.
pub(super) type Moment = usize;

/// What is known of a whole run.
#[derive(Debug, Default)]
pub(super) struct Picture<'a> {
    pub(super) records: &'a [Record],
    pub(super) clients: Vec<Client<'a>>,
    pub(super) messages: Vec<Message<'a>>,
    /// In the order of the history.
    pub(super) receipts: Vec<Receipt<'a>>,
    pub(super) wills: Vec<Will>,
    pub(super) faults: Vec<Fault<'a>>,
    client_numbers: HashMap<&'a str, usize>,
    message_numbers: HashMap<&'a Uid, usize>,
    /// Topics that somebody has sent a message without payload to.
    cleared: HashSet<&'a str>,
    /// Number of each pair of a publisher and a topic.
    streams: HashMap<(&'a str, &'a str), usize>,
    /// Which subscriptions match a topic: by client, then by their numbers.
    topics: HashMap<&'a str, BTreeMap<usize, Vec<usize>>>,
    /// The first live receipt by client and message.
    first_receipts: HashMap<(usize, usize), usize>,
}

#[derive(Debug)]
pub(super) struct Client<'a> {
    pub(super) name: &'a Name,
    /// By their numbers.
    pub(super) connections: BTreeMap<u32, Connection>,
    /// In the order of their SUBSCRIBEs.
    pub(super) subscriptions: Vec<Subscription<'a>>,
    /// When its sessions ended, or may have ended, and whether that is certain.
    pub(super) session_ends: Vec<(Moment, bool)>,
    /// The last time.
    pub(super) drained: Option<Moment>,
}

#[derive(Debug, Default)]
pub(super) struct Connection {
    pub(super) connected: Option<Moment>,
    pub(super) ended: Option<(Moment, Ending)>,
}

/// A filter that a client asked for once. Asked for again, it is another one.
#[derive(Debug)]
pub(super) struct Subscription<'a> {
    /// Without `$share` and the group.
    pub(super) filter: &'a str,
    /// All of it.
    pub(super) name: &'a Name,
    pub(super) is_shared: bool,
    pub(super) asked: Moment,
    /// SUBACK with this QoS.
    pub(super) granted: Option<(Moment, u8)>,
    pub(super) is_refused: bool,
    /// From here on it brings QoS 0 only.
    pub(super) degraded: Option<Moment>,
    pub(super) unsubscribing: Option<Moment>,
    /// The session of it ended, or may have.
    pub(super) session_end: Option<Moment>,
    /// From here on it is gone for sure: UNSUBACK, or the end of the session.
    pub(super) gone: Option<Moment>,
    /// The session of it ended for sure, and with it what was still to come by this subscription.
    pub(super) session_over: Option<Moment>,
    /// It went by UNSUBSCRIBE.
    pub(super) is_unsubscribed: bool,
}

#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) uid: &'a Uid,
    /// Number of its publisher and topic.
    pub(super) stream: usize,
    pub(super) qos: u8,
    /// It has no payload.
    pub(super) is_empty: bool,
    /// When it was first sent; of a will, when it was armed.
    pub(super) first_sent: Moment,
    /// When it was sent for the second time.
    pub(super) sent_again: Option<Moment>,
    /// Somebody sent it: it is no will.
    pub(super) is_sent: bool,
    pub(super) accepted: Option<Moment>,
    pub(super) is_refused: bool,
    /// What refused it may have been one of those that it went to, when others had it.
    pub(super) is_had_in_part: bool,
    pub(super) is_will: bool,
}

#[derive(Debug)]
pub(super) struct Receipt<'a> {
    pub(super) at: Moment,
    pub(super) client: usize,
    pub(super) connection: u32,
    pub(super) topic: &'a Name,
    /// What the payload says.
    pub(super) uid: Option<&'a Uid>,
    /// Whose payload that is, if it was ever sent.
    pub(super) message: Option<usize>,
    pub(super) qos: u8,
    pub(super) dup: bool,
    /// It is a replay of a retained message.
    pub(super) retain: bool,
    /// What I2 or I6 has against it; then no other rule looks at it.
    pub(super) flaw: Option<Flaw>,
    /// What is to be said of it, if this client had received the message before.
    pub(super) again: Option<Again>,
}

/// A receipt of what had been received before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Of QoS 1, with DUP, on a new connection, or after it was sent again.
    WithReason,
    /// Without that, for the so many-th time.
    Bare(usize),
}

/// Why nothing explains a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    Corrupt,
    Phantom,
    Misrouted,
    Refused,
    Unsubscribed,
    AfterUnsubscribe,
    Regraded,
}

#[derive(Debug)]
pub(super) struct Will {
    pub(super) client: usize,
    pub(super) connection: u32,
    pub(super) message: usize,
    /// In nanoseconds.
    pub(super) delay: u64,
}

/// A fault that was in force, or may have been.
#[derive(Debug)]
pub(super) struct Fault<'a> {
    pub(super) op: &'a Name,
    pub(super) target: &'a Name,
    pub(super) from: Moment,
    pub(super) healed: Option<Moment>,
    /// It was in force for sure.
    pub(super) is_certain: bool,
}

// === impl Picture ===

impl<'a> Picture<'a> {
    /// When that was, in nanoseconds.
    pub(super) fn t(&self, at: Moment) -> u64 {
        self.records[at].t
    }

    /// The subscriptions whose filters match the topic, by client; those that ended too.
    pub(super) fn matching(&self, topic: &str) -> impl Iterator<Item = (usize, &[usize])> {
        let of_topic = self.topics.get(topic).into_iter().flatten();
        of_topic.map(|(client, numbers)| (*client, numbers.as_slice()))
    }

    /// The subscriptions of one client whose filters match the topic.
    pub(super) fn subscriptions_to(
        &self,
        topic: &str,
        client: usize,
    ) -> impl Iterator<Item = &Subscription<'a>> {
        let numbers = self.topics.get(topic).and_then(|it| it.get(&client));
        let subscriptions = &self.clients[client].subscriptions;
        numbers
            .into_iter()
            .flatten()
            .map(|number| &subscriptions[*number])
    }

    /// The client's first live receipt of the message.
    pub(super) fn first_receipt(&self, client: usize, message: usize) -> Option<&Receipt<'a>> {
        let number = self.first_receipts.get(&(client, message))?;
        Some(&self.receipts[*number])
    }

    /// Receipts of messages, with these, that came as they were published, and with nothing
    /// against them; replays of retained messages are none.
    pub(super) fn live_receipts(&self) -> impl Iterator<Item = (&Receipt<'a>, &Message<'a>)> {
        self.receipts.iter().filter_map(|receipt| {
            let is_live = receipt.flaw.is_none() && !receipt.retain;
            let message = receipt.message.filter(|_| is_live)?;
            Some((receipt, &self.messages[message]))
        })
    }

    /// Whether the client had received the message before, without a reason to receive it again,
    /// and as often as it has subscriptions: all of its own count as one, each shared one as one.
    pub(super) fn is_surplus(&self, receipt: &Receipt<'a>) -> bool {
        match receipt.again {
            Some(Again::Bare(n_before)) => n_before >= self.n_due(receipt),
            Some(Again::WithReason) | None => false,
        }
    }

    fn n_due(&self, receipt: &Receipt<'a>) -> usize {
        let mut names: Vec<&str> = self
            .subscriptions_to(receipt.topic, receipt.client)
            .filter(|it| it.asked < receipt.at && !it.is_refused)
            .map(|it| if it.is_shared { &**it.name } else { "" })
            .collect();
        names.sort_unstable();
        names.dedup();
        names.len().max(1)
    }

    /// Whether a fault was in force at some time in between, or may have been, that is a reason for a
    /// message to come again.
    pub(super) fn has_excuse_between(&self, from: Moment, to: Moment) -> bool {
        let in_force = |from: Moment, to: Moment| {
            let faults = self.faults.iter();
            faults.filter(move |it| it.from <= to && it.healed.is_none_or(|healed| healed >= from))
        };
        in_force(from, to).any(|it| match excuse::reach(it.op) {
            Some(Reach::Again) => true,
            Some(Reach::OfTarget) if excuse::is_control(it.target) => {
                // Without a second one there is no quorum.
                let (from, to) = (it.from.max(from), it.healed.map_or(to, |it| it.min(to)));
                let mut others = in_force(from, to).filter(|other| other.target != it.target);
                others.any(|other| {
                    let is_end = excuse::reach(other.op) == Some(Reach::OfTarget);
                    is_end && excuse::is_control(other.target)
                })
            }
            Some(Reach::OfTarget) => excuse::has_messages(it.target),
            Some(Reach::Nothing) | None => false,
        })
    }
}

impl Message<'_> {
    /// Whether the broker cannot have taken it over: an earlier sending than the one that was
    /// refused may have been, and what one session has no room for others may have.
    pub(super) fn was_refused(&self) -> bool {
        let may_have_come = self.is_had_in_part || self.sent_again.is_some();
        self.is_refused && self.accepted.is_none() && !may_have_come
    }
}
