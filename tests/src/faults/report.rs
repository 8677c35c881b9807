//! The table of runs, a line each, and its sums.

use std::fmt::{self, Write};

use super::Outcome;
use crate::checker::Conclusion;

/// Outcomes that are printed as a table that is also Markdown.
#[derive(Debug, Default)]
pub struct Report {
    outcomes: Vec<Outcome>,
}

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
            outcome.verdict.to_string(),
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
        let found = self.outcomes.iter().filter(|it| it.verdict == verdict);
        found.count()
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
            "{} runs: {} valid, {} invalid, {} unknown",
            self.outcomes.len(),
            self.count(Conclusion::Valid),
            self.count(Conclusion::Invalid),
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
