//! A message that says who sent it, where to and as which one, and that can tell whether it was
//! altered on the way.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Name;

/// A message's name: no two messages of a run share it. Written as in the payload,
/// `publisher|topic|seq`; neither part has a bar in it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Uid {
    /// Client id of the publisher.
    pub publisher: Name,
    /// Topic that it was sent to.
    pub topic: Name,
    /// Number of the message among those of this publisher to this topic.
    pub seq: u64,
}

impl fmt::Debug for Uid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.publisher, self.topic, self.seq)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}|{}|{}", self.publisher, self.topic, self.seq)
    }
}

impl FromStr for Uid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, '|');
        let mut next = || parts.next().ok_or_else(|| format!("no uid: {text}"));
        let (publisher, topic, seq) = (next()?.into(), next()?.into(), next()?);
        let seq = seq.parse().map_err(|_| format!("no uid: {text}"))?;
        Ok(Self {
            publisher,
            topic,
            seq,
        })
    }
}

impl From<Uid> for String {
    fn from(uid: Uid) -> Self {
        uid.to_string()
    }
}

impl TryFrom<String> for Uid {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The payload of a message, padded to this length at least: `publisher|topic|seq|padding|crc`.
pub fn encode(uid: &Uid, least: usize) -> Vec<u8> {
    let mut payload = format!("{uid}|").into_bytes();
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
        publisher: parts.next()?.into(),
        topic: parts.next()?.into(),
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
