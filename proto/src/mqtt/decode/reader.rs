//! Reads the data types of the standard `[MQTT-1.5]` off the front of a slice.

use std::num::NonZeroU16;

use crate::{
    mqtt::{Error, PacketId, Reason, error::Flaw},
    topic,
};

/// What is left to read. Every method names the field that it reads, for the error.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// All that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may be left after the last field.
    pub(super) fn finish(self, last_field: &'static str) -> Result<(), Error> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error::malformed(last_field, Flaw::Trailing))
    }

    #[inline]
    fn chunk<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Error> {
        let Some((chunk, rest)) = self.rest.split_first_chunk() else {
            return Err(Error::malformed(field, Flaw::CutOff));
        };
        self.rest = rest;
        Ok(*chunk)
    }

    #[inline]
    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, Error> {
        self.chunk(field).map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, Error> {
        self.chunk(field).map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, Error> {
        self.chunk(field).map(u32::from_be_bytes)
    }

    /// A variable byte integer.
    #[inline]
    pub(super) fn variable(&mut self, field: &'static str) -> Result<u32, Error> {
        let mut value = 0;
        for index in 0..4 {
            let byte = self.u8(field)?;
            value |= u32::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                if byte == 0 && index > 0 {
                    return Err(Error::malformed(field, Flaw::NotShortest)); // [MQTT-1.5.5-1]
                }
                return Ok(value);
            }
        }
        Err(Error::malformed(field, Flaw::FifthByte))
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], Error> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(Error::malformed(field, Flaw::CutOff));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// Binary data.
    #[inline]
    pub(super) fn binary(&mut self, field: &'static str) -> Result<&'a [u8], Error> {
        let length = self.u16(field)?;
        self.take(usize::from(length), field)
    }

    /// Text that may hold anything but U+0000.
    pub(super) fn text(&mut self, field: &'static str) -> Result<&'a str, Error> {
        let text = self.any_text(field)?;
        if text.as_bytes().contains(&0) {
            return Err(Error::malformed(field, Flaw::Nul)); // [MQTT-1.5.4-2]
        }
        Ok(text)
    }

    /// Text without control characters and non-characters: client identifiers and user names.
    pub(super) fn label(&mut self, field: &'static str) -> Result<&'a str, Error> {
        let text = self.any_text(field)?;
        let scan = topic::scan(text);
        if scan.control {
            return Err(Error::malformed(field, Flaw::ControlCharacter));
        }
        if scan.non_character {
            return Err(Error::malformed(field, Flaw::NonCharacter));
        }
        Ok(text)
    }

    /// Text that has still to go through [`check_topic`].
    #[inline]
    pub(super) fn any_text(&mut self, field: &'static str) -> Result<&'a str, Error> {
        let bytes = self.binary(field)?;
        std::str::from_utf8(bytes).map_err(|_| Error::malformed(field, Flaw::NotUtf8)) // [MQTT-1.5.4-1]
    }

    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, Error> {
        let field = "packet identifier";
        // [MQTT-2.2.1-3]
        NonZeroU16::new(self.u16(field)?).ok_or_else(|| Error::protocol(field, Flaw::Zero))
    }

    /// A reason code, which must be one of those that the packet may have.
    pub(super) fn reason(&mut self, allowed: fn(Reason) -> bool) -> Result<Reason, Error> {
        let field = "reason code";
        let code = self.u8(field)?;
        Reason::from_u8(code)
            .filter(|reason| allowed(*reason))
            .ok_or_else(|| Error::protocol(field, Flaw::Value(code)))
    }
}

/// Checks a topic name. `wildcard` is the reason code to refuse a wildcard with.
#[inline]
pub(super) fn check_topic(
    topic: &str,
    bounds: topic::Bounds,
    field: &'static str,
    wildcard: Reason,
) -> Result<(), Error> {
    topic::validate_name(topic, bounds).map_err(|error| match error {
        topic::Error::Empty => Error::malformed(field, Flaw::Empty), // [MQTT-4.7.3-1]
        topic::Error::TooManyLevels => {
            Error::new(Reason::TopicNameInvalid, field, Flaw::TooManyLevels)
        }
        topic::Error::ControlCharacter => Error::malformed(field, Flaw::ControlCharacter),
        topic::Error::NonCharacter => Error::malformed(field, Flaw::NonCharacter),
        // The field has at most 65,535 bytes; so it is the broker's own bound.
        topic::Error::TooLong => Error::new(Reason::TopicNameInvalid, field, Flaw::AboveLimit),
        _ => Error::new(wildcard, field, Flaw::Wildcard),
    })
}
