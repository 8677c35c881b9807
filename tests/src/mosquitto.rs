//! A mosquitto of a test's own, as Debian has it: another broker to compare with.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    cluster::process::{Log, Process},
    patience, ports,
};

const START_LIMIT: Duration = Duration::from_secs(20);
/// Where Debian puts it, which is not on everybody's path.
const PLACES: [&str; 2] = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];

/// A running mosquitto; dropping it kills it.
pub struct Mosquitto {
    address: SocketAddr,
    config: PathBuf,
    log: Log,
    process: Mutex<Option<Process>>,
    dir: TempDir,
}

impl Mosquitto {
    /// Starts one: everybody may do everything, nothing is kept, and its windows are wide.
    ///
    /// # Errors
    ///
    /// It is not installed, or does not start.
    pub fn start() -> Result<Self, String> {
        Self::start_with("persistence false\n")
    }

    /// Starts one that keeps its sessions when it is ended in order.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_persistent() -> Result<Self, String> {
        Self::start_with("persistence true\npersistence_location ./\n")
    }

    fn start_with(persistence: &str) -> Result<Self, String> {
        let dir = tempfile::Builder::new()
            .prefix("gatemq-mosquitto-")
            .tempdir()
            .map_err(|error| format!("no temporary directory: {error}"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let config = dir.path().join("mosquitto.conf");
        // As root it would give up its rights, and its folder with them.
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\n{persistence}log_dest stdout\n\
             set_tcp_nodelay true\nmax_inflight_messages 1000\nmax_queued_messages 100000\n\
             sys_interval 0\nuser root\n",
            address.port()
        );
        fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
        let mosquitto = Self {
            address,
            config,
            log: Log::default(),
            process: Mutex::new(None),
            dir,
        };
        mosquitto.launch()?;
        Ok(mosquitto)
    }

    /// Starts it again, on its port, with what it has kept.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn launch(&self) -> Result<(), String> {
        let place = PLACES.iter().find(|place| Path::new(place).exists());
        let place = place.ok_or("mosquitto is not installed")?;
        let mut command = Command::new(place);
        command
            .arg("-v")
            .arg("-c")
            .arg(&self.config)
            .current_dir(self.dir.path());
        let process = Process::spawn(command, self.dir.path(), &self.log, "")?;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        // What it says is buffered where it goes to no terminal.
        let listens = || std::net::TcpStream::connect(self.address).is_ok();
        if !patience::becomes_true(START_LIMIT, listens) {
            return Err(format!("it takes no connections: {}", self.log.text()));
        }
        Ok(())
    }

    /// Ends it in order.
    pub fn terminate(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut process) = process.take() {
            process.signal(Signal::TERM);
            process.wait(START_LIMIT);
        }
    }

    /// Lets it do nothing until it is resumed.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(process) = &*process {
            process.signal(signal);
        }
    }

    /// Where it listens.
    pub fn tcp(&self) -> SocketAddr {
        self.address
    }

    /// What it wrote.
    pub fn log(&self) -> &Log {
        &self.log
    }
}
