//! The configuration of the standalone broker: every key there is, with its default.
//!
//! `deploy/config/gatemq.yml` explains each key; a test holds the two together.

use gatemq_gateway::config as gateway;
use gatemq_node::address::Listen;
use gatemq_node::config::{Number, Period, Problem, Schema};
use gatemq_node::trace::Tracer;
use gatemq_node::{log, membership};
use serde::{Deserialize, Serialize};
use std::path::Path;

use crate::Tiers;

mod apart;
mod api;
mod auth;
mod bans;
mod choice;
mod cluster;
mod hidden;
mod limits;
mod listener;
mod load;
mod logging;
mod server_tls;
mod tracing;

pub use apart::{Place, meeting, places};
pub use api::{Api, ApiToken};
pub use auth::{Auth, Source};
pub use bans::Bans;
pub use choice::{AuthWay, Chosen, StorageWay};
pub use cluster::{Cluster, Ip, Members, Mode, NodeTls, Redis};
pub use hidden::print;
pub use limits::Limits;
pub use listener::{Listener, Network, Tls};
pub use load::{Configured, load};
pub use logging::Log;
pub use server_tls::ServerTls;
pub use tracing::Tracing;

/// What gatemq-bridge does.
#[cfg(feature = "bridge")]
pub type Bridge = gatemq_bridge::Config;
/// The same where there is no bridge in the program: it is not looked at.
#[cfg(not(feature = "bridge"))]
pub type Bridge = serde_yaml::Value;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Config {
    pub node_name: String,
    pub data_dir: String,
    pub workers: Number<0, 1024>,
    pub grace: Period<0, 3_600_000>,
    pub storage: Storage,
    pub auth_way: AuthWay,
    pub auth: Auth,
    pub bans: Bans,
    pub allow_anonymous: bool,
    pub tcp: Listen,
    pub ws: Listen,
    pub tls: Listen,
    pub wss: Listen,
    pub ws_origins: Vec<String>,
    pub unix: String,
    pub http: Listen,
    pub http_allow_anonymous: bool,
    pub tls_cert: String,
    pub tls_key: String,
    pub tls_client_ca: String,
    pub tls_client_crl: String,
    pub listeners: Vec<Listener>,
    pub limits: Limits,
    pub session: Session,
    pub share_strategy: Chosen<gateway::ShareStrategy>,
    pub sys_interval: Period<0, 3_600_000>,
    pub cluster: Cluster,
    pub redis: Redis,
    pub bridge: Bridge,
    pub api: Api,
    pub tracing: Tracing,
    pub log: Log,
}

/// Where sessions and messages are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Storage {
    pub way: StorageWay,
}

/// How sessions and their queues are treated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "deploy/config/gatemq.yml explains each key")]
pub struct Session {
    pub on_full: Chosen<gateway::OnFull>,
    pub queue_qos0: bool,
    pub response_information: String,
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        let local = |port: u16| Listen(Some(([127, 0, 0, 1], port).into()));
        Self {
            node_name: String::new(),
            data_dir: "./data".to_owned(),
            workers: Number::new(0),
            grace: Period::new(10_000),
            storage: Storage::default(),
            auth_way: AuthWay,
            auth: Auth::default(),
            bans: Bans::default(),
            allow_anonymous: false,
            tcp: local(1883),
            ws: local(1882),
            tls: Listen(None),
            wss: Listen(None),
            ws_origins: Vec::new(),
            unix: String::new(),
            http: local(8080),
            http_allow_anonymous: false,
            tls_cert: String::new(),
            tls_key: String::new(),
            tls_client_ca: String::new(),
            tls_client_crl: String::new(),
            listeners: Vec::new(),
            limits: Limits::default(),
            session: Session::default(),
            share_strategy: Chosen::default(),
            sys_interval: Period::new(10_000),
            cluster: Cluster::default(),
            redis: Redis::default(),
            bridge: Bridge::default(),
            api: Api::default(),
            tracing: Tracing::default(),
            log: Log::default(),
        }
    }
}

impl Schema for Config {
    fn example() -> Self {
        Self {
            listeners: vec![Listener::example()],
            auth: Auth {
                sources: Source::examples(),
                ..Auth::default()
            },
            #[cfg(feature = "bridge")]
            bridge: Bridge::example(),
            ws_origins: vec![String::new()],
            cluster: Cluster {
                members: Members(vec!["127.0.0.1:7946".to_owned()]),
                gossip_keys: vec!["00".repeat(32)],
                ..Cluster::default()
            },
            api: Api {
                tokens: vec![ApiToken::example()],
                ..Api::default()
            },
            ..Self::default()
        }
    }
}

impl Config {
    /// What the gateway is told.
    pub fn to_gateway(&self, tiers: Tiers) -> Result<gateway::Config, Problem> {
        let listeners = listener::all(self)?;
        let names = listeners
            .iter()
            .filter_map(|it| it.tls.as_ref()?.client_name);
        let believes_certificates = { names }.any(|name| !name.needs_password);
        self.check_http()?;
        self.limits.check()?;
        self.api.check()?;
        self.tracing.check()?;
        self.log.check()?;
        self.check_unused()?;
        if tiers != Tiers::ALL && !self.is_clustered() {
            let what = format!(
                "{} is part of a cluster: name other nodes of it (--members HOST:PORT), or begin \
                 one with --raft-bootstrap",
                tiers.program
            );
            return Err(Problem::new("cluster.members", what));
        }
        if self.is_clustered() {
            self.cluster.check_reach()?;
            self.check_cluster(tiers)?;
        } else if tiers.gateway && self.storage.way == StorageWay::Redis {
            let what = "redis keeps the sessions of a cluster, and this is no node of one: begin \
                        one, be it of this node alone (--node-name NAME --raft-bootstrap), or join \
                        one (--members HOST:PORT); a broker by itself keeps its own (--storage-way \
                        redb)";
            return Err(Problem::new("storage.way", what));
        }
        Ok(gateway::Config {
            listeners,
            limits: self.limits.to_gateway(),
            session: gateway::SessionPolicy {
                on_full: self.session.on_full.0,
                queue_qos0: self.session.queue_qos0,
                response_information: filled(&self.session.response_information),
            },
            share_strategy: self.share_strategy.0,
            sys_interval: self.sys_interval.duration(),
            auth: gateway::Auth {
                believes_certificates,
                ..self.auth.to_gateway()?
            },
            bans: self.bans.to_gateway(),
            peer: self.is_clustered().then(|| gateway::Peer {
                bind: self.cluster.peer(),
                advertise: self.cluster.advertise_ip.clone(),
            }),
            tracer: Tracer::off(), // the process begins it
            trace_folder: Some(Path::new(&self.data_dir).join("traces")),
        })
    }

    /// Whether this node is part of a cluster.
    pub fn is_clustered(&self) -> bool {
        self.cluster.is_wanted()
    }

    /// The node's name in a cluster.
    pub fn name(&self) -> String {
        self.node_name.clone()
    }

    /// What keeps the control plane's log.
    pub fn control_storage(&self) -> gatemq_storage::Way {
        match self.storage.way {
            StorageWay::Engine(gatemq_storage::Way::Memory) => gatemq_storage::Way::Memory,
            _ => gatemq_storage::Way::Redb,
        }
    }

    /// What is written for a cluster is right, whether this process is part of one or not.
    fn check_unused(&self) -> Result<(), Problem> {
        if !self.node_name.is_empty() {
            membership::check_name(&self.node_name)
                .map_err(|error| Problem::new("node-name", error.to_string()))?;
        }
        self.cluster.check()?;
        if !self.is_clustered() && self.cluster.tls.is_given() {
            let what = "is for a node of a cluster, and this is none: name other nodes (--members \
                        HOST:PORT), or begin a cluster (--raft-bootstrap)";
            return Err(Problem::new("cluster.tls", what));
        }
        let redis = self.to_redis()?;
        redis.check().map_err(|what| Problem::new("redis", what))
    }

    fn check_cluster(&self, tiers: Tiers) -> Result<(), Problem> {
        if self.node_name.is_empty() {
            let what = "a node of a cluster needs a name that no other node has: give it one with \
                        --node-name";
            return Err(Problem::new("node-name", what));
        }
        if self.cluster.raft_bootstrap && !tiers.control {
            let what = format!(
                "{} has no control plane to begin a cluster with: name nodes of one (--members \
                 HOST:PORT)",
                tiers.program
            );
            return Err(Problem::new("cluster.raft-bootstrap", what));
        }
        match self.storage.way {
            _ if !tiers.gateway => Ok(()),
            StorageWay::Redis | StorageWay::Engine(gatemq_storage::Way::Memory) => Ok(()),
            StorageWay::Engine(way) => {
                let what = format!(
                    "{way} keeps sessions on one machine, and the gateways of a cluster share \
                     them: set storage.way: redis (--storage-way redis), or memory to try it out"
                );
                Err(Problem::new("storage.way", what))
            }
        }
    }

    /// Where a gateway keeps its sessions.
    pub fn to_redis(&self) -> Result<gateway::Redis, Problem> {
        let redis = &self.redis;
        let tls = redis.tls.to_gateway();
        Ok(gateway::Redis {
            addresses: redis.addr.0.clone(),
            mode: match redis.mode.0 {
                Mode::Single => gateway::RedisMode::Single,
                Mode::Sentinel => gateway::RedisMode::Sentinel(redis.master_name.clone()),
                Mode::Cluster => gateway::RedisMode::Cluster,
            },
            username: redis.username.clone(),
            password: redis.password.clone(),
            sentinel_username: redis.sentinel_username.clone(),
            sentinel_password: redis.sentinel_password.clone(),
            tls: tls.map_err(|(key, what)| Problem::new(format!("redis.{key}"), what))?,
            db: redis.db.get().unwrap_or(0),
            prefix: redis.prefix.clone(),
            timeout: redis.timeout.duration(),
            wait_replicas: redis.wait_replicas.get().unwrap_or(0),
        })
    }

    /// Other machines may reach the HTTP server if they need a token there, or if that they need none
    /// was asked for by name.
    fn check_http(&self) -> Result<(), Problem> {
        let is_guarded = self.api.has_tokens() && !self.api.open_metrics;
        match self.http.0 {
            Some(address)
                if !listener::is_local(address) && !is_guarded && !self.http_allow_anonymous =>
            {
                let what = format!(
                    "the http listener {address} answers other machines without credentials: \
                     configure api.tokens (`gatemq token` makes one); or if that is meant, say so by \
                     --http-allow-anonymous (or http-allow-anonymous: true)"
                );
                Err(Problem::new("http", what))
            }
            _ => Ok(()),
        }
    }

    /// The data goes into a folder: comqtt's users have a file where they had its data.
    fn check_folder(&self) -> Result<(), Problem> {
        let what = match &*self.data_dir {
            "" => "is empty: name a folder, such as ./data".to_owned(),
            name if Path::new(name).is_file() => format!(
                "{name} is a file, and a folder is needed: name another, or move the file away \
                 (data of comqtt is not read)"
            ),
            // Without that it would be a broker of its own, with other rules than its cluster's.
            name if !self.is_clustered() && self.has_data_of_cluster() => format!(
                "{name} has the data of a node of a cluster: name other nodes of it (--members \
                 HOST:PORT), or keep --raft-bootstrap, which begins nothing anew where there is data; \
                 a broker by itself has a folder of its own"
            ),
            _ => return Ok(()),
        };
        Err(Problem::new("data-dir", what))
    }

    #[cfg(not(feature = "bridge"))]
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "as with a bridge"
    )]
    fn check_bridge(&self, _: Tiers) -> Result<(), Problem> {
        Ok(())
    }

    /// What a bridge is to do makes sense, and is something.
    #[cfg(feature = "bridge")]
    fn check_bridge(&self, tiers: Tiers) -> Result<(), Problem> {
        let below = |problem: Problem| {
            let key = format!("bridge.{}", problem.key);
            Problem::new(key, problem.what)
        };
        let plan = self.bridge.plan().map_err(below)?;
        let consumers = self.bridge.consumers().map_err(below)?;
        let receivers = self.bridge.receivers(&plan).map_err(below)?;
        let is_idle = plan.rules.is_empty() && plan.forwards.is_empty();
        let is_idle = is_idle && consumers.is_empty() && receivers.is_empty();
        // With a Kafka, rules may be set while the cluster runs.
        if tiers.bridge && is_idle && self.bridge.kafka.is_empty() {
            let what = "is empty, and kafka, from-kafka and mqtt too: write what goes where";
            return Err(Problem::new("bridge.rules", what));
        }
        Ok(())
    }

    /// Whether a node of a cluster has left its data where this process would have its own.
    fn has_data_of_cluster(&self) -> bool {
        let folder = match &*self.cluster.nodes_file_dir {
            "" => &self.data_dir,
            folder => folder,
        };
        let known = Path::new(folder).join(format!("{}-nodes.json", self.node_name));
        Path::new(&self.data_dir).join("control").is_dir() || known.is_file()
    }

    /// What the log is told; `None` if there is to be none.
    pub fn to_log(&self) -> Option<log::Config> {
        self.log.to_node()
    }
}

/// A text, unless it is empty.
fn filled<T: for<'a> From<&'a str>>(text: &str) -> Option<T> {
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests;
