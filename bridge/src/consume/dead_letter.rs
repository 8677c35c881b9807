//! Where records go of which nothing becomes: a topic of their own in Kafka, as they were, behind
//! whose headers are those that say why, where they are from, and when.
//!
//! After `worker`; before [`crate::produce`], which says when Kafka has it: only then its offset is
//! settled.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::error::KafkaError;
use rdkafka::message::{Message, OwnedMessage};

use super::headers;
use crate::produce::{Entry, Feed, Order, Outcome, Producer, Settings};
use crate::record::{Draft, Record};

/// The topic, and the way there.
#[derive(Clone, Debug)]
pub struct Options {
    /// In the Kafka that the records come from.
    pub topic: String,
    /// How they get there.
    pub settings: Settings,
}

/// The way to the topic.
pub(super) struct DeadLetters {
    topic: String,
    rule: String,
    entry: Entry,
    /// Runs for as long as it is here.
    _producer: Producer,
    n_open: Arc<AtomicUsize>,
}

// === impl DeadLetters ===

impl DeadLetters {
    pub(super) fn start(rule: &str, options: Options) -> Result<Self, KafkaError> {
        let producer = Producer::start(rule, options.settings)?;
        Ok(Self {
            topic: options.topic,
            rule: rule.to_owned(),
            entry: producer.open(Feed::Direct),
            _producer: producer,
            n_open: Arc::default(),
        })
    }

    /// Whether there is room for another; what is on its way may come all the same.
    pub(super) fn has_room(&self) -> bool {
        self.n_open.load(Relaxed) < MOST
    }

    /// Sends a record there, without waiting. One that comes from there is not, ever again.
    pub(super) fn send(
        &self,
        message: &OwnedMessage,
        why: &str,
        done: impl FnOnce(Outcome) + Send + 'static,
    ) {
        if message.topic() == self.topic {
            return done(Outcome::Refused);
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
        let record = record(&self.topic, message, &self.rule, why, now);
        self.n_open.fetch_add(1, Relaxed);
        let n_open = self.n_open.clone();
        let done = move |outcome| {
            n_open.fetch_sub(1, Relaxed);
            done(outcome);
        };
        let done = Box::new(done);
        if let Err(order) = self.entry.take_over(Order { record, done }) {
            (order.done)(Outcome::Unknown);
        }
    }
}

// === private ===

/// Dead letters on their way before nothing more is read.
const MOST: usize = 1_024;

/// How many headers the record had whose names are no text.
const LEFT_OUT: &str = "gatemq-headers-left-out";

/// The dead letter for a record that is refused at a time in milliseconds since 1970.
fn record(topic: &str, message: &OwnedMessage, rule: &str, why: &str, now: u64) -> Record {
    let value = message.payload();
    let at = message.timestamp().to_millis();
    let at = at.and_then(|at| u64::try_from(at).ok()).unwrap_or(now);
    let room = value.map_or(0, <[u8]>::len);
    let mut draft = Draft::new(topic, message.key(), at, room);
    let headers = headers::read(message.headers());
    for (name, value) in headers.all {
        draft.header(name, value);
    }
    if headers.n_left_out > 0 {
        let n_left_out = headers.n_left_out.to_string();
        draft.header(LEFT_OUT, n_left_out.as_bytes());
    }
    for (name, text) in [
        ("gatemq-refused", why),
        ("gatemq-refused-by", rule),
        ("gatemq-refused-at", &now.to_string()),
        ("gatemq-topic", message.topic()),
        ("gatemq-partition", &message.partition().to_string()),
        ("gatemq-offset", &message.offset().to_string()),
    ] {
        draft.header(name, text.as_bytes());
    }
    match value {
        Some(value) => draft.finish(|out| out.extend_from_slice(value)),
        None => draft.finish_without_value(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::Timestamp;
    use rdkafka::message::{Header, OwnedHeaders};

    fn letter(value: Option<&[u8]>) -> Record {
        let value = value.map(<[u8]>::to_vec);
        let (key, at) = (Some(b"k\xff".to_vec()), Timestamp::CreateTime(77));
        let unit = Header {
            key: "unit",
            value: Some("celsius"),
        };
        let headers = OwnedHeaders::new().insert(unit);
        let message = OwnedMessage::new(value, key, "orders".into(), at, 3, 42, Some(headers));
        record("dead", &message, "r", "it is full", 99)
    }

    #[test]
    fn a_dead_letter_is_the_record_as_it_was_and_says_why() {
        let letter = letter(Some(b"21.5\0"));
        assert_eq!((letter.topic(), letter.at()), ("dead", 77));
        assert_eq!(letter.key(), Some(&b"k\xff"[..]));
        assert_eq!(letter.value(), b"21.5\0");
        let headers = letter.headers();
        let headers: Vec<_> = headers
            .map(|(name, value)| (name, std::str::from_utf8(value).expect("text")))
            .collect();
        let expected = [
            ("unit", "celsius"),
            ("gatemq-refused", "it is full"),
            ("gatemq-refused-by", "r"),
            ("gatemq-refused-at", "99"),
            ("gatemq-topic", "orders"),
            ("gatemq-partition", "3"),
            ("gatemq-offset", "42"),
        ];
        assert_eq!(headers, expected);
    }

    #[test]
    fn a_tombstone_stays_one() {
        assert!(letter(None).is_tombstone());
        assert!(!letter(Some(b"")).is_tombstone());
    }
}
