//! What most of these scenarios have in common: a baseline, comparisons with it, and an end.

use std::{
    num::NonZero,
    thread,
    time::{Duration, Instant},
};

use super::{
    bounds::Bounds,
    crowd::Crowd,
    figures::{Sample, count, millis},
    watch::Watch,
};
use crate::{Cluster, Node, faults::Run, nemesis::limits::Busy, patience::pause};

/// Bystanders may wait so many times as long as before.
pub(super) const TIMES: u32 = 2;
/// And get so much of what they got before.
pub(super) const SHARE: f64 = 0.8;
/// Memory is flat where a part of the time needs no more than so many times what the one before it
/// did. A gateway that kept what it cannot carry would need a tenth more in 3 s.
const FLAT: f64 = 1.1;
/// Troubles that are told of each crowd.
const FEW: usize = 3;

/// What bystanders saw while nothing was too much.
pub(super) struct Baseline {
    pub(super) quiet: Sample,
    /// With a process on each processor that does nothing, as fast as it can.
    pub(super) busy: Sample,
}

// === impl Baseline ===

impl Baseline {
    /// Takes this time twice.
    pub(super) fn take(run: &mut Run, crowd: &Crowd, time: Duration) -> Self {
        pause(Duration::from_secs(1)); // what their coming caused is over
        let quiet = over(crowd, time);
        let n_processors = thread::available_parallelism().map_or(1, NonZero::get);
        let busy = Busy::start(n_processors, time * 10).expect("bash runs");
        let sample = over(crowd, time);
        drop(busy);
        let baseline = Self {
            quiet,
            busy: sample,
        };
        run.note(format!(
            "baseline: {:.0}/s, {}; on busy processors {:.0}/s, {}",
            baseline.quiet.rate(),
            baseline.quiet.deliveries,
            baseline.busy.rate(),
            baseline.busy.deliveries
        ));
        baseline
    }

    /// What may be expected of a machine that has other things to do.
    pub(super) fn p99(&self) -> Duration {
        self.quiet.deliveries.p99.max(self.busy.deliveries.p99)
    }

    /// Bystanders wait no longer, and get no less, than they may.
    pub(super) fn compare(&self, run: &mut Run, bounds: &mut Bounds, sample: &Sample) {
        self.compare_within(TIMES, run, bounds, sample);
    }

    /// The same where they may wait so many times as long.
    pub(super) fn compare_within(
        &self,
        times: u32,
        run: &mut Run,
        bounds: &mut Bounds,
        sample: &Sample,
    ) {
        self.compare_rate(run, bounds, sample);
        let (p99, most) = (sample.deliveries.p99, self.p99() * times);
        if p99 > most {
            bounds.broken(format!(
                "bystanders waited {:.1} ms at p99, and {:.1} ms is the bound",
                millis(p99),
                millis(most)
            ));
        }
    }

    /// They get no less.
    pub(super) fn compare_rate(&self, run: &mut Run, bounds: &mut Bounds, sample: &Sample) {
        let (rate, before) = (sample.rate(), self.quiet.rate());
        run.note(format!(
            "bystanders meanwhile: {rate:.0}/s ({:.0} %), {}",
            100.0 * rate / before.max(1.0),
            sample.deliveries
        ));
        if rate < before * SHARE {
            bounds.broken(format!(
                "bystanders got {rate:.0} messages a second of {before:.0}"
            ));
        }
    }
}

/// What bystanders see within this time from now on.
pub(super) fn over(crowd: &Crowd, time: Duration) -> Sample {
    let from = Instant::now();
    pause(time);
    crowd.tally().between(from, from + time)
}

/// So many seconds in the short form, so many in the full one.
pub(super) fn seconds(run: &Run, short: usize, full: usize) -> Duration {
    let seconds = run.rounds(short, full);
    Duration::from_secs(seconds.try_into().expect("small"))
}

/// The memory of a gateway in three parts of this time; the last part must not need much more than
/// the one before it.
pub(super) fn is_flat(run: &mut Run, node: &Node, watch: &Watch, from: Instant, to: Instant) {
    let parts = watch.memories(from, to, 3);
    let told = parts.iter().map(|part| format!("{part:.0}"));
    let told = told.collect::<Vec<_>>().join(", ");
    run.note(format!(
        "memory of {}: {told} MiB, a third of the time each",
        node.name()
    ));
    if parts[2] > parts[1] * FLAT {
        run.fail(format!("the memory of {} grew on: {told} MiB", node.name()));
    }
}

/// A crowd, or nothing where it is not let in, and subscribed, within a minute: that fails the run.
pub(super) fn come(run: &mut Run, plan: super::crowd::Plan) -> Option<Crowd> {
    let come = Crowd::start(plan, run.history());
    come.inspect_err(|why| run.fail(format!("a crowd is not let in: {why}")))
        .ok()
}

/// Everybody finishes, nobody was disconnected, and the judge judges.
pub(super) fn end(run: &mut Run, bounds: Bounds, bystanders: Crowd, cluster: &Cluster) {
    let n_ended = count(&bystanders.tally().n_ended);
    if n_ended > 0 {
        run.fail(format!("{n_ended} connections of bystanders ended"));
    }
    leave(run, bystanders);
    bounds.tell(run);
    run.judge();
    run.look_at(cluster);
}

/// A crowd finishes.
pub(super) fn leave(run: &mut Run, crowd: Crowd) {
    let troubles = crowd.end();
    for trouble in troubles.iter().take(FEW) {
        run.fail(trouble);
    }
    if troubles.len() > FEW {
        run.note(format!("and {} more", troubles.len() - FEW));
    }
}
