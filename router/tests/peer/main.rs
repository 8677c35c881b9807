//! The road between nodes over real gRPC on the loopback interface.
//!
//! `node` has both ends in one process: a destination that records what comes and settles as it
//! is told, and a source whose receipts are written down; `relay` is the network between them, to
//! be cut and stalled. The others are the tests.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod breaks;
mod contract;
mod flow;
mod node;
mod relay;
