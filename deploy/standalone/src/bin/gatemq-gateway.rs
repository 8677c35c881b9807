//! The binary `gatemq-gateway`: a gateway alone, of a cluster.

use gatemq_standalone::{Tiers, start};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    start(Tiers::GATEWAY)
}
