//! The line to the control plane: it makes the bridge a member, says which filters it has, and keeps it
//! one for as long as it beats. A bridge that was taken for gone joins anew.
//!
//! Of what the control plane tells, a bridge needs that it is a member, and where gateways are; it
//! confirms all of it, since whoever subscribes waits until every member has.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gatemq_proto::cluster::PROTOCOL;
use gatemq_proto::cluster::control::control_client::ControlClient;
use gatemq_proto::cluster::control::{
    Change, WatchReply, WatchRequest, watch_reply, watch_request,
};
use gatemq_proto::cluster::state::fence::Why;
use gatemq_proto::cluster::state::{Fence, Register, Role, Route, Routes, command::Kind};
use gatemq_router::control::lease::Beats;
use gatemq_router::control::rounds::Rounds;
use gatemq_router::control::{self, BEAT, CALL, Failure, NAME_TAKEN, PAUSES, SILENCE};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{JoinError, Shared, Standing, ToControl};

/// How long a start waits before it says what for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Filters of one command: all there are, as a rule, so that a run says at once what it wants.
const BATCH: usize = 5_000;

/// Waits until a node of the control plane says which cluster this is.
pub(super) async fn find_cluster(shared: &Shared) -> Result<(), JoinError> {
    let mut nodes = shared.config.control.clone();
    let (began, mut pause) = (Instant::now(), PAUSES.0);
    let mut said = String::new();
    loop {
        let addresses = nodes.borrow_and_update().clone();
        let mut why = "no node of the control plane is known yet".to_owned();
        for address in &addresses {
            match ask(shared, address).await {
                Ok(_) => return Ok(()),
                Err(Failure::OtherVersion(refusal)) => return Err(JoinError::Refused(refusal)),
                Err(failure) => why = format!("{address}: {failure}"),
            }
        }
        if began.elapsed() > PATIENCE && why != said {
            tracing::info!(why, "waiting for the control plane");
            said = why;
        }
        let _ = tokio::time::timeout(pause, nodes.changed()).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Follows the control plane until the bridge has left.
pub(super) async fn run(shared: std::sync::Arc<Shared>) {
    let mut rounds = Rounds::new(shared.config.control.clone());
    let mut refused_since = None;
    let following = async {
        loop {
            let address = rounds.next().await;
            let end = follow(&shared, &address).await;
            tracing::debug!(address, ?end, "the line to the control plane is cut");
            match end {
                Err(Failure::OtherVersion(why)) => shared.stand(Standing::Refused(why)),
                // Its own last run may have the name until that is known to be over.
                Err(Failure::Refused(why)) if shared.incarnation() == 0 => {
                    let since = refused_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > NAME_TAKEN {
                        shared.stand(Standing::Refused(why));
                    }
                }
                _ => refused_since = None,
            }
        }
    };
    tokio::select! {
        () = following => {}
        () = shared.end.cancelled() => {}
    }
}

/// Tells the control plane that the bridge leaves.
pub(super) async fn leave(shared: &Shared) {
    let incarnation = shared.incarnation();
    let why = Why::Left.into();
    let mut turn = 0;
    if incarnation == 0 {
        return;
    }
    loop {
        let addresses = shared.config.control.borrow().clone();
        if let Some(address) = addresses.get(turn % addresses.len().max(1))
            && let Ok(mut client) = ask(shared, address).await
        {
            let fence = Kind::Fence(Fence { incarnation, why });
            let id = shared.cluster_id.get().cloned().unwrap_or_default();
            if control::propose(&mut client, &id, fence, CALL)
                .await
                .is_ok()
            {
                return;
            }
        }
        turn += 1;
        tokio::time::sleep(PAUSES.0).await;
    }
}

/// A node of the control plane of this very cluster.
async fn ask(shared: &Shared, address: &str) -> Result<ControlClient<Channel>, Failure> {
    let dial = ToControl(shared.config.dialer.clone());
    let mut client = ControlClient::new(control::connect(address, &dial).await?);
    let status = control::status(&mut client, address).await?;
    if status.cluster_id.is_empty() {
        return Err(Failure::NoCluster);
    }
    let known = shared.cluster_id.get_or_init(|| status.cluster_id.clone());
    match *known == status.cluster_id {
        true => Ok(client),
        false => Err(Failure::Refused("it is of another cluster".to_owned())),
    }
}

/// Follows one node of the control plane until the stream ends.
async fn follow(shared: &Shared, address: &str) -> Result<(), Failure> {
    let mut client = ask(shared, address).await?;
    let id = shared.cluster_id.get().cloned().unwrap_or_default();
    if shared.incarnation() == 0 {
        if shared.is_leaving.is_cancelled() {
            return Err(Failure::Refused("this bridge leaves".to_owned()));
        }
        let incarnation = control::register(&mut client, &id, shared.to_register()).await?;
        *shared.told.lock() = Told::default();
        shared.incarnation.store(incarnation, Ordering::Release);
        shared.first.get_or_init(|| incarnation);
        tracing::info!(incarnation, name = shared.config.name, "joined the cluster");
    }
    let incarnation = shared.incarnation();
    let (requests, stream) = mpsc::channel(16);
    let hello = watch_request::Hello {
        cluster_id: id.clone(),
        incarnation,
        revision: shared.told.lock().revision,
        protocol: PROTOCOL,
    };
    let hello = watch_request::Kind::Hello(hello);
    let _ = requests.send(WatchRequest { kind: Some(hello) }).await;
    let mut watching = client.clone();
    let opening = watching.watch(ReceiverStream::new(stream));
    let mut replies = tokio::time::timeout(CALL, opening).await??.into_inner();
    shared.told.lock().beats.forget();
    let mut line = Line {
        shared,
        incarnation,
        requests,
        confirmed_at: Instant::now(),
    };
    let announcing = announce(shared, client, incarnation);
    tokio::pin!(announcing);
    let mut is_announced = false;
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            reply = replies.message() => {
                let Some(reply) = reply? else {
                    return Ok(());
                };
                if !line.take(reply) {
                    shared.fenced();
                    return Err(Failure::Refused("this incarnation is fenced".to_owned()));
                }
            }
            _ = ticks.tick() => {
                if line.is_silent() {
                    return Err(Failure::Timeout);
                }
                line.say();
            }
            announced = &mut announcing, if !is_announced => {
                announced?;
                is_announced = true;
                shared.stand(Standing::Announced);
            }
        }
    }
}

/// Says which filters the bridge has. Commands are numbered, and each is taken once: on a new line all
/// are said again.
async fn announce(
    shared: &Shared,
    mut client: ControlClient<Channel>,
    incarnation: u64,
) -> Result<(), Failure> {
    let id = shared.cluster_id.get().cloned().unwrap_or_default();
    let routes: Vec<&String> = shared.routes.iter().collect();
    for (number, filters) in (1..).zip(routes.chunks(BATCH)) {
        let set = filters.iter().map(|filter| Route {
            filter: (*filter).clone(),
            n_online: 1,
            n_offline: 0,
        });
        let routes = Routes {
            incarnation,
            number,
            set: set.collect(),
            removed: Vec::new(),
        };
        let outcome = control::propose(&mut client, &id, Kind::Routes(routes), CALL).await?;
        if !outcome.refused.is_empty() {
            return Err(Failure::Refused(outcome.refused));
        }
    }
    Ok(())
}

/// What the control plane has told an incarnation, and what that has said.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Everything up to here has been told; 0 before the first time.
    revision: u64,
    beats: Beats,
}

/// One stream.
struct Line<'a> {
    shared: &'a Shared,
    incarnation: u64,
    requests: mpsc::Sender<WatchRequest>,
    confirmed_at: Instant,
}

// === impl Line ===

impl Line<'_> {
    /// Takes in what the control plane says; false if the bridge is a member no more.
    fn take(&mut self, reply: WatchReply) -> bool {
        match reply.kind {
            Some(watch_reply::Kind::Changes(changes)) => {
                let own = self.incarnation;
                let mut all = changes.changes.iter();
                let is_fenced = all.any(|change| {
                    let kind = change.command.as_ref().and_then(|it| it.kind.as_ref());
                    matches!(kind, Some(Kind::Fence(fence)) if fence.incarnation == own)
                });
                self.shared.apply(&changes.changes);
                self.shared.told.lock().revision = changes.revision;
                self.say();
                !is_fenced
            }
            Some(watch_reply::Kind::Mark(mark)) => {
                if self.shared.told.lock().beats.confirm(mark.beat).is_some() {
                    self.confirmed_at = Instant::now();
                }
                !mark.is_fenced
            }
            Some(watch_reply::Kind::Begin(_)) => {
                self.shared.gateways.lock().begin();
                true
            }
            Some(watch_reply::Kind::Part(part)) => {
                self.shared.gateways.lock().read(part);
                true
            }
            None => true,
        }
    }

    fn is_silent(&mut self) -> bool {
        if self.shared.told.lock().revision == 0 {
            self.confirmed_at = Instant::now(); // the state may take its time
        }
        self.confirmed_at.elapsed() > SILENCE
    }

    /// Says what has been taken in, and asks to be counted.
    fn say(&self) {
        let mut told = self.shared.told.lock();
        let beat = watch_request::Beat {
            // When does not matter: it has nothing that a lease would be for.
            number: told.beats.send(0),
            applied: told.revision,
        };
        drop(told);
        let kind = Some(watch_request::Kind::Beat(beat));
        // Where the stream is so full, an earlier beat has not left yet: the next one says more.
        let _ = self.requests.try_send(WatchRequest { kind });
    }
}

// === impl Shared ===

impl Shared {
    /// Takes in changes, behind which all is told that there was.
    fn apply(&self, changes: &[Change]) {
        let mut gateways = self.gateways.lock();
        for change in changes {
            if let Some(command) = &change.command {
                gateways.apply(change.revision, command);
            }
        }
        let addresses = gateways.addresses();
        drop(gateways);
        self.addresses.send_if_modified(|known| {
            let is_news = *known != addresses;
            *known = addresses;
            is_news
        });
    }

    /// Others have decided that this bridge is gone: what is sent to it from now on is for its next
    /// incarnation.
    fn fenced(&self) {
        let incarnation = self.incarnation.swap(0, Ordering::AcqRel);
        if !self.is_leaving.is_cancelled() {
            tracing::error!(
                incarnation,
                "the cluster took this bridge for gone: it joins anew"
            );
            self.stand(Standing::Joining);
        }
    }

    fn stand(&self, standing: Standing) {
        self.standing.send_if_modified(|known| {
            let is_news = *known != standing;
            *known = standing;
            is_news
        });
    }

    fn to_register(&self) -> Register {
        Register {
            name: self.config.name.clone(),
            role: Role::Bridge.into(),
            peer_address: self.address.clone(),
            http_address: self.config.http_address.clone(),
            version: self.config.version.clone(),
            token: self.token,
            store: String::new(),
        }
    }
}
