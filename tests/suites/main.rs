//! Every black-box suite, in one binary: they start the real broker and speak bytes to its
//! sockets through the harness of `tests/src`. Read the harness's `lib.rs` first.

mod access;
mod bad_input;
mod bill;
mod bridge;
mod cluster;
mod codec_differential;
mod conformance_v311;
mod conformance_v5;
mod differential;
mod durability;
mod foreign;
mod fuzz;
mod hostile;
mod listeners;
mod nemesis;
mod sessions;
mod statements;
mod tidy;
mod tracing;
