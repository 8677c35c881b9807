//! The store of the sessions fails: F23 to F25.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    Cluster, Connect, Node, Publish,
    faults::{Run, Scenario, evidence::stands_still, over::Over},
    history::Random,
    patience::pause,
    traffic::{Link, Traffic},
    unique,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "F23",
        title: "Redis is killed and started again",
        is_short: true,
        act: redis_dies,
    },
    Scenario {
        name: "F24",
        title: "the primary Redis is lost while its replica lags",
        is_short: false,
        act: a_lagging_replica_takes_over,
    },
    Scenario {
        name: "F25",
        title: "Redis stands still for 10 s",
        is_short: false,
        act: redis_stands_still,
    },
];

/// How long it stands still.
const STANDSTILL: Duration = Duration::from_secs(10);
/// What was confirmed before it stood still is acknowledged by then.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// How much more memory a gateway may take meanwhile, in KiB, whatever clients send.
const GROWTH: u64 = 64 << 10;
/// Clients that send without waiting for an answer, at each gateway.
const N_FLOODING: usize = 4;

fn millis(random: &mut Random, below: usize) -> Duration {
    Duration::from_millis(random.below(below).try_into().unwrap_or(u64::MAX))
}

fn redis_dies(run: &mut Run) {
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let traffic = run.everybody(&cluster);
    for _ in 0..run.rounds(2, 8) {
        run.somewhere(&traffic);
        run.makes("kill", "redis", || {
            cluster.redis().kill();
            !cluster.redis().is_running()
        });
        pause(millis(&mut run.random, 2_000));
        cluster.redis().restart();
        run.healed("kill", "redis");
        run.recovers(&traffic, Instant::now());
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// With `wait-replicas` nothing that was confirmed is lost. Without it the loss is measured: nobody
/// promises anything.
fn a_lagging_replica_takes_over(run: &mut Run) {
    let builder = Cluster::builder().control(1).gateways(3);
    let cluster = builder.clone().redis_with_sentinel(1).start();
    let traffic = run.everybody(&cluster);
    for _ in 0..run.rounds(1, 3) {
        run.somewhere(&traffic);
        let lag = millis(&mut run.random, 1_000);
        let killed = run.makes("fail over", "redis", || {
            fail_over(&cluster, lag); // until the replica is the primary
            true
        });
        run.healed("fail over", "redis");
        run.recovers(&traffic, killed);
    }
    run.conclude(traffic);
    run.look_at(&cluster);
    drop(cluster);
    if run.rounds(0, 1) > 0 {
        measure_without_waiting(run, &builder.redis_with_sentinel(0).start());
    }
}

/// The replica gets nothing for a while; then the primary dies, and the replica is all there is. The
/// old primary comes back, and follows: only then anything is confirmed that has to wait for a replica.
fn fail_over(cluster: &Cluster, lag: Duration) {
    let [primary, replica] = cluster.watched().roles();
    replica.pause();
    // Else what is in its socket would be read all the same.
    primary.command(&["CLIENT", "KILL", "TYPE", "REPLICA"]);
    pause(lag);
    primary.kill();
    replica.resume();
    cluster.watched().wait_until_promoted(replica);
    cluster.watched().take_back(primary, replica);
}

fn measure_without_waiting(run: &mut Run, cluster: &Cluster) {
    let random = run.random.fork();
    let traffic = Traffic::seeded(cluster, random).paced(Duration::from_millis(4));
    let traffic = traffic.with_absent_subscribers().with_publishers();
    let history = Arc::clone(&traffic.history);
    traffic.stream(200);
    fail_over(cluster, Duration::from_millis(500));
    let troubles = traffic.conclude();
    let verdict = history.judge();
    run.note(format!(
        "without wait-replicas, 500 ms behind: {} of {} lost, {} not as promised in all, {troubles:?}",
        verdict.n_lost(),
        verdict.n_accepted,
        verdict.violations.len(),
    ));
}

fn redis_stands_still(run: &mut Run) {
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let traffic = run.everybody(&cluster);
    let history = run.history();
    // Somebody for whom all that has to be stored, until it is more than a session may have.
    let flooded = unique("flooded");
    let connect = Connect::persistent(5, &flooded);
    let mut absent = cluster.three()[0].connect(&connect).0;
    absent.subscribe(&flooded, 1);
    absent.disconnect();
    for _ in 0..run.rounds(1, 3) {
        run.somewhere(&traffic);
        let before: Vec<u64> = cluster.gateways().iter().map(|it| it.rss_kib()).collect();
        let is_signal = run.random.once_in(2);
        let stopped = run.makes("stop", "redis", || {
            if is_signal {
                cluster.redis().pause();
                stands_still(cluster.redis().pid())
            } else {
                let wait = STANDSTILL.as_millis().to_string();
                let told = cluster.redis().command(&["CLIENT", "PAUSE", &wait, "ALL"]);
                told.contains("OK")
            }
        });
        let is_over = AtomicBool::new(false);
        let (mut early, mut late) = (0, 0);
        thread::scope(|scope| {
            let _over = Over(&is_over);
            for node in cluster.gateways() {
                for _ in 0..N_FLOODING {
                    let (flooded, is_over) = (&flooded, &is_over);
                    scope.spawn(move || flood(node, flooded, is_over));
                }
            }
            pause(ON_ITS_WAY);
            early = history.n_accepted();
            // It goes on by itself at the end: what is seen before that counts.
            let rest = STANDSTILL.saturating_sub(stopped.elapsed() + ON_ITS_WAY / 2);
            pause(rest);
            late = history.n_accepted();
        });
        if is_signal {
            cluster.redis().resume();
        }
        run.healed("stop", "redis");
        let since = Instant::now();
        if late > early {
            run.fail(format!(
                "{} were acknowledged while Redis stood still",
                late - early
            ));
        }
        for (node, before) in cluster.gateways().iter().zip(before) {
            let grown = node.rss_kib().saturating_sub(before);
            if grown > GROWTH {
                run.fail(format!("{} took {grown} KiB more memory", node.name()));
            }
        }
        run.recovers(&traffic, since);
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// Sends as fast as the gateway reads, and waits for nothing: what cannot be stored must not pile up.
fn flood(node: &Node, topic: &str, is_over: &AtomicBool) {
    let connect = Connect::new(4, unique("flood"));
    let Ok((mut link, ..)) = Link::open_within(ON_ITS_WAY, node.tcp(), &connect) else {
        return; // it takes nobody now
    };
    let mut id = 0_u16;
    while !is_over.load(Relaxed) {
        id = id.checked_add(1).unwrap_or(1);
        let publish = Publish::new(topic, [b'x'; 4096]).qos(1, id);
        // A gateway that reads no more, or closes, does right.
        if link.send(&publish.bytes(4)).is_err() {
            return;
        }
    }
}
