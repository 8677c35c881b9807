//! One store loses its power while another stands still: F18. Who says that something is safe before
//! it is on disk is found out by this: those that are left have to know it.

use std::time::{Duration, Instant};

use crate::{
    Cluster, Node,
    cluster::REDIS,
    faults::{Run, Scenario, evidence::stands_still, states},
    nemesis::disk::power::{self, Disk, Unsynced},
    patience::{becomes_true, pause},
    redis::Redis,
    traffic::Traffic,
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "F18",
    title: "a store loses its power, and what was not synced, while another stands still",
    is_short: false,
    act: one_is_cut_while_another_stands_still,
}];

/// What is on its way when one begins to stand still is agreed on without it by then.
const STANDSTILL: Duration = Duration::from_secs(3);
/// How long a replica may take to have on disk what it got as a whole.
const WRITTEN: Duration = Duration::from_secs(20);

fn one_is_cut_while_another_stands_still(run: &mut Run) {
    let Some(wrap) = run.can("power", power::wrap(Disk::Honest)) else {
        return;
    };
    let builder = Cluster::builder().control(3).gateways(2);
    let builder = ["c1", "c2", "c3", REDIS]
        .into_iter()
        .fold(builder, |builder, name| builder.wrap(name, wrap.clone()));
    let cluster = builder.redis_with_sentinel(1).start();
    cluster.wait_for_voters();
    let mut traffic = run.everybody(&cluster);
    let (all, history) = (cluster.controls(), run.history());
    run.meanwhile(
        |go_on| states::watch(&all, &history, go_on),
        |run| {
            for _ in 0..run.rounds(1, 4) {
                a_control_node_is_cut(run, &cluster, &mut traffic);
                run.agree(&all);
                a_redis_is_cut(run, &cluster, &traffic);
            }
        },
    );
    run.conclude(traffic);
    run.look_at(&cluster);
}

// --- the control plane ---

/// What is agreed on while one stands still, only the two others have; then one of these is cut, and
/// the other one may stand still in its turn: a quorum is left that knows it from the disk alone.
fn a_control_node_is_cut(run: &mut Run, cluster: &Cluster, traffic: &mut Traffic<'_>) {
    let mut three = cluster.controls();
    three.rotate_left(run.random.below(3));
    if run.random.once_in(2) {
        three.swap(1, 2);
    }
    let [cut, behind, other] = three[..] else {
        panic!("the control plane has three nodes");
    };
    run.somewhere(traffic);
    run.stop(behind);
    pause(STANDSTILL);
    traffic.one_more_subscribes();
    keep_agreeing(traffic);
    let is_torn = run.random.once_in(2);
    let takes_turns = run.random.once_in(2);
    let mut random = run.random.fork();
    run.makes("power", cut.name(), || {
        cut.kill();
        !cut.is_running()
    });
    if takes_turns {
        run.stop(other);
        run.go_on(behind);
    }
    let unsynced = match is_torn {
        true => Unsynced::Torn(&mut random),
        false => Unsynced::Lost,
    };
    power::cut(cut.folder(), unsynced).expect("the data can be replaced");
    comes_back(cut);
    run.healed("power", cut.name());
    keep_agreeing(traffic);
    run.go_on(if takes_turns { other } else { behind });
    run.recovers(traffic, Instant::now());
}

/// Routes are written, and taken away.
fn keep_agreeing(traffic: &Traffic<'_>) {
    traffic.probe(Instant::now());
}

fn comes_back(node: &Node) {
    let ready = node.launch().and_then(|()| node.wait_until_ready());
    ready.unwrap_or_else(|why| panic!("{}: {why}\n{}", node.name(), node.log().tail(20)));
}

// --- Redis ---

/// The primary is cut while its replica stands still; or the replica is cut while the primary stands
/// still, and then what the replica had synced is all that there is.
fn a_redis_is_cut(run: &mut Run, cluster: &Cluster, traffic: &Traffic<'_>) {
    let watched = cluster.watched();
    let [primary, replica] = watched.roles();
    has_written(replica);
    run.somewhere(traffic);
    let wait = u64::try_from(run.random.below(1_000)).expect("small");
    let wait = Duration::from_millis(wait);
    let since = if run.random.once_in(2) {
        run.makes("stop", "replica", || {
            replica.pause();
            stands_still(replica.pid())
        });
        // Else what is in its socket would be read all the same.
        primary.command(&["CLIENT", "KILL", "TYPE", "REPLICA"]);
        pause(wait);
        let since = run.makes("power", "primary", || {
            primary.kill();
            !primary.is_running()
        });
        cut_off(primary);
        replica.resume();
        run.healed("stop", "replica");
        watched.wait_until_promoted(replica);
        watched.take_back(primary, replica);
        run.healed("power", "primary");
        since
    } else {
        let since = run.makes("power", "replica", || {
            replica.kill();
            !replica.is_running()
        });
        run.makes("stop", "primary", || {
            primary.pause();
            stands_still(primary.pid())
        });
        cut_off(replica);
        replica.restart();
        replica.follow(primary);
        watched.wait_until_promoted(replica);
        run.healed("power", "replica");
        // For a while it takes itself for what it was.
        primary.resume();
        pause(wait);
        watched.take_back(primary, replica);
        run.healed("stop", "primary");
        since
    };
    run.recovers(traffic, since);
}

fn cut_off(redis: &Redis) {
    power::cut(redis.folder(), Unsynced::Lost).expect("the data can be replaced");
}

/// A replica that got everything as a whole has it in memory first. Until it is written, a cut leaves
/// nothing of it: that window is Redis's own.
fn has_written(replica: &Redis) {
    let is_written = becomes_true(WRITTEN, || {
        let told = replica.command(&["INFO", "persistence"]);
        let is_so = |what: &str| told.lines().any(|line| line.trim() == what);
        is_so("aof_rewrite_in_progress:0") && is_so("aof_rewrite_scheduled:0")
    });
    assert!(is_written, "the replica does not write what it got");
}
