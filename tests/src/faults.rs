//! Faults on purpose: named, seeded scenarios over real processes, and the table of what came of
//! them. `tests/run faults` is the command; the scenarios are F1 to F43, of which F1 to F40 are those of
//! the project's fault plan, and L1 to L9, overload.
//!
//! A run is a scenario and a seed: a cluster of its own, clients that log what they see, faults at
//! moments that the seed chooses, time to heal, and the judge. What a machine cannot do makes a run
//! unknown, never good.

mod commands;
mod evidence;
pub mod mistakes;
mod mix;
pub mod outcome;
mod over;
pub mod report;
pub mod run;
pub mod scenario;
mod scenarios;
pub mod soak;
mod states;
mod takeover;

pub use mistakes::Mistake;
pub use outcome::{Outcome, Sign};
pub use run::Run;
pub use scenario::{Effort, Scenario};
