//! `tests/run faults`: performs scenarios with many seeds and prints the table of what came of it.

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use clap::Parser;
use gatemq_tests::{
    faults::{Effort, Outcome, Run, Scenario, report::Report, soak},
    skip,
};

/// Makes faults happen under traffic, and tells whether promises were kept.
#[derive(Debug, Parser)]
#[command(name = "tests/run faults")]
struct Arguments {
    /// Scenarios by name, `F1` or `f1`; all faults, where none is named. What is measured under
    /// overload, L1 to L9, is performed only where it is named, one run at a time
    scenarios: Vec<String>,
    /// The first seed; the others follow it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds each scenario has
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Fewer faults in each run, and without names only the scenarios of every test run
    #[arg(long)]
    short: bool,
    /// Runs at a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Where logs and histories of runs that are not valid are kept
    #[arg(long, default_value = "tests/.work/faults")]
    keep: PathBuf,
    /// Instead of scenarios a soak of so many minutes, with a fault in each
    #[arg(long, value_name = "MINUTES", conflicts_with = "scenarios")]
    soak: Option<u64>,
    /// Names the scenarios, and ends
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match perform(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::from(2)
        }
    }
}

/// Whether no promise was broken, and every run came to its end and showed what it had to, or this
/// machine lacks something for it.
fn perform(arguments: &Arguments) -> Result<bool, String> {
    let scenarios = chosen(arguments)?;
    if arguments.list {
        for scenario in scenarios {
            say(&format!("{:4} {}", scenario.name, scenario.title));
        }
        return Ok(true);
    }
    let keep = &arguments.keep;
    fs::create_dir_all(keep).map_err(|error| format!("{}: {error}", keep.display()))?;
    let effort = match (arguments.soak, arguments.short) {
        (Some(minutes), _) => Effort::For(Duration::from_secs(60 * minutes)),
        (None, true) => Effort::Short,
        (None, false) => Effort::Full,
    };
    let seeds = arguments.seed..arguments.seed + arguments.runs;
    let all = seeds.flat_map(|seed| scenarios.iter().map(move |scenario| (*scenario, seed)));
    let all: Vec<_> = all.collect();
    let report = Mutex::new(Report::default());
    let next = AtomicUsize::new(0);
    say(&Report::head());
    thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                while let Some((scenario, seed)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = Run::perform(*scenario, *seed, effort, keep);
                    tell(&outcome, arguments.short);
                    report
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .add(outcome);
                }
            });
        }
    });
    let report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    say(&format!("\n{report}"));
    for line in report.lacking() {
        skip::tell("faults", &line);
    }
    for line in report.unexplained() {
        say(&format!(
            "shows nothing, and this machine lacks nothing: {line}"
        ));
    }
    Ok(report.is_good())
}

fn chosen(arguments: &Arguments) -> Result<Vec<Scenario>, String> {
    if arguments.soak.is_some() {
        return Ok(vec![soak::scenario()]);
    }
    if arguments.scenarios.is_empty() {
        let mut all = Scenario::all();
        all.retain(|it| it.is_short || !arguments.short);
        if arguments.list && !arguments.short {
            all.extend(Scenario::overload());
        }
        return Ok(all);
    }
    let find = |name: &String| {
        Scenario::named(name).ok_or_else(|| format!("{name}: no such scenario; --list names them"))
    };
    arguments.scenarios.iter().map(find).collect()
}

/// The row, and of a run that is not good how it is made again.
fn tell(outcome: &Outcome, is_short: bool) {
    let mut text = Report::row(outcome);
    if outcome.is_bad() {
        let short = if is_short { " --short" } else { "" };
        let (name, seed) = (outcome.scenario, outcome.seed);
        text.push_str(&format!(
            "\n    again: tests/run faults {name} --seed {seed}{short}"
        ));
    }
    if let Some(path) = &outcome.history {
        text.push_str(&format!("\n    history: {}", path.display()));
    }
    say(&text);
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn say(text: &str) {
    println!("{text}");
}
