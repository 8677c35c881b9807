//! The bridge as a member of the cluster: gateways learn from the control plane which filters its rules
//! have, and send what matches; a message is answered when it is as safe as its rule says.
//!
//! In reading order: `line` keeps it a member, `gateways` and `settings` are what it hears there, `offer`
//! goes by the rules that the cluster sets, and `announcement` is what the control plane is told of their
//! filters. [`inbound`] takes what gateways send, `inquiry` what an operator asks. What comes behind that is
//! [`crate::reception`]; what goes to gateways is [`crate::outbound`].

mod announcement;
mod gateways;
pub mod inbound;
mod inquiry;
mod line;
mod offer;
mod settings;

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gatemq_node::admin::Hindrance;
use gatemq_node::credentials::{Dialer, Guard, Incoming, Role, Whom};
use gatemq_proto::cluster::callers::callers;
use gatemq_router::peer::{self, Dial, Dialing};
pub use gatemq_router::peer::{Door, Metrics};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::{Channel, Endpoint};

use crate::Bridge;
use crate::outbound::Outbound;
use crate::rules::Rules;
use announcement::Announcement;
use gateways::Gateways;
use inbound::Inbound;
use offer::{Force, Offer};
use settings::{Settings, Texts};

/// What a bridge is told of its cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name: one of its kind in the cluster.
    pub name: String,
    /// Where nodes of the control plane are, `host:port`, as gossip finds them.
    pub control: watch::Receiver<Vec<String>>,
    /// Where this node's HTTP is, for others; may be empty.
    pub http_address: String,
    /// Who this node is to others, and the way to them.
    pub dialer: Dialer,
    /// The version of the program.
    pub version: String,
}

/// Why a bridge does not become part of its cluster.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The address for gateways cannot be used.
    #[error(transparent)]
    Bind(#[from] peer::BindError),
    /// It cannot go by a rule that the cluster has set.
    #[error("{0}")]
    Unfit(String),
    /// The control plane does not take it in.
    #[error("the control plane refuses this bridge: {0}")]
    Refused(String),
    /// The end was asked for meanwhile.
    #[error("it was told to stop while it joined")]
    Stopped,
}

/// A running member.
#[derive(Debug)]
pub struct Member {
    shared: Arc<Shared>,
    bridge: Arc<Bridge>,
    inbound: Arc<Inbound>,
    tasks: TaskTracker,
}

/// What the parts of a member share.
#[derive(Debug)]
struct Shared {
    config: Config,
    /// Where gateways reach it.
    address: String,
    /// Chosen at random by the process, so that a repeated registration changes nothing.
    token: u64,
    cluster_id: OnceLock<Bytes>,
    /// 0 while it has none.
    incarnation: Arc<AtomicU64>,
    told: Mutex<line::Told>,
    /// The first incarnation that it had.
    first: OnceLock<u64>,
    gateways: Mutex<Gateways>,
    settings: Mutex<Settings>,
    /// The rules that the cluster has set, and since which revision, once that is known.
    rules: watch::Sender<Option<(Texts, u64)>>,
    /// What follows from them, once that is known.
    offer: watch::Sender<Option<Offer>>,
    announcement: Mutex<Announcement>,
    force: Mutex<Force>,
    /// Where gateways are.
    addresses: watch::Sender<Vec<String>>,
    /// Whether it can go by its rules: it takes nothing otherwise. Only [`offer`] says so, whatever
    /// becomes of the line to the control plane.
    is_fit: watch::Sender<bool>,
    /// Whether its filters are announced; and why it can be no member, if it cannot.
    standing: watch::Sender<Standing>,
    /// It leaves: whatever has become of it is not repaired.
    is_leaving: CancellationToken,
    /// It has left.
    end: CancellationToken,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Joining,
    /// Gateways are told of all its filters.
    Announced,
    Refused(String),
    /// It cannot go by a rule that the cluster has set.
    Unfit(String),
}

/// Connects to nodes of the control plane.
#[derive(Clone, Debug)]
struct ToControl(Dialer);

/// How long another node may say nothing before its streams count as broken.
const SILENCE: Duration = Duration::from_secs(3);

// === impl Member ===

impl Member {
    /// Joins, and returns when the control plane has agreed on the filters: whatever is published
    /// later and matches comes here, or is not acknowledged.
    ///
    /// # Errors
    ///
    /// The cluster does not take it, or `stop` was asked for meanwhile.
    pub async fn join(
        config: Config,
        door: Door,
        rules: Arc<Rules>,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Result<Self, JoinError> {
        let bridge = Arc::clone(rules.bridge());
        let mut token = [0; 8];
        // Without randomness it is one that no other process has at this time.
        if getrandom::fill(&mut token).is_err() {
            token = u64::from(std::process::id()).to_be_bytes();
        }
        let (address, token) = (door.address.clone(), u64::from_be_bytes(token));
        let shared = Arc::new(Shared::new(config, address, token));
        let is_fit = shared.is_fit.subscribe();
        let inbound = Inbound::new(bridge.clone(), is_fit, shared.is_leaving.clone());
        let member = Self {
            shared: shared.clone(),
            bridge,
            inbound: Arc::new(inbound),
            tasks: TaskTracker::new(),
        };
        let joining = async {
            line::find_cluster(&shared).await?;
            member.serve(door.into_listener(), rules.clone(), metrics);
            member.tasks.spawn(offer::run(shared.clone(), rules));
            member.tasks.spawn(line::run(shared.clone()));
            member.announced().await
        };
        let joined = tokio::select! {
            joined = joining => joined,
            () = stop.cancelled() => Err(JoinError::Stopped),
        };
        if joined.is_err() {
            shared.end.cancel();
        }
        joined.map(|()| member)
    }

    /// The cluster's id.
    #[must_use]
    pub fn cluster_id(&self) -> Bytes {
        self.shared.cluster_id.get().cloned().unwrap_or_default()
    }

    /// The way to gateways, for what comes from elsewhere.
    #[must_use]
    pub fn outbound(&self) -> Outbound {
        let shared = &self.shared;
        Outbound::new(
            self.cluster_id(),
            shared.first.get().copied().unwrap_or_default(),
            shared.addresses.subscribe(),
            shared.config.dialer.clone(),
            self.tasks.clone(),
            shared.end.clone(),
        )
        .with_tracer(self.bridge.tracer())
    }

    /// Why it takes nothing just now, if that is so.
    pub fn hindrance(&self) -> impl Fn() -> Option<Hindrance> + Send + Sync + 'static + use<> {
        let standing = self.shared.standing.subscribe();
        move || {
            let (state, reason) = match &*standing.borrow() {
                Standing::Announced => return None,
                Standing::Joining => {
                    let reason = "the control plane does not know this bridge";
                    ("joining", reason.to_owned())
                }
                Standing::Refused(why) => ("refused", why.clone()),
                Standing::Unfit(why) => ("unfit", why.clone()),
            };
            let is_ready = false;
            Some(Hindrance {
                state,
                reason,
                is_ready,
            })
        }
    }

    /// Leaves: reads no further, finishes what it has, within this time; then others take over, and
    /// the filters of the last one stay.
    pub async fn leave(self, grace: Duration) {
        self.shared.is_leaving.cancel();
        if !self.bridge.drain(grace).await {
            tracing::warn!("some of what was taken is not in kafka yet");
        }
        let leaving = line::leave(&self.shared);
        if tokio::time::timeout(grace.min(Duration::from_secs(5)), leaving)
            .await
            .is_err()
        {
            tracing::warn!("the control plane was not told that this bridge leaves");
        }
        self.inbound.end();
        self.shared.end.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(grace, self.tasks.wait()).await;
    }

    async fn announced(&self) -> Result<(), JoinError> {
        let mut standing = self.shared.standing.subscribe();
        let settled = standing.wait_for(|it| *it != Standing::Joining).await;
        match settled.as_deref() {
            Ok(Standing::Refused(why)) => Err(JoinError::Refused(why.clone())),
            Ok(Standing::Unfit(why)) => Err(JoinError::Unfit(why.clone())),
            Ok(_) => Ok(()),
            Err(_) => Err(JoinError::Stopped),
        }
    }

    /// Takes streams of gateways.
    fn serve(&self, listener: TcpListener, rules: Arc<Rules>, metrics: Metrics) {
        let own = self.shared.incarnation.clone();
        let identity = peer::Identity {
            cluster_id: self.shared.cluster_id.get().cloned().unwrap_or_default(),
            incarnation: Arc::new(move || own.load(Ordering::Acquire)),
        };
        let service = peer::service(
            identity,
            self.inbound.clone(),
            inbound::NoSessions,
            metrics,
            self.tasks.clone(),
            self.shared.end.clone(),
        );
        let incoming = Incoming::new(listener, self.shared.config.dialer.credentials());
        let (stop, end) = (self.shared.end.clone(), self.shared.end.clone());
        let server: tonic::transport::Server = tonic::transport::Server::builder();
        let serving = peer::tune(server, SILENCE)
            .layer(Guard::new(callers))
            .add_service(service)
            .add_service(inquiry::service(self.shared.clone(), rules))
            .serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
        self.tasks.spawn(async move {
            let served = serving.await;
            if !end.is_cancelled() {
                let why = format!("the server for gateways ended: {served:?}");
                gatemq_node::fatal::end(gatemq_node::fatal::TASK_PANICKED, &why);
            }
        });
    }
}

// === impl Shared ===

impl Shared {
    /// What a process of this token, which gateways reach at this address, knows at its start.
    fn new(config: Config, address: String, token: u64) -> Self {
        Self {
            config,
            address,
            token,
            cluster_id: OnceLock::new(),
            incarnation: Arc::default(),
            told: Mutex::default(),
            first: OnceLock::new(),
            gateways: Mutex::default(),
            settings: Mutex::default(),
            rules: watch::Sender::new(None),
            offer: watch::Sender::new(None),
            announcement: Mutex::default(),
            force: Mutex::default(),
            addresses: watch::Sender::new(Vec::new()),
            is_fit: watch::Sender::new(true),
            standing: watch::Sender::new(Standing::Joining),
            is_leaving: CancellationToken::new(),
            end: CancellationToken::new(),
        }
    }

    fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    /// The revision of the rules that are in force; 0 for none.
    fn in_force(&self) -> u64 {
        self.force.lock().revision()
    }
}

// === impl ToControl ===

impl Dial for ToControl {
    fn connect<'a>(&'a self, endpoint: &'a Endpoint) -> Dialing<'a> {
        Box::pin(async { self.0.connect(endpoint, &Whom::any(Role::Control)).await })
    }

    fn connect_lazy(&self, endpoint: &Endpoint) -> Channel {
        self.0.connect_lazy(endpoint, &Whom::any(Role::Control))
    }
}

impl fmt::Debug for Bridge {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Bridge").finish_non_exhaustive()
    }
}
