//! What the control plane agrees on: members, routes, settings. Pure.

use gatemq_proto::cluster::state::{Command, Outcome, Part};

/// The whole replicated state. A clone is cheap: what is not changed is shared.
#[derive(Clone, Debug, Default)]
pub struct State {}

impl State {
    /// Applies the command at an index of the log. No clock, no chance, no order of a hash.
    pub fn apply(&mut self, _index: u64, _command: &Command) -> Outcome {
        unimplemented!()
    }

    /// The index of the last command that was applied; 0 before the first.
    pub fn revision(&self) -> u64 {
        unimplemented!()
    }

    /// All of it, in parts of at most about 64 KiB.
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        std::iter::empty()
    }
}
