//! The fixed header: where one packet ends and the next begins.
//!
//! First step of everything that is received: whatever is wrong with a fixed header is refused
//! here, before a byte of the body has arrived and before memory is set aside for it. A whole
//! frame goes to [`super::decode()`].

use super::{Error, Reason, Version, error::Flaw};

/// The largest Remaining Length that four bytes hold.
pub const MAX_REMAINING_LENGTH: u32 = 268_435_455;

/// What the beginning of a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Less than a whole packet.
    Incomplete {
        /// How many bytes the buffer must have in all before asking again is of use: the size of
        /// the packet, or what it takes to learn it.
        at_least: usize,
    },
    /// A whole packet, and maybe more after it.
    Complete {
        /// Size of the fixed header.
        header: usize,
        /// Size of the packet with its fixed header.
        total: usize,
    },
}

/// Finds the packet at the beginning of a buffer. `version` is what the connection speaks; which it
/// is does not matter for a CONNECT.
///
/// # Errors
///
/// If the type is reserved, the flags are not those of the type, the Remaining Length takes more
/// bytes than it must or may, or the packet is larger than `maximum_packet_size`.
#[inline]
pub fn frame(version: Version, buffer: &[u8], maximum_packet_size: u32) -> Result<Frame, Error> {
    let Some((&first, rest)) = buffer.split_first() else {
        return Ok(Frame::Incomplete { at_least: 2 });
    };
    if !flags_are_legal(first) && (version != Version::V31 || !is_repeated(first)) {
        return Err(wrong_first_byte(first));
    }
    let mut remaining = 0;
    for index in 0..4 {
        let Some(&byte) = rest.get(index) else {
            return Ok(Frame::Incomplete {
                at_least: index + 2,
            });
        };
        remaining |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 != 0 {
            continue;
        }
        if byte == 0 && index > 0 {
            return Err(wrong_length(first, Flaw::NotShortest)); // [MQTT-1.5.5-1]
        }
        let header = index + 2;
        let total = header + remaining;
        if total > maximum_packet_size as usize {
            return Err(too_large(first, maximum_packet_size));
        }
        if total > buffer.len() {
            return Ok(Frame::Incomplete { at_least: total });
        }
        return Ok(Frame::Complete { header, total });
    }
    Err(wrong_length(first, Flaw::FifthByte))
}

/// A control packet type `[MQTT-2.1.2]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// The type that the first byte of a packet tells; `None` if it is reserved.
    pub(super) const fn of(first: u8) -> Option<Self> {
        Some(match first >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The first byte of a packet of this type; for PUBLISH with no flag set.
    pub(super) const fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.flags()
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }

    const fn flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }
}

const DUP: u8 = 0b1000;
const QOS: u8 = 0b0110;

/// Whether the type is known and the flags are among those that it may have.
#[inline]
const fn flags_are_legal(first: u8) -> bool {
    LEGAL_FLAGS[(first >> 4) as usize] & (1 << (first & 0x0F)) != 0
}

/// Whether the packet is one that 3.1 marks with DUP when it is sent again, as later versions do
/// not (3.1 section 2.1).
#[cold]
const fn is_repeated(first: u8) -> bool {
    matches!(
        PacketType::of(first),
        Some(PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe)
    ) && first & DUP != 0
        && flags_are_legal(first & !DUP)
}

/// By type: a bit for each value that the flags may have `[MQTT-2.1.3-1]`.
const LEGAL_FLAGS: [u16; 16] = {
    let mut legal = [0; 16];
    let mut index = 1;
    while index < legal.len() {
        if let Some(packet) = PacketType::of((index as u8) << 4) {
            legal[index] = 1 << packet.flags();
        }
        index += 1;
    }
    let mut flags = 0;
    let mut publish = 0;
    while flags < 16 {
        let qos = flags & QOS;
        // [MQTT-3.3.1-4] QoS 3 is reserved. [MQTT-3.3.1-2] DUP goes with QoS 1 and 2 only.
        if qos != QOS && (qos != 0 || flags & DUP == 0) {
            publish |= 1 << flags;
        }
        flags += 1;
    }
    legal[PacketType::Publish as usize] = publish;
    legal
};

#[cold]
const fn wrong_first_byte(first: u8) -> Error {
    let Some(packet) = PacketType::of(first) else {
        return Error::malformed("packet type 0 is reserved", Flaw::Says);
    };
    let error = match packet {
        PacketType::Publish if first & QOS == QOS => Error::malformed("QoS is 3", Flaw::Says),
        PacketType::Publish => Error::malformed("DUP is set and QoS is 0", Flaw::Says),
        _ => Error::malformed(
            "reserved flag bits",
            Flaw::Flags {
                found: first & 0x0F,
                required: packet.flags(),
            },
        ),
    };
    error.of(packet)
}

#[cold]
const fn wrong_length(first: u8, flaw: Flaw) -> Error {
    of_type(first, Error::malformed("Remaining Length", flaw))
}

#[cold]
const fn too_large(first: u8, limit: u32) -> Error {
    of_type(
        first,
        Error::new(
            Reason::PacketTooLarge,
            "packet size",
            Flaw::TooLarge { limit },
        ),
    )
}

const fn of_type(first: u8, error: Error) -> Error {
    match PacketType::of(first) {
        Some(packet) => error.of(packet),
        None => error,
    }
}

#[cfg(test)]
mod tests;
