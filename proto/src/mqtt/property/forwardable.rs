//! Which properties of a message go to its subscribers.
//!
//! Between decoding a PUBLISH and [`crate::mqtt::PublishHeader::encode`]: done once per message,
//! however many receive it.

use super::{Entries, Id};

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
