//! How a node of the control plane starts: who it is, first; then Raft and the tasks around it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use gatemq_node::{Shutdown, fatal};
use gatemq_proto::cluster::state::ControlNode;
use gatemq_storage::Engine;
use openraft::StorageHelper;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::announcing::{addresses, announce};
use super::channels::Channels;
use super::config::Config;
use super::controller::{Controller, Known};
use super::joining::{Joining, NotJoined};
use super::leadership::{Leadership, Observer};
use super::machine::{Applied, Machine};
use super::network::Network;
use super::places::Ways;
use super::quorum::Quorum;
use super::raft::{Node, Raft};
use super::silence::Silence;
use super::store::{Identity, Opened, Store, Unreadable};
use super::{Consensus, Inner};
use crate::hex::hex;
use crate::state::FOUNDER;

/// Why a node of the control plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What it has on disk does not make sense.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The store failed while it was being opened or written.
    #[error("the control plane's store is closed")]
    Store,
    /// A quorum of an even number is no better than that of one less.
    #[error("a control plane has 1, 3, 5 or 7 voters, not {0}")]
    ControlSize(u32),
    /// The configuration makes no sense.
    #[error("{0}")]
    Config(&'static str),
    /// Another node is of a cluster already.
    #[error(
        "there is a cluster already ({id}, known to {address}): start without bootstrap to join it"
    )]
    Founded {
        /// The cluster.
        id: String,
        /// Who says so.
        address: String,
    },
    /// The control plane does not let it join.
    #[error("the control plane refuses this node: {0}")]
    Refused(String),
    /// The data belong to a node of another name.
    #[error("the data directory belongs to {stored}, not to {configured}")]
    OtherName {
        /// The name of the node whose data they are.
        stored: String,
        /// The name in the configuration.
        configured: String,
    },
    /// Raft does not start.
    #[error("raft does not start: {0}")]
    Raft(String),
    /// It was stopped before it had started.
    #[error("stopped while waiting to join the control plane")]
    Stopped,
}

/// Requests to the controller that wait.
const REQUESTS: usize = 16;

// === impl Consensus ===

impl Consensus {
    /// Starts a node of the control plane; ends when it has a number in a cluster, which may take
    /// until another node is there to ask.
    ///
    /// `known_control_nodes` has the addresses that gossip knows. `listener` hears of all that is
    /// applied, beginning with what the disk has.
    ///
    /// # Errors
    ///
    /// See [`StartError`]: each is one line for the operator.
    pub async fn start(
        config: Config,
        engine: Arc<dyn Engine>,
        listener: impl Applied,
        known_control_nodes: watch::Receiver<Vec<String>>,
        shutdown: &Shutdown,
    ) -> Result<Self, StartError> {
        config.check()?;
        let of_raft = Arc::new(config.of_raft()?);
        let mut opened = open(engine).await?;
        let stop = shutdown.token();
        let channels = Arc::new(Channels::new(config.dialer.clone()));
        let mut joining = Joining {
            channels: Arc::clone(&channels),
            node: config.node(),
            known: known_control_nodes,
            remembered: Vec::new(),
        };
        let mut store = opened.store.clone();
        let mut machine = Machine::new(store.clone(), opened.snapshot.take(), listener);
        let current = machine.current();
        let mut stored = StorageHelper::new(&mut store, &mut machine);
        let membership = stored.get_membership().await.map_err(failed)?;
        joining.remembered = addresses(membership.effective().membership());
        let identity = identify(&config, &opened, &mut joining, &stop).await?;

        let tracker = TaskTracker::new();
        let (is_removed, _) = watch::channel(false);
        let (dismiss, dismissed) = watch::channel(false);
        let silence = Arc::new(Silence::default());
        let network = Network {
            silence: Arc::clone(&silence),
            confirmed: Arc::default(),
            cluster_id: identity.cluster_id.clone(),
            channels: Arc::clone(&channels),
            ways: Arc::new(Ways::new(config.places.clone())),
            tracker: tracker.clone(),
            is_removed: is_removed.clone(),
        };
        let raft = Raft::new(identity.number, of_raft, network, store.clone(), machine).await;
        let raft = raft.map_err(failed)?;
        if identity.is_founder {
            initialize(&raft, &config).await?;
        }

        let (leadership_sender, leadership) = watch::channel(Leadership::default());
        let quorum = Arc::new(Quorum::new());
        let (requests, received) = mpsc::channel(REQUESTS);
        let observer = Observer {
            raft: raft.clone(),
            number: identity.number,
            current: Arc::clone(&current),
            leadership: leadership_sender,
            places: config.places.clone(),
            quorum: Arc::clone(&quorum),
            is_removed,
            dismissed: dismiss.clone(),
        };
        let controller = Controller {
            raft: raft.clone(),
            identity: identity.clone(),
            node: config.node(),
            control_size: config.control_size,
            current: Arc::clone(&current),
            channels,
            places: config.places.clone(),
            leadership: leadership.clone(),
            interval: config.heartbeat * 2,
            settle: config.settle,
            patience: config.propose_timeout,
            known: Known::default(),
        };
        tracing::info!(
            number = identity.number,
            name = config.name,
            cluster = hex(&identity.cluster_id),
            revision = current.with(|state| state.revision()),
            "raft started"
        );
        let consensus = Self {
            inner: Arc::new(Inner {
                config,
                identity,
                raft,
                store,
                current,
                leadership,
                quorum,
                silence,
                heard: Arc::default(),
                dismissed,
                requests,
                tracker: tracker.clone(),
            }),
        };
        tracker.spawn(observer.run(stop.clone()));
        tracker.spawn(controller.run(received, stop.clone()));
        tracker.spawn(announce(consensus.clone(), joining, dismiss, stop.clone()));
        tracker.spawn(end(
            consensus.inner.raft.clone(),
            consensus.inner.store.clone(),
            stop,
        ));
        tracker.close();
        Ok(consensus)
    }
}

impl Config {
    fn node(&self) -> ControlNode {
        ControlNode {
            name: self.name.clone(),
            address: self.address.clone(),
            version: self.version.clone(),
        }
    }
}

// === who the node is ===

async fn open(engine: Arc<dyn Engine>) -> Result<Opened, StartError> {
    let on_failure = |error| {
        // After a failed sync nothing is known of what is on the disk: a vote or an entry that is
        // reported now could be a lie.
        let why = format!("the control plane's store failed: {error}");
        fatal::end(fatal::STORE_FAILED, &why)
    };
    let opened = tokio::task::spawn_blocking(move || Store::open(engine, on_failure)).await;
    Ok(opened.map_err(|_| StartError::Store)??)
}

/// Finds out who the node is, and stores it before it takes part in anything.
async fn identify(
    config: &Config,
    opened: &Opened,
    joining: &mut Joining,
    stop: &CancellationToken,
) -> Result<Identity, StartError> {
    if let Some(identity) = &opened.identity {
        if identity.name != config.name {
            return Err(StartError::OtherName {
                stored: identity.name.clone(),
                configured: config.name.clone(),
            });
        }
        if config.bootstrap {
            tracing::info!("bootstrap is left out: this node is of a cluster already");
        }
        if let Some(refusal) = joining.present(identity).await {
            return Err(StartError::Refused(refusal));
        }
        return Ok(identity.clone());
    }
    let identity = if config.bootstrap {
        if let Some((id, address)) = joining.find_cluster().await {
            let id = hex(&id);
            return Err(StartError::Founded { id, address });
        }
        Identity {
            cluster_id: new_cluster_id(),
            number: FOUNDER,
            name: config.name.clone(),
            is_founder: true,
        }
    } else {
        let asked = joining.ask_for_number(stop).await;
        asked.map_err(|error| match error {
            NotJoined::Refused(refusal) => StartError::Refused(refusal),
            NotJoined::Stopped => StartError::Stopped,
        })?
    };
    let saved = opened.store.save_identity(&identity).await;
    saved.map_err(|_| StartError::Store)?;
    if !identity.is_founder {
        let (number, name) = (identity.number, &config.name);
        tracing::info!(
            number,
            name,
            cluster = hex(&identity.cluster_id),
            "raft joined"
        );
    }
    Ok(identity)
}

/// 16 bytes that no other cluster has: the hasher's keys come from the system's randomness.
fn new_cluster_id() -> Bytes {
    let half = || {
        let mut hasher = std::hash::RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        hasher.finish().to_be_bytes()
    };
    [half(), half()].concat().into()
}

/// The first entry of the first log, if it is not there yet.
async fn initialize(raft: &Raft, config: &Config) -> Result<(), StartError> {
    if raft.is_initialized().await.map_err(failed)? {
        return Ok(());
    }
    let node = Node {
        name: config.name.clone(),
        address: config.address.clone(),
    };
    let initialized = raft.initialize(BTreeMap::from([(FOUNDER, node)])).await;
    initialized.map_err(failed)
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn failed(error: impl ToString) -> StartError {
    StartError::Raft(error.to_string())
}

// === tasks ===

/// Stops Raft, then the store behind it.
async fn end(raft: Raft, store: Store, stop: CancellationToken) {
    stop.cancelled().await;
    if let Err(error) = raft.shutdown().await {
        tracing::warn!(%error, "raft did not stop in order");
    }
    // Waits for the last commit, on a thread that may.
    let closed = tokio::task::spawn_blocking(move || store.close()).await;
    if closed.is_err() {
        tracing::warn!("the control plane's store did not close in order");
    }
    tracing::debug!("raft stopped");
}
