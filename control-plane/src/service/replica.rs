//! What the service needs of Raft and of the replicated state.

use std::fmt::Debug;
use std::time::Duration;

use gatemq_proto::cluster::control::{JoinReply, JoinRequest, StatusReply};
use gatemq_proto::cluster::prost::bytes::Bytes;
use gatemq_proto::cluster::state::{Command, Outcome, Part, Role};
use tokio::sync::watch;
use tonic::Status;

use crate::leases::Member;

/// This node of the control plane: Raft, and the state that it has applied.
pub trait Replica: Debug + Send + Sync + 'static {
    /// The state at one revision.
    type View: View;

    /// This node's number; 0 before it has one.
    fn node(&self) -> u64;

    /// The state as it is now, at or above whatever the feed has told. Cheap.
    fn view(&self) -> Self::View;

    /// Who leads. Every change of office shows, if only by its term.
    fn leadership(&self) -> watch::Receiver<Leadership>;

    /// Of a leader: how long ago it *sent* what a quorum of voters has answered. Never less than it
    /// is, for leases rest on it; `None` if it does not lead or no quorum has answered yet.
    fn quorum_age(&self) -> Option<Duration>;

    /// Proposes a command and waits until it is applied here. Dropping the future takes nothing
    /// back. There is a deadline on it outside.
    fn propose(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Outcome, ProposeError>> + Send;

    /// A node asks to become part of the control plane; the cluster it names is this one.
    fn join(&self, request: JoinRequest) -> impl Future<Output = Result<JoinReply, Status>> + Send;

    /// How Raft is; watermark and attendants are filled in by the service.
    fn status(&self) -> StatusReply;
}

/// The state at one revision; it does not change while it is held.
pub trait View: Send + Sync + 'static {
    /// Empty before there is a cluster.
    fn cluster_id(&self) -> Bytes;

    /// The index of the last entry of the log that is in it, be it a command or not.
    fn revision(&self) -> u64;

    /// All of it, in parts far below 4 MiB.
    fn parts(&self) -> impl Iterator<Item = Part> + Send + '_;

    /// A gateway or bridge that is registered, fenced or not, and not forgotten.
    fn member(&self, incarnation: u64) -> Option<Member>;

    /// All of them.
    fn members(&self) -> Vec<Member>;

    /// The name of one that is registered, fenced or not, and not forgotten.
    fn name(&self, incarnation: u64) -> Option<String>;

    /// Who has a name in a role and is not fenced, unless it is the very process of that token.
    fn holder(&self, name: &str, role: Role, token: u64) -> Option<Holder>;
}

/// Who has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The index of its registration.
    pub incarnation: u64,
    /// Where other nodes forward messages to.
    pub address: String,
}

/// Who leads, as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Nobody, or a leader that cannot be reached by an address, or this node, but it has not
    /// applied yet all that it found in its log.
    Unknown,
    /// Another node.
    Following {
        /// Raft's.
        term: u64,
        /// The leader's number.
        leader: u64,
        /// Where its gRPC services are, host:port.
        address: String,
    },
    /// This node.
    Leading {
        /// Raft's.
        term: u64,
        /// The last index of its log when it took office, with the first entry of its term; after
        /// a restart within a term, the last index that it found. All of it is applied.
        floor: u64,
    },
}

/// Why nothing came of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead: the command was not entered.
    #[error("this node does not lead")]
    NotLeader,
    /// It may have been entered, and may yet be applied.
    #[error("{0}")]
    Undecided(String),
}
