//! Retained messages are set, cleared and read on all gateways at once, while gateways die and the
//! control plane is in two parts: F38. Each topic is a register, and I10 says what may be read of it.
//!
//! Writers have the same right to QoS 2 as others: who is not told of a publish sends it again,
//! elsewhere, when others may have written since. And behind what is retained come messages that
//! are not, which must not overtake it.

use std::{
    io::{self, ErrorKind},
    sync::{
        Arc, Weak,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use crate::{
    Cluster,
    faults::{Run, Scenario},
    history::Random,
    patience::{becomes_true, pause},
    traffic::{Act, Register, Traffic, Write},
    unique,
};

use super::network;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "F38",
    title: "retained messages are set, cleared and read; gateways are killed and cut off",
    is_short: false,
    act: set_cleared_and_read,
}];

/// What each writer does of a round, and each reader at least: with one of both for each gateway,
/// some 100 operations.
const N_ACTS: usize = 12;
/// Between two acts of a writer pass up to so many microseconds: what is read should not be outrun
/// by what is written.
const WRITES: usize = 80_000;
/// The same of a reader, at first and when it has done its part.
const READS: usize = 8_000;
const LATER_READS: usize = 60_000;
/// How long an answer may take while the dead gateway is not known to be dead.
const PATIENCE: Duration = Duration::from_secs(20);
/// Publishes that a writer sends at a time, at most.
const BURST: usize = 3;
/// A writer that was not told of a publish waits up to so many milliseconds before it goes on
/// elsewhere: others write and read meanwhile.
const UNHEARD: usize = 80;
/// A gateway is killed up to so many microseconds after something was sent to it.
const SENT: usize = 4_000;

/// What goes wrong in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Nothing,
    /// A gateway is killed with a publish of QoS 2 on its way.
    Kill,
    /// The leader of the control plane and a gateway are cut off from the others.
    Minority,
}

/// What a writer and who kills its gateway tell each other.
struct Deed {
    has_sent: Sender<()>,
    /// Ends when the gateway is dead.
    is_alive: Receiver<()>,
}

fn set_cleared_and_read(run: &mut Run) {
    let builder = Cluster::builder().control(3).gateways(3);
    run.needs(&["kill", "minority"]);
    let with_network = builder.clone().in_network().try_start();
    let (cluster, has_network) = match run.can("network", with_network) {
        Some(cluster) => (cluster, true),
        None => (builder.start(), false),
    };
    cluster.wait_for_voters();
    let traffic = run.traffic(&cluster).with_present_subscribers();
    for number in 0..run.rounds(6, 30) {
        let trouble = match number % 6 {
            2 | 4 => Trouble::Kill,
            5 if has_network => Trouble::Minority,
            _ => Trouble::Nothing,
        };
        round(run, &cluster, &traffic, trouble);
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// A topic of its own, with a writer and a reader at each gateway.
fn round(run: &mut Run, cluster: &Cluster, traffic: &Traffic<'_>, trouble: Trouble) {
    let topic = format!("{}/{}", traffic.prefix(), unique("register"));
    let history = run.history();
    let register = |kind: &str, first| {
        let one = Register::new(&unique(kind), &topic, traffic.route(first), &history);
        one.patient(PATIENCE)
    };
    let mut first = register("first", 0);
    if !becomes_true(PATIENCE, || first.set_sentinel().is_ok()) {
        return run.fail("nothing can be retained, and no fault is in force");
    }
    let ((has_sent, sent), (lives, is_alive)) = (mpsc::channel(), mpsc::channel());
    let at = run.random.below(3);
    let mut deed = (trouble == Trouble::Kill).then_some(Deed { has_sent, is_alive });
    thread::scope(|scope| {
        // Dropped when all is written, also where a panic ends the round.
        let writing = Arc::new(());
        let (mut readers, mut writers) = (Vec::new(), Vec::new());
        for number in 0..3 {
            let mut random = run.random.fork();
            let mut reader = register("reader", number);
            let writing = Arc::downgrade(&writing);
            readers.push(scope.spawn(move || {
                let done = read(&mut reader, &mut random, &writing);
                done.map_err(|error| format!("{}: {error}", reader.client()))
            }));
            let mut random = run.random.fork();
            let mut writer = register("writer", number).going_on();
            let deed = if number == at { deed.take() } else { None };
            writers.push(scope.spawn(move || {
                let done = write(&mut writer, &mut random, deed.as_ref());
                done.map_err(|error| format!("{}: {error}", writer.client()))
            }));
        }
        match trouble {
            Trouble::Nothing => {}
            Trouble::Kill => {
                let node = cluster.three()[at];
                // Who is held up elsewhere has nothing on its way: then it is killed all the same.
                let _held_up = sent.recv_timeout(PATIENCE / 4);
                pause(micros(&mut run.random, SENT));
                run.kill(node);
                drop(lives);
                run.restart(node);
            }
            Trouble::Minority => {
                pause(micros(&mut run.random, WRITES));
                let leader = network::leave_in_minority(run, cluster, cluster.three()[at]);
                pause(network::CUT);
                cluster.network().heal();
                run.healed("minority", leader.name());
            }
        }
        end(run, writers);
        drop(writing);
        end(run, readers);
    });
}

/// Waits for them.
fn end(run: &mut Run, clients: Vec<ScopedJoinHandle<'_, Result<(), String>>>) {
    for client in clients {
        match client.join() {
            Ok(Ok(())) => {}
            Ok(Err(trouble)) => run.fail(trouble),
            Err(_) => run.fail("the thread of a client panicked"),
        }
    }
}

/// Sets and clears; an error if nothing is answered any more. With a deed one publish is on its way
/// when the gateway dies.
fn write(writer: &mut Register, random: &mut Random, deed: Option<&Deed>) -> io::Result<()> {
    let qos = match deed {
        None if random.once_in(3) => 1,
        _ => 2,
    };
    // One for all: with QoS 1 they may overtake those with QoS 2, and who is subscribed with QoS 1
    // could not tell.
    let passing = if random.once_in(2) { 1 } else { qos };
    let dies_at = random.below(N_ACTS);
    for number in 0..N_ACTS {
        pause(micros(random, WRITES));
        let writes = burst(random, [qos, passing]);
        is_answered(match deed {
            Some(deed) if number == dies_at => writer.write_unheard(&writes, || {
                let _ended = deed.has_sent.send(());
                let _dead = deed.is_alive.recv_timeout(PATIENCE);
            }),
            _ if qos == 2 && random.once_in(5) => {
                let wait = micros(random, 1_000 * UNHEARD);
                writer.write_unheard(&writes, || pause(wait))
            }
            _ => writer.write(&writes),
        })?;
    }
    writer.finish(PATIENCE)
}

/// What is sent at a time: what is retained with the one QoS, what is not with the other, or 0.
fn burst(random: &mut Random, [qos, passing]: [u8; 2]) -> Vec<Write> {
    let retained = |random: &mut Random| Write {
        act: if random.once_in(3) {
            Act::Clear
        } else {
            Act::Set
        },
        qos,
    };
    let mut writes = vec![retained(random)];
    for _ in 0..random.below(BURST) {
        writes.push(match random.below(5) {
            kind @ 0..3 => Write {
                act: Act::Pass,
                qos: if kind == 0 { 0 } else { passing },
            },
            _ => retained(random),
        });
    }
    writes
}

/// Reads until nothing is written any more, and once more; an error if nothing is answered.
fn read(reader: &mut Register, random: &mut Random, writing: &Weak<()>) -> io::Result<()> {
    for number in 0.. {
        let is_late = number >= N_ACTS;
        pause(micros(random, if is_late { LATER_READS } else { READS }));
        let is_last = is_late && writing.strong_count() == 0;
        let read = reader.read();
        if is_last && read.is_ok() {
            break;
        }
        is_answered(read.map(drop))?;
    }
    Ok(())
}

/// What fails is not tried again, only silence is an error.
fn is_answered(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::TimedOut => Err(error),
        _ => Ok(()),
    }
}

fn micros(random: &mut Random, limit: usize) -> Duration {
    Duration::from_micros(random.below(limit).try_into().expect("small"))
}
