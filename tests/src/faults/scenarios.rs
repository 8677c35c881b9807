//! The scenarios, by what is hit.

mod control;
mod exchanges;
mod gateways;
mod guests;
mod handover;
mod members;
mod register;
mod snapshots;
mod stores;
mod storm;
mod subscriptions;
mod wills;

use super::Scenario;

/// All that there are, in the plan's order.
pub(super) fn all() -> Vec<Scenario> {
    let mut all = [
        control::SCENARIOS,
        exchanges::SCENARIOS,
        gateways::SCENARIOS,
        handover::SCENARIOS,
        members::SCENARIOS,
        register::SCENARIOS,
        snapshots::SCENARIOS,
        storm::SCENARIOS,
        stores::SCENARIOS,
        subscriptions::SCENARIOS,
        wills::SCENARIOS,
    ]
    .concat();
    all.sort_by_key(|scenario| number(scenario.name));
    all
}

fn number(name: &str) -> usize {
    let digits = name.trim_start_matches('F');
    digits.parse().expect("a scenario is called F and a number")
}
