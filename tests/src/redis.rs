//! Real Redis servers: one, with TLS or without, one that a
//! Sentinel watches, or a Redis Cluster of three masters. Every write is on the disk before
//! it is confirmed, so that a killed server has all that it said it has. Redis 7 or newer.

pub mod sentinel;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    cluster::{
        place::Place,
        process::{Log, Process},
        wrap::Wrap,
    },
    patience, ports,
};

const START_LIMIT: Duration = Duration::from_secs(20);
const READY: &str = "Ready to accept connections";
/// Slots of a Redis Cluster.
const N_SLOTS: usize = 16_384;

/// A Redis server of this test's own.
pub struct Redis {
    place: Place,
    wrap: Wrap,
    port: u16,
    tls_port: Option<u16>,
    dir: TempDir,
    arguments: Vec<String>,
    /// What it says when it has started.
    ready: &'static str,
    process: Mutex<Option<Process>>,
    log: Log,
}

/// Three masters that share the keys, and a replica of each if there is to be one.
pub struct RedisCluster {
    masters: Vec<Redis>,
    replicas: Vec<Redis>,
}

// === impl Redis ===

impl Redis {
    /// Starts a server.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(Vec::new())
    }

    /// Starts a server that takes TLS, too, from clients with a certificate. The folder has
    /// `ca.pem`, the authority of both, and `server.pem` with `server.key`.
    #[track_caller]
    pub fn start_with_tls(folder: &Path) -> Self {
        let file = |name: &str| folder.join(name).display().to_string();
        let port = ports::free();
        let further = [
            ["--tls-port", &port.to_string()],
            ["--tls-ca-cert-file", &file("ca.pem")],
            ["--tls-cert-file", &file("server.pem")],
            ["--tls-key-file", &file("server.key")],
            ["--tls-auth-clients", "yes"],
        ];
        let further = further.as_flattened().iter().copied();
        let mut redis = Self::prepare(further.map(str::to_owned));
        redis.tls_port = Some(port);
        redis.restart();
        redis
    }

    /// Starts a server in this place, under this.
    #[track_caller]
    pub fn start_in(place: Place, wrap: Wrap) -> Self {
        let redis = Self {
            place,
            wrap,
            ..Self::prepare([])
        };
        redis.restart();
        redis
    }

    #[track_caller]
    fn start_with(further: impl IntoIterator<Item = String>) -> Self {
        let redis = Self::prepare(further);
        redis.restart();
        redis
    }

    fn prepare(further: impl IntoIterator<Item = String>) -> Self {
        let usual = ["--save", "", "--appendonly", "yes"];
        let usual = usual.into_iter().chain(["--appendfsync", "always"]);
        Self {
            place: Place::default(),
            wrap: Wrap::default(),
            port: ports::free(),
            tls_port: None,
            dir: tempfile::Builder::new()
                .prefix("gatemq-redis-")
                .tempdir()
                .expect("a temporary directory"),
            arguments: usual.map(str::to_owned).chain(further).collect(),
            ready: READY,
            process: Mutex::default(),
            log: Log::default(),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.place.port(self.port)
    }

    /// Its folder; what is written `{dir}` in a [`Wrap`]. Its data are in `data` below it.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// The id of its process.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.with(|process| process.as_ref().expect("redis runs").pid())
    }

    /// Where it takes TLS.
    #[track_caller]
    pub fn tls_address(&self) -> SocketAddr {
        let port = self.tls_port.expect("it was started with TLS");
        self.place.port(port)
    }

    /// Whether the process runs.
    pub fn is_running(&self) -> bool {
        self.with(|process| process.as_mut().is_some_and(Process::is_running))
    }

    /// SIGKILL; what it confirmed is on the disk.
    pub fn kill(&self) {
        self.with(|process| *process = None);
    }

    /// Starts it again on its data and its port, after killing it where it runs.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        let folder = self.dir.path();
        fs::create_dir_all(folder.join("data")).expect("a folder of its own");
        let mut command = self.wrap.command(&self.place, "redis-server", folder);
        let address = self.place.address().to_string();
        command
            .current_dir(folder)
            .args(&self.arguments) // a file of its configuration comes first
            .args(["--port", &self.port.to_string(), "--bind", &address])
            .args(["--dir", "data"]);
        if !self.place.is_usual() {
            command.args(["--protected-mode", "no"]);
        }
        let started = Process::spawn(command, self.dir.path(), &self.log, self.ready);
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
        let data = self.dir.path().join("data/appendonlydir");
        fs::remove_dir_all(data).expect("it has written its data");
        self.restart();
    }

    /// Makes it a replica of the other one, which may be gone.
    #[track_caller]
    pub fn follow(&self, master: &Self) {
        let address = master.place.address().to_string();
        let follow = ["REPLICAOF", &address, &master.port.to_string()];
        let answer = self.command(&follow);
        // One that follows it already says more.
        assert!(answer.starts_with("OK"), "{follow:?}: {answer}");
    }

    /// What redis-cli answers to a command.
    #[track_caller]
    pub fn command(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-h", &self.place.address().to_string()])
            .args(["-p", &self.port.to_string()])
            .args(words)
            .output()
            .expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until its one replica has all that it has.
    #[track_caller]
    fn wait_for_replica(&self) {
        let is_copied = || {
            let info = self.command(&["INFO", "replication"]);
            let mut lines = info.lines();
            let written = lines.find_map(|line| line.strip_prefix("master_repl_offset:"));
            written.is_some_and(|written| info.contains(&format!(",offset={},", written.trim())))
        };
        let is_copied = patience::becomes_true(START_LIMIT, is_copied);
        assert!(is_copied, "the replica lacks something");
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
        Self::start_with(0)
    }

    /// The same, with a replica of each master, which takes its place when it has died.
    #[track_caller]
    pub fn start_replicated() -> Self {
        Self::start_with(3)
    }

    fn start_with(n_replicas: usize) -> Self {
        let n_nodes = 3 + n_replicas;
        let buses: Vec<_> = (0..n_nodes).map(|_| ports::free()).collect();
        let start = |bus: &u16| {
            let bus = bus.to_string();
            let flags = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            let flags = flags.into_iter().chain(["--cluster-node-timeout", "2000"]);
            let flags = flags.chain(["--repl-diskless-sync-delay", "0"]);
            Redis::start_with(flags.map(str::to_owned))
        };
        let mut masters: Vec<_> = buses.iter().map(start).collect();
        for (number, master) in (0..3).zip(&masters) {
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
        let known = format!("cluster_known_nodes:{n_nodes}");
        let is_whole = |master: &Redis| {
            let info = master.command(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains(&known)
        };
        let becomes_whole = patience::becomes_true(START_LIMIT, || masters.iter().all(is_whole));
        assert!(becomes_whole, "the Redis Cluster does not form");
        let replicas = masters.split_off(3);
        for (master, replica) in masters.iter().zip(&replicas) {
            let id = master.command(&["CLUSTER", "MYID"]);
            let replicate = ["CLUSTER", "REPLICATE", &id];
            assert_eq!(replica.command(&replicate), "OK", "{replicate:?}");
        }
        let follows = |replica: &Redis| {
            let info = replica.command(&["INFO", "replication"]);
            info.contains("master_link_status:up")
        };
        let all_follow = patience::becomes_true(START_LIMIT, || replicas.iter().all(follows));
        assert!(all_follow, "replicas do not follow");
        Self { masters, replicas }
    }

    /// The servers.
    pub fn masters(&self) -> &[Redis] {
        &self.masters
    }

    /// What the cluster answers to a command about a key, whoever has it.
    #[track_caller]
    pub fn command(&self, words: &[&str]) -> String {
        let node = self.alive().next().expect("one node lives");
        node.command(&[&["-c"], words].concat())
    }

    /// Kills the master that has a key, and waits until its replica is one.
    #[track_caller]
    pub fn fail_over(&self, key: &str) {
        let slot = self.command(&["CLUSTER", "KEYSLOT", key]);
        let slot: usize = slot.parse().expect("a number");
        let has_it = |at: &usize| N_SLOTS * at / 3 <= slot;
        let at = (0..3).rfind(has_it).expect("the first begins at 0");
        let (master, replica) = (&self.masters[at], &self.replicas[at]);
        master.wait_for_replica();
        master.kill();
        let is_promoted = || replica.command(&["ROLE"]).starts_with("master");
        let is_promoted = patience::becomes_true(START_LIMIT, is_promoted);
        assert!(is_promoted, "{}", replica.log().tail(20));
        let is_whole = |node: &Redis| {
            let info = node.command(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok")
        };
        let all = || self.alive().all(is_whole);
        assert!(
            patience::becomes_true(START_LIMIT, all),
            "it is not whole again"
        );
    }

    fn alive(&self) -> impl Iterator<Item = &Redis> {
        let nodes = self.masters.iter().chain(&self.replicas);
        nodes.filter(|node| node.with(|process| process.is_some()))
    }
}
