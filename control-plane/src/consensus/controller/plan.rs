//! What the leader does next about the membership. Pure.
//!
//! The replicated state says who is a node of the control plane; the membership of Raft follows
//! it, one step at a time. Voters are only ever added to the next odd number, up to the declared
//! size, and taken away only because somebody dismissed them.
//!
//! A node that has moved is moved in place: it votes all the while. Nobody can be mistaken for it,
//! since every call names the number that it is for, and whoever has another refuses.

use std::collections::{BTreeMap, BTreeSet};

use crate::consensus::raft::Node;

/// What the leader knows.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// The leader itself.
    pub(super) own: u64,
    /// Nodes of the control plane by the replicated state.
    pub(super) control: BTreeSet<u64>,
    /// The sets of voters in force: two while a change is under way.
    pub(super) voters: Vec<BTreeSet<u64>>,
    /// All nodes of the membership.
    pub(super) nodes: BTreeMap<u64, Node>,
    /// Nodes that have said that they have their number, and where they are.
    pub(super) announced: BTreeMap<u64, Node>,
    /// Learners that have the whole log and have been well for a while.
    pub(super) ready: BTreeSet<u64>,
    /// Other voters that answer; only looked at while a voter has to leave.
    pub(super) answering: BTreeSet<u64>,
    /// How many voters there are meant to be.
    pub(super) control_size: usize,
}

/// One change of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Completes a change that was left half done.
    Finish(BTreeSet<u64>),
    /// Takes a voter out of the membership.
    RemoveVoter(u64),
    /// Takes a learner out of the membership.
    RemoveLearner(u64),
    /// Takes a node in, as a learner.
    AddLearner(u64, Node),
    /// A node is somewhere else than it was.
    Move(u64, Node),
    /// Makes learners voters.
    Promote(BTreeSet<u64>),
}

impl View {
    /// The next step; `None` if all is as it should be.
    pub(super) fn next_step(&self) -> Option<Step> {
        if self.voters.len() > 1 {
            return self.voters.last().cloned().map(Step::Finish);
        }
        let voters = self.voters.first()?;
        // A leader that has taken itself out only waits for the next one.
        if !voters.contains(&self.own) {
            return None;
        }
        self.leave(voters)
            .or_else(|| self.move_on())
            .or_else(|| self.enter())
            .or_else(|| self.promote(voters))
    }

    /// A node has to leave the membership, for good.
    fn leave(&self, voters: &BTreeSet<u64>) -> Option<Step> {
        self.leaving().find_map(|leaving| {
            if !voters.contains(&leaving) {
                return Some(Step::RemoveLearner(leaving));
            }
            // Somebody has to be left; one that is not spared now goes when others are back.
            let is_spared = voters.len() > 1 && self.is_quorum_without(leaving, voters);
            is_spared.then_some(Step::RemoveVoter(leaving))
        })
    }

    fn move_on(&self) -> Option<Step> {
        let mut announced = self.announced.iter();
        let (number, node) = announced.find(|(number, node)| {
            let known = self.nodes.get(number);
            !self.is_dismissed(**number) && known.is_some_and(|known| known != *node)
        })?;
        Some(Step::Move(*number, node.clone()))
    }

    /// Whether a voter has to leave: then it matters who answers.
    pub(super) fn has_leaving_voter(&self) -> bool {
        let voters = self.voters.first();
        self.leaving()
            .any(|leaving| voters.is_some_and(|voters| voters.contains(&leaving)))
    }

    /// Nodes that have to leave, the leader last.
    fn leaving(&self) -> impl Iterator<Item = u64> {
        let others = self.nodes.keys().filter(|number| **number != self.own);
        others
            .chain([&self.own])
            .copied()
            .filter(|number| self.nodes.contains_key(number))
            .filter(|number| self.is_dismissed(*number))
    }

    /// Whether enough of the other voters answer to agree on anything without this one.
    fn is_quorum_without(&self, number: u64, voters: &BTreeSet<u64>) -> bool {
        let rest = voters.iter().filter(|voter| **voter != number);
        let well = rest.filter(|voter| **voter == self.own || self.answering.contains(voter));
        well.count() > (voters.len() - 1) / 2
    }

    fn enter(&self) -> Option<Step> {
        let mut announced = self.announced.iter();
        let (number, node) = announced.find(|(number, _)| {
            self.control.contains(number) && !self.nodes.contains_key(number)
        })?;
        Some(Step::AddLearner(*number, node.clone()))
    }

    fn promote(&self, voters: &BTreeSet<u64>) -> Option<Step> {
        // From 2, where one was taken away, to 3; from 1 to 3; from 3 to 5.
        let next_size = (voters.len() + 1) | 1;
        if next_size > self.control_size {
            return None;
        }
        let ready = self
            .ready
            .iter()
            .filter(|number| self.nodes.contains_key(number) && !voters.contains(number));
        let chosen: BTreeSet<_> = ready.take(next_size - voters.len()).copied().collect();
        let is_enough = voters.len() + chosen.len() == next_size;
        is_enough.then_some(Step::Promote(chosen))
    }

    fn is_dismissed(&self, number: u64) -> bool {
        !self.control.contains(&number)
    }
}

#[cfg(test)]
mod tests;
