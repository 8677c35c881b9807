//! Which messages that came back may be routed again now, so that none overtakes another of its
//! publisher.
//!
//! A message is looked for its subscribers where they are by then. One behind it that finds a
//! subscriber who has just arrived would be there first, if the one before it is still on its way
//! back from where that subscriber was. So only the first message of a publisher that is not done is
//! routed again, and the next one when that has reached everybody `[MQTT-4.6.0-6]`. What the
//! publisher waits for says which one that is ([`Standing`]). Where it does not wait any more, because
//! its connection is gone, the numbers of the messages do, and whether the one before is on its way.

use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::cluster::forward::Forwarded;
use crate::receipt::Standing;
use crate::session::received::Origin;

/// The message of each publisher that was routed again last, and what it holds until every node has
/// answered it.
#[derive(Debug, Default)]
pub(super) struct Order(HashMap<u64, (Origin, Weak<()>), RandomState>);

// === impl Order ===

impl Order {
    /// Takes those whose turn it is, in their order, each to be routed to everybody once; `own` is the
    /// name of this gateway as a source.
    pub(super) fn take_due(&mut self, waiting: &mut Vec<Forwarded>, own: u64) -> Vec<Forwarded> {
        waiting.sort_by_key(|it| place(own, it.publisher(), it.origin));
        self.0
            .retain(|_, (_, under_way)| under_way.strong_count() > 0);
        let mut first = HashMap::default();
        let is_due = |forwarded: &mut Forwarded| {
            let standing = match &forwarded.leg {
                Some(leg) => leg.standing(),
                None => Standing::Unknown,
            };
            let (publisher, origin) = (forwarded.publisher(), forwarded.origin);
            let is_due = self.is_due(&mut first, standing, publisher, origin);
            if is_due {
                forwarded.under_way = Some(self.begin(publisher, origin));
            }
            is_due
        };
        merge(waiting.extract_if(.., is_due))
    }

    /// Whether it is a message's turn; asked in the order of the messages. `first` has the first
    /// one of each publisher that was asked about.
    fn is_due(
        &self,
        first: &mut HashMap<u64, Origin, RandomState>,
        standing: Standing,
        publisher: u64,
        origin: Origin,
    ) -> bool {
        let is_first = *first.entry(publisher).or_insert(origin) == origin;
        match standing {
            Standing::First => true,
            Standing::Behind => false,
            Standing::Unknown => {
                let last = self.0.get(&publisher);
                let is_free = last.is_none_or(|(last, under_way)| {
                    *last == origin || under_way.strong_count() == 0
                });
                is_first && is_free
            }
        }
    }

    /// What is to be held as long as a message is on its way.
    fn begin(&mut self, publisher: u64, origin: Origin) -> Arc<()> {
        let known = self.0.get(&publisher).filter(|(last, _)| *last == origin);
        let known = known.and_then(|(_, under_way)| under_way.upgrade());
        known.unwrap_or_else(|| {
            let under_way = Arc::new(());
            self.0
                .insert(publisher, (origin, Arc::downgrade(&under_way)));
            under_way
        })
    }
}

/// Of a message that came back from several nodes, one copy goes to everybody for all of them. If
/// each did, it would come back from as many nodes again, and so on for as long as somebody moves.
fn merge(due: impl Iterator<Item = Forwarded>) -> Vec<Forwarded> {
    let mut merged: Vec<Forwarded> = Vec::new();
    for mut one in due {
        let is_it = |other: &Forwarded| other.target.is_direct && one.is_copy_of(other);
        let before = merged.iter().rev();
        let mut before = before.take_while(|it| it.origin == one.origin);
        if one.target.is_direct && before.any(is_it) {
            one.target.is_direct = false;
            if one.target.picks.is_empty() {
                one.finish(None); // its publisher waits for the other one
                continue;
            }
        }
        merged.push(one);
    }
    merged
}

/// Where a message stands: by publisher, and then by number, for one gateway's grow. Another's are
/// those of a connection before, whose exchanges its publisher has taken up here, so they are before
/// this gateway's own. What came from two others tells no order; and of a client that came back here
/// from another one, what it had begun here before that counts as what it sends now.
fn place(own: u64, publisher: u64, origin: Origin) -> (u64, bool, u64, u64) {
    (publisher, origin.source == own, origin.source, origin.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_publisher_the_first_is_due_for_all_to_whom_it_goes() {
        let (order, mut first) = (Order::default(), HashMap::default());
        for (standing, publisher, id, expected) in [
            (Standing::Unknown, 1, 7, true),
            (Standing::Unknown, 1, 7, true), // to another node
            (Standing::Unknown, 1, 8, false),
            (Standing::Unknown, 2, 9, true),
            (Standing::Behind, 3, 10, false),
            (Standing::Unknown, 3, 11, false), // behind that one
            (Standing::First, 1, 12, true),
        ] {
            let is_due = order.is_due(&mut first, standing, publisher, origin(id));
            assert_eq!(is_due, expected, "{standing:?} {id}");
        }
    }

    #[test]
    fn the_next_one_is_due_when_nothing_of_the_first_is_on_its_way() {
        let mut order = Order::default();
        let is_due = |order: &Order, id| {
            order.is_due(&mut HashMap::default(), Standing::Unknown, 1, origin(id))
        };
        let under_way = order.begin(1, origin(7));
        let elsewhere = order.begin(1, origin(7));
        drop(under_way);
        assert!(!is_due(&order, 8));
        assert!(is_due(&order, 7), "it came back");
        drop(elsewhere);
        assert!(is_due(&order, 8));
    }

    /// A client goes to a gateway that was there before the one that it leaves, and takes up there what
    /// it had begun.
    #[test]
    fn what_a_publisher_has_begun_elsewhere_is_before_what_it_sends_here() {
        let (here, elsewhere) = (3, 9);
        let of = |source, id| Origin { source, id };
        let mut waiting = [
            (1, of(here, 20)),
            (1, of(elsewhere, 31)),
            (2, of(here, 7)),
            (1, of(here, 19)),
            (1, of(elsewhere, 30)),
        ];
        waiting.sort_by_key(|(publisher, origin)| place(here, *publisher, *origin));
        let order = waiting.map(|(_, origin)| origin.id);
        assert_eq!(order, [30, 31, 19, 20, 7]);
        let (waits, mut first) = (Order::default(), HashMap::default());
        let is_due = waiting.map(|(publisher, origin)| {
            waits.is_due(&mut first, Standing::Unknown, publisher, origin)
        });
        assert_eq!(is_due, [true, false, false, false, true]);
    }

    fn origin(id: u64) -> Origin {
        Origin { source: 3, id }
    }
}
