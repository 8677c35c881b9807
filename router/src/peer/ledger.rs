//! Which messages of one stream are done, on the side that they come to. Pure.
//!
//! Messages are settled in any order; the source is told a number up to which all are, and, where
//! one may keep many others for long, of those as well. It does not wait for those of QoS 0, so they
//! have no place here, and no reply is sent for them.

use std::collections::VecDeque;

use gatemq_proto::cluster::peer::{ForwardReply, Refusal};

use super::receipt::Verdict;

/// The open messages of a stream, and what the source is still to be told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Numbers of messages of QoS 1 and 2 in order, and whether each is done. The first is not.
    open: VecDeque<(u64, bool)>,
    /// The last number that came.
    last: u64,
    /// All messages of QoS 1 and 2 up to this one, which is one of them, are done.
    done: u64,
    /// Refusals that the source has not been told of.
    refusals: VecDeque<Refusal>,
    /// What the source was told last.
    told: u64,
    /// Whether the source is told of those behind one that is open.
    tells_early: bool,
    /// Such ones that were accepted, and that it has not been told of.
    early: Vec<u64>,
    /// How many of the open ones are done.
    n_behind: usize,
}

/// What a source may not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// Numbers have to be consecutive.
    #[error("message {found} where {expected} was to come")]
    Gap {
        /// What came.
        found: u64,
        /// What was to come.
        expected: u64,
    },
    /// It sends far more than any credit.
    #[error("more than {MOST_OPEN} messages unanswered")]
    TooMany,
}

/// Far above any credit that a source may have been given.
const MOST_OPEN: usize = 1 << 20;
/// How much one reply tells of refusals, in messages and in groups.
const REFUSALS_OF_REPLY: usize = 1024;
/// How many one reply tells of that are behind one that is open.
const EARLY_OF_REPLY: usize = 4096;
/// How many done ones may stay among the open ones before it is looked whether they are too many.
const FEW: usize = 16;

// === impl Ledger ===

impl Ledger {
    /// One that tells of what is done in whichever order it is.
    pub(super) fn telling_early() -> Self {
        Self {
            tells_early: true,
            ..Self::default()
        }
    }

    /// Enters the messages of a batch; of each whether it is to be answered.
    ///
    /// # Errors
    ///
    /// If the source is not to be trusted any more; nothing is entered then.
    pub(super) fn enter(
        &mut self,
        first: u64,
        is_answered: impl Iterator<Item = bool>,
    ) -> Result<(), Violation> {
        let expected = self.last + 1;
        if first != expected {
            let found = first;
            return Err(Violation::Gap { found, expected });
        }
        if self.open.len() > MOST_OPEN {
            return Err(Violation::TooMany);
        }
        for is_answered in is_answered {
            self.last += 1;
            if is_answered {
                self.open.push_back((self.last, false));
            }
        }
        Ok(())
    }

    /// A message is done. Of one that is not open it changes nothing.
    pub(super) fn settle(&mut self, number: u64, verdict: Verdict) {
        // Numbers are sorted and differ, so it is no further back than its distance to the first.
        let Some(&(first, _)) = self.open.front() else {
            return;
        };
        let Some(distance) = number.checked_sub(first) else {
            return;
        };
        let index = match distance {
            0 => 0,
            _ => {
                let end = usize::try_from(distance).unwrap_or(usize::MAX);
                self.find(number, end.saturating_add(1).min(self.open.len()))
            }
        };
        match self.open.get_mut(index) {
            Some((found, is_done)) if *found == number && !*is_done => *is_done = true,
            _ => return,
        }
        self.n_behind += 1;
        let refusal = verdict.into_refusal(number);
        if self.tells_early && index > 0 && refusal.is_none() {
            self.early.push(number);
        }
        self.refusals.extend(refusal);
        while let Some(&(number, true)) = self.open.front() {
            self.done = number;
            self.n_behind -= 1;
            self.open.pop_front();
        }
        if self.tells_early && self.n_behind > FEW.max(self.open.len() / 2) {
            // The source knows of them by themselves.
            self.open.retain(|(_, is_done)| !is_done);
            self.n_behind = 0;
        }
    }

    /// What the source is to be told now, if it is anything new.
    pub(super) fn take_reply(&mut self) -> Option<ForwardReply> {
        let mut n_left = REFUSALS_OF_REPLY;
        let mut refusals = Vec::new();
        while let Some(refusal) = self.refusals.front() {
            let weight = 1 + refusal.picks.len();
            if weight > n_left && !refusals.is_empty() {
                break;
            }
            n_left = n_left.saturating_sub(weight);
            refusals.extend(self.refusals.pop_front());
        }
        // No further than before what it has not been told was refused.
        let held = self.refusals.iter().map(|refusal| refusal.number - 1).min();
        let through = held.unwrap_or(u64::MAX).min(self.done).max(self.told);
        self.early.retain(|number| *number > through);
        let n_left = self.early.len().saturating_sub(EARLY_OF_REPLY);
        let early = self.early.split_off(n_left);
        if refusals.is_empty() && early.is_empty() && through == self.told {
            return None;
        }
        self.told = through;
        Some(ForwardReply {
            through,
            refusals,
            early,
        })
    }

    /// Whether [`Ledger::take_reply`] has something.
    pub(super) fn has_news(&self) -> bool {
        !self.refusals.is_empty() || !self.early.is_empty() || self.done > self.told
    }

    /// How many messages are open.
    pub(super) fn n_open(&self) -> usize {
        self.open.len()
    }

    /// Where the first number at or above one is, among the first so many.
    fn find(&self, number: u64, mut end: usize) -> usize {
        let mut start = 0;
        while start < end {
            let middle = start + (end - start) / 2;
            if self.open[middle].0 < number {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(qos: &[bool]) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.enter(1, qos.iter().copied()).unwrap();
        ledger
    }

    fn told(ledger: &mut Ledger) -> Option<u64> {
        ledger.take_reply().map(|reply| reply.through)
    }

    #[test]
    fn the_source_is_told_up_to_the_first_open_one() {
        let mut ledger = entered(&[true; 5]);
        assert_eq!(told(&mut ledger), None);
        ledger.settle(2, Verdict::Accepted);
        assert!(!ledger.has_news());
        ledger.settle(1, Verdict::Accepted);
        assert!(ledger.has_news());
        assert_eq!(told(&mut ledger), Some(2));
        assert_eq!(told(&mut ledger), None);
        for number in [5, 4, 3] {
            ledger.settle(number, Verdict::Accepted);
        }
        assert_eq!(told(&mut ledger), Some(5));
    }

    #[test]
    fn qos_0_is_not_answered() {
        let mut ledger = entered(&[false, false, true, false]);
        ledger.settle(4, Verdict::Accepted);
        assert_eq!(told(&mut ledger), None);
        ledger.settle(3, Verdict::Accepted);
        assert_eq!(told(&mut ledger), Some(3));
        ledger.enter(5, [true, false, true].into_iter()).unwrap();
        ledger.settle(6, Verdict::Accepted);
        ledger.settle(5, Verdict::Accepted);
        assert_eq!(told(&mut ledger), Some(5));
        ledger.settle(7, Verdict::Accepted);
        assert_eq!(told(&mut ledger), Some(7));
    }

    #[test]
    fn only_the_first_verdict_counts_and_unknown_numbers_none() {
        let mut ledger = entered(&[true, true]);
        for number in [0, 3, u64::MAX] {
            ledger.settle(number, Verdict::Moved);
        }
        ledger.settle(2, Verdict::Moved);
        ledger.settle(2, Verdict::Moved);
        let reply = ledger.take_reply().unwrap();
        assert_eq!((reply.through, reply.refusals.len()), (0, 1));
        assert!(reply.refusals[0].is_moved && reply.refusals[0].number == 2);
        assert_eq!(ledger.n_open(), 2);
    }

    #[test]
    fn many_refusals_go_in_several_replies_and_none_is_passed_over() {
        let n = 3000;
        let mut ledger = entered(&vec![true; n]);
        for number in (1..=n as u64).rev() {
            ledger.settle(number, Verdict::Moved);
        }
        let mut known = vec![];
        while let Some(reply) = ledger.take_reply() {
            assert!(reply.refusals.len() <= REFUSALS_OF_REPLY);
            known.extend(reply.refusals.iter().map(|refusal| refusal.number));
            known.sort_unstable();
            let through = reply.through as usize;
            assert!((1..=through as u64).all(|n| known.binary_search(&n).is_ok()));
        }
        assert_eq!(known.len(), n);
        assert_eq!(ledger.told, n as u64);
    }

    #[test]
    fn one_that_stays_open_keeps_no_others_where_they_are_told_of_early() {
        let mut ledger = Ledger::telling_early();
        let n = 10 * FEW as u64;
        ledger.enter(1, (0..n).map(|_| true)).unwrap();
        ledger.settle(1, Verdict::Accepted);
        ledger.settle(3, Verdict::Accepted);
        ledger.settle(4, Verdict::Moved);
        let reply = ledger.take_reply().unwrap();
        assert_eq!((reply.through, reply.early), (1, vec![3]));
        assert_eq!(reply.refusals.len(), 1);
        assert!(!ledger.has_news());
        let mut early = Vec::new();
        for number in 5..=n {
            ledger.settle(number, Verdict::Accepted);
            if number % 7 == 0 {
                early.extend(ledger.take_reply().unwrap().early);
            }
        }
        while let Some(reply) = ledger.take_reply() {
            assert_eq!(reply.through, 1);
            early.extend(reply.early);
        }
        early.sort_unstable();
        assert_eq!(early, Vec::from_iter(5..=n));
        assert!(ledger.n_open() <= 2 * FEW, "what is done takes no room");
        ledger.settle(2, Verdict::Accepted);
        let reply = ledger.take_reply().unwrap();
        assert!(reply.through >= 2 && reply.early.is_empty());
        assert_eq!(ledger.n_open(), 0);
        // What follows is told of as ever.
        ledger.enter(n + 1, [true].into_iter()).unwrap();
        ledger.settle(n + 1, Verdict::Accepted);
        assert_eq!(told(&mut ledger), Some(n + 1));
    }

    #[test]
    fn numbers_are_consecutive() {
        let mut ledger = entered(&[true, false]);
        let gap = Violation::Gap {
            found: 4,
            expected: 3,
        };
        assert_eq!(ledger.enter(4, [true].into_iter()), Err(gap));
        let found = u64::MAX;
        let gap = Violation::Gap { found, expected: 3 };
        assert_eq!(ledger.enter(found, [true; 2].into_iter()), Err(gap));
        assert_eq!(ledger.enter(3, [true].into_iter()), Ok(()));
    }
}
