//! The binary `gatemq-bridge`: a bridge to Kafka, in a cluster.

use gatemq_standalone::{Tiers, start};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    start(Tiers::BRIDGE)
}
