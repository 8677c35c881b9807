//! Who else is there: finds the nodes of a cluster by gossip, and notices those that are gone.
//!
//! Gossip discovers and hints; it never decides. Whoever fences a node, or changes who may vote,
//! asks the control plane.
//!
//! In reading order: [`meta`] is what a node says of itself (pure), [`member`] what is known of a
//! node and what can happen to it, `table` the rules that make the one of the other: whose
//! cluster, whose name (pure). `memory` keeps the members on disk for the next start, `config` is
//! what an operator sets. `hooks` is what the crate `memberlist` calls, `stream` what it reads from,
//! `gossip` its shell, `join` finds the cluster and finds it again, `stranger` tells what is no
//! gossip, and `handle` is what a process holds.

pub mod meta;

pub mod member;

mod table;

mod memory;

mod config;

mod hooks;

mod stream;

mod gossip;

mod join;

mod stranger;

mod handle;

#[cfg(test)]
mod tests;

pub use config::{BadConfig, Config, Key, Timing, check_name};
pub use handle::{KeyError, Membership, StartError};
pub use join::{JoinError, Joined};
pub use member::{Before, Departure, Event, Member, NameTaken, OtherCluster};
pub use meta::{ClusterId, Meta, Roles};
