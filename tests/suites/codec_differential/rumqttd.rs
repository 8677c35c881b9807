//! `rumqttd::protocol`: one set of packets for both versions.

use bytes::BytesMut;
use gatemq_proto::mqtt::Version;
use rumqttd::protocol::{Packet, Protocol, Publish, QoS, v4, v5};

use super::{
    Codec, ROOM, agree, excuses,
    fields::{Fields, Value, add, note, reason},
};

/// rumqttd's codec of 3.1.1.
pub(super) struct V4;
/// rumqttd's codec of 5.0.
pub(super) struct V5;

impl Codec for V4 {
    type Packet = Packet;
    const NAME: &'static str = "rumqttd 4";
    const VERSION: Version = Version::V311;

    fn decode(bytes: &mut BytesMut) -> Result<Packet, String> {
        let mut codec = v4::V4;
        codec
            .read_mut(bytes, ROOM)
            .map_err(|error| error.to_string())
    }

    fn fields(packet: &Packet) -> Fields {
        fields(packet)
    }

    fn encode(packet: Packet) -> Result<BytesMut, String> {
        let mut bytes = BytesMut::new();
        let written = v4::V4.write(packet, &mut bytes);
        written.map(|_| bytes).map_err(|error| error.to_string())
    }
}

impl Codec for V5 {
    type Packet = Packet;
    const NAME: &'static str = "rumqttd 5";
    const VERSION: Version = Version::V5;

    fn decode(bytes: &mut BytesMut) -> Result<Packet, String> {
        let mut codec = v5::V5;
        codec
            .read_mut(bytes, ROOM)
            .map_err(|error| error.to_string())
    }

    fn fields(packet: &Packet) -> Fields {
        fields(packet)
    }

    fn encode(packet: Packet) -> Result<BytesMut, String> {
        let mut bytes = BytesMut::new();
        let written = v5::V5.write(packet, &mut bytes);
        written.map(|_| bytes).map_err(|error| error.to_string())
    }
}

impl Value for QoS {
    fn text(&self) -> Option<String> {
        (*self as u8).text()
    }
}

/// An acknowledgement, with the properties that all four have.
macro_rules! ack {
    ($all:expr, $found:expr, $properties:expr, $name:literal) => {{
        note!($all, "", $found; pkid);
        add($all, "reason", reason($found.reason));
        if let Some(properties) = $properties {
            note!($all, "", properties; reason_string, user_properties);
        }
        $name
    }};
}

fn fields(packet: &Packet) -> Fields {
    let mut fields = Fields::new();
    let all = &mut fields;
    let name = match packet {
        Packet::Connect(connect, properties, will, will_properties, login) => {
            note!(all, "", connect; keep_alive, client_id);
            add(all, "clean", connect.clean_session);
            if let Some(properties) = properties {
                note!(all, "", properties; session_expiry_interval, receive_maximum,
                    max_packet_size, topic_alias_max, request_response_info,
                    request_problem_info, user_properties, authentication_method,
                    authentication_data);
            }
            if let Some(will) = will {
                note!(all, "will ", will; topic, message, qos, retain);
            }
            if let Some(properties) = will_properties {
                note!(all, "will ", properties; delay_interval, payload_format_indicator,
                    message_expiry_interval, content_type, response_topic, correlation_data,
                    user_properties);
            }
            if let Some(login) = login {
                note!(all, "", login; username, password);
            }
            "Connect"
        }
        Packet::ConnAck(connack, properties) => {
            note!(all, "", connack; session_present);
            add(all, "code", reason(connack.code));
            if let Some(properties) = properties {
                note!(all, "", properties; session_expiry_interval, receive_max, max_qos,
                    retain_available, max_packet_size, assigned_client_identifier,
                    topic_alias_max, reason_string, user_properties,
                    wildcard_subscription_available, subscription_identifiers_available,
                    shared_subscription_available, server_keep_alive, response_information,
                    server_reference, authentication_method, authentication_data);
            }
            "ConnAck"
        }
        Packet::Publish(publish, properties) => {
            note!(all, "", publish; retain, topic, payload);
            private_fields(all, publish);
            if let Some(properties) = properties {
                note!(all, "", properties; payload_format_indicator, message_expiry_interval,
                    topic_alias, response_topic, correlation_data, user_properties,
                    subscription_identifiers, content_type);
            }
            "Publish"
        }
        Packet::PubAck(found, properties) => ack!(all, found, properties, "PubAck"),
        Packet::PubRec(found, properties) => ack!(all, found, properties, "PubRec"),
        Packet::PubRel(found, properties) => ack!(all, found, properties, "PubRel"),
        Packet::PubComp(found, properties) => ack!(all, found, properties, "PubComp"),
        Packet::Subscribe(found, properties) => {
            note!(all, "", found; pkid);
            if let Some(properties) = properties {
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
        Packet::SubAck(found, properties) => {
            note!(all, "", found; pkid);
            let reasons = found.return_codes.iter().map(reason);
            add(all, "reasons", reasons.collect::<Vec<_>>());
            if let Some(properties) = properties {
                note!(all, "", properties; reason_string, user_properties);
            }
            "SubAck"
        }
        Packet::Unsubscribe(found, properties) => {
            note!(all, "", found; pkid, filters);
            if let Some(properties) = properties {
                note!(all, "", properties; user_properties);
            }
            "Unsubscribe"
        }
        Packet::UnsubAck(found, properties) => {
            note!(all, "", found; pkid);
            let reasons = found.reasons.iter().map(reason);
            add(all, "reasons", reasons.collect::<Vec<_>>());
            if let Some(properties) = properties {
                note!(all, "", properties; reason_string, user_properties);
            }
            "UnsubAck"
        }
        Packet::PingReq(_) => "PingReq",
        Packet::PingResp(_) => "PingResp",
        Packet::Disconnect(found, properties) => {
            add(all, "reason", reason(found.reason_code));
            if let Some(properties) = properties {
                note!(all, "", properties; session_expiry_interval, reason_string,
                    user_properties, server_reference);
            }
            "Disconnect"
        }
    };
    add(all, "packet", name);
    fields
}

/// DUP, QoS and packet id are private (0.20.0), but `Debug` shows them, before all else.
fn private_fields(all: &mut Fields, publish: &Publish) {
    let shown = format!("{publish:?}");
    let value = |name: &str| {
        let (_, rest) = shown.split_once(name).expect("Debug shows every field");
        let (value, _) = rest.split_once(',').expect("more fields follow");
        value.trim().to_owned()
    };
    add(all, "dup", value("dup:") == "true");
    let qos = match value("qos:").as_str() {
        "AtMostOnce" => 0_u8,
        "AtLeastOnce" => 1,
        _ => 2,
    };
    add(all, "qos", qos);
    add(all, "pkid", value("pkid:"));
}

#[test]
fn rumqttd_agrees_on_3_1_1() {
    agree::<V4>();
}

#[test]
fn rumqttd_agrees_on_5() {
    agree::<V5>();
}

#[test]
fn every_excuse_of_rumqttd_is_needed() {
    excuses::check::<V4>();
    excuses::check::<V5>();
}
