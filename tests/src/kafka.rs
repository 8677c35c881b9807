//! A real Apache Kafka: one node that is its own controller (KRaft), from the jars that `tests/kafka`
//! brings, on ports and in a folder of its own. It needs Java 17 or newer.
//!
//! What it confirmed outlives SIGKILL: it is in the system's cache.

pub mod judge;
pub mod reader;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    cluster::process::{Log, Process},
    ports,
};

const START_LIMIT: Duration = Duration::from_secs(60);
const READY: &str = "Kafka Server started";
/// Who may log in where SASL is asked for, and with which password.
pub const LOGIN: (&str, &str) = ("gate", "hunter2");

/// A Kafka of this test's own.
pub struct Kafka {
    ports: Ports,
    dir: TempDir,
    process: Mutex<Option<Process>>,
    log: Log,
}

/// How clients come in, beside the plain listener.
#[derive(Clone, Debug, Default)]
pub struct Secured {
    /// A certificate and its key as PEM: TLS is asked for on [`Kafka::secured_address`].
    pub identity: Option<(String, String)>,
}

/// A way in that leads through something else, such as a [`Relay`](crate::nemesis::Relay): who comes
/// by it is told to stay on it.
#[derive(Clone, Copy, Debug)]
pub struct Detour {
    /// The port where it ends, at Kafka.
    pub port: u16,
    /// Where it begins.
    pub begin: SocketAddr,
}

#[derive(Clone, Copy)]
struct Ports {
    plain: u16,
    secured: u16,
    controller: u16,
}

// === impl Kafka ===

impl Kafka {
    /// Starts one without topics. A topic is there when it was made, not when it is named.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_secured(&Secured::default())
    }

    /// Starts one that also has a listener where clients log in by SCRAM, and where what they say is
    /// encrypted if there is an identity.
    #[track_caller]
    pub fn start_secured(secured: &Secured) -> Self {
        Self::start_with(secured, None)
    }

    /// Starts one that can also be reached by a detour.
    #[track_caller]
    pub fn start_behind(detour: Detour) -> Self {
        Self::start_with(&Secured::default(), Some(detour))
    }

    #[track_caller]
    fn start_with(secured: &Secured, detour: Option<Detour>) -> Self {
        let kafka = Self {
            ports: Ports {
                plain: ports::free(),
                secured: ports::free(),
                controller: ports::free(),
            },
            dir: tempfile::Builder::new()
                .prefix("gatemq-kafka-")
                .tempdir()
                .expect("a temporary directory"),
            process: Mutex::default(),
            log: Log::default(),
        };
        kafka.format(secured, detour);
        kafka.restart();
        kafka
    }

    /// Where clients find it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.plain)
    }

    /// Where clients that log in find it.
    pub fn secured_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.secured)
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.with(|process| *process = None);
    }

    /// Starts it again on its data and its ports, after killing it where it runs.
    #[track_caller]
    pub fn restart(&self) {
        self.kill();
        let mut command = java(&["-Xmx512m", "-XX:+UseSerialGC"]);
        command.arg("kafka.Kafka").arg(self.properties());
        let started = Process::spawn(command, self.dir.path(), &self.log, READY);
        let started = started.and_then(|mut process| {
            process.wait_until_ready(START_LIMIT)?;
            Ok(process)
        });
        match started {
            Ok(started) => self.with(|process| *process = Some(started)),
            Err(trouble) => panic!("kafka: {trouble}\n{}", self.log.tail(20)),
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

    /// Makes a topic.
    #[track_caller]
    pub fn create_topic(&self, name: &str, n_partitions: u32) {
        let partitions = n_partitions.to_string();
        self.topics(&["--create", "--topic", name, "--partitions", &partitions]);
    }

    /// Runs Kafka's own tool for topics, and returns what it prints.
    #[track_caller]
    pub fn topics(&self, words: &[&str]) -> String {
        let mut command = java(&["-Xmx128m", "-XX:TieredStopAtLevel=1"]);
        command
            .arg("org.apache.kafka.tools.TopicCommand")
            .args(["--bootstrap-server", &self.address()])
            .args(words);
        run(command)
    }

    /// What it wrote.
    pub fn log(&self) -> &Log {
        &self.log
    }

    #[track_caller]
    fn format(&self, secured: &Secured, detour: Option<Detour>) {
        let Ports {
            plain,
            secured: login,
            controller,
        } = self.ports;
        let data = self.dir.path().join("data");
        let (mut listeners, mut advertised) = (String::new(), String::new());
        if let Some(Detour { port, begin }) = detour {
            listeners = format!(",DETOUR://127.0.0.1:{port}");
            advertised = format!(",DETOUR://{begin}");
        }
        let mut properties = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{plain},LOGIN://127.0.0.1:{login},\
             CONTROLLER://127.0.0.1:{controller}{listeners}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{plain},LOGIN://127.0.0.1:{login}\
             {advertised}\n\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=PLAINTEXT\n\
             sasl.enabled.mechanisms=SCRAM-SHA-256\n\
             listener.name.login.scram-sha-256.sasl.jaas.config=\
             org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             log.dirs={}\n\
             auto.create.topics.enable=false\n\
             offsets.topic.num.partitions=1\n\
             offsets.topic.replication.factor=1\n\
             group.initial.rebalance.delay.ms=0\n",
            data.display()
        );
        let protocol = if let Some((certificate, key)) = &secured.identity {
            let store = self.dir.path().join("identity.pem");
            fs::write(&store, format!("{key}\n{certificate}")).expect("it is writable");
            properties += &format!(
                "listener.name.login.ssl.keystore.type=PEM\n\
                 listener.name.login.ssl.keystore.location={}\n",
                store.display()
            );
            "SASL_SSL"
        } else {
            "SASL_PLAINTEXT"
        };
        properties += &format!(
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,\
             DETOUR:PLAINTEXT,LOGIN:{protocol}\n"
        );
        fs::write(self.properties(), properties).expect("it is writable");
        let (name, password) = LOGIN;
        let mut command = java(&["-Xmx256m", "-XX:TieredStopAtLevel=1"]);
        command
            .args(["kafka.tools.StorageTool", "format"])
            .args(["--cluster-id", "Z2F0ZW1xLXRlc3RzLTAwMA"])
            .arg("--config")
            .arg(self.properties())
            .arg("--add-scram")
            .arg(format!("SCRAM-SHA-256=[name={name},password={password}]"));
        run(command);
    }

    fn properties(&self) -> PathBuf {
        self.dir.path().join("server.properties")
    }

    #[track_caller]
    fn signal(&self, signal: Signal) {
        self.with(|process| process.as_ref().expect("kafka runs").signal(signal));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Option<Process>) -> T) -> T {
        act(&mut self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A Java with all jars, which tells what it has to tell on its standard output.
fn java(flags: &[&str]) -> Command {
    let mut command = Command::new("java");
    command
        .args(flags)
        .arg("-Dorg.slf4j.simpleLogger.logFile=System.out")
        .arg("-cp")
        .arg(jars().join("*"));
    command
}

/// The folder of the jars, brought once.
#[track_caller]
fn jars() -> &'static Path {
    static JARS: OnceLock<PathBuf> = OnceLock::new();
    JARS.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka");
        run(Command::new(script)).trim().into()
    })
}

/// What a command that has to succeed printed.
#[track_caller]
fn run(mut command: Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{command:?}: {stdout}{stderr}");
    stdout
}
