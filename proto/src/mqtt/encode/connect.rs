//! CONNECT.

use super::{publish::write_message_properties, writer::Writer};
use crate::mqtt::{Connect, PacketId, Version, Will, frame::PacketType, property::Id};

pub(super) fn encode(connect: &Connect<'_>, writer: &mut Writer<'_>) {
    writer.packet(PacketType::Connect, |writer| {
        writer.text(match connect.version {
            Version::V31 => "MQIsdp",
            Version::V311 | Version::V5 => "MQTT",
        });
        writer.u8(connect.version as u8);
        writer.u8(flags(connect));
        writer.u16(connect.keep_alive);
        if connect.version == Version::V5 {
            writer.properties(|writer| write_properties(connect, writer));
        }
        writer.text(connect.client_id);
        if let Some(will) = &connect.will {
            write_will(will, connect.version, writer);
        }
        if let Some(username) = connect.login.username {
            writer.text(username);
        }
        if let Some(password) = connect.login.password {
            writer.binary(password);
        }
    });
}

fn flags(connect: &Connect<'_>) -> u8 {
    let will = connect.will.as_ref().map_or(0, |will| {
        0b0000_0100 | (will.qos as u8) << 3 | u8::from(will.retain) << 5
    });
    u8::from(connect.clean_start) << 1
        | will
        | u8::from(connect.login.password.is_some()) << 6
        | u8::from(connect.login.username.is_some()) << 7
}

fn write_properties(connect: &Connect<'_>, writer: &mut Writer<'_>) {
    let alias_maximum = Some(connect.topic_alias_maximum).filter(|maximum| *maximum > 0);
    let response = connect.request_response_information.then_some(true);
    let problem = (!connect.request_problem_information).then_some(false);
    writer.u32_property(Id::SessionExpiryInterval, connect.session_expiry);
    writer.u16_property(
        Id::ReceiveMaximum,
        connect.receive_maximum.map(PacketId::get),
    );
    writer.u32_property(Id::MaximumPacketSize, connect.maximum_packet_size);
    writer.u16_property(Id::TopicAliasMaximum, alias_maximum);
    writer.flag_property(Id::RequestResponseInformation, response);
    writer.flag_property(Id::RequestProblemInformation, problem);
    writer.text_property(Id::AuthenticationMethod, connect.authentication_method);
    writer.binary_property(Id::AuthenticationData, connect.authentication_data);
    writer.user_properties(connect.user_properties);
}

fn write_will(will: &Will<'_>, version: Version, writer: &mut Writer<'_>) {
    if version == Version::V5 {
        writer.properties(|writer| {
            let delay = Some(will.delay).filter(|delay| *delay > 0);
            writer.u32_property(Id::WillDelayInterval, delay);
            write_message_properties(&will.properties, writer);
        });
    }
    writer.text(will.topic);
    writer.binary(will.payload);
}
