//! The messages that a session has had lately, by which a repeat is known.
//!
//! A message that is routed again, because its subscriber moved or the gateway that routed it is
//! gone, may reach a session twice. Those of QoS 2 are stored with the session, as far back as
//! [`EXACT`], so whoever owns it next knows them; those of QoS 1 are told from gateway to gateway
//! where both are there. Pure.

use super::given_back::{GivenBack, Standing};
use super::received::Origin;
use crate::proto::mqtt::Qos;

/// How many of QoS 2 are remembered: what a subscriber gets from all publishers between the first
/// try of a message and the next one. 16 KiB for a session that has had so many.
pub(crate) const EXACT: u64 = 2_048;
/// Where a queue's numbers go on that would be at `next`, and must be at `least` some other: where their
/// places in the ring that is stored go on, too, or the newest would be forgotten there.
pub(crate) fn go_on(next: u64, least: u64) -> u64 {
    next + least.saturating_sub(next).next_multiple_of(EXACT)
}

/// How many of QoS 1 are remembered: what may be on its way when a session moves.
const LOOSE: usize = 256;

/// Messages, by a hash of who routed them first and of their number there.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// On their way into the session's queue, and not safe there yet.
    pending: Vec<u64>,
    exact: Ring,
    loose: Ring,
    /// `None` almost always.
    given_back: Option<Box<GivenBack>>,
}

/// The last of some numbers. To look through them is quicker than it is to keep an index.
#[derive(Debug, Default)]
struct Ring {
    known: Vec<u64>,
    next: usize,
}

// === impl Recent ===

impl Recent {
    /// Those of QoS 2 that were stored, the oldest first.
    pub(crate) fn restored(exact: Vec<u64>) -> Self {
        let mut recent = Self::default();
        for message in exact {
            recent.note(message, Qos::ExactlyOnce);
        }
        recent
    }

    /// Notes a message that is on its way into the session's queue.
    pub(crate) fn expect(&mut self, message: u64) {
        self.pending.push(message);
    }

    /// Notes a message that the session has got, published at this QoS.
    pub(crate) fn note(&mut self, message: u64, qos: Qos) {
        // Almost always the first.
        if let Some(at) = self.pending.iter().position(|known| *known == message) {
            self.pending.remove(at);
        }
        match qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => self.loose.push(message, LOOSE),
            Qos::ExactlyOnce => self.exact.push(message, EXACT as usize),
        }
    }

    /// Notes a message that is given back because its source did not know of the session. `is_known`
    /// says which messages this node knows to have come before.
    pub(crate) fn give_back(
        &mut self,
        origin: Origin,
        publisher: u64,
        is_known: impl Fn(Origin) -> bool,
    ) {
        let given_back = self.given_back.get_or_insert_default();
        given_back.tidy(is_known);
        given_back.note(origin, publisher);
    }

    /// Where a message stands among those that were given back; `is_known` as with
    /// [`Self::give_back`].
    pub(crate) fn stand(
        &mut self,
        origin: Origin,
        publisher: u64,
        is_known: impl Fn(Origin) -> bool,
    ) -> Standing {
        let Some(given_back) = &mut self.given_back else {
            return Standing::Free;
        };
        given_back.tidy(is_known);
        let standing = given_back.stand(origin, publisher);
        if given_back.is_empty() {
            self.given_back = None;
        }
        standing
    }

    /// Whether it is on its way into the queue. Should it not get there, it is routed again for its
    /// own sake.
    pub(crate) fn expects(&self, message: u64) -> bool {
        self.pending.contains(&message)
    }

    /// Whether it was noted, and not too long ago. That may have been at another QoS than the one
    /// at which it comes now: of overlapping subscriptions not all may have been found.
    pub(crate) fn has(&self, message: u64, qos: Qos) -> bool {
        let is_in = |ring: &Ring| ring.known.contains(&message);
        qos > Qos::AtMostOnce && (is_in(&self.loose) || is_in(&self.exact))
    }

    /// Those of QoS 1, the oldest first.
    pub(crate) fn loose(&self) -> Vec<u64> {
        let (newest, oldest) = self.loose.known.split_at(self.loose.next);
        [oldest, newest].concat()
    }
}

// === impl Ring ===

impl Ring {
    fn push(&mut self, number: u64, most: usize) {
        if self.known.len() < most {
            self.known.push(number);
            return;
        }
        self.known[self.next] = number;
        self.next = (self.next + 1) % most;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_of_each_qos_are_remembered() {
        let mut recent = Recent::default();
        for message in 1..=5_000 {
            recent.note(message, Qos::ExactlyOnce);
            recent.note(10_000 + message, Qos::AtLeastOnce);
        }
        let has = |message, qos| recent.has(message, qos);
        assert!(!has(2_952, Qos::ExactlyOnce) && has(2_953, Qos::ExactlyOnce));
        assert!(!has(14_744, Qos::AtLeastOnce) && has(14_745, Qos::AtLeastOnce));
        assert!(has(5_000, Qos::ExactlyOnce) && !has(5_000, Qos::AtMostOnce));
        let loose = recent.loose();
        assert!(loose.is_sorted() && loose.len() == LOOSE);
    }

    #[test]
    fn what_is_on_its_way_is_known_here_and_told_to_nobody() {
        let mut recent = Recent::default();
        recent.expect(7);
        assert!(recent.expects(7) && !recent.has(7, Qos::AtLeastOnce));
        recent.note(7, Qos::AtLeastOnce);
        assert!(recent.has(7, Qos::AtLeastOnce) && !recent.expects(7));
        assert_eq!(recent.loose(), [7]);
    }

    #[test]
    fn numbers_go_on_at_the_same_place_of_the_ring() {
        for (next, least, expected) in [(7, 0, 7), (7, 7, 7), (7, 8, 2_055), (7, 2_056, 4_103)] {
            assert_eq!(go_on(next, least), expected);
        }
    }

    #[test]
    fn what_was_stored_is_known() {
        let recent = Recent::restored(vec![3, 4]);
        assert!(recent.has(4, Qos::ExactlyOnce) && !recent.has(5, Qos::ExactlyOnce));
    }

    #[test]
    fn what_came_at_one_qos_is_known_at_the_other() {
        let mut recent = Recent::restored(vec![3]);
        recent.note(4, Qos::AtLeastOnce);
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            assert!(recent.has(3, qos) && recent.has(4, qos) && !recent.has(5, qos));
        }
        assert!(!recent.has(3, Qos::AtMostOnce) && !recent.has(4, Qos::AtMostOnce));
    }
}
