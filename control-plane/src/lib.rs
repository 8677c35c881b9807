//! The control plane: members, routes and configuration of a cluster, replicated by Raft.
//!
//! In reading order: [`state`] is what is agreed on (pure), [`consensus`] agrees on it by Raft,
//! [`feed`] remembers the latest changes for those who follow them, [`leases`] knows who has
//! applied what (pure), [`service`] answers gateways, [`replica`] is Raft as the service sees it,
//! [`dealer`] deals out the sessions of gateways that are gone (pure), `pruning` takes bans out
//! that are over, `removals` tells whom operators have removed, [`control_plane`] puts all of it
//! together, [`metrics`] shows how it is, and [`api`] lets operators look at it and change it over
//! HTTP.

pub mod api;
pub mod consensus;
pub mod control_plane;
pub mod dealer;
pub mod feed;
mod hex;
pub mod leases;
pub mod metrics;
mod pruning;
mod removals;
pub mod replica;
#[cfg(test)]
#[path = "../../router/src/seeds.rs"]
mod seeds;
pub mod service;
pub mod state;

pub use control_plane::{Config, ControlPlane, Door, StartError};
