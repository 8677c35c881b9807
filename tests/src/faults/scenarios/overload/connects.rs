//! L1: everybody comes back at once, after a power cut in a town, say, and each password costs the
//! broker a core for some time. How many come depends on how many it can verify: the plan's 5,000
//! want a machine that verifies more than 125 a second.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::{
    bounds::Bounds,
    crowd::Plan,
    figures::Spread,
    logins::Login,
    stage::{Baseline, come, end, seconds},
    watch::Watch,
};
use crate::{Cluster, faults::Run};

/// All have this name and password, as a fleet may; it is stored as `gatemq passwd` writes it.
const NAME: &str = "ann";
const PASSWORD: &str = "mosquitto";
const USERS: &str = "users: [{username: ann, password: '$argon2id$v=19$m=19456,t=2,p=1$\
    wrUOt2wYCwJg6bm0yYco4A$yk4a7FVK7bM9rKPS4LRpTDwz6ebE0nISUvLSAJ5aKvU'}]\nunrestricted: true\n";
/// How many the plan has.
const MOST: usize = 5_000;
/// How soon those have to be in that are to be, and how many of a hundred.
const LIMIT: Duration = Duration::from_secs(60);
const SUCCESS: usize = 95;
/// Connections that the system keeps for `accept`: the broker's own bound.
const BACKLOG: u64 = 4096;

pub(super) fn storm(run: &mut Run) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let users = folder.path().join("users.yml");
    fs::write(&users, USERS).expect("a file in a temporary directory");
    let source = format!(
        "auth: {{sources: [{{type: file, path: '{}'}}]}}",
        users.display()
    );
    let cluster = Cluster::builder()
        .control(1)
        .gateways(2)
        .setting(&source)
        .start();
    let node = cluster.node("g1");
    let login = Login {
        to: node.tcp(),
        name: NAME,
        password: PASSWORD,
    };
    let plan = Plan {
        login: Some((NAME, PASSWORD)),
        ..Plan::bystanders(node.tcp(), 20)
    };
    let Some(bystanders) = come(run, plan) else {
        return run.look_at(&cluster);
    };
    let time = seconds(run, 3, 6);
    let n_verified = login.n_within(time);
    let mut bounds = Bounds::start();
    let baseline = Baseline::take(run, &bystanders, time);
    // What takes it the fifth part of the limit, or two thirds.
    let share = LIMIT.as_millis() / time.as_millis();
    let share = usize::try_from(share).expect("small") * n_verified;
    let n_clients = run.rounds(share / 5, share * 2 / 3).clamp(20, MOST);
    let spread = seconds(run, 2, 5);
    let watch = Watch::start(node);
    let since = run.fault("storm", node.name());
    let outcome = login.storm(n_clients, spread, LIMIT, &mut run.random);
    let over = Instant::now();
    run.healed("storm", node.name());
    let n_in = outcome.times.len();
    run.note(format!(
        "{n_verified} passwords verified in {} s; of {n_clients} clients {n_in} got in, {} in {} \
         attempts, {} refused, {} cut",
        time.as_secs(),
        Spread::of(outcome.times),
        outcome.n_attempts,
        outcome.n_refused,
        outcome.n_cut
    ));
    if n_in * 100 < n_clients * SUCCESS {
        bounds.broken(format!("{n_in} of {n_clients} got in within {LIMIT:?}"));
    }
    let n_waiting = watch.waiting(since, over);
    run.note(format!(
        "{n_waiting} waited for accept at most, {:.0} MiB at most",
        watch.memory(since, over)
    ));
    if n_waiting > BACKLOG {
        run.fail(format!("{n_waiting} connections waited for accept"));
    }
    baseline.compare(run, &mut bounds, &bystanders.tally().between(since, over));
    end(run, bounds, bystanders, &cluster);
}
