//! How a cluster is to be started: which nodes, which store, and what they run under.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use super::{Cluster, Kind, Shared, Store, place::Place, wrap::Wrap};
use crate::{
    nemesis::{Network, Unavailable},
    redis::{Redis, RedisCluster, sentinel::Watched},
};

/// The name of the Redis server, as a member of a network and of [`Builder::wrap`].
pub const REDIS: &str = "redis";

/// How a cluster is to be started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Builder {
    pub(super) n_control: usize,
    pub(super) n_gateways: usize,
    pub(super) n_whole: usize,
    has_redis_cluster: bool,
    /// A replica and a Sentinel, and how many replicas are to have what is confirmed.
    pub(super) sentinel: Option<u32>,
    /// The files of a Redis with TLS.
    pub(super) redis_tls: Option<PathBuf>,
    pub(super) has_tls: bool,
    /// Between the gateways and their Redis.
    has_relay: bool,
    /// Each node has an address and a network namespace of its own.
    is_in_network: bool,
    /// What processes are started under, by name.
    wraps: Vec<(String, Wrap)>,
    pub(super) config: String,
}

impl Builder {
    /// Processes that are of the control plane alone; also how many are to vote.
    pub fn control(mut self, n_nodes: usize) -> Self {
        self.n_control = n_nodes;
        self
    }

    /// Processes that are gateways alone.
    pub fn gateways(mut self, n_nodes: usize) -> Self {
        self.n_gateways = n_nodes;
        self
    }

    /// Processes that have all tiers; also how many are to vote.
    pub fn whole(mut self, n_nodes: usize) -> Self {
        self.n_whole = n_nodes;
        self
    }

    /// Sessions are in a Redis Cluster of three masters instead of one server.
    pub fn redis_cluster(mut self) -> Self {
        self.has_redis_cluster = true;
        self
    }

    /// Sessions are in a server that has a replica, which a Sentinel puts in its place when it has
    /// died. What is confirmed is to be on so many replicas (`redis.wait-replicas`).
    pub fn redis_with_sentinel(mut self, wait_replicas: u32) -> Self {
        self.sentinel = Some(wait_replicas);
        self
    }

    /// Sessions are in a server that they reach by TLS. The folder has what
    /// [`Redis::start_with_tls`] wants, and `client.pem` with `client.key`.
    pub fn redis_with_tls(mut self, folder: &Path) -> Self {
        self.redis_tls = Some(folder.to_owned());
        self
    }

    /// Gateways reach their Redis, a single server, through [`Cluster::relay`].
    pub fn redis_behind_a_relay(mut self) -> Self {
        self.has_relay = true;
        self
    }

    /// Nodes know one another by certificates, which `gatemq pki` makes.
    pub fn tls(mut self) -> Self {
        self.has_tls = true;
        self
    }

    /// Adds a line to the configuration file of each node, such as `sys-interval: 0s`; what
    /// belongs to a section is written with it: `cluster: {subscribe-timeout: 2s}`.
    pub fn setting(mut self, line: &str) -> Self {
        self.config.push_str(line);
        self.config.push('\n');
        self
    }

    /// Each node, and the Redis server, has an address and a network namespace of its own, so that
    /// [`Cluster::network`] can come between them. Gossip is then neither encrypted nor, but with
    /// [`Builder::tls`], gRPC; clients need no login, and operators the token that nodes are asked with.
    pub fn in_network(mut self) -> Self {
        self.is_in_network = true;
        self
    }

    /// The process of this name is started under this; [`REDIS`] is the server, and its replica where
    /// it has one. What was given before stays.
    pub fn wrap(mut self, name: &str, wrap: Wrap) -> Self {
        self.wraps.push((name.to_owned(), wrap));
        self
    }

    /// Starts a cluster of its own and waits until each process is ready.
    #[track_caller]
    pub fn start(self) -> Cluster {
        match self.try_start() {
            Ok(cluster) => cluster,
            Err(why) => panic!("such a cluster cannot be had here: {why}"),
        }
    }

    /// The same, and no panic where only the machine is to blame.
    ///
    /// # Errors
    ///
    /// There can be no such network here.
    #[track_caller]
    pub fn try_start(self) -> Result<Cluster, Unavailable> {
        let network = match self.is_in_network {
            true => {
                Network::capability()?;
                Some(Network::start()?)
            }
            false => None,
        };
        let store = self.start_store(network.as_ref())?;
        let relay = self.has_relay.then(|| store.relay());
        let mut cluster = Cluster::without_nodes(self, store, network);
        cluster.relay = relay;
        for (kind, name) in cluster.builder.nodes() {
            cluster.launch(kind, &name)?;
        }
        cluster.wait_until_ready();
        Ok(cluster)
    }

    fn start_store(&self, network: Option<&Network>) -> Result<Store, Unavailable> {
        let wrap = self.wrap_of(REDIS);
        let is_single =
            !self.has_redis_cluster && self.redis_tls.is_none() && self.sentinel.is_none();
        assert!(
            is_single || network.is_none(),
            "only a single Redis without TLS is in a network"
        );
        if self.sentinel.is_some() {
            return Ok(Store::Watched(Watched::start(&wrap).into()));
        }
        assert!(
            is_single || wrap == Wrap::default(),
            "only a Redis without TLS, with a replica or alone, is under something"
        );
        Ok(match (self.has_redis_cluster, &self.redis_tls) {
            (true, _) => Store::Cluster(RedisCluster::start()),
            (false, Some(folder)) => Store::Single(Redis::start_with_tls(folder).into()),
            (false, None) => {
                let place = place(network, REDIS)?;
                Store::Single(Redis::start_in(place, wrap).into())
            }
        })
    }

    /// What a process is started under.
    pub(super) fn wrap_of(&self, name: &str) -> Wrap {
        let own = self.wraps.iter().filter(|(of, _)| of == name);
        own.fold(Wrap::default(), |all, (_, wrap)| all.and(wrap.clone()))
    }

    /// Its nodes, the founder first.
    fn nodes(&self) -> Vec<(Kind, String)> {
        let of_kind = |kind, letter, n_nodes| {
            (1..=n_nodes).map(move |number| (kind, format!("{letter}{number}")))
        };
        let all = of_kind(Kind::Whole, "n", self.n_whole)
            .chain(of_kind(Kind::Control, "c", self.n_control))
            .chain(of_kind(Kind::Gateway, "g", self.n_gateways));
        all.collect()
    }

    /// The cluster with these settings that the whole test binary shares.
    #[track_caller]
    pub fn shared(self) -> Shared {
        static CLUSTERS: LazyLock<Mutex<HashMap<Builder, Arc<Cluster>>>> =
            LazyLock::new(Mutex::default);
        let mut clusters = CLUSTERS.lock().unwrap_or_else(PoisonError::into_inner);
        let cluster = clusters
            .entry(self.clone())
            .or_insert_with(|| Arc::new(self.start()));
        Shared(Arc::clone(cluster))
    }
}

/// Where a process of this name is.
pub(super) fn place(network: Option<&Network>, name: &str) -> Result<Place, Unavailable> {
    network.map_or_else(|| Ok(Place::default()), |network| network.join(name))
}
