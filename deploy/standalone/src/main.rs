//! The binary `gatemq`: all tiers in one process.

use gatemq_standalone::{Tiers, start};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    start(Tiers::ALL)
}
