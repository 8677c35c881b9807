//! Starts Redis servers of its own, and stores that use them.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gatemq_storage::Batch;
use parking_lot::Mutex;
use redis::Value;
use tokio::time::Instant;

use crate::proto::mqtt::{Qos, Version};
use crate::session::Subscribed;
use crate::store::record::{self, SessionRecord};
use crate::store::redis::connection::{Connection, Tls};
use crate::store::redis::{
    Address, Claim, Claimed, Config, Place, RedisStore, Servers, Taken, Verdict,
};
use crate::store::{keys, redis as store};

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// The time of the tests, in Unix milliseconds.
pub(super) const NOW: u64 = 1_800_000_000_000;

/// A Redis server in a directory of its own; it ends with the test.
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) directory: PathBuf,
    arguments: Vec<String>,
    process: Option<Child>,
    /// How it is reached if it takes nothing but TLS.
    pub(super) tls: Option<Arc<Tls>>,
}

/// A store, and what became of what it was handed.
pub(super) struct Rig {
    pub(super) store: RedisStore<u64>,
    done: Arc<Mutex<Vec<(u64, Verdict)>>>,
    next: AtomicU64,
}

// === impl Server ===

impl Server {
    /// Starts a server that syncs every write.
    pub(super) async fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, None).await
    }

    /// The same, of a server that takes nothing but TLS.
    pub(super) async fn start_with(arguments: &[&str], tls: Option<Arc<Tls>>) -> Self {
        let port = free_port();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "gatemq-redis-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory for the server");
        let fixed = [
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--bind",
            "127.0.0.1",
        ];
        let arguments = fixed.iter().chain(arguments).map(ToString::to_string);
        let mut server = Self {
            port,
            directory,
            arguments: arguments.collect(),
            process: None,
            tls,
        };
        server.restart().await;
        server
    }

    /// Starts a Sentinel that watches a master.
    pub(super) async fn start_sentinel(master: u16) -> Self {
        let server = Self::start(&[]).await;
        server.into_sentinel(master, "").await
    }

    /// Starts a Sentinel in its place; `more` are lines of its configuration.
    pub(super) async fn into_sentinel(mut self, master: u16, more: &str) -> Self {
        self.configure_sentinel(master, more);
        self.restart().await;
        self
    }

    /// The same, of one that says nothing to strangers but that they are.
    pub(super) async fn into_guarded_sentinel(mut self, master: u16, more: &str) -> Self {
        self.configure_sentinel(master, more);
        self.spawn();
        let Value::ServerError(error) = self.ask(&["PING"]).await else {
            panic!("it lets everybody in");
        };
        assert_eq!(error.code(), "NOAUTH");
        self
    }

    fn configure_sentinel(&mut self, master: u16, more: &str) {
        self.kill();
        let path = self.directory.join("sentinel.conf");
        let text = format!(
            "sentinel monitor gate 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds gate 500\n\
             sentinel failover-timeout gate 5000\n\
             {more}\n"
        );
        std::fs::write(&path, text).expect("a file for the Sentinel");
        self.arguments = vec![path.to_string_lossy().into_owned(), "--sentinel".to_owned()];
    }

    /// Ends it at once, as a crash would.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it (again) on what is in its directory.
    pub(super) async fn restart(&mut self) {
        self.spawn();
        let deadline = Instant::now() + PATIENCE;
        while !self.is_up().await {
            assert!(Instant::now() < deadline, "the server does not come up");
            if self
                .process
                .as_mut()
                .is_none_or(|process| !matches!(process.try_wait(), Ok(None)))
            {
                self.spawn(); // something else had the port for a moment
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether it answers, and not another server in its place.
    async fn is_up(&self) -> bool {
        let info = self.try_ask(&["INFO", "server"]).await;
        let info: Option<String> = info.and_then(|info| redis::from_redis_value(info).ok());
        let pid = self.process.as_ref().map(Child::id);
        let line = format!("process_id:{}\r\n", pid.unwrap_or_default());
        info.is_some_and(|info| info.contains(&line))
    }

    /// Starts it without waiting for it.
    pub(super) fn spawn(&mut self) {
        let mut command = Command::new("redis-server");
        // A configuration file comes first.
        command.args(&self.arguments);
        let port = self.port.to_string();
        match self.tls {
            Some(_) => command.args(["--port", "0", "--tls-port", &port]),
            None => command.args(["--port", &port]),
        };
        command.arg("--dir");
        command.arg(&self.directory);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn();
        let process = process.unwrap_or_else(|error| {
            panic!("redis-server: {error}; install it: apt-get install -y redis-server")
        });
        self.process = Some(process);
    }

    pub(super) fn address(&self) -> Address {
        Address::parse(&format!("127.0.0.1:{}", self.port), 0).expect("an address")
    }

    /// Asks the server something that it will answer, if need be again and again: where much else runs,
    /// an answer may come too late.
    pub(super) async fn ask(&self, words: &[&str]) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = self.try_ask(words).await {
                return answer;
            }
            let is_late = Instant::now() >= deadline;
            assert!(!is_late, "{words:?} has no answer at port {}", self.port);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The same, where there is a password.
    pub(super) async fn ask_as(&self, password: &str, words: &[&str]) -> Value {
        let settings = redis::RedisConnectionInfo::default().set_password(password);
        let answer = self.try_ask_with(settings, words).await;
        answer.unwrap_or_else(|| panic!("{words:?} has no answer"))
    }

    pub(super) async fn try_ask(&self, words: &[&str]) -> Option<Value> {
        let settings = redis::RedisConnectionInfo::default();
        self.try_ask_with(settings, words).await
    }

    async fn try_ask_with(
        &self,
        settings: redis::RedisConnectionInfo,
        words: &[&str],
    ) -> Option<Value> {
        let mut config = self.config();
        config.timeout = Duration::from_secs(5);
        let connection = Connection::open(&self.address(), settings, &config).await;
        let mut cmd = redis::Cmd::new();
        cmd.arg(words);
        let answer = connection.ok()?.send_packed_command(&cmd).await.ok()?;
        match answer {
            Value::ServerError(error) if error.code() == "LOADING" => None,
            answer => Some(answer),
        }
    }

    /// All keys, with a word of each kind.
    pub(super) async fn keys(&self) -> Vec<String> {
        let Value::Array(keys) = self.ask(&["KEYS", "*"]).await else {
            panic!("KEYS has a list");
        };
        let mut keys: Vec<String> = keys
            .into_iter()
            .filter_map(|key| redis::from_redis_value(key).ok())
            .collect();
        keys.sort();
        keys
    }

    pub(super) fn config(&self) -> Config {
        let mut config = Config::new(Servers::Single(self.address()));
        config.tls = self.tls.clone();
        config
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A port that is free, as is the one 10,000 above it, for the bus of a cluster.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 400) as u16 * 50;
    loop {
        let port = 15_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 16_000;
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

// === impl Rig ===

impl Rig {
    pub(super) async fn open(config: Config) -> Self {
        let done: Arc<Mutex<Vec<(u64, Verdict)>>> = Arc::default();
        let sink = done.clone();
        let store = RedisStore::open(config, move |some| sink.lock().extend(some)).await;
        Self {
            store: store.expect("the store opens"),
            done,
            next: AtomicU64::new(0),
        }
    }

    /// Submits a batch; returns its ticket.
    pub(super) fn submit(&self, fill: impl FnOnce(&mut Batch)) -> u64 {
        let mut batch = Batch::new();
        fill(&mut batch);
        let ticket = self.next.fetch_add(1, Ordering::SeqCst);
        self.store.submit(batch, ticket);
        ticket
    }

    /// Waits until a ticket and all before it are done; returns what became of it.
    pub(super) async fn verdict(&self, ticket: u64) -> Verdict {
        eventually("the ticket is done", || self.n_done() > ticket).await;
        let done = self.done.lock();
        let (number, verdict) = done[ticket as usize].clone();
        assert_eq!(number, ticket, "tickets are done in order");
        verdict
    }

    /// Submits a batch, and waits until it is safe.
    pub(super) async fn write(&self, fill: impl FnOnce(&mut Batch)) {
        let ticket = self.submit(fill);
        let verdict = self.verdict(ticket).await;
        assert!(verdict.is_safe(), "{verdict:?}");
    }

    pub(super) fn n_done(&self) -> u64 {
        self.done.lock().len() as u64
    }

    /// Claims and attaches a session that nobody else has.
    pub(super) async fn take(&self, claim: &Claim<'_>) -> Taken {
        let claimed = self.store.claim(claim).await.expect("an answer");
        let Claimed::Taken(taken) = claimed else {
            panic!("{claimed:?}");
        };
        self.attach(claim, &taken);
        *taken
    }

    pub(super) fn attach(&self, claim: &Claim<'_>, taken: &Taken) {
        let place = Place::live(claim.client_id, claim.owner, taken.epoch);
        self.store.attach(taken.number, place);
    }

    /// The whole queue of an attached session.
    pub(super) async fn queue(&self, number: u64) -> Vec<(u64, Bytes)> {
        let (mut queue, mut from) = (Vec::new(), Some(0));
        while let Some(start) = from {
            let page = self.store.queue_page(number, start, u64::MAX, 100).await;
            let (some, next) = page.expect("a page");
            queue.extend(some);
            from = next;
        }
        queue
    }

    pub(super) async fn seqs(&self, number: u64) -> Vec<u64> {
        let queue = self.queue(number).await;
        queue.into_iter().map(|(seq, _)| seq).collect()
    }
}

/// A claim of a client that nobody has seen.
pub(super) fn claim<'a>(client_id: &'a str, owner: u64) -> Claim<'a> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    Claim {
        client_id,
        // As large as those of the gateway, which has the clock in them.
        new_number: (NOW << 16) + NEXT.fetch_add(1, Ordering::Relaxed),
        owner,
        principal: Some("user alice"),
        clean_start: false,
        expiry: 3600,
        version: Version::V5,
        now: NOW,
        force: None,
        known: None,
        is_leased: true,
        is_again: false,
    }
}

/// The record of a session whose connection has ended.
pub(super) fn detached(client_id: &str, expiry: u32, at: u64) -> Vec<u8> {
    let record = SessionRecord {
        client_id: client_id.to_owned(),
        version: Version::V5,
        expiry,
        detached_at: at,
        created_at: NOW,
        sent_below: 3,
        principal: "user alice".to_owned(),
    };
    record.store()
}

pub(super) fn subscribed(id: u32) -> Subscribed {
    Subscribed {
        retain_as_published: true,
        id,
        ..Subscribed::any(Qos::AtLeastOnce)
    }
}

pub(super) fn will(client_id: &str) -> Vec<u8> {
    let message = message("a/will", b"gone", u64::MAX);
    let message = crate::message::Message::restore(&message).expect("it was just stored");
    record::store_will(&crate::will::Will {
        delay: 5,
        expiry: None,
        client_id: client_id.into(),
        principal: "".into(),
        origin: None,
        message,
    })
}

/// The stored form of a message.
pub(super) fn message(topic: &str, payload: &[u8], expires_at: u64) -> Vec<u8> {
    let message = crate::message::MessageRef {
        publisher: 0,
        qos: Qos::AtLeastOnce,
        retain: true,
        expires_at,
        topic,
        properties: &[],
        payload,
        trace: None,
    };
    let mut stored = Vec::new();
    message.store(&mut stored);
    stored
}

/// Appends entries to a queue.
pub(super) fn append(batch: &mut Batch, number: u64, seqs: impl IntoIterator<Item = u64>) {
    for seq in seqs {
        batch.put(&keys::queue(number, seq), format!("entry {seq}").as_bytes());
    }
}

/// Waits for something that must come.
pub(super) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Small numbers that look random, the same in each run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The slice of a client id, in the text of a key.
pub(super) fn tag(client_id: &str) -> String {
    format!("{{{}}}", store::layout::slice_of(client_id))
}
