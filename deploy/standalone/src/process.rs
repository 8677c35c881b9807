//! The composition: what is started, in which order, and the reverse.

use crate::config::Config;
use crate::say;
use gatemq_gateway::{Gateway, config as gateway};
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
    gateway: Gateway,
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
    /// The data cannot be opened.
    #[error(transparent)]
    Storage(#[from] gatemq_storage::Error),
    /// The gateway cannot start.
    #[error(transparent)]
    Gateway(#[from] gatemq_gateway::StartError),
}

/// Starts everything, waits for a signal, stops everything.
pub async fn run(config: &Config, gateway: gateway::Config) -> Result<(), StartError> {
    let mut process = Process::start(config, gateway).await?;
    process.until_asked_to_end().await;
    process.stop(config.grace.duration()).await;
    Ok(())
}

impl Process {
    async fn start(config: &Config, gateway: gateway::Config) -> Result<Self, StartError> {
        let shutdown = Shutdown::new();
        let reload = shutdown.on_signals()?;
        raise_file_limit().map_or_else(
            |error| tracing::warn!(%error, "the limit of open files stays as it is"),
            |limit| tracing::debug!(limit, "open files"),
        );
        let admin = admin(config)?;
        let engine = gatemq_storage::open(config.storage.way.0, &PathBuf::from(&config.data_dir))?;
        let mut metrics = Registry::default();
        metrics.register_collector(Box::new(ProcessMetrics));
        let gateway = Gateway::start(gateway, engine, &mut metrics, &shutdown.child()).await?;
        if let Some(admin) = &admin {
            admin.show(metrics, gateway.http_routes());
            admin.set_ready(!shutdown.is_requested());
        }
        let process = Self {
            shutdown,
            reload,
            admin,
            gateway,
        };
        if process.shutdown.is_requested() {
            return Ok(process); // it was told to end while it started
        }
        tracing::info!(
            node = config.node_name,
            version = env!("CARGO_PKG_VERSION"),
            storage = %config.storage.way.0,
            "ready"
        );
        process.announce();
        Ok(process)
    }

    /// Says where it listens; whoever started it reads that.
    fn announce(&self) {
        for (transport, address) in self.gateway.listening() {
            say(&format!("listening: {} {address}\n", transport.name()));
        }
        if let Some(admin) = &self.admin {
            say(&format!("listening: http {}\n", admin.address()));
        }
        say("ready\n");
    }

    async fn until_asked_to_end(&mut self) {
        loop {
            tokio::select! {
                () = self.shutdown.requested() => return,
                () = self.reload.requested() => self.gateway.reload_tls(),
            }
        }
    }

    /// The reverse of the start, within `grace`.
    async fn stop(self, grace: Duration) {
        if let Some(admin) = &self.admin {
            admin.set_ready(false);
        }
        self.gateway.stop(grace).await;
        // Answers to the end: health checks see "not ready", never "gone".
        drop(self.admin);
        tracing::info!("stopped");
    }
}

fn admin(config: &Config) -> Result<Option<Admin>, StartError> {
    let Some(address) = config.http.0 else {
        return Ok(None);
    };
    let bound = Bound::bind(address).map_err(|error| StartError::Http { address, error })?;
    Ok(Some(bound.serve()?))
}
