//! The control plane loses nodes: F7 and F8.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    locals::{Locals, acks_have_stopped},
    subscriptions::Pair,
};
use crate::{
    Cluster,
    faults::{Run, Scenario},
    history::now,
    patience::pause,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "F7",
        title: "the leader is killed, again and again, and clients subscribe before it is back",
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

/// Subscriptions at each gateway while the leader is dead.
const N_ASKED: usize = 25;
/// How long one of them may take, with an election in between. The plan has 3 s; a busy machine with two
/// processors needs more now and then.
const GRANTED: Duration = Duration::from_secs(10);
/// Between two attempts of who is refused.
const AGAIN: Duration = Duration::from_millis(50);
/// How long the quorum is away.
const OUTAGE: Duration = Duration::from_secs(30);
/// How soon after the quorum is back everybody is answered.
const SOON: Duration = Duration::from_secs(10);

fn start() -> Cluster {
    let cluster = Cluster::builder().control(3).gateways(2).start();
    cluster.wait_for_voters();
    cluster
}

/// The control plane goes on without its leader: what clients subscribe to before that one is back is
/// granted, and whatever is published at the other gateway as soon as it is comes.
fn leaders_die(run: &mut Run) {
    let cluster = start();
    let traffic = run.everybody(&cluster);
    let (history, gateways) = (run.history(), cluster.gateways());
    let pairs = [(0, 1), (1, 0)]
        .map(|(from, to)| Pair::new(gateways[from], gateways[to], &history, run.random.fork()));
    let (mut pairs, mut longest) = (pairs, Duration::ZERO);
    for _ in 0..run.rounds(1, 6) {
        run.somewhere(&traffic);
        let leader = cluster.leader();
        let killed = run.kill(leader);
        let asked = thread::scope(|scope| {
            let asking = pairs.each_mut().map(|pair| scope.spawn(move || ask(pair)));
            run.recovers(&traffic, killed);
            asking.map(|one| one.join())
        });
        run.restart(leader);
        for took in asked {
            match took {
                Ok(took) => longest = longest.max(took),
                Err(_) => run.fail("who subscribed while the leader was dead panicked"),
            }
        }
    }
    pairs.into_iter().for_each(Pair::end);
    run.note(format!(
        "SUBACK took {longest:.1?} at the most while the leader was dead"
    ));
    if longest > GRANTED {
        run.fail(format!("SUBACK took {longest:.1?} without a leader"));
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// Subscribes, publishes and receives again and again; how long a SUBACK that grants took at the most,
/// with the attempts before it that were refused.
fn ask(pair: &mut Pair<'_>) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..N_ASKED {
        let start = Instant::now();
        let mut before = Duration::ZERO;
        let mut granted = pair.round();
        while granted.is_none() && start.elapsed() <= GRANTED {
            pause(AGAIN);
            before = start.elapsed();
            granted = pair.round();
        }
        let took = granted.map_or_else(|| start.elapsed(), |took| before + took);
        longest = longest.max(took);
        if took > GRANTED {
            break;
        }
    }
    longest
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
