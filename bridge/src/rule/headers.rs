//! What of a message goes into the headers of Kafka.
//!
//! Ours begin with `mqtt.`; a user property that does so is left out, so that no client can pass
//! its own for them.

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
    /// `traceparent`, where the message has one.
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
                if let Some(value) = message.property(TRACEPARENT) {
                    draft.header(TRACEPARENT, value.as_bytes());
                }
            }
            Self::UserProperties => {
                let foreign = message
                    .properties
                    .iter()
                    .filter(|(name, _)| *name != TRACEPARENT && !name.starts_with(OURS));
                for (name, value) in foreign {
                    draft.header(name, value.as_bytes());
                }
            }
        }
    }
}

/// The header by which a repeat is known.
pub const ID: &str = "mqtt.id";

// === private ===

const OURS: &str = "mqtt.";
const TRACEPARENT: &str = "traceparent";
