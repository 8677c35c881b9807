//! L9: five times what can be carried, and a subscriber who takes nothing of it, so that it piles up.
//! When that is over, bystanders wait no longer than before, and memory comes back.
//!
//! Queues drop what they have no room for (`session.on-full: drop-oldest`), and what they drop has to
//! be counted: what subscribers of the flood lack in the end, him included who wakes up late and takes
//! what is left, is as much as their gateway says, not one message more or less (I1 and
//! `checker/dropped.rs`). Bystanders lack nothing, and theirs has dropped nothing.

use std::time::{Duration, Instant};

use super::{
    bounds::Bounds,
    crowd::Plan,
    publishes,
    stage::{Baseline, TIMES, come, end, over, seconds},
    watch::Watch,
};
use crate::{Cluster, faults::Run, patience::pause};

const N_PUBLISHERS: usize = 4;
const PAYLOAD: usize = 2_000;
/// How soon all is as before.
const LIMIT: Duration = Duration::from_secs(60);
/// Memory has come back if it is a tenth below the most, or a tenth above what it was.
const BELOW: f64 = 0.9;
const ABOVE: f64 = 1.1;
/// So many MiB more are no matter: pools and tables that were used once stay.
const SLACK: f64 = 24.0;

pub(super) fn after(run: &mut Run) {
    let builder = Cluster::builder().control(1).gateways(2);
    let cluster = builder
        .setting("session: {on-full: drop-oldest}")
        // Who takes nothing is not disconnected for it: all that is lacking was dropped by a queue.
        .setting("limits: {stuck-timeout: 1h, max-queued-bytes: 32MiB}")
        .start();
    let [node, other] = ["g1", "g2"].map(|name| cluster.node(name));
    let Some(bystanders) = come(run, Plan::bystanders(node.tcp(), 20)) else {
        return run.look_at(&cluster);
    };
    let time = seconds(run, 3, 10);
    let mut bounds = Bounds::start();
    let baseline = Baseline::take(run, &bystanders, time);
    let watches = [node, other].map(|node| (node, Watch::start(node)));
    pause(Duration::from_secs(1));
    let before = watches.each_ref().map(|(_, watch)| watch.memory_now());
    let plan = Plan {
        payload: PAYLOAD,
        n_asleep: 1,
        is_lossy: true,
        ..Plan::flood(node.tcp(), other.tcp(), N_PUBLISHERS)
    };
    let since = run.fault("flood", node.name());
    let Some((flood, _)) = publishes::overload(run, &plan, other) else {
        return run.look_at(&cluster);
    };
    pause(time * 2);
    let during = bystanders.tally().between(since, Instant::now());
    publishes::finish(run, flood, other);
    run.healed("flood", node.name());
    let until = Instant::now();
    run.note(format!(
        "bystanders meanwhile: {:.0}/s, {}",
        during.rate(),
        during.deliveries
    ));
    // As often as it takes.
    let mut sample = over(&bystanders, time);
    while sample.deliveries.p99 > baseline.quiet.deliveries.p99 * TIMES && until.elapsed() < LIMIT {
        sample = over(&bystanders, time);
    }
    run.took(until.elapsed());
    run.note(format!(
        "afterwards: {:.0}/s, {}",
        sample.rate(),
        sample.deliveries
    ));
    if sample.deliveries.p99 > baseline.quiet.deliveries.p99 * TIMES {
        bounds.broken("bystanders wait longer than before though the flood is over".to_owned());
    }
    for ((node, watch), before) in watches.iter().zip(before) {
        let most = watch.memory(since, until);
        let bound = (most * BELOW).max(before * ABOVE).max(before + SLACK);
        let is_back = || watch.memory_now() <= bound;
        let came_back =
            crate::patience::becomes_true(LIMIT.saturating_sub(until.elapsed()), is_back);
        let (name, now) = (node.name(), watch.memory_now());
        run.note(format!(
            "memory of {name}: {before:.0} MiB before, {most:.0} at most, {now:.0} after {:.0} s",
            until.elapsed().as_secs_f64()
        ));
        if !came_back {
            run.fail(format!(
                "{name} keeps {now:.0} MiB of {most:.0}, and had {before:.0} before"
            ));
        }
    }
    if publishes::dropped(other).unwrap_or_default() == 0 {
        run.unavailable("flood", "no queue was too full");
    }
    if publishes::dropped(node) != Some(0) {
        run.fail("the gateway of the bystanders dropped something");
    }
    end(run, bounds, bystanders, &cluster);
}
