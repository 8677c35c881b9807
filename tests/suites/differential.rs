//! Two clients do the same to GateMQ and to mosquitto, and see the same.
//!
//! A program ([`program`]) is a list of steps of two clients, made from a seed: packets that are
//! valid and some that are not, of 3.1.1 and 5.0. It is played ([`player`]) against both brokers in
//! step; after each step what each client has got ([`view`]) is compared, but for what the standard
//! leaves open, and what mosquitto has wrong ([`excuses`]). A program that ends otherwise is made
//! shorter as long as it does, and printed with its seed.
//!
//! `GATEMQ_DIFFERENTIAL_PROGRAMS` is how many programs are played, `GATEMQ_SEED` the seed of the
//! first one, 1 if nothing is said; each next one has the next number. What a new seed shows is looked
//! into by whoever asks for it: it may well be mosquitto's mistake.

mod excuses;
mod player;
mod program;
mod view;

use std::{collections::BTreeMap, env, fs, io::Write, net::SocketAddr, time::Duration};

use gatemq_tests::{Broker, Canary, mosquitto::Mosquitto, patience::becomes_true, unique};

use excuses::Excuse;
use player::Player;
use program::{Program, Step};
use view::View;

/// Programs where nothing else is said.
const PROGRAMS: usize = 200;
/// How long what one of them has may be missing at the other one.
const PATIENCE: Duration = Duration::from_secs(1);

/// How a program ended.
enum Outcome {
    /// All steps were the same.
    Same,
    /// They differed as they may; what follows would mean nothing.
    Excused(&'static Excuse),
    /// They differed at this step.
    Different(usize, String),
}

struct Brokers {
    ours: SocketAddr,
    theirs: SocketAddr,
}

impl Brokers {
    fn play(&self, program: &Program) -> Outcome {
        let name = unique("d");
        let mut ours = Player::new(self.ours, &name);
        let mut theirs = Player::new(self.theirs, &name);
        for (at, step) in program.steps.iter().enumerate() {
            ours.act(at, step);
            theirs.act(at, step);
            let mut seen = Default::default();
            let is_same = || {
                seen = (ours.look(program.overlaps), theirs.look(program.overlaps));
                seen.0 == seen.1
            };
            if becomes_true(PATIENCE, is_same) {
                ours.forget();
                theirs.forget();
                continue;
            }
            if let Some(excuse) = excuses::of(step, &seen.0, &seen.1) {
                return Outcome::Excused(excuse);
            }
            return Outcome::Different(at, describe(&seen.0, &seen.1));
        }
        Outcome::Same
    }

    /// The program without whatever makes no difference to the difference, and the difference;
    /// `None` if it does not happen again, as where a machine is too slow for [`PATIENCE`].
    fn shrink(&self, mut program: Program) -> Option<(Program, String)> {
        let difference = |program: &Program| match self.play(program) {
            Outcome::Different(at, what) => Some((at, what)),
            Outcome::Same | Outcome::Excused(_) => None,
        };
        let (mut at, mut what) = difference(&program)?;
        loop {
            program.steps.truncate(at + 1);
            let shorter = (0..program.steps.len()).rev().find_map(|at| {
                let mut shorter = program.clone();
                shorter.steps.remove(at);
                difference(&shorter).map(|difference| (shorter, difference))
            });
            let Some((shorter, difference)) = shorter else {
                return Some((program, format!("step {at}: {what}")));
            };
            (program, (at, what)) = (shorter, difference);
        }
    }
}

fn describe(ours: &[View], theirs: &[View]) -> String {
    let clients = ours.iter().zip(theirs).enumerate();
    let differing = clients.filter(|(_, (ours, theirs))| ours != theirs);
    let lines = differing.map(|(client, (ours, theirs))| {
        format!("client {client}\n  gatemq:    {ours:?}\n  mosquitto: {theirs:?}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn number(name: &str, usual: usize) -> usize {
    env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

#[test]
fn two_clients_see_the_same_as_with_mosquitto() {
    let mosquitto = match Mosquitto::start() {
        Ok(mosquitto) => mosquitto,
        Err(why) => return skip(&why),
    };
    let broker = Broker::builder().start();
    let canary = Canary::start(&broker);
    let brokers = Brokers {
        ours: broker.tcp(),
        theirs: mosquitto.tcp(),
    };
    let seed = number("GATEMQ_SEED", 1);
    let n_programs = number("GATEMQ_DIFFERENTIAL_PROGRAMS", PROGRAMS);
    let (mut n_same, mut n_steps) = (0, 0);
    let mut excused: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for seed in (seed..).take(n_programs) {
        let program = Program::of(u64::try_from(seed).expect("64 bits"));
        n_steps += program.steps.len();
        match brokers.play(&program) {
            Outcome::Same => n_same += 1,
            Outcome::Excused(excuse) => *excused.entry(excuse.statement).or_default() += 1,
            Outcome::Different(_, what) => match brokers.shrink(program) {
                Some((shorter, what)) => {
                    let steps: Vec<String> = shorter.steps.iter().map(Step::to_string).collect();
                    failures.push(format!("GATEMQ_SEED={seed}\n{}\n{what}", steps.join("\n")));
                }
                None => eprintln!("GATEMQ_SEED={seed}: once only: {what}"),
            },
        }
        if failures.len() > 4 {
            break;
        }
    }
    eprintln!("{n_programs} programs of {n_steps} steps: {n_same} the same, {excused:?} excused");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(
        2 * n_same > n_programs,
        "most programs are played to their end"
    );
    assert!(!broker.log().contains("panicked"), "{}", broker.log());
    canary.finish();
}

/// Where every test is to run, one that cannot is a failure.
fn skip(why: &str) {
    assert!(env::var("CI").is_err(), "{why}");
    if let Ok(file) = env::var("GATEMQ_SKIPPED") {
        let file = fs::OpenOptions::new().append(true).create(true).open(file);
        let mut file = file.expect("the file of what was skipped");
        writeln!(file, "differential: {why}").expect("it is writable");
    }
    eprintln!("skipped: {why}");
}
