//! A mosquitto of a test's own, as Debian has it: another broker to compare with.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

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
    log: Log,
    _process: Process,
    _dir: TempDir,
}

impl Mosquitto {
    /// Starts one: everybody may do everything, nothing is kept, and its windows are wide.
    ///
    /// # Errors
    ///
    /// It is not installed, or does not start.
    pub fn start() -> Result<Self, String> {
        let place = PLACES.iter().find(|place| Path::new(place).exists());
        let place = place.ok_or("mosquitto is not installed")?;
        let dir = tempfile::Builder::new()
            .prefix("gatemq-mosquitto-")
            .tempdir()
            .map_err(|error| format!("no temporary directory: {error}"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let config = dir.path().join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest stdout\n\
             set_tcp_nodelay true\nmax_inflight_messages 1000\nmax_queued_messages 100000\n\
             sys_interval 0\n",
            address.port()
        );
        fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
        let mut command = Command::new(place);
        command
            .arg("-v")
            .arg("-c")
            .arg(&config)
            .current_dir(dir.path());
        let log = Log::default();
        let process = Process::spawn(command, dir.path(), &log, "")?;
        // What it says is buffered where it goes to no terminal.
        let listens = || std::net::TcpStream::connect(address).is_ok();
        if !patience::becomes_true(START_LIMIT, listens) {
            return Err(format!("it takes no connections: {}", log.text()));
        }
        Ok(Self {
            address,
            log,
            _process: process,
            _dir: dir,
        })
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
