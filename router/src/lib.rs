//! The routing table, and the road between nodes: which subscribers a topic reaches, and how a
//! message gets to those of other nodes.
//!
//! The table is pure and generic: a subscriber is a number and a value that this crate never looks
//! into; another node that has subscribers is a number. Nothing of it awaits, and a match takes no
//! write lock. The road is [`peer`], and [`control`] the way to those who say where it leads.
//!
//! In reading order: [`members`] holds who subscribed to one filter, [`nodes`] which other nodes
//! have subscribers, [`filter`] is one filter with its members, nodes and groups, [`trie`] finds
//! the filters of a topic, [`plan`] remembers the answer, [`table`] ties them together, [`share`]
//! picks a member of a group.

pub mod control;
pub mod filter;
pub mod members;
pub mod nodes;
pub mod peer;
pub mod plan;
#[cfg(test)]
mod seeds;
pub mod share;
pub mod table;
pub mod trie;

pub use filter::{Change, Filter, Group, Subscribers};
pub use members::{Member, Members};
pub use nodes::GroupNode;
pub use plan::Plan;
pub use share::Strategy;
pub use table::{Counts, Table};
