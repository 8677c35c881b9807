//! What all connections of a gateway share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gatemq_node::log::lines::Lines;
use gatemq_router::Table;
use gatemq_router::control::lease::Generation;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agenda::Agenda;
use crate::auth::Guard;
use crate::bans::{Bans, Flapping};
use crate::capture::Captures;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::cluster::moves::{Before, Change};
use crate::config::Config;
use crate::connection::{refusal, replay};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::retained::Retained;
use crate::rounds::Rounds;
use crate::session::Subscription;
use crate::session::received::Origin;
use crate::settings::Settings;
use crate::shared::{Owned, Refusals, Turnstile, UnderWay};
use crate::store::Store;
use crate::sys::Sys;
use crate::users::Users;

/// The parts of a running gateway.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    pub(crate) table: Table<Subscription>,
    pub(crate) registry: Registry,
    pub(crate) store: Store,
    pub(crate) retained: Retained,
    pub(crate) agenda: Agenda,
    pub(crate) sys: Sys,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) memory: Memory,
    /// What may change while it runs.
    pub(crate) settings: Settings,
    /// What users have in common over all their connections.
    pub(crate) users: Users,
    pub(crate) rounds: Arc<Rounds>,
    /// Places for connections that are sent retained messages.
    pub(crate) replaying: Arc<Semaphore>,
    /// The sessions of this gateway by number, where they may turn out to be another's.
    pub(crate) owned: Owned,
    /// One claim of a client identifier at a time, where it takes a while.
    pub(crate) claims: Turnstile,
    /// Lines of the log about clients that were refused.
    pub(crate) refused_lines: Mutex<Lines>,
    /// Clients that got no session from Redis.
    pub(crate) refusals: Refusals,
    /// Wills that are being published, where another gateway could have to, or that wait.
    pub(crate) wills: UnderWay,
    /// Who may connect, and what they may do; `None` where everybody may do everything.
    pub(crate) guard: Option<Guard>,
    /// Who is kept out.
    pub(crate) bans: Bans,
    /// What operators want to know of clients.
    pub(crate) captures: Captures,
    /// Who connects how often.
    pub(crate) flapping: Flapping,
    /// The other nodes, if there are any.
    pub(crate) cluster: Option<Arc<Cluster>>,
    /// Cancelled when the process begins to stop.
    pub(crate) draining: CancellationToken,
    /// Cancelled when the last connection is gone: the background tasks end.
    pub(crate) tasks_end: CancellationToken,
    /// Every task of the gateway.
    pub(crate) tasks: TaskTracker,
    is_draining: AtomicBool,
}

impl Broker {
    pub(crate) fn new(
        config: Config,
        clock: Clock,
        store: Store,
        metrics: Arc<Metrics>,
        cluster: Option<Arc<Cluster>>,
        guard: Option<Guard>,
        (tasks, tasks_end): (TaskTracker, CancellationToken),
    ) -> Self {
        let node = cluster.as_ref().map_or("", |cluster| cluster.name());
        let captures = Captures::new(config.trace_folder.clone(), node, clock.clone());
        let rounds = Rounds::new(clock.clone(), metrics.clone());
        Self {
            clock,
            table: Table::default(),
            registry: Registry::new(config.limits.max_sessions_per_user),
            retained: Retained::restore(&store),
            store,
            agenda: Agenda::default(),
            sys: Sys::default(),
            rounds,
            replaying: Arc::new(Semaphore::new(replay::n_places())),
            owned: Owned::default(),
            claims: Turnstile::default(),
            refused_lines: Mutex::new(refusal::lines()),
            refusals: Refusals::default(),
            wills: UnderWay::default(),
            cluster,
            guard,
            bans: Bans::default(),
            captures,
            flapping: Flapping::new(config.bans.flapping),
            metrics,
            settings: Settings::new(&config),
            memory: Memory::new(config.limits.memory),
            users: Users::default(),
            draining: CancellationToken::new(),
            tasks_end,
            tasks,
            is_draining: AtomicBool::new(false),
            config,
        }
    }

    /// What a message is to be known by that is not routed yet.
    pub(crate) fn new_origin(&self) -> Origin {
        Origin {
            source: self.cluster.as_ref().map_or(0, |cluster| cluster.source),
            id: self.store.new_number(),
        }
    }

    /// Begins to stop: connections are told, and no new one is taken.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
        self.draining.cancel();
    }

    /// Whether a packet that begins with this byte has to wait: a publish of QoS 1 or 2 is
    /// acknowledged, and must not be before this gateway knows of every subscriber.
    #[inline]
    pub(crate) fn must_hold(&self, first: u8) -> bool {
        /// PUBLISH, and the bits of its QoS.
        const PUBLISH: u8 = 0x30;
        const QOS: u8 = 0b110;
        match &self.cluster {
            Some(_) => first & 0xF0 == PUBLISH && first & QOS != 0 && !self.has_lease(),
            None => false,
        }
    }

    /// Whether this gateway has a lease just now, or needs none.
    pub(crate) fn has_lease(&self) -> bool {
        // Read now: a turn may have begun before the machine fell asleep.
        let is_held = |cluster: &Arc<Cluster>| cluster.lease.is_held(self.clock.now());
        self.cluster.as_ref().is_none_or(is_held)
    }

    /// The changes of where subscribers are that are over.
    pub(crate) fn moves_before(&self) -> Before {
        let cluster = self.cluster.as_ref();
        cluster.map_or_else(Before::default, |cluster| cluster.moves.before())
    }

    /// The incarnation that owns this gateway's sessions; 0 while it has none, 1 without a cluster.
    pub(crate) fn incarnation(&self) -> u64 {
        let cluster = self.cluster.as_ref();
        cluster.map_or(1, |cluster| cluster.incarnation())
    }

    /// The lease that there is, or was: to be asked before a plan is made.
    pub(crate) fn lease_generation(&self) -> Generation {
        let cluster = self.cluster.as_ref();
        cluster.map_or_else(Generation::default, |it| it.lease.generation())
    }

    /// Something changes in where subscribers are, until this is dropped.
    pub(crate) fn begin_move(&self) -> Option<Change<'_>> {
        let cluster = self.cluster.as_ref()?;
        Some(cluster.moves.change())
    }

    /// Waits until this gateway knows of every subscriber.
    pub(crate) async fn lease_held(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.lease.held(|| self.clock.now()).await;
        }
    }

    /// Whether so much waits for the store or for other nodes that nothing more should be read.
    pub(crate) fn is_congested(&self) -> bool {
        self.store.is_congested()
            || self
                .cluster
                .as_ref()
                .is_some_and(|cluster| cluster.peers.is_congested())
    }

    /// Waits until less does.
    pub(crate) async fn relieved(&self) {
        loop {
            self.store.relieved().await;
            if let Some(cluster) = &self.cluster {
                cluster.peers.relieved().await;
            }
            if !self.is_congested() {
                return;
            }
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }
}

#[cfg(test)]
impl Broker {
    /// One that stores in memory and has no listener, no cluster and no task.
    pub(crate) fn in_memory() -> Arc<Self> {
        let engine = Arc::new(gatemq_storage::Memory::new());
        let clock = Clock::start();
        Self::of_store(
            Store::open(engine, clock.now()).expect("memory opens"),
            clock,
        )
    }

    /// One of a cluster that keeps everything in memory: for tests.
    pub(crate) fn in_cluster() -> Arc<Self> {
        let engine = Arc::new(gatemq_storage::Memory::new());
        let clock = Clock::start();
        let store = Store::open(engine, clock.now()).expect("memory opens");
        let mut registry = prometheus_client::registry::Registry::default();
        let metrics = Arc::new(Metrics::register(&mut registry));
        let tasks = (TaskTracker::new(), CancellationToken::new());
        let cluster = Cluster::alone(&store, clock.clone(), (&tasks.0, &tasks.1));
        let (config, cluster) = (Config::default(), Some(cluster));
        Arc::new(Self::new(
            config, clock, store, metrics, cluster, None, tasks,
        ))
    }

    /// The same with a store of its own.
    pub(crate) fn of_store(store: Store, clock: Clock) -> Arc<Self> {
        let mut registry = prometheus_client::registry::Registry::default();
        let metrics = Arc::new(Metrics::register(&mut registry));
        let tasks = (TaskTracker::new(), CancellationToken::new());
        let config = Config::default();
        Arc::new(Self::new(config, clock, store, metrics, None, None, tasks))
    }
}
