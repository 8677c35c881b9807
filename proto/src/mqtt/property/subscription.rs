//! Subscription identifiers: which of a client's subscriptions a PUBLISH answers.

use std::fmt;

use super::{Entries, Id};
use crate::mqtt::{Error, decode, encode::Writer};

/// The subscription identifiers of a PUBLISH, in order; a view of its encoded property list.
#[derive(Clone, Copy, Default)]
pub struct SubscriptionIds<'a> {
    block: &'a [u8],
}

impl<'a> SubscriptionIds<'a> {
    /// The subscription identifiers of a property list as it is on the wire, without its length;
    /// other properties are skipped.
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

    /// Encodes identifiers into a buffer, which is cleared first, and gives a view of it.
    /// Those that are 0 or above 268,435,455 are left out: no subscription has them.
    pub fn encode(ids: impl IntoIterator<Item = u32>, buffer: &'a mut Vec<u8>) -> Self {
        buffer.clear();
        let mut writer = Writer::new(buffer);
        for id in ids {
            if (1..=crate::mqtt::MAX_REMAINING_LENGTH).contains(&id) {
                writer.u8(Id::SubscriptionIdentifier as u8);
                writer.variable(id);
            }
        }
        Self { block: buffer }
    }

    /// The identifiers.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        Entries::new(self.block)
            .filter(|entry| entry.id == Id::SubscriptionIdentifier)
            .map(|entry| {
                // `Entries` gives at most four bytes for a variable byte integer.
                let bytes = entry.value.iter().rev();
                bytes.fold(0, |value, byte| value << 7 | u32::from(byte & 0x7F))
            })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// How many identifiers there are; walks them.
    pub fn len(&self) -> usize {
        self.iter().count()
    }
}

impl PartialEq for SubscriptionIds<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SubscriptionIds<'_> {}

impl fmt::Debug for SubscriptionIds<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}
