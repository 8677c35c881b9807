//! Picks the member of a `$share` group that gets a message.
//!
//! A strategy says with whom to begin; whoever delivers goes on around the group from there
//! when a member refuses, so that a message finds any member that takes it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How a group picks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Each member in turn.
    #[default]
    RoundRobin,
    /// Any member, by the random number that the caller gives.
    Random,
    /// The same member until it refuses.
    Sticky,
    /// By a hash of the publisher's client identifier.
    HashClient,
    /// By a hash of the topic.
    HashTopic,
}

/// What a strategy may look at.
#[derive(Clone, Copy, Debug)]
pub struct Hints {
    /// A hash of the publisher's client identifier.
    pub client: u64,
    /// A hash of the topic.
    pub topic: u64,
    /// A random number.
    pub random: u64,
}

impl Strategy {
    /// The index to begin with in a group of `size` members, which must not be 0.
    pub fn start(self, size: usize, cursor: &AtomicUsize, hints: impl FnOnce() -> Hints) -> usize {
        match self {
            Self::RoundRobin => cursor.fetch_add(1, Ordering::Relaxed) % size,
            Self::Sticky => cursor.load(Ordering::Relaxed) % size,
            Self::Random => (hints().random % size as u64) as usize,
            Self::HashClient => (hints().client % size as u64) as usize,
            Self::HashTopic => (hints().topic % size as u64) as usize,
        }
    }

    /// Notes who took the message, so that a sticky group stays with it.
    pub fn settle(self, taken_by: usize, cursor: &AtomicUsize) {
        if self == Self::Sticky {
            cursor.store(taken_by, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(strategy: Strategy, hints: Hints) -> Vec<usize> {
        let cursor = AtomicUsize::new(0);
        (0..6)
            .map(|_| strategy.start(3, &cursor, || hints))
            .collect()
    }

    #[test]
    fn each_strategy_begins_where_it_says() {
        let hints = Hints {
            client: 7,
            topic: 8,
            random: 9,
        };
        assert_eq!(starts(Strategy::RoundRobin, hints), [0, 1, 2, 0, 1, 2]);
        assert_eq!(starts(Strategy::Sticky, hints), [0; 6]);
        assert_eq!(starts(Strategy::HashClient, hints), [1; 6]);
        assert_eq!(starts(Strategy::HashTopic, hints), [2; 6]);
        assert_eq!(starts(Strategy::Random, hints), [0; 6]);
    }

    #[test]
    fn a_sticky_group_moves_on_only_after_a_refusal() {
        let cursor = AtomicUsize::new(0);
        let hints = || Hints {
            client: 0,
            topic: 0,
            random: 0,
        };
        Strategy::Sticky.settle(2, &cursor);
        assert_eq!(Strategy::Sticky.start(3, &cursor, hints), 2);
        assert_eq!(
            Strategy::Sticky.start(2, &cursor, hints),
            0,
            "a member left"
        );
    }
}
