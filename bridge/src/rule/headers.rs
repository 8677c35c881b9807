//! What of a message goes into the headers of Kafka.
//!
//! Ours begin with `mqtt.`; a user property that does so is left out, so that no client can pass
//! its own for them. So is one that says where a message came from, unless a bridge has brought it.

use gatemq_node::trace::context::TRACEPARENT;
use gatemq_proto::cluster::bridges::{CAME_FROM, is_bridge};
use serde::{Deserialize, Serialize};

use crate::Message;
use crate::record::Draft;

/// A kind of header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Header {
    /// `mqtt.id`, by which a repeat is known; a message of QoS 0 has none.
    Id,
    /// `mqtt.qos`: `0`, `1` or `2`.
    Qos,
    /// `mqtt.retain`: `true` or `false`.
    Retain,
    /// `mqtt.topic`.
    Topic,
    /// `mqtt.client-id`.
    ClientId,
    /// `traceparent`, where the message has one, and the `tracestate` beside it.
    Traceparent,
    /// All user properties, by their own names, in their order.
    UserProperties,
}

// === impl Header ===

impl Header {
    /// What a rule has that does not choose.
    pub const DEFAULT: [Self; 6] = [
        Self::Id,
        Self::Qos,
        Self::Retain,
        Self::Topic,
        Self::Traceparent,
        Self::UserProperties,
    ];

    /// Adds it to a record, if the message has it.
    pub(super) fn put(self, message: &Message<'_>, draft: &mut Draft) {
        match self {
            Self::Id => {
                if let Some(origin) = message.origin {
                    draft.header(ID, origin.to_string().as_bytes());
                }
            }
            Self::Qos => draft.header("mqtt.qos", &[b'0' + message.qos as u8]),
            Self::Retain => {
                let text = if message.is_retained { "true" } else { "false" };
                draft.header("mqtt.retain", text.as_bytes());
            }
            Self::Topic => draft.header("mqtt.topic", message.topic.as_bytes()),
            Self::ClientId => draft.header("mqtt.client-id", message.client_id.as_bytes()),
            Self::Traceparent => {
                let value = message.property(TRACEPARENT);
                if let Some(span) = message.trace {
                    draft.header(TRACEPARENT, span.to_string().as_bytes());
                } else if let Some(value) = value {
                    draft.header(TRACEPARENT, value.as_bytes());
                }
                if let Some(state) = message.property(TRACESTATE).filter(|_| value.is_some()) {
                    draft.header(TRACESTATE, state.as_bytes());
                }
            }
            Self::UserProperties => {
                let foreign = message
                    .properties
                    .iter()
                    .filter(|(name, _)| !name.starts_with(OURS))
                    .filter(|(name, _)| !OF_TRACES.contains(name) && *name != CAME_FROM);
                for (name, value) in foreign {
                    draft.header(name, value.as_bytes());
                }
            }
        }
    }
}

/// What is said of a message that comes from a topic of Kafka.
pub(crate) fn from_kafka(kafka: &str, topic: &str) -> String {
    format!("kafka:{kafka}/{topic}")
}

/// Where a message has been, as the bridges say that brought it here.
pub(crate) fn came_from<'a>(message: &Message<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    let properties = is_bridge(message.client_id).then_some(message.properties);
    let all = properties.into_iter().flat_map(|all| all.iter());
    all.filter(|(name, _)| *name == CAME_FROM)
        .map(|(_, place)| place)
}

/// Says it to whoever brings the record somewhere else.
pub(super) fn put_came_from(message: &Message<'_>, draft: &mut Draft) {
    for place in came_from(message) {
        draft.header(CAME_FROM, place.as_bytes());
    }
}

/// The header by which a repeat is known.
pub const ID: &str = "mqtt.id";

// === private ===

const OURS: &str = "mqtt.";
const TRACESTATE: &str = "tracestate";
const OF_TRACES: [&str; 2] = [TRACEPARENT, TRACESTATE];
