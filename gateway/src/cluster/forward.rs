//! Messages on their way to other nodes: whom they are for, and what comes of their answers.

mod seal;

use std::cell::{Cell, RefCell};
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
use crate::proto::cluster::bridges;
use crate::proto::mqtt::{Qos, Reason};
use crate::receipt::{Leg, Owed};
use crate::session::received::Origin;
use crate::store::{Again, Completed, Ticket};
use crate::trace;
use crate::turn::author::Author;
use crate::turn::{Published, Turn};
use gatemq_router::control::lease::Lease;

/// The ways to all other nodes.
pub(crate) type Peers = peer::Peers<Forwarded>;

/// Who is to get a message.
pub(crate) enum Scope<'a> {
    /// Everybody; other nodes are collected.
    Everywhere(&'a mut Targets),
    /// Subscribers of this node, and of them those that the sending node means.
    Here(&'a Wanted<'a>),
}

/// Nodes that a message goes to.
#[derive(Debug, Default)]
pub(crate) struct Targets(SmallVec<[Target; 4]>);

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(super) node: u64,
    /// Whether it goes to subscribers outside of groups.
    pub(super) is_direct: bool,
    /// Groups of which a member there gets it, with their filters.
    pub(super) picks: SmallVec<[(Box<str>, Box<str>); 1]>,
}

/// Nodes that need not be asked again.
pub(crate) type Tried = SmallVec<[u64; 1]>;

/// What the node that sent a message asks for.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) is_direct: bool,
    pub(crate) picks: &'a [Pick],
    /// Groups that found nobody.
    pub(crate) refused: RefCell<Vec<Pick>>,
    /// Whether one of those has members that are just leaving this node.
    pub(crate) is_moving: Cell<bool>,
    /// Whether one of those has members that may not have it.
    pub(crate) is_denied: Cell<bool>,
}

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
    /// What had changed before it was routed, and how many nodes had been added to the table.
    pub(super) before: Before,
    pub(super) n_nodes_added: u64,
    /// What became of it.
    pub(super) fate: Fate,
    /// Set from when it waits for a bridge.
    pub(super) hold: Option<Hold>,
    /// Its span, where it is traced, until the node has answered.
    pub(super) span: Option<Span>,
    /// What its publisher waits for; `None` for one that the broker itself published.
    pub(crate) leg: Option<Leg>,
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

/// The reason with which a node refuses a message for groups whose members there may not have it.
pub(super) const DENIED: Reason = Reason::NotAuthorized;

/// Where answers of other nodes go.
#[derive(Debug)]
pub(crate) struct Returns {
    completed: Arc<Completed>,
    /// Messages that have to be routed again, in the order in which they came back. Bounded by
    /// what the ways to other nodes hold.
    again: Mutex<VecDeque<Forwarded>>,
    arrived: Notify,
    moves: Arc<Moves>,
    lease: Arc<Lease>,
    clock: Clock,
    /// Messages for bridges that are not there.
    pub(crate) held: Held,
}

// === impl Scope, Targets, Target, Wanted ===

impl Scope<'_> {
    pub(crate) fn is_direct(&self) -> bool {
        match self {
            Self::Everywhere(_) => true,
            Self::Here(wanted) => wanted.is_direct,
        }
    }

    /// Adds nodes that have subscribers outside of groups.
    #[inline]
    pub(crate) fn add_nodes(&mut self, nodes: &[u64]) {
        if let Self::Everywhere(targets) = self {
            for node in nodes {
                targets.of(*node).is_direct = true;
            }
        }
    }
}

impl Targets {
    pub(crate) fn new() -> Self {
        Self(SmallVec::new())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.0.iter()
    }

    /// A member of a group there is to get the message.
    pub(crate) fn add_pick(&mut self, node: u64, group: &str, filter: &str) {
        self.of(node).picks.push((group.into(), filter.into()));
    }

    fn of(&mut self, node: u64) -> &mut Target {
        let known = self.0.iter().position(|target| target.node == node);
        let at = known.unwrap_or_else(|| {
            self.0.push(Target {
                node,
                is_direct: false,
                picks: SmallVec::new(),
            });
            self.0.len() - 1
        });
        &mut self.0[at]
    }
}

impl Target {
    /// Whether it is a bridge, which has no sessions and wants to know who has published.
    fn is_bridge(&self) -> bool {
        let mut picks = self.picks.iter();
        picks.any(|(group, _)| bridges::is_reserved(group))
    }
}

impl Wanted<'_> {
    pub(crate) fn has_pick(&self, group: &str, filter: &str) -> bool {
        self.picks
            .iter()
            .any(|pick| pick.group == group && pick.filter == filter)
    }

    /// Members of the group are just leaving.
    pub(crate) fn refuse_moving(&self, group: &str, filter: &str) {
        self.is_moving.set(true);
        self.refuse(group, filter);
    }

    /// Members of the group are there, and may not have it.
    pub(crate) fn refuse_denied(&self, group: &str, filter: &str) {
        self.is_denied.set(true);
        self.refuse(group, filter);
    }

    /// Nobody of the group could take it.
    pub(crate) fn refuse(&self, group: &str, filter: &str) {
        self.refused.borrow_mut().push(Pick {
            group: group.to_owned(),
            filter: filter.to_owned(),
        });
    }
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
                self.returns.clone().put(self);
            }
            Verdict::Moved => {
                self.fate = Fate::Moved;
                // Its publisher's next ones must not find the subscriber before it does.
                drop(self.returns.moves.change());
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
        let is_current = || returns.lease.is_held(returns.clock.now());
        self.target.is_direct && (returns.moves.any_since(self.before) || !is_current())
    }

    /// Whether nobody would publish it again if it were refused.
    fn is_orphan(&self) -> bool {
        self.leg.as_ref().is_none_or(Leg::is_orphan)
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
    pub(super) fn hold(&self, forwarded: Forwarded) {
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

    /// Those that have come back; waits for at least one.
    pub(super) async fn take(&self) -> VecDeque<Forwarded> {
        loop {
            let again = std::mem::take(&mut *self.again.lock());
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
        let broker = self.broker;
        let Some(cluster) = &broker.cluster else {
            return;
        };
        published.is_matched = true;
        let origin = match message.qos {
            Qos::AtMostOnce => None,
            _ => Some(self.origin()),
        };
        let mut outgoing = seal(message, origin, author.client_id);
        if self.since.is_some() {
            outgoing = outgoing.again();
        }
        let owned = origin.map(|origin| (origin, Arc::new(message.to_message())));
        for target in &targets.0 {
            let username = match target.is_bridge() {
                true => author.username(),
                false => Box::default(),
            };
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
                n_nodes_added: self.n_nodes_added,
                fate: Fate::Moved,
                hold: None,
                span,
                leg: self.has_publisher.then(|| self.leg()),
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
            n_nodes_added: 0,
            fate: match again.share {
                Some(_) => Fate::Moving,
                None => Fate::Moved,
            },
            hold: None,
            span: None,
            leg,
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
    let outgoing = seal(&message, origin, &forwarded.client_id).again();
    let outgoing = on_from(outgoing, span.as_ref());
    let again = Forwarded {
        returns: forwarded.returns.clone(),
        message: forwarded.message.clone(),
        client_id: forwarded.client_id.clone(),
        username: forwarded.username.clone(),
        origin: forwarded.origin,
        stamp: forwarded.stamp,
        target: target.clone(),
        tried: forwarded.tried.clone(),
        before: turn.before,
        n_nodes_added: turn.n_nodes_added,
        fate: Fate::Moved,
        hold: None,
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
    let parcel = outgoing.address(target.is_direct, picks);
    cluster
        .peers
        .forward(target.node, publisher, parcel, forwarded)
}
