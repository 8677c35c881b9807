//! Control planes of several nodes in this process, over loopback.

mod harness;

mod elections;
mod formation;
mod membership;
mod refusals;
mod reverts;
mod snapshots;
