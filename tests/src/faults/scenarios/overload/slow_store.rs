//! L8: what is stored takes ten times as long, as it does when Redis is far away. Acknowledgements
//! come late, as many come as before, and it is over when it is over.

use std::time::{Duration, Instant};

use super::{
    bounds::Bounds,
    crowd::Plan,
    figures::millis,
    stage::{SHARE, TIMES, come, end, over, seconds},
};
use crate::{Cluster, faults::Run, nemesis::relay::Fault, patience::pause};

/// So much longer takes a round.
const SLOWER: u32 = 10;
/// And by so much at least acknowledgements are late, or it was not in force.
const AT_LEAST: u32 = 3;
/// How soon it is over.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn late(run: &mut Run) {
    let builder = Cluster::builder()
        .control(1)
        .gateways(2)
        .redis_behind_a_relay();
    let cluster = builder.start();
    let node = cluster.node("g1");
    let plan = Plan {
        is_stored: true,
        ..Plan::bystanders(node.tcp(), 20)
    };
    let Some(crowd) = come(run, plan) else {
        return run.look_at(&cluster);
    };
    pause(Duration::from_secs(1));
    let time = seconds(run, 4, 15);
    let mut bounds = Bounds::start();
    let before = over(&crowd, time);
    // The whole way to the acknowledgement is a little more than the way to Redis and back.
    let each_way = before.answers.p50 * SLOWER / 2;
    cluster.relay().set(Fault::delay(each_way, Duration::ZERO));
    run.fault("slow", "redis");
    pause(each_way * 2);
    let slow = over(&crowd, time * 2);
    cluster.relay().heal();
    run.healed("slow", "redis");
    let healed = Instant::now();
    run.note(format!(
        "acknowledged before: {:.0}/s, {}; with {:.1} ms each way {:.0}/s, {}",
        before.answer_rate(),
        before.answers,
        millis(each_way),
        slow.answer_rate(),
        slow.answers
    ));
    if slow.answers.p50 < before.answers.p50 * AT_LEAST {
        run.unavailable("slow", "acknowledgements were not late");
    }
    if slow.answer_rate() < before.answer_rate() * SHARE {
        bounds.broken(format!(
            "{:.0} messages a second were acknowledged of {:.0}",
            slow.answer_rate(),
            before.answer_rate()
        ));
    }
    // As often as it takes.
    let mut after = over(&crowd, time / 2);
    while after.answers.p99 > before.answers.p99 * TIMES && healed.elapsed() < LIMIT {
        after = over(&crowd, time / 2);
    }
    run.took(healed.elapsed());
    run.note(format!(
        "afterwards {}, {:.0} s later",
        after.answers,
        healed.elapsed().as_secs_f64()
    ));
    if after.answers.p99 > before.answers.p99 * TIMES {
        bounds.broken("acknowledgements are late though the store is fast again".to_owned());
    }
    end(run, bounds, crowd, &cluster);
}
