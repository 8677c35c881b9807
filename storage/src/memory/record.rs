//! A key and its value in one allocation, ordered by the key.

use std::borrow::Borrow;
use std::cmp::Ordering;

/// One entry of the tree.
#[derive(Debug)]
pub(super) struct Record {
    /// The key, then the value.
    bytes: Box<[u8]>,
    key_length: usize,
}

impl Record {
    pub(super) fn new(key: &[u8], value: &[u8]) -> Self {
        Self {
            bytes: [key, value].concat().into_boxed_slice(),
            key_length: key.len(),
        }
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.bytes[..self.key_length]
    }

    pub(super) fn value(&self) -> &[u8] {
        &self.bytes[self.key_length..]
    }
}

impl Borrow<[u8]> for Record {
    fn borrow(&self) -> &[u8] {
        self.key()
    }
}

impl Ord for Record {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(other.key())
    }
}

impl PartialOrd for Record {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Record {}
