//! Messages on their way to other nodes: whom they are for, and what comes of their answers.

mod seal;

use std::collections::VecDeque;
use std::sync::Arc;

use gatemq_node::trace::Span;
use gatemq_router::peer::{self, Outgoing, Pick, Picks, Verdict};
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tracing::field::display;

use self::seal::{on_from, seal};
use super::Cluster;
use super::held::{Held, Hold};
use super::moves::{Before, Moves};
use crate::clock::Clock;
use crate::message::{Message, MessageRef};
use crate::proto::mqtt::{Qos, Reason};
use crate::receipt::{Leg, Owed};
use crate::session::received::Origin;
use crate::store::{Again, Completed, Ticket};
use crate::trace;
use crate::turn::ask::Asking;
use crate::turn::author::Author;
use crate::turn::event::Open;
use crate::turn::{Published, Turn};
use gatemq_router::control::lease::{Generation, Lease};

pub(crate) use super::targets::{GroupPicks, Scope, Target, Targets, Wanted};

/// The ways to all other nodes.
pub(crate) type Peers = peer::Peers<Forwarded>;

/// Nodes that need not be asked again.
pub(crate) type Tried = SmallVec<[u64; 1]>;

/// A message of QoS 1 or 2 on its way to one node.
#[derive(Debug)]
pub(crate) struct Forwarded {
    pub(super) returns: Arc<Returns>,
    pub(super) message: Arc<Message>,
    pub(super) client_id: Box<str>,
    /// As whom its client is known, where a bridge is to get it.
    pub(super) username: Box<str>,
    pub(crate) origin: Origin,
    /// When it was routed first: see [`crate::session::Session::arrived`].
    pub(crate) stamp: u64,
    pub(super) target: Target,
    /// Nodes where no member of its groups may have it.
    pub(super) tried: Tried,
    /// What had changed before it was routed last, a stamp from before whom it has found here then,
    /// and how many nodes had been added to the table.
    pub(super) before: Before,
    pub(super) looked: u64,
    pub(super) n_nodes_added: u64,
    /// The lease under which it was.
    pub(super) lease: Generation,
    /// What became of it.
    pub(super) fate: Fate,
    /// Set while it is asked whether a member of its groups has had it.
    pub(super) asking: Option<Asking>,
    /// Set from when it waits for a bridge.
    pub(super) hold: Option<Hold>,
    /// Held as long as it is on its way for another time.
    pub(super) under_way: Option<Arc<()>>,
    /// Its span, where it is traced, until the node has answered.
    pub(super) span: Option<Span>,
    /// What its publisher waits for; `None` for one that the broker itself published.
    pub(crate) leg: Option<Leg>,
    /// Set if it says what a client did: the room that this takes.
    pub(super) event: Option<Arc<Open>>,
}

/// What became of a message that another node had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The node has it; but somebody may have left that node before the message came, so it is
    /// looked who would get it now.
    Accepted,
    /// It is to be routed again.
    Moved,
    /// As that, and the groups that are left have members that are just moving.
    Moving,
}

/// The reason with which a node refuses a message for groups whose members there may not have it, or
/// cannot take it: those of QoS 0 who are away. It is not asked again for them.
pub(super) const DENIED: Reason = Reason::NotAuthorized;

/// Where answers of other nodes go.
#[derive(Debug)]
pub(crate) struct Returns {
    completed: Arc<Completed>,
    /// Messages that have to be routed again, in the order in which they came back, or were put in
    /// here that were on no way ([`Cluster::route_again`], [`Turn::doubt`]). It has no bound of its
    /// own. Those of clients are not acknowledged before they are done with: each connection has no
    /// more than its Receive Maximum (before 5.0: than 65,535, the packet identifiers) here, in as
    /// many pieces as there are nodes and groups that want a message, and one that is made again may
    /// bring as many more. Others are wills, one for each session, and what a session that ended has
    /// left to its groups. While memory is short, nothing that clients publish is read.
    again: Mutex<VecDeque<Forwarded>>,
    arrived: Notify,
    moves: Arc<Moves>,
    lease: Arc<Lease>,
    clock: Clock,
    /// Messages for bridges that are not there.
    pub(crate) held: Held,
}

// === impl Forwarded, Returns ===

impl peer::Receipt for Forwarded {
    fn settle(mut self, verdict: Verdict) {
        match verdict {
            Verdict::Accepted if self.is_uncertain() => {
                self.fate = Fate::Accepted;
                self.target.picks.clear();
                self.returns.clone().put(self);
            }
            Verdict::Accepted => self.finish(None),
            Verdict::Refused { reason, picks } if picks.is_empty() => {
                let reason = Reason::from_u8(reason).unwrap_or(Reason::UnspecifiedError);
                self.finish(Some(reason));
            }
            Verdict::Refused { reason, picks } => {
                if reason == DENIED as u8 {
                    self.tried.push(self.target.node);
                }
                if let Some(asking) = &mut self.asking {
                    asking.note_no(self.target.node);
                }
                self.fate = Fate::Moved;
                self.keep(false, &picks);
                self.returns.clone().put(self);
            }
            Verdict::Moving { is_direct, picks } => {
                self.fate = Fate::Moving;
                self.keep(is_direct, &picks);
                if is_direct {
                    drop(self.returns.moves.change()); // see below
                }
                if self.is_to_be_asked() {
                    self.asking.get_or_insert_default().begin_again();
                }
                self.returns.clone().put(self);
            }
            Verdict::Moved => {
                self.fate = Fate::Moved;
                // Its publisher's next ones must not find the subscriber before it does.
                drop(self.returns.moves.change());
                if self.is_to_be_asked() {
                    self.asking.get_or_insert_default();
                }
                self.returns.clone().put(self);
            }
        }
    }
}

impl Forwarded {
    /// Whether a subscriber may have left the node before the message was there: somebody has
    /// moved, or could have without this gateway's knowledge.
    fn is_uncertain(&self) -> bool {
        let returns = &self.returns;
        let has_known_all = || returns.lease.is_held_since(self.lease, returns.clock.now());
        self.target.is_direct && (returns.moves.any_since(self.before) || !has_known_all())
    }

    /// Whether a member of its groups may have had it, and must not get it twice: the node is gone
    /// that was to choose one, or members are just leaving it, or somebody else goes on with it.
    fn is_to_be_asked(&self) -> bool {
        let qos = self.message.as_ref().as_ref().qos;
        qos == Qos::ExactlyOnce && !self.target.picks.is_empty() && !self.target.is_bridge()
    }

    /// Whether the next node may be asked at once who of its groups has had it.
    pub(super) fn is_asked_on(&self) -> bool {
        self.asking.as_ref().is_some_and(|asking| asking.goes_on)
    }

    /// Whether its publisher has been told to publish it again elsewhere: this gateway was taken for
    /// gone since.
    pub(super) fn is_stale(&self, incarnation: u64) -> bool {
        self.leg
            .as_ref()
            .is_some_and(|leg| leg.is_stale(incarnation))
    }

    /// Whether nobody would publish it again if it were refused.
    fn is_orphan(&self) -> bool {
        self.leg.as_ref().is_none_or(Leg::is_orphan)
    }

    /// Whether it comes again if it is refused, before all that its publisher has behind it.
    fn is_in_row(&self) -> bool {
        self.leg.as_ref().is_some_and(Leg::is_in_row)
    }

    /// Whether both are one message, for whose sake the same is waited for.
    pub(super) fn is_copy_of(&self, other: &Self) -> bool {
        let is_beside = match (&self.leg, &other.leg) {
            (Some(leg), Some(other)) => leg.is_beside(other),
            (leg, other) => leg.is_none() && other.is_none(),
        };
        is_beside && self.origin == other.origin && self.stamp == other.stamp
    }

    /// Who published it: the number of the session.
    pub(super) fn publisher(&self) -> u64 {
        self.message.as_ref().as_ref().publisher
    }

    /// Whether it says what a client did.
    pub(super) fn is_event(&self) -> bool {
        self.event.is_some()
    }

    /// Only for these it is tried again: everybody else there has it.
    fn keep(&mut self, is_direct: bool, picks: &[Pick]) {
        self.target.is_direct &= is_direct || self.is_uncertain();
        self.target.picks.retain(|(group, filter)| {
            let is_it = |pick: &Pick| *pick.group == **group && *pick.filter == **filter;
            picks.iter().any(is_it)
        });
    }

    /// It is done, or has failed for this reason.
    pub(super) fn finish(mut self, failure: Option<Reason>) {
        // Before that of the publish, which ends when all legs are done.
        if let (Some(mut span), Some(reason)) = (self.span.take(), failure) {
            span.fail(reason.to_string());
        }
        if let (Some(event), Some(_)) = (&self.event, failure) {
            event.give_up();
        }
        match (self.leg, failure) {
            (Some(leg), failure) => self.returns.settle(leg.done(failure)),
            (None, Some(reason)) => {
                let message = self.message.as_ref().as_ref();
                let trace_id = message.trace.map(|it| display(it.context().trace()));
                tracing::debug!(topic = message.topic, %reason, trace_id, "refused by another node");
            }
            (None, None) => {}
        }
    }
}

impl Returns {
    pub(super) fn new(
        completed: Arc<Completed>,
        moves: Arc<Moves>,
        lease: Arc<Lease>,
        clock: Clock,
    ) -> Arc<Self> {
        Arc::new(Self {
            completed,
            moves,
            lease,
            clock,
            again: Mutex::default(),
            arrived: Notify::new(),
            held: Held::default(),
        })
    }

    /// Keeps a message until a bridge is there, or its time is over.
    pub(super) fn hold(&self, mut forwarded: Forwarded) {
        forwarded.under_way = None; // for however long, perhaps for good
        drop(self.moves.change()); // what its publisher sends next waits for it
        self.held.put(forwarded);
    }

    pub(super) fn put(&self, forwarded: Forwarded) {
        self.again.lock().push_back(forwarded);
        self.arrived.notify_one();
    }

    fn settle(&self, owed: Option<Owed>) {
        if owed.is_some() {
            let ticket = Ticket {
                owed,
                ..Ticket::default()
            };
            self.completed.push(vec![ticket]);
        }
    }

    /// Those that have come back.
    pub(super) fn take_now(&self) -> VecDeque<Forwarded> {
        std::mem::take(&mut *self.again.lock())
    }

    /// Those that have come back; waits for at least one.
    pub(super) async fn take(&self) -> VecDeque<Forwarded> {
        loop {
            let again = self.take_now();
            if !again.is_empty() {
                return again;
            }
            self.arrived.notified().await;
        }
    }
}

// === forwarding ===

impl Turn<'_> {
    /// Sends a message to other nodes; its acknowledgement waits for theirs.
    pub(crate) fn forward(
        &mut self,
        message: &MessageRef<'_>,
        targets: &Targets,
        author: Author<'_>,
        published: &mut Published,
    ) {
        published.is_matched = true;
        self.forward_in(message, targets, author, None);
    }

    /// The same for a message that may say what a client did: then it takes room of its own.
    pub(crate) fn forward_in(
        &mut self,
        message: &MessageRef<'_>,
        targets: &Targets,
        author: Author<'_>,
        event: Option<&Arc<Open>>,
    ) {
        let broker = self.broker;
        let Some(cluster) = &broker.cluster else {
            return;
        };
        let origin = match message.qos {
            Qos::AtMostOnce => None,
            _ => Some(self.origin()),
        };
        let mut outgoing = seal(message, origin, author.client_id, self.knows);
        if self.since.is_some() || self.is_repeat {
            outgoing = outgoing.again();
        }
        let owned = origin.map(|origin| (origin, Arc::new(message.to_message())));
        for target in targets.iter() {
            let username = match target.is_bridge() {
                true => author.username(),
                false => Box::default(),
            };
            // There may be very many groups with long names.
            let names = target.picks.iter();
            let n_bytes: usize = names
                .map(|(group, filter)| group.len() + filter.len())
                .sum();
            self.weigh(n_bytes);
            let span = trace::forward(message, author.client_id, target.node);
            let outgoing = on_from(outgoing.clone(), span.as_ref());
            let forwarded = owned.clone().map(|(origin, message)| Forwarded {
                returns: cluster.returns.clone(),
                message,
                client_id: author.client_id.into(),
                username: username.clone(),
                origin,
                stamp: self.stamp,
                target: target.clone(),
                tried: Tried::new(),
                before: self.before,
                looked: self.began,
                n_nodes_added: self.n_nodes_added,
                lease: self.lease,
                fate: Fate::Moved,
                asking: None,
                hold: None,
                under_way: None,
                span,
                leg: self.has_publisher.then(|| self.leg()),
                event: event.cloned(),
            });
            let lane = message.publisher;
            if !send(cluster, target, (lane, &username), outgoing, forwarded) && origin.is_none() {
                self.tally.dropped += 1;
            }
        }
    }
}

impl Cluster {
    /// Routes a message again: somebody whom it was for has gone to another gateway.
    pub(crate) fn route_again(&self, again: Again, leg: Option<Leg>) {
        self.put_again(again, leg, None);
    }

    /// Routes a message of QoS 2 again, or under a name that it may have been routed by before, when it
    /// is known that no member of its group has had it.
    pub(crate) fn ask(&self, again: Again, leg: Option<Leg>) {
        self.put_again(again, leg, Some(Asking::at_once()));
    }

    fn put_again(&self, again: Again, leg: Option<Leg>, asking: Option<Asking>) {
        drop(self.moves.change()); // as where another node gives it back
        let picks = again.share.iter();
        let target = Target {
            node: self.incarnation(),
            is_direct: again.share.is_none(),
            picks: picks
                .map(|share| (share.group.clone(), share.filter.clone()))
                .collect(),
        };
        self.returns.put(Forwarded {
            returns: self.returns.clone(),
            message: again.message,
            client_id: "".into(),
            username: "".into(),
            origin: again.origin,
            stamp: again.stamp,
            target,
            tried: Tried::new(),
            before: Before::default(),
            looked: 0,
            n_nodes_added: 0,
            lease: Generation::default(),
            fate: match again.share {
                Some(_) => Fate::Moving,
                None => Fate::Moved,
            },
            asking,
            hold: None,
            under_way: None,
            span: None,
            leg,
            event: None,
        });
    }
}

/// Sends a message to a node once more, or to another one, in the place of one that came back.
pub(super) fn send_again(
    cluster: &Cluster,
    forwarded: &Forwarded,
    target: &Target,
    turn: &Turn<'_>,
) {
    let message = forwarded.message.as_ref().as_ref();
    let origin = Some(forwarded.origin);
    let span = trace::forward(&message, &forwarded.client_id, target.node);
    let outgoing = seal(&message, origin, &forwarded.client_id, turn.knows).again();
    let outgoing = match forwarded.asking.is_some() && !target.is_direct {
        true => outgoing.ask(),
        false => outgoing,
    };
    let outgoing = on_from(outgoing, span.as_ref());
    let again = Forwarded {
        returns: forwarded.returns.clone(),
        message: forwarded.message.clone(),
        client_id: forwarded.client_id.clone(),
        event: forwarded.event.clone(),
        username: forwarded.username.clone(),
        origin: forwarded.origin,
        stamp: forwarded.stamp,
        target: target.clone(),
        tried: forwarded.tried.clone(),
        before: turn.before,
        looked: turn.began,
        n_nodes_added: turn.n_nodes_added,
        lease: turn.lease,
        fate: Fate::Moved,
        asking: forwarded.asking.clone().filter(|_| !target.is_direct),
        hold: None,
        under_way: forwarded.under_way.clone(),
        span,
        leg: forwarded.leg.as_ref().map(Leg::fork),
    };
    let publisher = (message.publisher, &*forwarded.username);
    send(cluster, target, publisher, outgoing, Some(again));
}

fn send(
    cluster: &Cluster,
    target: &Target,
    (publisher, username): (u64, &str),
    outgoing: Outgoing,
    forwarded: Option<Forwarded>,
) -> bool {
    let picks = target.picks.iter();
    let picks = Picks::new(picks.map(|(group, filter)| (&**group, &**filter)));
    let picks = picks.with_username(username);
    let outgoing = match forwarded.as_ref().is_some_and(Forwarded::is_orphan) {
        true => outgoing.orphan(),
        false => outgoing,
    };
    let outgoing = match forwarded.as_ref().is_some_and(Forwarded::is_in_row) {
        true => outgoing.in_row(),
        false => outgoing,
    };
    let parcel = outgoing.address(target.is_direct, picks);
    cluster
        .peers
        .forward(target.node, publisher, parcel, forwarded)
}
