//! The gateway's part in a cluster.
//!
//! In reading order: [`Lease`] says whether the table may be taken for current (pure),
//! [`announcements`] what others have to be told and who waits for it (pure), [`view`] is what
//! others have, in the table (pure but for that). [`mod@join`] is how it gets there, [`control`] the
//! line to the control plane that feeds all three, [`heart`] what keeps the lease beside that, [`outage`] says when that is cut, [`departure`] how a node went, [`announcer`]
//! tells the control plane, [`forward`] sends messages to other nodes (which `dial` connects, and `targets` names), [`reroute`] those that come
//! back, [`inbound`] takes theirs, [`answers`] is what they are told, and [`sources`] for how long repeats
//! of theirs are known.

#[cfg(test)]
mod alone;
pub(crate) mod announcements;
mod announcer;
pub(crate) mod answers;
pub(crate) mod control;
mod departure;
mod dial;
pub(crate) mod forward;
mod heart;
pub(crate) mod held;
pub(crate) mod inbound;
pub(crate) mod join;
pub(crate) mod moves;
mod outage;
pub(crate) mod picked;
mod reroute;
mod rows;
mod sources;
mod targets;
pub(crate) mod view;

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gatemq_node::credentials::{Dialer, Guard, Incoming};
use gatemq_node::fatal;
use gatemq_router::control::lease::Lease;
use gatemq_router::peer::{self, Door, Seen};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;

use crate::broker::Broker;
use crate::clock::Clock;
use crate::proto::cluster::callers::callers;
use crate::receipt::Leg;
use crate::session::Session;
use crate::store::{Store, StrayStore};
use crate::turn::deliver::is_own;
use crate::turn::event::Events;
use crate::vital::{has_panicked, watch_over};
use announcements::Announcements;
use forward::{Peers, Returns};
use heart::{Ground, Standing};
use inbound::{Inbound, Releasing};
use join::{Introduction, Joined};
use moves::Moves;
use picked::PickedHere;
use rows::Rows;
use view::View;

/// What a gateway is told of its cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name: one of its kind in the cluster.
    pub name: String,
    /// Where nodes of the control plane are, `host:port`, as gossip finds them.
    pub control: watch::Receiver<Vec<String>>,
    /// Where this node's HTTP is, for others; may be empty.
    pub http_address: String,
    /// How long a SUBSCRIBE may wait for the others.
    pub subscribe_timeout: Duration,
    /// How long a publish of QoS 1 or 2 for a bridge may wait for one; then it is refused.
    pub bridge_wait: Duration,
    /// Who this node is to others, and the way to them.
    pub dialer: Dialer,
}

/// What the parts of a gateway share of its cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) config: Config,
    pub(crate) id: bytes::Bytes,
    introduction: Introduction,
    identity: peer::Identity,
    metrics: peer::Metrics,
    incarnation: Arc<AtomicU64>,
    pub(crate) lease: Arc<Lease>,
    standing: Mutex<Standing>,
    ground: Ground,
    announcements: Mutex<Announcements<Waiter>>,
    /// Told when there is something to announce.
    changed: Notify,
    pub(crate) view: Mutex<View>,
    /// The line to the control plane, while there is one.
    channel: watch::Sender<Option<Channel>>,
    pub(crate) peers: Peers,
    pub(crate) returns: Arc<Returns>,
    /// Messages of other nodes that this one has had.
    pub(crate) seen: Mutex<Seen>,
    /// Publishers of other nodes of which nothing more is taken.
    pub(crate) rows: Rows,
    stamp: AtomicU64,
    /// Messages of groups that it has had from other nodes, by group.
    pub(crate) picked: PickedHere,
    pub(crate) moves: Arc<Moves>,
    /// See [`Self::knows`].
    knows: AtomicU64,
    /// When the control plane said something last, in milliseconds of the clock; 0 for never.
    answered_at: AtomicU64,
    /// What this process is known by to all that its messages reach: its first incarnation.
    pub(crate) source: u64,
    /// What clients do, on its way to bridges.
    pub(crate) events: Events,
    /// Slices of fenced incarnations that are being adopted here, or have been.
    adoptions: Mutex<HashSet<(u64, u32)>>,
}

/// Who waits for the rest of the cluster.
#[derive(Debug)]
enum Waiter {
    /// A SUBSCRIBE or UNSUBSCRIBE, and when it gives up.
    Leg(Leg, std::time::Instant),
    /// Somebody who waits for several filters: until nobody holds this any more.
    Latch(Arc<oneshot::Sender<()>>),
}

impl Cluster {
    /// The incarnation that this gateway has now; 0 while it has none.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    /// Whether this gateway still answers for its subscribers as this incarnation: it has not been
    /// fenced, and has not begun to leave.
    pub(crate) fn serves(&self, incarnation: u64) -> bool {
        self.incarnation() == incarnation && !self.lease.is_given_up()
    }

    /// Orders the first coming of messages and the arrival of sessions on this node.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp.fetch_add(1, Ordering::AcqRel) // whoever has a later one sees what came before
    }

    /// Somebody subscribes to a filter; others have to know if `subscribe` says that it is the
    /// first. Both happen at once, so that the order of announcements is that of the table.
    pub(crate) fn announce_more(
        &self,
        filter: &str,
        subscribe: impl FnOnce() -> bool,
        leg: impl FnOnce() -> Option<Leg>,
    ) {
        let mut announcements = self.announcements.lock();
        if subscribe() {
            let waiter = leg().map(|leg| self.waiter(leg));
            announcements.note(filter, Some(false), waiter);
            drop(announcements);
            self.changed.notify_one();
        } else if announcements.is_unsettled(filter)
            && let Some(leg) = leg()
        {
            let known = announcements.wait(filter, self.waiter(leg));
            drop(announcements);
            if let Some(Waiter::Leg(leg, _)) = known {
                // The turn that it belongs to has not ended: nothing leaves yet.
                let _ = leg.done(None);
            }
        }
    }

    /// Somebody unsubscribes from a filter; others have to know if `unsubscribe` says that it was
    /// the last.
    pub(crate) fn announce_less(
        &self,
        filter: &str,
        unsubscribe: impl FnOnce() -> bool,
        leg: impl FnOnce() -> Option<Leg>,
    ) {
        let mut announcements = self.announcements.lock();
        if unsubscribe() {
            let waiter = leg().map(|leg| self.waiter(leg));
            announcements.note(filter, Some(true), waiter);
            drop(announcements);
            self.changed.notify_one();
        }
    }

    /// A session has come from another node. Its filters are announced even where others know that
    /// somebody here has them: what they have sent so far did not find this one.
    pub(crate) fn announce_arrival(&self, session: &Session) {
        let subscriptions = session.subscriptions.lock();
        let mut announcements = self.announcements.lock();
        for filter in subscriptions.keys().filter(|filter| !is_own(filter)) {
            announcements.note_anew(filter);
        }
        drop(announcements);
        drop(subscriptions);
        self.changed.notify_one();
    }

    /// The members of a group that are connected have changed.
    pub(crate) fn announce_group(&self, filter: &str) {
        self.announcements.lock().note(filter, None, None);
        self.changed.notify_one();
    }

    /// Nobody knows of any filter here: all that there are have to be announced.
    fn announce_all(&self, broker: &Broker) {
        // The table first: others take the announcements' lock and then the table's.
        let filters = broker.table.filters();
        let mut announcements = self.announcements.lock();
        for filter in filters {
            let subscribers = filter.subscribers();
            if !subscribers.direct.is_empty() {
                announcements.note(filter.text(), Some(false), None);
            }
            let groups = subscribers.groups.values();
            for group in groups.filter(|group| !group.members.is_empty()) {
                let text = format!("$share/{}/{}", group.name, filter.text());
                announcements.note(&text, None, None);
            }
        }
        drop(announcements);
        self.changed.notify_one();
    }

    fn waiter(&self, leg: Leg) -> Waiter {
        let deadline = std::time::Instant::now() + self.config.subscribe_timeout;
        Waiter::Leg(leg, deadline)
    }
}

/// How long another node may say nothing before its streams count as broken.
const SILENCE: Duration = Duration::from_secs(3);

/// Why a gateway does not become part of its cluster.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The address for other nodes cannot be used.
    #[error(transparent)]
    Bind(#[from] peer::BindError),
    /// The control plane does not take it in.
    #[error("the control plane refuses this gateway: {0}")]
    Refused(String),
    /// Its store is not that of the cluster.
    #[error(transparent)]
    Store(#[from] StrayStore),
}

impl Cluster {
    /// Joins the cluster: waits for a node of the control plane, and gets an incarnation.
    pub(crate) async fn join(
        config: &Config,
        door: &Door,
        store: &Store,
        clock: Clock,
        metrics: peer::Metrics,
        tasks: (&TaskTracker, &CancellationToken),
    ) -> Result<Arc<Self>, JoinError> {
        let mut introduction = Introduction {
            name: config.name.clone(),
            peer_address: door.address.clone(),
            http_address: config.http_address.clone(),
            token: std::hash::RandomState::new().hash_one(0),
            store: String::new(),
        };
        let (mut control, dialer) = (config.control.clone(), &config.dialer);
        let joined = join::join(&mut control, dialer, &mut introduction, store).await?;
        tracing::info!(
            name = config.name,
            incarnation = joined.incarnation,
            "joined the cluster"
        );
        let joined = (introduction, joined);
        Ok(Self::new(config, joined, store, clock, metrics, tasks))
    }

    /// What a gateway that has joined knows of it: nothing yet but its own incarnation.
    fn new(
        config: &Config,
        (introduction, joined): (Introduction, Joined),
        store: &Store,
        clock: Clock,
        metrics: peer::Metrics,
        tasks: (&TaskTracker, &CancellationToken),
    ) -> Arc<Self> {
        let incarnation = Arc::new(AtomicU64::new(joined.incarnation));
        let own = incarnation.clone();
        let identity = peer::Identity {
            cluster_id: joined.cluster_id.clone(),
            incarnation: Arc::new(move || own.load(Ordering::Acquire)),
        };
        let mut roads = peer::Config::new(identity.clone());
        roads.dial = Arc::new(dial::To::peers(config.dialer.clone()));
        roads.on_panic = |what| has_panicked(what);
        let reads = clock.clone();
        let peers = Peers::new(
            &roads,
            move || reads.now(),
            metrics.clone(),
            tasks.0.clone(),
            tasks.1,
        );
        let (moves, lease) = (Arc::<Moves>::default(), Arc::<Lease>::default());
        let view = View {
            own: joined.incarnation,
            ..View::default()
        };
        Arc::new(Self {
            config: config.clone(),
            id: joined.cluster_id,
            introduction,
            identity,
            metrics,
            incarnation,
            lease: lease.clone(),
            standing: Mutex::default(),
            ground: Ground::default(),
            announcements: Mutex::new(Announcements::new(joined.incarnation)),
            changed: Notify::new(),
            view: Mutex::new(view),
            channel: watch::Sender::new(None),
            peers,
            returns: Returns::new(store.completed().clone(), moves.clone(), lease, clock),
            seen: Mutex::default(),
            rows: Rows::default(),
            picked: PickedHere::new(sources::picks()),
            stamp: AtomicU64::new(1),
            moves,
            knows: AtomicU64::new(1),
            answered_at: AtomicU64::new(0),
            source: joined.incarnation,
            events: Events::default(),
            adoptions: Mutex::default(),
        })
    }

    /// Takes part, until the gateway stops: follows the control plane, tells it of filters, and
    /// takes what other nodes send. Returns when the table is whole and the lease runs.
    pub(crate) async fn take_part(self: &Arc<Self>, broker: &Arc<Broker>, door: Door) {
        let service = peer::service(
            self.identity.clone(),
            Arc::new(Inbound(broker.clone())),
            Releasing(broker.clone()),
            self.metrics.clone(),
            broker.tasks.clone(),
            broker.tasks_end.clone(),
        );
        let incoming = Incoming::new(door.into_listener(), self.config.dialer.credentials());
        let (stop, ended) = (broker.tasks_end.clone(), broker.tasks_end.clone());
        let server: tonic::transport::Server = tonic::transport::Server::builder();
        let serving = peer::tune(server, SILENCE)
            .layer(Guard::new(callers))
            .add_service(service)
            .add_service(crate::desk::service(broker))
            .add_service(crate::intake::service(broker))
            .serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
        watch_over(&broker.tasks, "server", async move {
            let served = serving.await;
            if !ended.is_cancelled() {
                let why = format!("the server for other nodes ended: {served:?}");
                fatal::end(fatal::TASK_PANICKED, &why);
            }
        });
        watch_over(
            &broker.tasks,
            "control",
            control::run(broker.clone(), self.clone()),
        );
        watch_over(
            &broker.tasks,
            "announcer",
            announcer::run(broker.clone(), self.clone()),
        );
        watch_over(
            &broker.tasks,
            "reroute",
            reroute::run(broker.clone(), self.clone()),
        );
        watch_over(
            &broker.tasks,
            "held",
            held::run(broker.clone(), self.clone()),
        );
        watch_over(
            &broker.tasks,
            "sources",
            sources::run(broker.clone(), self.clone()),
        );
        tokio::select! {
            () = broker.lease_held() => {}
            () = broker.draining.cancelled() => {}
        }
    }
}

impl Cluster {
    /// Whether an incarnation takes part, as far as this gateway knows.
    pub(crate) fn is_alive(&self, incarnation: u64) -> bool {
        let view = self.view.lock();
        let member = view.members.get(&incarnation);
        member.is_some_and(|member| !member.is_fenced)
    }

    /// Waits until an incarnation would be known here: one that has just come may not be.
    pub(crate) async fn until_heard_of(&self, incarnation: u64) {
        const LOOK: Duration = Duration::from_millis(10);
        while !self.view.lock().has_heard_of(incarnation) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether it is known that an incarnation is none of this cluster.
    pub(crate) fn is_foreign(&self, incarnation: u64) -> bool {
        self.view.lock().is_foreign(incarnation)
    }

    /// Whether it is known that others took an incarnation for gone.
    pub(crate) fn is_fenced(&self, incarnation: u64) -> bool {
        let view = self.view.lock();
        let member = view.members.get(&incarnation);
        member.is_some_and(|member| member.is_fenced)
    }

    /// Gateways and bridges that take part.
    pub(crate) fn n_nodes(&self) -> usize {
        let view = self.view.lock();
        view.members
            .values()
            .filter(|member| !member.is_fenced)
            .count()
    }

    /// Waits until every gateway knows of a session's subscriptions here, as they are now, or for
    /// so long; whether they do. Of what else changes here nothing is awaited.
    pub(crate) async fn known_everywhere(&self, session: &Session, within: Duration) -> bool {
        let known = self.until_known(session);
        tokio::time::timeout(within, known).await.is_ok()
    }

    /// As [`Self::known_everywhere`], however long it takes.
    pub(crate) async fn until_known(&self, session: &Session) {
        let (latch, released) = oneshot::channel::<()>();
        let latch = Arc::new(latch);
        {
            let subscriptions = session.subscriptions.lock();
            let mut announcements = self.announcements.lock();
            for filter in subscriptions.keys() {
                // Given back where there is nothing to wait for.
                let _ = announcements.wait(filter, Waiter::Latch(latch.clone()));
            }
        }
        self.changed.notify_one(); // what is awaited goes first
        drop(latch);
        let _ = released.await; // an error: nobody holds the latch
    }

    /// Every gateway knows everything up to this revision.
    pub(crate) fn watermark(&self) -> u64 {
        self.announcements.lock().watermark()
    }

    /// Up to which revision of the cluster's state the table has who wants what; 1 while that is not
    /// known.
    pub(crate) fn knows(&self) -> u64 {
        self.knows.load(Ordering::Acquire)
    }

    /// What the cluster calls the store that this gateway has.
    pub(crate) fn store(&self) -> &str {
        &self.introduction.store
    }

    /// Filters that some gateway may not know of.
    pub(crate) fn n_unsettled(&self) -> usize {
        self.announcements.lock().n_unsettled()
    }
}
