//! Decoding: from one whole frame to a [`Packet`], as strict as the standard.
//!
//! After [`super::frame()`] has found where the frame ends. Text is checked once, here: UTF-8
//! without surrogates, overlong forms or U+0000 `[MQTT-1.5.4-1]` `[MQTT-1.5.4-2]`. The standard
//! lets a receiver refuse control characters and Unicode non-characters as well: they are refused
//! in topic names, client identifiers and user names, which end up in logs and access rules, and
//! let through in all other text, which is the applications' own.

mod acknowledge;
mod connack;
mod connect;
mod leave;
mod properties;
mod property;
mod publish;
mod reader;
mod subscribe;

use self::reader::Reader;
pub(super) use publish::check_block as check_publish_block;

use super::{
    Error, Frame, Packet, Version,
    error::Flaw,
    frame::{PacketType, frame as find_frame},
};
use crate::topic::Bounds;

/// Bounds on what the standard leaves without any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many user properties a packet may have, a will apart; more are refused with Quota
    /// exceeded.
    pub max_user_properties: usize,
    /// How large topic names may be; larger ones are refused with Topic Name invalid. Filters are
    /// left to [`crate::topic::Filter::parse`].
    pub topics: Bounds,
}

impl Limits {
    /// No bounds but those of the standard; for clients.
    pub const NONE: Self = Self {
        max_user_properties: usize::MAX,
        topics: Bounds::NONE,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_user_properties: 64,
            topics: Bounds {
                levels: 128,
                length: 4096,
            },
        }
    }
}

/// Decodes one whole packet, fixed header included, nothing after it. `version` is what the
/// connection speaks; a CONNECT carries its own.
///
/// # Errors
///
/// If the packet is not what the standard allows. What depends on state, on the direction or on
/// the server's abilities is not looked at.
pub fn decode<'a>(version: Version, frame: &'a [u8], limits: &Limits) -> Result<Packet<'a>, Error> {
    let Frame::Complete { header, total } = find_frame(version, frame, u32::MAX)? else {
        return Err(Error::malformed("frame", Flaw::CutOff));
    };
    let (Some((&first, _)), Some(body)) = (frame.split_first(), frame.get(header..)) else {
        return Err(Error::malformed("frame", Flaw::CutOff));
    };
    let Some(packet) = PacketType::of(first) else {
        return Err(Error::malformed("packet type 0 is reserved", Flaw::Says));
    };
    if total != frame.len() {
        return Err(Error::malformed("frame", Flaw::Trailing).of(packet));
    }
    decode_body(packet, version, first, Reader::new(body), limits).map_err(|error| error.of(packet))
}

#[inline]
fn decode_body<'a>(
    packet: PacketType,
    version: Version,
    first: u8,
    body: Reader<'a>,
    limits: &Limits,
) -> Result<Packet<'a>, Error> {
    Ok(match packet {
        PacketType::Publish => {
            Packet::Publish(publish::decode(version, first & 0x0F, body, limits)?)
        }
        PacketType::PubAck => {
            Packet::PubAck(acknowledge::decode_ack(version, packet, body, limits)?)
        }
        PacketType::PubRec => {
            Packet::PubRec(acknowledge::decode_ack(version, packet, body, limits)?)
        }
        PacketType::PubRel => {
            Packet::PubRel(acknowledge::decode_ack(version, packet, body, limits)?)
        }
        PacketType::PubComp => {
            Packet::PubComp(acknowledge::decode_ack(version, packet, body, limits)?)
        }
        PacketType::PingReq => {
            body.finish("fixed header")?;
            Packet::PingReq
        }
        PacketType::PingResp => {
            body.finish("fixed header")?;
            Packet::PingResp
        }
        PacketType::Connect => Packet::Connect(Box::new(connect::decode(body, limits)?)),
        PacketType::ConnAck => Packet::ConnAck(Box::new(connack::decode(version, body, limits)?)),
        PacketType::Subscribe => {
            Packet::Subscribe(subscribe::decode_subscribe(version, body, limits)?)
        }
        PacketType::SubAck => Packet::SubAck(acknowledge::decode_suback(version, body, limits)?),
        PacketType::Unsubscribe => {
            Packet::Unsubscribe(subscribe::decode_unsubscribe(version, body, limits)?)
        }
        PacketType::UnsubAck => {
            Packet::UnsubAck(acknowledge::decode_unsuback(version, body, limits)?)
        }
        PacketType::Disconnect => {
            Packet::Disconnect(leave::decode_disconnect(version, body, limits)?)
        }
        PacketType::Auth => Packet::Auth(leave::decode_auth(version, body, limits)?),
    })
}

#[cfg(test)]
mod tests;
