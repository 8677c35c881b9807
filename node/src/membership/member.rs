//! What is known of a node, and what can happen to it.

use super::meta::{ClusterId, Meta, Unreadable};
use std::net::SocketAddr;
use std::sync::Arc;

/// A node that is there, as far as this one knows. One that does not answer is a member until it
/// is given up: the crate does not say whom it suspects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, unique in the cluster.
    pub name: String,
    /// Where its gossip is reached.
    pub address: SocketAddr,
    /// What it says of itself; `None` if that cannot be read.
    pub meta: Option<Arc<Meta>>,
    /// Whether it is this node.
    pub is_self: bool,
}

/// What happens to members, this node excepted. Each is a line in the log, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node is there that was not.
    Joined {
        /// The node.
        member: Member,
        /// What was known of the last one of that name.
        before: Option<Before>,
    },
    /// A node is another process than a moment ago, and its end was not noticed.
    Restarted {
        /// The node.
        member: Member,
        /// What was known of it.
        before: Before,
    },
    /// A node says something else of itself.
    Updated(Member),
    /// A node is gone.
    Left {
        /// The node, as it was last.
        member: Member,
        /// How it went.
        how: Departure,
    },
    /// What a node says of itself cannot be read; it is a member without.
    Unreadable {
        /// Its name.
        name: String,
        /// Where its gossip is reached.
        address: SocketAddr,
        /// Why not.
        error: Unreadable,
    },
    /// A node of another cluster was met, and is no member.
    OtherCluster(OtherCluster),
    /// A node asks for a name that another one has. If that is the same node, started again, it is
    /// let in as soon as the old process is known to be gone.
    NameContested {
        /// The name.
        name: String,
        /// Where the gossip of the one that has it is reached.
        holder: SocketAddr,
        /// And of the one that asks for it.
        asking: SocketAddr,
    },
    /// Another process that is alive has this node's name. Both may be told so: the one that came
    /// later is the one whose [`joined`](super::Membership::joined) is this error; the other may
    /// go on.
    NameTaken(NameTaken),
}

/// What was known of a node that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// Where its gossip was reached.
    pub address: SocketAddr,
    /// The token of its process, if it was known.
    pub token: Option<u64>,
}

/// How a node went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It said so.
    Left,
    /// It does not answer.
    Failed,
    /// It belongs to another cluster, as it turned out.
    OtherCluster,
}

/// A node of another cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the node {name} at {address} belongs to the cluster {theirs}, and this one to {ours}: take its \
     address out of the members of this cluster; or, if it is to be part of this one, stop it, \
     move its data away and start it again"
)]
pub struct OtherCluster {
    /// Its name.
    pub name: String,
    /// Where its gossip is reached.
    pub address: SocketAddr,
    /// Its cluster.
    pub theirs: ClusterId,
    /// This node's cluster.
    pub ours: ClusterId,
}

/// Another process has this node's name, and is alive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name {name} is taken: the node at {theirs} has it and is alive, and this one is at \
     {ours}: give one of the two another name"
)]
pub struct NameTaken {
    /// The name.
    pub name: String,
    /// Where this node's gossip is reached.
    pub ours: SocketAddr,
    /// Where that of the other is.
    pub theirs: SocketAddr,
}

// === impl Member ===

impl Member {
    /// The token of its process, if it is known.
    pub fn token(&self) -> Option<u64> {
        self.meta.as_ref().map(|meta| meta.token)
    }
}
