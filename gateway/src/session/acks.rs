//! The acknowledgements, written straight into a buffer: the packets a broker sends most.

use std::num::NonZeroU16;

use crate::proto::mqtt::{Ack, Packet, PacketId, Reason, Version};

/// Bytes of one without a Reason String, at the most.
pub(crate) const LONGEST: usize = 5;

/// Which acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// PUBACK.
    Ack = 0x40,
    /// PUBREC.
    Rec = 0x50,
    /// PUBCOMP.
    Comp = 0x70,
}

/// Appends an acknowledgement. Before 5.0 there is no place for a reason.
#[inline]
pub(crate) fn write(
    out: &mut Vec<u8>,
    kind: Kind,
    packet_id: PacketId,
    reason: Reason,
    version: Version,
) {
    let [high, low] = packet_id.get().to_be_bytes();
    if reason == Reason::Success || version < Version::V5 {
        out.extend_from_slice(&[kind as u8, 2, high, low]);
    } else {
        out.extend_from_slice(&[kind as u8, 3, high, low, reason as u8]);
    }
}

/// Appends an acknowledgement with a Reason String (5.0).
pub(crate) fn write_explained(
    out: &mut Vec<u8>,
    kind: Kind,
    packet_id: PacketId,
    reason: Reason,
    text: &str,
) {
    let text = Some(text);
    let ack = Ack {
        packet_id,
        reason,
        reason_string: text,
        user_properties: Default::default(),
    };
    let packet = match kind {
        Kind::Ack => Packet::PubAck(ack),
        Kind::Rec => Packet::PubRec(ack),
        Kind::Comp => Packet::PubComp(ack),
    };
    crate::proto::mqtt::encode(&packet, Version::V5, out);
}

/// Appends a PUBREL.
pub(crate) fn pubrel(out: &mut Vec<u8>, packet_id: NonZeroU16) {
    let [high, low] = packet_id.get().to_be_bytes();
    out.extend_from_slice(&[0x62, 2, high, low]);
}

/// Appends a PUBREL for a packet identifier that is not known `[MQTT-4.3.3]` (5.0).
pub(crate) fn pubrel_unknown(out: &mut Vec<u8>, packet_id: NonZeroU16) {
    let [high, low] = packet_id.get().to_be_bytes();
    out.extend_from_slice(&[0x62, 3, high, low, Reason::PacketIdentifierNotFound as u8]);
}
