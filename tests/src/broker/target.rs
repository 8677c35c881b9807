//! Which broker the suites run against, and how each is started and known to be ready.

use std::{
    env, fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use super::{Builder, START_LIMIT, deadline};
use crate::{cluster::place::Place, patience, ports};

type Listening = Vec<(String, String)>;

/// The broker under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The real thing.
    Gatemq,
    /// mosquitto, to check the tests' own expectations.
    Mosquitto,
    /// Whatever listens there already.
    At(String),
}

impl Target {
    pub(super) fn from_env() -> Self {
        if let Ok(address) = env::var("GATEMQ_TEST_ADDR") {
            return Self::At(address);
        }
        match env::var("GATEMQ_TEST_TARGET").as_deref() {
            Ok("mosquitto") => Self::Mosquitto,
            Ok("gatemq") | Err(_) => Self::Gatemq,
            Ok(other) => panic!("GATEMQ_TEST_TARGET={other}: gatemq or mosquitto is expected"),
        }
    }

    /// The command to run; `None` when the broker runs already.
    pub(super) fn command(
        &self,
        builder: &Builder,
        dir: &Path,
        previous: &Listening,
    ) -> Result<Option<Command>, String> {
        match self {
            Self::Gatemq => gatemq(builder, dir, previous).map(Some),
            Self::Mosquitto => mosquitto(dir, previous).map(Some),
            Self::At(_) => Ok(None),
        }
    }

    /// Listeners that need no asking.
    pub(super) fn known_listeners(&self, dir: &Path) -> Listening {
        match self {
            Self::Gatemq => Vec::new(),
            Self::Mosquitto => ["tcp", "ws"]
                .into_iter()
                .filter_map(|name| {
                    let address = fs::read_to_string(dir.join(format!("{name}.address"))).ok()?;
                    Some((name.to_owned(), address))
                })
                .collect(),
            Self::At(address) => vec![("tcp".to_owned(), address.clone())],
        }
    }

    /// Waits until the broker takes connections; where it listens, or why it does not.
    pub(super) fn wait_until_ready(
        &self,
        stdout: &Receiver<String>,
        child: &mut Child,
        dir: &Path,
    ) -> Result<Listening, String> {
        if *self == Self::Gatemq {
            return read_listeners(stdout, child);
        }
        let listening = self.known_listeners(dir);
        let answers = patience::becomes_true(START_LIMIT, || {
            listening
                .iter()
                .all(|(_, address)| TcpStream::connect(address).is_ok())
        });
        if answers {
            Ok(listening)
        } else {
            Err("it takes no connections".to_owned())
        }
    }
}

fn read_listeners(stdout: &Receiver<String>, child: &mut Child) -> Result<Listening, String> {
    let deadline = deadline();
    let mut listening = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match stdout.recv_timeout(left) {
            Ok(line) if line.trim() == "ready" => return Ok(listening),
            Ok(line) => {
                let words = line
                    .strip_prefix("listening: ")
                    .and_then(|rest| rest.split_once(' '));
                if let Some((name, address)) = words {
                    listening.push((name.to_owned(), address.trim().to_owned()));
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!("no line `ready` within {START_LIMIT:?}"));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let mut status = None;
                patience::becomes_true(Duration::from_secs(2), || {
                    status = child.try_wait().ok().flatten();
                    status.is_some()
                });
                return Err(match status {
                    Some(status) => format!("it ended before it was ready: {status}"),
                    None => "it closed its standard output before it was ready".to_owned(),
                });
            }
        }
    }
}

fn gatemq(builder: &Builder, dir: &Path, previous: &Listening) -> Result<Command, String> {
    let wrap = &builder.wrap;
    let mut command = wrap.command(&Place::default(), gatemq_binary()?, dir);
    let place = |text: &str| text.replace("{dir}", &dir.display().to_string());
    let write = |name: &str, content: &[u8]| {
        fs::write(dir.join(name), content).map_err(|error| format!("cannot write {name}: {error}"))
    };
    // A test may have changed one before it starts the broker again.
    let is_new = |name: &str| !dir.join(name).exists();
    for (name, content) in builder.files.iter().filter(|(name, _)| is_new(name)) {
        write(name, content)?;
    }
    command.current_dir(dir).env_remove("RUST_LOG");
    // To the broker each `GATEMQ_…` is a setting; ours must not reach it.
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("GATEMQ_") {
            command.env_remove(name);
        }
    }
    if let Some(config) = &builder.config {
        write("gatemq.yaml", place(config).as_bytes())?;
        command.arg("--conf").arg(dir.join("gatemq.yaml"));
    }
    if !builder.bare {
        for name in ["tcp", "ws", "http"] {
            let flag = format!("--{name}");
            if !builder.args.contains(&flag) {
                let known = previous.iter().find(|(found, _)| found == name);
                let address = known.map_or_else(free_address, |(_, address)| address.clone());
                command.arg(flag).arg(address);
            }
        }
        command.arg("--data-dir").arg(dir.join("data"));
        let default = default_storage();
        command.args([
            "--storage-way",
            builder.storage.as_ref().unwrap_or(&default),
        ]);
    }
    command.args(builder.args.iter().map(|arg| place(arg)));
    command.envs(builder.env.iter().map(|(name, value)| (name, place(value))));
    Ok(command)
}

/// The storage way where a test does not choose one.
fn default_storage() -> String {
    let way = env::var("GATEMQ_TEST_STORAGE").unwrap_or_else(|_| "memory".to_owned());
    assert!(
        ["memory", "redb", "fjall"].contains(&way.as_str()),
        "GATEMQ_TEST_STORAGE={way}: memory, redb or fjall is expected"
    );
    way
}

/// `GATEMQ_BIN`, or the binary beside the test executable's `deps` directory.
fn gatemq_binary() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os("GATEMQ_BIN") {
        return Ok(path.into());
    }
    let executable = env::current_exe().map_err(|error| error.to_string())?;
    let profile = executable
        .ancestors()
        .nth(2)
        .ok_or("the test executable has no directory")?;
    let path = profile.join("gatemq");
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!(
            "{} is missing: run `cargo build --workspace --bins` first, or set GATEMQ_BIN",
            path.display()
        ))
    }
}

fn mosquitto(dir: &Path, previous: &Listening) -> Result<Command, String> {
    let data = dir.join("data");
    fs::create_dir_all(&data).map_err(|error| error.to_string())?;
    let mut config = format!(
        "allow_anonymous true\npersistence true\npersistence_location {}/\nuser root\n\
         log_dest stderr\nconnection_messages true\nmax_queued_messages 100000\n",
        data.display()
    );
    for name in ["tcp", "ws"] {
        let address = match previous.iter().find(|(found, _)| found == name) {
            Some((_, address)) => address.clone(),
            None => free_address(),
        };
        let (host, port) = address.rsplit_once(':').ok_or("an address has a port")?;
        config.push_str(&format!("listener {port} {host}\n"));
        if name == "ws" {
            config.push_str("protocol websockets\n");
        }
        fs::write(dir.join(format!("{name}.address")), &address)
            .map_err(|error| error.to_string())?;
    }
    let path = dir.join("mosquitto.conf");
    fs::write(&path, config).map_err(|error| error.to_string())?;
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(path);
    Ok(command)
}

fn free_address() -> String {
    format!("127.0.0.1:{}", ports::free())
}
