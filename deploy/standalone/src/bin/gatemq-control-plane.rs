//! The binary `gatemq-control-plane`: a node of the control plane alone.

use gatemq_standalone::{Tiers, start};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    start(Tiers::CONTROL)
}
