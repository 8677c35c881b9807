//! User properties: pairs of texts that may repeat and whose order counts.

use std::fmt;

use super::{Entries, Id, entries::split_bytes};
use crate::mqtt::{Error, decode, encode::Writer, error::Flaw};

/// The user properties of a packet, in order; a view of its encoded property list.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a> {
    block: &'a [u8],
}

impl<'a> UserProperties<'a> {
    /// The user properties of a property list as it is on the wire, without its length; other
    /// properties are skipped.
    ///
    /// # Errors
    ///
    /// If the list is not one that a PUBLISH may have.
    pub fn from_block(block: &'a [u8]) -> Result<Self, Error> {
        decode::check_publish_block(block)?;
        Ok(Self { block })
    }

    /// As [`Self::from_block`], of a list that has been checked.
    pub(in crate::mqtt) const fn from_checked(block: &'a [u8]) -> Self {
        Self { block }
    }

    /// The pairs of name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.encoded().filter_map(|pair| {
            let (name, rest) = split_bytes(pair.get(1..)?)?;
            let (value, _) = split_bytes(rest)?;
            Some((
                std::str::from_utf8(name).ok()?,
                std::str::from_utf8(value).ok()?,
            ))
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.encoded().next().is_none()
    }

    /// How many pairs there are; walks them.
    pub fn len(&self) -> usize {
        self.encoded().count()
    }

    /// The pairs as they are on the wire, each with its identifier.
    pub(in crate::mqtt) fn encoded(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        Entries::new(self.block)
            .filter(|entry| entry.id == Id::UserProperty)
            .map(|entry| entry.whole)
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.encoded().eq(other.encoded())
    }
}

impl Eq for UserProperties<'_> {}

impl fmt::Debug for UserProperties<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// User properties that own their memory, to build some or to keep them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UserPropertiesBuf {
    block: Vec<u8>,
}

impl UserPropertiesBuf {
    /// No user properties.
    pub const fn new() -> Self {
        Self { block: Vec::new() }
    }

    /// Adds a pair after the others.
    ///
    /// # Errors
    ///
    /// If the name or the value is longer than 65,535 bytes or contains U+0000. Nothing is added
    /// then.
    pub fn push(&mut self, name: &str, value: &str) -> Result<(), Error> {
        for text in [name, value] {
            if text.len() > usize::from(u16::MAX) {
                return Err(Error::malformed(Id::UserProperty.name(), Flaw::TooLong));
            }
            if text.contains('\0') {
                return Err(Error::malformed(Id::UserProperty.name(), Flaw::Nul));
            }
        }
        let mut writer = Writer::new(&mut self.block);
        writer.u8(Id::UserProperty as u8);
        writer.text(name);
        writer.text(value);
        Ok(())
    }

    /// The user properties, borrowed.
    pub fn as_ref(&self) -> UserProperties<'_> {
        UserProperties::from_checked(&self.block)
    }
}

impl From<UserProperties<'_>> for UserPropertiesBuf {
    fn from(properties: UserProperties<'_>) -> Self {
        let mut block = Vec::new();
        for pair in properties.encoded() {
            block.extend_from_slice(pair);
        }
        Self { block }
    }
}

impl fmt::Debug for UserPropertiesBuf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(formatter)
    }
}
