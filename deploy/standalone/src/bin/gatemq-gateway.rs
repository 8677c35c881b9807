//! The binary `gatemq-gateway`: a gateway alone, of a cluster.

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
    run(Tiers::GATEWAY, std::env::args_os(), variables)
}
