//! Wills are under way when their gateway is killed: F41. Whoever takes over its sessions cannot
//! know which of them are out, and each comes once all the same (I8).

use std::time::Duration;

use crate::{
    Cluster,
    faults::{Run, Scenario},
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

fn wills_are_under_way(run: &mut Run) {
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let traffic = run.everybody(&cluster);
    for _ in 0..run.rounds(2, 8) {
        let node = cluster.three()[run.random.below(3)];
        let mortals = (0..N_MORTALS).map(|number| {
            let client = unique("mortal");
            let plan = mortal::Plan {
                topic: format!("{}/will/{client}", traffic.prefix()),
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
        let mortals: Vec<_> = mortals.collect();
        run.somewhere(&traffic);
        for mortal in &mortals {
            mortal.cut();
        }
        let lives = run.random.below(LIVES).try_into().expect("small");
        pause(Duration::from_millis(lives));
        let killed = run.kill(node);
        for mortal in mortals {
            match mortal.leave() {
                // The judge tells which of them did not come.
                Ok(due) => {
                    let history = run.history();
                    becomes_true(ADOPTED, || due.iter().all(|will| history.has_arrived(will)));
                }
                Err(trouble) => run.fail(trouble),
            }
        }
        run.recovers(&traffic, killed);
        run.restart(node);
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}
