//! QoS 2 publishes of a client that were received and not yet released `[MQTT-4.3.3-10]`.
//!
//! Where another gateway may go on with the session, the packet identifier is stored with the
//! message's [`Origin`] before the message is routed. If the gateway dies in between, the client
//! sends the message again to another one, which cannot know how far the first had come: it routes
//! it again, under the same origin, and whoever has had it knows it by that. What is routed as soon
//! as something is stored, retained messages of QoS 1, too, keeps its order here. Pure.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

use foldhash::fast::{FixedState, RandomState};

use crate::cluster::moves::{Before, Moves};
use crate::proto::mqtt::{PacketId, Reason};
use crate::receipt::Leg;
use crate::store::{Begun, Published};

/// Who routed a message first, and its number there: the same however often it is routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The incarnation of the gateway.
    pub(crate) source: u64,
    pub(crate) id: u64,
}

/// The exchanges of a session, by packet identifier.
#[derive(Debug, Default)]
pub(crate) struct Received {
    exchanges: HashMap<PacketId, Exchange, RandomState>,
    /// How many messages have been routed of which it is not known yet that they are safe.
    n_routed: usize,
    /// What had changed of where subscribers are before the last of those was routed.
    before: Before,
    /// Messages that would overtake those, in their order.
    put_off: VecDeque<Published>,
    /// Why publishes of QoS 1 and 2 were refused whose client may not have heard of that.
    refused: HashMap<PacketId, (Print, Reason), RandomState>,
}

/// What tells one publish from another of the same identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print(u64);

/// Refusals that are remembered: a client that has so many has heard of most.
const REFUSED: usize = 4_096;

/// How far an exchange has come.
#[derive(Debug)]
enum Exchange {
    /// Its message is where it has to be, or waits in the store's own order.
    Safe,
    /// It is on its way.
    Routing {
        /// Whether it is past the storing of its identifier.
        is_routed: bool,
        /// What waits for it, too.
        waiting: Vec<Leg>,
    },
    /// Another gateway was routing it.
    Unknown(Origin),
}

/// What is known of a packet identifier.
#[derive(Debug)]
pub(crate) enum Known {
    New,
    Safe,
    Routing,
    Unknown(Origin),
}

// === impl Print, Origin ===

impl Print {
    /// Of its topic and payload.
    pub(crate) fn of(topic: &str, payload: &[u8]) -> Self {
        Self(FixedState::default().hash_one((topic, payload)))
    }

    #[cfg(test)]
    pub(crate) fn any() -> Self {
        Self(0)
    }
}

impl Origin {
    /// As it is stored.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.source.to_be_bytes());
        bytes[8..].copy_from_slice(&self.id.to_be_bytes());
        bytes
    }

    /// What sessions remember a message by, in 8 bytes. Gateways of all versions have to agree on
    /// it, and no two messages may share it whose numbers are alike: so each part is spread over
    /// all bits before they meet. A hash that only joins them, seed and number, gives one gateway's
    /// messages the keys of another's.
    pub(crate) fn key(self) -> u64 {
        let source = spread(self.source);
        spread(self.id ^ source) ^ spread(source.wrapping_add(GOLDEN))
    }

    /// `None` if the bytes are none that were stored.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (source, id) = bytes.split_first_chunk()?;
        Some(Self {
            source: u64::from_be_bytes(*source),
            id: u64::from_be_bytes(id.try_into().ok()?),
        })
    }
}

/// The increment of SplitMix64: 2^64 over the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): one to one, and each bit
/// of the number changes half of the bits.
pub(crate) fn spread(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

// === impl Received ===

impl Received {
    pub(crate) fn len(&self) -> usize {
        self.exchanges.len()
    }

    pub(crate) fn known(&self, packet_id: PacketId) -> Known {
        match self.exchanges.get(&packet_id) {
            None => Known::New,
            Some(Exchange::Safe) => Known::Safe,
            Some(Exchange::Routing { .. }) => Known::Routing,
            Some(Exchange::Unknown(origin)) => Known::Unknown(*origin),
        }
    }

    /// Its message is stored in one batch with the identifier.
    pub(crate) fn insert_safe(&mut self, packet_id: PacketId) {
        self.exchanges.insert(packet_id, Exchange::Safe);
    }

    /// Its message is going to be routed.
    pub(crate) fn insert_routing(&mut self, packet_id: PacketId) {
        let routing = Exchange::Routing {
            is_routed: false,
            waiting: Vec::new(),
        };
        self.exchanges.insert(packet_id, routing);
    }

    /// Its identifier is stored, or it is retained and that is stored, and the message can be routed,
    /// by a plan that was made behind `before`: it is given back. If it might overtake an earlier one,
    /// it is kept instead, to be routed later. What begins no exchange is over with
    /// [`Self::conclude_retained`].
    pub(crate) fn route(
        &mut self,
        published: Published,
        moves: &Moves,
        before: Before,
    ) -> Option<Published> {
        if self.n_routed > 0 && moves.any_since(self.before) || !self.put_off.is_empty() {
            self.put_off.push_back(published);
            return None;
        }
        self.before = before;
        let Some(Begun { packet_id, .. }) = published.exchange else {
            self.n_routed += 1;
            return Some(published);
        };
        if let Some(Exchange::Routing { is_routed, .. }) = self.exchanges.get_mut(&packet_id)
            && !std::mem::replace(is_routed, true)
        {
            self.n_routed += 1;
        }
        Some(published)
    }

    /// A publish of this identifier was refused. If the client does not hear of that it sends it
    /// again, and behind it what was accepted since: it is refused again then, or it would come too
    /// late, and twice to whoever has had it.
    pub(crate) fn refuse(&mut self, packet_id: PacketId, print: Print, reason: Reason) {
        if self.refused.len() >= REFUSED {
            self.refused.clear();
        }
        self.refused.insert(packet_id, (print, reason));
    }

    /// A publish of this identifier comes: why it was refused before, if it is the same one. That it
    /// has DUP set `[MQTT-3.3.1-1]` says only that it was sent before, perhaps without coming here.
    /// Also returns whether any refusals are left.
    pub(crate) fn refused(
        &mut self,
        packet_id: PacketId,
        print: Print,
        is_dup: bool,
    ) -> (Option<Reason>, bool) {
        let refused = match self.refused.get(&packet_id) {
            Some((known, reason)) if is_dup && *known == print => Some(*reason),
            Some(_) => {
                self.refused.remove(&packet_id);
                None
            }
            None => None,
        };
        (refused, !self.refused.is_empty())
    }

    /// The session is another gateway's, where they come again: what waits here holds the session.
    pub(crate) fn forget_put_off(&mut self) {
        self.put_off.clear();
    }

    /// Those that were put off, if nothing is in their way any more.
    pub(crate) fn take_put_off(&mut self) -> VecDeque<Published> {
        match self.n_routed {
            0 => std::mem::take(&mut self.put_off),
            _ => VecDeque::new(),
        }
    }

    /// Another gateway had it.
    pub(crate) fn insert_unknown(&mut self, packet_id: PacketId, origin: Origin) {
        self.exchanges.insert(packet_id, Exchange::Unknown(origin));
    }

    /// Something else waits for a message that is on its way; given back if none is.
    pub(crate) fn wait(&mut self, packet_id: PacketId, leg: Leg) -> Option<Leg> {
        match self.exchanges.get_mut(&packet_id) {
            Some(Exchange::Routing { waiting, .. }) => {
                waiting.push(leg);
                None
            }
            _ => Some(leg),
        }
    }

    /// The message is safe; what has waited for it.
    pub(crate) fn conclude(&mut self, packet_id: PacketId) -> Vec<Leg> {
        match self.exchanges.get_mut(&packet_id) {
            Some(exchange @ Exchange::Routing { .. }) => {
                let exchange = std::mem::replace(exchange, Exchange::Safe);
                self.end(exchange)
            }
            _ => Vec::new(),
        }
    }

    /// A message that was routed and began no exchange is safe, or was refused.
    pub(crate) fn conclude_retained(&mut self) {
        self.n_routed -= 1;
    }

    /// The exchange is over, or never began: whether it was known, and what has waited for it.
    pub(crate) fn remove(&mut self, packet_id: PacketId) -> (bool, Vec<Leg>) {
        match self.exchanges.remove(&packet_id) {
            Some(exchange) => (true, self.end(exchange)),
            None => (false, Vec::new()),
        }
    }

    fn end(&mut self, exchange: Exchange) -> Vec<Leg> {
        match exchange {
            Exchange::Routing { is_routed, waiting } => {
                self.n_routed -= usize::from(is_routed);
                waiting
            }
            Exchange::Safe | Exchange::Unknown(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receipt::Receipt;

    #[test]
    fn an_origin_is_read_as_it_was_stored() {
        let origin = Origin {
            source: 7,
            id: u64::MAX - 1,
        };
        assert_eq!(Origin::from_bytes(&origin.to_bytes()), Some(origin));
        assert_eq!(Origin::from_bytes(&[]), None);
        assert_eq!(Origin::from_bytes(&[0; 17]), None);
    }

    #[test]
    fn no_two_messages_of_few_gateways_have_one_key() {
        let sources = [3, 4, 5, 21, 22, 1 << 20];
        let keys = sources.map(|source| (0..20_000).map(move |id| Origin { source, id }.key()));
        let keys: std::collections::HashSet<_> = keys.into_iter().flatten().collect();
        assert_eq!(keys.len(), 6 * 20_000);
    }

    #[test]
    fn a_refusal_is_repeated_until_its_identifier_is_anothers() {
        let mut received = Received::default();
        let id = |id| PacketId::new(id).expect("above 0");
        let print = |payload: &str| Print::of("t", payload.as_bytes());
        let (one, other) = (print("one"), print("other"));
        assert_eq!(received.refused(id(1), one, true), (None, false));
        received.refuse(id(1), one, Reason::QuotaExceeded);
        received.refuse(id(2), one, Reason::NotAuthorized);
        received.refuse(id(3), one, Reason::NotAuthorized);
        for _ in 0..2 {
            let (reason, _) = received.refused(id(1), one, true);
            assert_eq!(reason, Some(Reason::QuotaExceeded));
        }
        assert_eq!(received.refused(id(1), one, false), (None, true));
        let (reason, _) = received.refused(id(1), one, true);
        assert_eq!(reason, None, "it was another message");
        let (reason, _) = received.refused(id(3), other, true);
        assert_eq!(reason, None, "whose first sending never came");
        assert_eq!(received.refused(id(2), one, false), (None, false));
    }

    #[test]
    fn what_waits_is_given_back_when_its_message_is_safe_or_gone() {
        let packet_id = PacketId::MIN;
        let receipt = Receipt::new(1);
        let mut received = Received::default();
        assert!(received.wait(packet_id, receipt.leg(None)).is_some());
        received.insert_routing(packet_id);
        assert!(received.wait(packet_id, receipt.leg(None)).is_none());
        assert_eq!(received.conclude(packet_id).len(), 1);
        assert!(matches!(received.known(packet_id), Known::Safe));
        received.insert_routing(packet_id);
        assert!(received.wait(packet_id, receipt.leg(None)).is_none());
        let (was_known, waiting) = received.remove(packet_id);
        assert!(was_known && waiting.len() == 1);
        assert!(matches!(received.known(packet_id), Known::New));
    }
}
