//! A message on its way to another node: encoded once by who routes it, shared by all its
//! destinations, addressed for each.
//!
//! What is the same for all destinations is one run of protobuf fields ([`Outgoing`]). Flags, the
//! groups and the time that is left are fields of their own beside it ([`Parcel`]); protobuf lets
//! fields come in any order, so a frame is made by copying, not by encoding.
//!
//! Continues in `outbox`; `frame` writes it.

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use gatemq_proto::mqtt::Qos;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// A PUBLISH as its gateway has it, to be sealed for the road.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    /// Unique among all that this incarnation sends, and not 0, at QoS 1 and 2.
    pub id: u64,
    /// The first incarnation of the process that routed it first, under that id; 0 at QoS 0.
    pub source: u64,
    /// Its quality of service.
    pub qos: Qos,
    /// RETAIN, as subscribers get it.
    pub is_retained: bool,
    /// The number of the publishing session, for No Local.
    pub publisher: u64,
    /// When it expires, in milliseconds of the clock that [`super::Peers`] was given.
    pub expires_at: Option<u64>,
    /// UTF-8.
    pub topic: &'a [u8],
    /// MQTT 5.0 properties that a server passes on, encoded.
    pub properties: &'a [u8],
    /// The application message.
    pub payload: &'a [u8],
    /// The publishing client where a strategy looks at it, else empty.
    pub client_id: &'a str,
    /// Up to which revision of the cluster's state it was known who wants it; 0 at QoS 0.
    pub knows: u64,
}

/// A message that is the same for all its destinations. A clone costs no copy.
#[derive(Clone, Debug)]
pub struct Outgoing {
    encoded: Bytes,
    /// `u64::MAX` for never.
    expires_at: u64,
    flags: Flags,
    /// The span that it is sent from.
    trace: Option<Box<Trace>>,
}

/// A span, as it travels: what `Message::trace` says.
pub type Trace = [u8; 25];

/// What one destination is told: the groups of which a member there is to get the message, and who
/// has published it. Encoded.
#[derive(Clone, Debug, Default)]
pub struct Picks(Option<Arc<[u8]>>);

/// A message for one destination.
#[derive(Clone, Debug)]
pub struct Parcel {
    outgoing: Outgoing,
    picks: Picks,
}

/// What `Message::flags` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

// === impl Draft ===

impl Draft<'_> {
    /// Encodes it, with one allocation.
    #[must_use]
    pub fn seal(&self) -> Outgoing {
        let id = if self.qos == Qos::AtMostOnce {
            0
        } else {
            self.id
        };
        let numbers = [
            (tag::ID, id),
            (tag::PUBLISHER, self.publisher),
            (tag::SOURCE, self.source),
            (tag::KNOWS, self.knows),
        ];
        let texts = [
            (tag::TOPIC, self.topic),
            (tag::PROPERTIES, self.properties),
            (tag::PAYLOAD, self.payload),
            (tag::CLIENT_ID, self.client_id.as_bytes()),
        ];
        let len: usize = numbers
            .iter()
            .map(|&(_, n)| 1 + encoded_len_varint(n))
            .sum::<usize>()
            + texts.iter().map(|(_, text)| text_len(text)).sum::<usize>();
        let mut encoded = Vec::with_capacity(len);
        for (tag, number) in numbers.into_iter().filter(|&(_, number)| number > 0) {
            encode_key(tag, WireType::Varint, &mut encoded);
            encode_varint(number, &mut encoded);
        }
        for (tag, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            put_text(tag, text, &mut encoded);
        }
        Outgoing {
            encoded: Bytes::from(encoded),
            expires_at: self.expires_at.unwrap_or(u64::MAX),
            flags: Flags::new(self.qos, self.is_retained),
            trace: None,
        }
    }
}

// === impl Outgoing ===

impl Outgoing {
    /// Its quality of service.
    #[must_use]
    pub fn qos(&self) -> Qos {
        self.flags.qos()
    }

    /// The same message, marked as one that may have come before: for who routes it again.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.flags.0 |= Flags::REPEAT;
        self
    }

    /// The same message, marked as one that nobody would publish again.
    #[must_use]
    pub fn orphan(mut self) -> Self {
        self.flags.0 |= Flags::ORPHAN;
        self
    }

    /// The same message, marked as one that comes again when it is refused for now, before all that its
    /// publisher has behind it.
    #[must_use]
    pub fn in_row(mut self) -> Self {
        self.flags.0 |= Flags::IN_ROW;
        self
    }

    /// The same message, to ask which groups have had it: nobody gets it.
    #[must_use]
    pub fn ask(mut self) -> Self {
        self.flags.0 |= Flags::ASK;
        self
    }

    /// The same message, sent from this span.
    #[must_use]
    pub fn traced(mut self, span: Trace) -> Self {
        self.trace = Some(Box::new(span));
        self
    }

    /// Addresses it: whether it goes to subscribers outside of groups there, and to which groups.
    #[must_use]
    pub fn address(self, is_direct: bool, picks: Picks) -> Parcel {
        let mut outgoing = self;
        if is_direct {
            outgoing.flags.0 |= Flags::DIRECT;
        }
        Parcel { outgoing, picks }
    }
}

// === impl Picks ===

impl Picks {
    /// The picks of these pairs of group and filter.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut encoded = Vec::new();
        for (group, filter) in pairs {
            let len = text_len(group.as_bytes()) + text_len(filter.as_bytes());
            encode_key(tag::PICKS, WireType::LengthDelimited, &mut encoded);
            encode_varint(len as u64, &mut encoded);
            put_text(tag::PICK_GROUP, group.as_bytes(), &mut encoded);
            put_text(tag::PICK_FILTER, filter.as_bytes(), &mut encoded);
        }
        Self((!encoded.is_empty()).then(|| Arc::from(encoded)))
    }

    /// The same with the user name of the publishing client, for a destination that asks for it.
    #[must_use]
    pub fn with_username(self, username: &str) -> Self {
        if username.is_empty() {
            return self;
        }
        let mut encoded = self.as_slice().to_vec();
        put_text(tag::USERNAME, username.as_bytes(), &mut encoded);
        Self(Some(Arc::from(encoded)))
    }

    fn as_slice(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

// === impl Parcel ===

impl Parcel {
    /// Whether the destination answers it, and it is kept until then.
    pub(super) fn is_kept(&self) -> bool {
        self.outgoing.qos() != Qos::AtMostOnce
    }

    /// Marks it as one that may have come before.
    pub(super) fn mark_as_repeat(&mut self) {
        self.outgoing.flags.0 |= Flags::REPEAT;
    }

    /// Whether [`Parcel::put`] needs the time.
    pub(super) fn expires(&self) -> bool {
        self.outgoing.expires_at != u64::MAX
    }

    /// Bytes on the wire, but for what depends on the time.
    pub(super) fn len(&self) -> usize {
        let trace = self.outgoing.trace.as_ref();
        let trace = trace.map_or(0, |span| text_len(&span[..]));
        let flags = 1 + encoded_len_varint(self.outgoing.flags.0.into());
        self.outgoing.encoded.len() + self.picks.as_slice().len() + trace + flags
    }

    /// About what it takes of the memory while it waits, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.len() + OVERHEAD
    }

    /// Milliseconds until it expires, at a time of the clock.
    pub(super) fn expires_in(&self, now: u64) -> Option<u64> {
        self.expires()
            .then(|| self.outgoing.expires_at.saturating_sub(now))
    }

    /// Bytes of its `Message`, without the key and the length before it.
    pub(super) fn encoded_len(&self, now: u64) -> usize {
        let expiry = self.expires_in(now);
        self.len() + expiry.map_or(0, |millis| 1 + encoded_len_varint(millis))
    }

    /// Writes the fields of its `Message`.
    pub(super) fn put(&self, now: u64, out: &mut impl BufMut) {
        encode_key(tag::FLAGS, WireType::Varint, out);
        encode_varint(self.outgoing.flags.0.into(), out);
        if let Some(millis) = self.expires_in(now) {
            encode_key(tag::EXPIRES_IN, WireType::Varint, out);
            encode_varint(millis, out);
        }
        out.put_slice(&self.outgoing.encoded);
        out.put_slice(self.picks.as_slice());
        if let Some(span) = &self.outgoing.trace {
            put_text(tag::TRACE, &span[..], out);
        }
    }
}

// === impl Flags ===

impl Flags {
    pub(super) const QOS: u8 = 0b11;
    const RETAIN: u8 = 1 << 2;
    const DIRECT: u8 = 1 << 3;
    const REPEAT: u8 = 1 << 4;
    const ORPHAN: u8 = 1 << 5;
    const ASK: u8 = 1 << 6;
    const IN_ROW: u8 = 1 << 7;

    fn new(qos: Qos, is_retained: bool) -> Self {
        Self(qos as u8 | if is_retained { Self::RETAIN } else { 0 })
    }

    /// The flags of a message that came; `None` if their QoS is none. Bits that a later version
    /// may have are ignored.
    #[must_use]
    pub fn of(message: &super::Message) -> Option<Self> {
        let bits = (message.flags & 0xff) as u8;
        Qos::from_bits(bits & Self::QOS).map(|_| Self(bits))
    }

    /// The quality of service.
    #[must_use]
    pub fn qos(self) -> Qos {
        Qos::from_bits(self.0 & Self::QOS).unwrap_or(Qos::AtMostOnce)
    }

    /// RETAIN, as subscribers get it.
    #[must_use]
    pub fn is_retained(self) -> bool {
        self.0 & Self::RETAIN != 0
    }

    /// Whether it goes to subscribers outside of groups.
    #[must_use]
    pub fn is_direct(self) -> bool {
        self.0 & Self::DIRECT != 0
    }

    /// Whether it may have come before, with the same id.
    #[must_use]
    pub fn is_repeat(self) -> bool {
        self.0 & Self::REPEAT != 0
    }

    /// Whether nobody would publish it again if it were refused: it is acknowledged, or a will.
    #[must_use]
    pub fn is_orphan(self) -> bool {
        self.0 & Self::ORPHAN != 0
    }

    /// Whether it is only asked which groups have had it.
    #[must_use]
    pub fn is_ask(self) -> bool {
        self.0 & Self::ASK != 0
    }

    /// Whether it comes again when it is refused for now, before all that its publisher has behind it.
    #[must_use]
    pub fn is_in_row(self) -> bool {
        self.0 & Self::IN_ROW != 0
    }
}

// === private ===

/// What a queue and the allocator add to the bytes of a message.
const OVERHEAD: usize = 128;

/// Field numbers of `Message` and `Pick`; the tests hold them against the generated code. All are
/// below 16, so a key is one byte.
mod tag {
    pub(super) const ID: u32 = 1;
    pub(super) const FLAGS: u32 = 2;
    pub(super) const PUBLISHER: u32 = 3;
    pub(super) const EXPIRES_IN: u32 = 4;
    pub(super) const TOPIC: u32 = 5;
    pub(super) const PROPERTIES: u32 = 6;
    pub(super) const PAYLOAD: u32 = 7;
    pub(super) const PICKS: u32 = 8;
    pub(super) const CLIENT_ID: u32 = 9;
    pub(super) const SOURCE: u32 = 10;
    pub(super) const TRACE: u32 = 11;
    pub(super) const USERNAME: u32 = 12;
    pub(super) const KNOWS: u32 = 13;
    pub(super) const PICK_GROUP: u32 = 1;
    pub(super) const PICK_FILTER: u32 = 2;
}

fn text_len(text: &[u8]) -> usize {
    key_len(1) + encoded_len_varint(text.len() as u64) + text.len()
}

fn put_text(tag: u32, text: &[u8], out: &mut impl BufMut) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(text.len() as u64, out);
    out.put_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{Message, Pick};
    use prost::Message as _;

    fn draft() -> Draft<'static> {
        Draft {
            id: 77,
            source: 5,
            qos: Qos::AtLeastOnce,
            is_retained: true,
            publisher: 300,
            expires_at: Some(10_000),
            topic: b"a/b",
            properties: b"\x01\x01",
            payload: b"payload",
            client_id: "client",
            knows: 400,
        }
    }

    fn encode(parcel: &Parcel, now: u64) -> Message {
        let mut out = Vec::new();
        parcel.put(now, &mut out);
        assert_eq!(out.len(), parcel.encoded_len(now));
        Message::decode(&out[..]).unwrap()
    }

    #[test]
    fn it_is_the_message_of_the_schema() {
        let picks = Picks::new([("g", "a/#"), ("h", "+/b")]).with_username("ann");
        let parcel = draft()
            .seal()
            .again()
            .orphan()
            .ask()
            .in_row()
            .traced([3; 25])
            .address(true, picks);
        let pick = |group: &str, filter: &str| Pick {
            group: group.to_owned(),
            filter: filter.to_owned(),
        };
        let expected = Message {
            id: 77,
            flags: 0b1111_1101,
            publisher: 300,
            expires_in: Some(9_000),
            topic: Bytes::from_static(b"a/b"),
            properties: Bytes::from_static(b"\x01\x01"),
            payload: Bytes::from_static(b"payload"),
            picks: vec![pick("g", "a/#"), pick("h", "+/b")],
            client_id: "client".to_owned(),
            source: 5,
            username: "ann".to_owned(),
            trace: Bytes::from_static(&[3; 25]),
            knows: 400,
        };
        assert_eq!(encode(&parcel, 1_000), expected);
    }

    #[test]
    fn what_is_empty_costs_nothing() {
        let draft = Draft {
            source: 0,
            qos: Qos::AtMostOnce,
            is_retained: false,
            publisher: 0,
            expires_at: None,
            topic: b"t",
            properties: b"",
            payload: b"",
            client_id: "",
            knows: 0,
            ..draft()
        };
        let parcel = draft
            .seal()
            .address(false, Picks::default().with_username(""));
        assert_eq!(parcel.len(), 5);
        let expected = Message {
            topic: Bytes::from_static(b"t"),
            ..Message::default()
        };
        assert_eq!(encode(&parcel, 0), expected);
    }

    #[test]
    fn what_has_expired_says_so() {
        let parcel = draft().seal().address(true, Picks::default());
        assert_eq!(encode(&parcel, 10_001).expires_in, Some(0));
    }

    #[test]
    fn flags_of_a_later_version_are_ignored_but_no_fourth_qos() {
        let flags = |flags| {
            Flags::of(&Message {
                flags,
                ..Message::default()
            })
        };
        assert_eq!(flags(0x1_0009), Some(Flags(9)));
        assert_eq!(flags(3), None);
    }
}
