//! The control packets as values, all but PUBLISH (which is in [`super::publish`]).

use std::num::NonZeroU16;

use super::{Publish, Reason, UserProperties};

/// A protocol version, by its protocol level on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1 (`MQIsdp`, level 3).
    V31 = 3,
    /// MQTT 3.1.1 (`MQTT`, level 4).
    V311 = 4,
    /// MQTT 5.0 (`MQTT`, level 5).
    V5 = 5,
}

/// A quality of service level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Qos {
    /// At most once (0).
    AtMostOnce = 0,
    /// At least once (1).
    AtLeastOnce = 1,
    /// Exactly once (2).
    ExactlyOnce = 2,
}

impl Qos {
    /// The level of a two-bit field; `None` for 3 and above.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// A packet identifier: never zero `[MQTT-2.2.1-3]`.
pub type PacketId = NonZeroU16;

/// A control packet whose strings and payloads are slices of the frame it was decoded from.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are the standard's packet names")]
pub enum Packet<'a> {
    Connect(Box<Connect<'a>>),
    ConnAck(Box<ConnAck<'a>>),
    Publish(Publish<'a>),
    PubAck(Ack<'a>),
    PubRec(Ack<'a>),
    PubRel(Ack<'a>),
    PubComp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(SubAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(UnsubAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

/// CONNECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect<'a> {
    /// Protocol version that the client speaks.
    pub version: Version,
    /// Clean Start (5.0) or Clean Session (3.1, 3.1.1).
    pub clean_start: bool,
    /// Keep alive, in seconds; 0 is off.
    pub keep_alive: u16,
    /// Client identifier; may be empty.
    pub client_id: &'a str,
    /// The will, where there is one.
    pub will: Option<Will<'a>>,
    /// User name and password.
    pub login: Login<'a>,
    /// Session Expiry Interval, in seconds; absent is 0.
    pub session_expiry: Option<u32>,
    /// Receive Maximum of the client; absent is 65,535.
    pub receive_maximum: Option<NonZeroU16>,
    /// Maximum Packet Size that the client accepts, in bytes; absent is no limit.
    pub maximum_packet_size: Option<u32>,
    /// Topic Alias Maximum of the client; absent is 0.
    pub topic_alias_maximum: u16,
    /// Request Response Information.
    pub request_response_information: bool,
    /// Request Problem Information; absent is true.
    pub request_problem_information: bool,
    /// Authentication Method of enhanced authentication.
    pub authentication_method: Option<&'a str>,
    /// Authentication Data.
    pub authentication_data: Option<&'a [u8]>,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
}

/// User name and password of a CONNECT.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Login<'a> {
    /// User name.
    pub username: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
}

/// The will of a CONNECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Will<'a> {
    /// Topic to publish to; checked to be a valid topic name.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// Quality of service.
    pub qos: Qos,
    /// Retain flag.
    pub retain: bool,
    /// Will Delay Interval, in seconds.
    pub delay: u32,
    /// The will properties that go with the published message, and its expiry; encoded as in
    /// PUBLISH: what [`super::forwardable`] would keep. `message_expiry` is apart.
    pub properties: super::PublishProperties<'a>,
}

/// CONNACK.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnAck<'a> {
    /// Session Present.
    pub session_present: bool,
    /// Reason code. Encoding for 3.1 and 3.1.1 maps it to a return code of 0 to 5.
    pub reason: Reason,
    /// Session Expiry Interval in force, if it is not what the client asked for.
    pub session_expiry: Option<u32>,
    /// Receive Maximum of the server.
    pub receive_maximum: Option<NonZeroU16>,
    /// Maximum QoS, if below 2.
    pub maximum_qos: Option<Qos>,
    /// Retain Available; absent is true.
    pub retain_available: Option<bool>,
    /// Maximum Packet Size that the server accepts, in bytes.
    pub maximum_packet_size: Option<u32>,
    /// Client identifier that the server assigned.
    pub assigned_client_id: Option<&'a str>,
    /// Topic Alias Maximum of the server; 0 is left out.
    pub topic_alias_maximum: u16,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
    /// Wildcard Subscription Available; absent is true.
    pub wildcard_available: Option<bool>,
    /// Subscription Identifiers Available; absent is true.
    pub subscription_ids_available: Option<bool>,
    /// Shared Subscription Available; absent is true.
    pub shared_available: Option<bool>,
    /// Server Keep Alive, in seconds, if it is not the client's.
    pub server_keep_alive: Option<u16>,
    /// Response Information.
    pub response_information: Option<&'a str>,
    /// Server Reference.
    pub server_reference: Option<&'a str>,
    /// Authentication Method.
    pub authentication_method: Option<&'a str>,
    /// Authentication Data.
    pub authentication_data: Option<&'a [u8]>,
}

impl ConnAck<'_> {
    /// A CONNACK with this reason and nothing else.
    pub fn new(reason: Reason) -> Self {
        Self {
            session_present: false,
            reason,
            session_expiry: None,
            receive_maximum: None,
            maximum_qos: None,
            retain_available: None,
            maximum_packet_size: None,
            assigned_client_id: None,
            topic_alias_maximum: 0,
            reason_string: None,
            user_properties: UserProperties::default(),
            wildcard_available: None,
            subscription_ids_available: None,
            shared_available: None,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ack<'a> {
    /// The packet identifier of the PUBLISH.
    pub packet_id: PacketId,
    /// Reason code; Success where the packet had none.
    pub reason: Reason,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
}

/// SUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe<'a> {
    /// Packet identifier.
    pub packet_id: PacketId,
    /// Subscription Identifier, 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
    /// The filters; never empty `[MQTT-3.8.3-2]`. A filter's text is valid UTF-8 without U+0000;
    /// whether it is a valid *topic filter* is left to [`crate::topic::Filter::parse`], so that
    /// each one can get its own reason code in the SUBACK.
    pub filters: Vec<SubscribeFilter<'a>>,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SubscribeFilter<'a> {
    /// The topic filter as sent.
    pub filter: &'a str,
    /// Its options.
    pub options: SubscriptionOptions,
}

/// Subscription options `[MQTT-3.8.3.1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Maximum QoS.
    pub qos: Qos,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
}

/// Retain Handling of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// Send retained messages at the time of the subscribe (0).
    Send = 0,
    /// Send them only if the subscription did not exist before (1).
    SendIfNew = 1,
    /// Do not send them (2).
    DoNotSend = 2,
}

/// SUBACK.
#[derive(Clone, Debug, PartialEq)]
pub struct SubAck<'a> {
    /// Packet identifier of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
    /// One reason per filter, in order. Encoding for 3.1.1 maps a failure to 0x80.
    pub reasons: Vec<Reason>,
}

/// UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribe<'a> {
    /// Packet identifier.
    pub packet_id: PacketId,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
    /// The filters; never empty. Checked as those of SUBSCRIBE.
    pub filters: Vec<&'a str>,
}

/// UNSUBACK.
#[derive(Clone, Debug, PartialEq)]
pub struct UnsubAck<'a> {
    /// Packet identifier of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
    /// One reason per filter, in order (5.0 only; empty before).
    pub reasons: Vec<Reason>,
}

/// DISCONNECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Disconnect<'a> {
    /// Reason code; Normal disconnection where the packet had none.
    pub reason: Reason,
    /// Session Expiry Interval.
    pub session_expiry: Option<u32>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
    /// Server Reference.
    pub server_reference: Option<&'a str>,
}

/// AUTH (5.0 only).
#[derive(Clone, Debug, PartialEq)]
pub struct Auth<'a> {
    /// Reason code: Success, Continue authentication or Re-authenticate.
    pub reason: Reason,
    /// Authentication Method.
    pub authentication_method: Option<&'a str>,
    /// Authentication Data.
    pub authentication_data: Option<&'a [u8]>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User properties, in order.
    pub user_properties: UserProperties<'a>,
}
