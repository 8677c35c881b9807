//! What the other codecs (rumqttd 0.20.0, rumqttc 0.25.1) cannot hold or get wrong.
//!
//! By the shape of the types, and therefore not generated at all: a user name without a password
//! or a password that is no text (`Login` has two strings), an empty client id, user name or
//! password (written as if it were absent), 3.1.

use std::panic::catch_unwind;

use gatemq_proto::mqtt::{
    Auth, ConnAck, Disconnect, Packet, PacketId, Qos, Reason, UnsubAck, UserProperties,
};

use super::{Codec, agrees};

/// They have no AUTH, though 5.0 section 3.15 has. rumqttc encodes it and cannot decode it.
const NO_AUTH: &str = "no AUTH";
/// Without properties they write two bytes (reason code, Property Length 0) after a Remaining
/// Length of 1 (5.0 section 3.14.2).
const SHORT_DISCONNECT: &str = "DISCONNECT with a reason code and no properties";
/// A DISCONNECT may be without a reason code: it is then 0x00, Normal disconnection (5.0 section
/// 3.14.2.1). "Payload is required", says rumqttc.
const BARE_DISCONNECT: &str = "DISCONNECT with nothing";
/// The arm is missing, and `unreachable!` is reached: 5.0 section 3.11.
const NO_UNSUBACK: &str = "UNSUBACK panics";
/// The same for CONNACK: 5.0 section 3.2.
const NO_CONNACK: &str = "CONNACK panics";

/// Why this packet is not compared.
pub(super) fn of<C: Codec>(packet: &Packet<'_>) -> Option<&'static str> {
    match (C::NAME, packet) {
        ("rumqttd 5" | "rumqttc 5", Packet::Auth(_)) => Some(NO_AUTH),
        ("rumqttd 5", Packet::ConnAck(_)) => Some(NO_CONNACK),
        ("rumqttd 5", Packet::UnsubAck(_)) => Some(NO_UNSUBACK),
        ("rumqttd 5" | "rumqttc 5", Packet::Disconnect(disconnect)) if is_bare(disconnect) => {
            match disconnect.reason {
                Reason::Success if C::NAME == "rumqttd 5" => None,
                Reason::Success => Some(BARE_DISCONNECT),
                _ => Some(SHORT_DISCONNECT),
            }
        }
        _ => None,
    }
}

fn is_bare(disconnect: &Disconnect<'_>) -> bool {
    disconnect.session_expiry.is_none()
        && disconnect.reason_string.is_none()
        && disconnect.server_reference.is_none()
        && disconnect.user_properties.is_empty()
}

/// An excuse that is not needed any more goes: each of these packets must still fail.
pub(super) fn check<C: Codec>() {
    let packets = [
        auth(),
        connack(),
        unsuback(),
        disconnect(Reason::ServerBusy),
        disconnect(Reason::Success),
    ];
    for packet in packets {
        let excuse = of::<C>(&packet);
        let ended = catch_unwind(|| agrees::<C>(packet));
        let fails = ended.is_err() || ended.is_ok_and(|result| result.is_err());
        assert_eq!(fails, excuse.is_some(), "{}: {excuse:?}", C::NAME);
    }
}

fn auth() -> Packet<'static> {
    Packet::Auth(Auth {
        reason: Reason::ContinueAuthentication,
        authentication_method: Some("method"),
        authentication_data: None,
        reason_string: None,
        user_properties: UserProperties::default(),
    })
}

fn connack() -> Packet<'static> {
    Packet::ConnAck(Box::new(ConnAck {
        maximum_qos: Some(Qos::AtLeastOnce),
        ..ConnAck::new(Reason::Success)
    }))
}

fn unsuback() -> Packet<'static> {
    Packet::UnsubAck(UnsubAck {
        packet_id: PacketId::MIN,
        reason_string: None,
        user_properties: UserProperties::default(),
        reasons: vec![Reason::Success],
    })
}

fn disconnect(reason: Reason) -> Packet<'static> {
    Packet::Disconnect(Disconnect {
        reason,
        session_expiry: None,
        reason_string: None,
        user_properties: UserProperties::default(),
        server_reference: None,
    })
}
