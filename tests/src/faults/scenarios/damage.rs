//! The files of one control node are damaged while it is down, and the others go on: F20. It refuses
//! to start and says why, or it has what the others have; it never goes on with anything else. Where
//! it refuses, what it tells to do has to help.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    members::{REASON, remove},
    snapshots::{grow, propose},
};
use crate::{
    Cluster, Node,
    faults::{Run, Scenario, states},
    history::Random,
    nemesis::disk::damage,
    patience::{becomes_true, pause},
    unique,
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "F20",
    title: "files of a control node are damaged while it is down",
    is_short: false,
    act: files_are_damaged,
}];

/// How long it may take until a node has what the others have, or has ended.
const LIMIT: Duration = Duration::from_secs(40);
/// A snapshot that was begun is written by then.
const WRITTEN: Duration = Duration::from_secs(3);
/// What a leader says of a node whose files are from before what it has confirmed.
const LEFT_OUT: &str = "a control node is left out";

/// What a node says whose data cannot be read, and what this scenario does then.
const ADVICE: &str = "remove this node from the control plane, empty its data directory";
/// Bits that turn in a file: much of it nothing refers to any more.
const N_BITS: usize = 8;

/// What happens to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    TornTail,
    TurnedBits,
    ShortSnapshot,
}

/// What comes of a node with damaged files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sequel {
    /// It does not start.
    Refused,
    /// It has what the others have.
    Whole,
    /// It starts, and the leader has nothing to do with it.
    LeftOut,
}

fn files_are_damaged(run: &mut Run) {
    let cluster = Cluster::builder().control(3).gateways(2).start();
    cluster.wait_for_voters();
    let first = run.random.below(3);
    let all_ways = [Damage::TornTail, Damage::TurnedBits, Damage::ShortSnapshot];
    let ways = (0..run.rounds(1, 6)).map(|round| all_ways[(first + round) % 3]);
    let ways: Vec<_> = ways.collect();
    let mark = unique("mark");
    // Much to damage: what is at a place that chance chooses should matter.
    let large = grow(&cluster, &mark);
    if ways.contains(&Damage::ShortSnapshot) {
        propose(cluster.leader());
        pause(WRITTEN);
    }
    let traffic = run.everybody(&cluster);
    let (all, history) = (cluster.controls(), run.history());
    run.meanwhile(
        |go_on| states::watch(&all, &history, go_on),
        |run| {
            for way in ways {
                run.somewhere(&traffic);
                let node = all[run.random.below(all.len())];
                let since = stop(run, node);
                let file = store(node).expect("it has written");
                let place = way.act(&file, &mark, &mut run.random);
                let place = place.expect("the file can be changed");
                run.fault("damage", node.name());
                run.recovers(&traffic, since);
                let sequel = start_damaged(run, &cluster, node);
                let came = sequel.map_or("?", Sequel::name);
                run.note(format!(
                    "{}: {} at {place}: {came}",
                    node.name(),
                    way.name()
                ));
                if sequel != Some(Sequel::Whole) {
                    let_in_anew(run, &all, node);
                }
                run.healed("damage", node.name());
                run.agree(&all);
                run.recovers(&traffic, Instant::now());
            }
        },
    );
    drop(large);
    run.conclude(traffic);
    run.look_at(&cluster);
}

// === impl Damage ===

impl Damage {
    fn name(self) -> &'static str {
        match self {
            Self::TornTail => "its file ends",
            Self::TurnedBits => "bits turned",
            Self::ShortSnapshot => "its snapshot ends",
        }
    }

    /// Where it is, or the last of it, in bytes from the beginning.
    fn act(self, file: &Path, mark: &str, random: &mut Random) -> io::Result<u64> {
        match self {
            Self::TornTail => damage::tear_off(file, random),
            Self::TurnedBits => {
                for _ in 1..N_BITS {
                    damage::turn_bit(file, random)?;
                }
                damage::turn_bit(file, random)
            }
            Self::ShortSnapshot => damage::cut_short(file, mark.as_bytes(), random),
        }
    }
}

// === impl Sequel ===

impl Sequel {
    fn name(self) -> &'static str {
        match self {
            Self::Refused => "it does not start",
            Self::Whole => "it has all",
            Self::LeftOut => "it is left out",
        }
    }
}

/// In order, or not: what a node writes last differs. Returns when it was.
fn stop(run: &mut Run, node: &Node) -> Instant {
    let since = Instant::now();
    if run.random.once_in(2) {
        node.terminate();
    } else {
        node.kill();
    }
    since
}

/// The file that all is in.
fn store(node: &Node) -> io::Result<PathBuf> {
    let mut files = damage::files(&node.data_dir())?;
    files.sort_by_key(|path| fs::metadata(path).map_or(0, |found| found.len()));
    files.pop().ok_or(io::ErrorKind::NotFound.into())
}

/// What comes of it; `None` if it is none of what may come of it, which fails the run.
fn start_damaged(run: &mut Run, cluster: &Cluster, node: &Node) -> Option<Sequel> {
    let applied = |node: &Node| node.metric("control_log_applied");
    let goal = applied(cluster.leader());
    let n_left_out = || -> usize {
        let counts = cluster.controls().into_iter();
        counts.map(|node| node.log().count(LEFT_OUT)).sum()
    };
    let (n_lines, n_left_out_before) = (node.log().n_lines(), n_left_out());
    node.launch().expect("the binary runs");
    let mut sequel = None;
    becomes_true(LIMIT, || {
        sequel = match () {
            () if !node.is_running() => Some(Sequel::Refused),
            () if goal.is_some() && applied(node) >= goal => Some(Sequel::Whole),
            () if n_left_out() > n_left_out_before => Some(Sequel::LeftOut),
            () => None,
        };
        sequel.is_some()
    });
    let name = node.name();
    match sequel {
        None => run.fail(format!(
            "{name} runs with damaged files, and has {:?} of {goal:?} after {LIMIT:?}:\n{}",
            applied(node),
            node.log().tail(5)
        )),
        Some(Sequel::Refused) => says_why(run, node, n_lines),
        Some(Sequel::Whole | Sequel::LeftOut) => {}
    }
    sequel
}

/// It has ended by itself, and one line says why and what to do.
fn says_why(run: &mut Run, node: &Node, n_lines: usize) {
    let status = node.wait(LIMIT);
    let text = node.log().text();
    let said: Vec<_> = text.lines().skip(n_lines).collect();
    let is_reason = |line: &&&str| line.starts_with(REASON);
    let reasons: Vec<_> = said.iter().filter(is_reason).collect();
    let is_clear = reasons.len() == 1 && reasons[0].contains(ADVICE);
    if status.code().is_none_or(|code| code == 0) || !is_clear {
        run.fail(format!(
            "{} ends with {status}, and does not say why in one line:\n{}",
            node.name(),
            said.join("\n")
        ));
    }
}

/// As it is documented: it is removed, emptied, and joins anew.
fn let_in_anew(run: &mut Run, all: &[&Node], node: &Node) {
    node.kill();
    let others = all.iter().filter(|other| other.name() != node.name());
    let others: Vec<_> = others.collect();
    remove(others[run.random.below(others.len())], node.name());
    fs::remove_dir_all(node.data_dir()).expect("a folder of its own");
    // The founder, too, is told of the others now, and founds nothing.
    let seeds: Vec<_> = others.iter().map(|other| other.gossip()).collect();
    let members = format!("--members={}", seeds.join(","));
    let empty = node.with_flags(&["--raft-bootstrap=false", &members]);
    empty.restart();
    let votes = || empty.log().count("promoted to voter") > 0;
    if !becomes_true(LIMIT, votes) {
        run.fail(format!(
            "{} does not come to vote again:\n{}",
            node.name(),
            empty.log().tail(5)
        ));
    }
    // With data it may be told what it was told at first.
    empty.terminate();
    node.restart();
}
