//! Appends the data types of the standard `[MQTT-1.5]` to a buffer.

use crate::mqtt::{MAX_REMAINING_LENGTH, UserProperties, frame::PacketType, property::Id};

/// The end of a buffer.
pub(in crate::mqtt) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(in crate::mqtt) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    pub(super) fn reserve(&mut self, additional: usize) {
        self.out.reserve(additional);
    }

    pub(super) fn position(&self) -> usize {
        self.out.len()
    }

    #[inline]
    pub(in crate::mqtt) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    #[inline]
    pub(super) fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    #[inline]
    pub(super) fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    #[inline]
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A variable byte integer.
    #[inline]
    pub(in crate::mqtt) fn variable(&mut self, value: u32) {
        debug_assert!(
            value <= MAX_REMAINING_LENGTH,
            "a variable byte integer has 28 bits"
        );
        self.out
            .extend(variable_bytes(value.min(MAX_REMAINING_LENGTH)));
    }

    pub(super) fn binary(&mut self, data: &[u8]) {
        debug_assert!(
            data.len() <= MAX_LENGTH,
            "binary data has at most 65,535 bytes"
        );
        let data = data.get(..MAX_LENGTH).unwrap_or(data);
        self.u16(data.len() as u16);
        self.raw(data);
    }

    #[inline]
    pub(in crate::mqtt) fn text(&mut self, text: &str) {
        debug_assert!(text.len() <= MAX_LENGTH, "text has at most 65,535 bytes");
        let text = fit(text);
        self.u16(text.len() as u16);
        self.raw(text.as_bytes());
    }

    /// A packet: what `write` appends behind a fixed header.
    pub(super) fn packet(&mut self, packet: PacketType, write: impl FnOnce(&mut Self)) {
        self.u8(packet.first_byte());
        self.sized(0, write);
    }

    /// What `write` appends behind its length as a variable byte integer; `more` is added to it.
    pub(super) fn sized(&mut self, more: usize, write: impl FnOnce(&mut Self)) {
        let start = self.position();
        self.u8(0);
        write(self);
        let length = self.position() - start - 1 + more;
        self.out
            .splice(start..=start, variable_bytes(length_field(length)));
    }

    /// A property list.
    pub(super) fn properties(&mut self, write: impl FnOnce(&mut Self)) {
        self.sized(0, write);
    }
}

/// Properties; `None` writes nothing.
impl Writer<'_> {
    pub(super) fn flag_property(&mut self, id: Id, value: Option<bool>) {
        if let Some(value) = value {
            self.u8(id as u8);
            self.u8(u8::from(value));
        }
    }

    pub(super) fn byte_property(&mut self, id: Id, value: Option<u8>) {
        if let Some(value) = value {
            self.u8(id as u8);
            self.u8(value);
        }
    }

    pub(super) fn u16_property(&mut self, id: Id, value: Option<u16>) {
        if let Some(value) = value {
            self.u8(id as u8);
            self.u16(value);
        }
    }

    pub(super) fn u32_property(&mut self, id: Id, value: Option<u32>) {
        if let Some(value) = value {
            self.u8(id as u8);
            self.u32(value);
        }
    }

    pub(super) fn variable_property(&mut self, id: Id, value: u32) {
        self.u8(id as u8);
        self.variable(value);
    }

    pub(super) fn text_property(&mut self, id: Id, value: Option<&str>) {
        if let Some(value) = value {
            self.u8(id as u8);
            self.text(value);
        }
    }

    pub(super) fn binary_property(&mut self, id: Id, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.u8(id as u8);
            self.binary(value);
        }
    }

    pub(super) fn reason_string(&mut self, text: Option<&str>) {
        self.text_property(Id::ReasonString, text.map(fit));
    }

    pub(super) fn user_properties(&mut self, properties: UserProperties<'_>) {
        for pair in properties.encoded() {
            self.raw(pair);
        }
    }
}

const MAX_LENGTH: usize = u16::MAX as usize;

/// As much of a text as a length of two bytes can tell, cut at a character.
#[inline]
pub(super) fn fit(text: &str) -> &str {
    if text.len() <= MAX_LENGTH {
        return text;
    }
    text.get(..text.floor_char_boundary(MAX_LENGTH))
        .unwrap_or_default()
}

/// A length as the variable byte integer that goes before what is so long.
#[inline]
pub(super) fn length_field(length: usize) -> u32 {
    debug_assert!(
        length <= MAX_REMAINING_LENGTH as usize,
        "a packet has at most 256 MiB"
    );
    u32::try_from(length)
        .unwrap_or(u32::MAX)
        .min(MAX_REMAINING_LENGTH)
}

/// How many bytes [`Writer::variable`] appends.
#[inline]
pub(super) const fn variable_len(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// A variable byte integer of at most 28 bits.
#[inline]
fn variable_bytes(value: u32) -> impl ExactSizeIterator<Item = u8> {
    let length = variable_len(value as usize);
    (0..length).map(move |index| {
        let more = if index + 1 < length { 0x80 } else { 0 };
        (value >> (7 * index)) as u8 & 0x7F | more
    })
}
