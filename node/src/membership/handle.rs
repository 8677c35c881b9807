//! What a process holds of the gossip: who is there, what happened, and its own say.

use super::config::{BadConfig, Config, Key};
use super::gossip::Gossip;
use super::join::{self, JoinError, Joined, Phase, Search};
use super::member::{Event, Member};
use super::memory::{self, Memory};
use super::meta::{Meta, TooLong};
use crate::Shutdown;
use memberlist::proto::SecretKey;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// This node's part in the gossip. Cheap to clone; it goes on until [`Membership::leave`], or until
/// the end is asked for, and not with the last handle.
#[derive(Clone)]
pub struct Membership(Arc<Inner>);

struct Inner {
    gossip: Arc<Gossip>,
    phase: watch::Receiver<Phase>,
    token: u64,
    /// Where members of an earlier life of this node were.
    remembered: Vec<SocketAddr>,
    /// Names of those that are not to be remembered.
    removed: watch::Sender<BTreeSet<String>>,
    /// Ends all tasks, and then the gossip.
    stop: CancellationToken,
    ended: CancellationToken,
}

/// Why gossip cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] BadConfig),
    /// Its sockets cannot be bound, or no address can be told to others.
    #[error("gossip cannot start on {0}: {1}")]
    Gossip(SocketAddr, String),
}

/// Why a key cannot be used or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not there.
    #[error("this key is not installed: install it first, on every node")]
    Unknown,
    /// Gossip is written with it.
    #[error("gossip is encrypted with this key: use another one first, on every node")]
    Primary,
    /// There are too many.
    #[error("there are 16 keys: remove one that nobody uses")]
    TooMany,
}

impl Membership {
    /// Binds the sockets and begins to look for the cluster; [`joined`](Self::joined) tells what
    /// came of that. When `shutdown` is requested, the node leaves by itself, for 2 s at most;
    /// whoever wants to leave later or sooner asks for that by [`leave`](Self::leave).
    ///
    /// # Errors
    ///
    /// If the configuration, or what the node is to say of itself, cannot work; and if the sockets
    /// cannot be bound.
    pub async fn start(
        config: Config,
        mut meta: Meta,
        shutdown: &Shutdown,
        tasks: &TaskTracker,
    ) -> Result<Self, StartError> {
        config.check()?;
        meta.token = new_token();
        meta.encode().map_err(BadConfig::Meta)?;
        let token = meta.token;
        let (contested, contests) = mpsc::channel(N_CONTESTS);
        let gossip = Arc::new(Gossip::start(&config, meta, contested).await?);
        let remembered = match &config.memory {
            None => Memory::default(),
            Some(path) => memory::load(path).await,
        };
        let address = gossip.address;
        let is_encrypted = !config.keys.is_empty();
        tracing::info!(name = %config.name, %address, is_encrypted, "gossip started");

        let phase = watch::Sender::new(Phase::Searching);
        let inner = Inner {
            gossip: gossip.clone(),
            phase: phase.subscribe(),
            token,
            remembered: remembered.addresses().collect(),
            removed: watch::Sender::default(),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        let stop = &inner.stop;
        let guard = join::guard_name(gossip.clone(), contests, phase.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(guard));
        let search = Search {
            gossip: gossip.clone(),
            seeds: config.seeds,
            remembered: inner.remembered.clone(),
            phase,
        };
        tasks.spawn(stop.clone().run_until_cancelled_owned(search.run()));
        if let Some(path) = config.memory {
            let members = gossip.shared.members.subscribe();
            let removed = inner.removed.subscribe();
            tasks.spawn(memory::run(
                path,
                remembered,
                members,
                removed,
                stop.clone(),
            ));
        }
        let (stop, ended, shutdown) = (stop.clone(), inner.ended.clone(), shutdown.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = shutdown.requested() => {
                    gossip.leave(LEAVE).await;
                }
                () = stop.cancelled() => {}
            }
            stop.cancel();
            gossip.stop().await;
            ended.cancel();
        });
        Ok(Self(Arc::new(inner)))
    }

    /// Where others reach this node's gossip, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.0.gossip.address
    }

    /// Where the members were that an earlier life of this node knew.
    pub fn remembered(&self) -> &[SocketAddr] {
        &self.0.remembered
    }

    /// From now on the nodes of these names, and no others, are not remembered for the next start
    /// once they are gone: the cluster has removed them.
    pub fn forget(&self, removed: BTreeSet<String>) {
        self.0.removed.send_replace(removed);
    }

    /// All members by name, this node among them.
    pub fn members(&self) -> Arc<[Member]> {
        self.0.gossip.shared.members.borrow().clone()
    }

    /// Follows the members.
    pub fn watch(&self) -> watch::Receiver<Arc<[Member]>> {
        self.0.gossip.shared.members.subscribe()
    }

    /// Follows what happens. Who is more than 256 events behind misses some, and is told so: the
    /// list of members is always whole.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.0.gossip.shared.events.subscribe()
    }

    /// Waits until the cluster is joined: a member has taken this node in, or has called it, or
    /// this node knows of no other. As long as none answers, this waits. Cancel-safe.
    ///
    /// # Errors
    ///
    /// If all seeds that answer belong to another cluster; if another process that is alive has
    /// this node's name, or it has itself by a former address; if the gossip ends meanwhile. The search goes on until it is told to end.
    pub async fn joined(&self) -> Result<Joined, JoinError> {
        let mut phase = self.0.phase.clone();
        let decided = phase.wait_for(|phase| *phase != Phase::Searching);
        match self.0.stop.run_until_cancelled(decided).await {
            Some(Ok(phase)) => match &*phase {
                Phase::Joined(joined) => Ok(joined.clone()),
                Phase::Refused(error) => Err(error.clone()),
                Phase::Searching => Err(JoinError::Stopped),
            },
            Some(Err(_)) | None => Err(JoinError::Stopped),
        }
    }

    /// Joins the node at `HOST:PORT`, and all that it knows, and tells which of the addresses of
    /// that name it was.
    ///
    /// # Errors
    ///
    /// If it does not answer, or not as a member of this cluster.
    pub async fn join(&self, address: &str) -> Result<SocketAddr, JoinError> {
        let joined = join::join(&self.0.gossip, address);
        let joined = self.0.stop.run_until_cancelled(joined).await;
        joined.unwrap_or(Err(JoinError::Stopped))
    }

    /// Says something else of this node; its token stays.
    ///
    /// # Errors
    ///
    /// If that is more than gossip carries; then all stays as it was.
    pub async fn update_meta(&self, mut meta: Meta) -> Result<(), TooLong> {
        meta.token = self.0.token;
        meta.encode()?;
        self.0.gossip.update(meta).await;
        Ok(())
    }

    /// Says that this node leaves, and ends the gossip. Whether the others have been told in time;
    /// if not, they find out as they would after a crash.
    pub async fn leave(&self, timeout: Duration) -> bool {
        let is_told = self.0.gossip.leave(timeout).await;
        self.0.stop.cancel();
        self.0.ended.cancelled().await;
        is_told
    }

    /// Reads with one more key, at most 16. The first step to another one: on every node.
    ///
    /// # Errors
    ///
    /// If there are too many.
    pub fn install_key(&self, key: Key) -> Result<(), KeyError> {
        let keys = self.0.gossip.keys();
        if keys.contains(&key) {
            return Ok(());
        }
        if keys.len() >= MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        let keyring = self.0.gossip.keyring();
        keyring.insert(SecretKey::Aes256(key.0));
        tracing::info!("a gossip key was installed");
        Ok(())
    }

    /// Writes with a key that is installed. The second step: on every node.
    ///
    /// # Errors
    ///
    /// If it is not installed.
    pub fn use_key(&self, key: Key) -> Result<(), KeyError> {
        let used = self.0.gossip.keyring().use_key(&key.0);
        used.map_err(|_| KeyError::Unknown)?;
        tracing::info!("gossip is encrypted with another key");
        Ok(())
    }

    /// Reads with one key less. The last step: on every node.
    ///
    /// # Errors
    ///
    /// If it is not installed, or if it is the one that is written with.
    pub fn remove_key(&self, key: Key) -> Result<(), KeyError> {
        let keys = self.0.gossip.keys();
        if !keys.contains(&key) {
            return Err(KeyError::Unknown);
        }
        let removed = self.0.gossip.keyring().remove(&key.0);
        removed.map_err(|_| KeyError::Primary)?;
        tracing::info!("a gossip key was removed");
        Ok(())
    }
}

/// Differs from one process to the next: the standard library draws its hashers' keys at random.
fn new_token() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// How long a node that is told to end takes to say so.
const LEAVE: Duration = Duration::from_secs(2);
/// Nodes with this node's name that wait to be asked.
const N_CONTESTS: usize = 4;
const MAX_KEYS: usize = 16;
