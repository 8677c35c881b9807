//! Disks that forget, fail, fill up, or are slow: F17, F19, F21, F22.

use std::{
    io,
    time::{Duration, Instant},
};

use super::term;
use crate::{
    Cluster, Node,
    cluster::REDIS,
    faults::{Run, Scenario},
    nemesis::disk::{
        SickDisk, SmallDisk,
        power::{self, Disk, Unsynced},
    },
    patience::becomes_true,
    traffic::Traffic,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "F17",
        title: "the whole cluster loses its power, and what was not synced",
        is_short: true,
        act: the_power_goes,
    },
    Scenario {
        name: "F19",
        title: "a sync fails, on the leader and on a follower",
        is_short: false,
        act: a_sync_fails,
    },
    Scenario {
        name: "F21",
        title: "the disk of a control node is full, and has room again",
        is_short: false,
        act: a_disk_is_full,
    },
    Scenario {
        name: "F22",
        title: "the leader's syncs take 300 ms more",
        is_short: false,
        act: a_disk_is_slow,
    },
];

/// What a process ends with whose store failed (EX_IOERR).
const STORE_FAILED: i32 = 74;
/// How soon it has ended.
const ENDED: Duration = Duration::from_secs(20);
/// MiB that a control node has for its data.
const ROOM: usize = 64;
/// How much longer each sync takes.
const SLOW: Duration = Duration::from_millis(300);
/// The control nodes of these clusters.
const CONTROLS: [&str; 3] = ["c1", "c2", "c3"];

// --- F17 ---

fn the_power_goes(run: &mut Run) {
    let Some(wrap) = run.can("power", power::wrap(Disk::Honest)) else {
        return;
    };
    let all = ["c1", "c2", "c3", "g1", "g2", REDIS];
    let builder = Cluster::builder().control(3).gateways(2);
    let builder = all
        .into_iter()
        .fold(builder, |builder, name| builder.wrap(name, wrap.clone()));
    let cluster = builder.start();
    cluster.wait_for_voters();
    let traffic = run.everybody(&cluster);
    for _ in 0..run.rounds(1, 3) {
        run.somewhere(&traffic);
        run.begins("power", "all");
        let redis_is_first = run.random.once_in(2);
        if redis_is_first {
            cluster.redis().kill();
        }
        // Not all of them at the same moment: that is so with machines, too.
        let first = run.random.below(cluster.nodes().len());
        let (before, after) = cluster.nodes().split_at(first);
        for node in after.iter().chain(before) {
            node.kill();
        }
        cluster.redis().kill();
        let is_out = cluster.nodes().iter().all(|node| !node.is_running());
        run.sees("power", "all", is_out);
        forget(&cluster).expect("the data can be replaced");
        cluster.redis().restart();
        for node in cluster.nodes() {
            node.launch().expect("it starts");
        }
        for node in cluster.nodes() {
            let ready = node.wait_until_ready();
            ready.unwrap_or_else(|why| panic!("{}: {why}\n{}", node.name(), node.log().tail(20)));
        }
        run.healed("power", "all");
        run.recovers(&traffic, Instant::now());
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// Everybody is left with what was synced.
fn forget(cluster: &Cluster) -> io::Result<()> {
    for node in cluster.nodes() {
        power::cut(node.folder(), Unsynced::Lost)?;
    }
    power::cut(cluster.redis().folder(), Unsynced::Lost)
}

// --- F19, F22: disks that are sick ---

/// A cluster whose control nodes have disks that can be made sick.
fn start_sick(run: &mut Run) -> Option<Cluster> {
    let wrap = run.can("sick disk", SickDisk::wrap())?;
    let builder = Cluster::builder().control(3).gateways(2);
    let builder = CONTROLS
        .into_iter()
        .fold(builder, |builder, name| builder.wrap(name, wrap.clone()));
    let cluster = builder.start();
    cluster.wait_for_voters();
    Some(cluster)
}

/// The leader, or one that follows it.
fn one_that<'a>(run: &mut Run, leads: bool, cluster: &'a Cluster) -> &'a Node {
    let leader = cluster.leader();
    if leads {
        return leader;
    }
    let mut others = cluster.controls();
    others.retain(|node| node.name() != leader.name());
    others[run.random.below(others.len())]
}

fn a_sync_fails(run: &mut Run) {
    let Some(cluster) = start_sick(run) else {
        return;
    };
    let traffic = run.everybody(&cluster);
    for round in 0..run.rounds(2, 6) {
        run.somewhere(&traffic);
        let node = one_that(run, round % 2 == 0, &cluster);
        let disk = SickDisk::of(node.folder());
        run.begins("EIO", node.name());
        disk.fail_once().expect("a folder of its own");
        keep_writing_until(&traffic, || !node.is_running());
        let ended = Instant::now();
        run.sees("EIO", node.name(), disk.has_failed());
        let code = node.wait(ENDED).code();
        let name = node.name();
        if code != Some(STORE_FAILED) {
            run.fail(format!(
                "{name} ended with {code:?} after a sync had failed"
            ));
        }
        run.recovers(&traffic, ended);
        node.restart();
        run.healed("EIO", name);
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}

fn a_disk_is_slow(run: &mut Run) {
    let Some(cluster) = start_sick(run) else {
        return;
    };
    let traffic = run.everybody(&cluster);
    for _ in 0..run.rounds(1, 4) {
        run.somewhere(&traffic);
        let before = term(&cluster);
        let leader = cluster.leader();
        let disk = SickDisk::of(leader.folder());
        let since = run.begins("slow disk", leader.name());
        let n_slow = disk.n_slow();
        disk.slow(SLOW).expect("a folder of its own");
        for _ in 0..run.rounds(2, 5) {
            traffic.probe(since); // its routes are written
            traffic.everyone_goes_on();
        }
        run.sees("slow disk", leader.name(), disk.n_slow() > n_slow);
        let elections = term(&cluster) - before;
        disk.heal().expect("a folder of its own");
        run.healed("slow disk", leader.name());
        run.recovers(&traffic, Instant::now());
        run.note(format!("{elections} elections beside a slow disk"));
        // It may lead on, or another one may lead instead.
        if elections > 3.0 {
            run.fail(format!("{elections} elections for one slow disk"));
        }
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// Has routes written and taken away by the control plane until this is so, or it is plain that it
/// will not be.
fn keep_writing_until(traffic: &Traffic<'_>, mut is_so: impl FnMut() -> bool) -> bool {
    becomes_true(ENDED, || {
        is_so() || {
            traffic.probe(Instant::now());
            false
        }
    })
}

// --- F21 ---

fn a_disk_is_full(run: &mut Run) {
    let cluster = Cluster::builder().control(3).gateways(2).start();
    cluster.wait_for_voters();
    let traffic = run.everybody(&cluster);
    // They stay to the end: what is on one must not be forgotten while its node is a voter.
    let mut disks = Vec::new();
    for _ in 0..run.rounds(1, 4) {
        run.somewhere(&traffic);
        let at = run.random.below(3);
        let node = cluster.controls()[at];
        node.terminate();
        let disk = run.can("small disk", SmallDisk::mount(ROOM, &node.data_dir()));
        let Some(disk) = disk else { break };
        node.restart();
        traffic.everyone_goes_on();
        run.makes("full disk", node.name(), || {
            disk.fill(); // until nothing more goes in
            true
        });
        let has_ended = keep_writing_until(&traffic, || !node.is_running());
        let name = node.name();
        match has_ended {
            true => run.recovers(&traffic, Instant::now()),
            false => traffic.everyone_goes_on(),
        }
        if has_ended {
            let code = node.wait(ENDED).code();
            if code != Some(STORE_FAILED) {
                run.fail(format!("{name} ended with {code:?} on a full disk"));
            }
        }
        run.note(format!(
            "{name} {} on a full disk",
            if has_ended { "ended" } else { "went on" }
        ));
        disk.give_back();
        if has_ended {
            node.restart();
        }
        run.healed("full disk", name);
        run.recovers(&traffic, Instant::now());
        catches_up(run, &cluster, node);
        disks.push(disk);
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// A node that had no room has what the leader has.
fn catches_up(run: &mut Run, cluster: &Cluster, node: &Node) {
    let applied = |node: &Node| node.metric("control_log_applied");
    let goal = applied(cluster.leader());
    let is_there = becomes_true(ENDED, || goal.is_some() && applied(node) >= goal);
    if !is_there {
        let (name, has) = (node.name(), applied(node));
        run.fail(format!(
            "{name} has {has:?} of {goal:?} after its disk had room"
        ));
    }
}
