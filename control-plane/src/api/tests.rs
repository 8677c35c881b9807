//! The API of a control plane of one node, with gateways that are only desks.

mod access;
mod bans;
mod document;
mod fixture;
mod gateways;
mod state;
mod traces;
