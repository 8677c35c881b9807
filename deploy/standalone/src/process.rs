//! The composition: what is started, in which order, and the reverse.

use crate::cluster::Cluster;
use crate::config::{Config, Configured, StorageWay};
use crate::{Tiers, say};
use gatemq_gateway::{Gateway, Prepared, Storage, config as gateway};
use gatemq_node::admin::{Admin, Bound};
use gatemq_node::process::{ProcessMetrics, raise_file_limit};
use gatemq_node::{Reload, Shutdown};
use prometheus_client::registry::Registry;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that runs.
struct Process {
    shutdown: Shutdown,
    reload: Reload,
    admin: Option<Admin>,
    cluster: Option<Cluster>,
    gateway: Option<Gateway>,
}

/// Why the broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The system refuses something basic.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The HTTP address cannot be had.
    #[error(
        "http cannot listen on {address}: {error}: stop who does, or choose another with --http"
    )]
    Http {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The API's token cannot be had.
    #[error("{}: {}", .0.key, .0.what)]
    Api(gatemq_node::config::Problem),
    /// The data cannot be opened.
    #[error(transparent)]
    Storage(#[from] gatemq_storage::Error),
    /// The node does not become part of its cluster.
    #[error(transparent)]
    Cluster(#[from] crate::cluster::StartError),
    /// The gateway cannot start.
    #[error(transparent)]
    Gateway(#[from] gatemq_gateway::StartError),
}

/// Starts everything, waits for a signal, stops everything.
pub async fn run(
    config: &Config,
    gateway: gateway::Config,
    tiers: Tiers,
) -> Result<(), StartError> {
    let mut process = Process::start(config, gateway, tiers).await?;
    process.until_asked_to_end().await;
    process.stop(config.grace.duration()).await;
    Ok(())
}

/// As [`run`], for several nodes in one process: one after the other.
pub async fn run_all(nodes: &[(Tiers, Configured)]) -> Result<(), StartError> {
    let mut processes = Vec::new();
    for (tiers, node) in nodes {
        let process = Process::start(node.config(), node.gateway.clone(), *tiers).await?;
        processes.push((process, node.config().grace.duration()));
    }
    if let Some((first, _)) = processes.first_mut() {
        first.until_asked_to_end().await;
    }
    // The first one has the control plane, so it goes last.
    for (process, grace) in processes.into_iter().rev() {
        process.stop(grace).await;
    }
    Ok(())
}

impl Process {
    async fn start(
        config: &Config,
        gateway: gateway::Config,
        tiers: Tiers,
    ) -> Result<Self, StartError> {
        let shutdown = Shutdown::new();
        let reload = shutdown.on_signals()?;
        raise_file_limit().map_or_else(
            |error| tracing::warn!(%error, "the limit of open files stays as it is"),
            |limit| tracing::debug!(limit, "open files"),
        );
        let admin = admin(config)?;
        let mut metrics = Registry::default();
        metrics.register_collector(Box::new(ProcessMetrics));
        let http = admin.as_ref().map(Admin::address);
        // What can fail on this machine does before a cluster hears of the node.
        let prepared = match tiers.gateway {
            true => Some(prepare_gateway(config, gateway).await?),
            false => None,
        };
        let mut cluster = match config.is_clustered() {
            true => Some(Cluster::start(config, tiers, http, &shutdown).await?),
            false => None,
        };
        let gateway = match prepared {
            Some(prepared) => {
                let cluster = cluster.as_ref().map(|cluster| cluster.gateway(config));
                let shutdown = shutdown.child();
                Some(prepared.start(cluster, &mut metrics, &shutdown).await?)
            }
            None => None,
        };
        let id = gateway.as_ref().and_then(Gateway::cluster_id);
        if let (Some(cluster), Some(id)) = (&mut cluster, id) {
            cluster.tell_cluster_id(&id).await;
        }
        if let Some(admin) = &admin {
            let mut routes = axum::Router::new();
            if let Some(gateway) = &gateway {
                routes = routes.merge(gateway.http_routes());
                admin.ask(gateway.hindrance());
            }
            if let Some(cluster) = &cluster {
                routes = routes.merge(crate::http::routes(config, cluster));
                if let Some(api) = crate::http::api(config, cluster).map_err(StartError::Api)? {
                    routes = routes.merge(api);
                }
            }
            admin.show(metrics, routes);
            admin.set_ready(!shutdown.is_requested());
        }
        let process = Self {
            shutdown,
            reload,
            admin,
            cluster,
            gateway,
        };
        if process.shutdown.is_requested() {
            return Ok(process); // it was told to end while it started
        }
        // A control plane alone keeps no sessions.
        let storage = tiers.gateway.then(|| config.storage.way.name());
        let (node, version) = (&config.node_name, env!("CARGO_PKG_VERSION"));
        tracing::info!(node, version, storage, "ready");
        process.announce();
        Ok(process)
    }

    /// Says where it listens; whoever started it reads that.
    fn announce(&self) {
        for (name, address) in self.cluster.iter().flat_map(Cluster::listening) {
            say(&format!("listening: {name} {address}\n"));
        }
        if let Some(gateway) = &self.gateway {
            if let Some(address) = gateway.peer_address() {
                say(&format!("listening: grpc {address}\n"));
            }
            for (transport, address) in gateway.listening() {
                say(&format!("listening: {} {address}\n", transport.name()));
            }
        }
        if let Some(admin) = &self.admin {
            say(&format!("listening: http {}\n", admin.address()));
        }
        say("ready\n");
    }

    async fn until_asked_to_end(&mut self) {
        let draining = self.gateway.as_ref().map(Gateway::draining);
        let drained = async move {
            match draining {
                Some(draining) => draining.await,
                None => std::future::pending().await,
            }
        };
        let mut drained = std::pin::pin!(drained);
        let mut is_drained = false;
        loop {
            tokio::select! {
                () = &mut drained, if !is_drained => {
                    is_drained = true;
                    if let Some(admin) = &self.admin {
                        admin.set_ready(false); // it takes no more clients
                    }
                }
                () = self.shutdown.requested() => return,
                () = self.reload.requested() => {
                    if let Some(gateway) = &self.gateway {
                        gateway.reload_tls();
                    }
                }
            }
        }
    }

    /// The reverse of the start, within `grace`.
    async fn stop(self, grace: Duration) {
        if let Some(admin) = &self.admin {
            admin.set_ready(false);
        }
        if let Some(gateway) = self.gateway {
            gateway.stop(grace).await;
        }
        if let Some(cluster) = self.cluster {
            cluster.stop(grace).await;
        }
        // Answers to the end: health checks see "not ready", never "gone".
        drop(self.admin);
        tracing::info!("stopped");
    }
}

async fn prepare_gateway(
    config: &Config,
    gateway: gateway::Config,
) -> Result<Prepared, StartError> {
    let storage = match config.storage.way {
        StorageWay::Redis => Storage::Redis(config.to_redis()),
        StorageWay::Engine(way) => {
            if config.is_clustered() {
                tracing::warn!(
                    "storage.way is {way}: sessions stay with one gateway of the cluster, and end \
                     with it"
                );
            }
            let engine = gatemq_storage::open(way, &PathBuf::from(&config.data_dir))?;
            Storage::Engine(engine)
        }
    };
    Ok(Gateway::prepare(gateway, storage).await?)
}

fn admin(config: &Config) -> Result<Option<Admin>, StartError> {
    let Some(address) = config.http.0 else {
        return Ok(None);
    };
    let bound = Bound::bind(address).map_err(|error| StartError::Http { address, error })?;
    Ok(Some(bound.serve()?))
}
