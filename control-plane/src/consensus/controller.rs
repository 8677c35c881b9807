//! The leader's task that looks after the control plane itself: lets nodes join, removes those
//! that somebody asks to remove, and makes Raft's membership follow.
//!
//! Everything that changes the membership is done here, one thing after the other. What is only
//! known to a leader (who has announced itself, who is well) is forgotten with the leadership, and
//! told again to the next one.

mod admission;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gatemq_proto::cluster::control::{JoinReply, JoinRequest};
use gatemq_proto::cluster::state::{Command, ControlNode, Found, Outcome, command};
use openraft::ChangeMembers;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::plan::{Step, View};
use super::channels::Channels;
use super::joining::status;
use super::leadership::Leadership;
use super::machine::Current;
use super::places::Places;
use super::raft::{Membership, Node, Raft};
use super::store::Identity;

/// Looks after the membership while this node leads.
pub(super) struct Controller {
    pub(super) raft: Raft,
    pub(super) identity: Identity,
    pub(super) node: ControlNode,
    pub(super) control_size: u32,
    pub(super) current: Arc<Current>,
    pub(super) channels: Arc<Channels>,
    pub(super) places: Places,
    pub(super) leadership: watch::Receiver<Leadership>,
    /// How often it looks.
    pub(super) interval: Duration,
    /// How long a learner must have been well before it may vote.
    pub(super) settle: Duration,
    /// How long a change may take.
    pub(super) patience: Duration,
    pub(super) known: Known,
}

/// What only the leader of a term knows.
#[derive(Default)]
pub(super) struct Known {
    announced: BTreeMap<u64, Node>,
    /// Learners that have the whole log and answer, and since when.
    well_since: BTreeMap<u64, Instant>,
}

/// What the controller is asked for.
pub(super) enum Request {
    Join(JoinRequest, oneshot::Sender<Result<JoinReply, Unable>>),
    Remove(u64, oneshot::Sender<Result<(), Unable>>),
}

/// Why the controller cannot do what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unable {
    NotLeader,
    /// It may be done later, or have been done.
    Later(String),
    Refused(String),
}

/// How many entries a learner may be behind and yet be ready to vote.
const LAG: u64 = 100;
/// Steps in a row, before requests are looked at again.
const STEPS: usize = 8;

// === impl Controller ===

impl Controller {
    /// Runs until the node stops.
    pub(super) async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        stop: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                request = requests.recv() => match request {
                    Some(request) => self.answer(request).await,
                    None => return,
                },
                _ = ticks.tick() => {}
                // An error says that the node stops.
                _ = self.leadership.changed() => {}
            }
            if self.leads() {
                self.reconcile().await;
            } else {
                self.known = Known::default();
            }
        }
    }

    fn leads(&self) -> bool {
        self.leadership.borrow().is_self
    }

    async fn answer(&mut self, request: Request) {
        // Whoever asked may have gone.
        match request {
            Request::Join(request, reply) => drop(reply.send(self.join(request).await)),
            Request::Remove(number, reply) => drop(reply.send(self.remove(number).await)),
        }
    }

    /// Takes steps until all is as it should be, or one fails; that is tried again later.
    async fn reconcile(&mut self) {
        if self.current.with(|state| state.cluster_id().is_none()) {
            return self.found().await;
        }
        for _ in 0..STEPS {
            let mut view = self.view();
            if view.control_size > view.voters.first().map_or(0, BTreeSet::len) {
                view.ready = self.examine(&view).await;
            }
            if view.has_leaving_voter() {
                view.answering = self.who_answers(voters_of(&view)).await;
            }
            let Some(step) = view.next_step() else { return };
            tracing::debug!(?step, "changing the membership");
            if let Err(error) = self.take(step).await {
                tracing::debug!(error, "the membership could not be changed");
                return;
            }
        }
    }

    /// Founds the cluster, if this node is to; also if a crash came between.
    async fn found(&self) {
        if !self.identity.is_founder {
            return;
        }
        let found = command::Kind::Found(Found {
            cluster_id: self.identity.cluster_id.clone(),
            node: Some(self.node.clone()),
            control_size: self.control_size,
        });
        match self.commit(found).await {
            Ok(_) => tracing::info!(name = self.node.name, "cluster founded"),
            Err(error) => tracing::debug!(?error, "the cluster could not be founded"),
        }
    }

    fn view(&self) -> View {
        let membership = self.membership();
        let (control, control_size) = self.current.with(|state| {
            let control = state.control_nodes().map(|(number, _)| number);
            (control.collect(), state.control_size())
        });
        let mut announced = self.known.announced.clone();
        let own = Node {
            name: self.node.name.clone(),
            address: self.node.address.clone(),
        };
        announced.insert(self.identity.number, own);
        View {
            own: self.identity.number,
            control,
            voters: membership.get_joint_config().clone(),
            nodes: membership
                .nodes()
                .map(|(number, node)| (*number, node.clone()))
                .collect(),
            announced,
            ready: BTreeSet::new(),
            answering: BTreeSet::new(),
            control_size: usize::try_from(control_size).unwrap_or(usize::MAX),
        }
    }

    fn membership(&self) -> Membership {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow();
        metrics.membership_config.membership().clone()
    }

    /// The learners that have the whole log, answer, and have done so for a while.
    async fn examine(&mut self, view: &View) -> BTreeSet<u64> {
        let (last, matched) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            let replication = metrics.replication.clone().unwrap_or_default();
            (metrics.last_log_index.unwrap_or(0), replication)
        };
        let voters = view.voters.first();
        let caught_up = view.nodes.iter().filter(|(number, _)| {
            let is_voter = voters.is_some_and(|voters| voters.contains(number));
            let matched = matched.get(number).copied().flatten();
            !is_voter && matched.is_some_and(|matched| matched.index.saturating_add(LAG) >= last)
        });
        let caught_up = caught_up.map(|(number, node)| (*number, node));
        let well = self.who_answers(caught_up).await;
        let now = Instant::now();
        self.known
            .well_since
            .retain(|number, _| well.contains(number));
        for number in well {
            self.known.well_since.entry(number).or_insert(now);
        }
        let settled = self.known.well_since.iter();
        let settled = settled.filter(|(_, since)| now.duration_since(**since) >= self.settle);
        settled.map(|(number, _)| *number).collect()
    }

    /// Those of some nodes that answer under their number.
    async fn who_answers<'a>(&self, nodes: impl Iterator<Item = (u64, &'a Node)>) -> BTreeSet<u64> {
        let asked =
            nodes.map(async |(number, node)| (self.answers(number, node).await).then_some(number));
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Whether a node answers under its number, where gossip says that it is or where it was.
    async fn answers(&self, number: u64, node: &Node) -> bool {
        let now = self.places.of(node);
        self.is_at(number, &now).await
            || now != node.address && self.is_at(number, &node.address).await
    }

    /// Whether a node answers at an address under its number.
    async fn is_at(&self, number: u64, address: &str) -> bool {
        let status = status(&self.channels, address).await;
        status.is_some_and(|status| {
            status.node == number && status.cluster_id == self.identity.cluster_id
        })
    }

    async fn take(&self, step: Step) -> Result<(), String> {
        let (change, what) = match step {
            Step::Finish(voters) => (ChangeMembers::ReplaceAllVoters(voters), "change finished"),
            Step::RemoveVoter(number) => (
                ChangeMembers::RemoveVoters(BTreeSet::from([number])),
                "voter removed",
            ),
            Step::RemoveLearner(number) => (
                ChangeMembers::RemoveNodes(BTreeSet::from([number])),
                "learner removed",
            ),
            Step::AddLearner(number, node) => (
                ChangeMembers::AddNodes(BTreeMap::from([(number, node)])),
                "learner added",
            ),
            Step::Move(number, node) => (
                ChangeMembers::SetNodes(BTreeMap::from([(number, node)])),
                "address changed",
            ),
            Step::Promote(numbers) => (ChangeMembers::AddVoterIds(numbers), "voters added"),
        };
        // A voter that is replaced is not kept as a learner.
        let changed = self.raft.change_membership(change, false);
        match tokio::time::timeout(self.patience, changed).await {
            Ok(Ok(_)) => {
                let membership = self.membership();
                let voters: Vec<_> = membership.voter_ids().collect();
                let learners: Vec<_> = membership.learner_ids().collect();
                tracing::info!(?voters, ?learners, "{what}");
                Ok(())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it takes too long".to_owned()),
        }
    }

    /// Commits a command of the controller's own.
    async fn commit(&self, kind: command::Kind) -> Result<Outcome, Unable> {
        let command = Arc::new(Command { kind: Some(kind) });
        let written = self.raft.client_write(command);
        match tokio::time::timeout(self.patience, written).await {
            Ok(Ok(written)) if written.data.refused.is_empty() => Ok(written.data),
            Ok(Ok(written)) => Err(Unable::Refused(written.data.refused)),
            Ok(Err(error)) => Err(Unable::Later(error.to_string())),
            Err(_) => Err(Unable::Later("it takes too long to commit".to_owned())),
        }
    }
}

/// The other voters, and where they are.
fn voters_of(view: &View) -> impl Iterator<Item = (u64, &Node)> {
    let voters = view.voters.iter().flatten();
    let others = voters.filter(|number| **number != view.own);
    others.filter_map(|number| Some((*number, view.nodes.get(number)?)))
}
