//! The limits of packets, connections, sessions and the broker, each with its bounds.

use gatemq_gateway::config as gateway;
use gatemq_node::config::{Number, Period, Problem, Size};
use gatemq_proto::mqtt::Qos;
use serde::{Deserialize, Serialize};

/// The limits, under their names in `gatemq_gateway::config::Limits`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Limits {
    pub maximum_packet_size: Size<5, 268_435_460>,
    pub maximum_connect_size: Size<64, 268_435_460>,
    pub connect_timeout: Period<100, 600_000>,
    pub receive_maximum: Number<1, 65_535>,
    pub max_inflight: Number<1, 65_535>,
    pub topic_alias_maximum: Number<0, 65_535>,
    pub topic_alias_out: Number<0, 65_535>,
    pub max_topic_levels: Number<1, 32_768>,
    pub max_topic_length: Size<1, 65_500>,
    pub max_user_properties: Number<0, 65_535>,
    pub maximum_qos: Number<0, 2>,
    pub retain_available: bool,
    pub wildcard_available: bool,
    pub subscription_ids_available: bool,
    pub shared_available: bool,
    pub minimum_protocol_version: Number<3, 5>,
    pub server_keep_alive: Period<0, 65_535_000>,
    pub session_expiry: Period<0, 4_294_967_295_000>,
    pub message_expiry: Period<0, 4_294_967_295_000>,
    pub max_queued_messages: Number<1, 1_000_000_000>,
    pub max_queued_bytes: Size<1024, { 1 << 40 }>,
    pub max_outbox_bytes: Size<1024, { 1 << 40 }>,
    pub stuck_timeout: Period<1000, 3_600_000>,
    pub max_retained: Number<0, 1_000_000_000>,
    pub max_retained_bytes: Size<0, { 1 << 50 }>,
    pub max_subscriptions: Number<1, 1_000_000_000>,
    pub max_sessions: Number<1, 1_000_000_000>,
    pub max_sessions_per_user: Number<0, 1_000_000_000>,
    pub memory: Size<0, { 1 << 50 }>,
    pub connection_rate: Number<0, 1_000_000_000>,
    pub connection_rate_per_address: Number<0, 1_000_000_000>,
    pub client_publish_rate: Number<0, 1_000_000_000>,
    pub client_publish_bytes: Size<0, { 1 << 40 }>,
    pub user_publish_rate: Number<0, 1_000_000_000>,
    pub user_publish_bytes: Size<0, { 1 << 40 }>,
    pub listener_publish_rate: Number<0, 1_000_000_000>,
    pub listener_publish_bytes: Size<0, { 1 << 40 }>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            maximum_packet_size: Size::new(1 << 20),
            maximum_connect_size: Size::new(64 << 10),
            connect_timeout: Period::new(5_000),
            receive_maximum: Number::new(1024),
            max_inflight: Number::new(1024),
            topic_alias_maximum: Number::new(32),
            topic_alias_out: Number::new(32),
            max_topic_levels: Number::new(128),
            max_topic_length: Size::new(4096),
            max_user_properties: Number::new(64),
            maximum_qos: Number::new(2),
            retain_available: true,
            wildcard_available: true,
            subscription_ids_available: true,
            shared_available: true,
            minimum_protocol_version: Number::new(3),
            server_keep_alive: Period::new(0),
            session_expiry: Period::new(4_294_967_295_000),
            message_expiry: Period::new(0),
            max_queued_messages: Number::new(100_000),
            max_queued_bytes: Size::new(64 << 20),
            max_outbox_bytes: Size::new(4 << 20),
            stuck_timeout: Period::new(30_000),
            max_retained: Number::new(1_000_000),
            max_retained_bytes: Size::new(1 << 30),
            max_subscriptions: Number::new(100_000),
            max_sessions: Number::new(10_000_000),
            max_sessions_per_user: Number::new(0),
            memory: Size::new(0),
            connection_rate: Number::new(0),
            connection_rate_per_address: Number::new(0),
            client_publish_rate: Number::new(0),
            client_publish_bytes: Size::new(0),
            user_publish_rate: Number::new(0),
            user_publish_bytes: Size::new(0),
            listener_publish_rate: Number::new(0),
            listener_publish_bytes: Size::new(0),
        }
    }
}

impl Limits {
    /// What is written can be run with.
    pub(super) fn check(&self) -> Result<(), Problem> {
        let least = gateway::LEAST_MEMORY;
        match self.memory.get::<u64>() {
            Some(memory) if memory > 0 && memory < least => {
                let least = least >> 20;
                let what = format!(
                    "is less than a broker needs to let anybody in: give it {least}MiB or more, or \
                     0B for what the system allows it"
                );
                Err(Problem::new("limits.memory", what))
            }
            _ => Ok(()),
        }
    }

    /// The same as plain data. The bounds above fit the gateway's types, so nothing is cut off.
    pub fn to_gateway(&self) -> gateway::Limits {
        gateway::Limits {
            maximum_packet_size: self.maximum_packet_size.get().unwrap_or(u32::MAX),
            maximum_connect_size: self.maximum_connect_size.get().unwrap_or(u32::MAX),
            connect_timeout: self.connect_timeout.duration(),
            receive_maximum: self.receive_maximum.get().unwrap_or(u16::MAX),
            max_inflight: self.max_inflight.get().unwrap_or(u16::MAX),
            topic_alias_maximum: self.topic_alias_maximum.get().unwrap_or(u16::MAX),
            topic_alias_out: self.topic_alias_out.get().unwrap_or(u16::MAX),
            max_topic_levels: self.max_topic_levels.get().unwrap_or(usize::MAX),
            max_topic_length: self.max_topic_length.get().unwrap_or(usize::MAX),
            max_user_properties: self.max_user_properties.get().unwrap_or(usize::MAX),
            maximum_qos: match self.maximum_qos.get() {
                Some(0_u8) => Qos::AtMostOnce,
                Some(1) => Qos::AtLeastOnce,
                _ => Qos::ExactlyOnce,
            },
            retain_available: self.retain_available,
            wildcard_available: self.wildcard_available,
            subscription_ids_available: self.subscription_ids_available,
            shared_available: self.shared_available,
            minimum_protocol_version: self.minimum_protocol_version.get().unwrap_or(u8::MAX),
            server_keep_alive: seconds(self.server_keep_alive)
                .try_into()
                .unwrap_or(u16::MAX),
            session_expiry: seconds(self.session_expiry),
            message_expiry: seconds(self.message_expiry),
            max_queued_messages: self.max_queued_messages.get().unwrap_or(usize::MAX),
            max_queued_bytes: self.max_queued_bytes.get().unwrap_or(usize::MAX),
            max_outbox_bytes: self.max_outbox_bytes.get().unwrap_or(usize::MAX),
            stuck_timeout: self.stuck_timeout.duration(),
            max_retained: self.max_retained.get().unwrap_or(usize::MAX),
            max_retained_bytes: self.max_retained_bytes.get().unwrap_or(u64::MAX),
            max_subscriptions: self.max_subscriptions.get().unwrap_or(usize::MAX),
            max_sessions: self.max_sessions.get().unwrap_or(usize::MAX),
            max_sessions_per_user: self.max_sessions_per_user.get().unwrap_or(usize::MAX),
            memory: self.memory.get().unwrap_or(u64::MAX),
            user_publish: rates(self.user_publish_rate, self.user_publish_bytes),
        }
    }
}

/// Both as the gateway has them.
pub(super) fn rates<const A: u64, const B: u64, const C: u64, const D: u64>(
    messages: Number<A, B>,
    bytes: Size<C, D>,
) -> gateway::Rates {
    gateway::Rates {
        messages: messages.get().unwrap_or(u64::MAX),
        bytes: bytes.get().unwrap_or(u64::MAX),
    }
}

/// MQTT counts whole seconds; what is between two is the longer, for 0 would mean "none".
fn seconds<const MIN: u64, const MAX: u64>(period: Period<MIN, MAX>) -> u32 {
    let millis: u128 = period.duration().as_millis();
    millis.div_ceil(1000).try_into().unwrap_or(u32::MAX)
}
