//! A rule to another broker: which messages go there, and as what. It decides and does nothing.
//!
//! What goes there is kept as a [`Record`] like those of Kafka: its topic is that of the other
//! broker, and its headers are the user properties, behind one that says how it is published, until
//! when, and what describes it.

use bytes::Bytes;
use gatemq_node::trace::context::TRACEPARENT;
use gatemq_proto::cluster::bridges::CAME_FROM;
use gatemq_proto::mqtt::Qos;

use super::described::Described;
use super::link::Parting;
use super::{Identity, Mapping, from_mqtt, is_cluster};
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
    /// Whether it came from there, or has been in this cluster before: another cluster that sends here
    /// is a client like any, but it says so.
    pub(crate) fn is_source(&self, message: &Message<'_>) -> bool {
        let there = from_mqtt(&self.remote);
        let own = self.identity.get();
        came_from(message).any(|place| place == there)
            || clusters(message).any(|place| own.is_some_and(|own| own == place))
    }

    /// What goes there for a message; `None` if it has no topic there.
    #[must_use]
    pub fn render(&self, message: &Message<'_>) -> Option<Record> {
        let topic = self.mapping.to_remote(message.topic)?;
        let mut draft = Draft::new(&topic, None, message.at, message.payload.len());
        let qos = message.qos.min(self.qos) as u8;
        let mut manner = vec![qos | u8::from(message.is_retained) << 2];
        manner.extend(message.expires_at.unwrap_or(u64::MAX).to_be_bytes());
        Described::read(message.block).write(&mut manner);
        draft.header("", &manner);
        let is_written_anew =
            |name: &str| name == CAME_FROM || name == TRACEPARENT && message.trace.is_some();
        let properties = message.properties.iter();
        for (name, value) in properties.filter(|(name, _)| !is_written_anew(name)) {
            draft.header(name, value.as_bytes());
        }
        if let Some(span) = message.trace {
            draft.header(TRACEPARENT, span.to_string().as_bytes());
        }
        let own = self.identity.get();
        let before = came_from(message).filter(|it| !is_cluster(it));
        let before = before.chain(clusters(message));
        let before = before.filter(|it| own.is_none_or(|own| *it != own));
        for place in before.chain(own.map(String::as_str)) {
            draft.header(CAME_FROM, place.as_bytes());
        }
        Some(draft.finish(|out| out.extend_from_slice(message.payload)))
    }
}

/// Whether a record is for another broker: no header of Kafka has no name.
pub(crate) fn is_of_mqtt(record: &Record) -> bool {
    record
        .headers()
        .next()
        .is_some_and(|(name, _)| name.is_empty())
}

/// The clusters that a message has been in, as whoever brought it says, be that a bridge or not.
fn clusters<'a>(message: &Message<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    let marks = message.properties.iter();
    let marks = marks.filter(|(name, _)| *name == CAME_FROM);
    marks.map(|(_, place)| place).filter(|it| is_cluster(it))
}

/// How a record is published at a time in milliseconds since 1970; `None` if it has expired.
pub(super) fn read(record: &Record, now: u64) -> Option<Parting> {
    let mut headers = record.headers();
    let manner = headers.next().map_or(&[][..], |(_, value)| value);
    // One that an earlier version has left in the spool has nothing but the bits.
    let bits = manner.first().copied().unwrap_or_default();
    let expires_at = manner.get(1..9).and_then(|bytes| bytes.try_into().ok());
    let expires_at = expires_at.map_or(u64::MAX, u64::from_be_bytes);
    let left = (expires_at != u64::MAX).then(|| expires_at.saturating_sub(now).div_ceil(1000));
    if left == Some(0) {
        return None; // [MQTT-3.3.2-5]
    }
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let described = Described::read(manner.get(9..).unwrap_or_default());
    let properties = headers.map(|(name, value)| (name.to_owned(), text(value)));
    Some(Parting {
        topic: record.topic().to_owned(),
        qos: Qos::from_bits(bits & 0b11).unwrap_or(Qos::AtLeastOnce) as u8,
        is_retained: bits & 0b100 != 0,
        expiry: left.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
        described,
        user_properties: properties.collect(),
        payload: Bytes::copy_from_slice(record.value()),
    })
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
        let parting = read(&record, 0).expect("it has not expired");
        let properties = parting.user_properties;
        assert_eq!((parting.qos, parting.is_retained), (1, true));
        assert_eq!(
            (parting.expiry, parting.described),
            (None, Described::default())
        );
        assert!(properties.contains(&("unit".to_owned(), "celsius".to_owned())));
        let mark = (CAME_FROM.to_owned(), "gatemq:7".to_owned());
        assert_eq!(properties.last(), Some(&mark));
        let record = forward(Qos::AtMostOnce).render(&sample());
        let parting = read(&record.expect("it"), 0).expect("it has not expired");
        assert_eq!(parting.qos, 0);
    }

    #[test]
    fn what_has_been_here_before_does_not_leave_again_and_other_clusters_are_remembered() {
        let mut properties = gatemq_proto::mqtt::UserPropertiesBuf::new();
        properties.push(CAME_FROM, "gatemq:8").expect("a pair");
        let mut message = sample();
        message.properties = properties.as_ref();
        let forward = forward(Qos::AtLeastOnce);
        assert!(!forward.is_source(&message));
        let record = forward.render(&message).expect("a topic");
        let marks = read(&record, 0).expect("it").user_properties;
        let mark = |place: &str| (CAME_FROM.to_owned(), place.to_owned());
        assert_eq!(marks, [mark("gatemq:8"), mark("gatemq:7")]);
        let mut properties = gatemq_proto::mqtt::UserPropertiesBuf::new();
        properties.push(CAME_FROM, "gatemq:7").expect("a pair");
        message.properties = properties.as_ref();
        assert!(forward.is_source(&message));
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

    #[test]
    fn a_message_that_is_traced_names_its_span_once() {
        let span = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut message = sample(); // which comes with another
        message.trace = gatemq_node::trace::Context::parse(span);
        let record = forward(Qos::AtLeastOnce).render(&message).expect("a topic");
        assert!(is_of_mqtt(&record));
        let properties = read(&record, 0).expect("it").user_properties;
        let told: Vec<_> = properties.iter().filter(|it| it.0 == TRACEPARENT).collect();
        assert_eq!(told, [&(TRACEPARENT.to_owned(), span.to_owned())]);
    }

    #[test]
    fn what_describes_it_and_what_is_left_of_its_time_go_along() {
        const BLOCK: &[u8] = b"\x01\x01\x03\0\x01t\x08\0\x03r/7\x09\0\x02\0\xff\x26\0\x01k\0\x01v";
        let mut message = sample();
        message.block = BLOCK;
        message.expires_at = Some(message.at + 10_000);
        let record = forward(Qos::AtLeastOnce).render(&message).expect("a topic");
        let described = Described {
            is_text: Some(true),
            content_type: Some("t".to_owned()),
            response_topic: Some("r/7".to_owned()),
            correlation_data: Some(Bytes::from_static(b"\0\xff")),
        };
        for (waits, expiry) in [(0, 10), (2_000, 8), (9_999, 1)] {
            let parting = read(&record, message.at + waits).expect("it has not expired");
            assert_eq!(parting.expiry, Some(expiry));
            assert_eq!(parting.described, described);
        }
        assert!(read(&record, message.at + 10_000).is_none());
    }

    #[test]
    fn what_an_earlier_version_has_left_in_the_spool_is_read() {
        let mut draft = Draft::new("t", None, 0, 0);
        draft.header("", &[0b110]);
        draft.header("k", b"v");
        let parting = read(&draft.finish(|_| ()), u64::MAX - 1).expect("a message");
        assert_eq!((parting.qos, parting.is_retained), (2, true));
        assert_eq!(parting.user_properties, [("k".to_owned(), "v".to_owned())]);
        assert_eq!(parting.expiry, None);
    }
}
