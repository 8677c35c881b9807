//! The routing table: which subscribers a topic reaches.
//!
//! Pure and generic: a subscriber is a number and a value that this crate never looks into, so
//! that the same table serves a gateway's own sessions and, later, whole nodes. Nothing here
//! awaits, and a match takes no write lock.
//!
//! In reading order: [`members`] holds who subscribed to one filter, [`filter`] is one filter
//! with its members and groups, [`trie`] finds the filters of a topic, [`plan`] remembers the
//! answer, [`table`] ties them together, [`share`] picks a member of a group.

pub mod filter;
pub mod members;
pub mod peer;
pub mod plan;
pub mod share;
pub mod table;
pub mod trie;

pub use filter::{Filter, Group, Subscribers};
pub use members::{Member, Members};
pub use plan::Plan;
pub use share::Strategy;
pub use table::{Counts, Table};
