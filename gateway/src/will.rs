//! Wills: kept with the session that left them, published when its connection ends badly.

use std::sync::Arc;

use crate::message::{Message, MessageRef};
use crate::proto::mqtt;

/// A will, ready to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Will {
    /// Will Delay Interval, in seconds.
    pub(crate) delay: u32,
    /// Message Expiry Interval, in seconds, counted from when the will is published.
    pub(crate) expiry: Option<u32>,
    /// The client that left it.
    pub(crate) client_id: Box<str>,
    pub(crate) message: Message,
}

impl Will {
    /// The will of a CONNECT.
    pub(crate) fn new(will: &mqtt::Will<'_>, client_id: &str, publisher: u64) -> Arc<Self> {
        let mut scratch = Vec::new();
        let message = MessageRef {
            publisher,
            qos: will.qos,
            retain: will.retain,
            expires_at: u64::MAX,
            topic: will.topic,
            properties: mqtt::forwardable(will.properties.block, &mut scratch),
            payload: will.payload,
        };
        Arc::new(Self {
            delay: will.delay,
            expiry: will.properties.message_expiry,
            client_id: client_id.into(),
            message: message.to_message(),
        })
    }
}
