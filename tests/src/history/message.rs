//! A message that says who sent it, where to and as which one, and that can tell whether it was
//! altered on the way.

use std::fmt;

/// A message's name: no two messages of a run share it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid {
    /// Client id of the publisher.
    pub publisher: String,
    /// Topic that it was sent to.
    pub topic: String,
    /// Number of the message among those of this publisher to this topic.
    pub seq: u64,
}

impl fmt::Debug for Uid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.publisher, self.topic, self.seq)
    }
}

/// The payload of a message, padded to this length at least: `publisher|topic|seq|padding|crc`.
pub fn encode(uid: &Uid, least: usize) -> Vec<u8> {
    let mut payload = format!("{}|{}|{}|", uid.publisher, uid.topic, uid.seq).into_bytes();
    // The padding differs from message to message, so that bytes of a neighbour are noticed.
    let filler = b'a' + u8::try_from(uid.seq % 26).expect("a remainder of 26 fits");
    payload.resize(payload.len().max(least.saturating_sub(9)), filler);
    let crc = crc32(&payload);
    payload.extend(format!("|{crc:08x}").bytes());
    payload
}

/// The name in a payload; `None` when it was altered or is not ours.
pub fn decode(payload: &[u8]) -> Option<Uid> {
    let (content, crc) = payload.split_at_checked(payload.len().checked_sub(9)?)?;
    let crc = str::from_utf8(crc.strip_prefix(b"|")?).ok()?;
    if u32::from_str_radix(crc, 16).ok()? != crc32(content) {
        return None;
    }
    let mut parts = str::from_utf8(content).ok()?.splitn(4, '|');
    Some(Uid {
        publisher: parts.next()?.to_owned(),
        topic: parts.next()?.to_owned(),
        seq: parts.next()?.parse().ok()?,
    })
}

/// CRC-32 as in Ethernet and zip, bit by bit.
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}
