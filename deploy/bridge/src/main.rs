//! The binary `gatemq-bridge`: a bridge to Kafka, in a cluster.

use gatemq_standalone::{Tiers, run};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let variables = std::env::vars_os().map(|(name, value)| {
        (
            name.to_string_lossy().into_owned(),
            value.to_string_lossy().into_owned(),
        )
    });
    run(Tiers::BRIDGE, std::env::args_os(), variables)
}
