//! This process as a node of a cluster: gossip, the control plane if it has one, and what the
//! gateway is told of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gatemq_control_plane::api::Join;
use gatemq_control_plane::consensus::{Places, Unreadable, stored_cluster};
use gatemq_control_plane::{self as control_plane, ControlPlane, Door};
use gatemq_gateway::{ClusterConfig, Prepared, StrayStore};
use gatemq_node::Shutdown;
use gatemq_node::credentials::{Credentials, Dialer, expiry};
use gatemq_node::membership::{self, ClusterId, Joined, Key, Member, Membership, Meta, Roles};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::Tiers;
use crate::config::Config;
use crate::founding::look_around;

/// What runs of a cluster in this process, besides the gateway.
///
/// It ends when it is stopped, not with the signal: the gateway takes leave of its clients and of
/// the others through it.
pub struct Cluster {
    ends: Shutdown,
    membership: Membership,
    control_plane: Option<ControlPlane>,
    addresses: watch::Receiver<Vec<String>>,
    tasks: TaskTracker,
    meta: Meta,
    credentials: Option<Arc<Credentials>>,
    listening: Vec<(&'static str, SocketAddr)>,
}

/// Why this process does not become part of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificate or key for other nodes cannot be used.
    #[error("{}: {}", .0.key, .0.what)]
    Credentials(gatemq_node::config::Problem),
    /// Gossip does not start.
    #[error("gossip: {0}")]
    Gossip(#[from] membership::StartError),
    /// The cluster is not joined.
    #[error("the cluster is not joined: {0}")]
    Join(#[from] membership::JoinError),
    /// The control plane does not start.
    #[error(transparent)]
    ControlPlane(#[from] control_plane::StartError),
    /// Its data cannot be opened.
    #[error("{}", told(.0))]
    Storage(#[from] gatemq_storage::Error),
    /// The store is another cluster's.
    #[error(transparent)]
    Store(#[from] StrayStore),
    /// There is no folder for what is remembered of the members.
    #[error("{0} cannot be made: {1}: name another folder with --nodes-file-dir")]
    File(String, std::io::Error),
}

impl Cluster {
    /// Starts gossip and, where this process is to be part of it, the control plane; gives up if
    /// the end is asked for meanwhile. A cluster is begun only if the `gateway`'s store is free.
    pub async fn start(
        config: &Config,
        tiers: Tiers,
        http: Option<SocketAddr>,
        gateway: Option<&Prepared>,
        shutdown: &Shutdown,
    ) -> Result<Self, StartError> {
        let cluster = &config.cluster;
        let (tasks, ends) = (TaskTracker::new(), Shutdown::new());
        let credentials = config.credentials(tiers).map_err(StartError::Credentials)?;
        if let Some(credentials) = &credentials {
            let warn = expiry::warn_before(credentials.clone());
            tasks.spawn(ends.token().run_until_cancelled_owned(warn));
        }
        let door = match tiers.control {
            true => Some(Door::bind(cluster.raft())?),
            false => None,
        };
        let control_address = door.as_ref().map(|door| cluster.advertised(door.address()));
        let folder = match cluster.nodes_file_dir.is_empty() {
            true => PathBuf::from(&config.data_dir),
            false => PathBuf::from(&cluster.nodes_file_dir),
        };
        std::fs::create_dir_all(&folder)
            .map_err(|error| StartError::File(folder.display().to_string(), error))?;
        let engine = match tiers.control {
            true => {
                let path = PathBuf::from(&config.data_dir).join("control");
                Some(gatemq_storage::open(config.control_storage(), &path)?)
            }
            false => None,
        };
        let stored = engine.as_ref().and_then(|engine| stored_cluster(&**engine));
        let mut roles = Roles::default();
        if tiers.control {
            roles = roles | Roles::CONTROL;
        }
        if tiers.gateway {
            roles = roles | Roles::GATEWAY;
        }
        if tiers.bridge {
            roles = roles | Roles::BRIDGE;
        }
        let meta = Meta {
            roles,
            control_address: control_address.clone().unwrap_or_default(),
            http_address: http.map_or_else(String::new, |http| cluster.advertised(http)),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_id: stored
                .as_deref()
                .and_then(|id| id.try_into().ok())
                .map(ClusterId),
            ..Meta::default()
        };
        let mut gossip = membership::Config::new(&config.name(), cluster.gossip());
        gossip.seeds.clone_from(&cluster.members.0);
        gossip.keys = cluster
            .keys()
            .unwrap_or_default()
            .into_iter()
            .map(Key)
            .collect();
        let memory = folder.join(format!("{}-nodes.json", config.name()));
        gossip.memory = Some(memory.clone());
        gossip.advertise = cluster.advertised_gossip();
        let membership = Membership::start(gossip, meta.clone(), &ends, &tasks).await?;
        let mut listening = vec![("gossip", membership.address())];
        let (sender, addresses) = watch::channel(Vec::new());
        let (tell_places, places) = watch::channel(Arc::default());
        let (members, own) = (membership.watch(), control_address.clone());
        let follow = follow(members, own, sender, tell_places);
        tasks.spawn(ends.token().run_until_cancelled_owned(follow));
        if stored.is_none() && !cluster.raft_bootstrap {
            let warn = warn_if_alone(membership.clone(), cluster.members.0.join(", "));
            tasks.spawn(ends.token().run_until_cancelled_owned(warn));
        }
        // Told here, and not waited for: a first node has nobody to join.
        let refused = refused(membership.clone());
        let mut started = Self {
            ends: ends.clone(),
            membership,
            control_plane: None,
            addresses,
            tasks,
            meta,
            credentials: credentials.clone(),
            listening: Vec::new(),
        };
        if let (Some(door), Some(address), Some(engine)) = (door, control_address, engine) {
            listening.push(("raft", door.address()));
            let mut control = control_plane::Config::new(&config.name(), &address);
            control.consensus.version = env!("CARGO_PKG_VERSION").to_owned();
            control.consensus.control_size = cluster.control_size.get().unwrap_or(3);
            control.consensus.bootstrap = cluster.raft_bootstrap;
            control.consensus.places = Places::new(places);
            control.credentials = credentials.clone();
            let known = started.others();
            let membership = started.membership.clone();
            let founds = cluster.raft_bootstrap && stored.is_none();
            let (is_new, mut others) = (stored.is_none(), known.clone());
            let starting = async move {
                if founds {
                    look_around(&membership, &cluster.members.0, &memory)
                        .await
                        .map_err(control_plane::StartError::from)?;
                    if let Some(gateway) = gateway {
                        gateway.check_free().await?;
                    }
                } else if let (true, Some(gateway)) = (is_new, gateway) {
                    // The control plane would have a member that never comes.
                    let dialer = Dialer::new(credentials);
                    gateway.check_same(&mut others, &dialer).await?;
                }
                let control = ControlPlane::start(control, door, engine, known, &ends).await?;
                Ok::<_, StartError>(control)
            };
            let control = tokio::select! {
                control = starting => control?,
                refused = refused => return Err(refused.into()),
                () = shutdown.requested() => return Err(stopped().into()),
            };
            started
                .tell_cluster_id(control.consensus().cluster_id())
                .await;
            let forget = forget(started.membership.clone(), control.removed());
            let forget = started.ends.token().run_until_cancelled_owned(forget);
            started.tasks.spawn(forget);
            started.control_plane = Some(control);
        }
        started.listening = listening;
        Ok(started)
    }

    /// Waits until this node is told that it cannot be part of the cluster, or that its control
    /// plane was removed; else for ever. What is told while it starts ends the start.
    pub async fn refused(&self) -> StartError {
        tokio::select! {
            refused = refused(self.membership.clone()) => refused.into(),
            dismissed = self.dismissed() => dismissed,
        }
    }

    /// Waits until somebody has removed this node's control plane; else for ever.
    pub async fn dismissed(&self) -> StartError {
        match &self.control_plane {
            Some(control_plane) => control_plane.dismissed().await.into(),
            None => std::future::pending().await,
        }
    }

    /// From now on this process runs: what is told later ends it.
    pub fn end_when_refused(&self) {
        let refused = refused(self.membership.clone());
        let end = async move {
            let why = StartError::from(refused.await).to_string();
            gatemq_node::fatal::end(gatemq_node::fatal::NOT_JOINED, &why);
        };
        self.tasks
            .spawn(self.ends.token().run_until_cancelled_owned(end));
    }

    /// What the gateway of this process is told.
    pub fn gateway(&self, config: &Config) -> ClusterConfig {
        let cluster = &config.cluster;
        ClusterConfig {
            name: config.name(),
            control: self.addresses.clone(),
            http_address: self.meta.http_address.clone(),
            subscribe_timeout: cluster.subscribe_timeout.duration(),
            bridge_wait: cluster.bridge_wait.duration(),
            dialer: Dialer::new(self.credentials.clone()),
        }
    }

    /// What the bridge of this process is told.
    #[cfg(feature = "bridge")]
    pub fn bridge(&self, config: &Config) -> gatemq_bridge::cluster::Config {
        gatemq_bridge::cluster::Config {
            name: config.name(),
            control: self.addresses.clone(),
            http_address: self.meta.http_address.clone(),
            dialer: Dialer::new(self.credentials.clone()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Who this node is to others, if connections are not plain.
    pub fn credentials(&self) -> Option<&Arc<Credentials>> {
        self.credentials.as_ref()
    }

    /// Where it listens, by name.
    pub fn listening(&self) -> &[(&'static str, SocketAddr)] {
        &self.listening
    }

    /// The nodes that gossip knows.
    pub fn members(&self) -> watch::Receiver<Arc<[Member]>> {
        self.membership.watch()
    }

    /// The control plane of this process, if it has one.
    pub fn control_plane(&self) -> Option<&ControlPlane> {
        self.control_plane.as_ref()
    }

    /// Makes this node join another one when it is asked to.
    pub fn joiner(&self) -> Join {
        let membership = self.membership.clone();
        // Whoever asks may run elsewhere; what gossip opens belongs here.
        let runtime = tokio::runtime::Handle::current();
        Arc::new(move |address| {
            let membership = membership.clone();
            let joining = runtime.spawn(async move { membership.join(&address).await });
            Box::pin(async move {
                match joining.await {
                    Ok(Ok(address)) => Ok(address.to_string()),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("this node stops".to_owned()),
                }
            })
        })
    }

    /// Nodes of the control plane but for this one.
    fn others(&self) -> watch::Receiver<Vec<String>> {
        let own = self.meta.control_address.clone();
        let (sender, others) = watch::channel(Vec::new());
        let mut all = self.addresses.clone();
        self.tasks.spawn(async move {
            loop {
                let others = all.borrow_and_update().clone();
                let others = others.into_iter().filter(|address| *address != own);
                sender.send_replace(others.collect());
                if all.changed().await.is_err() {
                    return;
                }
            }
        });
        others
    }

    /// From now on others are told which cluster this node is part of, and who is of another one is
    /// none of its members.
    pub async fn tell_cluster_id(&mut self, id: &[u8]) {
        self.meta.cluster_id = id.try_into().ok().map(ClusterId);
        if let Err(error) = self.membership.update_meta(self.meta.clone()).await {
            tracing::warn!(%error, "the cluster's id is not gossiped");
        }
    }

    /// Leaves, and stops what runs here: the last thing of all.
    pub async fn stop(self, grace: Duration) {
        // Others hear that it leaves before they miss it.
        let leaving = Duration::from_secs(1).min(grace);
        self.membership.leave(leaving).await;
        self.ends.request();
        if let Some(control_plane) = self.control_plane {
            control_plane.stop(grace).await;
        }
        self.tasks.close();
        let _ = tokio::time::timeout(grace, self.tasks.wait()).await;
    }
}

fn stopped() -> control_plane::StartError {
    control_plane::consensus::StartError::Stopped.into()
}

/// Waits until this node is told that it cannot be part of the cluster; else for ever.
async fn refused(membership: Membership) -> membership::JoinError {
    match membership.joined().await {
        Err(error) if error != membership::JoinError::Stopped => error,
        _ => std::future::pending().await,
    }
}

/// A node that is of no cluster yet, and knows of no other node, waits until somebody calls it.
async fn warn_if_alone(membership: Membership, members: String) {
    if let Ok(Joined { through: None }) = membership.joined().await {
        tracing::warn!(
            members,
            "the members given are this node only, which has no cluster: name another node of the \
             cluster, or begin one with --raft-bootstrap on its first node"
        );
    }
}

/// Those that operators have removed are not remembered for the next start.
async fn forget(membership: Membership, mut removed: watch::Receiver<BTreeSet<String>>) {
    loop {
        membership.forget(removed.borrow_and_update().clone());
        if removed.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps the addresses of the control plane as gossip knows them, this process's own first, and by
/// the names of the nodes.
async fn follow(
    mut members: watch::Receiver<Arc<[Member]>>,
    own: Option<String>,
    sender: watch::Sender<Vec<String>>,
    places: watch::Sender<Arc<BTreeMap<String, String>>>,
) {
    loop {
        let known = members.borrow_and_update().clone();
        let by_name = Arc::new(places_of(&known));
        places.send_if_modified(|known| {
            let is_news = *known != by_name;
            *known = by_name;
            is_news
        });
        let metas = known.iter().filter_map(|member| member.meta.as_ref());
        let others = metas.map(|meta| &meta.control_address);
        let mut addresses: Vec<String> = own.iter().cloned().collect();
        for address in others.filter(|address| !address.is_empty()) {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        sender.send_if_modified(|known| {
            let is_news = *known != addresses;
            *known = addresses;
            is_news
        });
        if members.changed().await.is_err() {
            return;
        }
    }
}

/// Where the nodes of the control plane are, by name.
fn places_of(members: &[Member]) -> BTreeMap<String, String> {
    let places = members.iter().filter_map(|member| {
        let meta = member.meta.as_ref()?;
        let is_control = meta.roles.contains(Roles::CONTROL) && !meta.control_address.is_empty();
        is_control.then(|| (member.name.clone(), meta.control_address.clone()))
    });
    places.collect()
}

/// What a store says of itself. Where it has lost something, a backup or an empty directory in its
/// place is no help here: the others count on all that this node has confirmed.
fn told(error: &gatemq_storage::Error) -> String {
    use gatemq_storage::Error;
    let what = match error {
        Error::Corrupt { path, detail } => format!("{} is damaged ({detail})", path.display()),
        Error::Missing { path, .. } => format!("{} is missing", path.display()),
        other => return format!("the control plane's data: {other}"),
    };
    Unreadable::Data(what).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_lost_data_of_the_control_plane_is_told_to_join_anew() {
        let path = PathBuf::from("/data/control/gatemq.redb");
        let marker = PathBuf::from("/data/control/gatemq.engine");
        let detail = "no root".to_owned();
        let damaged = gatemq_storage::Error::Corrupt {
            path: path.clone(),
            detail,
        };
        let missing = gatemq_storage::Error::Missing { path, marker };
        for (error, what) in [(damaged, "is damaged (no root)"), (missing, "is missing")] {
            let told = StartError::from(error).to_string();
            assert!(
                told.contains(&format!("/data/control/gatemq.redb {what}. If")),
                "{told}"
            );
            assert!(told.contains("let it join anew"), "{told}");
            assert!(!told.contains("backup"), "{told}");
        }
    }
}
