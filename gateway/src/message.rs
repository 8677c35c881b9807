//! An application message inside the broker: borrowed while it passes through, owned while it
//! waits, and as bytes while it is stored.
//!
//! What a client published is never altered: the properties that a server must pass on stay in
//! their encoded form from the publisher's packet to the subscriber's `[MQTT-3.3.2-17]`.

use bytes::{BufMut, Bytes, BytesMut};

use gatemq_node::trace::Parent;

use crate::proto::mqtt::Qos;

/// A message that is passing through; its parts are slices of the packet or of a [`Message`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageRef<'a> {
    /// Number of the publishing session, for No Local; 0 for the broker itself.
    pub(crate) publisher: u64,
    /// QoS as published.
    pub(crate) qos: Qos,
    /// RETAIN as published.
    pub(crate) retain: bool,
    /// When it expires, in Unix milliseconds; `u64::MAX` for never.
    pub(crate) expires_at: u64,
    pub(crate) topic: &'a str,
    /// The properties to pass on, encoded.
    pub(crate) properties: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// The span that it comes from, where it is traced. It is in no store: what is read back begins
    /// no span.
    pub(crate) trace: Option<&'a Parent>,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    publisher: u64,
    qos: Qos,
    retain: bool,
    expires_at: u64,
    topic_length: u16,
    properties_length: u32,
    /// Topic, properties and payload, one after the other.
    data: Bytes,
    trace: Option<Box<Parent>>,
}

/// A stored message that cannot be read back.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a stored message is damaged: {0}")]
pub(crate) struct Damaged(pub(crate) &'static str);

/// Length of the fixed part of a stored message.
const HEAD: usize = 1 + 8 + 8 + 2 + 4;

#[cfg(test)]
impl MessageRef<'static> {
    /// One like any other, to the topic `t`: for tests.
    pub(crate) fn any(qos: Qos) -> Self {
        Self {
            publisher: 2,
            qos,
            retain: false,
            expires_at: u64::MAX,
            topic: "t",
            properties: &[],
            payload: b"p",
            trace: None,
        }
    }
}

impl MessageRef<'_> {
    pub(crate) fn to_message(self) -> Message {
        let length = self.topic.len() + self.properties.len() + self.payload.len();
        let mut data = BytesMut::with_capacity(length);
        data.put_slice(self.topic.as_bytes());
        data.put_slice(self.properties);
        data.put_slice(self.payload);
        Message {
            publisher: self.publisher,
            qos: self.qos,
            retain: self.retain,
            expires_at: self.expires_at,
            topic_length: self.topic.len() as u16, // a topic has at most 65,535 bytes
            properties_length: self.properties.len() as u32,
            data: data.freeze(),
            trace: self.trace.map(|parent| Box::new(parent.clone())),
        }
    }

    /// Bytes of the parts that a client sent.
    pub(crate) fn size(&self) -> usize {
        self.topic.len() + self.properties.len() + self.payload.len()
    }

    /// Bytes of the stored form.
    pub(crate) fn stored_size(&self) -> usize {
        HEAD + self.size()
    }

    /// Appends the stored form.
    pub(crate) fn store(&self, out: &mut Vec<u8>) {
        out.reserve(self.stored_size());
        out.put_u8(self.qos as u8 | u8::from(self.retain) << 2);
        out.put_u64(self.publisher);
        out.put_u64(self.expires_at);
        out.put_u16(self.topic.len() as u16);
        out.put_u32(self.properties.len() as u32);
        out.put_slice(self.topic.as_bytes());
        out.put_slice(self.properties);
        out.put_slice(self.payload);
    }

    /// Whether it has expired `[MQTT-3.3.2-5]`.
    pub(crate) fn is_expired(&self, now: u64) -> bool {
        self.expires_at <= now
    }

    /// The Message Expiry Interval that is left, in seconds, if it has one `[MQTT-3.3.2-6]`.
    pub(crate) fn expiry_left(&self, now: u64) -> Option<u32> {
        (self.expires_at != u64::MAX)
            .then(|| (self.expires_at.saturating_sub(now).div_ceil(1000)) as u32)
    }
}

impl Message {
    pub(crate) fn as_ref(&self) -> MessageRef<'_> {
        let (topic, rest) = self.data.split_at(self.topic_length as usize);
        let (properties, payload) = rest.split_at(self.properties_length as usize);
        MessageRef {
            publisher: self.publisher,
            qos: self.qos,
            retain: self.retain,
            expires_at: self.expires_at,
            topic: std::str::from_utf8(topic).expect("a message is made with a valid topic"),
            properties,
            payload,
            trace: self.trace.as_deref(),
        }
    }

    /// The payload, shared.
    pub(crate) fn payload(&self) -> Bytes {
        self.data
            .slice(self.topic_length as usize + self.properties_length as usize..)
    }

    /// Reads the stored form.
    pub(crate) fn restore(stored: &[u8]) -> Result<Self, Damaged> {
        let (head, data) = stored
            .split_at_checked(HEAD)
            .ok_or(Damaged("it is too short"))?;
        let number = |at: usize| {
            head[at..at + 8]
                .iter()
                .fold(0u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let topic_length = u16::from_be_bytes([head[17], head[18]]);
        let properties_length = u32::from_be_bytes([head[19], head[20], head[21], head[22]]);
        let topic = data
            .get(..topic_length as usize)
            .ok_or(Damaged("its topic is cut off"))?;
        if std::str::from_utf8(topic).is_err() {
            return Err(Damaged("its topic is not UTF-8"));
        }
        if data.len() - topic.len() < properties_length as usize {
            return Err(Damaged("its properties are cut off"));
        }
        Ok(Self {
            publisher: number(1),
            qos: Qos::from_bits(head[0] & 0b11).ok_or(Damaged("its QoS is 3"))?,
            retain: head[0] & 0b100 != 0,
            expires_at: number(9),
            topic_length,
            properties_length,
            data: Bytes::copy_from_slice(data),
            trace: None,
        })
    }
}

/// When a stored message expires, in Unix milliseconds.
pub(crate) fn expiry_of(stored: &[u8]) -> Option<u64> {
    let bytes: [u8; 8] = stored.get(9..17)?.try_into().ok()?;
    Some(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        MessageRef {
            publisher: 0x0102_0304_0506_0708,
            qos: Qos::ExactlyOnce,
            retain: true,
            expires_at: 5_500,
            topic: "a/b",
            properties: &[1, 1],
            payload: b"hello",
            trace: None,
        }
        .to_message()
    }

    #[test]
    fn a_stored_message_comes_back_whole() {
        let mut stored = Vec::new();
        message().as_ref().store(&mut stored);
        assert_eq!(Message::restore(&stored), Ok(message()));
    }

    #[test]
    fn a_damaged_message_is_an_error_wherever_it_is_cut() {
        let mut stored = Vec::new();
        message().as_ref().store(&mut stored);
        let payload = stored.len() - 5;
        for end in 0..payload {
            assert!(Message::restore(&stored[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn the_expiry_that_is_left_is_rounded_up() {
        let message = message();
        assert_eq!(message.as_ref().expiry_left(4_499), Some(2));
        assert_eq!(message.as_ref().expiry_left(4_500), Some(1));
        assert!(!message.as_ref().is_expired(5_499));
        assert!(message.as_ref().is_expired(5_500));
    }
}
