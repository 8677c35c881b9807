//! QoS 2 publishes of a client that were received and not yet released `[MQTT-4.3.3-10]`.
//!
//! Where another gateway may go on with the session, the packet identifier is stored with the
//! message's [`Origin`] before the message is routed. If the gateway dies in between, the client
//! sends the message again to another one, which cannot know how far the first had come: it routes
//! it again, under the same origin, and whoever has had it knows it by that. Pure.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::proto::mqtt::PacketId;
use crate::receipt::Leg;

/// Who routed a message first, and its number there: the same however often it is routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The incarnation of the gateway.
    pub(crate) source: u64,
    pub(crate) id: u64,
}

/// The exchanges of a session, by packet identifier.
#[derive(Debug, Default)]
pub(crate) struct Received(HashMap<PacketId, Exchange, RandomState>);

/// How far an exchange has come.
#[derive(Debug)]
enum Exchange {
    /// Its message is where it has to be, or waits in the store's own order.
    Safe,
    /// It is on its way; what waits for it, too.
    Routing(Vec<Leg>),
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

// === impl Origin ===

impl Origin {
    /// As it is stored.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.source.to_be_bytes());
        bytes[8..].copy_from_slice(&self.id.to_be_bytes());
        bytes
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

// === impl Received ===

impl Received {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn known(&self, packet_id: PacketId) -> Known {
        match self.0.get(&packet_id) {
            None => Known::New,
            Some(Exchange::Safe) => Known::Safe,
            Some(Exchange::Routing(_)) => Known::Routing,
            Some(Exchange::Unknown(origin)) => Known::Unknown(*origin),
        }
    }

    /// Its message is stored in one batch with the identifier.
    pub(crate) fn insert_safe(&mut self, packet_id: PacketId) {
        self.0.insert(packet_id, Exchange::Safe);
    }

    /// Its message is going to be routed.
    pub(crate) fn insert_routing(&mut self, packet_id: PacketId) {
        self.0.insert(packet_id, Exchange::Routing(Vec::new()));
    }

    /// Another gateway had it.
    pub(crate) fn insert_unknown(&mut self, packet_id: PacketId, origin: Origin) {
        self.0.insert(packet_id, Exchange::Unknown(origin));
    }

    /// Something else waits for a message that is on its way; given back if none is.
    pub(crate) fn wait(&mut self, packet_id: PacketId, leg: Leg) -> Option<Leg> {
        match self.0.get_mut(&packet_id) {
            Some(Exchange::Routing(waiting)) => {
                waiting.push(leg);
                None
            }
            _ => Some(leg),
        }
    }

    /// The message is safe; what has waited for it.
    pub(crate) fn conclude(&mut self, packet_id: PacketId) -> Vec<Leg> {
        match self.0.get_mut(&packet_id) {
            Some(exchange @ Exchange::Routing(_)) => {
                let exchange = std::mem::replace(exchange, Exchange::Safe);
                exchange.into_waiting()
            }
            _ => Vec::new(),
        }
    }

    /// The exchange is over, or never began: whether it was known, and what has waited for it.
    pub(crate) fn remove(&mut self, packet_id: PacketId) -> (bool, Vec<Leg>) {
        match self.0.remove(&packet_id) {
            Some(exchange) => (true, exchange.into_waiting()),
            None => (false, Vec::new()),
        }
    }
}

impl Exchange {
    fn into_waiting(self) -> Vec<Leg> {
        match self {
            Self::Routing(waiting) => waiting,
            Self::Safe | Self::Unknown(_) => Vec::new(),
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
    fn what_waits_is_given_back_when_its_message_is_safe_or_gone() {
        let packet_id = PacketId::MIN;
        let receipt = Receipt::new();
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
