//! What a scenario is, and which there are.

use std::time::Duration;

use super::{Run, scenarios};

/// A kind of fault, and what goes on meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name: `F1` to `F40` as the fault plan has them, `F41` to `F43`, which the plan has not, come
    /// behind; of what is too much for a gateway, `L1` to `L9`.
    pub name: &'static str,
    /// What happens, in a few words.
    pub title: &'static str,
    /// Whether the short form of every test run has it.
    pub is_short: bool,
    /// Makes it happen.
    pub act: fn(&mut Run),
}

/// How much a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// A few seconds: one fault.
    Short,
    /// As the fault plan has it: several faults, a minute of load.
    Full,
    /// So long: for a soak.
    For(Duration),
}

impl Scenario {
    /// All faults that there are, in the plan's order.
    pub fn all() -> Vec<Self> {
        scenarios::all()
    }

    /// Whether something has to go wrong in it, or else a run shows nothing. In F43 there are many
    /// messages, and that is all.
    pub fn needs_fault(&self) -> bool {
        self.name != "F43"
    }

    /// Whether somebody has to write and read as soon as the last fault is healed. L1 to L9 measure by
    /// clients of their own when what was too much is over.
    pub fn needs_probe(&self) -> bool {
        !self.name.starts_with('L')
    }

    /// Overload. These compare what they measure, so they want a machine to themselves, and are
    /// performed only where they are named.
    pub fn overload() -> &'static [Self] {
        scenarios::OVERLOAD
    }

    /// The one of this name, whatever its case.
    pub fn named(name: &str) -> Option<Self> {
        let all = Self::all().into_iter().chain(Self::overload().to_vec());
        let mut found = all.filter(|scenario| scenario.name.eq_ignore_ascii_case(name));
        found.next()
    }
}
