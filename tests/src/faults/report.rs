//! The table of runs, a line each, and its sums.

use std::fmt::{self, Write};

use super::Outcome;
use crate::checker::Conclusion;

/// Outcomes that are printed as a table that is also Markdown.
#[derive(Debug, Default)]
pub struct Report {
    outcomes: Vec<Outcome>,
}

/// Notes begin with this that tell why a run shows nothing.
pub(super) const UNKNOWN: &str = "unknown: ";

const HEAD: [&str; 10] = [
    "scenario",
    "seed",
    "acked",
    "delivered",
    "lost",
    "QoS 2 twice",
    "QoS 1 again",
    "out of order",
    "recovery",
    "verdict",
];

// === impl Report ===

impl Report {
    /// The two lines above the rows.
    pub fn head() -> String {
        let rule = HEAD.map(|name| "-".repeat(name.len().max(8)));
        format!("{}\n{}", line(&HEAD.map(str::to_owned)), line(&rule))
    }

    /// A row.
    pub fn row(outcome: &Outcome) -> String {
        let recovery = match outcome.recovery {
            Some(time) => format!("{:.1} s", time.as_secs_f64()),
            None => "-".to_owned(),
        };
        let mut row = line(&[
            outcome.scenario.to_owned(),
            outcome.seed.to_string(),
            outcome.n_acknowledged.to_string(),
            outcome.n_delivered.to_string(),
            outcome.n_lost.to_string(),
            outcome.n_duplicated.to_string(),
            outcome.n_repeated.to_string(),
            outcome.n_out_of_order.to_string(),
            recovery,
            outcome.word(),
        ]);
        for note in &outcome.notes {
            let _infallible = write!(row, "\n    {note}");
        }
        row
    }

    /// Adds a row.
    pub fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// How many runs came to this.
    pub fn count(&self, verdict: Conclusion) -> usize {
        self.outcomes.iter().filter(|it| it.is(verdict)).count()
    }

    /// Whether no promise was broken, no run broke off, and none shows nothing but for what this
    /// machine lacks.
    pub fn is_good(&self) -> bool {
        !self.outcomes.iter().any(Outcome::is_bad)
    }

    /// The runs that show nothing because of what this machine lacks, and why, a line each: that fails
    /// nobody.
    pub fn lacking(&self) -> Vec<String> {
        self.unknown(false)
    }

    /// The runs that show nothing though this machine has what they need, and why, a line each.
    pub fn unexplained(&self) -> Vec<String> {
        self.unknown(true)
    }

    fn unknown(&self, is_bad: bool) -> Vec<String> {
        let unknown = self.outcomes.iter().filter(|it| it.is(Conclusion::Unknown));
        let unknown = unknown.filter(|it| it.is_bad() == is_bad);
        let line = |it: &Outcome| {
            let why = it.notes.iter().filter_map(|it| it.strip_prefix(UNKNOWN));
            let why: Vec<_> = why.collect();
            format!("{} with seed {}: {}", it.scenario, it.seed, why.join("; "))
        };
        unknown.map(line).collect()
    }

    /// A row for each scenario: its sums, its longest recovery, its worst verdict.
    pub fn by_scenario(&self) -> Vec<(usize, Outcome)> {
        let mut sums: Vec<(usize, Outcome)> = Vec::new();
        for outcome in &self.outcomes {
            let found = sums
                .iter_mut()
                .find(|(_, sum)| sum.scenario == outcome.scenario);
            let Some((n_runs, sum)) = found else {
                let mut sum = outcome.clone();
                sum.notes.clear();
                sums.push((1, sum));
                continue;
            };
            *n_runs += 1;
            sum.n_acknowledged += outcome.n_acknowledged;
            sum.n_delivered += outcome.n_delivered;
            sum.n_lost += outcome.n_lost;
            sum.n_duplicated += outcome.n_duplicated;
            sum.n_repeated += outcome.n_repeated;
            sum.n_out_of_order += outcome.n_out_of_order;
            sum.recovery = sum.recovery.max(outcome.recovery);
            sum.verdict = sum.verdict.max(outcome.verdict);
            sum.is_broken_off |= outcome.is_broken_off;
        }
        sums
    }
}

impl fmt::Display for Report {
    /// The sums of each scenario, and of all.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", Self::head().replacen("seed", "runs", 1))?;
        for (n_runs, mut sum) in self.by_scenario() {
            sum.seed = n_runs.try_into().unwrap_or(u64::MAX);
            writeln!(out, "{}", Self::row(&sum))?;
        }
        write!(
            out,
            "{} runs: {} valid, {} invalid, {} broken off, {} unknown",
            self.outcomes.len(),
            self.count(Conclusion::Valid),
            self.count(Conclusion::Invalid),
            self.outcomes.iter().filter(|it| it.is_broken_off).count(),
            self.count(Conclusion::Unknown)
        )
    }
}

fn line(cells: &[String; 10]) -> String {
    let mut text = String::from("|");
    for (cell, name) in cells.iter().zip(HEAD) {
        let width = name.len().max(8);
        let _infallible = write!(text, " {cell:>width$} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use super::*;
    use crate::{
        faults::{Effort, Run, Scenario},
        nemesis::Unavailable,
        unique,
    };

    /// What such a scenario comes to, without a cluster.
    fn performed(act: fn(&mut Run)) -> Outcome {
        let scenario = Scenario {
            name: "F0",
            title: "nothing happens",
            is_short: false,
            act,
        };
        let folder = env::temp_dir().join(unique("report"));
        let outcome = Run::perform(scenario, 1, Effort::Short, &folder);
        let _there_may_be_none = fs::remove_dir_all(folder);
        outcome
    }

    fn report(outcome: Outcome) -> Report {
        let mut report = Report::default();
        report.add(outcome);
        report
    }

    #[test]
    fn a_run_whose_cluster_does_not_start_is_not_good() {
        let broken_off = performed(|_| panic!("g1 does not become ready"));
        let row = Report::row(&broken_off);
        assert!(row.contains("BROKEN |\n    g1 does not"), "{row}");
        let report = report(broken_off);
        assert!(!report.is_good(), "{report}");
        assert_eq!(report.lacking(), Vec::<String>::new());
        assert_eq!(report.unexplained(), Vec::<String>::new());
        let sums = "1 runs: 0 valid, 0 invalid, 1 broken off, 0 unknown";
        assert!(report.to_string().ends_with(sums), "{report}");
    }

    #[test]
    fn what_a_machine_cannot_do_is_told_and_fails_nobody() {
        let unknown = performed(|run| {
            let tried = Err(Unavailable::new("nobody is root"));
            assert!(run.can::<()>("network", tried).is_none());
        });
        assert!(
            unknown.history.is_some(),
            "what it saw is kept: {unknown:?}"
        );
        let report = report(unknown);
        assert!(report.is_good(), "{report}");
        let told = ["F0 with seed 1: network: nobody is root"];
        assert_eq!(report.lacking(), told);
        assert_eq!(report.unexplained(), Vec::<String>::new());
    }

    #[test]
    fn a_run_that_shows_nothing_on_a_machine_that_lacks_nothing_is_not_good() {
        type Act = fn(&mut Run);
        let cases: [(Act, &str); 3] = [
            (
                |run| run.unavailable("flood", "nothing had to be shed"),
                "flood: nothing had to be shed",
            ),
            // Nobody was acknowledged anything.
            (
                Run::judge,
                "no fault was in force; only 0 messages were accepted",
            ),
            (
                |run| {
                    run.needs(&["minority"]);
                    run.judge();
                },
                "minority was never in force",
            ),
        ];
        for (act, why) in cases {
            let report = report(performed(act));
            assert!(!report.is_good(), "{report}");
            assert_eq!(report.count(Conclusion::Unknown), 1);
            assert_eq!(report.lacking(), Vec::<String>::new());
            let told = report.unexplained();
            assert!(told.len() == 1 && told[0].contains(why), "{told:?}");
        }
    }

    #[test]
    fn a_broken_promise_is_not_good() {
        let report = report(performed(|run| run.fail("it came twice")));
        assert!(!report.is_good(), "{report}");
        assert_eq!(report.count(Conclusion::Invalid), 1);
    }
}
