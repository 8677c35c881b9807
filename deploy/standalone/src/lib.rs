//! The standalone broker: all tiers of GateMQ in one process.
//!
//! In reading order: [`flags`] are the command line; [`config`] is every setting, loaded from file,
//! environment and flags ([`comqtt`] translates a file of the predecessor); [`process`] starts and
//! stops everything in order, [`cluster`] what makes it a node of a cluster, `founding` what comes
//! before it begins one, [`http`] tells of that.
//! [`dev`] is a cluster in one process, `pki` makes the certificates of one. [`run`] is the whole program; `gatemq-gateway` and `gatemq-control-plane` are parts of it.
//!
//! On stdout stands where it listens, one line each, then `ready`; everything else is on stderr or
//! in the log.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

pub mod flags;

pub mod config;

pub mod comqtt;

pub mod dev;

pub mod cluster;

#[cfg(feature = "bridge")]
pub mod bridge;
mod founding;

pub mod http;

mod acl;
mod healthcheck;
mod passwd;
mod pki;
pub mod process;
mod token;

use config::{Config, Configured};
use flags::{Flags, Refusal};
use gatemq_node::{fatal, log, seeded_bug};

/// Which tiers a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiers {
    /// The program's name.
    pub program: &'static str,
    /// A node of the control plane, where there is a cluster.
    pub control: bool,
    /// A gateway.
    pub gateway: bool,
    /// A bridge to Kafka.
    pub bridge: bool,
}

impl Tiers {
    /// `gatemq`: all of them but the bridge, which is a process of its own.
    pub const ALL: Self = Self {
        program: "gatemq",
        control: true,
        gateway: true,
        bridge: false,
    };
    /// `gatemq-gateway`.
    pub const GATEWAY: Self = Self {
        program: "gatemq-gateway",
        control: false,
        gateway: true,
        bridge: false,
    };
    /// `gatemq-control-plane`.
    pub const CONTROL: Self = Self {
        program: "gatemq-control-plane",
        control: true,
        gateway: false,
        bridge: false,
    };
    /// `gatemq-bridge`: a bridge alone.
    pub const BRIDGE: Self = Self {
        program: "gatemq-bridge",
        control: false,
        gateway: false,
        bridge: true,
    };
}

/// Why the program ends, by what the operator does next.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Something given is wrong: change it.
    #[error("{0}")]
    Given(String),
    /// Something in the way is to be removed first.
    #[error("{0}")]
    Start(String),
    /// It ran, and the cluster has it no more.
    #[error("{0}")]
    Removed(String),
}

impl Failure {
    /// The exit code.
    fn code(&self) -> u8 {
        match self {
            Self::Given(_) => 2,
            Self::Start(_) => 1,
            // The code of all that the cluster does not take in.
            Self::Removed(_) => u8::try_from(fatal::NOT_JOINED).unwrap_or(1),
        }
    }
}

/// Runs the program to its end, with the arguments and variables of the process.
pub fn start(tiers: Tiers) -> ExitCode {
    let variables = std::env::vars_os().map(|(name, value)| {
        (
            name.to_string_lossy().into_owned(),
            value.to_string_lossy().into_owned(),
        )
    });
    run(tiers, std::env::args_os(), variables)
}

/// Runs the program to its end; the first argument is its name.
pub fn run(
    tiers: Tiers,
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if tiers == Tiers::ALL && dev::is_asked_for(&arguments) {
        return closing(tiers, run_dev(&arguments));
    }
    if healthcheck::is_asked_for(&arguments) {
        let told = healthcheck::run(&arguments).map(|line| say(&line));
        return closing(tiers, told.map_err(Failure::Start));
    }
    if let Some(tool) = tool(&arguments) {
        let told = tool(&arguments).map_or_else(refuse, |lines| {
            say(&lines);
            Ok(())
        });
        return closing(tiers, told);
    }
    let done = match Flags::parse(arguments) {
        Ok(flags) => obey(tiers, &flags, variables),
        Err(refusal) => refuse(refusal),
    };
    closing(tiers, done)
}

/// What does one thing and ends, by its name; it returns what is to be said.
type Tool = fn(&[OsString]) -> Result<String, Refusal>;

const TOOLS: &[(&str, Tool)] = &[
    ("acl", acl::answer),
    ("passwd", passwd::answer),
    ("pki", pki::run),
    ("token", token::answer),
];

fn tool(arguments: &[OsString]) -> Option<Tool> {
    let name = arguments.get(1)?;
    let (_, tool) = TOOLS.iter().find(|(tool, _)| name == tool)?;
    Some(*tool)
}

fn refuse(refusal: Refusal) -> Result<(), Failure> {
    match refusal {
        Refusal::Answer(text) => {
            say(&text);
            Ok(())
        }
        Refusal::Wrong(line) => Err(Failure::Given(line)),
    }
}

/// The exit code, and the line that goes with it.
fn closing(tiers: Tiers, done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!(
                "{}: {}",
                tiers.program,
                failure.to_string().replace('\n', " ")
            );
            ExitCode::from(failure.code())
        }
    }
}

fn obey(
    tiers: Tiers,
    flags: &Flags,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<(), Failure> {
    let given = |error: gatemq_node::config::Error| Failure::Given(error.to_string());
    let configured = config::load(tiers, flags, variables).map_err(given)?;
    if flags.print_config {
        let yaml = config::print(configured.config());
        say(&yaml.map_err(|error| Failure::Start(error.to_string()))?);
        return Ok(());
    }
    configured.check_files(tiers).map_err(given)?;
    if flags.check_config {
        for warning in &configured.warnings {
            eprintln!("{}: warning: {warning}", tiers.program);
        }
        eprintln!("{}: the configuration is right", tiers.program);
        return Ok(());
    }
    serve(tiers, &configured)
}

/// Starts, runs until a signal, and stops; what is logged is flushed last.
fn serve(tiers: Tiers, configured: &Configured) -> Result<(), Failure> {
    let start = |error: &dyn std::error::Error| Failure::Start(error.to_string());
    let config = configured.config();
    let log = config.to_log();
    let _log = log
        .as_ref()
        .map(log::start)
        .transpose()
        .map_err(|error| start(&error))?;
    for warning in &configured.warnings {
        tracing::warn!("{warning}");
    }
    seeded_bug::plant().map_err(Failure::Given)?;
    let runtime = runtime(config).build().map_err(|error| start(&error))?;
    let done = runtime.block_on(process::run(config, configured.gateway.clone(), tiers));
    // What still runs had its grace.
    runtime.shutdown_background();
    done.map_err(|error| {
        let is_removed = matches!(error, process::StartError::Removed(_));
        if log.is_some_and(|log| log.file.is_some()) {
            // On the console it stands anyway.
            let what = if is_removed { "removed" } else { "not started" };
            tracing::error!(%error, "{what}");
        }
        match is_removed {
            true => Failure::Removed(error.to_string()),
            false => start(&error),
        }
    })
}

/// Starts a cluster in this process, runs until a signal, and stops.
fn run_dev(arguments: &[OsString]) -> Result<(), Failure> {
    let dev = match dev::Dev::parse(arguments) {
        Ok(dev) => dev,
        Err(refusal) => return refuse(refusal),
    };
    let start = |error: &dyn std::error::Error| Failure::Start(error.to_string());
    let Some((_, first)) = dev.nodes.first() else {
        return Ok(());
    };
    let log = first.config().to_log();
    let _log = log
        .as_ref()
        .map(log::start)
        .transpose()
        .map_err(|error| start(&error))?;
    seeded_bug::plant().map_err(Failure::Given)?;
    if matches!(first.config().storage.way, config::StorageWay::Engine(_)) {
        tracing::info!("each gateway has sessions of its own, in memory; --redis ADDR shares them");
    }
    let done = process::run_all(&dev.nodes);
    dev.clear();
    done.map_err(|error| start(&error))
}

fn runtime(config: &Config) -> tokio::runtime::Builder {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers @ 1..) = config.workers.get() {
        builder.worker_threads(workers);
    }
    builder.thread_name("worker").enable_all();
    builder
}

/// Writes to stdout at once; whoever does not listen any more misses it.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}
