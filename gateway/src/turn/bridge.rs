//! Messages for bridges: each goes to one of them, by its topic, so that those of a topic keep their
//! order on the way; and none is acknowledged while there is nobody to take it.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use gatemq_router::GroupNode;

use crate::proto::mqtt::Reason;

/// What a publisher is told of a message that no bridge has taken in time.
pub(crate) const NO_BRIDGE: Reason = Reason::UnspecifiedError;

/// The bridge for a topic, of those that are there and come into question: all gateways choose alike,
/// and when one comes or goes only its own topics have another (rendezvous hashing: Thaler and
/// Ravishankar, 1998).
pub(super) fn pick(
    nodes: &[GroupNode],
    topic: &str,
    is_eligible: impl Fn(u64) -> bool,
) -> Option<u64> {
    let weight = |node: u64| FixedState::with_seed(0x6272_6964).hash_one((topic, node));
    let nodes = nodes.iter().filter(|node| node.n_online > 0);
    let nodes = nodes.map(|node| node.node).filter(|it| is_eligible(*it));
    nodes.max_by_key(|node| (weight(*node), *node))
}

/// Whether a node is among them, and takes messages.
pub(super) fn is_there(nodes: &[GroupNode], node: u64) -> bool {
    let mut nodes = nodes.iter();
    nodes.any(|known| known.node == node && known.n_online > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn nodes(there: &[u64]) -> Vec<GroupNode> {
        let nodes = there.iter().map(|node| GroupNode {
            node: *node,
            n_online: 1,
            n_offline: 0,
        });
        nodes.collect()
    }

    #[test]
    fn topics_are_spread_and_stay_where_they_are_when_another_bridge_comes_or_goes() {
        let (two, three) = (nodes(&[7, 9]), nodes(&[9, 12, 7]));
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for n in 0..3_000 {
            let topic = format!("a/{n}");
            let [before, after] = [&two, &three].map(|nodes| pick(nodes, &topic, |_| true));
            let after = after.expect("a bridge");
            assert!(Some(after) == before || after == 12);
            *counts.entry(after).or_default() += 1;
        }
        assert_eq!(counts.len(), 3);
        assert!(
            counts.values().all(|n| (800..1_200).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn one_that_is_gone_or_was_tried_is_not_chosen() {
        let mut all = nodes(&[7, 9]);
        all[0].n_online = 0;
        assert_eq!(pick(&all, "t", |_| true), Some(9));
        assert_eq!(pick(&all, "t", |node| node != 9), None);
        assert_eq!(pick(&[], "t", |_| true), None);
        assert!(is_there(&all, 9) && !is_there(&all, 7) && !is_there(&all, 8));
    }
}
