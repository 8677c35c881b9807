//! PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT and AUTH: a reason and little
//! else.

use super::writer::Writer;
use crate::mqtt::{
    Ack, Auth, Disconnect, Reason, SubAck, UnsubAck, UserProperties, Version, frame::PacketType,
    property::Id,
};

/// PUBACK, PUBREC, PUBREL or PUBCOMP, whichever `packet` is.
pub(super) fn encode_ack(
    packet: PacketType,
    ack: &Ack<'_>,
    version: Version,
    writer: &mut Writer<'_>,
) {
    let has_properties = ack.reason_string.is_some() || !ack.user_properties.is_empty();
    let is_plain = ack.reason == Reason::Success && !has_properties;
    if is_plain || version < Version::V5 {
        let [high, low] = ack.packet_id.get().to_be_bytes();
        writer.raw(&[packet.first_byte(), 2, high, low]);
        return;
    }
    writer.packet(packet, |writer| {
        writer.u16(ack.packet_id.get());
        writer.u8(ack.reason as u8);
        if has_properties {
            write_properties(ack.reason_string, ack.user_properties, writer);
        }
    });
}

pub(super) fn encode_suback(suback: &SubAck<'_>, version: Version, writer: &mut Writer<'_>) {
    writer.packet(PacketType::SubAck, |writer| {
        writer.u16(suback.packet_id.get());
        if version == Version::V5 {
            write_properties(suback.reason_string, suback.user_properties, writer);
        }
        for reason in &suback.reasons {
            writer.u8(match version {
                Version::V31 | Version::V311 if reason.is_error() => 0x80,
                _ => *reason as u8,
            });
        }
    });
}

pub(super) fn encode_unsuback(unsuback: &UnsubAck<'_>, version: Version, writer: &mut Writer<'_>) {
    writer.packet(PacketType::UnsubAck, |writer| {
        writer.u16(unsuback.packet_id.get());
        if version == Version::V5 {
            write_properties(unsuback.reason_string, unsuback.user_properties, writer);
            for reason in &unsuback.reasons {
                writer.u8(*reason as u8);
            }
        }
    });
}

pub(super) fn encode_disconnect(
    disconnect: &Disconnect<'_>,
    version: Version,
    writer: &mut Writer<'_>,
) {
    let has_properties = disconnect.session_expiry.is_some()
        || disconnect.reason_string.is_some()
        || disconnect.server_reference.is_some()
        || !disconnect.user_properties.is_empty();
    writer.packet(PacketType::Disconnect, |writer| {
        let is_plain = disconnect.reason == Reason::Success && !has_properties;
        if version < Version::V5 || is_plain {
            return;
        }
        writer.u8(disconnect.reason as u8);
        // The property length may be left out where it is 0, but clients are in use that cannot
        // read a DISCONNECT without it.
        writer.properties(|writer| {
            writer.u32_property(Id::SessionExpiryInterval, disconnect.session_expiry);
            writer.reason_string(disconnect.reason_string);
            writer.user_properties(disconnect.user_properties);
            writer.text_property(Id::ServerReference, disconnect.server_reference);
        });
    });
}

pub(super) fn encode_auth(auth: &Auth<'_>, version: Version, writer: &mut Writer<'_>) {
    if version < Version::V5 {
        return;
    }
    let has_properties = auth.authentication_method.is_some()
        || auth.authentication_data.is_some()
        || auth.reason_string.is_some()
        || !auth.user_properties.is_empty();
    writer.packet(PacketType::Auth, |writer| {
        if auth.reason == Reason::Success && !has_properties {
            return;
        }
        writer.u8(auth.reason as u8);
        writer.properties(|writer| {
            writer.text_property(Id::AuthenticationMethod, auth.authentication_method);
            writer.binary_property(Id::AuthenticationData, auth.authentication_data);
            writer.reason_string(auth.reason_string);
            writer.user_properties(auth.user_properties);
        });
    });
}

fn write_properties(
    reason_string: Option<&str>,
    user_properties: UserProperties<'_>,
    writer: &mut Writer<'_>,
) {
    writer.properties(|writer| {
        writer.reason_string(reason_string);
        writer.user_properties(user_properties);
    });
}
