//! The control plane: members, routes and configuration of a cluster, replicated by Raft.
//!
//! In reading order: [`state`] is what is agreed on (pure), [`consensus`] agrees on it by Raft,
//! [`feed`] remembers the latest changes for those who follow them, [`leases`] knows who has
//! applied what (pure), [`service`] answers gateways.

pub mod consensus;
pub mod dealer;
pub mod feed;
pub mod leases;
pub mod service;
pub mod state;
