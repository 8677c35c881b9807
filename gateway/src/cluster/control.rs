//! The line to the control plane: joins it, follows what it says, keeps the lease.
//!
//! One stream to any node of the control plane; when it breaks, or nothing is confirmed for too
//! long, the next node is tried. What has been applied is said at once, since somebody's SUBACK
//! may wait for it, and otherwise four times a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use super::lease::Beats;
use super::view::Effect;
use super::{Cluster, JoinError, StrayStore, announcer, departure};
use crate::broker::Broker;
use crate::proto::cluster::control::control_client::ControlClient;
use crate::proto::cluster::control::{
    Mark, ProposeRequest, StatusRequest, WatchReply, WatchRequest, watch_reply, watch_request,
};
use crate::proto::cluster::state::fence::Why;
use crate::proto::cluster::state::{Adopted, Command, Fence, Register, Role, command::Kind};
use crate::proto::cluster::{PROTOCOL, other_protocol};
use crate::proto::mqtt::Reason;
use crate::session::End;
use crate::shared;
use crate::store::{self, Store, Stray};

/// How often the lease is renewed.
const BEAT: Duration = Duration::from_millis(250);
/// How long a node of the control plane may confirm nothing before another one is tried.
const SILENCE: Duration = Duration::from_millis(1_500);
/// How long a call may take.
const CALL: Duration = Duration::from_secs(5);
/// Pauses between tries: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long a start waits before it says what for.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the name of this gateway may be that of another one: its own last run, until that is
/// known to be over.
const NAME_TAKEN: Duration = Duration::from_secs(10);

/// What a node gets when it joins.
pub(crate) struct Joined {
    pub(crate) cluster_id: bytes::Bytes,
    pub(crate) incarnation: u64,
}

/// Why one try did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("{}", .0.message())]
    Status(#[from] Box<tonic::Status>),
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    OtherVersion(String),
    #[error("the cluster has no id yet")]
    NoCluster,
    #[error(transparent)]
    Stray(#[from] Stray),
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl From<tokio::time::error::Elapsed> for Failure {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self::Timeout
    }
}

/// What a gateway says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Introduction {
    pub(crate) name: String,
    pub(crate) peer_address: String,
    pub(crate) http_address: String,
    pub(crate) token: u64,
    /// What the cluster calls its store; empty before it has joined.
    pub(crate) store: String,
}

/// Joins the cluster through any node of its control plane; tries until it works.
///
/// # Errors
///
/// The reason, if the name stays that of another gateway for longer than it takes to notice that
/// the last run of this one is over, or if its store is not the cluster's.
pub(crate) async fn join(
    control: &mut tokio::sync::watch::Receiver<Vec<String>>,
    introduction: &mut Introduction,
    store: &Store,
) -> Result<Joined, JoinError> {
    let began = Instant::now();
    let mut refused_since = None;
    let mut pause = PAUSES.0;
    let mut last_said = String::new();
    loop {
        let addresses = control.borrow_and_update().clone();
        let mut why = "no node of the control plane is known yet".to_owned();
        for address in &addresses {
            match try_join(address, introduction, store).await {
                Ok(joined) => return Ok(joined),
                Err(Failure::OtherVersion(refusal)) => return Err(JoinError::Refused(refusal)),
                Err(Failure::Stray(stray)) => return Err(StrayStore(stray).into()),
                Err(Failure::Refused(refusal)) => {
                    let since = refused_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > NAME_TAKEN {
                        return Err(JoinError::Refused(refusal));
                    }
                    why = refusal;
                }
                Err(failure) => why = format!("{address}: {failure}"),
            }
        }
        // At first that is how a start goes.
        if began.elapsed() < PATIENCE {
            tracing::debug!(why, "not in the cluster yet");
        } else if why != last_said {
            tracing::info!(why, "waiting for the control plane");
            last_said = why;
        }
        let _ = tokio::time::timeout(pause, control.changed()).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn try_join(
    address: &str,
    introduction: &mut Introduction,
    store: &Store,
) -> Result<Joined, Failure> {
    let mut client = ControlClient::new(connect(address).await?);
    let status = tokio::time::timeout(CALL, client.status(StatusRequest {})).await??;
    let status = status.into_inner();
    check_protocol(address, status.protocol)?;
    let cluster_id = status.cluster_id;
    if cluster_id.is_empty() {
        return Err(Failure::NoCluster);
    }
    // Found out before anybody hears of this gateway; the control plane judges once more, since
    // two may be the first ones.
    introduction.store = store.belong(&cluster_id, &status.store).await?;
    let incarnation = register(&mut client, &cluster_id, introduction).await?;
    Ok(Joined {
        cluster_id,
        incarnation,
    })
}

/// A control plane of another version may not know that it should refuse this gateway.
fn check_protocol(address: &str, theirs: u32) -> Result<(), Failure> {
    let who = format!("the control plane at {address}");
    match other_protocol(&who, theirs) {
        None => Ok(()),
        Some(refusal) => Err(Failure::OtherVersion(refusal)),
    }
}

async fn connect(address: &str) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(Duration::from_secs(1))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(Duration::from_secs(2));
    Ok(endpoint.connect().await?)
}

async fn register(
    client: &mut ControlClient<Channel>,
    cluster_id: &bytes::Bytes,
    introduction: &Introduction,
) -> Result<u64, Failure> {
    let register = Register {
        name: introduction.name.clone(),
        role: Role::Gateway.into(),
        peer_address: introduction.peer_address.clone(),
        http_address: introduction.http_address.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        token: introduction.token,
        store: introduction.store.clone(),
    };
    let request = ProposeRequest {
        cluster_id: cluster_id.clone(),
        command: Some(Command {
            kind: Some(Kind::Register(register)),
        }),
        n_hops: 0,
    };
    let outcome = tokio::time::timeout(CALL, client.propose(request)).await??;
    let outcome = outcome.into_inner();
    match outcome.refused.is_empty() {
        true => Ok(outcome.index),
        false => Err(Failure::Refused(outcome.refused)),
    }
}

/// Follows the control plane until the gateway stops.
pub(super) async fn run(broker: Arc<Broker>, cluster: Arc<Cluster>) {
    let mut control = cluster.config.control.clone();
    let mut turn = 0;
    let mut pause = PAUSES.0;
    let mut refused = String::new();
    let following = async {
        loop {
            let addresses = control.borrow_and_update().clone();
            if let Some(address) = addresses.get(turn % addresses.len().max(1)) {
                let began = Instant::now();
                let end = follow(&broker, &cluster, address).await;
                cluster.channel.send_replace(None);
                tracing::debug!(address, ?end, "the line to the control plane is cut");
                if let Err(Failure::OtherVersion(why)) = &end
                    && refused != *why
                {
                    tracing::error!(why, "the control plane was changed under this gateway");
                    refused.clone_from(why);
                }
                if began.elapsed() > PAUSES.1 {
                    pause = PAUSES.0;
                }
            }
            turn += 1;
            let _ = tokio::time::timeout(pause, control.changed()).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    };
    tokio::select! {
        () = following => {}
        () = broker.tasks_end.cancelled() => {}
    }
}

/// Follows one node of the control plane until the stream ends.
async fn follow(broker: &Arc<Broker>, cluster: &Cluster, address: &str) -> Result<(), Failure> {
    let channel = connect(address).await?;
    let mut client = ControlClient::new(channel.clone());
    let status = tokio::time::timeout(CALL, client.status(StatusRequest {})).await??;
    check_protocol(address, status.into_inner().protocol)?;
    if cluster.incarnation() == 0 {
        if cluster.lease.is_given_up() {
            return Err(Failure::Refused("this gateway leaves".to_owned()));
        }
        let introduction = &cluster.introduction;
        let incarnation = register(&mut client, &cluster.id, introduction).await?;
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
    let mut replies = tokio::time::timeout(CALL, opening).await??.into_inner();
    tracing::debug!(address, "following the control plane");
    cluster.channel.send_replace(Some(channel));
    cluster.beats.lock().forget();
    let mut line = Line {
        broker,
        cluster,
        requests,
        confirmed_at: Instant::now(),
    };
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            reply = replies.message() => match reply? {
                Some(reply) => line.take(reply)?,
                None => return Ok(()),
            },
            _ = ticks.tick() => {
                let is_whole = cluster.view.lock().revision > 0;
                if is_whole && line.confirmed_at.elapsed() > SILENCE {
                    return Err(Failure::Timeout);
                }
                if !is_whole {
                    line.confirmed_at = Instant::now(); // a snapshot may take its time
                }
                line.beat();
            }
        }
    }
}

/// One stream.
struct Line<'a> {
    broker: &'a Arc<Broker>,
    cluster: &'a Cluster,
    requests: mpsc::Sender<WatchRequest>,
    confirmed_at: Instant,
}

impl Line<'_> {
    /// What follows from a reply is done before a beat says that it was taken in: others count on
    /// it then.
    fn take(&mut self, reply: WatchReply) -> Result<(), Failure> {
        let table = &self.broker.table;
        let is_waited_for = matches!(reply.kind, Some(watch_reply::Kind::Changes(_)));
        let effects = match reply.kind {
            Some(watch_reply::Kind::Begin(_)) => {
                self.cluster.lease.end();
                self.cluster.beats.lock().forget();
                self.cluster.view.lock().begin();
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
                effect => self.cluster.follow_node(effect),
            }
        }
        if is_waited_for {
            self.beat();
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
        self.broker.tasks.spawn(async move {
            let adopting = async {
                if shared::adopt(&broker, (fenced, by), &slices).await.is_err() {
                    return; // this one is fenced, too: they are dealt out anew
                }
                let adopted = Kind::Adopted(Adopted { fenced, by, slices });
                announcer::propose(&broker, &id, adopted).await;
            };
            tokio::select! {
                () = adopting => {}
                () = broker.tasks_end.cancelled() => {}
            }
        });
    }

    fn mark(&mut self, mark: &Mark) {
        if let Some(sent_at) = self.cluster.beats.lock().confirm(mark.beat) {
            self.confirmed_at = Instant::now();
            if self.cluster.view.lock().revision > 0 {
                self.cluster.lease.renew(sent_at);
            }
        }
        let done = self.cluster.announcements.lock().settle(mark.watermark);
        announcer::release(self.broker, done, None);
    }

    /// Says what has been applied, and asks for the lease to go on.
    fn beat(&mut self) {
        let applied = self.cluster.view.lock().revision;
        let number = self.cluster.beats.lock().send(self.broker.clock.now());
        let beat = watch_request::Kind::Beat(watch_request::Beat { number, applied });
        // Where the stream is so full, an earlier beat has not left yet: the next one says more.
        let _ = self.requests.try_send(WatchRequest { kind: Some(beat) });
    }
}

impl Cluster {
    /// The gateway has a new incarnation. Whatever goes by it is ready before it is seen.
    fn begin(&self, incarnation: u64) {
        let mut view = self.view.lock();
        view.own = incarnation;
        view.revision = 0;
        drop(view);
        *self.beats.lock() = Beats::default();
        self.announcements.lock().begin_again(incarnation);
        self.incarnation
            .store(incarnation, std::sync::atomic::Ordering::Release);
        self.changed.notify_one();
    }

    /// Others have decided that this gateway is gone: its clients are not its own any more.
    fn fenced(&self, broker: &Arc<Broker>) {
        self.lease.end();
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
            if broker.store.redis().is_some() {
                // They are others' now, or will be: nothing is written for them here any more.
                broker.lose(&session, store::redis::Fenced::Taken);
                broker.drop_moved(&session); // nobody sends here any more
            }
            session.request_end(End::refused(
                Reason::ServerUnavailable,
                "the cluster took this gateway for gone",
            ));
        }
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
            Effect::NodeFenced(incarnation, name, why) => {
                departure::tell(incarnation, &name, why, &self.introduction.name);
            }
            Effect::NodeGone(incarnation) => {
                tracing::info!(incarnation, "nothing is left of a node");
                self.peers.remove_node(incarnation);
            }
            Effect::Adopt(..) | Effect::Fenced | Effect::Settings(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_plane_of_another_version_is_not_joined() {
        let refusal = |theirs| match check_protocol("c1:1", theirs) {
            Err(Failure::OtherVersion(refusal)) => refusal,
            _ => String::new(),
        };
        assert_eq!(refusal(PROTOCOL), "");
        assert!(refusal(0).starts_with("the control plane at c1:1 is of an older version"));
        assert!(refusal(PROTOCOL + 1).starts_with("the control plane at c1:1 is of a newer"));
    }
}
