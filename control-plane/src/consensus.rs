//! Agrees on commands by Raft: log, network, membership of the control plane.
//!
//! openraft decides; around it, in reading order: [`config`](Config) and how a node starts;
//! `store` keeps vote, log and snapshots on disk, in the form of `wire`; `machine` applies what is
//! committed; `network` and `service` carry Raft between nodes,
//! `places` is where those are, `silence` is who does not answer; `leadership` watches who leads,
//! `quorum` for how long that is certain, `readiness` says whether this node does its part;
//! `joining` is how a node becomes part of the control plane, `announcing` how it sees that it still
//! is, and `controller` what the leader does about that.
//!
//! Rules that are kept here, because openraft leaves them to its users:
//!
//! - A callback, a vote and a number are given out only when they are safe on disk.
//! - Every call names the cluster and the number that it is for; a number is never used again, and
//!   never without the data that belongs to it.
//! - A cluster is founded by an explicit flag on a node without data, and by nothing else.
//! - Voters are added in whole steps to an odd number, up to the declared size, and taken away only
//!   when somebody asks for it.
//! - A proposal that was handed to Raft and not confirmed is unknown, never failed.

mod config;
mod start;

mod raft;
mod wire;

mod store;

mod log;

mod machine;

mod channels;
mod confirmed;
mod places;

mod network;
mod service;
mod silence;

mod leadership;
mod quorum;

mod readiness;

mod announcing;
mod controller;
mod joining;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatemq_proto::cluster::control::status_reply::Silent;
use gatemq_proto::cluster::control::{JoinReply, JoinRequest, StatusReply};
use gatemq_proto::cluster::prost::Message;
use gatemq_proto::cluster::raft::raft_server::RaftServer;
use gatemq_proto::cluster::state::command::Kind;
use gatemq_proto::cluster::state::{Command, Control, Outcome};
use gatemq_proto::cluster::{PROTOCOL, other_protocol};
use openraft::ServerState;
use openraft::error::{ClientWriteError, RaftError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use self::channels::MESSAGE_BYTES;
pub use self::config::Config;
use self::controller::{Controller, Request, Unable};
use self::leadership::Heard;
pub use self::leadership::{Leader, Leadership};
pub use self::machine::Applied;
use self::machine::Current;
pub use self::places::Places;
use self::quorum::Quorum;
use self::raft::Raft;
pub use self::service::RaftService;
use self::silence::Silence;
pub use self::start::StartError;
pub use self::store::Unreadable;
use self::store::{Identity, Store};
use crate::state::State;

/// A running node of the control plane. A cheap clone.
#[derive(Clone)]
pub struct Consensus {
    inner: Arc<Inner>,
}

/// Why a command was not done, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads: the command is nowhere.
    #[error("another node leads the control plane")]
    NotLeader {
        /// Where it is, if it is known.
        leader_address: Option<String>,
    },
    /// This node leads, but has not heard of a quorum for too long: the command is nowhere.
    #[error("the control plane has no quorum")]
    NoQuorum,
    /// Such a command is not taken from outside: it is nowhere.
    #[error("{0}")]
    Invalid(&'static str),
    /// Nobody knows whether it is or will be done. To propose it again does no harm.
    #[error("it is not known what became of the command")]
    Unknown,
}

/// Why a node could not join or be removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Another node leads.
    #[error("another node leads the control plane")]
    NotLeader {
        /// Where it is, if it is known.
        leader_address: Option<String>,
    },
    /// It cannot be said now; ask again.
    #[error("{0}")]
    Later(String),
    /// It is not done.
    #[error("{0}")]
    Refused(String),
}

struct Inner {
    config: Config,
    identity: Identity,
    raft: Raft,
    store: Store,
    current: Arc<Current>,
    leadership: watch::Receiver<Leadership>,
    quorum: Arc<Quorum>,
    silence: Arc<Silence>,
    heard: Arc<Heard>,
    dismissed: watch::Receiver<bool>,
    requests: mpsc::Sender<Request>,
    tracker: TaskTracker,
}

/// The largest command, in bytes.
const COMMAND_BYTES: usize = 1 << 20;

// === impl Consensus ===

/// The cluster that the data in an engine belong to, if a node has been part of one with it.
pub fn stored_cluster(engine: &dyn gatemq_storage::Engine) -> Option<Bytes> {
    store::cluster_of(engine)
}

impl Consensus {
    /// Proposes a command and waits until it is committed and applied here; a refusal is in the
    /// outcome.
    ///
    /// # Errors
    ///
    /// See [`ProposeError`]: only `Unknown` leaves open what becomes of the command.
    pub async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        check_proposal(&command)?;
        // If this node leads now, Raft may take the command, and a leader that it then says to
        // exist may or may not have it.
        if !self.is_leader_of_raft() {
            return Err(ProposeError::NotLeader {
                leader_address: self.leader_address(),
            });
        }
        if self
            .quorum_age()
            .is_some_and(|age| age > self.inner.config.election.end)
        {
            return Err(ProposeError::NoQuorum);
        }
        // The founder leads before it has founded.
        if self.with_state(|state| state.cluster_id().is_none()) {
            return Err(ProposeError::NotLeader {
                leader_address: None,
            });
        }
        let written = self.inner.raft.client_write(Arc::new(command));
        let patience = self.inner.config.propose_timeout;
        match tokio::time::timeout(patience, written).await {
            Ok(Ok(written)) => Ok(written.data),
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(_)))) => {
                Err(ProposeError::Invalid("not a command"))
            }
            Ok(Err(_)) | Err(_) => Err(ProposeError::Unknown),
        }
    }

    /// The state as it is applied here: a cheap clone.
    pub fn state(&self) -> State {
        self.inner.current.state()
    }

    /// Looks at the state without a clone. Nothing is applied meanwhile: be quick.
    pub fn with_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.inner.current.with(look)
    }

    /// Who leads, and every change of it.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Of the leader: how long ago a quorum last acknowledged that it leads.
    pub fn quorum_age(&self) -> Option<Duration> {
        self.inner.quorum.age()
    }

    /// The cluster that this node is of: 16 bytes.
    pub fn cluster_id(&self) -> &Bytes {
        &self.inner.identity.cluster_id
    }

    /// This node's number, which no other node of the cluster ever has.
    pub fn number(&self) -> u64 {
        self.inner.identity.number
    }

    /// How this node is; watermark and attendants are left for others to fill in.
    pub fn status(&self) -> StatusReply {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let (nodes, control_size, store) = self.with_state(|state| {
            let nodes = state.control_nodes().map(|(number, node)| {
                let mut node = node.clone();
                // The membership knows where a node is that has moved.
                if let Some(member) = membership.get_node(&number) {
                    node.address.clone_from(&member.address);
                }
                Control {
                    number,
                    node: Some(node),
                }
            });
            let store = state.store().to_owned();
            (nodes.collect(), state.control_size(), store)
        });
        let applied = metrics.last_applied.map_or(0, |last| last.index);
        let committed = self.inner.store.committed().map_or(0, |last| last.index);
        StatusReply {
            cluster_id: self.cluster_id().clone(),
            node: self.number(),
            leader: metrics
                .current_leader
                .filter(|leader| self.is_heard_of(*leader))
                .unwrap_or(0),
            term: metrics.current_term,
            last_log: metrics.last_log_index.unwrap_or(0),
            committed: committed.max(applied),
            applied,
            voters: membership.voter_ids().collect(),
            nodes,
            quorum_age: self
                .quorum_age()
                .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            watermark: 0,
            attendants: Vec::new(),
            control_size,
            protocol: PROTOCOL,
            silent: self.silent(),
            store,
        }
    }

    /// The nodes of the control plane that do not answer this one.
    fn silent(&self) -> Vec<Silent> {
        let silent = self.inner.silence.all().into_iter();
        let silent = silent.map(|(node, since)| Silent {
            node,
            since: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        });
        silent.collect()
    }

    /// The service that other nodes of the control plane call.
    pub fn raft_service(&self) -> RaftServer<RaftService> {
        let inner = &self.inner;
        let service = RaftService::new(
            inner.raft.clone(),
            inner.identity.cluster_id.clone(),
            inner.identity.number,
            Arc::clone(&inner.current),
            Arc::clone(&inner.heard),
        );
        RaftServer::new(service)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES)
    }

    /// Waits until this node is no part of the control plane any more, because somebody removed it;
    /// else for ever.
    pub async fn dismissed(&self) -> StartError {
        let mut dismissed = self.inner.dismissed.clone();
        match dismissed.wait_for(|is_dismissed| *is_dismissed).await {
            Ok(_) => {
                let Identity { number, name, .. } = &self.inner.identity;
                StartError::Refused(dismissal(*number, name))
            }
            Err(_) => std::future::pending().await, // it stops
        }
    }

    /// Answers a node that wants to join, or that tells where it is. Any node refuses one of
    /// another cluster, or one that was removed; all else is for the leader to say.
    ///
    /// # Errors
    ///
    /// `NotLeader` and `Later`; a refusal is in the reply.
    pub async fn join(&self, request: JoinRequest) -> Result<JoinReply, ChangeError> {
        let own = self.cluster_id();
        let node = request.node.as_ref();
        let who = node.map_or("the node", |node| &*node.name);
        if let Some(refused) = other_protocol(who, request.protocol) {
            tracing::warn!(refused, "a node is not taken in");
            return Ok(JoinReply {
                cluster_id: own.clone(),
                refused,
                protocol: PROTOCOL,
                ..JoinReply::default()
            });
        }
        if !request.cluster_id.is_empty() && request.cluster_id != *own {
            return Ok(JoinReply {
                cluster_id: own.clone(),
                refused: Controller::other_cluster(own, &request.cluster_id),
                protocol: PROTOCOL,
                ..JoinReply::default()
            });
        }
        if request.number > 0 && self.inner.current.is_dismissed(request.number) {
            return Ok(JoinReply {
                cluster_id: own.clone(),
                refused: dismissal(request.number, who),
                protocol: PROTOCOL,
                is_dismissed: true,
                ..JoinReply::default()
            });
        }
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Join(request, reply), answer).await
    }

    /// Removes a node from the control plane for good, because somebody asks for it.
    ///
    /// # Errors
    ///
    /// `Refused` if it is no node, the only one, or if too few would be left.
    pub async fn remove(&self, number: u64) -> Result<(), ChangeError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Remove(number, reply), answer).await
    }

    /// Waits until everything has ended after the shutdown was asked for.
    pub async fn stopped(&self) {
        self.inner.tracker.wait().await;
    }

    async fn ask<T>(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<T, Unable>>,
    ) -> Result<T, ChangeError> {
        let stopped = || ChangeError::Later("this node stops".to_owned());
        let sent = self.inner.requests.send(request).await;
        sent.map_err(|_| stopped())?;
        let answer = answer.await.map_err(|_| stopped())?;
        answer.map_err(|unable| match unable {
            Unable::NotLeader => ChangeError::NotLeader {
                leader_address: self.leader_address(),
            },
            Unable::Later(text) => ChangeError::Later(text),
            Unable::Refused(text) => ChangeError::Refused(text),
        })
    }

    fn is_leader_of_raft(&self) -> bool {
        let metrics = self.inner.raft.server_metrics();
        metrics.borrow().state == ServerState::Leader
    }

    /// Where the leader is, if it is known and another node.
    fn leader_address(&self) -> Option<String> {
        let leadership = self.inner.leadership.borrow();
        let leader = leadership.leader.as_ref()?;
        (leader.number != self.number()).then(|| leader.address.clone())
    }
}

// === private ===

/// What a node is told that was removed, and its operator.
fn dismissal(number: u64, name: &str) -> String {
    format!(
        "{name} was removed: number {number} is no node of this control plane any more: leave it \
         stopped, or empty its data directory so that it joins anew"
    )
}

fn check_proposal(command: &Command) -> Result<(), ProposeError> {
    let Some(kind) = &command.kind else {
        return Err(ProposeError::Invalid("a command without a kind"));
    };
    if matches!(kind, Kind::Found(_) | Kind::Admit(_) | Kind::Dismiss(_)) {
        let text = "nodes of the control plane come by join and go by remove";
        return Err(ProposeError::Invalid(text));
    }
    if command.encoded_len() > COMMAND_BYTES {
        return Err(ProposeError::Invalid("a command of more than 1 MiB"));
    }
    Ok(())
}
