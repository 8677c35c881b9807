//! One process of a cluster: how it is started, hit, and spoken to.

use std::{
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustix::process::Signal;

use super::{
    kind::{Kind, binary},
    logs::Logs,
    place::Place,
    process::{Log, Process},
    wrap::Wrap,
};
use crate::{
    client::Client,
    ports,
    wire::{Connack, Connect},
};

/// How long a start may take: the machine may be busy.
pub(super) const START_LIMIT: Duration = Duration::from_secs(30);
/// What nodes log, unless `GATEMQ_TEST_LEVEL` says otherwise.
const LEVEL: &str = "info,openraft=warn,memberlist_net=warn";
/// What opens the API of a node that other machines could reach.
pub(super) const TOKEN: &str = "operator-of-the-tests";
/// How long an orderly stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// What a process is started with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The node's name, which no other node has.
    pub name: String,
    /// Its tiers.
    pub kind: Kind,
    /// Flags that the harness does not add by itself.
    pub flags: Vec<String>,
    /// A configuration file.
    pub config: String,
    /// Where it keeps its data.
    pub folder: PathBuf,
    /// Where it is.
    pub place: Place,
    /// What it is started under.
    pub wrap: Wrap,
}

/// A node of a cluster: a process, or one that was ended and may be started again on the same
/// ports and data.
pub struct Node {
    plan: Plan,
    ports: Ports,
    process: Mutex<Option<Process>>,
    /// How often it was started.
    n_lives: AtomicU32,
    log: Log,
    /// Those of all nodes of its cluster.
    logs: Logs,
}

/// Where a node listens, all its lives long.
#[derive(Clone, Copy, Debug)]
struct Ports {
    gossip: u16,
    raft: u16,
    grpc: u16,
    tcp: u16,
    http: u16,
}

impl Node {
    /// A node that is not started yet.
    pub fn new(plan: Plan) -> Self {
        Self::logging(plan, &Logs::default())
    }

    /// The same, whose log is one of these.
    pub(super) fn logging(plan: Plan, logs: &Logs) -> Self {
        let ports = Ports {
            gossip: ports::free(),
            raft: ports::free(),
            grpc: ports::free(),
            tcp: ports::free(),
            http: ports::free(),
        };
        Self {
            log: logs.add(&plan.name),
            plan,
            ports,
            process: Mutex::default(),
            n_lives: AtomicU32::new(0),
            logs: logs.clone(),
        }
    }

    /// The same node, on the same ports and data, with these flags behind the others, which they
    /// replace. This one must not run.
    pub fn with_flags(&self, flags: &[&str]) -> Self {
        let mut plan = self.plan.clone();
        plan.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        Self {
            ports: self.ports,
            ..Self::logging(plan, &self.logs)
        }
    }

    /// The same node and data where another one was. Neither of them must run.
    pub fn in_place_of(&self, other: &Self) -> Self {
        Self {
            ports: other.ports,
            ..self.elsewhere()
        }
    }

    /// The same node and data somewhere else. This one must not run.
    pub fn elsewhere(&self) -> Self {
        Self::logging(self.plan.clone(), &self.logs)
    }

    // --- what it is ---

    /// Its name.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Whether it has a part in the control plane.
    pub fn has_control(&self) -> bool {
        self.plan.kind.has_control()
    }

    /// Whether clients can connect to it.
    pub fn has_gateway(&self) -> bool {
        self.plan.kind.has_gateway()
    }

    /// Where its gossip listens.
    pub fn gossip(&self) -> String {
        self.plan.place.port(self.ports.gossip).to_string()
    }

    /// Where clients connect.
    pub fn tcp(&self) -> SocketAddr {
        self.plan.place.port(self.ports.tcp)
    }

    /// Where operators look.
    pub fn http(&self) -> SocketAddr {
        self.plan.place.port(self.ports.http)
    }

    /// Where its control plane listens for other nodes.
    pub fn raft(&self) -> SocketAddr {
        self.plan.place.port(self.ports.raft)
    }

    /// Where its gateway listens for other nodes.
    pub fn grpc(&self) -> SocketAddr {
        self.plan.place.port(self.ports.grpc)
    }

    /// Its folder; what is written `{dir}` in a [`Wrap`].
    pub fn folder(&self) -> &Path {
        &self.plan.folder
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.plan.folder.join("data")
    }

    // --- its life ---

    /// Starts it and does not wait.
    pub fn launch(&self) -> Result<(), String> {
        // Whatever is left of the cluster goes when the test binary dies.
        let folder = &self.plan.folder;
        let whole = folder.parent().unwrap_or(folder);
        self.n_lives.fetch_add(1, Ordering::Release);
        let process = Process::spawn(self.command()?, whole, &self.log, "ready")?;
        self.with(|running| *running = Some(process));
        Ok(())
    }

    /// Waits until it is ready; if it does not become so, it is ended.
    pub fn wait_until_ready(&self) -> Result<(), String> {
        self.with(|running| {
            let process = running.as_mut().ok_or("it was not started")?;
            let ready = process.wait_until_ready(START_LIMIT);
            if ready.is_err() {
                *running = None;
            }
            ready
        })
    }

    /// Starts it on its ports and data, after killing it where it runs; it must become ready.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        if let Err(trouble) = self.launch().and_then(|()| self.wait_until_ready()) {
            panic!("{}: {trouble}\n{}", self.name(), self.log.tail(40));
        }
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&self) {
        self.with(|running| *running = None);
    }

    /// SIGSTOP: its connections stay, and it does nothing.
    #[track_caller]
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    #[track_caller]
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGHUP: it reads its files again.
    #[track_caller]
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGTERM; waits for the orderly end.
    #[track_caller]
    pub fn terminate(&self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(STOP_LIMIT)
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub fn wait(&self, limit: Duration) -> ExitStatus {
        let status = self.with(|running| {
            let status = running.as_mut().expect("the node runs").wait(limit);
            *running = None;
            status
        });
        status.unwrap_or_else(|| {
            let log = self.log.tail(40);
            panic!("{} runs on after {limit:?}\n{log}", self.name())
        })
    }

    /// The id of its process.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.with(|running| running.as_ref().expect("the node runs").pid())
    }

    /// Number of its process, or of the last: it counts on at each start.
    pub fn life(&self) -> u32 {
        self.n_lives.load(Ordering::Acquire)
    }

    /// Whether the process runs.
    pub fn is_running(&self) -> bool {
        self.with(|running| running.as_mut().is_some_and(Process::is_running))
    }

    // --- what can be seen of it ---

    /// What it wrote to standard output and standard error.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        self.with(|running| running.as_ref().expect("the node runs").rss_kib())
    }

    /// How many file descriptors it has open.
    #[track_caller]
    pub fn n_descriptors(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid()));
        open.expect("the node runs").count()
    }

    /// Processor time that it has used since its start.
    pub fn processor_time(&self) -> Duration {
        self.with(|running| running.as_ref().expect("the node runs").processor_time())
    }

    /// Status and body that its HTTP server answers with; `None` if it does not answer.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        self.ask("GET", path)
    }

    /// The same for another method.
    pub fn ask(&self, method: &str, path: &str) -> Option<(u16, String)> {
        self.tell(method, path, "")
    }

    /// The same with JSON.
    pub fn tell(&self, method: &str, path: &str, json: &str) -> Option<(u16, String)> {
        let limit = Duration::from_secs(5);
        let mut stream = TcpStream::connect_timeout(&self.http(), limit).ok()?;
        stream.set_read_timeout(Some(limit)).ok()?;
        let length = json.len();
        let token = match self.plan.place.is_usual() {
            true => String::new(),
            false => format!("Authorization: Bearer {TOKEN}\r\n"),
        };
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             {token}Content-Length: {length}\r\n\r\n{json}"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// A number from its `/metrics`; `None` where it has none of that name.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let [value] = self.metrics([name])?;
        Some(value)
    }

    /// Numbers from its `/metrics`, of one moment; `None` where it has not all of them.
    pub fn metrics<const N: usize>(&self, names: [&str; N]) -> Option<[f64; N]> {
        let (_, text) = self.get("/metrics")?;
        let mut values = [0.0; N];
        for (name, value) in names.iter().zip(&mut values) {
            let found = text.lines().find_map(|line| {
                let (found, value) = line.split_once(' ')?;
                (found == *name).then_some(value)
            });
            *value = found?.trim().parse().ok()?;
        }
        Some(values)
    }

    // --- clients of it ---

    /// Sends this CONNECT and returns the CONNACK, whatever it says.
    #[track_caller]
    pub fn attempt(&self, connect: &Connect) -> (Client, Connack) {
        let mut client = Client::connect_tcp(self.tcp());
        let connack = client.handshake(connect);
        (client, connack)
    }

    /// Connects; the CONNACK must accept.
    #[track_caller]
    pub fn connect(&self, connect: &Connect) -> (Client, Connack) {
        let (client, connack) = self.attempt(connect);
        assert_eq!(connack.code, 0, "{} refused: {connack:?}", self.name());
        (client, connack)
    }

    /// A 3.1.1 client with a clean session.
    #[track_caller]
    pub fn v4(&self, client_id: &str) -> Client {
        self.connect(&Connect::new(4, client_id)).0
    }

    /// A 5.0 client with a session that ends with the connection.
    #[track_caller]
    pub fn v5(&self, client_id: &str) -> Client {
        self.connect(&Connect::new(5, client_id)).0
    }

    fn command(&self) -> Result<Command, String> {
        let data = self.data_dir();
        let config = self.plan.folder.join("gatemq.yaml");
        fs::create_dir_all(&data)
            .and_then(|()| fs::write(&config, &self.plan.config))
            .map_err(|error| format!("{}: {error}", data.display()))?;
        let plan = &self.plan;
        let binary = binary(plan.kind)?;
        let mut command = plan.wrap.command(&plan.place, binary, &plan.folder);
        // To a node each `GATEMQ_…` is a setting; ours must not reach it.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("GATEMQ_") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(&self.plan.folder)
            .env_remove("RUST_LOG");
        command.arg("--conf").arg(config);
        command.args(["--node-name", self.name()]);
        command.arg("--data-dir").arg(data);
        let ports = &self.ports;
        for (flag, port) in [
            ("--gossip-port", ports.gossip),
            ("--raft-port", ports.raft),
            ("--grpc-port", ports.grpc),
        ] {
            command.args([flag, &port.to_string()]);
        }
        command.args(["--tcp", &self.tcp().to_string(), "--ws", ""]);
        command.args(["--http", &self.http().to_string()]);
        let level = env::var("GATEMQ_TEST_LEVEL");
        command.args(["--level", level.as_deref().unwrap_or(LEVEL)]);
        if !plan.place.is_usual() {
            // Other machines could reach it, as far as it knows: what is open is asked for.
            command.args(["--bind-ip", &plan.place.address().to_string()]);
            command.args(["--allow-plaintext", "--allow-anonymous"]);
        }
        command.args(&plan.flags);
        Ok(command)
    }

    #[track_caller]
    fn signal(&self, signal: Signal) {
        self.with(|running| running.as_ref().expect("the node runs").signal(signal));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Option<Process>) -> T) -> T {
        // A test that failed must not fail the others through a poisoned lock.
        act(&mut self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
