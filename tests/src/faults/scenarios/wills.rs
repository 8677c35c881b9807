//! Wills are under way when their gateway is killed: F41. Whoever takes over its sessions cannot
//! know which of them are out, and each comes once all the same (I8). Each second time another
//! gateway stands still meanwhile: then all of them are out, and none is everywhere yet.

use std::time::Duration;

use crate::{
    Cluster, Node,
    faults::{Run, Scenario},
    history::Uid,
    patience::{becomes_true, pause},
    traffic::{Route, mortal},
    unique,
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "F41",
    title: "clients with wills are cut off, and their gateway is killed at once",
    is_short: true,
    act: wills_are_under_way,
}];

/// Clients that are cut off in a round.
const N_MORTALS: usize = 40;
/// How long after that the gateway lives, at most, in milliseconds.
const LIVES: usize = 120;
/// How long a will may take: the lease runs out, the sessions are adopted.
const ADOPTED: Duration = Duration::from_secs(30);
/// How long a gateway stands still at most: its lease does not run out.
const STANDSTILL: Duration = Duration::from_secs(1);

fn wills_are_under_way(run: &mut Run) {
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let traffic = run.everybody(&cluster);
    for number in 0..run.rounds(2, 8) {
        let mut three = cluster.three();
        three.rotate_left(run.random.below(3));
        let [dies, stands_still, _] = three;
        let mortals = mortals(run, dies, traffic.prefix());
        run.somewhere(&traffic);
        let is_out_everywhere = number % 2 == 1;
        if !is_out_everywhere {
            run.stop(stands_still);
        }
        for mortal in &mortals {
            mortal.cut();
        }
        let killed = if is_out_everywhere {
            let lives = run.random.below(LIVES).try_into().expect("small");
            pause(Duration::from_millis(lives));
            let killed = run.kill(dies);
            let due = leave(run, mortals);
            arrive(run, &due, ADOPTED);
            killed
        } else {
            let due = leave(run, mortals);
            arrive(run, &due, STANDSTILL);
            let killed = run.kill(dies);
            run.go_on(stands_still);
            killed
        };
        run.recovers(&traffic, killed);
        run.restart(dies);
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// Clients of this gateway, who do not come back to any.
fn mortals(run: &Run, node: &Node, prefix: &str) -> Vec<mortal::Running> {
    let mortals = (0..N_MORTALS).map(|number| {
        let client = unique("mortal");
        let plan = mortal::Plan {
            topic: format!("{prefix}/will/{client}"),
            client,
            level: if number % 2 == 0 { 4 } else { 5 },
            qos: if number % 4 == 3 { 1 } else { 2 },
            delay: 0,
            returns: false,
            route: Route::new([node.tcp()]),
            history: run.history(),
        };
        plan.start().expect("it is let in")
    });
    mortals.collect()
}

/// Waits until they have gone. Returns the wills that are due.
fn leave(run: &mut Run, mortals: Vec<mortal::Running>) -> Vec<Uid> {
    let left = mortals.into_iter().map(mortal::Running::leave);
    let mut due = Vec::new();
    for wills in left {
        match wills {
            Ok(wills) => due.extend(wills),
            Err(trouble) => run.fail(trouble),
        }
    }
    due
}

/// Waits until somebody has each of these wills. The judge tells which of them did not come.
fn arrive(run: &Run, due: &[Uid], limit: Duration) {
    let history = run.history();
    becomes_true(limit, || due.iter().all(|will| history.has_arrived(will)));
}
