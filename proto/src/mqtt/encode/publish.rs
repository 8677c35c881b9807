//! PUBLISH: from its fields, and in the form that a server fans out.

use super::writer::{Writer, fit, length_field, variable_len};
use crate::mqtt::{
    PacketId, Publish, PublishHeader, PublishProperties, Qos, Version, frame::PacketType,
    property::Id,
};

pub(super) fn encode(publish: &Publish<'_>, version: Version, writer: &mut Writer<'_>) {
    writer.u8(first_byte(publish.dup, publish.qos, publish.retain));
    writer.sized(publish.payload.len(), |writer| {
        writer.text(publish.topic);
        if publish.qos > Qos::AtMostOnce {
            writer.u16(publish.packet_id.unwrap_or(PLACEHOLDER).get());
        }
        if version == Version::V5 {
            writer.properties(|writer| {
                let properties = &publish.properties;
                writer.u16_property(Id::TopicAlias, properties.topic_alias.map(PacketId::get));
                write_message_properties(properties, writer);
                for id in properties.subscription_ids.iter() {
                    writer.variable_property(Id::SubscriptionIdentifier, id);
                }
            });
        }
    });
    writer.raw(publish.payload);
}

/// The properties that a PUBLISH and a will have in common.
pub(super) fn write_message_properties(
    properties: &PublishProperties<'_>,
    writer: &mut Writer<'_>,
) {
    writer.flag_property(Id::PayloadFormatIndicator, properties.payload_is_utf8);
    writer.u32_property(Id::MessageExpiryInterval, properties.message_expiry);
    writer.text_property(Id::ContentType, properties.content_type);
    writer.text_property(Id::ResponseTopic, properties.response_topic);
    writer.binary_property(Id::CorrelationData, properties.correlation_data);
    writer.user_properties(properties.user_properties);
}

impl PublishHeader<'_> {
    /// Appends everything but the payload. Returns where in `out` the packet identifier is, so
    /// that it can be patched; for QoS 0, which has none, where it would be.
    ///
    /// The packet identifier is written if and only if QoS is above 0, as 1 if there is none yet.
    ///
    /// The packet must fit the protocol: see [`Self::encoded_len`], and the bounds of
    /// [`crate::mqtt::encode()`].
    #[inline]
    pub fn encode(&self, payload_len: usize, out: &mut Vec<u8>) -> usize {
        let n_properties = self.properties_len();
        let remaining = self.remaining_len(n_properties, payload_len);
        let mut writer = Writer::new(out);
        // The fixed header has at most five bytes.
        writer.reserve((5 + remaining).saturating_sub(payload_len));
        writer.u8(first_byte(self.dup, self.qos, self.retain));
        writer.variable(length_field(remaining));
        writer.text(self.topic);
        let position = writer.position();
        if self.qos > Qos::AtMostOnce {
            writer.u16(self.packet_id.unwrap_or(PLACEHOLDER).get());
        }
        if self.version == Version::V5 {
            writer.variable(length_field(n_properties));
            writer.u16_property(Id::TopicAlias, self.topic_alias.map(PacketId::get));
            writer.u32_property(Id::MessageExpiryInterval, self.message_expiry);
            writer.raw(self.forwardable);
            for id in self.subscription_ids {
                writer.variable_property(Id::SubscriptionIdentifier, *id);
            }
        }
        position
    }

    /// Size of the whole packet, to compare with a Maximum Packet Size. A packet whose size is
    /// above [`crate::mqtt::MAX_REMAINING_LENGTH`] must not be encoded.
    #[inline]
    pub fn encoded_len(&self, payload_len: usize) -> usize {
        let remaining = self.remaining_len(self.properties_len(), payload_len);
        1 + variable_len(remaining) + remaining
    }

    fn remaining_len(&self, n_properties: usize, payload_len: usize) -> usize {
        let packet_id = if self.qos > Qos::AtMostOnce { 2 } else { 0 };
        let properties = match self.version {
            Version::V5 => variable_len(n_properties) + n_properties,
            Version::V31 | Version::V311 => 0,
        };
        2 + fit(self.topic).len() + packet_id + properties + payload_len
    }

    /// Size of the property list without its length.
    fn properties_len(&self) -> usize {
        let alias = if self.topic_alias.is_some() { 3 } else { 0 };
        let expiry = if self.message_expiry.is_some() { 5 } else { 0 };
        let ids = self
            .subscription_ids
            .iter()
            .map(|id| 1 + variable_len(*id as usize));
        alias + expiry + self.forwardable.len() + ids.sum::<usize>()
    }
}

/// Stands where a packet identifier will be patched in.
const PLACEHOLDER: PacketId = PacketId::MIN;

#[inline]
const fn first_byte(dup: bool, qos: Qos, retain: bool) -> u8 {
    PacketType::Publish.first_byte() | (dup as u8) << 3 | (qos as u8) << 1 | retain as u8
}
