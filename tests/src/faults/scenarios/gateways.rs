//! Gateways that die or stand still: F1 to F6.

mod double;

use std::time::{Duration, Instant};

use super::{at, exchanges::Interrupted, newcomers::Newcomer};
use crate::{
    Cluster, Connect, Node,
    faults::{
        Run, Scenario,
        takeover::{Takeovers, Witness},
    },
    patience::pause,
    unique,
};
use double::Double;

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
/// Messages that wait for it.
const N_WAITING: usize = 10;
/// Clients that are at the zombie and elsewhere.
const N_DOUBLES: usize = 4;
/// How soon it answers them then, if it does.
const ANSWERED: Duration = Duration::from_secs(3);

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
    let mut takeovers = Takeovers::default();
    takeovers.add_resumed(&run.history().records());
    takeovers.tell(run);
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
    let n_again = run.history().judge().most_resumed;
    run.note(format!(
        "{n_again} messages of QoS 1 came again, at most, to one client that connected anew"
    ));
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

/// Meanwhile somebody subscribes elsewhere, and then messages for that wait in the zombie's sockets:
/// it must not acknowledge them by what it knew before. Nor may it go on serving those who keep their
/// connections to it, and are at another one by then.
///
/// Every other time the control plane is killed when the zombie stands still, and back long before it
/// goes on: so there is nothing in its sockets that says what has happened, and until it has asked
/// only its clock tells that its lease is over.
fn a_gateway_stands_still(run: &mut Run) {
    let cluster = start();
    let traffic = run.everybody(&cluster);
    for number in 0..run.rounds(2, 4) {
        run.somewhere(&traffic);
        let node = at(&cluster, traffic.publisher_at(run.random.below(2)));
        let mut others = cluster.gateways().into_iter();
        let other = others.find(|it| it.name() != node.name());
        let other = other.expect("there are three");
        let topic = unique("new");
        let waiting =
            (0..N_WAITING).map(|_| Interrupted::connect(node.tcp(), &topic, 1, &run.history()));
        let mut waiting: Vec<_> = waiting.collect();
        let history = run.history();
        let doubles = (0..N_DOUBLES).map(|_| Double::enter(node.tcp(), &history));
        let doubles: Result<Vec<_>, _> = doubles.collect();
        let mut doubles = doubles.expect("the gateway lives");
        let stopped = run.stop(node);
        let killed = (number % 2 == 0).then(|| cluster.leader());
        if let Some(control) = killed {
            run.kill(control);
            control.restart();
        }
        let newcomer = Newcomer::start(run, other, &topic).comes_in();
        waiting.iter_mut().for_each(Interrupted::send);
        doubles.iter_mut().for_each(Double::acknowledge);
        // Not the same ones: what is behind a PUBREL waits for the store with it.
        let (some, others) = doubles.split_at_mut(N_DOUBLES / 2);
        some.iter_mut().for_each(Double::release);
        others.iter_mut().for_each(Double::publish_late);
        run.recovers(&traffic, stopped);
        for double in &mut doubles {
            let gone = double.go(other.tcp());
            gone.unwrap_or_else(|trouble| run.fail(trouble));
        }
        pause(STANDSTILL.saturating_sub(stopped.elapsed()));
        if let Some(control) = killed {
            // Told only now: whoever probes after a heal would find a gateway that stands still.
            run.healed("kill", control.name());
        }
        run.go_on(node);
        let answered = Instant::now() + ANSWERED;
        waiting.iter_mut().for_each(|one| one.hear(answered));
        run.probe(&traffic);
        for double in &mut doubles {
            let closed = double.until_closed();
            closed.unwrap_or_else(|trouble| run.fail(trouble));
        }
        traffic.everyone_goes_on();
        let drained = newcomer.and_then(|one| one.drain());
        drained.unwrap_or_else(|trouble| run.fail(trouble));
        for double in doubles {
            double.leave().unwrap_or_else(|trouble| run.fail(trouble));
        }
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}
