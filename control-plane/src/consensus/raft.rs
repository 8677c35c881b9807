//! What openraft is told about our types, and short names for its own.

use std::fmt;
use std::sync::Arc;

use gatemq_proto::cluster::state::{Command, Outcome};

use crate::state::State;

openraft::declare_raft_types!(
    /// A log entry has a command, which is shared rather than copied; a snapshot is a state.
    pub(crate) TypeConfig:
        D = Arc<Command>,
        R = Outcome,
        NodeId = u64,
        Node = Node,
        SnapshotData = State,
);

pub(crate) type Raft = openraft::Raft<TypeConfig>;
pub(crate) type Entry = openraft::Entry<TypeConfig>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type Membership = openraft::Membership<u64, Node>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, Node>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, Node>;
pub(crate) type Snapshot = openraft::Snapshot<TypeConfig>;
pub(crate) type StorageError = openraft::StorageError<u64>;
pub(crate) type StorageIoError = openraft::StorageIOError<u64>;
pub(crate) type Metrics = openraft::RaftMetrics<u64, Node>;

/// What the membership says of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// Where its gRPC services are, host:port.
    pub(crate) address: String,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.address)
    }
}
