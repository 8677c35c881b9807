//! Picks the member of a `$share` group that gets a message.
//!
//! A strategy says with whom to begin; whoever delivers goes on around the group from there
//! when a member refuses, so that a message finds any member that takes it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::members::Members;

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
    /// The index to begin with in a group, which must not be empty. The cursor counts the turns,
    /// or has the number of the member that a sticky group stays with.
    pub fn start<V>(
        self,
        members: &Members<V>,
        cursor: &AtomicU64,
        hints: impl FnOnce() -> Hints,
    ) -> usize {
        let size = members.len() as u64;
        let number = match self {
            Self::RoundRobin => cursor.fetch_add(1, Ordering::Relaxed),
            // Members move when others leave; one that has left itself is followed by the first.
            Self::Sticky => {
                return members
                    .position(cursor.load(Ordering::Relaxed))
                    .unwrap_or(0);
            }
            Self::Random => hints().random,
            Self::HashClient => hints().client,
            Self::HashTopic => hints().topic,
        };
        (number % size) as usize
    }

    /// Notes which member took the message, so that a sticky group stays with it.
    pub fn settle(self, taken_by: u64, cursor: &AtomicU64) {
        if self == Self::Sticky {
            cursor.store(taken_by, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(keys: &[u64]) -> Members<()> {
        let mut members = Members::default();
        for key in keys {
            members.insert(*key, ());
        }
        members
    }

    fn hints() -> Hints {
        Hints {
            client: 7,
            topic: 8,
            random: 9,
        }
    }

    fn starts(strategy: Strategy) -> Vec<usize> {
        let (members, cursor) = (group(&[10, 11, 12]), AtomicU64::new(0));
        (0..6)
            .map(|_| strategy.start(&members, &cursor, hints))
            .collect()
    }

    #[test]
    fn each_strategy_begins_where_it_says() {
        assert_eq!(starts(Strategy::RoundRobin), [0, 1, 2, 0, 1, 2]);
        assert_eq!(starts(Strategy::Sticky), [0; 6]);
        assert_eq!(starts(Strategy::HashClient), [1; 6]);
        assert_eq!(starts(Strategy::HashTopic), [2; 6]);
        assert_eq!(starts(Strategy::Random), [0; 6]);
    }

    #[test]
    fn a_sticky_group_stays_with_its_member_whoever_else_leaves() {
        let (mut members, cursor) = (group(&[10, 11, 12]), AtomicU64::new(0));
        let start = |members: &Members<()>| {
            let at = Strategy::Sticky.start(members, &cursor, hints);
            members.as_slice()[at].key
        };
        Strategy::Sticky.settle(12, &cursor);
        assert_eq!(start(&members), 12);
        members.remove(11);
        assert_eq!(start(&members), 12, "another one left");
        members.remove(12);
        assert_eq!(start(&members), 10, "it left itself");
    }
}
