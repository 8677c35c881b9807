//! What the value of a record is: the payload as it came, comqtt's JSON, or JSON of one's own.

mod json;

pub use json::{Error, Json};

use crate::Message;
use crate::event::{self, Event};

/// The value of a rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// The payload, byte for byte.
    #[default]
    Raw,
    /// What comqtt wrote for a publish.
    Comqtt,
    /// JSON with places.
    Json(Json),
}

// === impl Value ===

impl Value {
    /// Appends the value of a message.
    pub(super) fn write(&self, message: &Message<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Raw => out.extend_from_slice(message.payload),
            Self::Comqtt => {
                let topic = [message.topic];
                let event = Event {
                    kind: event::Kind::Publish,
                    topics: &topic,
                    payload: message.payload,
                    ..Event::new(message.client_id, message.username, message.at)
                };
                event.write(out);
            }
            Self::Json(json) => json.write(message, out),
        }
    }
}
