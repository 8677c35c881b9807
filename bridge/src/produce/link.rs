//! What the thread hands records to: a client of Kafka, or one of another broker of MQTT.

use std::sync::Arc;

use rdkafka::error::KafkaError;
use tokio::runtime::Handle;

use super::mailbox::Mailbox;
use super::{Settings, client};
use crate::Record;
use crate::mqtt::Remote;
use crate::mqtt::publisher::Publisher;

/// How clients are made.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    Kafka(Settings),
    /// On a runtime of its caller.
    Mqtt(Remote, Handle),
}

/// A client, which lives until an error is its last.
pub(super) enum Client {
    Kafka(client::Client),
    Mqtt(Publisher),
}

/// Why the client did not take a record.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// Not now: it has too many.
    Full,
    /// Not now: the other side is not there, and it will say when it is.
    Away,
    /// Never.
    Refused(KafkaError),
    /// There is no such topic, or it may not be written.
    NoTopic(KafkaError),
    /// The client takes none any more.
    Over(String),
}

// === impl Link ===

impl Link {
    /// What is there, for logs.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Kafka(_) => "kafka",
            Self::Mqtt(..) => "mqtt",
        }
    }

    /// Whether clients of the other would be the same: other brokers are told apart by their names.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Kafka(one), Self::Kafka(other)) => one == other,
            (Self::Mqtt(one, _), Self::Mqtt(other, _)) => one.name == other.name,
            _ => false,
        }
    }
}

// === impl Client ===

impl Client {
    /// Begins to look for the other side; `is_single` if each record is to go by itself.
    pub(super) fn start(
        link: &Link,
        generation: u64,
        is_single: bool,
        mailbox: Arc<Mailbox>,
    ) -> Result<Self, KafkaError> {
        match link {
            Link::Kafka(settings) => {
                client::Client::start(settings, generation, is_single, mailbox).map(Self::Kafka)
            }
            Link::Mqtt(remote, runtime) => Ok(Self::Mqtt(Publisher::start(
                remote, generation, mailbox, runtime,
            ))),
        }
    }

    /// Takes a record, without waiting. What becomes of it is reported under this flow and number.
    /// In Kafka it has this time, if there is one, in milliseconds since 1970.
    pub(super) fn send(
        &self,
        flow: usize,
        number: u64,
        record: &Record,
        time: Option<i64>,
    ) -> Result<(), NotTaken> {
        match self {
            Self::Kafka(client) => client.send(flow, number, record, time),
            Self::Mqtt(publisher) => match publisher.fatal() {
                Some(why) => Err(NotTaken::Over(why)),
                None if !publisher.is_connected() => Err(NotTaken::Away),
                None if publisher.send(flow, number, record) => Ok(()),
                None => Err(NotTaken::Full),
            },
        }
    }

    /// Why the client takes none any more, if that is so.
    pub(super) fn fatal(&self) -> Option<String> {
        match self {
            Self::Kafka(client) => client.fatal(),
            Self::Mqtt(publisher) => publisher.fatal(),
        }
    }
}
