//! Shared subscriptions: each message to one member of a group.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gatemq_router::{Group, Member, Strategy, share};
use smallvec::SmallVec;

use super::author::Author;
use super::route::terms;
use super::{Published, Turn, bridge};
use crate::cluster::forward::{Scope, Targets};
use crate::config::ShareStrategy;
use crate::message::Message;
use crate::proto::cluster::bridges;
use crate::proto::mqtt::Qos;
use crate::session::Subscription;
use crate::session::frames::Delivery;
use crate::session::outbound::Taken;
use crate::session::queued::Share;

impl Turn<'_> {
    /// Gives a message to one member of a group, on whichever node; of this one only where the
    /// message came from another node, which chose this one.
    pub(super) fn deliver_to_group(
        &mut self,
        (group, filter): (&Group<Subscription>, &str),
        delivery: &mut Delivery<'_>,
        author: Author<'_>,
        scope: &mut Scope<'_>,
        published: &mut Published,
    ) {
        let remote = match scope {
            Scope::Everywhere(remote) => remote,
            Scope::Here(wanted) => {
                self.deliver_to_pick((group, filter), delivery, author, wanted, published);
                return;
            }
        };
        published.is_matched = true;
        if bridges::is_reserved(&group.name) {
            match bridge::pick(&group.nodes, delivery.message.topic, |_| true) {
                Some(node) => remote.add_pick(node, &group.name, filter),
                None => remote.miss(&group.name, filter),
            }
            return;
        }
        if self.pass_group(group, filter, delivery) {
            return;
        }
        if self.must_ask(group, delivery.message.qos) {
            return self.ask(&group.name, filter, delivery);
        }
        let hints = || self.hints(author.client_id, delivery.message.topic);
        let here = self
            .broker
            .cluster
            .as_ref()
            .filter(|_| !group.nodes.is_empty());
        let strategy = self.settings.share_strategy;
        if let Some(cluster) = here
            && let Some(node) = pick_node(group, cluster.incarnation(), strategy, hints)
        {
            remote.add_pick(node, &group.name, filter);
            return;
        }
        match self.pick_here(group, filter, delivery, author.client_id, published) {
            Picked::Taken => {}
            Picked::Others => self.ask(&group.name, filter, delivery),
            Picked::Denied | Picked::Nobody => match most_online(group, |_| true) {
                Some(node) => remote.add_pick(node, &group.name, filter),
                None => self.tally.dropped += 1,
            },
            Picked::Moving(subscription) => {
                let ids = [subscription.id];
                let terms = terms(&subscription, &ids, delivery);
                self.move_on(delivery, &terms);
            }
        }
    }

    fn hints(&self, client_id: &str, topic: &str) -> share::Hints {
        share::Hints {
            client: hash(client_id),
            topic: hash(topic),
            random: hash_number(self.broker.store.new_number()),
        }
    }

    /// Gives a message to one member of a group here, the next one where a member refuses.
    pub(super) fn deliver_to_member(
        &mut self,
        group: &Group<Subscription>,
        delivery: &mut Delivery<'_>,
        client_id: &str,
        published: &mut Published,
    ) -> Picked {
        let members = group.members.as_slice();
        if members.is_empty() {
            return Picked::Nobody;
        }
        published.is_matched = true;
        let strategy = strategy(self.settings.share_strategy);
        let topic = delivery.message.topic;
        let hints = || self.hints(client_id, topic);
        let start = strategy.start(&group.members, &group.cursor, hints);
        let (mut full, mut moving) = (None, None);
        // Members with a connection first, then those whose session can keep it.
        for wants_link in [true, false] {
            for offset in 0..members.len() {
                let at = (start + offset) % members.len();
                let subscription = &members[at].value;
                if !self.may_have(&subscription.session, delivery) {
                    continue; // another one may
                }
                let mut outbound = subscription.session.outbound.lock();
                if outbound.link.is_some() != wants_link {
                    continue;
                }
                let ids = [subscription.id];
                let terms = terms(subscription, &ids, delivery);
                let taken = match self.is_short_for(&outbound, delivery, &terms) {
                    true => Taken::Full,
                    false => outbound.deliver(delivery, &terms, &self.settings.bounds),
                };
                match taken {
                    Taken::Dropped | Taken::Stolen => {}
                    Taken::Moved => moving = moving.or(Some(at)),
                    Taken::Full => full = full.or(Some(at)),
                    taken => {
                        let session = &subscription.session;
                        self.settle(session, outbound, taken, delivery, &terms, published);
                        strategy.settle(members[at].key, &group.cursor);
                        return Picked::Taken;
                    }
                }
            }
        }
        // Nobody is there who could take it, as with any other subscriber; or all that are there
        // are full: the first of them is treated as one on its own is.
        let Some(at) = full else {
            return match moving {
                Some(at) if delivery.message.qos > Qos::AtMostOnce => {
                    Picked::Moving(members[at].value.clone())
                }
                _ => Picked::Denied,
            };
        };
        let subscription = &members[at].value;
        let ids = [subscription.id];
        let terms = terms(subscription, &ids, delivery);
        let is_moved = std::mem::take(&mut self.is_moved);
        self.deliver(&subscription.session, delivery, &terms, published);
        match std::mem::replace(&mut self.is_moved, is_moved) {
            true => Picked::Moving(subscription.clone()), // it is the group that has to be tried again
            false => Picked::Taken,
        }
    }

    /// Chooses a group's member once more: another node said that it has none, that they are moving,
    /// or that they may not have it. A node that takes it is added to the targets.
    pub(crate) fn pick_again(
        &mut self,
        message: &Arc<Message>,
        (group, filter): (&str, &str),
        not: &Elsewhere<'_>,
        targets: &mut Targets,
        published: &mut Published,
    ) -> PickedAgain {
        let plan = self.broker.table.plan(message.as_ref().as_ref().topic);
        let is_it = |known: &&Arc<gatemq_router::Filter<Subscription>>| *known.text() == *filter;
        let Some(known) = plan.filters().iter().find(is_it) else {
            return PickedAgain::Done;
        };
        let subscribers = known.subscribers();
        let Some(group) = subscribers.groups.get(group) else {
            return PickedAgain::Done; // nobody is subscribed any more
        };
        let is_other = |node: u64| node != not.node && !not.tried.contains(&node);
        if bridges::is_reserved(&group.name) {
            let message = message.as_ref().as_ref();
            return match bridge::pick(&group.nodes, message.topic, is_other) {
                Some(other) => {
                    targets.add_pick(other, &group.name, filter);
                    PickedAgain::Done
                }
                // It is about to leave, and that is not known here yet.
                None if bridge::is_there(&group.nodes, not.node) => PickedAgain::Later,
                None => PickedAgain::NoBridge,
            };
        }
        let mut frames = std::mem::take(&mut self.spare.frames);
        let mut delivery = Delivery::of(message, self.now, &mut frames);
        let picked = match self.pass_group(group, filter, &mut delivery) {
            true => Picked::Taken,
            false => self.pick_here(group, filter, &mut delivery, "", published),
        };
        self.spare.frames = frames;
        match picked {
            Picked::Taken => {
                published.is_matched = true;
                return PickedAgain::Done;
            }
            Picked::Others => return PickedAgain::Ask,
            _ => {}
        }
        if let Some(other) = most_online(group, is_other) {
            targets.add_pick(other, &group.name, filter);
            return PickedAgain::Done;
        }
        if not.is_moving && group.nodes.iter().any(|node| node.node == not.node) {
            targets.add_pick(not.node, &group.name, filter); // until it is known where they are
            return PickedAgain::Done;
        }
        if matches!(picked, Picked::Moving(_)) {
            return PickedAgain::Later;
        }
        self.tally.dropped += 1;
        PickedAgain::Done
    }

    /// Gives a shared message of a session that ended to another member of its group.
    pub(crate) fn redeliver(&mut self, share: &Arc<Share>, message: &Arc<Message>) {
        if message.as_ref().as_ref().is_expired(self.now) {
            return;
        }
        self.begin_message();
        let plan = self.broker.table.plan(message.as_ref().as_ref().topic);
        let Some(filter) = plan
            .filters()
            .iter()
            .find(|filter| *filter.text() == *share.filter)
        else {
            return;
        };
        let subscribers = filter.subscribers();
        let Some(group) = subscribers.groups.get(&share.group) else {
            return;
        };
        let mut frames = std::mem::take(&mut self.spare.frames);
        let mut delivery = Delivery::of(message, self.now, &mut frames);
        let mut published = Published::default();
        let mut remote = Targets::new();
        let mut scope = Scope::Everywhere(&mut remote);
        let group = (group, filter.text());
        self.deliver_to_group(
            group,
            &mut delivery,
            Author::BROKER,
            &mut scope,
            &mut published,
        );
        self.spare.frames = frames;
        if !remote.is_empty() {
            self.forward(
                &message.as_ref().as_ref(),
                &remote,
                Author::BROKER,
                &mut published,
            );
        }
    }
}

/// Where a message for a group has been.
pub(crate) struct Elsewhere<'a> {
    /// The node that had it last, and whether its members were just moving.
    pub(crate) node: u64,
    pub(crate) is_moving: bool,
    /// Nodes where no member may have it.
    pub(crate) tried: &'a [u64],
}

/// What came of the next choice of a group's member, or of a bridge.
pub(crate) enum PickedAgain {
    /// Somebody has it, or is to be sent it, or nobody can have it.
    Done,
    /// Its members here are moving, and where they are now is not known yet.
    Later,
    /// Another gateway sees to it, unless all are asked once more.
    Ask,
    /// It is for a bridge, and there is none.
    NoBridge,
}

/// The node with most members of a group that are there, of those that come into question.
fn most_online(group: &Group<Subscription>, is_eligible: impl Fn(u64) -> bool) -> Option<u64> {
    let eligible = group.nodes.iter().filter(|node| is_eligible(node.node));
    let most = eligible.max_by_key(|node| (node.n_online, node.n_offline));
    most.map(|node| node.node)
}

/// What came of the choice of a group's member on this node.
pub(super) enum Picked {
    Taken,
    /// Members are there, and just leaving for other nodes: this is one of them.
    Moving(Subscription),
    /// Another gateway sees to it.
    Others,
    /// Those who are there may not have it, or cannot take it now, and are owed nothing for that.
    Denied,
    /// Nobody is there.
    Nobody,
}

/// The other node whose member gets a message; `None` if it is one of this node's.
///
/// All nodes with members are in one row, in the order of their incarnations, each as long as it
/// has members; so two gateways with the same hint choose the same node.
fn pick_node(
    group: &Group<Subscription>,
    own: u64,
    strategy: ShareStrategy,
    hints: impl FnOnce() -> share::Hints,
) -> Option<u64> {
    let is_online = |member: &Member<Subscription>| {
        let outbound = member.value.session.outbound.lock();
        outbound.link.is_some()
    };
    let members = group.members.as_slice();
    let n_here = members.len() as u64;
    let is_online_here = members.iter().any(is_online);
    let is_online_there = group.nodes.iter().any(|node| node.n_online > 0);
    if strategy == ShareStrategy::Local && is_online_here {
        return None;
    }
    let mut row: SmallVec<[(u64, u64); 8]> = SmallVec::new();
    if n_here > 0 && (is_online_here || !is_online_there) {
        row.push((own, n_here));
    }
    for node in &group.nodes {
        // Members with a connection come first, wherever they are.
        let n_members = match is_online_here || is_online_there {
            true => node.n_online,
            false => node.n_offline,
        };
        if n_members > 0 {
            row.push((node.node, u64::from(n_members)));
        }
    }
    row.sort_unstable();
    let total: u64 = row.iter().map(|(_, n_members)| n_members).sum();
    if total == 0 {
        return None;
    }
    let mut at = match strategy {
        ShareStrategy::RoundRobin | ShareStrategy::Local => {
            group.node_cursor.fetch_add(1, Ordering::Relaxed) % total
        }
        ShareStrategy::Random => hints().random % total,
        ShareStrategy::HashClient => hints().client % total,
        ShareStrategy::HashTopic => hints().topic % total,
        ShareStrategy::Sticky => 0,
    };
    for (node, n_members) in row {
        if at < n_members {
            return (node != own).then_some(node);
        }
        at -= n_members;
    }
    None
}

/// How the strategy begins on one node: there, every member is local.
fn strategy(strategy: ShareStrategy) -> Strategy {
    match strategy {
        ShareStrategy::RoundRobin | ShareStrategy::Local => Strategy::RoundRobin,
        ShareStrategy::Random => Strategy::Random,
        ShareStrategy::Sticky => Strategy::Sticky,
        ShareStrategy::HashClient => Strategy::HashClient,
        ShareStrategy::HashTopic => Strategy::HashTopic,
    }
}

fn hash(text: &str) -> u64 {
    foldhash::fast::FixedState::with_seed(0x7368_6172).hash_one(text)
}

fn hash_number(number: u64) -> u64 {
    foldhash::fast::RandomState::default().hash_one(number)
}
