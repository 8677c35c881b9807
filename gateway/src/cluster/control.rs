//! The line to the control plane: follows what it says, keeps the lease.
//!
//! One stream to any node of the control plane; when it breaks, or nothing is confirmed for too
//! long, the next node is tried. Here is what follows from what is said there; what has been applied
//! is told at once, since somebody's SUBACK may wait for it. The beats that go out besides, and what
//! is confirmed of them, are not kept waiting by that: [`super::heart`].

use std::pin::pin;
use std::sync::Arc;

use futures_util::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use gatemq_router::control::rounds::Rounds;
use gatemq_router::control::{self, BEAT, CALL, Failure};

use super::heart::{Heart, Pulse, STUCK};
use super::join::connect;
use super::view::Effect;
use super::{Cluster, announcer, departure, outage};
use crate::bans;
use crate::broker::Broker;
use crate::proto::cluster::PROTOCOL;
use crate::proto::cluster::control::control_client::ControlClient;
use crate::proto::cluster::control::{Mark, WatchReply, WatchRequest, watch_reply, watch_request};
use crate::proto::cluster::state::fence::Why;
use crate::proto::cluster::state::{Adopted, Fence, Role, command::Kind};
use crate::proto::mqtt::Reason;
use crate::session::End;
use crate::shared;
use crate::store;

/// Replies that were heard and wait to be worked on, beside what waits in the stream.
const WAITING: usize = 16;

/// Follows the control plane until the gateway stops.
pub(super) async fn run(broker: Arc<Broker>, cluster: Arc<Cluster>) {
    let mut rounds = Rounds::new(cluster.config.control.clone());
    let mut refused = String::new();
    let following = async {
        loop {
            let address = rounds.next().await;
            let end = follow(&broker, &cluster, &address).await;
            cluster.channel.send_replace(None);
            tracing::debug!(address, ?end, "the line to the control plane is cut");
            if let Err(Failure::OtherVersion(why)) = &end
                && refused != *why
            {
                tracing::error!(why, "the control plane was changed under this gateway");
                refused.clone_from(why);
            }
        }
    };
    tokio::select! {
        () = following => {}
        () = outage::watch(&broker, &cluster) => {}
        () = broker.tasks_end.cancelled() => {}
    }
}

/// Follows one node of the control plane until the stream ends.
async fn follow(
    broker: &Arc<Broker>,
    cluster: &Arc<Cluster>,
    address: &str,
) -> Result<(), Failure> {
    let opening = open(broker.clone(), cluster.clone(), address.to_owned());
    let (requests, replies) = cluster.ground.run(opening).await?;
    attend(broker, cluster, requests, replies, STUCK).await
}

/// Opens a line to a node of the control plane: a stream each way.
async fn open(
    broker: Arc<Broker>,
    cluster: Arc<Cluster>,
    address: String,
) -> Result<(mpsc::Sender<WatchRequest>, Streaming<WatchReply>), Failure> {
    let (broker, cluster) = (&broker, &cluster);
    let address = address.as_str();
    let channel = connect(address, &cluster.config.dialer).await?;
    let mut client = ControlClient::new(channel.clone());
    control::status(&mut client, address).await?;
    cluster.answers(broker.clock.now());
    if cluster.incarnation() == 0 {
        if cluster.lease.is_given_up() {
            return Err(Failure::Refused("this gateway leaves".to_owned()));
        }
        let register = cluster.introduction.to_register();
        let incarnation = control::register(&mut client, &cluster.id, register).await?;
        cluster.begin(incarnation);
        cluster.announce_all(broker);
        broker.store.number_sessions(incarnation);
        tracing::info!(incarnation, "joined again");
    }
    let (requests, stream) = mpsc::channel(16);
    let hello = watch_request::Hello {
        cluster_id: cluster.id.clone(),
        incarnation: cluster.incarnation(),
        revision: cluster.view.lock().revision,
        protocol: PROTOCOL,
    };
    let hello = watch_request::Kind::Hello(hello);
    let _ = requests.send(WatchRequest { kind: Some(hello) }).await;
    let opening = client.watch(ReceiverStream::new(stream));
    let replies = tokio::time::timeout(CALL, opening).await??.into_inner();
    tracing::debug!(address, "following the control plane");
    cluster.channel.send_replace(Some(channel));
    Ok((requests, replies))
}

/// Does what follows from the replies of a stream until that ends, and beats beside that. `patience`
/// is how long the work may stand still, in milliseconds.
pub(super) async fn attend(
    broker: &Arc<Broker>,
    cluster: &Arc<Cluster>,
    requests: mpsc::Sender<WatchRequest>,
    replies: impl Stream<Item = Result<WatchReply, Status>> + Unpin + Send + 'static,
    patience: u64,
) -> Result<(), Failure> {
    cluster.change_line();
    let (work, mut heard) = mpsc::channel(WAITING);
    let pulse = Arc::new(Pulse::new(broker.clock.now()));
    let heart = Heart {
        clock: broker.clock.clone(),
        cluster: cluster.clone(),
        pulse: pulse.clone(),
        requests: requests.clone(),
        work,
        patience,
    };
    let line = Line {
        broker,
        cluster,
        requests,
    };
    let working = async move {
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                reply = heard.recv() => match reply {
                    Some(reply) => line.take(reply)?,
                    None => return Ok(()),
                },
                _ = ticks.tick() => {}
            }
            pulse.beat(broker.clock.now());
        }
    };
    let mut beating = pin!(cluster.ground.run(heart.run(replies)));
    let mut working = pin!(working);
    // The work that was heard of is done, also where nothing more is heard.
    tokio::select! {
        biased;
        worked = &mut working => match worked {
            Ok(()) => beating.await,
            Err(failure) => Err(failure),
        },
        end = &mut beating => working.await.and(end),
    }
}

/// One stream.
struct Line<'a> {
    broker: &'a Arc<Broker>,
    cluster: &'a Cluster,
    requests: mpsc::Sender<WatchRequest>,
}

impl Line<'_> {
    /// What follows from a reply is done before a beat says that it was taken in: others count on
    /// it then.
    fn take(&self, reply: WatchReply) -> Result<(), Failure> {
        let table = &self.broker.table;
        let reached = match &reply.kind {
            Some(watch_reply::Kind::Changes(changes)) => Some(changes.revision),
            _ => None,
        };
        let effects = match reply.kind {
            Some(watch_reply::Kind::Begin(_)) => {
                self.cluster.end_lease();
                self.cluster.view.lock().begin();
                self.cluster.follow(0);
                Vec::new()
            }
            Some(watch_reply::Kind::Part(part)) => {
                let _change = self.cluster.moves.change();
                self.cluster.view.lock().take_part(part, table)
            }
            Some(watch_reply::Kind::Changes(changes)) => {
                let change = self.cluster.moves.change();
                let mut view = self.cluster.view.lock();
                let mut effects = Vec::new();
                for change in changes.changes {
                    let command = change.command.unwrap_or_default();
                    effects.extend(view.take_change(change.revision, command, table));
                }
                effects.extend(view.reach(changes.revision, table));
                self.cluster.follow(changes.revision);
                drop(view);
                drop(change);
                effects
            }
            Some(watch_reply::Kind::Mark(mark)) if mark.is_fenced => vec![Effect::Fenced],
            Some(watch_reply::Kind::Mark(mark)) => {
                self.mark(&mark);
                Vec::new()
            }
            None => Vec::new(),
        };
        for effect in effects {
            if effect == Effect::Fenced {
                // One that leaves has asked for it.
                if !self.cluster.lease.is_given_up() {
                    self.cluster.fenced(self.broker);
                }
                return Err(Failure::Refused("this incarnation is fenced".to_owned()));
            }
            match effect {
                Effect::Adopt(fenced, slices) => self.adopt(fenced, slices),
                Effect::Settings(set) => {
                    tracing::info!(?set, "settings of the cluster");
                    self.broker.settings.apply(&set);
                }
                Effect::Traces(change) => self.broker.captures.change(change),
                Effect::Bans(change) => {
                    self.broker.bans.change(bans::Source::Agreed, change);
                }
                effect => self.cluster.follow_node(effect),
            }
        }
        if let Some(revision) = reached {
            self.cluster.has_applied(revision);
            self.cluster.beat(&self.requests, self.broker.clock.now());
        }
        Ok(())
    }

    /// Adopts sessions of a gateway that is gone, and says so when every gateway knows.
    fn adopt(&self, fenced: u64, slices: Vec<u32>) {
        let (broker, id) = (self.broker.clone(), self.cluster.id.clone());
        let by = self.cluster.incarnation();
        if !self.cluster.begin_adoption(fenced, &slices) {
            return; // under way: a new line says it once more
        }
        self.broker.see_to("adoption", async move {
            if shared::adopt(&broker, (fenced, by), &slices).await.is_err() {
                return; // this one is fenced, too: they are dealt out anew
            }
            let adopted = Kind::Adopted(Adopted { fenced, by, slices });
            announcer::propose(&broker, &id, adopted).await;
        });
    }

    /// What every gateway knows by now. The lease is renewed already.
    fn mark(&self, mark: &Mark) {
        let done = self.cluster.announcements.lock().settle(mark.watermark);
        announcer::release(self.broker, done, None);
    }
}

impl Cluster {
    /// When a node of the control plane said something last, in milliseconds of the clock.
    pub(crate) fn answered_at(&self) -> u64 {
        self.answered_at.load(std::sync::atomic::Ordering::Acquire)
    }

    /// A node of the control plane says something.
    pub(crate) fn answers(&self, now: u64) {
        self.answered_at
            .store(now, std::sync::atomic::Ordering::Release);
    }

    /// The table has everything up to this revision.
    fn follow(&self, revision: u64) {
        let knows = revision.max(1); // to others, 0 says nothing
        self.knows
            .store(knows, std::sync::atomic::Ordering::Release);
    }

    /// The gateway has a new incarnation. Whatever goes by it is ready before it is seen.
    fn begin(&self, incarnation: u64) {
        let mut view = self.view.lock();
        view.own = incarnation;
        view.revision = 0;
        self.follow(0);
        drop(view);
        self.begin_beats();
        self.announcements.lock().begin_again(incarnation);
        self.incarnation
            .store(incarnation, std::sync::atomic::Ordering::Release);
        self.changed.notify_one();
    }

    /// Others have decided that this gateway is gone: its clients are not its own any more.
    fn fenced(&self, broker: &Arc<Broker>) {
        self.end_lease();
        self.adoptions.lock().clear();
        self.announcements.lock().halt();
        self.incarnation
            .store(0, std::sync::atomic::Ordering::Release);
        let sessions = broker.registry.all();
        tracing::error!(
            sessions = sessions.len(),
            "the cluster took this gateway for gone: its clients are disconnected, it joins anew"
        );
        for session in sessions {
            // Before all else: nobody has taken them over whom the client would know of.
            session.request_end(End::refused(
                Reason::ServerBusy,
                "the cluster took this gateway for gone: connect again",
            ));
            if broker.store.redis().is_some() {
                // They are others' now, or will be: nothing is written for them here any more.
                broker.lose(&session, store::redis::Fenced::Taken);
                broker.drop_moved(&session); // nobody sends here any more
            }
        }
        // What has not been acknowledged is published again, to whoever has the sessions now.
        self.peers.begin_again();
    }

    /// Proposes something until it has been agreed on, or refused.
    pub(crate) async fn propose(&self, broker: &Broker, kind: Kind) {
        announcer::propose(broker, &self.id, kind).await;
    }

    /// The node's name.
    pub(crate) fn name(&self) -> &str {
        &self.introduction.name
    }

    /// Tells the control plane that this gateway leaves: others get its sessions at once, so it
    /// has to serve nobody from here on.
    pub(crate) async fn leave(&self, broker: &Broker) {
        self.lease.give_up();
        let incarnation = self.incarnation();
        if incarnation != 0 {
            let leave = Kind::Fence(Fence {
                incarnation,
                why: Why::Left.into(),
            });
            announcer::propose(broker, &self.id, leave).await;
        }
    }

    fn follow_node(&self, effect: Effect) {
        match effect {
            Effect::NodeUp(incarnation, address) => {
                tracing::info!(incarnation, address, "node joined");
                self.peers.set_node(incarnation, &address);
            }
            Effect::NodeFenced(departed) => {
                departure::tell(&departed, &self.introduction.name);
                if departed.role == Role::Bridge {
                    // It has no sessions that somebody would have to take over first.
                    self.peers.remove_node(departed.incarnation);
                }
            }
            Effect::NodeGone(incarnation) => {
                tracing::info!(incarnation, "nothing is left of a node");
                self.peers.remove_node(incarnation);
            }
            Effect::Adopt(..) | Effect::Fenced | Effect::Settings(_) => {}
            Effect::Bans(_) | Effect::Traces(_) => {}
        }
    }
}

impl Cluster {
    /// Notes that slices of a fenced incarnation are adopted; whether that is news.
    fn begin_adoption(&self, fenced: u64, slices: &[u32]) -> bool {
        let mut adoptions = self.adoptions.lock();
        let new = slices
            .iter()
            .filter(|slice| adoptions.insert((fenced, **slice)));
        new.count() > 0
    }
}
