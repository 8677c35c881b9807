//! As many messages as can be, from node to node: F43. What goes wrong once in ten thousand times
//! goes wrong here.

use std::time::{Duration, Instant};

use crate::{
    Cluster,
    faults::{Run, Scenario},
    traffic::{Route, publisher::Plan},
    unique,
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "F43",
    title: "50,000 messages go from node to node, as fast as they can",
    is_short: false,
    act: a_bulk_crosses,
}];

/// Messages that go from one gateway to another; three times as many in the full form.
const N_CROSSING: usize = 50_000;
/// Each has a window of its own.
const N_PUBLISHERS: usize = 8;
/// So many messages are waited for at a time.
const STEP: usize = 100;
/// How long so many may take: where that is not enough, the machine may be too slow, or the gateways,
/// and the run shows nothing.
const LIMIT: Duration = Duration::from_secs(100);

/// All publishers are on one gateway, and somebody is on each other one who wants everything.
fn a_bulk_crosses(run: &mut Run) {
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let traffic = run.traffic(&cluster);
    let mut three = cluster.three();
    three.rotate_left(run.random.below(3));
    let [from, others @ ..] = three;
    let prefix = unique("bulk");
    let subscribers = others.map(|node| {
        let subscribed = traffic.newcomer(node.tcp(), &format!("{prefix}/#"));
        subscribed.expect("the subscription is granted")
    });
    let publishers = (0..N_PUBLISHERS).map(|number| {
        let topics = ["one", "two", "three"].map(|topic| (format!("{prefix}/{topic}"), 1));
        let plan = Plan {
            client: unique("pub"),
            level: if number % 2 == 0 { 4 } else { 5 },
            topics: topics.to_vec(),
            route: Route::new([from.tcp()]),
            history: run.history(),
            random: run.random.fork(),
            pace: Duration::ZERO,
        };
        plan.start()
    });
    let publishers: Vec<_> = publishers.collect();
    let start = Instant::now();
    let n_crossed = || traffic.history.n_accepted() * others.len();
    for part in 1..=run.rounds(1, 3) {
        let since = Instant::now();
        while n_crossed() < part * N_CROSSING && since.elapsed() < LIMIT {
            traffic.stream(STEP);
        }
        if n_crossed() < part * N_CROSSING {
            run.unavailable("bulk", "the machine is too slow, or the gateways are");
        }
    }
    let (n_crossed, took) = (n_crossed(), start.elapsed());
    run.note(format!("{n_crossed} went to other nodes in {took:.1?}"));
    let finished = publishers.into_iter().map(|one| one.finish());
    let drained = subscribers.into_iter().map(|one| one.drain());
    for done in finished.chain(drained) {
        done.unwrap_or_else(|trouble| run.fail(trouble));
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}
