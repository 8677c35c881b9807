//! Walks a property list entry by entry without looking at the values.

use super::{Id, Shape};

/// The entries of a property list. Ends early where the list is not valid; [`Entries::rest`]
/// tells.
pub(in crate::mqtt) struct Entries<'a> {
    rest: &'a [u8],
}

/// One property, encoded.
pub(in crate::mqtt) struct Entry<'a> {
    pub(in crate::mqtt) id: Id,
    /// Identifier and value.
    pub(in crate::mqtt) whole: &'a [u8],
    /// The value.
    pub(in crate::mqtt) value: &'a [u8],
}

impl<'a> Entries<'a> {
    pub(in crate::mqtt) fn new(block: &'a [u8]) -> Self {
        Self { rest: block }
    }

    /// What has not been walked: empty after the last entry of a valid list.
    pub(in crate::mqtt) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let (&code, values) = self.rest.split_first()?;
        let id = Id::from_u8(code)?;
        let length = value_length(id.shape(), values)?;
        let value = values.get(..length)?;
        let (whole, rest) = self.rest.split_at_checked(1 + length)?;
        self.rest = rest;
        Some(Entry { id, whole, value })
    }
}

/// Splits text or binary data, without its length, from what follows.
pub(super) fn split_bytes(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn value_length(shape: Shape, values: &[u8]) -> Option<usize> {
    Some(match shape {
        Shape::Byte => 1,
        Shape::Two => 2,
        Shape::Four => 4,
        Shape::Variable => 1 + values.iter().take(4).position(|byte| byte & 0x80 == 0)?,
        Shape::Bytes => 2 + split_bytes(values)?.0.len(),
        Shape::Pair => {
            let (name, rest) = split_bytes(values)?;
            4 + name.len() + split_bytes(rest)?.0.len()
        }
    })
}
