//! Starts and ends real brokers: `gatemq` by default, or another one to test the tests with.
//!
//! Most tests use [`Broker::shared`]: one process per set of flags for the whole test binary.
//! Every process has a watchdog, a shell that waits on a pipe: however the test binary ends, the
//! pipe closes and the shell kills the broker, and only the broker.

mod target;

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{cluster::wrap::Wrap, patience};

/// How long a start may take.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long a stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(20);

type Log = Arc<Mutex<String>>;

/// How a broker is to be started.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    args: Vec<String>,
    config: Option<String>,
    files: Vec<(String, Vec<u8>)>,
    env: Vec<(String, String)>,
    storage: Option<String>,
    bare: bool,
    wrap: Wrap,
}

/// A running broker, or one that was killed and may be started again. Dropping it kills it and
/// removes its directory.
pub struct Broker {
    builder: Builder,
    dir: TempDir,
    state: Mutex<State>,
    log: Log,
}

/// A broker that other tests use too. When the test fails, the log's end is printed.
pub struct Shared(Arc<Broker>);

#[derive(Default)]
struct State {
    process: Option<Process>,
    listening: Vec<(String, String)>,
}

struct Process {
    child: Child,
    watchdog: Child,
}

// === impl Builder ===

impl Builder {
    /// Adds a command-line argument; `{dir}` in it becomes the temporary directory.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds command-line arguments.
    pub fn args<T: Into<String>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Writes this YAML to a file and starts with `--conf FILE`; `{dir}` in it becomes the
    /// temporary directory.
    pub fn config(mut self, yaml: impl Into<String>) -> Self {
        self.config = Some(yaml.into());
        self
    }

    /// Puts a file (certificate, key, password file) into the temporary directory.
    pub fn file(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.files
            .push((name.to_owned(), content.as_ref().to_vec()));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it under this. `{dir}` in it becomes the temporary directory, and data are in `data`
    /// below that.
    pub fn wrap(mut self, wrap: Wrap) -> Self {
        self.wrap = self.wrap.and(wrap);
        self
    }

    /// `memory` (the default here), `redb` or `fjall`.
    pub fn storage(mut self, way: &str) -> Self {
        self.storage = Some(way.to_owned());
        self
    }

    /// Leaves out every flag that the harness adds by itself (listeners, data directory, storage
    /// way): what is given is all there is.
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Starts a broker of its own; it must become ready.
    #[track_caller]
    pub fn start(self) -> Broker {
        match self.try_start() {
            Ok(broker) => broker,
            Err(trouble) => panic!("the broker did not start: {trouble}"),
        }
    }

    /// Starts a broker of its own, or says why it did not become ready (exit status and output).
    pub fn try_start(self) -> Result<Broker, String> {
        let dir = tempfile::Builder::new()
            .prefix("gatemq-test-")
            .tempdir()
            .map_err(|error| format!("no temporary directory: {error}"))?;
        let broker = Broker {
            builder: self,
            dir,
            state: Mutex::default(),
            log: Arc::default(),
        };
        broker
            .launch()
            .map_err(|trouble| format!("{trouble}\n{}", broker.log()))?;
        Ok(broker)
    }

    /// The broker with these settings that the whole test binary shares.
    #[track_caller]
    pub fn shared(self) -> Shared {
        static BROKERS: LazyLock<Mutex<HashMap<String, Arc<Broker>>>> =
            LazyLock::new(Mutex::default);
        let mut brokers = lock(&BROKERS);
        let broker = brokers
            .entry(format!("{self:?}"))
            .or_insert_with(|| Arc::new(self.start()));
        Shared(Arc::clone(broker))
    }
}

// === impl Shared ===

impl Deref for Shared {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.0.print_log_if_failing();
    }
}

// === impl Broker ===

impl Broker {
    /// Settings to start from: TCP, WebSocket and HTTP on free ports, storage in memory.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The shared broker with the default settings.
    #[track_caller]
    pub fn shared() -> Shared {
        Builder::default().shared()
    }

    /// Whether the tests run against another broker than `gatemq`. What is GateMQ's own choice
    /// (flags, limits, HTTP) is then not to be tested.
    pub fn is_foreign() -> bool {
        target::Target::from_env() != target::Target::Gatemq
    }

    /// The TCP listener.
    #[track_caller]
    pub fn tcp(&self) -> SocketAddr {
        self.address("tcp")
    }

    /// The WebSocket listener.
    #[track_caller]
    pub fn ws(&self) -> SocketAddr {
        self.address("ws")
    }

    /// The HTTP listener.
    #[track_caller]
    pub fn http(&self) -> SocketAddr {
        self.address("http")
    }

    /// The first listener of this name: tcp, tls, ws, wss, http.
    #[track_caller]
    pub fn address(&self, name: &str) -> SocketAddr {
        let found = self.listening(name);
        let first = found
            .first()
            .unwrap_or_else(|| panic!("no listener {name}; {}", self.log()));
        first
            .parse()
            .unwrap_or_else(|error| panic!("address of {name}: {first}: {error}"))
    }

    /// What follows the name in each `listening:` line: addresses, or the path for `unix`.
    pub fn listening(&self, name: &str) -> Vec<String> {
        let state = lock(&self.state);
        let of_name = state.listening.iter().filter(|(found, _)| found == name);
        of_name.map(|(_, address)| address.clone()).collect()
    }

    /// The temporary directory: data in `data`, the files of the builder beside it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The process id.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        lock(&self.state)
            .process
            .as_ref()
            .expect("the broker runs")
            .child
            .id()
    }

    /// Everything that it wrote to standard output and standard error, over all its lives.
    pub fn log(&self) -> String {
        lock(&self.log).clone()
    }

    /// Whether the process runs.
    pub fn is_running(&self) -> bool {
        let mut state = lock(&self.state);
        let process = state.process.as_mut();
        process.is_some_and(|process| matches!(process.child.try_wait(), Ok(None)))
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&self) {
        if let Some(process) = lock(&self.state).process.take() {
            process.kill();
        }
    }

    /// SIGTERM; waits for the end, which must come within 20 s.
    #[track_caller]
    pub fn terminate(&self) -> ExitStatus {
        self.signal("TERM");
        self.wait(STOP_LIMIT)
    }

    /// Sends a signal by its name (`HUP`, `TERM`, `STOP`, `CONT`).
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("sh")
            .args(["-c", "kill -\"$1\" \"$2\"", "sh", name, &pid])
            .status()
            .expect("sh runs");
        assert!(status.success(), "cannot send SIG{name} to {pid}");
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub fn wait(&self, limit: Duration) -> ExitStatus {
        let mut process = lock(&self.state).process.take().expect("the broker runs");
        let mut status = None;
        patience::becomes_true(limit, || {
            status = process.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        process.kill();
        status.unwrap_or_else(|| panic!("the broker runs on after {limit:?}\n{}", self.log()))
    }

    /// Starts it again on the same data and the same ports, after killing it where it runs.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        if let Err(trouble) = self.launch() {
            panic!("the broker did not start again: {trouble}\n{}", self.log());
        }
    }

    /// Resident memory.
    #[track_caller]
    pub fn rss_kib(&self) -> u64 {
        memory_kib(self.pid(), "VmRSS:")
    }

    /// Resident memory without pages of files, such as the binary's.
    #[track_caller]
    pub fn anonymous_kib(&self) -> u64 {
        memory_kib(self.pid(), "RssAnon:")
    }

    /// The most that was ever resident.
    #[track_caller]
    pub fn peak_rss_kib(&self) -> u64 {
        memory_kib(self.pid(), "VmHWM:")
    }

    /// Open file descriptors.
    #[track_caller]
    pub fn fd_count(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .expect("the broker runs")
            .count()
    }

    fn launch(&self) -> Result<(), String> {
        let mut state = lock(&self.state);
        let previous = state.listening.clone();
        let target = target::Target::from_env();
        let Some(mut command) = target.command(&self.builder, self.dir.path(), &previous)? else {
            state.listening = target.known_listeners(self.dir.path());
            return Ok(());
        };
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run {:?}: {error}", command.get_program()))?;
        let watchdog = watch(child.id(), self.dir.path())?;
        let (lines, stdout) = mpsc::channel();
        copy_lines(child.stdout.take(), Arc::clone(&self.log), Some(lines));
        copy_lines(child.stderr.take(), Arc::clone(&self.log), None);
        let mut process = Process { child, watchdog };
        let ready = target.wait_until_ready(&stdout, &mut process.child, self.dir.path());
        match ready {
            Ok(listening) => {
                state.listening = listening;
                state.process = Some(process);
                Ok(())
            }
            Err(trouble) => {
                process.kill();
                // The threads that copy the output see its end a moment later.
                patience::pause(Duration::from_millis(50));
                Err(trouble)
            }
        }
    }

    fn print_log_if_failing(&self) {
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(25)..];
            eprintln!("--- the broker's last lines ---\n{}\n---", tail.join("\n"));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.print_log_if_failing();
        self.kill();
    }
}

// === impl Process ===

impl Process {
    fn kill(mut self) {
        // The broker first: it still holds its pid, so that nobody else can be hit.
        let _already_gone = self.child.kill();
        let _status = self.child.wait();
        let _already_gone = self.watchdog.kill();
        let _status = self.watchdog.wait();
    }
}

/// Runs until our end of the pipe closes, whatever signal the terminal sends to all of us.
const WATCHDOG: &str = r#"
    trap '' HUP INT TERM
    read -r line
    kill -9 "$1"
    sleep 0.1
    rm -rf "$2"
"#;

/// A shell that kills the process and removes its directory when we are no more.
fn watch(pid: u32, dir: &Path) -> Result<Child, String> {
    Command::new("sh")
        .args(["-c", WATCHDOG, "sh", &pid.to_string()])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot run the watchdog: {error}"))
}

fn copy_lines(
    from: Option<impl Read + Send + 'static>,
    log: Log,
    lines: Option<mpsc::Sender<String>>,
) {
    let from = from.expect("the stream is piped");
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            {
                let mut log = lock(&log);
                log.push_str(&line);
                log.push('\n');
            }
            if let Some(lines) = &lines {
                // Nobody listens any more once the broker is ready.
                let _ready = lines.send(line);
            }
        }
    });
}

/// A test that failed must not fail the others through a poisoned lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn deadline() -> Instant {
    Instant::now() + START_LIMIT
}

/// A figure of a process that the system gives in KiB.
#[track_caller]
pub(crate) fn memory_kib(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .expect("it is a number")
}
