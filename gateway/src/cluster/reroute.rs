//! Messages that another node gave back: somebody whom they were for has moved, or the node is
//! gone. They are routed again by the table that holds now, those of one publisher in their order
//! ([`order`]).
//!
//! A message keeps its number, so a node that has had it gives it only to sessions that have come
//! since, and so does this one: nobody gets it twice who has had it.
//!
//! A node that accepted a message may have done so for nobody: its subscriber had left before the
//! message came, with the knowledge of every gateway, but the message was on its way by then. So
//! where the table has changed meanwhile, it is looked who would get it now.

mod order;

use std::sync::Arc;
use std::time::Duration;

use gatemq_router::Plan;
use gatemq_router::control::lease::Generation;
use smallvec::SmallVec;

use self::order::Order;
use super::Cluster;
use super::forward::{Fate, Forwarded, GroupPicks, Scope, Target, Targets, Tried, send_again};
use crate::broker::Broker;
use crate::message::MessageRef;
use crate::proto::mqtt::Qos;
use crate::receipt::{IfRefused, Leg};
use crate::session::Subscription;
use crate::turn::ask::{Asked, Asking};
use crate::turn::author::Author;
use crate::turn::bridge::NO_BRIDGE;
use crate::turn::deliver::is_own;
use crate::turn::share::{Elsewhere, PickedAgain};
use crate::turn::{Published, Since, Turn};

/// Before messages are routed again: the change of the table is on its way. The more often nothing
/// comes of it, the longer.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(160));
/// Before those behind them are, where some are done with.
const BREATH: Duration = Duration::from_millis(1);

/// Routes again what comes back, until the gateway stops.
pub(super) async fn run(broker: Arc<Broker>, cluster: Arc<Cluster>) {
    let routing = async {
        let (mut pause, mut n_taken) = (PAUSES.0, 0);
        let (mut waiting, mut order) = (Vec::new(), Order::default());
        loop {
            let has_more = !waiting.is_empty();
            let back = match has_more {
                true => cluster.returns.take_now(),
                false => cluster.returns.take().await,
            };
            if has_more && back.len() < n_taken {
                pause = BREATH; // some of the last ones are done with, or will be soon
            }
            let has_news = !back.is_empty();
            waiting.extend(back);
            // Only then this gateway knows where everybody is.
            broker.lease_held().await;
            let incarnation = cluster.incarnation();
            waiting.retain(|forwarded| !forwarded.is_stale(incarnation));
            let lease = cluster.lease.generation();
            look(&broker, &cluster, lease, &mut waiting);
            if waiting.is_empty() {
                continue;
            }
            if has_news && waiting.iter().all(Forwarded::is_asked_on) {
                tokio::time::sleep(BREATH).await; // nothing is on its way that matters to them
            } else {
                let before = cluster.moves.before();
                tokio::time::sleep(pause).await;
                pause = match cluster.moves.any_since(before) {
                    true => PAUSES.0,
                    false => (pause * 2).clamp(PAUSES.0, PAUSES.1),
                };
            }
            broker.lease_held().await;
            let due = order.take_due(&mut waiting, cluster.source);
            n_taken = due.len();
            for forwarded in due {
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

/// Finishes what was accepted and has reached everybody, as far as the table is one of this lease.
fn look(broker: &Broker, cluster: &Cluster, lease: Generation, waiting: &mut Vec<Forwarded>) {
    let has_known_all = || cluster.lease.is_held_since(lease, broker.clock.now());
    let is_done = |forwarded: &mut Forwarded| {
        let is_accepted = forwarded.fate == Fate::Accepted;
        is_accepted && has_reached_all(broker, forwarded) && has_known_all()
    };
    for forwarded in waiting.extract_if(.., is_done) {
        forwarded.finish(None);
    }
}

/// Whether all who would get it now have: whoever was here when it was routed last was given it
/// then, if not before. It does not matter whether anybody else has moved since: while all clients
/// of a node go to others, somebody always has.
fn has_reached_all(broker: &Broker, forwarded: &Forwarded) -> bool {
    let message = forwarded.message.as_ref().as_ref();
    let plan = broker.table.plan(message.topic);
    plan.filters().iter().all(|filter| {
        let subscribers = filter.subscribers();
        let mut here = subscribers.direct.as_slice().iter();
        subscribers.nodes_since <= forwarded.n_nodes_added
            && here.all(|member| member.value.session.was_here(forwarded.looked))
    })
}

fn route_again(broker: &Arc<Broker>, cluster: &Cluster, mut forwarded: Forwarded) {
    let mut turn = Turn::new(broker);
    if forwarded.is_stale(turn.incarnation) {
        return; // it waited for the lease once more
    }
    turn.take_up(&forwarded);
    let message = forwarded.message.clone();
    let mut targets = Targets::new();
    let mut published = Published::default();
    let (mut waiting, mut absent) = (GroupPicks::new(), GroupPicks::new());
    let (mut asked, mut must_ask) = (None, false);
    if !message.as_ref().as_ref().is_expired(turn.now) {
        let plan = broker.table.plan(message.as_ref().as_ref().topic);
        if forwarded.target.is_direct {
            published = route_direct(&mut turn, &forwarded, &plan, &mut targets);
        }
        let mut picks = std::mem::take(&mut forwarded.target.picks);
        match ask(&mut turn, cluster, &mut forwarded, &mut picks) {
            Asked::Node(node) => {
                asked = Some(Target {
                    node,
                    is_direct: false,
                    picks,
                });
            }
            Asked::Later => waiting.extend(picks),
            Asked::All => {
                let left = (&mut waiting, &mut absent);
                let found = (&mut targets, &mut published);
                must_ask = pick_again(&mut turn, &forwarded, picks, left, found);
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
    for target in targets.iter().chain(&asked) {
        send_again(cluster, &forwarded, target, &turn);
    }
    turn.legs.extend(turn.parent.take());
    if !waiting.is_empty() || !absent.is_empty() {
        // Some of its groups are tried later; whatever else there was is done, or has failed.
        if let (Some(reason), Some(leg)) = (published.refused, &forwarded.leg) {
            broker.settle(leg.fork().done(Some(reason)));
        }
        if must_ask {
            forwarded.asking = Some(Asking::default());
        }
        let is_soon = !waiting.is_empty();
        waiting.append(&mut absent);
        forwarded.target.is_direct &= !turn.has_known_all(cluster);
        forwarded.target.picks = waiting;
        match is_soon {
            true => cluster.returns.put(forwarded),
            false => cluster.returns.hold(forwarded),
        }
    } else if let Some(reason) = published.refused {
        forwarded.finish(Some(reason));
    } else if forwarded.target.is_direct && !turn.has_known_all(cluster) {
        // As in [`Turn::doubt`]: the lease has run out since it was waited for.
        forwarded.fate = Fate::Accepted;
        (forwarded.before, forwarded.looked) = (turn.before, turn.began);
        forwarded.n_nodes_added = turn.n_nodes_added;
        cluster.returns.put(forwarded);
    } else {
        // The message is done when all are that it has gone to now.
        turn.legs.extend(forwarded.leg.take());
    }
    turn.finish(None);
}

/// Whom to ask next whether a member of these groups has had the message, as long as nobody knows.
fn ask(
    turn: &mut Turn<'_>,
    cluster: &Cluster,
    forwarded: &mut Forwarded,
    picks: &mut GroupPicks,
) -> Asked {
    let message = forwarded.message.clone();
    let Some(asking) = &mut forwarded.asking else {
        return Asked::All;
    };
    let asked = turn.ask_next(&message, asking, picks);
    if asked == Asked::All {
        // All of them may be chosen now, the one that was asked last, too.
        (forwarded.asking, forwarded.fate) = (None, Fate::Moved);
        forwarded.target.node = cluster.incarnation();
    }
    asked
}

/// Chooses a member of each group once more. What is left is tried later, or waits for a bridge.
/// Returns whether it has to be asked before that.
fn pick_again(
    turn: &mut Turn<'_>,
    forwarded: &Forwarded,
    picks: GroupPicks,
    (waiting, absent): (&mut GroupPicks, &mut GroupPicks),
    (targets, published): (&mut Targets, &mut Published),
) -> bool {
    let not = Elsewhere {
        node: forwarded.target.node,
        is_moving: forwarded.fate == Fate::Moving,
        tried: &forwarded.tried,
    };
    let mut must_ask = false;
    for (group, filter) in picks {
        let pick = (&*group, &*filter);
        match turn.pick_again(&forwarded.message, pick, &not, targets, published) {
            PickedAgain::Done => {}
            PickedAgain::Later => waiting.push((group, filter)),
            PickedAgain::Ask => {
                must_ask = true;
                waiting.push((group, filter));
            }
            PickedAgain::NoBridge => absent.push((group, filter)),
        }
    }
    must_ask
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
    turn.since = Some(Since::Routed(forwarded.stamp));
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
    /// missed for that is found. Also if there is a lease again by now: it is another one than
    /// before the routing.
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
        if !is_kept || self.has_known_all(cluster) {
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

    /// Whether all that was looked up in the table since this turn began was all that there is.
    fn has_known_all(&self, cluster: &Cluster) -> bool {
        let now = self.broker.clock.now();
        cluster.lease.is_held_since(self.lease, now)
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
        let is_orphan = self.if_refused == IfRefused::Lost;
        let is_will = is_orphan || self.parent.as_ref().is_some_and(Leg::is_orphan);
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
            looked: self.began,
            n_nodes_added: self.n_nodes_added,
            lease: self.lease,
            fate: Fate::Moved,
            asking: None,
            hold: None,
            under_way: None,
            span: None,
            leg: self.has_publisher.then(|| self.leg()),
            event: None,
        }
    }
}

#[cfg(test)]
mod tests;
