//! What a session owes its client: the window of messages on their way, and the queue behind it.
//!
//! Every QoS 1 and 2 message of a session gets a sequence number, and the packet identifier is
//! derived from it, so a resumed session uses the original identifiers without having stored
//! them. Four regions follow one another, by sequence number:
//!
//! ```text
//!   window      sent, not finished by the client
//!   page        read back from the store, to be sent next
//!   (on disk)   load_from .. spill_end: in the store only
//!   queue       in memory, too
//! ```
//!
//! A *stored* session (one that outlives its connection) has each message in the store from
//! before its publisher is acknowledged until the client has finished it; `pending` holds the
//! numbers whose commit is under way, and nothing at or above the lowest of them is sent yet.
//! Without a connection nothing of it is in memory: all is left to the store, and a resumed
//! session reads its first page back. Any other session has only its window and its queue.
//!
//! Pure but for [`Shelf`], through which pages are read, at once or by and by.

mod acknowledge;
mod bounds;
mod edge;
mod life;
mod regions;
mod traced;

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::acks;
use super::frames::{Delivery, Flags, Frames};
use super::link::Link;
use super::queued::{Lost, Queued, Share, Shelf, Terms, queued};
pub(crate) use acknowledge::Acknowledged;
pub(crate) use bounds::Bounds;
pub(crate) use traced::MOST as MOST_TRACED;

use crate::message::Message;
use crate::proto::mqtt::Qos;

/// Packet identifiers repeat after this many sequence numbers.
const IDENTIFIERS: u64 = 65_535;

/// A message that is on its way.
#[derive(Debug)]
struct Sent {
    seq: u64,
    phase: Phase,
    body: u64,
    size: usize,
    /// Kept where another member of the group may have to get the message instead.
    shared: Option<Box<(Arc<Share>, Arc<Message>)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// QoS 1: PUBLISH sent, PUBACK awaited.
    AwaitAck,
    /// QoS 2: PUBLISH sent, PUBREC awaited.
    AwaitRec,
    /// QoS 2: PUBREC came; PUBREL is sent or about to be, PUBCOMP awaited.
    AwaitComp,
    /// Finished out of turn.
    Done,
}

impl Sent {
    /// Bytes that are kept for the other members of its group.
    fn shared_size(&self) -> usize {
        if self.shared.is_some() { self.size } else { 0 }
    }
}

/// What became of a message that was to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is in the outbox, or waits in memory for its turn.
    Accepted {
        /// Whether it is in the outbox.
        is_sent: bool,
    },
    /// It must be stored under this number before its publisher is acknowledged.
    Store(u64),
    /// The session is another gateway's by now, and the message has to go there.
    Moved,
    /// Nobody of this cluster has the session: the message cannot go there.
    Stolen,
    /// The client is not there, is too slow to take it, or takes no packet of that size; or the
    /// session has ended.
    Dropped,
    /// The session takes no more.
    Full,
}

/// The sending half of a session.
#[derive(Debug)]
pub(crate) struct Outbound {
    /// The connection, while there is one.
    pub(crate) link: Option<Box<Link>>,
    is_stored: bool,
    /// Whether the session has ended.
    is_over: bool,
    /// Whether it is another gateway's by now, and whether that one is none of this cluster.
    is_moved: bool,
    is_stolen: bool,
    next_seq: u64,
    window: VecDeque<Sent>,
    /// Messages of the window that are not done, and the bytes of those kept for their group.
    n_open: usize,
    shared_bytes: usize,
    page: VecDeque<Queued>,
    load_from: u64,
    spill_end: u64,
    /// The entries of a page that is on its way from the store.
    loading: Option<(u64, u64)>,
    queue: VecDeque<Queued>,
    queue_bytes: usize,
    pending: VecDeque<u64>,
    /// The first number that the store did not take: from there on nothing is sent.
    refused_from: u64,
    /// Entries in the store, and their bytes. Until the queue has been empty once after a start, what
    /// had been dropped amid the queue may count as one, and the bytes are the least that they can be.
    n_stored: usize,
    stored_bytes: usize,
    /// Numbers below this may have been sent.
    sent_below: u64,
    /// Numbers below this may be: see [`edge`]. What is safe of that, and what is on its way.
    edge: u64,
    next_edge: u64,
    /// Numbers below this may have been sent on an earlier connection.
    resend_below: u64,
    traced: Option<Box<traced::Traced>>,
}

impl Outbound {
    /// A session without a queue.
    pub(crate) fn new(is_stored: bool) -> Self {
        Self {
            link: None,
            is_stored,
            is_over: false,
            is_moved: false,
            is_stolen: false,
            next_seq: 0,
            window: VecDeque::new(),
            n_open: 0,
            shared_bytes: 0,
            page: VecDeque::new(),
            load_from: 0,
            spill_end: 0,
            loading: None,
            queue: VecDeque::new(),
            queue_bytes: 0,
            pending: VecDeque::new(),
            refused_from: u64::MAX,
            n_stored: 0,
            stored_bytes: 0,
            sent_below: 0,
            edge: 0,
            next_edge: 0,
            resend_below: 0,
            traced: None,
        }
    }

    /// A stored session whose entries, from `first` to `last`, are in the store.
    /// Those below `sent_below` may have been sent.
    pub(crate) fn restored(
        entries: Option<(u64, u64)>,
        sent_below: u64,
        n_stored: usize,
        stored_bytes: usize,
    ) -> Self {
        let mut outbound = Self::new(true);
        if let Some((first, last)) = entries {
            outbound.next_seq = last + 1;
            (outbound.n_stored, outbound.stored_bytes) = (n_stored, stored_bytes);
            (outbound.load_from, outbound.spill_end) = (first, last + 1);
            outbound.sent_below = sent_below.min(last + 1);
            outbound.resend_below = outbound.sent_below;
        }
        outbound
    }

    /// The same with numbers that go on where they were, though the last of them may be finished.
    pub(crate) fn going_on_at(mut self, next_seq: u64) -> Self {
        self.next_seq = self.next_seq.max(next_seq);
        self
    }

    #[cfg(test)]
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Whether what is queued outlives the connection.
    pub(crate) fn is_stored(&self) -> bool {
        self.is_stored
    }

    /// QoS 1 and 2 messages on their way.
    pub(crate) fn n_inflight(&self) -> usize {
        self.n_open
    }

    /// Below this number lies everything that was ever sent.
    pub(crate) fn sent_below(&self) -> u64 {
        self.sent_below
    }

    /// Messages queued or on their way.
    pub(crate) fn n_queued(&self) -> usize {
        if self.is_stored {
            self.n_stored
        } else {
            self.queue.len() + self.n_open
        }
    }

    /// Takes a message for the client.
    pub(crate) fn deliver(
        &mut self,
        delivery: &mut Delivery<'_>,
        terms: &Terms<'_>,
        bounds: &Bounds,
    ) -> Taken {
        if self.is_over {
            return Taken::Dropped;
        }
        let qos = terms.qos.min(delivery.message.qos); // [MQTT-3.8.4-8]
        if self.is_moved {
            // What its publisher does not wait for cannot be sent on.
            let is_owed = delivery.message.qos > Qos::AtMostOnce && self.is_stored;
            return match (is_owed, self.is_stolen) {
                (true, false) => Taken::Moved,
                (true, true) => Taken::Stolen,
                (false, _) => Taken::Dropped,
            };
        }
        // Behind what waits already, or it would come before earlier ones of its topic.
        let may_wait = self.is_stored && (self.link.is_none() || self.has_entries());
        if qos == Qos::AtMostOnce && !(bounds.queue_qos0 && may_wait) {
            return self.deliver_at_most_once(delivery, terms, bounds);
        }
        let size = terms.size(&delivery.message);
        if self.is_full(size, bounds) {
            // What nobody is owed does not end who is too slow for it.
            let is_owed = qos > Qos::AtMostOnce || self.link.is_none();
            return if is_owed { Taken::Full } else { Taken::Dropped };
        }
        let seq = self.next_seq;
        if self.is_stored {
            self.next_seq += 1;
            self.n_stored += 1;
            self.stored_bytes += size;
            self.pending.push_back(seq);
            if self.link.is_some() {
                self.remember(queued(seq, qos, terms, delivery));
            } else {
                self.spill_end = self.next_seq;
            }
            return Taken::Store(seq);
        }
        let Some(link) = &mut self.link else {
            return Taken::Dropped;
        };
        self.next_seq += 1;
        let is_next = self.queue.is_empty()
            && self.n_open < link.window
            && link.outbox.len() < bounds.outbox
            && has_identifier(&self.window, seq);
        if !is_next {
            self.queue_bytes += size;
            self.queue.push_back(queued(seq, qos, terms, delivery));
            return Taken::Accepted { is_sent: false };
        }
        let flags = Flags {
            dup: false,
            qos,
            retain: terms.retain,
            packet_id: Some(packet_id(seq)),
        };
        let is_sent = link.send(delivery, terms.ids, flags);
        if is_sent {
            let shared = terms
                .share
                .map(|share| Box::new((share.clone(), delivery.owned().clone())));
            self.push_sent(Sent {
                seq,
                phase: awaited(qos),
                body: 0,
                size,
                shared,
            });
        }
        Taken::Accepted { is_sent }
    }

    fn deliver_at_most_once(
        &mut self,
        delivery: &mut Delivery<'_>,
        terms: &Terms<'_>,
        bounds: &Bounds,
    ) -> Taken {
        let Some(link) = &mut self.link else {
            return Taken::Dropped;
        };
        if link.outbox.len() >= bounds.outbox {
            return Taken::Dropped;
        }
        let flags = Flags {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: terms.retain,
            packet_id: None,
        };
        if link.send(delivery, terms.ids, flags) {
            Taken::Accepted { is_sent: true }
        } else {
            Taken::Dropped
        }
    }

    /// Whether there is ample room for a message that is not urgent: half of the bounds.
    pub(crate) fn has_room(&self, size: usize, bounds: &Bounds, most: usize) -> bool {
        let (n_messages, n_bytes) = if self.is_stored {
            (self.n_stored, self.stored_bytes)
        } else {
            (self.queue.len(), self.queue_bytes + self.shared_bytes)
        };
        n_messages == 0
            || (n_messages < most.min(bounds.messages / 2) && n_bytes + size <= bounds.bytes / 2)
    }

    /// Whether the session could take a message of QoS above 0 now.
    pub(crate) fn is_full(&self, size: usize, bounds: &Bounds) -> bool {
        if self.is_stored {
            let is_too_much = self.n_stored > 0 && self.stored_bytes + size > bounds.bytes;
            self.n_stored >= bounds.messages || is_too_much
        } else {
            let n_bytes = self.queue_bytes + self.shared_bytes;
            self.queue.len() >= bounds.messages || n_bytes + size > bounds.bytes
        }
    }

    /// Whether nothing waits for the socket.
    pub(crate) fn is_idle(&self) -> bool {
        self.link.as_ref().is_none_or(|link| link.outbox.is_empty())
    }

    /// Sends what may be sent now; returns how many messages that were. Nothing of a session that is
    /// another gateway's: that one sends what is in the store, and gets what was on its way there.
    pub(crate) fn pump(
        &mut self,
        shelf: &mut dyn Shelf,
        frames: &mut Frames,
        now: u64,
        bounds: &Bounds,
    ) -> u64 {
        let mut n_sent = 0;
        while !self.is_moved
            && let Some(link) = &self.link
            && self.n_open < link.window
            && link.outbox.len() < bounds.outbox
            && let Some(queued) = self.take_sendable(shelf)
        {
            n_sent += u64::from(self.send_queued(queued, shelf, frames, now));
        }
        self.keep_edge_ahead(shelf);
        self.recount();
        n_sent
    }

    /// After a restart not all is known of what was there before; it is when nothing is left.
    fn recount(&mut self) {
        let in_memory = self.window.len() + self.page.len() + self.queue.len() + self.pending.len();
        if self.link.is_some() && in_memory == 0 && self.load_from >= self.spill_end {
            (self.n_stored, self.stored_bytes) = (0, 0);
        }
    }

    /// Sends an entry, unless it has expired or is too large; returns whether a message was sent.
    fn send_queued(
        &mut self,
        queued: Queued,
        shelf: &mut dyn Shelf,
        frames: &mut Frames,
        now: u64,
    ) -> bool {
        let Some(link) = &mut self.link else {
            return false;
        };
        let seq = queued.seq;
        let Some(message) = &queued.message else {
            let write = |buffer: &mut Vec<u8>| acks::pubrel(buffer, packet_id(seq));
            link.outbox.append(acks::LONGEST, write);
            let body = queued.body;
            self.push_sent(Sent {
                seq,
                phase: Phase::AwaitComp,
                body,
                size: 0,
                shared: None,
            });
            return false;
        };
        let flags = Flags {
            dup: seq < self.resend_below && queued.qos > Qos::AtMostOnce, // [MQTT-3.3.1-1]
            qos: queued.qos,
            retain: queued.retain,
            packet_id: (queued.qos > Qos::AtMostOnce).then(|| packet_id(seq)),
        };
        let size = queued.size();
        // What was sent once is finished, however old it is [MQTT-4.3.3-7].
        let is_expired = !flags.dup && message.as_ref().as_ref().is_expired(now);
        // Of QoS 0 it may have been sent, and comes at most once.
        let is_had = queued.qos == Qos::AtMostOnce && seq < self.resend_below;
        let is_wanted = !is_expired
            && !is_had
            && shelf.may_send(message.as_ref().as_ref().topic)
            && link.send(&mut Delivery::of(message, now, frames), &queued.ids, flags);
        if is_wanted && queued.qos > Qos::AtMostOnce {
            let shared = match queued.share {
                Some(share) if !self.is_stored => Some(Box::new((share, message.clone()))),
                _ => None,
            };
            self.push_sent(Sent {
                seq,
                phase: awaited(queued.qos),
                body: queued.body,
                size,
                shared,
            });
        } else if self.is_stored {
            self.uncount(size);
            shelf.forget(seq, queued.body);
        }
        let fate = match is_wanted {
            true => Ok(flags),
            false if is_had => Err(Lost::Sent),
            false if is_expired => Err(Lost::Expired),
            false => Err(Lost::Refused),
        };
        self.note(message, fate, shelf);
        is_wanted
    }

    /// Takes an entry of the store out of the count.
    fn uncount(&mut self, size: usize) {
        self.n_stored = self.n_stored.saturating_sub(1);
        self.stored_bytes = self.stored_bytes.saturating_sub(size);
    }

    fn push_sent(&mut self, sent: Sent) {
        self.n_open += 1;
        self.shared_bytes += sent.shared_size();
        self.sent_below = self.sent_below.max(sent.seq + 1);
        self.window.push_back(sent);
    }
}

/// The packet identifier of a sequence number.
fn packet_id(seq: u64) -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add((seq % IDENTIFIERS) as u16)
}

/// Whether no message on its way has the packet identifier of `seq`, and none has a higher number, by
/// which it would be looked for in the wrong place. What is damaged in the store may come out of its
/// order: it waits for those that are on their way.
fn has_identifier(window: &VecDeque<Sent>, seq: u64) -> bool {
    let ends = window.front().zip(window.back());
    ends.is_none_or(|(first, last)| last.seq < seq && seq - first.seq < IDENTIFIERS)
}

fn awaited(qos: Qos) -> Phase {
    if qos == Qos::ExactlyOnce {
        Phase::AwaitRec
    } else {
        Phase::AwaitAck
    }
}

#[cfg(test)]
pub(super) mod tests;
