//! `tests/run mistakes`: the judge and the scenarios are judged. Programs that break a promise on
//! purpose are put before the scenarios that must notice it, and the same programs without a mistake
//! before each of these, which must find nothing. Who shows nothing has not passed: only what this
//! machine cannot do fails nothing, and it is told what that is.
//!
//! Each run is a process of its own, this one once more, since what nodes read is its environment.

use std::{
    fs,
    io::Read,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use gatemq_tests::{
    faults::{
        Effort, Outcome, Run, Scenario, Sign,
        mistakes::{self, Noticed, Verdict},
    },
    patience::becomes_true,
};

/// Tells whether the fault scenarios notice mistakes that are made on purpose.
#[derive(Debug, Parser)]
#[command(name = "tests/run mistakes")]
struct Arguments {
    /// Mistakes by name; all that there are, where none is named
    mistakes: Vec<String>,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// With how many seeds a mistake may go unnoticed, but for the last
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Runs at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Where logs and histories of runs that are not valid are kept
    #[arg(long, default_value = "tests/.work/mistakes")]
    keep: PathBuf,
    /// Names the mistakes and who must notice them, and ends
    #[arg(long)]
    list: bool,
    /// One run of this scenario, for the mistake that is named, if any
    #[arg(long, hide = true)]
    scenario: Option<String>,
}

/// What a mistake is put in by; without it the programs make none.
const VARIABLE: &str = "SEEDED_BUG";
/// A run that takes longer is ended, and shows nothing.
const LIMIT: Duration = Duration::from_secs(300);

/// A mistake, or none, and a scenario.
#[derive(Clone, Copy, Debug)]
struct Trial {
    mistake: Option<&'static str>,
    scenario: &'static str,
}

/// What came of one.
#[derive(Debug)]
struct Tried {
    verdict: Verdict,
    /// What its last run found, in words.
    found: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let good = match &arguments.scenario {
        Some(name) => perform(name, &arguments),
        None => perform_all(&arguments),
    };
    good.unwrap_or_else(|trouble| {
        eprintln!("{trouble}");
        ExitCode::from(2)
    })
}

// === all runs ===

fn perform_all(arguments: &Arguments) -> Result<ExitCode, String> {
    let trials = chosen(&arguments.mistakes)?;
    if arguments.list {
        for trial in trials {
            say(&line(&trial, "", "", ""));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let start = Instant::now();
    let next = AtomicUsize::new(0);
    let tried: Mutex<Vec<(Trial, Tried)>> = Mutex::default();
    let head = ["mistake", "scenario", "seed", "noticed", "what was wrong"];
    say(&cells(&head));
    say(&cells(&head.map(|name| "-".repeat(name.len()))));
    thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                while let Some(trial) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let came = try_it(trial, arguments).unwrap_or_else(|trouble| {
                        say(&line(trial, "", "-", &trouble));
                        Tried {
                            verdict: Verdict::Failed,
                            found: trouble,
                        }
                    });
                    let mut tried = tried.lock().unwrap_or_else(PoisonError::into_inner);
                    tried.push((*trial, came));
                }
            });
        }
    });
    let tried = tried.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seconds = start.elapsed().as_secs();
    say(&format!("\n{}, {seconds} s", sums(&tried)));
    for (trial, came) in &tried {
        let (scenario, found) = (trial.scenario, &came.found);
        let mistake = trial.mistake.unwrap_or("no mistake");
        match (came.verdict, trial.mistake) {
            (Verdict::Passed, _) => {}
            (Verdict::Failed, Some(_)) => say(&format!("NOT NOTICED: {mistake}, by {scenario}")),
            (Verdict::Failed, None) => say(&format!("{scenario} is not valid without a mistake")),
            (Verdict::Unknown, _) => {
                say(&format!("UNKNOWN: {scenario} with {mistake}: {found}"));
            }
            (Verdict::Incapable, _) => {
                say(&format!("not here: {scenario} with {mistake}: {found}"));
            }
        }
    }
    Ok(match tried.iter().all(|(_, came)| came.verdict.is_good()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// How many trials came to what.
fn sums(tried: &[(Trial, Tried)]) -> String {
    let count = |verdict| {
        let of_it = tried.iter().filter(|(_, came)| came.verdict == verdict);
        of_it.count()
    };
    format!(
        "{} trials: {} passed, {} failed, {} unknown, {} that this machine cannot perform",
        tried.len(),
        count(Verdict::Passed),
        count(Verdict::Failed),
        count(Verdict::Unknown),
        count(Verdict::Incapable)
    )
}

/// The mistakes of these names, each with each scenario that must notice it, and these scenarios
/// without one, which come last. Those that take long come before others.
fn chosen(names: &[String]) -> Result<Vec<Trial>, String> {
    let is_known = |name: &&String| mistakes::ALL.iter().any(|it| it.name == **name);
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        return Err(format!("{unknown}: no such mistake; --list names them"));
    }
    let is_chosen = |name: &str| names.is_empty() || names.iter().any(|it| it == name);
    let mut trials = Vec::new();
    for mistake in mistakes::ALL.iter().filter(|it| is_chosen(it.name)) {
        let all = mistake.noticed_by.iter().map(|(scenario, _)| Trial {
            mistake: Some(mistake.name),
            scenario,
        });
        trials.extend(all);
    }
    let mut scenarios: Vec<_> = trials.iter().map(|trial| trial.scenario).collect();
    scenarios.sort_unstable();
    scenarios.dedup();
    let controls = scenarios.into_iter().map(|scenario| Trial {
        mistake: None,
        scenario,
    });
    trials.extend(controls);
    trials.sort_by_key(|trial| {
        let is_quick = Scenario::named(trial.scenario).is_some_and(|it| it.is_short);
        (trial.mistake.is_none(), is_quick)
    });
    Ok(trials)
}

/// What it came to, with the next seed, too, where a run shows nothing, or does not notice a mistake.
fn try_it(trial: &Trial, arguments: &Arguments) -> Result<Tried, String> {
    let n_seeds = arguments.seeds.max(1);
    let (mut runs, mut last) = (Vec::new(), String::new());
    for seed in arguments.seed..arguments.seed + n_seeds {
        let (noticed, found) = run(trial, seed, arguments)?;
        let word = match (trial.mistake, noticed) {
            (_, Noticed::Unknown) => "unknown",
            (_, Noticed::Incapable) => "cannot",
            (Some(_), Noticed::AsExpected) => "yes",
            (Some(_), Noticed::Nothing) => "no",
            (Some(_), Noticed::Otherwise) => "otherwise",
            (None, Noticed::Nothing) => "valid",
            (None, _) => "INVALID",
        };
        say(&line(trial, &seed.to_string(), word, &found));
        runs.push(noticed);
        last = found;
        let verdict = Verdict::of(trial.mistake.is_some(), &runs);
        // Another seed changes nothing: neither what the machine can do, nor that a right program is
        // said to be wrong.
        let is_last = match verdict {
            Verdict::Passed | Verdict::Incapable => true,
            Verdict::Failed => trial.mistake.is_none(),
            Verdict::Unknown => false,
        };
        if is_last {
            break;
        }
    }
    Ok(Tried {
        verdict: Verdict::of(trial.mistake.is_some(), &runs),
        found: last,
    })
}

/// A run, in a process of its own: what it noticed, and that in words.
fn run(trial: &Trial, seed: u64, arguments: &Arguments) -> Result<(Noticed, String), String> {
    let name = trial.mistake.unwrap_or("none");
    let own = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let mut command = Command::new(own);
    command
        .args(["--scenario", trial.scenario, "--seed", &seed.to_string()])
        .arg("--keep")
        .arg(arguments.keep.join(name))
        .env_remove(VARIABLE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if let Some(mistake) = trial.mistake {
        command.arg(mistake).env(VARIABLE, mistake);
    }
    let spawned = command.spawn();
    let mut child = spawned.map_err(|error| format!("{command:?}: {error}"))?;
    let mut status = None;
    becomes_true(LIMIT, || {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    let Some(status) = status else {
        // Its nodes end with it.
        let ended = child.kill().and_then(|()| child.wait());
        ended.map_err(|error| format!("{command:?}: {error}"))?;
        return Ok((Noticed::Unknown, format!("not over after {LIMIT:?}")));
    };
    let mut found = String::new();
    let mut output = child.stdout.take().ok_or("its output is gone")?;
    let read = output.read_to_string(&mut found);
    read.map_err(|error| format!("{command:?}: {error}"))?;
    let all = [
        Noticed::Nothing,
        Noticed::AsExpected,
        Noticed::Otherwise,
        Noticed::Unknown,
        Noticed::Incapable,
    ];
    let is_it = |it: &Noticed| status.code() == Some(code(*it).into());
    let noticed = all.into_iter().find(is_it);
    let noticed = noticed.ok_or_else(|| format!("{command:?}: {status}"))?;
    Ok((noticed, found.trim().to_owned()))
}

// === one run ===

/// Performs a scenario, and says what was wrong; the exit code says what to make of it.
fn perform(scenario: &str, arguments: &Arguments) -> Result<ExitCode, String> {
    let known = Scenario::named(scenario);
    let scenario = known.ok_or_else(|| format!("{scenario}: no such scenario"))?;
    let (keep, seed) = (&arguments.keep, arguments.seed);
    fs::create_dir_all(keep).map_err(|error| format!("{}: {error}", keep.display()))?;
    let outcome = Run::perform(scenario, seed, Effort::Short, keep);
    let noticed = Noticed::of(&outcome, expected(&arguments.mistakes, scenario.name));
    say(&words(&outcome, noticed));
    Ok(ExitCode::from(code(noticed)))
}

/// What a mistake may look like to this scenario.
fn expected(names: &[String], scenario: &str) -> &'static [Sign] {
    let mut of_names = mistakes::ALL
        .iter()
        .filter(|it| names.contains(&it.name.into()));
    let pairs = of_names.next().map_or(&[][..], |it| it.noticed_by);
    let found = pairs.iter().find(|(name, _)| *name == scenario);
    found.map_or(&[], |(_, signs)| signs)
}

/// What was wrong and how often; why, where that is nothing that a mistake is known by.
fn words(outcome: &Outcome, noticed: Noticed) -> String {
    let signs = outcome.signs.iter();
    let signs = signs.map(|(sign, n)| format!("{sign}: {n}"));
    let mut words: Vec<_> = signs.collect();
    if let (Noticed::Incapable, Some(lacks)) = (noticed, &outcome.lacks) {
        words.push(lacks.clone());
    }
    if matches!(noticed, Noticed::Otherwise | Noticed::Unknown) {
        words.extend(outcome.notes.iter().take(3).cloned());
    }
    words.join(", ").replace('\n', " ")
}

/// The exit code of a run; 2 is an error of this program's.
fn code(noticed: Noticed) -> u8 {
    match noticed {
        Noticed::Nothing => 0,
        Noticed::AsExpected => 10,
        Noticed::Otherwise => 11,
        Noticed::Unknown => 12,
        Noticed::Incapable => 13,
    }
}

// === the table ===

fn line(trial: &Trial, seed: &str, noticed: &str, found: &str) -> String {
    let mistake = trial.mistake.unwrap_or("none");
    cells(&[mistake, trial.scenario, seed, noticed, found])
}

fn cells(cells: &[impl AsRef<str>; 5]) -> String {
    let [mistake, scenario, seed, noticed, found] = cells.each_ref().map(AsRef::as_ref);
    format!("| {mistake:23} | {scenario:>8} | {seed:>4} | {noticed:9} | {found} |")
}

/// A line of the table, which is what this program is for.
#[expect(clippy::print_stdout, reason = "a program that prints a table")]
fn say(text: &str) {
    println!("{text}");
}
