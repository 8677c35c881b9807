//! A message in a session's queue, and what is needed to put it there and to read it back.

use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::frames::{Delivery, Flags};
use crate::message::{Message, MessageRef};
use crate::proto::mqtt::Qos;

/// Messages read from the store at once.
pub(crate) const PAGE: usize = 128;

/// The subscription that a message came through, as far as delivery needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) ids: &'a [u32],
    pub(crate) share: Option<&'a Arc<Share>>,
}

/// The `$share` group that a message came through.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) group: Box<str>,
    pub(crate) filter: Box<str>,
}

impl Share {
    /// The group and its filter.
    pub(crate) fn pick(&self) -> (&str, &str) {
        (&self.group, &self.filter)
    }
}

/// A message in the queue.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) seq: u64,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) ids: SmallVec<[u32; 2]>,
    pub(crate) share: Option<Arc<Share>>,
    /// Where the message's body is in the store, if not with the entry; 0 for none.
    pub(crate) body: u64,
    /// `None` once the client has it and only PUBREL and PUBCOMP are missing.
    pub(crate) message: Option<Arc<Message>>,
}

/// Why a message of the queue will not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    Expired,
    /// It made room for a later one.
    Oldest,
    /// The client may not have it any more, or takes no packet of that size.
    Refused,
    /// It is of QoS 0 and may have been sent before the gateway of that time ended.
    Sent,
}

impl Lost {
    pub(crate) const fn why(self) -> &'static str {
        match self {
            Self::Expired => "it has expired",
            Self::Oldest => "its session takes no more, and it is the oldest: max-queued",
            Self::Refused => "the client may not have it, or takes no packet of that size",
            Self::Sent => "it may have been sent before, and QoS 0 is sent once",
        }
    }
}

/// The store, as the queue sees it.
pub(crate) trait Shelf {
    /// Reads up to [`PAGE`] entries from `from` up to but not including `to`, and says where to
    /// go on if these were not all. `None` if that takes a while: the page comes later, by
    /// [`super::outbound::Outbound::handle_page`].
    fn page(&mut self, from: u64, to: u64) -> Option<(Vec<Queued>, Option<u64>)>;
    /// Forgets an entry that will not be sent.
    fn forget(&mut self, seq: u64, body: u64);
    /// Nothing is sent from this number on until that is known to be safe.
    fn move_edge(&mut self, edge: u64);
    /// Whose session it is.
    fn client_id(&self) -> &str;
    /// A message of the queue goes to the client like this, or never will.
    fn note(&self, message: &MessageRef<'_>, address: Option<IpAddr>, fate: Result<Flags, Lost>);
    /// Whether the client may have a message of a topic, now that it would be sent.
    fn may_send(&mut self, topic: &str) -> bool;
}

impl Queued {
    /// As [`Terms::size`].
    pub(crate) fn size(&self) -> usize {
        let message = self.message.as_ref();
        message.map_or(0, |message| {
            message.as_ref().as_ref().size() + size_of_val(&*self.ids)
        })
    }
}

impl Terms<'_> {
    /// Bytes that a message takes in a queue: its own, and one number for each overlapping subscription
    /// that has an identifier.
    pub(crate) fn size(&self, message: &MessageRef<'_>) -> usize {
        message.size() + size_of_val(self.ids)
    }
}

pub(super) fn queued(seq: u64, qos: Qos, terms: &Terms<'_>, delivery: &mut Delivery<'_>) -> Queued {
    Queued {
        seq,
        qos,
        retain: terms.retain,
        ids: SmallVec::from_slice(terms.ids),
        share: terms.share.cloned(),
        body: delivery.body,
        message: Some(delivery.owned().clone()),
    }
}
