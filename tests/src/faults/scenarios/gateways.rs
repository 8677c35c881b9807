//! Gateways that die or stand still: F1 to F6.

use std::time::Duration;

use super::at;
use crate::{
    Cluster, Connect, Node,
    faults::{
        Run, Scenario,
        takeover::{Takeovers, Witness},
    },
    patience::pause,
    unique,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "F1",
        title: "a publisher's gateway is killed",
        is_short: true,
        act: publishers_gateway_dies,
    },
    Scenario {
        name: "F2",
        title: "a subscriber's gateway is killed",
        is_short: true,
        act: subscribers_gateway_dies,
    },
    Scenario {
        name: "F3",
        title: "both gateways are killed at once",
        is_short: false,
        act: both_gateways_die,
    },
    Scenario {
        name: "F6",
        title: "a gateway stands still for 10 s and goes on",
        is_short: false,
        act: a_gateway_stands_still,
    },
];

/// How long the zombie stands still.
const STANDSTILL: Duration = Duration::from_secs(10);

fn start() -> Cluster {
    Cluster::builder().control(1).gateways(3).start()
}

fn publishers_gateway_dies(run: &mut Run) {
    let cluster = start();
    let traffic = run.everybody(&cluster);
    run.kill_each_time(&traffic, (2, 8), |random| {
        at(&cluster, traffic.publisher_at(random.below(2)))
    });
    run.conclude(traffic);
    run.look_at(&cluster);
}

fn subscribers_gateway_dies(run: &mut Run) {
    let cluster = start();
    let traffic = run.everybody(&cluster).with_wills();
    for node in cluster.gateways() {
        leave_sessions(node, run.rounds(50, 500));
    }
    let mut takeovers = Takeovers::default();
    for _ in 0..run.rounds(2, 8) {
        run.somewhere(&traffic);
        let node = at(&cluster, traffic.subscriber_at(run.random.below(3)));
        let witness = Witness::at(&cluster, node).expect("the gateway lives");
        let killed = run.kill(node);
        witness.look_on(run, killed, &mut takeovers);
        run.recovers(&traffic, killed);
        run.restart(node);
    }
    takeovers.tell(run);
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// Sessions with a subscription whose clients are away: who takes over has them to adopt, too.
fn leave_sessions(node: &Node, n_sessions: usize) {
    for _ in 0..n_sessions {
        let mut client = node.connect(&Connect::persistent(5, unique("left"))).0;
        client.subscribe(&unique("left"), 1);
        client.disconnect();
    }
}

fn both_gateways_die(run: &mut Run) {
    let cluster = start();
    let traffic = run.everybody(&cluster).with_wills();
    for _ in 0..run.rounds(2, 8) {
        run.somewhere(&traffic);
        let one = at(&cluster, traffic.publisher_at(run.random.below(2)));
        let other = at(&cluster, traffic.subscriber_at(run.random.below(3)));
        let killed = run.kill(one);
        if other.name() != one.name() {
            run.kill(other);
        }
        run.recovers(&traffic, killed);
        run.restart(one);
        if other.name() != one.name() {
            run.restart(other);
        }
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}

fn a_gateway_stands_still(run: &mut Run) {
    let cluster = start();
    let traffic = run.everybody(&cluster);
    for _ in 0..run.rounds(1, 4) {
        run.somewhere(&traffic);
        let node = cluster.three()[run.random.below(3)];
        let stopped = run.stop(node);
        run.recovers(&traffic, stopped);
        pause(STANDSTILL.saturating_sub(stopped.elapsed()));
        run.go_on(node);
        traffic.everyone_goes_on();
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}
