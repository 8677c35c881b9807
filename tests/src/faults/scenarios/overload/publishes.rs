//! L2: publishers offer five times what a gateway takes of them, QoS 1. It has to make them wait, or
//! refuse; what it does acknowledge arrives. How long they wait comes to a plateau ([`plateau`]), the
//! gateway goes on with its work, and memory is flat in the last third of the time.

use std::time::{Duration, Instant};

use super::{
    bounds::Bounds,
    crowd::{Crowd, HELD, Plan},
    figures::count,
    plateau,
    stage::{self, come, is_flat, over, seconds},
    watch::Watch,
};
use crate::{Cluster, Node, faults::Run, patience::pause};

const N_PUBLISHERS: usize = 8;
/// So many times what can be carried.
const OVERLOAD: f64 = 5.0;
/// So much of what can be carried is acknowledged at any time: publishers that are too many take the
/// processors, too, but nobody stands still.
const GOES_ON: f64 = 0.5;
/// Unanswered messages of a publisher, about as many as a client can name; before 5.0 nothing else
/// keeps it from sending but that it is not read from.
pub(super) const WINDOW: usize = 60_000;
/// Protocol level of such a publisher.
pub(super) const LEVEL: u8 = 4;
/// What was dropped when the last message was answered is counted by then.
const SETTLED: Duration = Duration::from_millis(500);

pub(super) fn too_many(run: &mut Run) {
    let cluster = builder().start();
    let [node, other] = ["g1", "g2"].map(|name| cluster.node(name));
    let plan = Plan::flood(node.tcp(), other.tcp(), N_PUBLISHERS);
    let mut bounds = Bounds::start();
    let Some((flood, capacity)) = overload(run, &plan, other) else {
        return run.look_at(&cluster);
    };
    let watches = [node, other].map(|node| (node, Watch::start(node)));
    let since = run.fault("flood", node.name());
    pause(seconds(run, 9, 30));
    let until = Instant::now();
    let tally = flood.tally();
    let sample = tally.between(since, until);
    let thirds = tally.parts(since, until, 3);
    let apart = (until - since) / 3;
    run.note(format!(
        "{capacity:.0}/s can be carried; of {:.0}/s that were due {:.0}/s were acknowledged, {}",
        capacity * OVERLOAD,
        sample.answer_rate(),
        sample.answers
    ));
    for third in &thirds {
        let rate = third.answer_rate();
        run.note(format!(
            "a third of the time: {rate:.0}/s, {}",
            third.answers
        ));
        if rate < capacity * GOES_ON {
            bounds.broken(format!("{rate:.0}/s were acknowledged of {capacity:.0}/s"));
        }
    }
    if let Err(why) = plateau::is_reached(&thirds[1].answers, &thirds[2].answers, apart) {
        bounds.broken(format!("acknowledgements come later and later: {why}"));
    }
    for (node, watch) in &watches {
        is_flat(run, node, watch, since, until);
    }
    run.healed("flood", node.name());
    finish(run, flood, other);
    bounds.tell(run);
    run.judge();
    run.look_at(&cluster);
}

/// Who has no room tells publishers so.
pub(super) fn builder() -> crate::cluster::Builder {
    let builder = Cluster::builder().control(1).gateways(2);
    builder
        .setting("session: {on-full: reject}")
        .setting("limits: {max-queued-bytes: 8MiB}")
}

/// Finds out how much of this can be carried, and starts more than that; subscribers are at this
/// node. Returns what can be carried in a second, too.
pub(super) fn overload(run: &mut Run, plan: &Plan, to: &Node) -> Option<(Crowd, f64)> {
    let tried = Plan {
        prefix: format!("{}/tried", plan.prefix),
        n_asleep: 0,
        ..plan.clone()
    };
    let crowd = come(run, tried)?;
    pause(Duration::from_secs(1));
    let capacity = over(&crowd, seconds(run, 3, 8)).answer_rate();
    leave(run, crowd, to);
    let n_publishers = f64::from(u32::try_from(plan.n_publishers).expect("not so many"));
    let period = n_publishers / (capacity * OVERLOAD).max(1.0);
    let plan = Plan {
        // Nobody who has left is to be sent this.
        prefix: format!("{}/flood", plan.prefix),
        period: Duration::from_secs_f64(period),
        window: WINDOW,
        level: LEVEL,
        ..plan.clone()
    };
    Some((come(run, plan)?, capacity))
}

/// The flood ends: nothing was too much if nobody was kept waiting. Its subscribers are at this node.
pub(super) fn finish(run: &mut Run, flood: Crowd, to: &Node) {
    let tally = flood.tally();
    let counts = [
        &tally.n_sent,
        &tally.n_held,
        &tally.n_shed,
        &tally.n_refused,
        &tally.n_ended,
    ];
    let [n_sent, n_held, n_shed, n_refused, n_ended] = counts.map(count);
    let n_late = tally.n_later(HELD);
    run.note(format!(
        "of {n_sent} sent {n_shed} were shed (0x97), {n_refused} refused otherwise, {n_late} accepted \
         after more than {} ms; {n_held} times the broker did not read on, {n_ended} connections ended",
        HELD.as_millis()
    ));
    if n_late + n_held + n_shed + n_ended == 0 {
        run.unavailable("flood", "nothing was too much");
    }
    // Before 5.0 that is how a publisher is told that somebody has no room, unless queues make some.
    if n_ended > 0 && (flood.is_lossy() || dropped(to) == Some(0)) {
        run.fail("connections ended, and everybody had room");
    }
    leave(run, flood, to);
}

/// A crowd finishes; of what its queues dropped the node tells how much it was.
fn leave(run: &mut Run, crowd: Crowd, to: &Node) {
    if crowd.is_lossy() {
        crowd.hush();
        pause(SETTLED);
        match dropped(to) {
            Some(n_messages) => crowd.dropped(run.dropped(crowd.subscribers(), n_messages)),
            None => run.fail(format!("{} does not tell what it dropped", to.name())),
        }
    }
    stage::leave(run, crowd);
}

/// How many messages a node's sessions did not take, since it started.
pub(super) fn dropped(node: &Node) -> Option<usize> {
    let told = node.metric("gateway_messages_dropped_total")?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    let n_messages = told as usize;
    Some(n_messages)
}
