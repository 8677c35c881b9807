//! The scenarios, by what is hit.

mod gateways;

use super::Scenario;

/// All that there are, in the plan's order.
pub(super) fn all() -> Vec<Scenario> {
    let all = [gateways::SCENARIOS].concat();
    let mut all: Vec<Scenario> = all.into_iter().collect();
    all.sort_by_key(|scenario| number(scenario.name));
    all
}

fn number(name: &str) -> usize {
    let digits = name.trim_start_matches('F');
    digits.parse().expect("a scenario is called F and a number")
}
