//! A rule to another broker: which messages go there, and as what. It decides and does nothing.
//!
//! What goes there is kept as a [`Record`] like those of Kafka: its topic is that of the other
//! broker, and its headers are the user properties, behind one that says how it is published.

use gatemq_proto::cluster::bridges::CAME_FROM;
use gatemq_proto::mqtt::Qos;

use super::{Identity, Mapping, from_mqtt};
use crate::Message;
use crate::record::{Draft, Record};
use crate::rule::headers::came_from;

/// Which messages go to another broker.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Its name, which no other has: its part of the spool is under it.
    pub name: String,
    /// The broker's.
    pub remote: String,
    /// Which topics, and what they are there.
    pub mapping: Mapping,
    /// How they are published there at most.
    pub qos: Qos,
    /// Whether a message counts as taken over when it is safe on this node's disk, else when it is
    /// there.
    pub is_spooled: bool,
    /// Whose messages they are.
    pub identity: Identity,
}

// === impl Forward ===

impl Forward {
    /// Whether it came from there.
    pub(crate) fn is_source(&self, message: &Message<'_>) -> bool {
        let there = from_mqtt(&self.remote);
        came_from(message).any(|place| place == there)
    }

    /// What goes there for a message; `None` if it has no topic there.
    #[must_use]
    pub fn render(&self, message: &Message<'_>) -> Option<Record> {
        let topic = self.mapping.to_remote(message.topic)?;
        let mut draft = Draft::new(&topic, None, message.at, message.payload.len());
        let qos = message.qos.min(self.qos) as u8;
        draft.header("", &[qos | u8::from(message.is_retained) << 2]);
        let properties = message.properties.iter();
        for (name, value) in properties.filter(|(name, _)| *name != CAME_FROM) {
            draft.header(name, value.as_bytes());
        }
        let own = self.identity.get();
        let before = came_from(message).filter(|it| own.is_none_or(|own| *it != own));
        for place in before.chain(own.map(String::as_str)) {
            draft.header(CAME_FROM, place.as_bytes());
        }
        Some(draft.finish(|out| out.extend_from_slice(message.payload)))
    }
}

/// How a record is published: QoS, RETAIN, and user properties.
pub(super) fn read(record: &Record) -> (Qos, bool, Vec<(String, String)>) {
    let mut headers = record.headers();
    let bits = headers.next().and_then(|(_, value)| value.first().copied());
    let bits = bits.unwrap_or_default();
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let properties = headers.map(|(name, value)| (name.to_owned(), text(value)));
    let qos = Qos::from_bits(bits & 0b11).unwrap_or(Qos::AtLeastOnce);
    (qos, bits & 0b100 != 0, properties.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::tests::sample;
    use std::sync::{Arc, OnceLock};

    fn forward(qos: Qos) -> Forward {
        let patterns = ["site/#".to_owned()];
        Forward {
            name: "f".to_owned(),
            remote: "hq".to_owned(),
            mapping: Mapping::new(&patterns, "", "gate/").expect("a mapping"),
            qos,
            is_spooled: false,
            identity: Arc::new(OnceLock::from("gatemq:7".to_owned())),
        }
    }

    #[test]
    fn a_message_keeps_what_it_has_and_says_whose_it_is() {
        let record = forward(Qos::ExactlyOnce)
            .render(&sample())
            .expect("a topic");
        assert_eq!(record.topic(), "gate/site/7/temp");
        assert_eq!(record.value(), b"21.5");
        let (qos, is_retained, properties) = read(&record);
        assert_eq!((qos, is_retained), (sample().qos, true));
        assert!(properties.contains(&("unit".to_owned(), "celsius".to_owned())));
        let mark = (CAME_FROM.to_owned(), "gatemq:7".to_owned());
        assert_eq!(properties.last(), Some(&mark));
        assert_eq!(
            read(&forward(Qos::AtMostOnce).render(&sample()).expect("it")).0,
            Qos::AtMostOnce
        );
    }

    #[test]
    fn what_came_from_there_is_known_if_a_bridge_says_so() {
        let mut properties = gatemq_proto::mqtt::UserPropertiesBuf::new();
        properties.push(CAME_FROM, "mqtt:hq").expect("a pair");
        let mut message = sample();
        message.properties = properties.as_ref();
        assert!(
            !forward(Qos::AtLeastOnce).is_source(&message),
            "a client says so"
        );
        message.client_id = "$bridge/hq";
        assert!(forward(Qos::AtLeastOnce).is_source(&message));
    }
}
