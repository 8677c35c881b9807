//! A node of the control plane, from start to stop: Raft, the service for gateways, and what the
//! leader does by itself.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gatemq_node::Shutdown;
use gatemq_node::credentials::{Credentials, Dialer, Guard, Incoming};
use gatemq_proto::cluster::callers::callers;
use gatemq_proto::cluster::state::Command;
use gatemq_storage::Engine;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api;
use crate::consensus::{self, Consensus};
use crate::dealer;
use crate::feed::{Bounds, Feed};
use crate::pruning;
use crate::removals;
use crate::replica::{Listener, Node};
use crate::service::{self, Service};

/// What a node of the control plane is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// About Raft.
    pub consensus: consensus::Config,
    /// About the service.
    pub service: service::Config,
    /// How much the feed keeps for gateways that come back.
    pub feed: Bounds,
    /// Who this node is to others; without it connections between nodes are plain.
    pub credentials: Option<Arc<Credentials>>,
}

/// The socket of a node, bound and not listening yet: until the node can answer, others are told
/// at once that it cannot.
#[derive(Debug)]
pub struct Door {
    socket: TcpSocket,
    address: SocketAddr,
}

/// A running node.
pub struct ControlPlane {
    consensus: Consensus,
    service: Service<Node>,
    dialer: Dialer,
    removed: watch::Receiver<BTreeSet<String>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its address cannot be had.
    #[error(
        "the control plane cannot listen on {address}: {error}: stop who does, or choose another with --raft-port"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// Raft does not start.
    #[error(transparent)]
    Consensus(#[from] consensus::StartError),
}

/// How often the leader looks whether something has to be dealt out.
const DEAL: Duration = Duration::from_millis(200);
/// Connections that wait to be taken.
const BACKLOG: u32 = 1024;
/// Calls of one connection at the same time; more wait at the caller. Without a number whoever
/// connects could open as many as it likes, and each costs memory.
const MAX_STREAMS: u32 = 256;

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlPlane").finish_non_exhaustive()
    }
}

impl Door {
    /// Binds the socket.
    ///
    /// # Errors
    ///
    /// If the address cannot be had.
    pub fn bind(address: SocketAddr) -> Result<Self, StartError> {
        let bind = || {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        };
        bind().map_err(|error| StartError::Bind { address, error })
    }

    /// The address, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn listen(self) -> Result<TcpListener, StartError> {
        let address = self.address;
        let listening = self.socket.listen(BACKLOG);
        listening.map_err(|error| StartError::Bind { address, error })
    }
}

impl Config {
    /// The defaults, for a node of this name that others reach at this address.
    pub fn new(name: &str, address: &str) -> Self {
        Self {
            consensus: consensus::Config::new(name, address),
            service: service::Config::default(),
            feed: Bounds::default(),
            credentials: None,
        }
    }
}

impl ControlPlane {
    /// Starts the node, and returns when it is part of a cluster: see [`Consensus::start`].
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start(
        mut config: Config,
        door: Door,
        engine: Arc<dyn Engine>,
        known: watch::Receiver<Vec<String>>,
        shutdown: &Shutdown,
    ) -> Result<Self, StartError> {
        let (tasks, stop) = (TaskTracker::new(), shutdown.token().child_token());
        let dialer = Dialer::new(config.credentials.clone());
        config.consensus.dialer = dialer.clone();
        let feed = Feed::new(config.feed, 0);
        let listener = Listener(feed.clone());
        let starting = Consensus::start(config.consensus, engine, listener, known, shutdown);
        let consensus = starting.await?;
        let node = Arc::new(Node::start(consensus.clone(), &tasks, &stop));
        let (sender, removed) = watch::channel(BTreeSet::new());
        let follow = removals::follow(consensus.clone(), feed.clone(), sender);
        tasks.spawn(stop.clone().run_until_cancelled_owned(follow));
        let (way, tracker, token) = (dialer.clone(), tasks.clone(), stop.clone());
        let service = Service::start(config.service, way, node, feed, tracker, token);
        let incoming = Incoming::new(door.listen()?, config.credentials);
        let server = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(1)))
            .http2_keepalive_timeout(Some(Duration::from_secs(3)))
            .max_concurrent_streams(MAX_STREAMS)
            .layer(Guard::new(callers))
            .add_service(consensus.raft_service())
            .add_service(service.server())
            .add_service(api::office::service(&consensus))
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        tasks.spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the server of the control plane ended");
            }
        });
        tasks.spawn(deal(consensus.clone(), service.clone(), stop.clone()));
        tasks.spawn(pruning::run(
            consensus.clone(),
            service.clone(),
            stop.clone(),
        ));
        Ok(Self {
            consensus,
            service,
            dialer,
            removed,
            tasks,
            stop,
        })
    }

    /// Raft and the state.
    pub fn consensus(&self) -> &Consensus {
        &self.consensus
    }

    /// The service for gateways.
    pub fn service(&self) -> &Service<Node> {
        &self.service
    }

    /// Waits until this node is told that it was removed; else for ever.
    pub async fn dismissed(&self) -> StartError {
        self.consensus.dismissed().await.into()
    }

    /// How this node connects to others.
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// The names of those that operators have removed since this node started.
    pub fn removed(&self) -> watch::Receiver<BTreeSet<String>> {
        self.removed.clone()
    }

    /// Stops: streams end, and Raft does; at most so long.
    pub async fn stop(self, grace: Duration) {
        self.stop.cancel();
        self.tasks.close();
        let ending = async {
            self.tasks.wait().await;
            self.consensus.stopped().await;
        };
        if tokio::time::timeout(grace, ending).await.is_err() {
            tracing::warn!("the control plane did not end in time");
        }
    }
}

/// Deals out the sessions of gateways that are gone, while this node leads.
async fn deal(consensus: Consensus, service: Service<Node>, stop: CancellationToken) {
    let due = || {
        let leased = service.attendants();
        let is_leased = |incarnation| leased.iter().any(|one| one.incarnation == incarnation);
        dealer::deal(&consensus.state(), is_leased)
    };
    propose_while_leading(DEAL, due, &consensus, &service, stop).await;
}

/// Proposes what is due, again and again while this node leads. What cannot be proposed is due the next
/// time.
pub(crate) async fn propose_while_leading(
    every: Duration,
    due: impl Fn() -> Vec<Command>,
    consensus: &Consensus,
    service: &Service<Node>,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        if !consensus.leadership().borrow().is_self {
            continue;
        }
        for command in due() {
            if let Err(status) = service.propose(command).await {
                tracing::debug!(%status, "what is due is not agreed on yet");
                break;
            }
        }
    }
}
