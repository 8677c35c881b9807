//! Whether this node does its part: it has heard of a leader lately, and votes if it is one of those
//! that are to vote. Who starts nodes one after the other waits for that, so that there is always a
//! quorum.

use std::collections::BTreeSet;

use gatemq_node::admin::Hindrance;

use super::Consensus;

impl Consensus {
    /// What keeps this node from its part, if anything does.
    #[must_use]
    pub fn hindrance(&self) -> Option<Hindrance> {
        let (leader, voters) = {
            let metrics = self.inner.raft.metrics();
            let metrics = metrics.borrow();
            let membership = metrics.membership_config.membership();
            let leader = metrics.current_leader;
            (leader, membership.voter_ids().collect::<BTreeSet<_>>())
        };
        if leader.filter(|leader| self.is_heard_of(*leader)).is_none() {
            let silent: Vec<_> = self.inner.silence.all().into_keys().collect();
            return Some(named("quorum", without_leader(&silent)));
        }
        let (n_nodes, size) = self.with_state(|state| {
            let size = usize::try_from(state.control_size()).unwrap_or(usize::MAX);
            (state.control_nodes().count(), size)
        });
        let not_voting = not_voting(self.number(), &voters, n_nodes, size);
        not_voting.map(|reason| named("voter", reason))
    }

    /// Whether a node leads as far as this one can tell: what is on disk says only who once did.
    pub(super) fn is_heard_of(&self, leader: u64) -> bool {
        let patience = self.inner.config.election.end * 2;
        match leader == self.number() {
            true => self.quorum_age().is_some_and(|age| age <= patience),
            false => self.inner.heard.is_within(patience),
        }
    }
}

fn named(state: &'static str, reason: String) -> Hindrance {
    Hindrance {
        state,
        reason,
        is_ready: false,
    }
}

fn without_leader(silent: &[u64]) -> String {
    let why = "no leader of the control plane is known";
    match silent {
        [] => format!("{why}: there is none, or it does not reach this node"),
        silent => {
            let numbers: Vec<_> = silent.iter().map(ToString::to_string).collect();
            format!("{why}: number {} does not answer", numbers.join(", "))
        }
    }
}

/// Whether a node does not vote although there are fewer voters than there could be. Where there are
/// enough of them it is a spare one; and a step to the next odd number waits for nodes that are not
/// known yet, which may themselves wait for this one to be ready.
fn not_voting(number: u64, voters: &BTreeSet<u64>, n_nodes: usize, size: usize) -> Option<String> {
    let n_possible = n_nodes.min(size);
    let n_meant = n_possible - usize::from(n_possible.is_multiple_of(2) && n_possible > 0);
    let is_missed = !voters.contains(&number) && voters.len() < n_meant;
    is_missed.then(|| {
        let n_voters = voters.len();
        format!("this node is no voter yet: {n_voters} of {n_meant} vote")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(voters: &[u64], n_nodes: usize, size: usize, is_missed: bool) {
        let voters = voters.iter().copied().collect();
        let hindrance = not_voting(9, &voters, n_nodes, size);
        assert_eq!(hindrance.is_some(), is_missed, "{hindrance:?}");
    }

    #[test]
    fn who_could_vote_and_does_not_is_missed() {
        check(&[1, 2, 9], 3, 3, false);
        check(&[1, 2], 3, 3, true);
        check(&[1], 3, 3, true);
        check(&[1, 2, 3, 4], 5, 5, true);
        check(&[], 1, 1, true);
    }

    #[test]
    fn who_is_to_spare_or_waits_for_others_is_not() {
        check(&[1, 2, 3], 4, 3, false);
        check(&[1], 2, 3, false);
        check(&[1, 2, 3], 4, 5, false);
        check(&[1], 2, 1, false);
        check(&[], 0, 3, false);
    }

    #[test]
    fn it_is_said_who_does_not_answer() {
        assert!(without_leader(&[]).contains("does not reach"));
        assert!(without_leader(&[3, 4]).ends_with("number 3, 4 does not answer"));
    }
}
