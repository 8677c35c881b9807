//! Real clusters: processes of every tier that find each other by gossip, and their Redis.
//!
//! ```no_run
//! use gatemq_tests::{Cluster, unique};
//!
//! let cluster = Cluster::shared();
//! let [one, two, _] = cluster.three();
//! let mut subscriber = one.v4(&unique("sub"));
//! subscriber.subscribe("news", 1);
//! two.v5(&unique("pub")).publish("news", b"hello", 1);
//! assert_eq!(subscriber.receive().payload, b"hello");
//! ```
//!
//! A cluster takes about a second to start. Tests that end no process use a [`Cluster::shared`].

pub mod builder;
mod kind;
mod logs;
pub mod node;
pub mod place;
pub mod process;
pub mod wrap;

use std::{
    fs, io,
    net::SocketAddr,
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    nemesis::{Network, Unavailable, relay::Relay},
    patience,
    redis::{
        Redis, RedisCluster,
        sentinel::{MASTER, Watched},
    },
};
pub use builder::{Builder, REDIS};
pub use kind::{Kind, binary};
use logs::Logs;
pub use node::{Node, Plan};
pub use place::Place;
use process::Log;
pub use wrap::Wrap;

/// How long a learner of the control plane may take to become a voter.
const VOTERS_LIMIT: Duration = Duration::from_secs(30);

/// A running cluster. Dropping it kills its processes and removes what they wrote.
pub struct Cluster {
    builder: Builder,
    nodes: Vec<Node>,
    /// Theirs, and those of nodes that were prepared and are not among them.
    logs: Logs,
    store: Store,
    /// What is between the gateways and their store, if it is not the way itself.
    relay: Option<Relay>,
    /// Goes after all that are in it.
    network: Option<Network>,
    dir: TempDir,
}

/// Where the gateways keep sessions.
enum Store {
    /// One server.
    Single(Box<Redis>),
    /// A Redis Cluster.
    Cluster(RedisCluster),
    /// A server with a replica and a Sentinel.
    Watched(Box<Watched>),
}

/// A cluster that other tests use too. When the test fails, the logs' ends are printed.
pub struct Shared(Arc<Cluster>);

// === impl Shared ===

impl Deref for Shared {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.0.tell_if_failing();
    }
}

// === impl Cluster ===

impl Cluster {
    /// Settings to start from: no process at all.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Three processes with all tiers, which no test may end.
    #[track_caller]
    pub fn shared() -> Shared {
        Builder::default().whole(3).shared()
    }

    fn without_nodes(builder: Builder, store: Store, network: Option<Network>) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("gatemq-cluster-")
            .tempdir()
            .expect("a temporary directory");
        Self {
            builder,
            nodes: Vec::new(),
            logs: Logs::default(),
            store,
            relay: None,
            network,
            dir,
        }
    }

    /// Starts one of the nodes that it begins with, and does not wait for it.
    #[track_caller]
    fn launch(&mut self, kind: Kind, name: &str) -> Result<(), Unavailable> {
        builder::place(self.network.as_ref(), name)?;
        let node = self.prepare(kind, name);
        if let Err(trouble) = node.launch() {
            panic!("{name}: {trouble}");
        }
        self.nodes.push(node);
        Ok(())
    }

    #[track_caller]
    fn wait_until_ready(&self) {
        for node in &self.nodes {
            if let Err(trouble) = node.wait_until_ready() {
                panic!("{}: {trouble}\n{}", node.name(), node.log().tail(40));
            }
        }
    }

    /// What is between its nodes; it was started in one ([`Builder::in_network`]).
    #[track_caller]
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("it was started in a network")
    }

    // --- its nodes ---

    /// Every node, the founder first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of this name: `n1`, `c1`, `g1` and so on.
    #[track_caller]
    pub fn node(&self, name: &str) -> &Node {
        let found = self.nodes.iter().find(|node| node.name() == name);
        found.unwrap_or_else(|| panic!("no node is called {name}"))
    }

    /// The nodes that clients connect to.
    pub fn gateways(&self) -> Vec<&Node> {
        let gateways = self.nodes.iter().filter(|node| node.has_gateway());
        gateways.collect()
    }

    /// The first three of them.
    #[track_caller]
    pub fn three(&self) -> [&Node; 3] {
        let three: Vec<_> = self.gateways().into_iter().take(3).collect();
        three
            .try_into()
            .ok()
            .expect("the cluster has three gateways")
    }

    /// Where clients connect.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.gateways().iter().map(|node| node.tcp()).collect()
    }

    /// The nodes of the control plane.
    pub fn controls(&self) -> Vec<&Node> {
        let controls = self.nodes.iter().filter(|node| node.has_control());
        controls.collect()
    }

    /// Starts one more node; it must become ready.
    #[track_caller]
    pub fn add(&mut self, kind: Kind, name: &str) -> &Node {
        let node = self.prepare(kind, name);
        node.restart();
        self.nodes.push(node);
        self.node(name)
    }

    /// Adds a line to the configuration file of each node that is started from now on.
    pub fn set(&mut self, line: &str) {
        self.builder.config.push_str(line);
        self.builder.config.push('\n');
    }

    /// A node of this cluster that is not started and is not among its nodes: for starts that fail.
    #[track_caller]
    pub fn prepare(&self, kind: Kind, name: &str) -> Node {
        let mut flags = vec![format!("--control-size={}", self.n_voters())];
        let seeds: Vec<_> = self.controls().iter().map(|node| node.gossip()).collect();
        if seeds.is_empty() {
            flags.push("--raft-bootstrap".to_owned());
        } else {
            flags.push(format!("--members={}", seeds.join(",")));
        }
        self.prepare_with(kind, name, flags)
    }

    /// The same with these flags instead of those that make it join this cluster.
    #[track_caller]
    pub fn prepare_with(&self, kind: Kind, name: &str, mut flags: Vec<String>) -> Node {
        let folder = self.dir.path().join(patience::unique(name));
        fs::create_dir_all(&folder).expect("a folder in a temporary directory");
        if matches!(kind, Kind::Gateway | Kind::Whole) {
            flags.push("--storage-way=redis".to_owned());
            let is_tls = self.builder.redis_tls.is_some();
            let addresses = match &self.relay {
                Some(relay) => relay.address().to_string(),
                None => self.store.addresses(is_tls),
            };
            flags.push(format!("--redis={addresses}"));
        }
        let place = builder::place(self.network.as_ref(), name);
        let mode = match &self.store {
            Store::Single(_) => "single".to_owned(),
            Store::Cluster(_) => "cluster".to_owned(),
            Store::Watched(_) => {
                let n_replicas = self.builder.sentinel.unwrap_or_default();
                format!("sentinel, master-name: {MASTER}, wait-replicas: {n_replicas}")
            }
        };
        let tls = self.builder.redis_tls.as_ref().map(|folder| {
            let file = |name| folder.join(name).display().to_string();
            let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(file);
            format!(", tls: {{enable: true, ca: '{ca}', cert: '{cert}', key: '{key}'}}")
        });
        let tls = tls.unwrap_or_default();
        let mut config = format!("redis: {{mode: {mode}{tls}}}\n{}", self.builder.config);
        if self.builder.has_tls {
            self.certify(kind, name);
            let file = |file: String| self.pki().join(file).display().to_string();
            let (ca, cert) = (file("ca.crt".to_owned()), file(format!("{name}.crt")));
            let key = file(format!("{name}.key"));
            config.push_str(&format!(
                "cluster: {{tls: {{ca: {ca}, cert: {cert}, key: {key}}}}}\n"
            ));
        }
        if self.network.is_some() {
            config.push_str(&format!("api: {{token: {}}}\n", node::TOKEN));
        }
        let plan = Plan {
            name: name.to_owned(),
            kind,
            flags,
            config,
            folder,
            place: place.expect("a network that has members takes more"),
            wrap: self.builder.wrap_of(name),
        };
        Node::logging(plan, &self.logs)
    }

    /// Where certificates and keys are: `ca.crt`, `ca.key`, and two for each node.
    pub fn pki(&self) -> PathBuf {
        self.dir.path().join("pki")
    }

    /// Makes the certificate of a node that has none, and the authority before the first one.
    fn certify(&self, kind: Kind, name: &str) {
        let folder = self.pki();
        let dir = folder.display().to_string();
        if !folder.exists() {
            let node = format!("{name}:{}", kind.roles());
            kind::pki(&["init", "--dir", &dir, "--cluster", "tests", "--node", &node]);
        } else if !folder.join(format!("{name}.crt")).exists() {
            let mut arguments = vec!["node", name, "--dir", &dir];
            for role in kind.roles().split(',') {
                arguments.extend(["--role", role]);
            }
            kind::pki(&arguments);
        }
    }

    fn n_voters(&self) -> usize {
        let n_nodes = self.builder.n_control + self.builder.n_whole;
        // An even number of voters is refused: the last one follows.
        n_nodes - usize::from(n_nodes.is_multiple_of(2))
    }

    // --- its store ---

    /// The Redis server of the gateways.
    #[track_caller]
    pub fn redis(&self) -> &Redis {
        match &self.store {
            Store::Single(redis) => redis,
            Store::Cluster(_) | Store::Watched(_) => panic!("the store is no single server"),
        }
    }

    /// What is between the gateways and that server ([`Builder::redis_behind_a_relay`]).
    #[track_caller]
    pub fn relay(&self) -> &Relay {
        self.relay.as_ref().expect("it was started with one")
    }

    /// The Redis Cluster of the gateways.
    #[track_caller]
    pub fn redis_cluster(&self) -> &RedisCluster {
        match &self.store {
            Store::Single(_) | Store::Watched(_) => panic!("the store is no Redis Cluster"),
            Store::Cluster(cluster) => cluster,
        }
    }

    /// The watched server of the gateways.
    #[track_caller]
    pub fn watched(&self) -> &Watched {
        match &self.store {
            Store::Single(_) | Store::Cluster(_) => panic!("nobody watches the store"),
            Store::Watched(watched) => watched,
        }
    }

    // --- its state ---

    /// Waits until every node of the control plane that is to vote does. Only then can one of them
    /// be lost; it takes some seconds, because a new node has to prove itself.
    #[track_caller]
    pub fn wait_for_voters(&self) {
        let n_voting = || {
            let controls = self.controls();
            // Who founds the cluster may be a voter when it looks first.
            let says = |node: &Node, what| node.log().count(what) > 0;
            let voting = controls
                .iter()
                .filter(|node| says(node, "promoted to voter") || says(node, "cluster founded"));
            voting.count()
        };
        let all_vote = patience::becomes_true(VOTERS_LIMIT, || n_voting() >= self.n_voters());
        assert!(all_vote, "{} of {} vote", n_voting(), self.n_voters());
    }

    /// The node of the control plane that leads, as its `/metrics` say.
    #[track_caller]
    pub fn leader(&self) -> &Node {
        let mut found = None;
        let is_found = patience::becomes_true(VOTERS_LIMIT, || {
            let leads = |node: &&Node| node.metric("control_leads") == Some(1.0);
            found = self.controls().into_iter().find(leads);
            found.is_some()
        });
        assert!(is_found, "nobody leads");
        found.expect("it was found")
    }

    /// Everything that any node logged of these, also one that was prepared and is not among its nodes:
    /// it must not happen.
    pub fn complaints(&self, is_complaint: impl Fn(&str) -> bool) -> Vec<String> {
        let of_node = |(name, log): (String, Log)| {
            let text = log.text();
            let lines = text.lines().filter(|line| is_complaint(line));
            let named = lines.map(|line| format!("{name}: {line}"));
            named.collect::<Vec<_>>()
        };
        self.logs.all().into_iter().flat_map(of_node).collect()
    }

    /// Writes the logs of all these nodes into this folder.
    ///
    /// # Errors
    ///
    /// They cannot be written.
    pub fn keep_logs(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        for (name, log) in self.logs.all() {
            fs::write(folder.join(format!("{name}.log")), log.text())?;
        }
        Ok(())
    }

    /// Where a test fails, the logs are kept in `tests/.work/failed/` and their ends are printed.
    fn tell_if_failing(&self) {
        if !thread::panicking() {
            return;
        }
        let test = thread::current().name().unwrap_or("test").replace(':', "_");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".work/failed");
        let folder = folder.join(test);
        for node in &self.nodes {
            let tail = node.log().tail(25);
            eprintln!("--- the last lines of {} ---\n{tail}\n---", node.name());
        }
        match self.keep_logs(&folder) {
            Ok(()) => eprintln!("all logs: {}", folder.display()),
            Err(error) => eprintln!("the logs are not in {}: {error}", folder.display()),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tell_if_failing();
    }
}

// === impl Store ===

impl Store {
    /// A relay to the one server.
    #[track_caller]
    fn relay(&self) -> Relay {
        match self {
            Self::Single(redis) => Relay::start(redis.address()).expect("a port is free"),
            Self::Cluster(_) | Self::Watched(_) => panic!("a relay leads to a single server"),
        }
    }

    /// As `--redis` takes them.
    fn addresses(&self, is_tls: bool) -> String {
        let servers = match self {
            Self::Single(redis) => std::slice::from_ref(&**redis),
            Self::Cluster(cluster) => cluster.masters(),
            Self::Watched(watched) => return watched.sentinel().to_string(),
        };
        let address = |redis: &Redis| match is_tls {
            true => redis.tls_address().to_string(),
            false => redis.address().to_string(),
        };
        let addresses = servers.iter().map(address);
        addresses.collect::<Vec<_>>().join(",")
    }
}
