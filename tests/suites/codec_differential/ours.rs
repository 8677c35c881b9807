//! Our packets as fields, under the names that rumqttd and rumqttc share.

use gatemq_proto::mqtt::{
    Ack, Connect, Packet, PublishProperties, RetainHandling, UserProperties, Version, Will,
};

use super::fields::{Fields, Value, add, reason};

/// The fields that are there and are no defaults.
pub(super) fn fields(packet: &Packet<'_>) -> Fields {
    let mut fields = Fields::new();
    let all = &mut fields;
    let name = match packet {
        Packet::Connect(found) => {
            connect(all, found);
            "Connect"
        }
        Packet::ConnAck(found) => {
            add(all, "session_present", found.session_present);
            add(all, "code", reason(found.reason));
            add(all, "session_expiry_interval", found.session_expiry);
            add(
                all,
                "receive_max",
                found.receive_maximum.map(|number| number.get()),
            );
            add(all, "max_qos", found.maximum_qos.map(|qos| qos as u8));
            add(all, "retain_available", found.retain_available);
            add(all, "max_packet_size", found.maximum_packet_size);
            add(all, "assigned_client_identifier", found.assigned_client_id);
            add(all, "topic_alias_max", not_zero(found.topic_alias_maximum));
            add(all, "reason_string", found.reason_string);
            users(all, "", found.user_properties);
            add(
                all,
                "wildcard_subscription_available",
                found.wildcard_available,
            );
            add(
                all,
                "subscription_identifiers_available",
                found.subscription_ids_available,
            );
            add(all, "shared_subscription_available", found.shared_available);
            add(all, "server_keep_alive", found.server_keep_alive);
            add(all, "response_information", found.response_information);
            add(all, "server_reference", found.server_reference);
            add(all, "authentication_method", found.authentication_method);
            add(all, "authentication_data", found.authentication_data);
            "ConnAck"
        }
        Packet::Publish(found) => {
            add(all, "dup", found.dup);
            add(all, "qos", found.qos as u8);
            add(all, "retain", found.retain);
            add(all, "topic", found.topic);
            add(all, "pkid", found.packet_id.map_or(0, |id| id.get()));
            add(all, "payload", found.payload);
            properties(all, "", &found.properties);
            "Publish"
        }
        Packet::PubAck(found) => ack(all, found, "PubAck"),
        Packet::PubRec(found) => ack(all, found, "PubRec"),
        Packet::PubRel(found) => ack(all, found, "PubRel"),
        Packet::PubComp(found) => ack(all, found, "PubComp"),
        Packet::Subscribe(found) => {
            add(all, "pkid", found.packet_id.get());
            add(all, "id", found.subscription_id);
            users(all, "", found.user_properties);
            for (index, filter) in found.filters.iter().enumerate() {
                let rule = match filter.options.retain_handling {
                    RetainHandling::Send => "OnEverySubscribe",
                    RetainHandling::SendIfNew => "OnNewSubscribe",
                    RetainHandling::DoNotSend => "Never",
                };
                let options = (
                    filter.options.qos as u8,
                    filter.options.no_local,
                    filter.options.retain_as_published,
                );
                let text = format!("{:?} {options:?} {rule}", filter.filter);
                add(all, &format!("filter {index}"), text);
            }
            "Subscribe"
        }
        Packet::SubAck(found) => {
            add(all, "pkid", found.packet_id.get());
            add(all, "reason_string", found.reason_string);
            users(all, "", found.user_properties);
            add(
                all,
                "reasons",
                found.reasons.iter().map(reason).collect::<Vec<_>>(),
            );
            "SubAck"
        }
        Packet::Unsubscribe(found) => {
            add(all, "pkid", found.packet_id.get());
            users(all, "", found.user_properties);
            let filters = found.filters.iter().map(|filter| String::from(*filter));
            add(all, "filters", filters.collect::<Vec<_>>());
            "Unsubscribe"
        }
        Packet::UnsubAck(found) => {
            add(all, "pkid", found.packet_id.get());
            add(all, "reason_string", found.reason_string);
            users(all, "", found.user_properties);
            add(
                all,
                "reasons",
                found.reasons.iter().map(reason).collect::<Vec<_>>(),
            );
            "UnsubAck"
        }
        Packet::PingReq => "PingReq",
        Packet::PingResp => "PingResp",
        Packet::Disconnect(found) => {
            add(all, "reason", reason(found.reason));
            add(all, "session_expiry_interval", found.session_expiry);
            add(all, "reason_string", found.reason_string);
            users(all, "", found.user_properties);
            add(all, "server_reference", found.server_reference);
            "Disconnect"
        }
        Packet::Auth(found) => {
            add(all, "reason", reason(found.reason));
            add(all, "authentication_method", found.authentication_method);
            add(all, "authentication_data", found.authentication_data);
            add(all, "reason_string", found.reason_string);
            users(all, "", found.user_properties);
            "Auth"
        }
    };
    add(all, "packet", name);
    fields
}

fn connect(all: &mut Fields, found: &Connect<'_>) {
    add(all, "keep_alive", found.keep_alive);
    add(all, "client_id", found.client_id);
    add(all, "clean", found.clean_start);
    add(all, "session_expiry_interval", found.session_expiry);
    add(
        all,
        "receive_maximum",
        found.receive_maximum.map(|number| number.get()),
    );
    add(all, "max_packet_size", found.maximum_packet_size);
    add(all, "topic_alias_max", not_zero(found.topic_alias_maximum));
    let response = found.request_response_information.then_some(true);
    add(all, "request_response_info", response);
    let problem = (!found.request_problem_information).then_some(false);
    add(all, "request_problem_info", problem);
    users(all, "", found.user_properties);
    add(all, "authentication_method", found.authentication_method);
    add(all, "authentication_data", found.authentication_data);
    add(all, "username", found.login.username);
    add(all, "password", found.login.password);
    if let Some(found) = &found.will {
        will(all, found);
    }
    debug_assert!(matches!(found.version, Version::V311 | Version::V5));
}

fn will(all: &mut Fields, found: &Will<'_>) {
    add(all, "will topic", found.topic);
    add(all, "will message", found.payload);
    add(all, "will qos", found.qos as u8);
    add(all, "will retain", found.retain);
    add(
        all,
        "will delay_interval",
        Some(found.delay).filter(|delay| *delay != 0),
    );
    properties(all, "will ", &found.properties);
}

fn properties(all: &mut Fields, prefix: &str, found: &PublishProperties<'_>) {
    let mut note = |name: &str, value: Option<String>| add(all, &format!("{prefix}{name}"), value);
    note("payload_format_indicator", found.payload_is_utf8.text());
    note("message_expiry_interval", found.message_expiry.text());
    let alias = found.topic_alias.map(|number| number.get());
    note("topic_alias", alias.text());
    note("response_topic", found.response_topic.text());
    note("correlation_data", found.correlation_data.text());
    note("content_type", found.content_type.text());
    let ids: Vec<_> = found.subscription_ids.iter().collect();
    note(
        "subscription_identifiers",
        (!ids.is_empty()).then(|| format!("{ids:?}")),
    );
    users(all, prefix, found.user_properties);
}

fn ack(all: &mut Fields, found: &Ack<'_>, name: &'static str) -> &'static str {
    add(all, "pkid", found.packet_id.get());
    add(all, "reason", reason(found.reason));
    add(all, "reason_string", found.reason_string);
    users(all, "", found.user_properties);
    name
}

fn users(all: &mut Fields, prefix: &str, found: UserProperties<'_>) {
    let pairs: Vec<_> = found
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    add(all, &format!("{prefix}user_properties"), pairs);
}

fn not_zero(number: u16) -> Option<u16> {
    Some(number).filter(|number| *number != 0)
}
