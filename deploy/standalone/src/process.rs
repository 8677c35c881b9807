//! The composition: what is started, in which order, and the reverse.

#[cfg(feature = "bridge")]
use crate::bridge;
use crate::cluster::Cluster;
use crate::config::{Config, Configured, StorageWay};
use crate::{Tiers, say};
use gatemq_control_plane::metrics::ControlPlaneMetrics;
use gatemq_gateway::{Gateway, Prepared, Storage, config as gateway};
use gatemq_node::admin::{self, Admin, Bound};
use gatemq_node::credentials::expiry::ExpiryMetric;
use gatemq_node::process::{ProcessMetrics, raise_file_limit};
use gatemq_node::trace::{self, Exporter};
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
    tracing: Option<Exporter>,
    #[cfg(feature = "bridge")]
    bridge: Option<bridge::Running>,
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
    /// Redis is not written down as it has to be.
    #[error("{}: {}", .0.key, .0.what)]
    Redis(gatemq_node::config::Problem),
    /// Traces cannot be sent anywhere.
    #[error("tracing: {0}")]
    Tracing(trace::StartError),
    /// There is no folder for the data.
    #[error("{0} cannot be made: {1}: name another folder with --data-dir")]
    Folder(String, io::Error),
    /// The data cannot be opened.
    #[error(transparent)]
    Storage(#[from] gatemq_storage::Error),
    /// The node does not become part of its cluster.
    #[error(transparent)]
    Cluster(#[from] crate::cluster::StartError),
    /// The gateway cannot start.
    #[error(transparent)]
    Gateway(#[from] gatemq_gateway::StartError),
    /// The bridge cannot start.
    #[cfg(feature = "bridge")]
    #[error(transparent)]
    Bridge(#[from] bridge::StartError),
    /// It ran, and stopped in order because its control plane was removed.
    #[error(transparent)]
    Removed(crate::cluster::StartError),
}

/// Starts everything, waits for a signal, stops everything.
pub async fn run(
    config: &Config,
    gateway: gateway::Config,
    tiers: Tiers,
) -> Result<(), StartError> {
    if let (true, StorageWay::Engine(way)) = (config.is_clustered(), config.storage.way)
        && tiers.gateway
    {
        tracing::warn!(
            "storage.way is {way}: sessions stay with one gateway of the cluster, and end with it"
        );
    }
    let mut process = Process::start(config, gateway, tiers).await?;
    if !process.shutdown.is_requested() {
        process.announce(None);
    }
    let removed = process.until_asked_to_end().await;
    process.stop(config.grace.duration()).await;
    removed.map_or(Ok(()), |why| Err(StartError::Removed(why)))
}

/// As [`run`], for several nodes in one process: one after the other.
pub fn run_all(nodes: &[(Tiers, Configured)]) -> Result<(), StartError> {
    let mut running = Vec::new();
    let started = nodes.iter().try_for_each(|(tiers, node)| {
        running.push(Running::start(*tiers, node)?);
        Ok(())
    });
    if let (Ok(()), Some(first)) = (&started, running.first_mut()) {
        let removed = first.runtime.block_on(first.process.until_asked_to_end());
        // The first one has the control plane, so it goes last.
        running.into_iter().rev().for_each(Running::stop);
        return removed.map_or(Ok(()), |why| Err(StartError::Removed(why)));
    }
    // Nobody waits for what has begun.
    let begun = running.into_iter();
    begun.for_each(|running| running.runtime.shutdown_background());
    started
}

/// One of several nodes in this process. It has threads of its own, and so its lines have its name.
struct Running {
    process: Process,
    grace: Duration,
    span: tracing::Span,
    runtime: tokio::runtime::Runtime,
}

impl Running {
    fn start(tiers: Tiers, node: &Configured) -> Result<Self, StartError> {
        let config = node.config();
        let span = tracing::error_span!("dev", node = %config.node_name);
        let of_thread = span.clone();
        let runtime = crate::runtime(config)
            // It is in no other span, for as long as it is there.
            .on_thread_start(move || std::mem::forget(of_thread.clone().entered()))
            .build()?;
        let starting = Process::start(config, node.gateway.clone(), tiers);
        match span.in_scope(|| runtime.block_on(starting)) {
            Ok(process) => {
                process.announce(Some(&config.node_name));
                Ok(Self {
                    process,
                    grace: config.grace.duration(),
                    span,
                    runtime,
                })
            }
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    fn stop(self) {
        let stopping = self.process.stop(self.grace);
        self.span.in_scope(|| self.runtime.block_on(stopping));
        self.runtime.shutdown_background();
    }
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
        make_folder(config)?;
        let admin = admin(config)?;
        let mut metrics = Registry::default();
        metrics.register_collector(Box::new(ProcessMetrics::of_this_runtime()));
        let http = admin.as_ref().map(Admin::address);
        let tracing = config.tracing.to_node(tiers.program, &config.node_name);
        let tracing = tracing.map(|told| Exporter::start(&told, &mut metrics));
        let tracing = tracing.transpose().map_err(StartError::Tracing)?;
        let tracer = tracing.as_ref().map(Exporter::tracer).unwrap_or_default();
        let gateway = gateway::Config {
            tracer: tracer.clone(),
            ..gateway
        };
        // What can fail on this machine does before a cluster hears of the node.
        let prepared = match tiers.gateway {
            true => {
                let waiting = admin.as_ref().map(Admin::waiting).unwrap_or_default();
                tokio::select! {
                    prepared = prepare_gateway(config, gateway, waiting) => Some(prepared?),
                    () = shutdown.requested() => {
                        return Err(gatemq_gateway::StartError::Unprepared.into());
                    }
                }
            }
            false => None,
        };
        #[cfg(feature = "bridge")]
        let prepared_bridge = match tiers.bridge {
            true => Some(bridge::Prepared::new(config, tracer).await?),
            false => None,
        };
        let mut cluster = match config.is_clustered() {
            true => Some(Cluster::start(config, tiers, http, prepared.as_ref(), &shutdown).await?),
            false => None,
        };
        let credentials = cluster.as_ref().and_then(Cluster::credentials);
        if let Some(credentials) = credentials {
            metrics.register_collector(Box::new(ExpiryMetric(credentials.clone())));
        }
        if let Some(control_plane) = cluster.as_ref().and_then(Cluster::control_plane) {
            let shown = ControlPlaneMetrics::new(control_plane.consensus());
            metrics.register_collector(Box::new(shown));
        }
        let gateway = match prepared {
            Some(prepared) => {
                let told = cluster.as_ref().map(|cluster| cluster.gateway(config));
                let shutdown = shutdown.child();
                let starting = prepared.start(told, &mut metrics, &shutdown);
                Some(unless_refused(cluster.as_ref(), starting).await?)
            }
            None => None,
        };
        #[cfg(feature = "bridge")]
        let bridge = match (prepared_bridge, &cluster) {
            (Some(prepared), Some(cluster)) => {
                let told = cluster.bridge(config);
                let starting = prepared.start(told, &mut metrics, &shutdown);
                Some(unless_refused(Some(cluster), starting).await?)
            }
            _ => None,
        };
        let id = gateway.as_ref().and_then(Gateway::cluster_id);
        #[cfg(feature = "bridge")]
        let id = id.or_else(|| bridge.as_ref().map(bridge::Running::cluster_id));
        if let (Some(cluster), Some(id)) = (&mut cluster, id) {
            cluster.tell_cluster_id(&id).await;
        }
        if let Some(admin) = &admin {
            let mut shown = admin::metrics(metrics);
            if let Some(gateway) = &gateway {
                shown = shown.merge(gateway.http_routes());
                admin.ask(gateway.hindrance());
            }
            #[cfg(feature = "bridge")]
            if let Some(bridge) = &bridge {
                admin.ask(bridge.hindrance());
            }
            if let Some(control_plane) = cluster.as_ref().and_then(Cluster::control_plane) {
                // Of a process where clients come, too, the gateway is asked, and was asked first.
                let consensus = control_plane.consensus().clone();
                admin.ask(move || consensus.hindrance());
            }
            let mut api = None;
            if let Some(cluster) = &cluster {
                shown = shown.merge(crate::http::routes(config, cluster));
                api = crate::http::api(config, cluster).map_err(StartError::Api)?;
            }
            if api.is_none() {
                let members = cluster.as_ref().map(Cluster::members);
                shown = shown.merge(crate::http::absent::routes(members));
            }
            let routes = crate::http::shown(config, shown).map_err(StartError::Api)?;
            admin.show(routes.merge(api.unwrap_or_default()));
            admin.set_ready(!shutdown.is_requested());
        }
        let process = Self {
            shutdown,
            reload,
            admin,
            cluster,
            gateway,
            tracing,
            #[cfg(feature = "bridge")]
            bridge,
        };
        if process.shutdown.is_requested() {
            return Ok(process); // it was told to end while it started
        }
        if let Some(cluster) = &process.cluster {
            cluster.end_when_refused();
        }
        // A control plane alone keeps no sessions.
        let storage = tiers.gateway.then(|| config.storage.way.name());
        let (node, version) = (&config.node_name, env!("CARGO_PKG_VERSION"));
        tracing::info!(node, version, storage, "ready");
        Ok(process)
    }

    /// Says where it listens; whoever started it reads that. Where there are several nodes in the
    /// process each line begins with the node's name.
    fn announce(&self, node: Option<&str>) {
        let node = node.map_or_else(String::new, |name| format!("{name}: "));
        let listening = |what: &str, address: &dyn std::fmt::Display| {
            say(&format!("{node}listening: {what} {address}\n"));
        };
        for (name, address) in self.cluster.iter().flat_map(Cluster::listening) {
            listening(name, address);
        }
        if let Some(gateway) = &self.gateway {
            if let Some(address) = gateway.peer_address() {
                listening("grpc", &address);
            }
            for (transport, address) in gateway.listening() {
                listening(transport.name(), &address);
            }
        }
        #[cfg(feature = "bridge")]
        if let Some(bridge) = &self.bridge {
            listening("grpc", &bridge.address());
        }
        if let Some(admin) = &self.admin {
            listening("http", &admin.address());
        }
        say(&format!("{node}ready\n"));
    }

    /// Returns why, if it is to end because it was removed.
    async fn until_asked_to_end(&mut self) -> Option<crate::cluster::StartError> {
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
                () = self.shutdown.requested() => return None,
                why = dismissed(self.cluster.as_ref()) => return Some(why),
                () = self.reload.requested() => {
                    tracing::info!(
                        "SIGHUP: certificates, users, rules and bans are read again; the configuration \
                         itself, API tokens among it, holds until a restart"
                    );
                    let cluster = self.cluster.as_ref();
                    if let Some(credentials) = cluster.and_then(Cluster::credentials) {
                        credentials.reload();
                    }
                    if let Some(gateway) = &self.gateway {
                        gateway.reload().await;
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
        #[cfg(feature = "bridge")]
        if let Some(bridge) = self.bridge {
            let members = self.cluster.as_ref().map(Cluster::members);
            let others_go_on = members.is_some_and(|it| bridge::is_one_before(&it.borrow()));
            bridge.stop(others_go_on, grace).await;
        }
        if let Some(cluster) = self.cluster {
            cluster.stop(grace).await;
        }
        if let Some(tracing) = self.tracing {
            tracing.stop(grace).await;
        }
        // Answers to the end: health checks see "not ready", never "gone".
        drop(self.admin);
        tracing::info!("stopped");
    }
}

/// Waits until the control plane of this process was removed; else for ever.
async fn dismissed(cluster: Option<&Cluster>) -> crate::cluster::StartError {
    match cluster {
        Some(cluster) => cluster.dismissed().await,
        None => std::future::pending().await,
    }
}

/// Starts something, unless the cluster refuses its node meanwhile.
async fn unless_refused<T, E: Into<StartError>>(
    cluster: Option<&Cluster>,
    starting: impl Future<Output = Result<T, E>>,
) -> Result<T, StartError> {
    let Some(cluster) = cluster else {
        return starting.await.map_err(Into::into);
    };
    tokio::select! {
        started = starting => started.map_err(Into::into),
        refused = cluster.refused() => Err(refused.into()),
    }
}

async fn prepare_gateway(
    config: &Config,
    gateway: gateway::Config,
    waiting: admin::Waiting,
) -> Result<Prepared, StartError> {
    let storage = match config.storage.way {
        StorageWay::Redis => {
            let redis = config.to_redis().map_err(StartError::Redis)?;
            Storage::Redis(Box::new(redis))
        }
        StorageWay::Engine(way) => {
            let engine = gatemq_storage::open(way, &PathBuf::from(&config.data_dir))?;
            Storage::Engine(engine)
        }
    };
    Ok(Gateway::prepare(gateway, storage, waiting).await?)
}

/// Makes the folder of the data, if any is to be kept in it.
fn make_folder(config: &Config) -> Result<(), StartError> {
    let keeps_nothing = config.storage.way == StorageWay::Engine(gatemq_storage::Way::Memory);
    if keeps_nothing && !config.is_clustered() {
        return Ok(());
    }
    std::fs::create_dir_all(&config.data_dir)
        .map_err(|error| StartError::Folder(config.data_dir.clone(), error))
}

fn admin(config: &Config) -> Result<Option<Admin>, StartError> {
    let Some(address) = config.http.0 else {
        return Ok(None);
    };
    let bound = Bound::bind(address).map_err(|error| StartError::Http { address, error })?;
    Ok(Some(bound.serve()?))
}
