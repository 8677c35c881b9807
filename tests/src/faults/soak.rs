//! The soak: hours of traffic with a fault each minute, and whether memory, file handles, tasks and
//! what is stored end where they were after the first minutes.
//!
//! What a process has depends on how long it lives, and faults begin lives. So all gateways are
//! started anew before the first measurement and before the last one, each time followed by the same
//! quiet minute; between the two the store, the control plane's log and the sessions grow older.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{
    Run, Scenario,
    mix::{Kind, end_all},
};
use crate::{
    Cluster, Connect, Node, Properties,
    patience::{becomes_true, pause},
    traffic::{Link, Traffic},
    unique,
    wire::property,
};

/// Before the first measurement.
const WARM_UP: Duration = Duration::from_secs(5 * 60);
/// From one fault to the next.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long a fault is in force: a gateway that is gone is noticed, and its sessions are adopted.
const OUTAGE: Duration = Duration::from_secs(5);
/// Between the last fault before a measurement and the measurement.
const QUIET: Duration = Duration::from_secs(60);
/// From one message of a publisher to the next, on the average.
const PACE: Duration = Duration::from_millis(10);
/// From one short session to the next.
const SESSIONS: Duration = Duration::from_millis(200);
/// How much larger a figure may be at the end: tables and allocators do not fill alike twice.
const GROWTH: f64 = 1.15;
/// And by how much at least, for figures that are small.
const SLACK: [f64; 4] = [24.0 * 1024.0, 24.0, 24.0, 4096.0];

/// What grows when something leaks.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Resident memory of all nodes, in KiB.
    memory: f64,
    /// Open files and sockets of all nodes.
    files: f64,
    /// Tasks of all nodes.
    tasks: f64,
    /// Redis's data and the files of the control plane, in KiB.
    store: f64,
}

/// A soak of this length is a scenario like others.
pub fn scenario() -> Scenario {
    Scenario {
        name: "SOAK",
        title: "a fault each minute; memory, file handles, tasks and store end where they were",
        is_short: false,
        act: soak,
    }
}

fn soak(run: &mut Run) {
    let length = run.length();
    let cluster = Cluster::builder().control(3).gateways(3).start();
    cluster.wait_for_voters();
    let traffic = run
        .traffic(&cluster)
        .paced(PACE)
        .with_present_subscribers()
        .with_publishers();
    let start = Instant::now();
    run.meanwhile(
        |go_on| short_sessions(&cluster, go_on),
        |run| {
            faults(run, &cluster, &traffic, start + WARM_UP);
            let before = measure(run, &cluster, &traffic, "after the warm-up");
            faults(run, &cluster, &traffic, start + length);
            let after = measure(run, &cluster, &traffic, "at the end");
            compare(run, before, after);
        },
    );
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// Sessions that begin, are left behind and expire, all the time.
fn short_sessions(cluster: &Cluster, go_on: &AtomicBool) {
    let mut number = 0_usize;
    while go_on.load(Relaxed) {
        pause(SESSIONS);
        number += 1;
        let address = cluster.addresses()[number % 3];
        let mut connect = Connect::persistent(5, unique("short"));
        connect.properties = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, 5);
        // Whoever is at a gateway that is gone is not what this is about.
        let Ok((link, ..)) = Link::open(address, &connect) else {
            continue;
        };
        let _lost = link.disconnect();
    }
}

/// A fault each minute until then.
fn faults(run: &mut Run, cluster: &Cluster, traffic: &Traffic<'_>, until: Instant) {
    while Instant::now() + INTERVAL < until {
        let next = Instant::now() + INTERVAL;
        fault(run, cluster, traffic);
        pause(next.saturating_duration_since(Instant::now()));
    }
}

fn fault(run: &mut Run, cluster: &Cluster, traffic: &Traffic<'_>) {
    let kind = Kind::USUAL[run.random.below(Kind::USUAL.len())];
    let in_force = kind.begin(run, cluster, &[]);
    pause(OUTAGE);
    end_all(run, cluster, in_force.into_iter().collect());
    run.recovers(traffic, Instant::now());
}

/// All gateways are started anew, then nothing happens for a while.
fn measure(run: &mut Run, cluster: &Cluster, traffic: &Traffic<'_>, when: &str) -> Sample {
    for node in cluster.nodes() {
        run.makes("terminate", node.name(), || {
            node.terminate();
            !node.is_running()
        });
        node.restart();
        run.healed("terminate", node.name());
        run.recovers(traffic, Instant::now());
    }
    pause(QUIET);
    let sample = Sample::of(cluster);
    let Sample {
        memory,
        files,
        tasks,
        store,
    } = sample;
    run.note(format!(
        "{when}: {memory:.0} KiB resident, {files} file handles, {tasks} tasks, {store:.0} KiB stored"
    ));
    sample
}

fn compare(run: &mut Run, before: Sample, after: Sample) {
    let pairs = before.figures().into_iter().zip(after.figures());
    for (((name, before), (_, after)), slack) in pairs.zip(SLACK) {
        if after > (before * GROWTH).max(before + slack) {
            run.fail(format!("{name} grew from {before} to {after}"));
        }
    }
}

// === impl Sample ===

impl Sample {
    fn of(cluster: &Cluster) -> Self {
        let sum = |name: &str| -> f64 {
            let of_node = |node: &Node| {
                let mut value = None;
                becomes_true(Duration::from_secs(20), || {
                    value = node.metric(name);
                    value.is_some()
                });
                value.expect("a node that runs tells its figures")
            };
            cluster.nodes().iter().map(of_node).sum()
        };
        let redis = cluster.redis().command(&["INFO", "memory"]);
        let used = redis
            .lines()
            .find_map(|line| line.trim().strip_prefix("used_memory_dataset:"))
            .and_then(|bytes| bytes.parse::<f64>().ok());
        let controls = cluster.controls().into_iter();
        let files: u64 = controls.map(|node| n_bytes(&node.data_dir())).sum();
        Self {
            memory: sum("process_resident_memory_bytes") / 1024.0,
            files: sum("process_open_fds"),
            tasks: sum("process_tasks"),
            store: (used.expect("Redis tells what it has") + files as f64) / 1024.0,
        }
    }

    fn figures(self) -> [(&'static str, f64); 4] {
        [
            ("resident memory (KiB)", self.memory),
            ("file handles", self.files),
            ("tasks", self.tasks),
            ("what is stored (KiB)", self.store),
        ]
    }
}

/// Bytes of all files below a folder.
fn n_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => n_bytes(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0, // it is gone
    });
    sizes.sum()
}
