//! Messages that another node gave back: somebody whom they were for has moved, or the node is
//! gone. They are routed again by the table that holds now, in the order in which they came back.
//!
//! A message keeps its number, so a node that has had it gives it only to sessions that have come
//! since, and so does this one: nobody gets it twice who has had it.
//!
//! A node that accepted a message may have done so for nobody: its subscriber had left before the
//! message came, with the knowledge of every gateway, but the message was on its way by then. So
//! where the table has changed meanwhile, it is looked who would get it now.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use gatemq_router::Plan;
use smallvec::SmallVec;

use super::Cluster;
use super::forward::{Fate, Forwarded, GroupPicks, Scope, Target, Targets, Tried, send_again};
use crate::broker::Broker;
use crate::message::MessageRef;
use crate::proto::mqtt::Qos;
use crate::receipt::Leg;
use crate::session::Subscription;
use crate::turn::author::Author;
use crate::turn::bridge::NO_BRIDGE;
use crate::turn::deliver::is_own;
use crate::turn::share::{Elsewhere, PickedAgain};
use crate::turn::{Published, Turn};

/// Before messages are routed again: the change of the table is on its way. The more often nothing
/// comes of it, the longer.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(160));

/// Routes again what comes back, until the gateway stops.
pub(super) async fn run(broker: Arc<Broker>, cluster: Arc<Cluster>) {
    let routing = async {
        let mut pause = PAUSES.0;
        loop {
            let mut again = cluster.returns.take().await;
            // Only then this gateway knows where everybody is.
            broker.lease_held().await;
            look(&broker, &mut again);
            if again.is_empty() {
                continue;
            }
            let before = cluster.moves.before();
            tokio::time::sleep(pause).await;
            broker.lease_held().await;
            pause = match cluster.moves.any_since(before) {
                true => PAUSES.0,
                false => (pause * 2).min(PAUSES.1),
            };
            for forwarded in again {
                route_again(&broker, &cluster, forwarded);
                tokio::task::consume_budget().await;
            }
        }
    };
    tokio::select! {
        () = routing => {}
        () = broker.tasks_end.cancelled() => {}
    }
}

/// Finishes what was accepted and has reached everybody.
fn look(broker: &Broker, again: &mut VecDeque<Forwarded>) {
    let mut kept = VecDeque::new();
    for forwarded in again.drain(..) {
        if forwarded.fate == Fate::Accepted && has_reached_all(broker, &forwarded) {
            forwarded.finish(None);
        } else {
            kept.push_back(forwarded);
        }
    }
    *again = kept;
}

fn has_reached_all(broker: &Broker, forwarded: &Forwarded) -> bool {
    let message = forwarded.message.as_ref().as_ref();
    let plan = broker.table.plan(message.topic);
    plan.filters().iter().all(|filter| {
        let subscribers = filter.subscribers();
        let mut here = subscribers.direct.as_slice().iter();
        subscribers.nodes_since <= forwarded.n_nodes_added
            && here.all(|member| member.value.session.was_here(forwarded.stamp))
    })
}

fn route_again(broker: &Arc<Broker>, cluster: &Cluster, mut forwarded: Forwarded) {
    let mut turn = Turn::new(broker);
    turn.take_up(&forwarded);
    let message = forwarded.message.clone();
    let mut targets = Targets::new();
    let mut published = Published::default();
    let (mut waiting, mut absent) = (Vec::new(), Vec::new());
    if !message.as_ref().as_ref().is_expired(turn.now) {
        let plan = broker.table.plan(message.as_ref().as_ref().topic);
        if forwarded.target.is_direct {
            published = route_direct(&mut turn, &forwarded, &plan, &mut targets);
        }
        let not = Elsewhere {
            node: forwarded.target.node,
            is_moving: forwarded.fate == Fate::Moving,
            tried: &forwarded.tried,
        };
        for (group, filter) in std::mem::take(&mut forwarded.target.picks) {
            let pick = (&*group, &*filter);
            match turn.pick_again(&message, pick, &not, &mut targets, &mut published) {
                PickedAgain::Done => {}
                PickedAgain::Later => waiting.push((group, filter)),
                PickedAgain::NoBridge => absent.push((group, filter)),
            }
        }
        let (held, wait) = (&cluster.returns.held, cluster.config.bridge_wait);
        // What clients do is not worth the room that publishes have.
        let mut may_wait = || !forwarded.is_event() && forwarded.may_be_held(held, turn.now, wait);
        if !absent.is_empty() && !may_wait() {
            absent.clear();
            published.refused = Some(NO_BRIDGE);
        }
    }
    for target in targets.iter() {
        send_again(cluster, &forwarded, target, &turn);
    }
    turn.legs.extend(turn.parent.take());
    if !waiting.is_empty() || !absent.is_empty() {
        // Some of its groups are tried later; whatever else there was is done, or has failed.
        if let (Some(reason), Some(leg)) = (published.refused, &forwarded.leg) {
            broker.settle(leg.fork().done(Some(reason)));
        }
        let is_soon = !waiting.is_empty();
        waiting.append(&mut absent);
        forwarded.target.is_direct = false;
        forwarded.target.picks = waiting.into();
        match is_soon {
            true => cluster.returns.put(forwarded),
            false => cluster.returns.hold(forwarded),
        }
    } else if let Some(reason) = published.refused {
        forwarded.finish(Some(reason));
    } else {
        // The message is done when all are that it has gone to now.
        turn.legs.extend(forwarded.leg.take());
    }
    turn.finish(None);
}

fn route_direct(
    turn: &mut Turn<'_>,
    forwarded: &Forwarded,
    plan: &Plan<Subscription>,
    targets: &mut Targets,
) -> Published {
    let mut scope = Scope::Everywhere(targets);
    for filter in plan.filters() {
        scope.add_nodes(&filter.subscribers().nodes);
    }
    turn.since = Some(forwarded.stamp);
    let published = turn.route_direct_here(forwarded.message.as_ref().as_ref(), plan);
    turn.since = None;
    published
}

impl Turn<'_> {
    /// A message was routed while this gateway did not know where everybody was: it was held back
    /// before, such as a publish that Redis was slow to store, or clients are just leaving. It is
    /// looked again who gets it once that is known, and acknowledged then.
    ///
    /// Looked at behind the routing, and the lease ends before anybody leaves the table: whoever was
    /// missed for that is found.
    pub(crate) fn doubt(
        &mut self,
        message: &MessageRef<'_>,
        client_id: &str,
        published: &mut Published,
    ) {
        let broker = self.broker;
        let Some(cluster) = &broker.cluster else {
            return;
        };
        let is_kept = message.qos > Qos::AtMostOnce && !is_own(message.topic);
        if !is_kept || cluster.lease.is_held(broker.clock.now()) {
            return;
        }
        published.is_matched = true;
        let target = Target {
            node: cluster.incarnation(),
            is_direct: true,
            picks: SmallVec::new(),
        };
        let mut doubted = self.returning(cluster, message, client_id, target);
        doubted.fate = Fate::Accepted;
        cluster.returns.put(doubted);
    }

    /// A message is to be bridged, and no bridge is there: it is held if it may be, once for all
    /// filters that it matches, or else its publisher is told.
    pub(crate) fn miss_bridge(
        &mut self,
        message: &MessageRef<'_>,
        author: Author<'_>,
        picks: GroupPicks,
        published: &mut Published,
    ) {
        if message.qos == Qos::AtMostOnce || is_own(message.topic) {
            self.tally.dropped += 1;
            return;
        }
        let broker = self.broker;
        let Some(cluster) = &broker.cluster else {
            return;
        };
        let held = &cluster.returns.held;
        let is_will = self.is_orphan || self.parent.as_ref().is_some_and(Leg::is_orphan);
        let hold = match is_will {
            true => held.admit_will(message),
            false => held.admit(message, self.now, cluster.config.bridge_wait),
        };
        let Some(hold) = hold else {
            published.refused = Some(NO_BRIDGE);
            return;
        };
        let target = Target {
            node: cluster.incarnation(),
            is_direct: false,
            picks,
        };
        let mut forwarded = self.returning(cluster, message, author.client_id, target);
        forwarded.username = author.username();
        forwarded.hold = Some(hold);
        cluster.returns.hold(forwarded);
    }

    /// A message of this gateway in the form in which another node gives one back.
    fn returning(
        &mut self,
        cluster: &Cluster,
        message: &MessageRef<'_>,
        client_id: &str,
        target: Target,
    ) -> Forwarded {
        Forwarded {
            returns: cluster.returns.clone(),
            message: Arc::new(message.to_message()),
            client_id: client_id.into(),
            username: "".into(), // a group chooses later only what it chose before
            origin: self.origin(),
            stamp: self.stamp,
            target,
            tried: Tried::new(),
            before: self.before,
            n_nodes_added: self.n_nodes_added,
            fate: Fate::Moved,
            hold: None,
            span: None,
            leg: self.has_publisher.then(|| self.leg()),
            event: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use gatemq_router::GroupNode;

    use super::*;
    use crate::cluster::held;
    use crate::proto::cluster::bridges;
    use crate::proto::mqtt::{PacketId, Reason};
    use crate::receipt::{Owed, Receipt};
    use crate::session::outbound::Outbound;
    use crate::session::{Life, Session};

    /// Routes a message to nobody, for a publisher that waits for it.
    fn route(broker: &Arc<Broker>, qos: Qos) {
        route_for(broker, qos, &Receipt::new());
    }

    fn route_for(broker: &Arc<Broker>, qos: Qos, receipt: &Arc<Receipt>) {
        let mut turn = Turn::new(broker);
        turn.parent = Some(receipt.leg(Some(0)));
        turn.has_publisher = true;
        turn.begin_message();
        let plan = broker.table.plan("t");
        turn.route_begun(message(qos), &plan, Author::named("c", ""));
        turn.legs.extend(turn.parent.take());
        turn.finish(None);
        seal(broker, receipt);
    }

    fn message(qos: Qos) -> MessageRef<'static> {
        MessageRef {
            publisher: 2,
            qos,
            retain: false,
            expires_at: u64::MAX,
            topic: "t",
            properties: &[],
            payload: b"p",
            trace: None,
        }
    }

    /// Its publisher waits for nothing else.
    fn seal(broker: &Broker, receipt: &Receipt) {
        let session = Session::new(2, "c", Outbound::new(true), Life::default());
        let owed = Owed::of_exchange(Arc::new(session), PacketId::MIN, None);
        receipt.seal(Some(owed));
        broker.settle(receipt.commit());
    }

    /// How much is done, within this time, or sooner.
    async fn n_done(broker: &Broker, wait: Duration) -> usize {
        verdicts(broker, wait).await.len()
    }

    /// Of what is done, within this time, or sooner, why it failed where it did.
    async fn verdicts(broker: &Broker, wait: Duration) -> Vec<Option<Reason>> {
        let mut done = Vec::new();
        while let Ok(groups) = tokio::time::timeout(wait, broker.store.completed().take()).await {
            for ticket in groups.into_iter().flatten() {
                broker.settle_all(ticket.legs.into_iter().filter_map(|leg| leg.done(None)));
                let failure = |owed: Owed| owed.failures.first().map(|(_, reason)| *reason);
                done.extend(ticket.owed.map(failure));
            }
            if !done.is_empty() {
                break;
            }
        }
        done
    }

    /// Runs what routes again, with a lease.
    async fn start(broker: &Arc<Broker>, cluster: &Arc<Cluster>) {
        tokio::spawn(run(broker.clone(), cluster.clone()));
        tokio::spawn(held::run(broker.clone(), cluster.clone()));
        let renewing = (broker.clone(), cluster.clone());
        tokio::spawn(async move {
            loop {
                renewing.1.lease.renew(renewing.0.clock.now());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    /// A bridge that takes messages, or is gone.
    fn bridge(n_online: u32) -> GroupNode {
        GroupNode {
            node: 9,
            n_online,
            n_offline: 1 - n_online,
        }
    }

    #[tokio::test]
    async fn what_is_routed_without_the_lease_is_acknowledged_when_everybody_is_known() {
        let broker = Broker::in_cluster();
        let cluster = broker.cluster.clone().expect("there is one");
        tokio::spawn(run(broker.clone(), cluster.clone()));
        let (short, long) = (Duration::from_millis(200), Duration::from_secs(20));
        route(&broker, Qos::ExactlyOnce);
        let n_early = n_done(&broker, short).await;
        assert_eq!(n_early, 0, "who gets it is not known");
        cluster.lease.renew(broker.clock.now());
        assert_eq!(n_done(&broker, long).await, 1);
        // Nobody waits where nothing is promised.
        cluster.lease.end();
        route(&broker, Qos::AtMostOnce);
        assert_eq!(n_done(&broker, long).await, 1);
    }

    #[tokio::test]
    async fn what_is_for_a_bridge_waits_for_one_for_a_while() {
        let broker = Broker::in_cluster();
        let cluster = broker.cluster.clone().expect("there is one");
        start(&broker, &cluster).await;
        let gone = bridge(0);
        let (short, long) = (Duration::from_millis(300), Duration::from_secs(20));
        let held = || cluster.returns.held.bytes();
        broker.table.set_node(Some(bridges::GROUP), "t", gone);
        route(&broker, Qos::AtLeastOnce);
        assert_eq!(n_done(&broker, short).await, 0);
        assert!(held() > 0);
        assert_eq!(verdicts(&broker, long).await, [Some(NO_BRIDGE)]);
        assert_eq!(held(), 0);
        // Who has it waits no longer than until nobody wants it.
        route(&broker, Qos::AtLeastOnce);
        broker.table.remove_node(Some(bridges::GROUP), "t", 9);
        assert_eq!(verdicts(&broker, long).await, [None]);
        assert_eq!(held(), 0);
    }

    #[tokio::test]
    async fn a_will_waits_for_a_bridge_for_as_long_as_it_takes() {
        let broker = Broker::in_cluster();
        let cluster = broker.cluster.clone().expect("there is one");
        start(&broker, &cluster).await;
        broker.table.set_node(Some(bridges::GROUP), "t", bridge(0));
        let held = &cluster.returns.held;
        let full = held.fill();
        route_for(&broker, Qos::AtLeastOnce, &Receipt::of(true));
        // One that is not for ever does not wait behind it.
        drop(full);
        route(&broker, Qos::AtLeastOnce);
        let long = Duration::from_secs(20);
        assert_eq!(verdicts(&broker, long).await, [Some(NO_BRIDGE)]);
        assert!(held.bytes() > 0);
        assert_eq!(held.n_wills(), 1);
        broker.table.remove_node(Some(bridges::GROUP), "t", 9);
        assert_eq!(verdicts(&broker, long).await, [None]);
        assert_eq!((held.bytes(), held.n_wills()), (0, 0));
    }

    #[tokio::test]
    async fn what_a_session_refuses_is_told_although_a_bridge_is_waited_for() {
        let broker = Broker::in_cluster();
        let cluster = broker.cluster.clone().expect("there is one");
        start(&broker, &cluster).await;
        broker.table.set_node(Some(bridges::GROUP), "t", bridge(0));
        let session = Session::new(7, "stolen", Outbound::new(true), Life::default());
        session.outbound.lock().give_up();
        let subscription = Subscription {
            session: Arc::new(session),
            qos: Qos::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            id: 0,
            share: None,
        };
        broker.table.subscribe(None, "t", 7, subscription);
        let receipt = Receipt::new();
        let mut turn = Turn::new(&broker);
        turn.parent = Some(receipt.leg(Some(0)));
        turn.has_publisher = true;
        turn.begin_message();
        let target = Target {
            node: 9,
            is_direct: true,
            picks: SmallVec::from_iter([(bridges::GROUP.into(), "t".into())]),
        };
        let moved = turn.returning(&cluster, &message(Qos::AtLeastOnce), "c", target);
        turn.legs.extend(turn.parent.take());
        turn.finish(None);
        cluster.returns.put(moved);
        seal(&broker, &receipt);
        while cluster.returns.held.bytes() == 0 {
            assert_eq!(n_done(&broker, Duration::from_millis(1)).await, 0);
        }
        broker.table.remove_node(Some(bridges::GROUP), "t", 9);
        let told = verdicts(&broker, Duration::from_secs(20)).await;
        assert_eq!(told, [Some(Reason::UnspecifiedError)]);
    }

    #[tokio::test]
    async fn what_matches_two_filters_of_bridges_is_held_once() {
        let broker = Broker::in_cluster();
        let cluster = broker.cluster.clone().expect("there is one");
        cluster.lease.renew(broker.clock.now());
        for filter in ["t", "#"] {
            broker
                .table
                .set_node(Some(bridges::GROUP), filter, bridge(0));
        }
        route(&broker, Qos::AtLeastOnce);
        let held = &cluster.returns.held;
        let n_bytes = held.bytes();
        assert!((1..1_024).contains(&n_bytes), "{n_bytes}");
        // Whichever of them finds a bridge.
        for there in ["t", "#"] {
            let taken = held.take(0, |filter| filter == there);
            assert_eq!(taken.len(), 1);
            assert_eq!(taken[0].target.picks.len(), 2);
            taken.into_iter().for_each(|it| held.put(it));
        }
    }
}
