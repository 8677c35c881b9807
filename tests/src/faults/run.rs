//! One run of a scenario: what a scenario works with, and how its outcome comes about.

use std::{
    any::Any,
    collections::BTreeMap,
    fs, mem,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Effort, Outcome, Scenario, Sign, evidence::stands_still, report::UNKNOWN};
use crate::{
    Cluster, Node,
    checker::{self, Conclusion, Dropped, Expected},
    history::{FaultOutcome, History, Name, Random},
    nemesis::Unavailable,
    patience::pause,
    traffic::Traffic,
};

/// Publishers of a run let this time pass between two messages, on the average.
const PACE: Duration = Duration::from_millis(4);
/// Fewer acknowledged messages than this show nothing.
const LEAST: usize = 100;

/// A run at work.
#[derive(Debug)]
pub struct Run {
    /// Everything that a scenario chooses comes from here.
    pub random: Random,
    effort: Effort,
    history: Arc<History>,
    /// When the last fault was healed, if nobody has written and read since.
    healed: Option<Instant>,
    /// What the run has to show.
    expected: Expected,
    outcome: Outcome,
    /// Where it is kept what shows how a run went wrong.
    folder: PathBuf,
}

// === impl Run ===

impl Run {
    /// Performs a scenario, whatever happens in it. What shows how it went wrong is kept in a folder
    /// of this one.
    pub fn perform(scenario: Scenario, seed: u64, effort: Effort, kept: &Path) -> Outcome {
        let folder = kept.join(format!("{}-{seed}", scenario.name));
        let worker = thread::Builder::new().name(format!("{}-{seed}", scenario.name));
        let thread = worker.spawn(move || {
            let mut run = Self::new(&scenario, seed, effort, folder);
            let acted = panic::catch_unwind(AssertUnwindSafe(|| (scenario.act)(&mut run)));
            if let Err(reason) = acted {
                run.interrupted(said(reason.as_ref()));
            }
            run.finish()
        });
        let joined = thread.expect("a thread can be had").join();
        joined.expect("what a scenario throws is caught")
    }

    fn new(scenario: &Scenario, seed: u64, effort: Effort, folder: PathBuf) -> Self {
        Self {
            random: Random::new(seed),
            effort,
            history: Arc::default(),
            healed: None,
            expected: Expected {
                needs_probe: scenario.needs_probe(),
                needs_fault: scenario.needs_fault(),
                least_accepted: LEAST,
                faults: Vec::new(),
                dropped: Dropped::default(),
            },
            outcome: Outcome {
                scenario: scenario.name,
                seed,
                n_acknowledged: 0,
                n_delivered: 0,
                n_lost: 0,
                n_duplicated: 0,
                n_repeated: 0,
                n_out_of_order: 0,
                recovery: None,
                signs: BTreeMap::new(),
                verdict: Conclusion::Valid,
                is_broken_off: false,
                lacks: None,
                notes: Vec::new(),
                history: None,
            },
            folder,
        }
    }

    /// So many faults in the short form, so many in the full one.
    pub fn rounds(&self, short: usize, full: usize) -> usize {
        match self.effort {
            Effort::Short => short,
            Effort::Full | Effort::For(_) => full,
        }
    }

    /// How long a run is to last that has a length.
    pub fn length(&self) -> Duration {
        match self.effort {
            Effort::For(length) => length,
            Effort::Short | Effort::Full => Duration::from_secs(30 * 60),
        }
    }

    // --- clients ---

    /// What everybody of this run writes to.
    pub fn history(&self) -> Arc<History> {
        Arc::clone(&self.history)
    }

    /// Clients of this cluster that log to this run's history; none yet.
    pub fn traffic<'a>(&mut self, cluster: &'a Cluster) -> Traffic<'a> {
        let mut traffic = Traffic::seeded(cluster, self.random.fork()).paced(PACE);
        traffic.history = Arc::clone(&self.history);
        traffic
    }

    /// The usual ones: publishers, subscribers that are there and that are away, and a group.
    pub fn everybody<'a>(&mut self, cluster: &'a Cluster) -> Traffic<'a> {
        let nobody = self.traffic(cluster);
        nobody
            .with_absent_subscribers()
            .with_present_subscribers()
            .with_group()
            .with_publishers()
    }

    /// Does something while something else goes on beside it, which ends when it is told no more to
    /// go on.
    pub fn meanwhile(
        &mut self,
        beside: impl FnOnce(&AtomicBool) + Send,
        act: impl FnOnce(&mut Self),
    ) {
        let go_on = AtomicBool::new(true);
        let acted = thread::scope(|scope| {
            scope.spawn(|| beside(&go_on));
            let acted = panic::catch_unwind(AssertUnwindSafe(|| act(self)));
            go_on.store(false, Relaxed);
            acted
        });
        if let Err(reason) = acted {
            panic::resume_unwind(reason);
        }
    }

    /// Lets the stream run on, for a while that nobody can foresee.
    pub fn somewhere(&mut self, traffic: &Traffic<'_>) {
        traffic.stream(40 + self.random.below(160));
        let wait = u64::try_from(self.random.below(10_000)).expect("small");
        pause(Duration::from_micros(wait));
    }

    /// The stream goes on: how long that took since then counts as [`Outcome::recovery`], which tells
    /// from when on. Amid a fault that holds nobody up it is [`Traffic::everyone_goes_on`]. If the last
    /// fault is healed, a client at each gateway writes and reads meanwhile.
    pub fn recovers(&mut self, traffic: &Traffic<'_>, since: Instant) {
        let mut took = Duration::ZERO;
        let mut goes_on = || {
            traffic.everyone_goes_on();
            took = since.elapsed();
        };
        match self.healed.take() {
            Some(healed) => traffic.probe_meanwhile(healed, goes_on),
            None => goes_on(),
        }
        self.took(took);
    }

    /// A client at each gateway writes and reads, as soon as that is possible: measured from the last
    /// heal, or from now on, where that has been done since.
    pub fn probe(&mut self, traffic: &Traffic<'_>) {
        let since = self.healed.take().unwrap_or_else(Instant::now);
        traffic.probe(since);
    }

    /// A recovery took so long ([`Outcome::recovery`]).
    pub fn took(&mut self, time: Duration) {
        self.outcome.recovery = self.outcome.recovery.max(Some(time));
    }

    // --- faults ---

    /// Notes a fault that is in force from now on, until it is told that it is healed: one that has
    /// been made already, or that is whatever the scenario does next itself.
    pub fn fault(&mut self, op: &str, target: &str) -> Instant {
        self.tell(op, target, FaultOutcome::Installed);
        Instant::now()
    }

    /// Makes a fault, until it is told that it is healed. The act tells whether it is in force then, as
    /// far as it can: a run that cannot say so shows nothing. Returns when the act began.
    pub fn makes(&mut self, op: &str, target: &str, act: impl FnOnce() -> bool) -> Instant {
        let since = self.begins(op, target);
        let is_in_force = act();
        self.sees(op, target, is_in_force);
        since
    }

    /// Notes that a fault may be in force from now on; [`Self::sees`] has to follow.
    pub fn begins(&mut self, op: &str, target: &str) -> Instant {
        self.tell(op, target, FaultOutcome::Begun);
        Instant::now()
    }

    /// Notes whether a fault that was begun was seen in force.
    pub fn sees(&mut self, op: &str, target: &str, is_in_force: bool) {
        let outcome = match is_in_force {
            true => FaultOutcome::Installed,
            false => FaultOutcome::Indeterminate,
        };
        self.tell(op, target, outcome);
    }

    fn tell(&mut self, op: &str, target: &str, outcome: FaultOutcome) {
        assert!(
            checker::is_known(op),
            "{op} has no place in tests/src/checker/excuse.rs"
        );
        self.history.fault(op, target, outcome);
        self.healed = None;
    }

    /// Notes that a fault is over.
    pub fn healed(&mut self, op: &str, target: &str) {
        self.history.fault(op, target, FaultOutcome::Healed);
        self.healed = Some(Instant::now());
    }

    /// SIGKILL. Returns when it was.
    pub fn kill(&mut self, node: &Node) -> Instant {
        self.makes("kill", node.name(), || {
            node.kill();
            !node.is_running()
        })
    }

    /// Starts what was killed, on its ports and data; it must become ready.
    pub fn restart(&mut self, node: &Node) {
        node.restart();
        self.healed("kill", node.name());
    }

    /// Kills whom `choose` says, amid the stream, so many times in the short form and in the full
    /// one; each starts again when everybody is answered.
    pub fn kill_each_time<'a>(
        &mut self,
        traffic: &Traffic<'_>,
        (short, full): (usize, usize),
        mut choose: impl FnMut(&mut Random) -> &'a Node,
    ) {
        for _ in 0..self.rounds(short, full) {
            self.somewhere(traffic);
            let node = choose(&mut self.random);
            let killed = self.kill(node);
            self.recovers(traffic, killed);
            self.restart(node);
        }
    }

    /// SIGSTOP. Returns when it was.
    pub fn stop(&mut self, node: &Node) -> Instant {
        self.makes("stop", node.name(), || {
            node.pause();
            stands_still(node.pid())
        })
    }

    /// SIGCONT.
    pub fn go_on(&mut self, node: &Node) {
        node.resume();
        self.healed("stop", node.name());
    }

    // --- the end ---

    /// Something worth a line below the run's row.
    pub fn note(&mut self, text: impl Into<String>) {
        self.outcome.notes.push(text.into());
    }

    /// The run shows nothing, and nobody knows whether who is tested is why: that is not good enough.
    /// Where it is known, it is [`Self::fail`] or [`Self::lacks`].
    pub fn unavailable(&mut self, op: &str, why: &str) {
        self.history.fault(op, "", FaultOutcome::Skipped);
        self.outcome.verdict = self.outcome.verdict.max(Conclusion::Unknown);
        self.note(format!("{UNKNOWN}{op}: {why}"));
    }

    /// Faults that must have been in force, by their `op`, or else the run shows nothing.
    pub fn needs(&mut self, ops: &[&str]) {
        self.expected.faults.extend(ops.iter().map(|&op| op.into()));
    }

    /// What this machine has to be able to do for a fault; `None` where it is not, and then the run
    /// shows nothing.
    pub fn can<T>(&mut self, op: &str, tried: Result<T, Unavailable>) -> Option<T> {
        tried
            .inspect_err(|why| self.lacks(op, &why.to_string()))
            .ok()
    }

    /// This machine lacks what the run needs, whoever is tested: the run shows nothing.
    pub fn lacks(&mut self, op: &str, why: &str) {
        let lacks = &mut self.outcome.lacks;
        lacks.get_or_insert_with(|| format!("{op}: {why}"));
        self.unavailable(op, why);
    }

    /// A promise was broken.
    pub fn fail(&mut self, what: impl Into<String>) {
        self.fail_as(Sign::Other, what);
    }

    /// The same, where there is a word for it.
    pub fn fail_as(&mut self, sign: Sign, what: impl Into<String>) {
        *self.outcome.signs.entry(sign).or_default() += 1;
        self.outcome.verdict = Conclusion::Invalid;
        self.note(what);
    }

    /// The scenario did not come to its end, and nothing that it shows is good enough: where its cluster
    /// does not even start, whoever is tested may be why.
    fn interrupted(&mut self, why: String) {
        self.outcome.is_broken_off = true;
        self.fail(why);
    }

    /// A client at each gateway writes and reads, the others finish, and the judge judges.
    pub fn conclude(&mut self, traffic: Traffic<'_>) {
        self.probe(&traffic);
        for trouble in traffic.conclude() {
            self.fail(trouble);
        }
        self.judge();
    }

    /// Queues of these subscribers drop what they have no room for, because they were told to, and so
    /// many messages have been counted in all by now. Returns how many more these are than were told
    /// before.
    pub fn dropped(&mut self, clients: Vec<Name>, n_messages: usize) -> usize {
        let dropped = &mut self.expected.dropped;
        dropped.clients.extend(clients);
        let before = mem::replace(&mut dropped.n_messages, n_messages);
        n_messages.saturating_sub(before)
    }

    /// Judges what is in the history by now.
    pub fn judge(&mut self) {
        let verdict = self.history.judge_as(&self.expected);
        let outcome = &mut self.outcome;
        if verdict.n_dropped > 0 {
            let n_messages = verdict.n_dropped;
            outcome.notes.push(format!(
                "{n_messages} were dropped by queues that are told to, and as many are missing"
            ));
        }
        outcome.n_acknowledged = verdict.n_accepted;
        outcome.n_delivered = verdict.n_received;
        outcome.n_lost = verdict.n_lost();
        outcome.n_duplicated = verdict.n_duplicated();
        outcome.n_repeated = verdict.n_repeated + verdict.n_repeated_by_fault;
        outcome.n_out_of_order = verdict.n_out_of_order();
        outcome.verdict = outcome.verdict.max(verdict.conclusion());
        for violation in &verdict.violations {
            *outcome.signs.entry(Sign::of(violation)).or_default() += 1;
        }
        let violations = verdict.violations.iter().map(ToString::to_string);
        let doubts = verdict
            .doubts
            .iter()
            .map(|doubt| format!("{UNKNOWN}{doubt}"));
        outcome
            .notes
            .extend(violations.take(5).chain(doubts.take(5)));
    }

    /// No process may have panicked; the logs of a run that is not valid are kept.
    pub fn look_at(&mut self, cluster: &Cluster) {
        let complaints = cluster.complaints(|line| line.contains("panicked"));
        for complaint in complaints {
            self.fail(complaint);
        }
        if self.outcome.verdict != Conclusion::Valid
            && let Err(error) = cluster.keep_logs(&self.folder)
        {
            self.note(format!("the logs are lost: {error}"));
        }
    }

    fn finish(mut self) -> Outcome {
        if self.outcome.verdict != Conclusion::Valid {
            let path = self.folder.join("history.jsonl");
            let kept = fs::create_dir_all(&self.folder).and_then(|()| self.history.save(&path));
            match kept {
                Ok(()) => self.outcome.history = Some(path),
                Err(error) => self.note(format!("the history is lost: {error}")),
            }
        }
        self.outcome
    }
}

/// What a panic said.
fn said(reason: &(dyn Any + Send)) -> String {
    let text = reason.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| reason.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}
