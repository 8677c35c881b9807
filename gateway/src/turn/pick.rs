//! A group's member on this node for a message that other nodes may know: whether one has had it,
//! whether one may be chosen, and what another node is told of that.

use gatemq_router::{Group, Member};

use super::author::Author;
use super::route::terms;
use super::share::Picked;
use super::{Published, Turn};
use crate::cluster::Cluster;
use crate::cluster::forward::Wanted;
use crate::cluster::picked::{Claim, Said};
use crate::proto::mqtt::Qos;
use crate::session::Subscription;
use crate::session::frames::Delivery;
use crate::session::received::Origin;

impl<'b> Turn<'b> {
    /// Gives a message to one member of a group here, or says whether one has had it, as another node
    /// wants it.
    pub(super) fn deliver_to_pick(
        &mut self,
        (group, filter): (&Group<Subscription>, &str),
        delivery: &mut Delivery<'_>,
        author: Author<'_>,
        wanted: &Wanted<'_>,
        published: &mut Published,
    ) {
        let name = &*group.name;
        if wanted.has_had(name, filter) {
            // If it is still on its way, whoever sends it now hears what becomes of it, too.
            self.pass_members(group.members.as_slice(), delivery);
            return;
        }
        if !wanted.has_pick(name, filter) || self.pass_group(group, filter, delivery) {
            return;
        }
        let refused = published.refused.take();
        let picked = match wanted.asks {
            Some(node) => self.say_whether_had(group, filter, node),
            None => self.deliver_to_member(group, delivery, author.client_id, published),
        };
        if published.refused.is_some() {
            wanted.refuse_full(name, filter);
        }
        published.refused = published.refused.or(refused);
        match picked {
            Picked::Taken => {}
            Picked::Denied => wanted.refuse_denied(name, filter),
            Picked::Moving(_) | Picked::Others => wanted.refuse_moving(name, filter),
            Picked::Nobody => wanted.refuse(name, filter),
        }
    }

    /// What is said to a node that asks whether a member here has had a message, where none is known to
    /// have: one that is just leaving may have had it where it is by now.
    pub(super) fn say_whether_had(
        &mut self,
        group: &Group<Subscription>,
        filter: &str,
        node: u64,
    ) -> Picked {
        let Some(cluster) = self.broker.cluster.as_deref() else {
            return Picked::Nobody;
        };
        let origin = Origin {
            source: self.source,
            id: self.message_id,
        };
        match cluster
            .picked
            .ask(origin, (&*group.name, filter), node, self.now)
        {
            Said::Had => {
                self.must_commit = true; // behind whatever that put into the store
                return Picked::Taken;
            }
            Said::Later => return Picked::Others,
            Said::No => {}
        }
        let mut members = group.members.as_slice().iter();
        let leaving = members.find(|member| member.value.session.outbound.lock().is_moved());
        leaving.map_or(Picked::Nobody, |member| {
            Picked::Moving(member.value.clone())
        })
    }

    /// Gives a message to one member of a group here, and notes it under the name that others know it
    /// by: whoever else routes it, before or behind this, is told then that it is had.
    pub(super) fn pick_here(
        &mut self,
        group: &Group<Subscription>,
        filter: &str,
        delivery: &mut Delivery<'_>,
        client_id: &str,
        published: &mut Published,
    ) -> Picked {
        let pick = (&*group.name, filter);
        let named = self.named(delivery.message.qos);
        if let Some((cluster, origin)) = named {
            match cluster
                .picked
                .claim(origin, pick, cluster.incarnation(), self.now)
            {
                Claim::Given => {}
                Claim::Had => {
                    self.must_commit = true; // behind whatever that put into the store
                    return Picked::Taken;
                }
                Claim::Others => return Picked::Others,
            }
        }
        let refused = published.refused.take();
        let picked = self.deliver_to_member(group, delivery, client_id, published);
        let is_had = matches!(picked, Picked::Taken) && published.refused.is_none();
        published.refused = published.refused.or(refused);
        if let Some((cluster, origin)) = named.filter(|_| !is_had) {
            cluster
                .picked
                .forget(origin, pick, Some(cluster.incarnation()));
        }
        picked
    }

    /// Under what all gateways know the message that is being routed, if another one gave it that name
    /// or may go on with it.
    fn named(&self, qos: Qos) -> Option<(&'b Cluster, Origin)> {
        let cluster = self.broker.cluster.as_deref()?;
        let (source, id) = (self.source, self.message_id);
        let is_anothers = source != cluster.source && qos > Qos::AtMostOnce;
        let is_named = source != 0 && (is_anothers || qos == Qos::ExactlyOnce);
        is_named.then_some((cluster, Origin { source, id }))
    }

    /// Passes over a group one of whose members here has had a message that may have been routed
    /// before; whether one has.
    pub(super) fn pass_group(
        &mut self,
        group: &Group<Subscription>,
        filter: &str,
        delivery: &mut Delivery<'_>,
    ) -> bool {
        let has_picked =
            |(cluster, origin): (&Cluster, _)| cluster.picked.has(origin, (&*group.name, filter));
        // What comes from another node is noted for this time already.
        let has_picked =
            self.inbound.is_none() && self.named(delivery.message.qos).is_some_and(has_picked);
        if !has_picked && !self.is_repeat {
            return false;
        }
        // Also what is noted may be on its way still, and is waited for then.
        let has_had = self.pass_members(group.members.as_slice(), delivery);
        self.must_commit |= has_picked; // behind whatever that put into the store
        has_picked || has_had
    }

    /// Passes over members who know a message of their group; whether one does.
    fn pass_members(
        &mut self,
        members: &[Member<Subscription>],
        delivery: &mut Delivery<'_>,
    ) -> bool {
        members.iter().any(|Member { value, .. }| {
            let ids = [value.id];
            let terms = terms(value, &ids, delivery);
            self.pass_known(&value.session, delivery, &terms)
        })
    }
}
