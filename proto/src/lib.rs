//! Everything on a wire: the MQTT codec ([`mqtt`]) and topic names and filters ([`topic`]).
//!
//! Knows no broker, no socket and no clock: bytes in, values out.

pub mod mqtt;
pub mod topic;
