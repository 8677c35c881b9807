//! The messages of QoS 1 and 2 that a session has had lately, by which a repeat is known.
//!
//! A message that is routed again because its subscriber moved may reach it twice: once where it
//! was and once where it is. What the session has had goes with it from gateway to gateway. Pure.

use std::collections::{HashSet, VecDeque};

use foldhash::fast::RandomState;

/// How many are remembered: what may be on its way again when a session moves.
const REMEMBERED: usize = 512;

/// Messages, by a hash of who sent them and of their number there.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    known: HashSet<u64, RandomState>,
    order: VecDeque<u64>,
}

impl Recent {
    /// Notes a message.
    pub(crate) fn note(&mut self, message: u64) {
        if !self.known.insert(message) {
            return;
        }
        self.order.push_back(message);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Whether it was noted, and not too long ago.
    pub(crate) fn has(&self, message: u64) -> bool {
        self.known.contains(&message)
    }

    /// All of them, the oldest first.
    pub(crate) fn all(&self) -> Vec<u64> {
        self.order.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered() {
        let mut recent = Recent::default();
        for message in 0..2_000 {
            recent.note(message);
            recent.note(message);
        }
        assert!(!recent.has(1_487) && recent.has(1_488) && recent.has(1_999));
        assert_eq!(recent.all().len(), 512);
    }
}
