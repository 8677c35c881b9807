//! A gateway from start to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gatemq_node::admin::{Hindrance, Waiting};
use gatemq_node::tls::Identity;
use gatemq_node::{Shutdown, fatal};
use gatemq_router::peer::{self, Door};
use gatemq_storage::Engine;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::{FileError, Guard};
use crate::bans::Bans;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::cluster::{Cluster, JoinError};
use crate::condition::Condition;
use crate::config::{Config, Transport};
use crate::figures::{self, Gauges};
use crate::lifecycle::farewell::{disconnect, spread};
use crate::listen::{BindError, Bound, old_lists};
use crate::metrics::Metrics;
use crate::proto::mqtt::Reason;
use crate::session::End;
use crate::store::{Store, StrayStore, redis};
use crate::turn::Turn;
use crate::vital::watch_over;
use crate::{agenda, auth, bans, cluster, completion, memory, shared, sys};

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    broker: Arc<Broker>,
    listening: Vec<(Transport, String)>,
    /// Where other nodes reach it.
    peer: Option<SocketAddr>,
    identities: Vec<Arc<Identity>>,
}

/// Where sessions, queues and retained messages are kept.
pub enum Storage {
    /// On this machine, for one gateway.
    Engine(Arc<dyn Engine>),
    /// In Redis, for all gateways of a cluster.
    Redis(Box<crate::config::Redis>),
}

/// Redis cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RedisError(#[from] RedisTrouble);

#[derive(Debug, thiserror::Error)]
enum RedisTrouble {
    #[error(transparent)]
    Config(#[from] redis::Unusable),
    #[error(transparent)]
    Open(#[from] redis::OpenError),
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// It cannot listen for other nodes, or take part in their cluster.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// It was stopped before it had started.
    #[error("stopped before the cluster was joined")]
    Stopped,
    /// It was stopped while it waited for its store.
    #[error("stopped before the store could be used")]
    Unprepared,
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Store(#[from] gatemq_storage::Error),
    /// Redis cannot be used.
    #[error("redis: {0}")]
    Redis(#[from] RedisError),
    /// A source of clients and rules cannot be used.
    #[error(transparent)]
    Auth(#[from] FileError),
}

/// A gateway that could start: its sockets are bound, and its store is open. Nobody else knows of
/// it yet.
pub struct Prepared {
    config: Config,
    clock: Clock,
    store: Store,
    guard: Option<Guard>,
    bans: Bans,
    bound: Vec<Bound>,
    door: Option<Door>,
}

impl Gateway {
    /// Binds the listeners and opens the store, so that what is wrong with either is said before a
    /// cluster hears of this node.
    ///
    /// For a Redis that does not answer it waits, and says so to `waiting`.
    pub async fn prepare(
        config: Config,
        storage: Storage,
        waiting: Waiting,
    ) -> Result<Prepared, StartError> {
        let bound = config
            .listeners
            .iter()
            .map(Bound::bind)
            .collect::<Result<Vec<Bound>, BindError>>()?;
        let door = match &config.peer {
            Some(peer) => Some(
                Door::bind(peer.bind, &peer.advertise)
                    .await
                    .map_err(JoinError::from)?,
            ),
            None => None,
        };
        let guard = Guard::open(&config.auth)?;
        let bans = Bans::open(&config.bans)?;
        bans.tell(&config.bans, "bans read");
        let (store, clock) = match storage {
            Storage::Engine(engine) => {
                let clock = Clock::start();
                (Store::open(engine, clock.now())?, clock)
            }
            Storage::Redis(redis) => {
                let config = redis::Config::of(&redis, config.limits.retained())
                    .map_err(RedisTrouble::from)
                    .map_err(RedisError)?;
                Store::open_redis(config, waiting)
                    .await
                    .map_err(RedisTrouble::from)
                    .map_err(RedisError)?
            }
        };
        Ok(Prepared {
            config,
            clock,
            store,
            guard,
            bans,
            bound,
            door,
        })
    }
}

impl Prepared {
    /// Whether a cluster may be begun with the store that this gateway has.
    ///
    /// # Errors
    ///
    /// It is another cluster's, in which case this node is meant to join that one, or Redis refuses
    /// to say. One that does not answer is asked until it does.
    pub async fn check_free(&self) -> Result<(), StrayStore> {
        let ask = async |store: &Store| store.check_free().await;
        Ok(self.store.patiently(ask).await?)
    }

    /// Waits until a node of the control plane says where the cluster's sessions are, and compares:
    /// before this node is part of it. `control` has the nodes that are.
    ///
    /// # Errors
    ///
    /// The store that this gateway has is another one, or Redis refuses to say.
    pub async fn check_same(
        &self,
        control: &mut tokio::sync::watch::Receiver<Vec<String>>,
        dialer: &gatemq_node::credentials::Dialer,
    ) -> Result<(), StrayStore> {
        Ok(cluster::join::compare(control, dialer, &self.store).await?)
    }

    /// Takes part in the cluster, if it is to, brings back what is stored, and takes connections.
    /// When `shutdown` is requested, no more are taken; see [`Gateway::stop`].
    pub async fn start(
        self,
        cluster: Option<crate::ClusterConfig>,
        registry: &mut Registry,
        shutdown: &Shutdown,
    ) -> Result<Gateway, StartError> {
        let Self {
            config,
            clock,
            store,
            mut guard,
            bans,
            bound,
            door,
        } = self;
        let metrics = Arc::new(Metrics::register(registry));
        if let Some(guard) = &mut guard {
            guard.register(registry, metrics.limits_hit.clone());
        }
        let is_shared = store.redis().is_some();
        let (tasks, tasks_end) = (TaskTracker::new(), CancellationToken::new());
        let (cluster, door) = match (&cluster, door) {
            (Some(cluster), Some(door)) => {
                let metrics = peer::Metrics::register(registry);
                let (clock, tasks) = (clock.clone(), (&tasks, &tasks_end));
                let joining = Cluster::join(cluster, &door, &store, clock, metrics, tasks);
                let stopped = shutdown.token();
                let joined = tokio::select! {
                    joined = joining => joined?,
                    () = stopped.cancelled() => return Err(StartError::Stopped),
                };
                (Some(joined), Some(door))
            }
            _ => (None, None),
        };
        if let Some(guard) = &guard
            && let Err(error) = guard.agree(&store).await
        {
            tracing::warn!(
                %error,
                "until the store says its secret, salts of users that are none are of this process \
                 alone: SCRAM shows who is one"
            );
        }
        let mut broker = Broker::new(
            config,
            clock,
            store,
            metrics,
            cluster,
            guard,
            (tasks, tasks_end),
        );
        broker.bans = bans;
        let broker = Arc::new(broker);
        let peer = door.as_ref().map(|door: &Door| door.bound);
        registry.register_collector(Box::new(Gauges(Arc::downgrade(&broker))));
        watch_over(&broker.tasks, "completion", completion::run(broker.clone()));
        if let Some(cluster) = &broker.cluster {
            broker.store.number_sessions(cluster.incarnation());
        }
        if !is_shared {
            broker.restore();
        }
        watch_over(&broker.tasks, "agenda", agenda::run(broker.clone()));
        watch_over(&broker.tasks, "sys", sys::run(broker.clone()));
        watch_over(&broker.tasks, "memory", memory::run(broker.clone()));
        watch_over(&broker.tasks, "auth", auth::refresh(broker.clone()));
        watch_over(&broker.tasks, "bans", bans::run(broker.clone()));
        match broker.store.redis() {
            Some(_) => {
                watch_over(&broker.tasks, "sweep", shared::sweep(broker.clone()));
                watch_over(&broker.tasks, "hold", shared::hold(broker.clone()));
                watch_over(&broker.tasks, "secret", shared::agree(broker.clone()));
                watch_over(&broker.tasks, "time", shared::keep_time(broker.clone()));
                let telling = shared::tell_refusals(broker.clone());
                watch_over(&broker.tasks, "refusals", telling);
            }
            None => watch_over(&broker.tasks, "sweep", sweep(broker.clone())),
        }
        let watching = broker.clone();
        watch_over(&broker.tasks, "room", async move {
            watching.store.watch_room(watching.tasks_end.clone()).await;
        });
        if let (Some(cluster), Some(door)) = (&broker.cluster, door) {
            let stopped = shutdown.token();
            tokio::select! {
                () = cluster.take_part(&broker, door) => {}
                () = stopped.cancelled() => {}
            }
        }
        let listening = bound
            .iter()
            .map(|bound| (bound.transport(), bound.address()))
            .collect();
        let identities: Vec<_> = bound.iter().filter_map(Bound::identity).collect();
        let watching = old_lists::watch(identities.clone(), broker.tasks_end.clone());
        watch_over(&broker.tasks, "lists", watching);
        for bound in bound {
            watch_over(&broker.tasks, "listener", bound.serve(broker.clone()));
        }
        let (requested, draining) = (shutdown.token(), broker.clone());
        watch_over(&broker.tasks, "drain", async move {
            tokio::select! {
                () = requested.cancelled() => draining.drain(),
                () = draining.draining.cancelled() => {}
            }
        });
        Ok(Gateway {
            broker,
            listening,
            peer,
            identities,
        })
    }
}

impl Gateway {
    /// The listeners, with the addresses that they got.
    pub fn listening(&self) -> &[(Transport, String)] {
        &self.listening
    }

    /// Where other nodes of the cluster reach it, with the port that it got.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The id of the cluster that it is part of.
    pub fn cluster_id(&self) -> Option<bytes::Bytes> {
        self.broker
            .cluster
            .as_ref()
            .map(|cluster| cluster.id.clone())
    }

    /// HTTP routes: `/mqtt/stats`.
    pub fn http_routes(&self) -> axum::Router {
        figures::routes(&self.broker)
    }

    /// Tells, whenever it is asked, what keeps the gateway from taking clients, or from acknowledging
    /// what they publish.
    pub fn hindrance(&self) -> impl Fn() -> Option<Hindrance> + Send + Sync + 'static + use<> {
        let broker = Arc::downgrade(&self.broker);
        move || Condition::of(&*broker.upgrade()?).hindrance()
    }

    /// Waits until it takes no more connections: because it stops, or is drained.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.broker.draining.clone().cancelled_owned()
    }

    /// Reads again what is in files: the certificates of all TLS listeners and of servers that are asked,
    /// clients and rules, and bans. What cannot be used is logged, and the old one stays. Connections are touched only where
    /// their client is let in no more; what the others may do is what the files say now.
    pub async fn reload(&self) {
        for identity in &self.identities {
            identity.reload(); // it says what is wrong, and keeps the old
        }
        if let Some(redis) = self.broker.store.redis() {
            redis.reload();
        }
        self.broker.bans.reload(&self.broker.config.bans);
        if let Some(guard) = &self.broker.guard {
            guard.reload();
            self.broker.judge_again(guard).await;
        }
    }

    /// Stops: takes no more connections, tells every client (0x8B), keeps what is stored, and
    /// returns within about `grace`.
    pub async fn stop(self, grace: Duration) {
        let broker = &self.broker;
        broker.drain();
        let deadline = Instant::now() + grace;
        let end = End::refused(Reason::ServerShuttingDown, "the broker is stopping");
        if broker.cluster.is_some() {
            let sessions = broker.connected();
            let over = spread(sessions.len(), grace);
            disconnect(sessions, over, end.clone()).await;
        }
        for session in broker.registry.all() {
            session.request_end(end.clone());
        }
        let gone = async {
            while broker.registry.n_connected() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout_at(deadline, gone).await.is_err() {
            let left = broker.registry.n_connected();
            tracing::warn!(left, "stopping although clients are still connected");
        }
        if let Some(cluster) = &broker.cluster {
            let n_held = || cluster.returns.held.n_wills();
            let out = tokio::time::timeout_at(deadline, broker.wills.all_out(n_held));
            if out.await.is_err() {
                tracing::warn!("stopping although wills are under way: others publish them");
            }
            // What is on its way to other nodes, wills among it, is theirs before this one leaves.
            let flushing = tokio::time::timeout_at(deadline, cluster.peers.flushed());
            if flushing.await.is_err() {
                tracing::warn!("stopping although other nodes have not answered all messages");
            }
            if let Some(redis) = broker.store.redis() {
                redis.close(deadline - Instant::now()).await;
            }
            let leaving = tokio::time::timeout(LEAVE, cluster.leave(broker));
            if leaving.await.is_err() {
                tracing::warn!("the control plane was not told: it will notice");
            }
        }
        broker.tasks_end.cancel();
        broker.tasks.close();
        let store = broker.clone();
        let closed = tokio::task::spawn_blocking(move || store.store.close());
        // What waits was not acknowledged; still it gets at least a second.
        let closing = deadline.max(Instant::now() + Duration::from_secs(1));
        if tokio::time::timeout_at(closing, closed).await.is_err() {
            let why = "the disk did not take what was left within the grace";
            fatal::end(fatal::STORE_FAILED, why);
        }
        let _ = tokio::time::timeout(Duration::from_secs(1), broker.tasks.wait()).await;
    }
}

/// How long the control plane may take to be told that this gateway leaves.
const LEAVE: Duration = Duration::from_secs(1);

/// Clears retained messages that have expired, a few at a time, until the gateway stops.
async fn sweep(broker: Arc<Broker>) {
    let mut from = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = broker.tasks_end.cancelled() => return,
        }
        let mut turn = Turn::new(&broker);
        from = broker.retained.sweep(from.take(), &mut turn);
        turn.finish(None);
    }
}
