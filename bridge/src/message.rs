//! A PUBLISH as a rule sees it: what the gateway that took it has sent on.
//!
//! Comes from the road between nodes; continues in [`crate::rule`].

use std::fmt;

use gatemq_node::trace::Context;
use gatemq_proto::mqtt::{Qos, UserProperties};

use crate::Event;

/// A message that a client has published.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Which one it is, however often it comes; QoS 0 has none.
    pub origin: Option<Origin>,
    /// The quality of service that it was published with.
    pub qos: Qos,
    /// RETAIN, as it was published.
    pub is_retained: bool,
    /// A valid topic name.
    pub topic: &'a str,
    /// Who has published it.
    pub client_id: &'a str,
    /// The user name of that client; empty if it has none.
    pub username: &'a str,
    /// The user properties of the message (5.0).
    pub properties: UserProperties<'a>,
    /// All its 5.0 properties that a server passes on, encoded; those of users are among them.
    pub block: &'a [u8],
    /// When it expires, in milliseconds since 1970.
    pub expires_at: Option<u64>,
    /// The application message.
    pub payload: &'a [u8],
    /// The span that it was sent from, where it is traced.
    pub trace: Option<Context>,
    /// When it came here, in milliseconds since 1970.
    pub at: u64,
    /// What a client did, if it is no message but that; topic and payload are empty then.
    pub event: Option<Event<'a>>,
}

/// The name of a message in the whole cluster: it stays the same when a gateway sends the message
/// again, so who reads from Kafka knows a repeat by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The first incarnation of the process that routed it first.
    pub source: u64,
    /// Its number there.
    pub id: u64,
}

// === impl Message ===

impl<'a> Message<'a> {
    /// Something that a client did, as a rule reads it.
    #[must_use]
    pub fn of_event(event: Event<'a>, origin: Option<Origin>) -> Self {
        Self {
            origin,
            qos: Qos::AtLeastOnce,
            is_retained: false,
            topic: "",
            client_id: event.client_id,
            username: event.username,
            properties: UserProperties::default(),
            block: &[],
            expires_at: None,
            payload: &[],
            trace: None,
            at: event.at,
            event: Some(event),
        }
    }

    /// The value of the first user property of this name.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'a str> {
        let mut found = self.properties.iter().filter(|pair| pair.0 == name);
        found.next().map(|(_, value)| value)
    }
}

// === impl Origin ===

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.source, self.id)
    }
}
