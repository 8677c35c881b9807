//! Which member of a group has had a message of QoS 2 that may have been routed before: asked of all
//! nodes before another member gets it.
//!
//! Whoever routed it then has chosen a member on some node, and is gone, or the node was before it
//! answered. So each node with members of the group is asked in turn, with the message itself; one
//! that says no takes it from then on only from who asked it (`cluster/picked.rs`). Members of a node
//! that is gone are asked where they have been adopted: until then its routes stay. If members have
//! gone from one node to another meanwhile, it is asked from the beginning.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;
use gatemq_router::Group;
use smallvec::SmallVec;

use super::Turn;
use super::share::Picked;
use crate::cluster::forward::GroupPicks;
use crate::cluster::picked::FIRST;
use crate::message::Message;
use crate::proto::mqtt::Qos;
use crate::session::Subscription;
use crate::session::frames::Delivery;
use crate::session::queued::{Share, Terms};

/// How often it is asked from the beginning: members of some groups come and go all the time.
const MOST_ROUNDS: u8 = 8;

/// How far the asking has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asking {
    /// Nodes where no member has had it.
    said_no: SmallVec<[u64; 2]>,
    /// Where how many members were when the first of those was asked, hashed.
    members: Option<u64>,
    /// When that was, in milliseconds of the clock.
    begun_at: u64,
    n_rounds: u8,
    /// Whether the next one may be asked at once, as nothing is on its way that would change who that
    /// is.
    pub(crate) goes_on: bool,
}

/// Who is asked next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Node(u64),
    /// Nobody, until it is known where members are.
    Later,
    /// All have said no.
    All,
}

impl Asking {
    /// Of a message that has just come.
    pub(crate) fn at_once() -> Self {
        Self {
            goes_on: true,
            ..Self::default()
        }
    }

    /// Another gateway goes on with it, too, or members are moving: what was said before may no longer
    /// hold when that is over.
    pub(crate) fn begin_again(&mut self) {
        *self = Self {
            n_rounds: self.n_rounds,
            ..Self::default()
        };
    }

    /// A node has said no.
    pub(crate) fn note_no(&mut self, node: u64) {
        if !self.said_no.contains(&node) {
            self.said_no.push(node);
        }
        self.goes_on = true;
    }

    /// Whom to ask next, of the nodes with members of these groups: with a hash of where how many are,
    /// and whether some are just leaving this node.
    fn next(&mut self, nodes: &[u64], members: u64, is_leaving: bool, now: u64) -> Asked {
        let asked = self.choose(nodes, members, is_leaving, now);
        self.goes_on = false; // before there is an answer
        asked
    }

    fn choose(&mut self, nodes: &[u64], members: u64, is_leaving: bool, now: u64) -> Asked {
        let next = nodes.iter().find(|node| !self.said_no.contains(node));
        if let Some(node) = next {
            if self.members.is_none() {
                (self.members, self.begun_at) = (Some(members), now);
            }
            return Asked::Node(*node);
        }
        let has_changed = self.members.is_some_and(|before| before != members)
            || self.members.is_some() && now.saturating_sub(self.begun_at) >= FIRST;
        if has_changed && self.n_rounds < MOST_ROUNDS {
            self.n_rounds += 1;
            self.begin_again();
            return Asked::Later;
        }
        match is_leaving {
            true => Asked::Later,
            false => Asked::All,
        }
    }
}

impl Turn<'_> {
    /// Whether a member of a group on another node may have had this message.
    pub(super) fn must_ask(&self, group: &Group<Subscription>, qos: Qos) -> bool {
        let is_kept = self.broker.store.redis().is_some();
        self.is_repeat && qos == Qos::ExactlyOnce && is_kept && !group.nodes.is_empty()
    }

    /// Has it asked before the message goes to a member of the group.
    pub(super) fn ask(&mut self, group: &str, filter: &str, delivery: &mut Delivery<'_>) {
        let share = Arc::new(Share {
            group: group.into(),
            filter: filter.into(),
        });
        let terms = Terms {
            qos: delivery.message.qos,
            retain: false,
            ids: &[],
            share: Some(&share),
        };
        let cluster = self.broker.cluster.clone();
        if let (Some(mut again), Some(cluster)) = (self.again(delivery, &terms), cluster) {
            let leg = again.leg.take();
            cluster.ask(*again, leg);
        }
    }

    /// Who is asked next of these groups. Those of which a member here has had it are taken out.
    pub(crate) fn ask_next(
        &mut self,
        message: &Arc<Message>,
        asking: &mut Asking,
        picks: &mut GroupPicks,
    ) -> Asked {
        let plan = self.broker.table.plan(message.as_ref().as_ref().topic);
        let mut frames = std::mem::take(&mut self.spare.frames);
        let mut delivery = Delivery::of(message, self.now, &mut frames);
        let (mut nodes, mut is_leaving) = (Vec::new(), false);
        let (own, mut is_contested) = (self.broker.incarnation(), false);
        let mut members = FixedState::default().build_hasher();
        picks.retain(|(name, text)| {
            let filter = plan.filters().iter().find(|it| it.text() == &**text);
            let subscribers = filter.map(|filter| filter.subscribers());
            let group = subscribers.as_ref().and_then(|it| it.groups.get(&**name));
            let Some(group) = group else {
                return true; // nobody is to be asked
            };
            if self.pass_group(group, text, &mut delivery) {
                return false;
            }
            let here = group.members.as_slice();
            match self.say_whether_had(group, text, own) {
                Picked::Taken => return false,
                Picked::Moving(_) => is_leaving = true,
                Picked::Others => (is_leaving, is_contested) = (true, true),
                Picked::Nobody | Picked::Denied => {}
            }
            (&**name, &**text, here.len()).hash(&mut members);
            for node in &group.nodes {
                nodes.push(node.node);
                (node.node, node.n_online + node.n_offline).hash(&mut members);
            }
            true
        });
        self.spare.frames = frames;
        if is_contested {
            asking.begin_again();
            return Asked::Later;
        }
        asking.next(&nodes, members.finish(), is_leaving, self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nodes_are_asked_once_while_their_members_stay_where_they_are() {
        let mut asking = Asking::default();
        assert_eq!(asking.next(&[3, 5], 1, false, 0), Asked::Node(3));
        assert_eq!(
            asking.next(&[3, 5], 1, false, 0),
            Asked::Node(3),
            "it has not answered"
        );
        asking.note_no(3);
        assert_eq!(asking.next(&[3, 5], 1, false, 0), Asked::Node(5));
        asking.note_no(5);
        assert_eq!(asking.next(&[3, 5], 1, true, 0), Asked::Later);
        assert_eq!(asking.next(&[3, 5], 1, false, 0), Asked::All);
        assert_eq!(Asking::default().next(&[], 1, false, 0), Asked::All);
    }

    #[test]
    fn who_comes_to_a_node_that_was_asked_is_asked_there_but_not_for_ever() {
        let mut asking = Asking::default();
        let mut members = 1;
        for _ in 0..MOST_ROUNDS {
            for node in [3, 5] {
                assert_eq!(asking.next(&[3, 5], members, false, 0), Asked::Node(node));
                asking.note_no(node);
            }
            members += 1;
            assert_eq!(asking.next(&[3, 5], members, false, 0), Asked::Later);
        }
        for node in [3, 5] {
            asking.note_no(node);
        }
        assert_eq!(asking.next(&[3, 5], members + 1, false, 0), Asked::All);
    }

    /// By then another gateway may have asked where this one has asked first.
    #[test]
    fn what_was_said_too_long_ago_is_asked_again() {
        let mut asking = Asking::default();
        assert_eq!(asking.next(&[3], 1, false, 100), Asked::Node(3));
        asking.note_no(3);
        assert_eq!(asking.next(&[3], 1, false, 100 + FIRST), Asked::Later);
        assert_eq!(asking.next(&[3], 1, false, 101 + FIRST), Asked::Node(3));
        asking.note_no(3);
        asking.begin_again();
        assert_eq!(asking.next(&[3], 1, false, 102 + FIRST), Asked::Node(3));
        asking.note_no(3);
        assert_eq!(asking.next(&[3], 1, false, 103 + FIRST), Asked::All);
    }
}
