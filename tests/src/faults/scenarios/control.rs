//! The control plane loses nodes: F7 and F8.

use std::time::{Duration, Instant};

use super::locals::{Locals, acks_have_stopped};
use crate::{
    Cluster,
    faults::{Run, Scenario},
    history::now,
    patience::pause,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "F7",
        title: "the leader is killed, again and again",
        is_short: true,
        act: leaders_die,
    },
    Scenario {
        name: "F8",
        title: "two of three control nodes are killed for 30 s",
        is_short: false,
        act: the_quorum_is_lost,
    },
];

/// How long the quorum is away.
const OUTAGE: Duration = Duration::from_secs(30);
/// How soon after the quorum is back everybody is answered.
const SOON: Duration = Duration::from_secs(10);

fn start() -> Cluster {
    let cluster = Cluster::builder().control(3).gateways(2).start();
    cluster.wait_for_voters();
    cluster
}

fn leaders_die(run: &mut Run) {
    let cluster = start();
    let traffic = run.everybody(&cluster);
    run.kill_each_time(&traffic, (1, 6), |_| cluster.leader());
    run.conclude(traffic);
    run.look_at(&cluster);
}

fn the_quorum_is_lost(run: &mut Run) {
    let cluster = start();
    let traffic = run.everybody(&cluster);
    let locals = Locals::start(run, &cluster);
    for _ in 0..run.rounds(1, 2) {
        run.somewhere(&traffic);
        let first = run.random.below(3);
        let two = [first, (first + 1) % 3].map(|at| cluster.controls()[at]);
        for node in two {
            run.kill(node);
        }
        let killed = now();
        pause(OUTAGE);
        for gateway in cluster.gateways() {
            acks_have_stopped(run, gateway, killed);
        }
        for node in two {
            node.launch().expect("it starts");
        }
        for node in two {
            node.wait_until_ready().expect("it becomes ready");
        }
        let back = Instant::now();
        for node in two {
            run.healed("kill", node.name());
        }
        run.recovers(&traffic, back);
        if back.elapsed() > SOON {
            run.fail(format!(
                "answered only {:?} after the quorum was back",
                back.elapsed()
            ));
        }
    }
    locals.finish(run);
    run.conclude(traffic);
    run.look_at(&cluster);
}
