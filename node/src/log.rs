//! Logs: text or JSON, on stderr, in a rotated file, or both, filtered by level and module.
//!
//! A line goes into a bounded queue that a thread of its own empties, so a slow disk or terminal
//! costs lines, not time. What is queued is written when the [`Guard`] is dropped.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;
use tracing::Subscriber;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

pub mod lines;
mod rotate;

/// What is logged, how and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// How a line looks.
    pub format: Format,
    /// Whether lines go to stderr.
    pub console: bool,
    /// The file that lines go to, if any.
    pub file: Option<File>,
    /// A level and exceptions by module: `info,gatemq_gateway::session=debug`.
    pub filter: String,
}

/// A log file and its bounds.
#[derive(Clone, Debug)]
pub struct File {
    /// The file being written; older ones have `.1`, `.2`, … behind this name.
    pub path: PathBuf,
    /// Bytes after which a new file begins.
    pub max_size: u64,
    /// How many older files are kept.
    pub max_backups: usize,
    /// How long an older file is kept; zero is no limit.
    pub max_age: Duration,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes what is queued when it is dropped: the last thing that a process does.
#[must_use = "dropping it ends the log"]
pub struct Guard(Vec<WorkerGuard>);

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The filter does not parse.
    #[error("{0:?} is not a log filter: {1}")]
    Filter(String, String),
    /// The file cannot be opened.
    #[error("the log file {0} cannot be opened: {1}: make it writable, or name another")]
    File(PathBuf, io::Error),
    /// Something else logs already.
    #[error("logging was started before")]
    Twice,
}

/// Starts logging for the whole process.
pub fn start(config: &Config) -> Result<Guard, StartError> {
    let (subscriber, guard, change) = subscriber(config)?;
    subscriber.try_init().map_err(|_| StartError::Twice)?;
    let _ = RUNNING.set(Running {
        change,
        begun_with: config.filter.clone(),
        has_file: config.file.is_some(),
    }); // nothing was started before
    Ok(guard)
}

/// Changes the filter of the running log; `None` takes back what it was started with. Does
/// nothing where there is no log.
///
/// # Errors
///
/// The filter does not parse.
pub fn change(text: Option<&str>) -> Result<(), StartError> {
    let Some(running) = RUNNING.get() else {
        return Ok(());
    };
    let filter = filter(text.unwrap_or(&running.begun_with))?;
    let _ = running.change.reload(filter); // an error says that the log has ended
    Ok(())
}

/// Whether the running log goes to a file: what is said on stderr has to be said there, too.
pub fn has_file() -> bool {
    RUNNING.get().is_some_and(|running| running.has_file)
}

/// The process's log.
static RUNNING: OnceLock<Running> = OnceLock::new();

struct Running {
    /// The filter, and what it was at the start.
    change: Change,
    begun_with: String,
    has_file: bool,
}

type Lines =
    tracing_subscriber::layer::Layered<Vec<Box<dyn Layer<Registry> + Send + Sync>>, Registry>;
type Change = reload::Handle<EnvFilter, Lines>;

/// Parses a filter: a level, and exceptions as `module=level`, with commas between them. What the
/// TLS library says of a client's handshake is left out unless it is asked for: any client could
/// fill the log with it.
pub fn filter(text: &str) -> Result<EnvFilter, StartError> {
    let bad = |why: String| StartError::Filter(text.to_owned(), why);
    let mut directives = Vec::new();
    let mut named = Vec::new();
    for part in text.split(',').map(str::trim) {
        match part.split_once('=') {
            // A bare word that is no level would be taken for a module, and all else be silent.
            None => directives.push(level(part).map_err(bad)?),
            Some((module, name)) => {
                named.push(module.to_owned());
                let level = level(name).map_err(bad)?;
                directives.push(format!("{module}={level}"));
            }
        }
    }
    for (quiet, level) in QUIET {
        if !named.iter().any(|module| module.starts_with(quiet)) {
            directives.push(format!("{quiet}={level}"));
        }
    }
    EnvFilter::builder()
        .parse(directives.join(","))
        .map_err(|error| bad(error.to_string()))
}

/// Crates whose lines mean something to those who develop them: they are heard where they are
/// named.
const QUIET: [(&str, &str); 4] = [
    ("rustls", "error"),
    // Of a node that is gone it complains with each call; that it is gone is said in our own words.
    ("openraft", "off"),
    // It warns of each packet that it cannot read; what matters is said in our own words.
    ("memberlist_core", "off"),
    ("memberlist_net", "off"),
];

/// A level by its name; comqtt's `warning` and `fatal`, too.
fn level(name: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let name = name.trim().to_lowercase();
    match name.as_str() {
        "warning" => Ok("warn".to_owned()),
        "fatal" | "panic" => Ok("error".to_owned()),
        known if LEVELS.contains(&known) => Ok(name),
        _ => Err(format!(
            "{name:?} is no level; there are {}",
            LEVELS.join(", ")
        )),
    }
}

fn subscriber(
    config: &Config,
) -> Result<(impl Subscriber + Send + Sync, Guard, Change), StartError> {
    let mut guard = Guard(Vec::new());
    let mut layers = Vec::new();
    if config.console {
        layers.push(layer(
            config.format,
            guard.queue(io::stderr()),
            io::stderr().is_terminal(),
        ));
    }
    if let Some(file) = &config.file {
        let writer = rotate::Rotating::open(file.clone())
            .map_err(|error| StartError::File(file.path.clone(), error))?;
        layers.push(layer(config.format, guard.queue(writer), false));
    }
    let (filter, change) = reload::Layer::new(filter(&config.filter)?);
    let subscriber = tracing_subscriber::registry().with(layers).with(filter);
    Ok((subscriber, guard, change))
}

fn layer(
    format: Format,
    writer: NonBlocking,
    ansi: bool,
) -> Box<dyn Layer<Registry> + Send + Sync> {
    let layer = fmt::layer().with_writer(writer).with_ansi(ansi);
    match format {
        Format::Text => layer.boxed(),
        Format::Json => layer.json().flatten_event(true).boxed(),
    }
}

// === impl Guard ===

impl Guard {
    fn queue(&mut self, writer: impl Write + Send + 'static) -> NonBlocking {
        let builder = NonBlockingBuilder::default().lossy(true).thread_name("log");
        let (queue, worker) = builder.buffered_lines_limit(QUEUED_LINES).finish(writer);
        self.0.push(worker);
        queue
    }
}

/// Lines that wait for the writing thread; further ones are dropped.
const QUEUED_LINES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, filter: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/test.log");
        let file = File {
            path: path.clone(),
            max_size: 1 << 20,
            max_backups: 1,
            max_age: Duration::ZERO,
        };
        let config = Config {
            format,
            console: false,
            file: Some(file),
            filter: filter.to_owned(),
        };
        let (subscriber, guard, _change) = subscriber(&config).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(answer = 42, "hello");
            tracing::debug!(target: "other::module", "detail");
        });
        drop(guard);
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_line_goes_to_the_console_and_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = File {
            path: folder.path().join("both.log"),
            max_size: 1 << 20,
            max_backups: 1,
            max_age: Duration::ZERO,
        };
        let config = Config {
            format: Format::Text,
            console: true,
            file: Some(file),
            filter: "info".to_owned(),
        };
        let (_subscriber, guard, _change) = subscriber(&config).unwrap();
        assert_eq!(guard.0.len(), 2);
    }

    #[test]
    fn lines_are_flushed_and_filtered_by_module() {
        let text = written(Format::Text, "info");
        assert!(
            text.contains("INFO") && text.contains("hello answer=42"),
            "{text}"
        );
        assert!(!text.contains("detail") && !text.contains('\x1b'));
        let text = written(Format::Text, "warn,other::module=debug");
        assert!(text.contains("detail") && !text.contains("hello"), "{text}");
    }

    #[test]
    fn crates_that_complain_all_the_time_are_heard_only_where_they_are_named() {
        let is_heard = |text: &str| {
            let filter = filter(text).unwrap().to_string();
            !filter.contains("openraft=off")
        };
        assert!(!is_heard("info") && !is_heard("debug,gatemq_gateway=trace"));
        assert!(is_heard("info,openraft=error") && is_heard("info,openraft::replication=warn"));
    }

    #[test]
    fn the_filter_of_a_running_log_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.log");
        let file = File {
            path: path.clone(),
            max_size: 1 << 20,
            max_backups: 1,
            max_age: Duration::ZERO,
        };
        let config = Config {
            format: Format::Text,
            console: false,
            file: Some(file),
            filter: "info".to_owned(),
        };
        let (subscriber, guard, change) = subscriber(&config).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let say = |text| tracing::debug!(text);
            say("before");
            change.reload(filter("debug").unwrap()).unwrap();
            say("while");
            change.reload(filter("info").unwrap()).unwrap();
            say("after");
        });
        drop(guard);
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains("while"), "{text}");
        assert!(
            !text.contains("before") && !text.contains("after"),
            "{text}"
        );
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = written(Format::Json, "info");
        assert!(text.starts_with('{') && text.contains("\"answer\":42") && text.ends_with("}\n"));
    }

    #[test]
    fn bad_filters_and_files_are_named() {
        for text in ["info,x=loud", "inof", "", "info,", "x"] {
            let error = filter(text).unwrap_err().to_string();
            let expected = format!("{text:?} is not a log filter: ");
            assert!(error.starts_with(&expected), "{error}");
            assert!(
                error.contains("is no level; there are off, error"),
                "{error}"
            );
        }
        for text in ["warning", "INFO", "info, a::b=debug", "off,rustls=trace"] {
            assert!(filter(text).is_ok(), "{text}");
        }
        let file = File {
            path: "/proc/none/x.log".into(),
            max_size: 1,
            max_backups: 1,
            max_age: Duration::ZERO,
        };
        let filter = "info".to_owned();
        let config = Config {
            format: Format::Text,
            console: false,
            file: Some(file),
            filter,
        };
        let error = subscriber(&config).err().unwrap().to_string();
        assert!(
            error.starts_with("the log file /proc/none/x.log cannot be opened"),
            "{error}"
        );
    }
}
