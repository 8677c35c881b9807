//! Nodes that can be started, stopped and started again, and what tests ask of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures_util::future::join_all;
use gatemq_control_plane::consensus::{
    Applied, ChangeError, Config, Consensus, Places, ProposeError, StartError,
};
use gatemq_control_plane::state::State;
use gatemq_node::Shutdown;
use gatemq_proto::cluster::control::control_server::{Control, ControlServer};
use gatemq_proto::cluster::control::{
    AttendReply, AttendRequest, JoinReply, JoinRequest, ProposeRequest, StatusReply, StatusRequest,
    WatchReply, WatchRequest,
};
use gatemq_proto::cluster::state::{Command, Configure, Outcome, command};
use gatemq_storage::{Engine, Memory, Redb};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::Empty;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The gossip of a test: who is there, by address.
#[derive(Clone)]
pub(crate) struct Gossip {
    known: Arc<watch::Sender<Vec<String>>>,
    /// Where each is by its name; only where that is told.
    places: Arc<watch::Sender<Arc<BTreeMap<String, String>>>>,
    tells_places: bool,
    /// A loopback address of the test's own: the port of a node that is stopped is not taken by
    /// another test meanwhile.
    host: Ipv4Addr,
}

/// A node, running or not.
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) gossip: Gossip,
    pub(crate) resets: Arc<AtomicUsize>,
    disk: Disk,
    address: Option<SocketAddr>,
    running: Option<Running>,
}

enum Disk {
    Memory(Arc<Memory>),
    Redb(TempDir),
}

struct Running {
    consensus: Consensus,
    shutdown: Shutdown,
    server: JoinHandle<()>,
}

/// Counts how often the state was replaced, and checks the order.
struct Listener {
    resets: Arc<AtomicUsize>,
    last: u64,
}

/// Just what the nodes need of the service that is not under test.
struct TestControl(Consensus);

// === impl Gossip ===

impl Gossip {
    pub(crate) fn new() -> Self {
        static TESTS: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let test = TESTS.fetch_add(1, SeqCst);
        Self {
            known: Arc::new(watch::channel(Vec::new()).0),
            places: Arc::new(watch::channel(Arc::default()).0),
            tells_places: false,
            host: Ipv4Addr::new(127, high | 0x80, low, test),
        }
    }

    /// One that tells where each node is now.
    pub(crate) fn telling_places() -> Self {
        Self {
            tells_places: true,
            ..Self::new()
        }
    }

    fn tell_place(&self, name: &str, address: &str) {
        if self.tells_places {
            let place = (name.to_owned(), address.to_owned());
            self.places
                .send_modify(|places| Arc::make_mut(places).extend([place]));
        }
    }

    pub(crate) fn add(&self, address: String) {
        self.known.send_if_modified(|known| {
            let is_new = !known.contains(&address);
            known.extend(is_new.then_some(address));
            is_new
        });
    }
}

// === impl Node ===

impl Node {
    pub(crate) fn on_memory(name: &str, gossip: &Gossip) -> Self {
        Self::new(name, gossip, Disk::Memory(Arc::new(Memory::new())))
    }

    pub(crate) fn on_redb(name: &str, gossip: &Gossip) -> Self {
        Self::new(
            name,
            gossip,
            Disk::Redb(tempfile::tempdir().expect("a test's own machinery")),
        )
    }

    fn new(name: &str, gossip: &Gossip, disk: Disk) -> Self {
        let mut config = Config::new(name, "");
        config.version = "test".to_owned();
        config.heartbeat = Duration::from_millis(50);
        config.election = Duration::from_millis(500)..Duration::from_millis(1_000);
        config.propose_timeout = Duration::from_secs(2);
        config.settle = Duration::from_millis(200);
        config.control_size = 3;
        Self {
            config,
            gossip: gossip.clone(),
            resets: Arc::default(),
            disk,
            address: None,
            running: None,
        }
    }

    /// The first node of a cluster.
    pub(crate) fn founding(mut self, control_size: u32) -> Self {
        self.config.bootstrap = true;
        self.config.control_size = control_size;
        self
    }

    pub(crate) async fn start(&mut self) -> &Consensus {
        self.try_start().await.expect("a test's own machinery");
        self.running()
    }

    pub(crate) async fn try_start(&mut self) -> Result<(), StartError> {
        let anywhere = SocketAddr::from((self.gossip.host, 0));
        let address = self.address.unwrap_or(anywhere);
        let listener = bind(address).await;
        let address = listener.local_addr().expect("a test's own machinery");
        self.address = Some(address);
        self.config.address = address.to_string();
        self.config.places = Places::new(self.gossip.places.subscribe());
        self.gossip
            .tell_place(&self.config.name, &self.config.address);
        let shutdown = Shutdown::new();
        let listening = Listener {
            resets: Arc::clone(&self.resets),
            last: 0,
        };
        let known = self.gossip.known.subscribe();
        let engine = self.engine().await;
        let config = self.config.clone();
        let consensus = Consensus::start(config, engine, listening, known, &shutdown).await?;
        let stop = shutdown.token();
        let server = tonic::transport::Server::builder()
            .add_service(consensus.raft_service())
            .add_service(ControlServer::new(TestControl(consensus.clone())))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move {
                stop.cancelled().await;
            });
        let server = tokio::spawn(async move { server.await.expect("a test's own machinery") });
        self.gossip.add(address.to_string());
        self.running = Some(Running {
            consensus,
            shutdown,
            server,
        });
        Ok(())
    }

    /// Stops the node; what it has on disk stays.
    pub(crate) async fn stop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        running.shutdown.request();
        // Connections of others would keep the server for a while.
        running.server.abort();
        let _ = running.server.await;
        running.consensus.stopped().await;
    }

    /// Gives the node another address from its next start on.
    pub(crate) fn move_away(&mut self) {
        self.address = None;
    }

    /// Empties the data directory.
    pub(crate) fn lose_data(&mut self) {
        assert!(self.running.is_none());
        self.disk = match self.disk {
            Disk::Memory(_) => Disk::Memory(Arc::new(Memory::new())),
            Disk::Redb(_) => Disk::Redb(tempfile::tempdir().expect("a test's own machinery")),
        };
    }

    /// A copy of what a stopped node has on its disk.
    pub(crate) async fn back_up(&self) -> TempDir {
        let backup = tempfile::tempdir().expect("a test's own machinery");
        copy_files(self.directory().await, backup.path());
        backup
    }

    /// Puts a copy back in the place of what a stopped node has now.
    pub(crate) async fn put_back(&mut self, backup: &TempDir) {
        copy_files(backup.path(), self.directory().await);
    }

    /// That of a stopped node, when nobody has it open any more.
    async fn directory(&self) -> &Path {
        assert!(self.running.is_none());
        drop(self.engine().await);
        match &self.disk {
            Disk::Redb(dir) => dir.path(),
            Disk::Memory(_) => panic!("a node in memory has no files"),
        }
    }

    pub(crate) fn running(&self) -> &Consensus {
        &self.running.as_ref().expect("the node runs").consensus
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    async fn engine(&self) -> Arc<dyn Engine> {
        match &self.disk {
            Disk::Memory(engine) => Arc::clone(engine) as Arc<dyn Engine>,
            // The last tasks of a stopped node may still hold the directory.
            Disk::Redb(dir) => {
                eventually("the directory is free", || async {
                    let engine = Redb::open(dir.path()).ok()?;
                    Some(Arc::new(engine) as Arc<dyn Engine>)
                })
                .await
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.shutdown.request();
            running.server.abort();
        }
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a test's own machinery") {
        let path = entry.expect("a test's own machinery").path();
        let name = path.file_name().expect("a file has a name");
        fs::copy(&path, to.join(name)).expect("a test's own machinery");
    }
}

async fn bind(address: SocketAddr) -> TcpListener {
    eventually("the port is free", || async {
        TcpListener::bind(address).await.ok()
    })
    .await
}

// === clusters ===

/// Founds a cluster and lets the others join it, one after the other.
pub(crate) async fn form(nodes: &mut [Node]) {
    for node in nodes.iter_mut() {
        node.start().await;
    }
}

/// Waits until a number of nodes vote and all running nodes know it.
pub(crate) async fn voters(nodes: &[Node], n_voters: usize) -> BTreeSet<u64> {
    eventually(&format!("{n_voters} voters"), || async {
        let mut seen = running(nodes).map(voters_of);
        let first = seen.next()?;
        let is_same = seen.all(|other| other == first);
        (is_same && first.len() == n_voters).then_some(first)
    })
    .await
}

pub(crate) fn voters_of(node: &Consensus) -> BTreeSet<u64> {
    node.status().voters.into_iter().collect()
}

pub(crate) fn running(nodes: &[Node]) -> impl Iterator<Item = &Consensus> {
    nodes
        .iter()
        .filter(|node| node.is_running())
        .map(Node::running)
}

/// The place of the running node that leads and that all running nodes take for the leader.
pub(crate) async fn leader(nodes: &[Node]) -> usize {
    eventually("a leader", || async {
        let leads = |node: &Node| node.is_running() && node.running().leadership().borrow().is_self;
        let place = nodes.iter().position(leads)?;
        let number = nodes[place].running().number();
        let is_agreed = running(nodes).all(|node| {
            let leadership = node.leadership();
            let leadership = leadership.borrow();
            leadership
                .leader
                .as_ref()
                .is_some_and(|it| it.number == number)
        });
        is_agreed.then_some(place)
    })
    .await
}

/// Proposes until it is done, as a client does.
pub(crate) async fn commit(nodes: &[Node], value: u64) -> Outcome {
    eventually("a commit", || async {
        for node in running(nodes) {
            if let Ok(outcome) = node.propose(configure(value)).await {
                assert_eq!(outcome.refused, "");
                return Some(outcome);
            }
        }
        None
    })
    .await
}

pub(crate) fn configure(value: u64) -> Command {
    let change = Configure {
        key: format!("key-{}", value % 10),
        value: Some(value.to_string()),
        by: "test".to_owned(),
        at: value,
    };
    Command {
        kind: Some(command::Kind::Configure(change)),
    }
}

/// Waits until all running nodes have applied the same, and compares what they made of it.
pub(crate) async fn same_state(nodes: &[Node]) -> State {
    let states = eventually("the same revision", || async {
        let states: Vec<_> = running(nodes).map(Consensus::state).collect();
        let revision = states.iter().map(State::revision).max()?;
        let is_same = states.iter().all(|it| it.revision() == revision);
        is_same.then_some(states)
    })
    .await;
    let hashes: BTreeSet<_> = states.iter().map(State::hash).collect();
    assert_eq!(hashes.len(), 1, "equal revisions, other states");
    states.into_iter().next().expect("a test's own machinery")
}

/// Starts all nodes that do not run, at once: they may need one another.
pub(crate) async fn start_all(nodes: &mut [Node]) {
    let stopped = nodes.iter_mut().filter(|node| !node.is_running());
    let started = join_all(stopped.map(async |node| node.try_start().await)).await;
    assert!(started.iter().all(Result::is_ok), "{started:?}");
}

/// Tries until there is a value, and panics if there is none for too long.
pub(crate) async fn eventually<T>(what: &str, attempt: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

// === impl Listener ===

impl Applied for Listener {
    fn applied(&mut self, index: u64, _: &Command) {
        self.passed(index);
    }

    fn passed(&mut self, index: u64) {
        assert!(index > self.last || self.last == 0, "in order");
        self.last = index;
    }

    fn reset(&mut self, state: &State) {
        self.last = state.revision();
        self.resets.fetch_add(1, SeqCst);
    }
}

// === impl TestControl ===

#[tonic::async_trait]
impl Control for TestControl {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        match self.0.join(request.into_inner()).await {
            Ok(reply) => Ok(Response::new(reply)),
            Err(ChangeError::Refused(text)) => Err(Status::internal(text)),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }

    async fn propose(&self, request: Request<ProposeRequest>) -> Result<Response<Outcome>, Status> {
        let command = request.into_inner().command.unwrap_or_default();
        let outcome = self.0.propose(command).await;
        let unavailable = |error: ProposeError| Status::unavailable(error.to_string());
        Ok(Response::new(outcome.map_err(unavailable)?))
    }

    type WatchStream = Empty<Result<WatchReply, Status>>;

    async fn watch(
        &self,
        _: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    type AttendStream = Empty<Result<AttendReply, Status>>;

    async fn attend(
        &self,
        _: Request<Streaming<AttendRequest>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Ok(Response::new(self.0.status()))
    }
}
