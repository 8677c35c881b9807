//! L3: one publisher sends as fast as the broker reads, and fifty send ten messages a second each,
//! through the same gateway. They get theirs.

use std::time::Instant;

use super::{
    bounds::Bounds,
    crowd::Plan,
    publishes,
    stage::{Baseline, come, end, seconds},
};
use crate::{Cluster, faults::Run, patience::pause};

const N_VICTIMS: usize = 50;

pub(super) fn of_one(run: &mut Run) {
    let builder = Cluster::builder().control(1).gateways(2);
    let cluster = builder.setting("session: {on-full: reject}").start();
    let node = cluster.node("g1");
    let Some(victims) = come(run, Plan::bystanders(node.tcp(), N_VICTIMS)) else {
        return run.look_at(&cluster);
    };
    let time = seconds(run, 3, 10);
    let mut bounds = Bounds::start();
    let baseline = Baseline::take(run, &victims, time);
    let plan = Plan {
        window: publishes::WINDOW,
        level: publishes::LEVEL,
        payload: 1_000,
        ..Plan::flood(node.tcp(), node.tcp(), 1)
    };
    let Some(flood) = come(run, plan) else {
        return run.look_at(&cluster);
    };
    run.fault("flood", node.name());
    let from = Instant::now();
    pause(time * 3);
    let until = Instant::now();
    run.healed("flood", node.name());
    let taken = flood.tally().between(from, until);
    run.note(format!(
        "the flood: {:.0}/s acknowledged, {}",
        taken.answer_rate(),
        taken.answers
    ));
    publishes::finish(run, flood, node);
    baseline.compare_rate(run, &mut bounds, &victims.tally().between(from, until));
    end(run, bounds, victims, &cluster);
}
