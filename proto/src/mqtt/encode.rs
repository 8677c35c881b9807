//! Encoding: from a [`Packet`] to the bytes of any version.
//!
//! What a version does not have is left out: below 5.0 properties and most reason codes. A
//! server's PUBLISH to its subscribers goes through [`super::PublishHeader::encode`] instead.

mod answer;
mod connack;
mod connect;
mod publish;
mod subscribe;
mod writer;

pub(super) use writer::Writer;

use super::{Packet, Version, frame::PacketType};

/// Appends a packet in the form of a version; a CONNECT in that of its own version.
///
/// AUTH does not exist below 5.0 and appends nothing there.
///
/// # Bounds
///
/// What came from [`super::decode()`] always fits. The caller sees to it that
///
/// * no text but a Reason String, and no binary data, is longer than 65,535 bytes,
/// * the whole packet is not longer than [`super::MAX_REMAINING_LENGTH`],
/// * the values are such that [`super::decode()`] would accept them.
///
/// Too long a Reason String is cut at a character. Beyond the other bounds the bytes are not a
/// valid packet; debug builds panic on the first two.
pub fn encode(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) {
    let mut writer = Writer::new(out);
    let writer = &mut writer;
    match packet {
        Packet::Connect(connect) => connect::encode(connect, writer),
        Packet::ConnAck(connack) => connack::encode(connack, version, writer),
        Packet::Publish(publish) => publish::encode(publish, version, writer),
        Packet::PubAck(ack) => answer::encode_ack(PacketType::PubAck, ack, version, writer),
        Packet::PubRec(ack) => answer::encode_ack(PacketType::PubRec, ack, version, writer),
        Packet::PubRel(ack) => answer::encode_ack(PacketType::PubRel, ack, version, writer),
        Packet::PubComp(ack) => answer::encode_ack(PacketType::PubComp, ack, version, writer),
        Packet::Subscribe(subscribe) => {
            subscribe::encode_subscribe(subscribe, version, writer);
        }
        Packet::SubAck(suback) => answer::encode_suback(suback, version, writer),
        Packet::Unsubscribe(unsubscribe) => {
            subscribe::encode_unsubscribe(unsubscribe, version, writer);
        }
        Packet::UnsubAck(unsuback) => answer::encode_unsuback(unsuback, version, writer),
        Packet::PingReq => writer.packet(PacketType::PingReq, |_| {}),
        Packet::PingResp => writer.packet(PacketType::PingResp, |_| {}),
        Packet::Disconnect(disconnect) => answer::encode_disconnect(disconnect, version, writer),
        Packet::Auth(auth) => answer::encode_auth(auth, version, writer),
    }
}

#[cfg(test)]
mod tests;
