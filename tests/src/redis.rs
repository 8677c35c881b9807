//! Real Redis servers: one, or a Redis Cluster of three masters. Every write is on the disk before
//! it is confirmed, so that a killed server has all that it said it has. Redis 7 or newer.

use std::{
    fs,
    net::SocketAddr,
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
const READY: &str = "Ready to accept connections";

/// A Redis server of this test's own.
pub struct Redis {
    port: u16,
    dir: TempDir,
    further: Vec<String>,
    process: Mutex<Option<Process>>,
    log: Log,
}

/// Three masters that share the keys.
pub struct RedisCluster {
    masters: Vec<Redis>,
}

// === impl Redis ===

impl Redis {
    /// Starts a server.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(Vec::new())
    }

    fn start_with(further: Vec<String>) -> Self {
        let redis = Self {
            port: ports::free(),
            dir: tempfile::Builder::new()
                .prefix("gatemq-redis-")
                .tempdir()
                .expect("a temporary directory"),
            further,
            process: Mutex::default(),
            log: Log::default(),
        };
        redis.restart();
        redis
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// SIGKILL; what it confirmed is on the disk.
    pub fn kill(&self) {
        self.with(|process| *process = None);
    }

    /// Starts it again on its data and its port, after killing it where it runs.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        let mut command = Command::new("redis-server");
        command
            .current_dir(self.dir.path())
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", "always", "--dir", "."])
            .args(&self.further);
        let started = Process::spawn(command, self.dir.path(), &self.log, READY);
        let started = started.and_then(|mut process| {
            process.wait_until_ready(START_LIMIT)?;
            Ok(process)
        });
        match started {
            Ok(started) => self.with(|process| *process = Some(started)),
            Err(trouble) => panic!("redis-server: {trouble}\n{}", self.log.tail(20)),
        }
    }

    /// SIGSTOP: it takes connections and answers nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it, forgets its data, and starts it empty.
    #[track_caller]
    pub fn wipe(&self) {
        self.kill();
        let data = self.dir.path().join("appendonlydir");
        fs::remove_dir_all(data).expect("it has written its data");
        self.restart();
    }

    /// What redis-cli answers to a command.
    #[track_caller]
    pub fn command(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(words)
            .output()
            .expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What it wrote to its standard output.
    pub fn log(&self) -> &Log {
        &self.log
    }

    #[track_caller]
    fn signal(&self, signal: Signal) {
        self.with(|process| process.as_ref().expect("redis runs").signal(signal));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Option<Process>) -> T) -> T {
        act(&mut self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl RedisCluster ===

impl RedisCluster {
    /// Starts three masters and waits until each knows that all keys are served.
    #[track_caller]
    pub fn start() -> Self {
        const N_SLOTS: u32 = 16_384;
        let buses: Vec<_> = (0..3).map(|_| ports::free()).collect();
        let start = |bus: &u16| {
            let bus = bus.to_string();
            let flags = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            Redis::start_with(flags.iter().map(|&flag| flag.to_owned()).collect())
        };
        let masters: Vec<_> = buses.iter().map(start).collect();
        for (number, master) in (0..).zip(&masters) {
            let first = N_SLOTS * number / 3;
            let last = N_SLOTS * (number + 1) / 3 - 1;
            let range = [first.to_string(), last.to_string()];
            let slots = ["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]];
            assert_eq!(master.command(&slots), "OK", "{slots:?}");
        }
        for (other, bus) in masters.iter().zip(&buses).skip(1) {
            let (port, bus) = (other.port.to_string(), bus.to_string());
            let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, &bus];
            assert_eq!(masters[0].command(&meet), "OK", "{meet:?}");
        }
        let is_whole = |master: &Redis| {
            let info = master.command(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        let becomes_whole = patience::becomes_true(START_LIMIT, || masters.iter().all(is_whole));
        assert!(becomes_whole, "the Redis Cluster does not form");
        Self { masters }
    }

    /// The servers.
    pub fn masters(&self) -> &[Redis] {
        &self.masters
    }
}
