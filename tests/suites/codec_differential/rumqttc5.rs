//! `rumqttc::v5::mqttbytes::v5`: 5.0. Its packets hold their properties.

use bytes::BytesMut;
use gatemq_proto::mqtt::Version;
use rumqttc::v5::mqttbytes::v5::Packet;

use super::{
    Codec,
    fields::{Fields, add, note, reason},
};

/// rumqttc's codec of 5.0.
pub(super) struct V5;

impl Codec for V5 {
    type Packet = Packet;
    const NAME: &'static str = "rumqttc 5";
    const VERSION: Version = Version::V5;

    fn decode(bytes: &mut BytesMut) -> Result<Packet, String> {
        Packet::read(bytes, None).map_err(|error| error.to_string())
    }

    fn fields(packet: &Packet) -> Fields {
        fields(packet)
    }

    fn encode(packet: Packet) -> Result<BytesMut, String> {
        let mut bytes = BytesMut::new();
        let written = packet.write(&mut bytes, None);
        written.map(|_| bytes).map_err(|error| error.to_string())
    }
}

macro_rules! ack {
    ($all:expr, $found:expr, $name:literal) => {{
        note!($all, "", $found; pkid);
        add($all, "reason", reason($found.reason));
        if let Some(properties) = &$found.properties {
            note!($all, "", properties; reason_string, user_properties);
        }
        $name
    }};
}

fn fields(packet: &Packet) -> Fields {
    let mut fields = Fields::new();
    let all = &mut fields;
    let name = match packet {
        Packet::Connect(connect, will, login) => {
            note!(all, "", connect; keep_alive, client_id);
            add(all, "clean", connect.clean_start);
            if let Some(properties) = &connect.properties {
                note!(all, "", properties; session_expiry_interval, receive_maximum,
                    max_packet_size, topic_alias_max, request_response_info,
                    request_problem_info, user_properties, authentication_method,
                    authentication_data);
            }
            if let Some(will) = will {
                note!(all, "will ", will; topic, message, qos, retain);
                if let Some(properties) = &will.properties {
                    note!(all, "will ", properties; delay_interval, payload_format_indicator,
                        message_expiry_interval, content_type, response_topic,
                        correlation_data, user_properties);
                }
            }
            if let Some(login) = login {
                note!(all, "", login; username, password);
            }
            "Connect"
        }
        Packet::ConnAck(found) => {
            note!(all, "", found; session_present);
            add(all, "code", reason(found.code));
            if let Some(properties) = &found.properties {
                note!(all, "", properties; session_expiry_interval, receive_max, max_qos,
                    retain_available, max_packet_size, assigned_client_identifier,
                    topic_alias_max, reason_string, user_properties,
                    wildcard_subscription_available, subscription_identifiers_available,
                    shared_subscription_available, server_keep_alive, response_information,
                    server_reference, authentication_method, authentication_data);
            }
            "ConnAck"
        }
        Packet::Publish(found) => {
            note!(all, "", found; dup, qos, retain, topic, pkid, payload);
            if let Some(properties) = &found.properties {
                note!(all, "", properties; payload_format_indicator, message_expiry_interval,
                    topic_alias, response_topic, correlation_data, user_properties,
                    subscription_identifiers, content_type);
            }
            "Publish"
        }
        Packet::PubAck(found) => ack!(all, found, "PubAck"),
        Packet::PubRec(found) => ack!(all, found, "PubRec"),
        Packet::PubRel(found) => ack!(all, found, "PubRel"),
        Packet::PubComp(found) => ack!(all, found, "PubComp"),
        Packet::Subscribe(found) => {
            note!(all, "", found; pkid);
            if let Some(properties) = &found.properties {
                note!(all, "", properties; id, user_properties);
            }
            for (index, filter) in found.filters.iter().enumerate() {
                let options = (filter.qos as u8, filter.nolocal, filter.preserve_retain);
                let rule = &filter.retain_forward_rule;
                let text = format!("{:?} {options:?} {rule:?}", filter.path);
                add(all, &format!("filter {index}"), text);
            }
            "Subscribe"
        }
        Packet::SubAck(found) => {
            note!(all, "", found; pkid);
            let reasons = found.return_codes.iter().map(reason);
            add(all, "reasons", reasons.collect::<Vec<_>>());
            if let Some(properties) = &found.properties {
                note!(all, "", properties; reason_string, user_properties);
            }
            "SubAck"
        }
        Packet::Unsubscribe(found) => {
            note!(all, "", found; pkid, filters);
            if let Some(properties) = &found.properties {
                note!(all, "", properties; user_properties);
            }
            "Unsubscribe"
        }
        Packet::UnsubAck(found) => {
            note!(all, "", found; pkid);
            let reasons = found.reasons.iter().map(reason);
            add(all, "reasons", reasons.collect::<Vec<_>>());
            if let Some(properties) = &found.properties {
                note!(all, "", properties; reason_string, user_properties);
            }
            "UnsubAck"
        }
        Packet::PingReq(_) => "PingReq",
        Packet::PingResp(_) => "PingResp",
        Packet::Disconnect(found) => {
            add(all, "reason", reason(found.reason_code));
            if let Some(properties) = &found.properties {
                note!(all, "", properties; session_expiry_interval, reason_string,
                    user_properties, server_reference);
            }
            "Disconnect"
        }
        Packet::Auth(found) => {
            add(all, "reason", reason(&found.code));
            if let Some(properties) = &found.properties {
                add(all, "authentication_method", properties.method.clone());
                add(all, "authentication_data", properties.data.clone());
                add(all, "reason_string", properties.reason.clone());
                note!(all, "", properties; user_properties);
            }
            "Auth"
        }
    };
    add(all, "packet", name);
    fields
}
