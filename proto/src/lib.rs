//! Everything on a wire: the MQTT codec ([`mqtt`]), topic names and filters ([`topic`]), and, with
//! the feature `cluster`, what nodes say to one another.
//!
//! The codec and the topics know no broker, no socket and no clock: bytes in, values out.

#[cfg(feature = "cluster")]
pub mod cluster;
pub mod mqtt;
pub mod topic;
