//! Other nodes that have subscribers of a filter: a number each, and for a group how many.
//!
//! Most filters are wanted by no other node or by one, so the list lies in its filter.

use smallvec::SmallVec;

/// Other nodes that have subscribers of a filter outside of groups.
pub type Nodes = SmallVec<[u64; 2]>;

/// A node that has members of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupNode {
    /// The node's number.
    pub node: u64,
    /// How many of its members there have a connection.
    pub n_online: u32,
    /// How many have none, and a session that can keep messages.
    pub n_offline: u32,
}

/// Adds a node, if it is not there; returns whether it was added.
pub(crate) fn add(nodes: &mut Nodes, node: u64) -> bool {
    let is_new = !nodes.contains(&node);
    if is_new {
        nodes.push(node);
    }
    is_new
}

/// Takes a node out; returns whether it was there.
pub(crate) fn take(nodes: &mut Nodes, node: u64) -> bool {
    let at = nodes.iter().position(|known| *known == node);
    if let Some(at) = at {
        nodes.swap_remove(at);
    }
    at.is_some()
}
