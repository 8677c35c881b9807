//! Publishers that need nothing but the lease of their gateway: one at each, for topics that nobody
//! subscribes to, until somebody does. What they are told shows whether a gateway goes on without a
//! lease.

mod acks;

use std::time::Duration;

use crate::{
    Cluster, Node,
    faults::{Run, Sign},
    history::now,
    patience::becomes_true,
    traffic::{
        Route,
        publisher::{Plan, Running},
    },
    unique,
};
use acks::accepted_at;

/// The last acknowledgement comes by then: a lease of 2 s, and a client that reads it late.
const LAST_ACK: Duration = Duration::from_secs(3);
/// How soon they are answered after a fault, at most.
const SOON: Duration = Duration::from_secs(10);
/// From one message of each to the next, on the average.
const PACE: Duration = Duration::from_millis(20);

/// One at each gateway, who stays there.
pub(super) struct Locals {
    /// What their topics begin with.
    name: String,
    running: Vec<Running>,
}

// === impl Locals ===

impl Locals {
    /// Starts them, each with a topic of its own.
    pub(super) fn start(run: &mut Run, cluster: &Cluster) -> Self {
        let name = unique("nobody");
        let start = |node: &Node| {
            let plan = Plan {
                client: unique("local"),
                level: 5,
                topics: vec![(topic(&name, node), 1)],
                route: Route::new([node.tcp()]),
                history: run.history(),
                random: run.random.fork(),
                pace: PACE,
            };
            plan.start()
        };
        let running = cluster.gateways().into_iter().map(start).collect();
        Self { name, running }
    }

    /// The topic of the one at this gateway.
    pub(super) fn topic(&self, node: &Node) -> String {
        topic(&self.name, node)
    }

    /// All of them are answered again, or else the next fault finds nobody there.
    pub(super) fn go_on(&self, run: &mut Run) {
        for local in &self.running {
            let before = local.n_settled();
            if !becomes_true(SOON, || local.n_settled() > before) {
                run.fail("a gateway that was cut off answers nobody");
            }
        }
    }

    /// They end when all that they sent is answered.
    pub(super) fn finish(self, run: &mut Run) {
        for local in self.running {
            if let Err(trouble) = local.finish() {
                run.fail(trouble);
            }
        }
    }
}

fn topic(name: &str, node: &Node) -> String {
    format!("{name}/{}", node.name())
}

/// Since its lease has run out nobody was told by this gateway that a message is safe. It is not
/// renewed since this moment.
pub(super) fn acks_have_stopped(run: &mut Run, node: &Node, since: u64) {
    let address = node.tcp().to_string();
    let acks = accepted_at(&run.history().records(), &address, since, now());
    let name = node.name();
    let Some(last) = acks.last() else {
        // The lease did not even run on: something else stood still.
        run.unavailable(
            "a lease that runs out",
            &format!("{name} had none when it began"),
        );
        return;
    };
    let last = Duration::from_nanos(last - since);
    run.note(format!(
        "{name}: the last ack came {last:.1?} after its lease was last renewed"
    ));
    if last > LAST_ACK {
        let what = format!("{name} acknowledged {last:?} after its lease was last renewed");
        run.fail_as(Sign::LateAck, what);
    }
}
