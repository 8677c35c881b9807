//! Which messages that came back may be routed again now, so that none overtakes another of its
//! publisher. Pure.
//!
//! A message is looked for its subscribers where they are by then. One behind it that finds a
//! subscriber who has just arrived would be there first, if the one before it is still on its way
//! back from where that subscriber was. So only the first message of a publisher that is not done is
//! routed again, and the next one when that has reached everybody `[MQTT-4.6.0-6]`. What the
//! publisher waits for says which one that is ([`Standing`]); where it does not wait any more, because
//! its connection is gone, the number of the message does.

use std::cmp::Ordering;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::cluster::forward::Forwarded;
use crate::receipt::Standing;
use crate::session::received::Origin;

/// Takes those whose turn it is, in their order.
pub(super) fn take_due(waiting: &mut Vec<Forwarded>) -> Vec<Forwarded> {
    waiting.sort_by(in_order);
    let mut first = First::default();
    let is_due = |forwarded: &mut Forwarded| {
        let standing = match &forwarded.leg {
            Some(leg) => leg.standing(),
            None => Standing::Unknown,
        };
        first.is_due(standing, forwarded.publisher(), forwarded.origin)
    };
    waiting.extract_if(.., is_due).collect()
}

/// By publisher, and then by number: one gateway's grow, and another's are those of a connection
/// before.
fn in_order(one: &Forwarded, other: &Forwarded) -> Ordering {
    let key = |it: &Forwarded| (it.publisher(), it.origin.source, it.origin.id);
    key(one).cmp(&key(other))
}

/// The first message of each publisher, of those that nobody waits for.
#[derive(Default)]
struct First(HashMap<u64, Origin, RandomState>);

impl First {
    /// Whether it is a message's turn; asked in the order of the messages.
    fn is_due(&mut self, standing: Standing, publisher: u64, origin: Origin) -> bool {
        match standing {
            Standing::First => true,
            Standing::Behind => false,
            Standing::Unknown => *self.0.entry(publisher).or_insert(origin) == origin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_publisher_the_first_is_due_for_all_to_whom_it_goes() {
        let mut first = First::default();
        let origin = |id| Origin { source: 3, id };
        for (standing, publisher, id, expected) in [
            (Standing::Unknown, 1, 7, true),
            (Standing::Unknown, 1, 7, true), // to another node
            (Standing::Unknown, 1, 8, false),
            (Standing::Unknown, 2, 9, true),
            (Standing::Behind, 3, 10, false),
            (Standing::First, 3, 11, true),
            (Standing::First, 1, 12, true),
        ] {
            let is_due = first.is_due(standing, publisher, origin(id));
            assert_eq!(is_due, expected, "{standing:?} {id}");
        }
    }
}
