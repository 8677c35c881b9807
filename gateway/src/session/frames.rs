//! One message on its way to any number of connections: encoded once per kind of receiver.
//!
//! Receivers that speak the same version and get a packet identifier alike get the same bytes,
//! but for the identifier and the flags in the first byte, which are patched into the copy. Where a
//! receiver's socket takes no more, the payload is shared with others of that kind instead of copied.

use std::num::NonZeroU16;
use std::sync::Arc;

use super::outbox::{Outbox, SHARED_FROM};
use crate::auth::OfMessage;
use crate::message::{Message, MessageRef};
use crate::proto::mqtt::{PublishHeader, Qos, Version};

/// Payloads from this size on, in bytes, are shared by those who read slowly.
const WORTH_SHARING: usize = 512;

/// What a packet has that the message does not decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags {
    pub(crate) dup: bool,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// There if and only if QoS is above 0.
    pub(crate) packet_id: Option<NonZeroU16>,
}

/// A message being delivered.
#[derive(Debug)]
pub(crate) struct Delivery<'a> {
    pub(crate) message: MessageRef<'a>,
    /// The clock of this turn, in Unix milliseconds.
    pub(crate) now: u64,
    /// Number under which the body would be stored once for several queues; 0 where each queue
    /// stores its own copy.
    pub(crate) body: u64,
    /// Whether there is just one receiver, so that nothing is gained by encoding it apart.
    pub(crate) is_lone: bool,
    /// What rules that are the same for all say of those who get it.
    pub(crate) judged: OfMessage,
    owned: Option<Arc<Message>>,
    frames: &'a mut Frames,
}

/// Encoded forms of the message at hand; kept between messages for its buffer.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: Vec<u8>,
    kinds: [Option<Kind>; 4],
}

#[derive(Clone, Copy, Debug)]
struct Kind {
    start: usize,
    end: usize,
    id_at: usize,
}

impl<'a> Delivery<'a> {
    pub(crate) fn new(message: MessageRef<'a>, now: u64, frames: &'a mut Frames) -> Self {
        frames.buffer.clear();
        frames.kinds = [None; 4];
        Self {
            message,
            now,
            body: 0,
            is_lone: false,
            judged: OfMessage::default(),
            owned: None,
            frames,
        }
    }

    /// Delivers a message that is owned already.
    pub(crate) fn of(message: &'a Arc<Message>, now: u64, frames: &'a mut Frames) -> Self {
        let mut delivery = Self::new(message.as_ref().as_ref(), now, frames);
        delivery.owned = Some(message.clone());
        delivery.is_lone = true;
        delivery
    }

    /// The message to keep: made once, however many queues it goes to.
    pub(crate) fn owned(&mut self) -> &Arc<Message> {
        self.owned
            .get_or_insert_with(|| Arc::new(self.message.to_message()))
    }

    /// The header as a receiver of this version would get it, without anything of its own.
    pub(crate) fn header(&self, version: Version, flags: Flags) -> PublishHeader<'a> {
        let is_v5 = version == Version::V5;
        PublishHeader {
            version,
            dup: flags.dup,
            qos: flags.qos,
            retain: flags.retain,
            topic: self.message.topic,
            packet_id: flags.packet_id,
            topic_alias: None,
            message_expiry: is_v5.then(|| self.message.expiry_left(self.now)).flatten(),
            subscription_ids: &[],
            forwardable: if is_v5 { self.message.properties } else { &[] },
        }
    }

    /// Appends the packet that receivers of one kind share, to what waits for a socket that may be
    /// blocked. Returns `false`, and appends nothing, where it is longer than `limit` bytes.
    #[inline]
    pub(crate) fn append_shared(
        &mut self,
        (outbox, is_blocked): (&mut Outbox, bool),
        version: Version,
        flags: Flags,
        limit: usize,
    ) -> bool {
        if self.is_lone {
            return self.append_own(outbox, &self.header(version, flags), limit);
        }
        let number = usize::from(version == Version::V5) << 1 | usize::from(flags.qos as u8 > 0);
        let kind = match self.frames.kinds[number] {
            Some(kind) => kind,
            None => self.encode(number, version, flags),
        };
        let n_bytes = self.message.payload.len();
        let is_encoded = !self.is_payload_apart();
        let header_end = kind.end - if is_encoded { n_bytes } else { 0 };
        if header_end - kind.start + n_bytes > limit {
            return false;
        }
        // Very many may read slowly: what waits for all of them is there once.
        let waits = is_blocked && outbox.len() >= SHARED_FROM;
        let apart = !is_encoded || (waits && n_bytes >= WORTH_SHARING);
        let end = if apart { header_end } else { kind.end };
        let packet = outbox.append_slice(&self.frames.buffer[kind.start..end]);
        packet[0] = first_byte(flags);
        if let Some(packet_id) = flags.packet_id {
            packet[kind.id_at..kind.id_at + 2].copy_from_slice(&packet_id.get().to_be_bytes());
        }
        if apart {
            outbox.append_shared(self.owned().payload());
        }
        true
    }

    /// Appends a packet with a header of the receiver's own.
    pub(crate) fn append_own(
        &mut self,
        outbox: &mut Outbox,
        header: &PublishHeader<'_>,
        limit: usize,
    ) -> bool {
        let n_bytes = header.encoded_len(self.message.payload.len());
        if n_bytes > limit {
            return false;
        }
        let apart = self.is_payload_apart();
        let n_copied = n_bytes - if apart { self.message.payload.len() } else { 0 };
        outbox.append(n_copied, |buffer| {
            header.encode(self.message.payload.len(), buffer);
            if !apart {
                buffer.extend_from_slice(self.message.payload);
            }
        });
        if apart {
            outbox.append_shared(self.owned().payload());
        }
        true
    }

    fn is_payload_apart(&self) -> bool {
        self.message.payload.len() >= SHARED_FROM
    }

    fn encode(&mut self, number: usize, version: Version, flags: Flags) -> Kind {
        let header = self.header(version, flags);
        let start = self.frames.buffer.len();
        let id_at = header.encode(self.message.payload.len(), &mut self.frames.buffer) - start;
        if !self.is_payload_apart() {
            self.frames.buffer.extend_from_slice(self.message.payload);
        }
        let kind = Kind {
            start,
            end: self.frames.buffer.len(),
            id_at,
        };
        self.frames.kinds[number] = Some(kind);
        kind
    }
}

fn first_byte(flags: Flags) -> u8 {
    0x30 | u8::from(flags.dup) << 3 | (flags.qos as u8) << 1 | u8::from(flags.retain)
}
