//! What is on its way to another broker, by packet identifier. Pure.
//!
//! rumqttc takes an identifier for free when PUBREC has come, and may give it to the next publish
//! before PUBCOMP: in that time two messages have it. The other broker frees it at PUBREL, which it
//! gets before that publish `[MQTT-4.3.3-9]`, so it does not mix them up.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Messages of QoS 1 and 2 that were sent, and for which `K` stands.
#[derive(Debug)]
pub(super) struct UnderWay<K> {
    /// Those that are answered by PUBACK or PUBREC.
    sent: HashMap<u16, K>,
    /// Those that are answered by PUBCOMP.
    received: HashMap<u16, K>,
    /// All of them, in the order in which they were sent.
    order: VecDeque<K>,
}

impl<K: Copy + Eq + Hash> UnderWay<K> {
    pub(super) fn new() -> Self {
        Self {
            sent: HashMap::new(),
            received: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// One was sent under this identifier.
    pub(super) fn on_sent(&mut self, id: u16, key: K) {
        self.sent.insert(id, key);
        self.order.push_back(key);
    }

    /// PUBREC has come, and says yes.
    pub(super) fn on_received(&mut self, id: u16) {
        if let Some(key) = self.sent.remove(&id) {
            self.received.insert(id, key);
        }
    }

    /// PUBACK has come, or a PUBREC that says no: what it is for.
    pub(super) fn on_answered(&mut self, id: u16) -> Option<K> {
        let key = self.sent.remove(&id);
        self.strike(key)
    }

    /// PUBCOMP has come: what it is for.
    pub(super) fn on_completed(&mut self, id: u16) -> Option<K> {
        let key = self.received.remove(&id);
        self.strike(key)
    }

    /// The first that is not answered, and whether it is the only one.
    pub(super) fn first(&self) -> Option<(K, bool)> {
        let first = self.order.front()?;
        Some((*first, self.order.len() == 1))
    }

    fn strike(&mut self, key: Option<K>) -> Option<K> {
        let at = self.order.iter().position(|other| Some(*other) == key)?;
        self.order.remove(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_messages_that_have_one_identifier_are_told_apart() {
        let mut under_way = UnderWay::new();
        under_way.on_sent(1, "old");
        under_way.on_sent(2, "other");
        under_way.on_received(1);
        assert_eq!(under_way.on_answered(2), Some("other"));
        assert_eq!(under_way.first(), Some(("old", true)));
        under_way.on_sent(1, "new");
        assert_eq!(under_way.first(), Some(("old", false)));
        assert_eq!(under_way.on_completed(1), Some("old"));
        assert_eq!(under_way.on_completed(1), None, "PUBREC has not come");
        under_way.on_received(1);
        assert_eq!(under_way.on_completed(1), Some("new"));
        assert_eq!(under_way.first(), None);
    }

    #[test]
    fn what_is_refused_or_unknown_is_no_more() {
        let mut under_way = UnderWay::new();
        under_way.on_sent(7, 1);
        assert_eq!(under_way.on_answered(7), Some(1));
        under_way.on_received(7);
        assert_eq!(under_way.on_completed(7), None);
        assert_eq!(under_way.on_answered(8), None);
        assert_eq!(under_way.first(), None);
    }
}
