//! The scenarios, by what is hit.

mod bulk;
mod clock;
mod control;
mod damage;
mod disk;
mod exchanges;
mod gateways;
mod guests;
mod handover;
mod kafka;
mod leaders;
mod limits;
mod locals;
mod logins;
mod members;
mod mixed;
mod network;
mod newcomers;
mod overload;
mod power;
mod register;
mod sessions;
mod snapshots;
mod stores;
mod storm;
mod subscriptions;
mod wills;

use std::net::SocketAddr;

use super::Scenario;
use crate::{Cluster, Node};

pub(super) use overload::SCENARIOS as OVERLOAD;

/// All faults that there are, in the plan's order.
pub(super) fn all() -> Vec<Scenario> {
    let mut all = [
        bulk::SCENARIOS,
        clock::SCENARIOS,
        control::SCENARIOS,
        damage::SCENARIOS,
        disk::SCENARIOS,
        exchanges::SCENARIOS,
        gateways::SCENARIOS,
        handover::SCENARIOS,
        kafka::SCENARIOS,
        members::SCENARIOS,
        mixed::SCENARIOS,
        register::SCENARIOS,
        sessions::SCENARIOS,
        snapshots::SCENARIOS,
        storm::SCENARIOS,
        stores::SCENARIOS,
        limits::SCENARIOS,
        logins::SCENARIOS,
        network::SCENARIOS,
        power::SCENARIOS,
        subscriptions::SCENARIOS,
        wills::SCENARIOS,
    ]
    .concat();
    all.sort_by_key(|scenario| number(scenario.name));
    all
}

/// The node where somebody is connected.
fn at(cluster: &Cluster, address: Option<SocketAddr>) -> &Node {
    let gateways = cluster.gateways();
    let mut found = gateways.iter().filter(|node| Some(node.tcp()) == address);
    found.next().expect("clients are at gateways")
}

/// How many elections there were by now, as far as any control node knows.
fn term(cluster: &Cluster) -> f64 {
    let controls = cluster.controls().into_iter();
    let terms = controls.filter_map(|node| node.metric("control_term"));
    terms.fold(0.0, f64::max)
}

fn number(name: &str) -> usize {
    let digits = name.trim_start_matches('F');
    digits.parse().expect("a scenario is called F and a number")
}
