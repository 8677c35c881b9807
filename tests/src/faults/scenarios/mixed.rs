//! Three faults of any kind at a time, again and again: F40. All that is promised holds meanwhile, and
//! all goes on when they are over.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    Cluster,
    faults::{
        Run, Scenario,
        mix::{Kind, end_all},
        states,
    },
    history::{History, Random},
    nemesis::disk::SickDisk,
    patience::{becomes_true, pause},
    traffic::{Act, Register, Route, Traffic, Write},
    unique,
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "F40",
    title: "three different faults at a time",
    is_short: false,
    act: three_at_a_time,
}];

/// Faults at a time.
const N_AT_A_TIME: usize = 3;
/// From the beginning of one to that of the next, in milliseconds, at most.
const APART: usize = 1_500;
/// How long all of them are in force, in milliseconds: at least, and how much longer at most.
const TOGETHER: (usize, usize) = (1_500, 4_500);
/// How soon after the last one is over everybody is answered.
const SOON: Duration = Duration::from_secs(10);
/// From one message of a publisher to the next, on the average: what waits for who is away is bounded.
const PACE: Duration = Duration::from_millis(15);
/// A long run, in seconds.
const LENGTH: usize = 600;
/// Rounds from one new subscriber to the next.
const NEWCOMERS: usize = 8;
/// What each client of a retained topic does in a round, at most, and the time between two acts, in
/// milliseconds, at most: the judge orders all of them.
const N_ACTS: usize = 30;
const ACTS: usize = 500;

fn three_at_a_time(run: &mut Run) {
    let (cluster, kinds) = start(run);
    cluster.wait_for_voters();
    let mut traffic = run
        .traffic(&cluster)
        .paced(PACE)
        .with_absent_subscribers()
        .with_present_subscribers()
        .with_group()
        .with_publishers()
        .with_wills();
    let (controls, history) = (cluster.controls(), run.history());
    let length = Duration::from_secs(run.rounds(0, LENGTH).try_into().expect("small"));
    let start = Instant::now();
    run.meanwhile(
        |go_on| states::watch(&controls, &history, go_on),
        |run| {
            let mut n_rounds = 0;
            while n_rounds == 0 || start.elapsed() < length {
                mix(run, &cluster, &kinds, &mut traffic, n_rounds);
                run.agree(&controls);
                n_rounds += 1;
            }
            if n_rounds > 1 {
                run.note(format!("{n_rounds} mixes"));
            }
        },
    );
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// With all that this machine can have: where it lacks something, the others are mixed, and the run
/// shows less than it has to.
fn start(run: &mut Run) -> (Cluster, Vec<Kind>) {
    let mut kinds = Kind::USUAL.to_vec();
    let mut builder = Cluster::builder().control(3).gateways(3);
    if let Some(wrap) = run.can("slow disk", SickDisk::wrap()) {
        kinds.push(Kind::SlowSync);
        for name in ["c1", "c2", "c3"] {
            builder = builder.wrap(name, wrap.clone());
        }
    }
    let with_network = builder.clone().in_network().try_start();
    match run.can("network", with_network) {
        Some(cluster) => {
            kinds.extend(Kind::OF_LINKS);
            (cluster, kinds)
        }
        None => (builder.start(), kinds),
    }
}

/// One mix: they begin one after the other, and end so.
fn mix(run: &mut Run, cluster: &Cluster, kinds: &[Kind], traffic: &mut Traffic<'_>, number: usize) {
    let history = run.history();
    let (registers, random) = (registers(cluster, &history), run.random.fork());
    run.meanwhile(
        |go_on| use_all(registers, random, go_on),
        |run| {
            run.somewhere(traffic);
            let mut left = kinds.to_vec();
            let mut in_force = Vec::new();
            while in_force.len() < N_AT_A_TIME && !left.is_empty() {
                let kind = left.swap_remove(run.random.below(left.len()));
                in_force.extend(kind.begin(run, cluster, &in_force));
                rest(run, 0, APART);
            }
            let names: Vec<_> = in_force.iter().map(|fault| fault.name()).collect();
            run.note(names.join(", "));
            rest(run, TOGETHER.0, TOGETHER.1);
            end_all(run, cluster, in_force);
            let healed = Instant::now();
            if number.is_multiple_of(NEWCOMERS) {
                traffic.one_more_subscribes();
            }
            run.recovers(traffic, healed);
            let took = healed.elapsed();
            if took > SOON {
                run.fail(format!(
                    "answered only {took:.1?} after {}",
                    names.join(", ")
                ));
            }
        },
    );
}

fn rest(run: &mut Run, least: usize, more: usize) {
    let wait = u64::try_from(least + run.random.below(more)).expect("small");
    pause(Duration::from_millis(wait));
}

/// A retained topic of its own, and who sets, clears and reads it, one at each gateway.
fn registers(cluster: &Cluster, history: &Arc<History>) -> Vec<Register> {
    let topic = unique("register");
    let mut addresses: Vec<SocketAddr> = cluster.addresses();
    let all = (0..addresses.len()).map(|_| {
        addresses.rotate_left(1);
        let route = Route::new(addresses.clone());
        Register::new(&unique("register"), &topic, route, history)
    });
    let mut all: Vec<_> = all.collect();
    // On a busy machine a gateway may have to begin anew just now.
    let is_set = becomes_true(SOON, || all[0].set_sentinel().is_ok());
    assert!(is_set, "nothing can be retained, and no fault is in force");
    all
}

/// All of them at the same time. What fails is not tried again: nobody knows what came of it.
fn use_all(registers: Vec<Register>, mut random: Random, go_on: &AtomicBool) {
    thread::scope(|scope| {
        for mut register in registers {
            let mut random = random.fork();
            scope.spawn(move || {
                for _ in 0..N_ACTS {
                    let qos = if random.once_in(2) { 1 } else { 2 };
                    let write = |act| [Write { act, qos }];
                    let _unknown = match random.below(5) {
                        0 => register.write(&write(Act::Set)),
                        1 => register.write(&write(Act::Clear)),
                        _ => register.read().map(drop),
                    };
                    let wait = random.below(ACTS).try_into().expect("small");
                    pause(Duration::from_millis(wait));
                    if !go_on.load(Relaxed) {
                        break;
                    }
                }
            });
        }
    });
}
