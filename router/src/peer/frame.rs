//! The gRPC codec of the source: `ForwardRequest` is written straight from parcels, with no
//! message of the generated code in between; `ForwardReply` is read as it is generated.
//!
//! After `outbox`, which says what is in a frame; on the other side the generated code reads it.

use std::fmt;
use std::sync::Arc;

use bytes::BufMut;
use gatemq_proto::cluster::peer::{ForwardReply, ForwardRequest, Open, forward_request};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::parcel::Parcel;

/// What goes out on a stream.
#[derive(Debug)]
pub(super) enum Frame {
    /// The first one.
    Open(Open),
    /// Messages with consecutive numbers.
    Batch {
        /// The number of the first.
        first: u64,
        /// At least one.
        parcels: Vec<Parcel>,
    },
}

/// Milliseconds on the clock that expiries are given by.
pub(super) type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Writes frames and reads replies.
#[derive(Clone)]
pub(super) struct FrameCodec {
    pub(super) clock: Clock,
}

/// Reads replies.
#[derive(Debug)]
pub(super) struct ReplyDecoder;

// === impl FrameCodec ===

impl fmt::Debug for FrameCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameCodec")
    }
}

impl Codec for FrameCodec {
    type Encode = Frame;
    type Decode = ForwardReply;
    type Encoder = Self;
    type Decoder = ReplyDecoder;

    fn encoder(&mut self) -> Self {
        self.clone()
    }

    fn decoder(&mut self) -> ReplyDecoder {
        ReplyDecoder
    }
}

impl Encoder for FrameCodec {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match frame {
            Frame::Open(open) => {
                let kind = Some(forward_request::Kind::Open(open));
                ForwardRequest { kind }.encode(out).map_err(|error| {
                    // A buffer that grows has always room.
                    Status::internal(error.to_string())
                })
            }
            Frame::Batch { first, parcels } => {
                let now = if parcels.iter().any(Parcel::expires) {
                    (self.clock)()
                } else {
                    0
                };
                put_batch(first, &parcels, now, out, EncodeBuf::reserve);
                Ok(())
            }
        }
    }
}

impl Decoder for ReplyDecoder {
    type Item = ForwardReply;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<ForwardReply>, Status> {
        let reply = ForwardReply::decode(buf);
        reply
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

// === private ===

/// Field numbers of the frame; a test holds them against the generated code.
const BATCH: u32 = 2;
const FIRST: u32 = 1;
const MESSAGES: u32 = 2;

/// Writes a `ForwardRequest` with a batch. Room for it is made by `reserve`, once.
fn put_batch<B: BufMut>(
    first: u64,
    parcels: &[Parcel],
    now: u64,
    out: &mut B,
    reserve: impl FnOnce(&mut B, usize),
) {
    let of_first = 1 + encoded_len_varint(first);
    let of_messages = parcels.iter().map(|parcel| {
        let len = parcel.encoded_len(now);
        1 + encoded_len_varint(len as u64) + len
    });
    let len = of_first + of_messages.sum::<usize>();
    reserve(out, 1 + encoded_len_varint(len as u64) + len);
    encode_key(BATCH, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
    encode_key(FIRST, WireType::Varint, out);
    encode_varint(first, out);
    for parcel in parcels {
        encode_key(MESSAGES, WireType::LengthDelimited, out);
        encode_varint(parcel.encoded_len(now) as u64, out);
        parcel.put(now, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{Draft, Picks};
    use gatemq_proto::mqtt::Qos;

    #[test]
    fn it_is_the_batch_of_the_schema() {
        let parcel = |n: u64, payload: &[u8]| {
            let draft = Draft {
                id: n,
                source: 0,
                qos: Qos::AtLeastOnce,
                is_retained: false,
                publisher: 1,
                expires_at: n.is_multiple_of(2).then_some(500),
                topic: b"t",
                properties: b"",
                payload,
                client_id: "",
                knows: 0,
            };
            draft.seal().address(true, Picks::new([("g", "t")]))
        };
        let large = vec![7; 300];
        let parcels = [parcel(1, b""), parcel(2, b"x"), parcel(3, &large)];
        let (mut out, mut reserved) = (Vec::new(), 0);
        put_batch(900, &parcels, 100, &mut out, |_: &mut Vec<u8>, len| {
            reserved = len
        });
        assert_eq!(out.len(), reserved);
        let kind = ForwardRequest::decode(&out[..]).unwrap().kind.unwrap();
        let forward_request::Kind::Batch(batch) = kind else {
            panic!("{kind:?}");
        };
        assert_eq!(batch.first, 900);
        let seen: Vec<_> = batch
            .messages
            .iter()
            .map(|m| (m.id, m.expires_in))
            .collect();
        assert_eq!(seen, [(1, None), (2, Some(400)), (3, None)]);
        assert_eq!(batch.messages[2].payload, large);
    }
}
