//! PUBLISH: the packet that everything else exists for, and the only hot one.

use std::num::NonZeroU16;

use super::{PacketId, Qos, SubscriptionIds, UserProperties, Version};

/// PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Publish<'a> {
    /// DUP flag.
    pub dup: bool,
    /// Quality of service.
    pub qos: Qos,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic name: valid, or empty where `properties.topic_alias` stands for it (5.0).
    pub topic: &'a str,
    /// Packet identifier; there if and only if QoS is above 0.
    pub packet_id: Option<PacketId>,
    /// Properties (5.0; empty before).
    pub properties: PublishProperties<'a>,
    /// Application message.
    pub payload: &'a [u8],
}

/// The properties of a PUBLISH or, but for the alias, of a will.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PublishProperties<'a> {
    /// The whole property list as it was on the wire, validated, without its length.
    /// Encoding a packet writes from the fields below, not from this; it is what
    /// [`super::forwardable`] takes.
    pub block: &'a [u8],
    /// Payload Format Indicator: `true` for UTF-8 text.
    pub payload_is_utf8: Option<bool>,
    /// Message Expiry Interval, in seconds.
    pub message_expiry: Option<u32>,
    /// Topic Alias; zero is refused `[MQTT-3.3.2-8]`.
    pub topic_alias: Option<NonZeroU16>,
    /// Response Topic: a valid topic name.
    pub response_topic: Option<&'a str>,
    /// Correlation Data.
    pub correlation_data: Option<&'a [u8]>,
    /// Content Type.
    pub content_type: Option<&'a str>,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
    /// Subscription identifiers (only from server to client).
    pub subscription_ids: SubscriptionIds<'a>,
}

/// All of a PUBLISH but its payload, as a server sends it; for encoding.
#[derive(Clone, Copy, Debug)]
pub struct PublishHeader<'a> {
    /// Version of the receiver.
    pub version: Version,
    /// DUP flag.
    pub dup: bool,
    /// Quality of service.
    pub qos: Qos,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic name; empty where `topic_alias` stands for it.
    pub topic: &'a str,
    /// Packet identifier; a placeholder of 1 will do where it is patched later.
    pub packet_id: Option<PacketId>,
    /// Topic Alias (5.0).
    pub topic_alias: Option<NonZeroU16>,
    /// Message Expiry Interval, in seconds (5.0).
    pub message_expiry: Option<u32>,
    /// Subscription identifiers (5.0).
    pub subscription_ids: &'a [u32],
    /// The properties that a server passes on unaltered (5.0), encoded: what
    /// [`super::forwardable`] gave.
    pub forwardable: &'a [u8],
}
