//! CONNACK.

use super::writer::Writer;
use crate::mqtt::{ConnAck, PacketId, Qos, Reason, Version, frame::PacketType, property::Id};

pub(super) fn encode(connack: &ConnAck<'_>, version: Version, writer: &mut Writer<'_>) {
    // [MQTT-3.2.2-6]; in 3.1 there is no such flag.
    let session_present =
        connack.session_present && connack.reason == Reason::Success && version > Version::V31;
    writer.packet(PacketType::ConnAck, |writer| {
        writer.u8(u8::from(session_present));
        if version < Version::V5 {
            writer.u8(connack.reason.connack_return_code());
            return;
        }
        writer.u8(connack.reason as u8);
        writer.properties(|writer| write_properties(connack, writer));
    });
}

fn write_properties(connack: &ConnAck<'_>, writer: &mut Writer<'_>) {
    // 2 is what the absence of the property means, and is not allowed as its value.
    let maximum_qos = connack.maximum_qos.filter(|qos| *qos < Qos::ExactlyOnce);
    let alias_maximum = Some(connack.topic_alias_maximum).filter(|maximum| *maximum > 0);
    writer.u32_property(Id::SessionExpiryInterval, connack.session_expiry);
    writer.u16_property(
        Id::ReceiveMaximum,
        connack.receive_maximum.map(PacketId::get),
    );
    writer.byte_property(Id::MaximumQos, maximum_qos.map(|qos| qos as u8));
    writer.flag_property(Id::RetainAvailable, connack.retain_available);
    writer.u32_property(Id::MaximumPacketSize, connack.maximum_packet_size);
    writer.text_property(Id::AssignedClientIdentifier, connack.assigned_client_id);
    writer.u16_property(Id::TopicAliasMaximum, alias_maximum);
    writer.reason_string(connack.reason_string);
    writer.user_properties(connack.user_properties);
    writer.flag_property(
        Id::WildcardSubscriptionAvailable,
        connack.wildcard_available,
    );
    writer.flag_property(
        Id::SubscriptionIdentifierAvailable,
        connack.subscription_ids_available,
    );
    writer.flag_property(Id::SharedSubscriptionAvailable, connack.shared_available);
    writer.u16_property(Id::ServerKeepAlive, connack.server_keep_alive);
    writer.text_property(Id::ResponseInformation, connack.response_information);
    writer.text_property(Id::ServerReference, connack.server_reference);
    writer.text_property(Id::AuthenticationMethod, connack.authentication_method);
    writer.binary_property(Id::AuthenticationData, connack.authentication_data);
}
