//! Which properties of a message go to its subscribers.
//!
//! Between decoding a PUBLISH and [`crate::mqtt::PublishHeader::encode`]: done once per message,
//! however many receive it.

use super::entries::split_bytes;
use super::{Entries, Id};
use crate::mqtt::encode::Writer;

/// The properties that a server passes on unaltered: of the property list of a PUBLISH or a will,
/// all but what is between the publisher and the server (Topic Alias, Will Delay Interval) and
/// what the server writes anew (Message Expiry Interval, Subscription Identifier). Their order
/// stays `[MQTT-3.3.2-18]`.
///
/// What is left is a slice of `block` if it is in one piece there, else it is put together in
/// `scratch`. A list that `decode` would refuse gives an empty slice.
pub fn forwardable<'a>(block: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let Some(kept) = Kept::of(block) else {
        return &[];
    };
    if kept.in_one_piece {
        return block.get(kept.start..kept.end).unwrap_or_default();
    }
    scratch.clear();
    scratch.reserve(kept.end - kept.start);
    for entry in Entries::new(block).filter(|entry| is_forwardable(entry.id)) {
        scratch.extend_from_slice(entry.whole);
    }
    scratch
}

/// The value of the first user property of a name in a property list.
pub fn user_property<'a>(block: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let properties = Entries::new(block).filter(|entry| entry.id == Id::UserProperty);
    let mut pairs = properties.filter_map(|entry| split_bytes(entry.value));
    let (_, rest) = pairs.find(|(found, _)| *found == name.as_bytes())?;
    split_bytes(rest).map(|(value, _)| value)
}

/// A property list with this user property in the place of all others of its name, behind the rest.
/// Name and value have to be texts that a user property may have.
pub fn with_user_property(block: &[u8], name: &str, value: &str) -> Vec<u8> {
    let mut list = Vec::with_capacity(block.len() + name.len() + value.len() + 5);
    for entry in Entries::new(block) {
        let is_named = || split_bytes(entry.value).is_some_and(|it| it.0 == name.as_bytes());
        if entry.id != Id::UserProperty || !is_named() {
            list.extend_from_slice(entry.whole);
        }
    }
    let mut writer = Writer::new(&mut list);
    writer.u8(Id::UserProperty as u8);
    writer.text(name);
    writer.text(value);
    list
}

/// Where the entries to keep are.
struct Kept {
    start: usize,
    end: usize,
    in_one_piece: bool,
}

impl Kept {
    /// `None` if the list is not valid.
    fn of(block: &[u8]) -> Option<Self> {
        let mut kept = Self {
            start: 0,
            end: 0,
            in_one_piece: true,
        };
        let mut entries = Entries::new(block);
        let mut position = 0;
        while let Some(entry) = entries.next() {
            let next = block.len() - entries.rest().len();
            if is_forwardable(entry.id) {
                if kept.end == 0 {
                    kept.start = position;
                } else if kept.end != position {
                    kept.in_one_piece = false;
                }
                kept.end = next;
            }
            position = next;
        }
        entries.rest().is_empty().then_some(kept)
    }
}

fn is_forwardable(id: Id) -> bool {
    matches!(
        id,
        Id::PayloadFormatIndicator
            | Id::ContentType
            | Id::ResponseTopic
            | Id::CorrelationData
            | Id::UserProperty
    )
}
