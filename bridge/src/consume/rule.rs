//! A rule from Kafka to MQTT: which message a record becomes. It decides and does nothing.
//!
//! After the client of Kafka; its [`Arrival`] continues in [`crate::outbound`].

use bytes::Bytes;
use gatemq_proto::cluster::bridges::CAME_FROM;
use gatemq_proto::mqtt::Qos;
use serde::{Deserialize, Serialize};

use super::Template;
use crate::outbound::Arrival;
use crate::outbound::traced::named;
use crate::rule::headers::from_kafka;

/// Which message a record becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which no other from Kafka has.
    pub name: String,
    /// What rules call the Kafka that the records are in.
    pub kafka: String,
    /// The topic of MQTT.
    pub topic: Template,
    /// How it is published.
    pub qos: Qos,
    /// Whether it is kept for who subscribes later. A record without a value takes what is kept away.
    pub is_retained: bool,
    /// Seconds until it expires.
    pub expiry: Option<u32>,
    /// What becomes user properties.
    pub properties: Vec<Property>,
}

/// What of a record becomes user properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Property {
    /// All headers that are text, by their names.
    Headers,
    /// `kafka.key`, if that is text.
    Key,
    /// `kafka.topic`, `kafka.partition` and `kafka.offset`, by which a repeat is known.
    Position,
}

/// A record of Kafka.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Its topic in Kafka.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Names and values of its headers.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

// === impl Rule ===

impl Rule {
    /// The message for a record; `None` if it has no valid topic.
    #[must_use]
    pub fn render(&self, record: &Record<'_>) -> Option<Arrival> {
        let topic = self.topic.render(record)?;
        let mut properties = Vec::new();
        let mut put = |name: &str, value: &[u8]| put_property(&mut properties, name, value);
        for property in &self.properties {
            match property {
                Property::Headers => {
                    let headers = record.headers.iter();
                    for (name, value) in headers.filter(|(name, _)| *name != CAME_FROM) {
                        put(name, value);
                    }
                }
                Property::Key => put("kafka.key", record.key.unwrap_or_default()),
                Property::Position => {
                    put("kafka.topic", record.topic.as_bytes());
                    put("kafka.partition", record.partition.to_string().as_bytes());
                    put("kafka.offset", record.offset.to_string().as_bytes());
                }
            }
        }
        // Where it was before, and where it comes from now: it goes back to none of them.
        let here = from_kafka(&self.kafka, record.topic);
        let before = record.headers.iter().filter(|(name, _)| *name == CAME_FROM);
        for (name, value) in before.filter(|(_, value)| *value != here.as_bytes()) {
            put(name, value);
        }
        put(CAME_FROM, here.as_bytes());
        Some(Arrival {
            topic,
            qos: self.qos,
            is_retained: self.is_retained,
            expiry: self.expiry,
            trace: named(record.headers.iter().copied()),
            properties: properties.into(),
            payload: Bytes::copy_from_slice(record.value.unwrap_or_default()),
        })
    }
}

// === impl Record ===

impl Record<'_> {
    /// The value of its first header of this name.
    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }
}

// === private ===

/// Appends a user property, encoded, if name and value can be in one.
pub(crate) fn put_property(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    const USER_PROPERTY: u8 = 0x26;
    let is_text = !name.contains('\0') && !value.contains(&0) && std::str::from_utf8(value).is_ok();
    let (Ok(n_name), Ok(n_value)) = (u16::try_from(name.len()), u16::try_from(value.len())) else {
        return;
    };
    if is_text {
        out.push(USER_PROPERTY);
        for (length, bytes) in [(n_name, name.as_bytes()), (n_value, value)] {
            out.extend(length.to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use gatemq_proto::mqtt::UserProperties;

    pub(in crate::consume) fn sample() -> Record<'static> {
        Record {
            topic: "orders",
            partition: 3,
            offset: 42,
            key: Some(b"7/a"),
            value: Some(b"21.5"),
            headers: vec![
                ("unit", b"celsius"),
                ("wild", b"#"),
                ("binary", b"\xff"),
                ("nul", b"\0"),
                (CAME_FROM, b"kafka:other/x"),
            ],
        }
    }

    fn rule(properties: &[Property]) -> Rule {
        Rule {
            name: "r".to_owned(),
            kafka: "main".to_owned(),
            topic: Template::parse("o/${kafka.key}").expect("a template"),
            qos: Qos::AtLeastOnce,
            is_retained: true,
            expiry: Some(9),
            properties: properties.to_vec(),
        }
    }

    fn properties(arrival: &Arrival) -> Vec<(&str, &str)> {
        let properties = UserProperties::from_block(&arrival.properties);
        properties.expect("they are valid").iter().collect()
    }

    #[test]
    fn a_record_becomes_a_message() {
        let arrival = rule(&[]).render(&sample()).expect("a message");
        assert_eq!(
            (&*arrival.topic, &arrival.payload[..]),
            ("o/7/a", &b"21.5"[..])
        );
        assert_eq!((arrival.is_retained, arrival.expiry), (true, Some(9)));
        let marks = [
            (CAME_FROM, "kafka:other/x"),
            (CAME_FROM, "kafka:main/orders"),
        ];
        assert_eq!(properties(&arrival), marks);
    }

    #[test]
    fn what_is_text_may_become_user_properties() {
        let all = [Property::Headers, Property::Key, Property::Position];
        let arrival = rule(&all).render(&sample()).expect("a message");
        let expected = [
            ("unit", "celsius"),
            ("wild", "#"),
            ("kafka.key", "7/a"),
            ("kafka.topic", "orders"),
            ("kafka.partition", "3"),
            ("kafka.offset", "42"),
        ];
        assert_eq!(properties(&arrival)[..6], expected);
        assert_eq!(properties(&arrival).len(), 8);
    }

    #[test]
    fn a_record_without_a_value_is_an_empty_message_and_one_without_a_topic_is_none() {
        let record = Record {
            value: None,
            ..sample()
        };
        let arrival = rule(&[]).render(&record).expect("a message");
        assert!(arrival.payload.is_empty());
        let record = Record {
            key: Some(b"\xff"),
            ..sample()
        };
        assert_eq!(rule(&[]).render(&record), None);
    }
}
