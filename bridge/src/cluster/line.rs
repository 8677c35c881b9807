//! The line to the control plane: it makes the bridge a member, says which filters it has, and keeps it
//! one for as long as it beats. A bridge that was taken for gone joins anew.
//!
//! Of what the control plane tells, a bridge needs that it is a member, and where gateways are; it
//! confirms all of it, since whoever subscribes waits until every member has.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gatemq_proto::cluster::PROTOCOL;
use gatemq_proto::cluster::control::control_client::ControlClient;
use gatemq_proto::cluster::control::{
    Change, WatchReply, WatchRequest, watch_reply, watch_request,
};
use gatemq_proto::cluster::state::fence::Why;
use gatemq_proto::cluster::state::{Fence, Register, Role, Routes, command::Kind};
use gatemq_router::control::lease::Beats;
use gatemq_router::control::rounds::Rounds;
use gatemq_router::control::{self, BEAT, CALL, Failure, NAME_TAKEN, PAUSES, SILENCE};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::announcement::Announcement;
use super::offer::Force;
use super::settings::Texts;
use super::{JoinError, Shared, Standing, ToControl};

/// How long a start waits before it says what for.
const PATIENCE: Duration = Duration::from_secs(3);

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
        *shared.announcement.lock() = Announcement::new(incarnation);
        *shared.force.lock() = Force::default();
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
    let announcing = announce(shared, client);
    tokio::pin!(announcing);
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
            ended = &mut announcing => return ended,
        }
    }
}

/// Says which filters the bridge has, and what changes of that, for as long as the line is there.
async fn announce(shared: &Shared, mut client: ControlClient<Channel>) -> Result<(), Failure> {
    let id = shared.cluster_id.get().cloned().unwrap_or_default();
    let mut offers = shared.offer.subscribe();
    loop {
        let offer = offers.borrow_and_update().clone();
        match offer.map(|offer| (offer.revision, offer.routes)) {
            None => {}
            Some((revision, Ok(wanted))) => {
                while let Some(routes) = shared.next_routes(&wanted) {
                    let routes = Kind::Routes(routes);
                    let outcome = control::propose(&mut client, &id, routes, CALL).await?;
                    if !outcome.refused.is_empty() {
                        return Err(Failure::Refused(outcome.refused));
                    }
                    shared.announcement.lock().on_agreed(outcome.index);
                }
                let index = shared.announcement.lock().index();
                shared.force.lock().on_announced(revision, index);
                shared.stand(Standing::Announced);
            }
            // What it has announced stays: what comes for it waits.
            Some((_, Err(why))) => shared.stand(Standing::Unfit(why)),
        }
        if offers.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
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
                self.shared.apply(&changes.changes, changes.revision);
                self.shared.told.lock().revision = changes.revision;
                self.say();
                !is_fenced
            }
            Some(watch_reply::Kind::Mark(mark)) => {
                if self.shared.told.lock().beats.confirm(mark.beat).is_some() {
                    self.confirmed_at = Instant::now();
                }
                self.shared.force.lock().on_watermark(mark.watermark);
                !mark.is_fenced
            }
            Some(watch_reply::Kind::Begin(_)) => {
                // Should the line be cut amid that, the next one is to begin anew, too: changes alone
                // would make a whole of this part.
                self.shared.told.lock().revision = 0;
                self.shared.gateways.lock().begin();
                self.shared.settings.lock().begin();
                true
            }
            Some(watch_reply::Kind::Part(part)) => {
                self.shared.settings.lock().read(&part);
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
    /// Takes in changes, behind which all is told that there was up to this revision.
    fn apply(&self, changes: &[Change], revision: u64) {
        self.apply_rules(changes, revision);
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

    fn apply_rules(&self, changes: &[Change], revision: u64) {
        let mut settings = self.settings.lock();
        for change in changes {
            if let Some(command) = &change.command {
                settings.apply(change.revision, command);
            }
        }
        let (rules, since) = settings.rules();
        self.rules.send_if_modified(|known| {
            // What was changed and changed back is news, too: somebody may wait until it is in force.
            let is_known = |(known, at): &(Texts, u64)| known == rules && since <= *at;
            let is_news = !known.as_ref().is_some_and(is_known);
            if is_news {
                let since = if since == 0 { revision } else { since };
                *known = Some((rules.clone(), since));
            }
            is_news
        });
    }

    /// What the control plane is to be told, so that it knows just these.
    fn next_routes(&self, wanted: &BTreeSet<String>) -> Option<Routes> {
        self.announcement.lock().next(wanted)
    }

    /// Others have decided that this bridge is gone: what is sent to it from now on is for its next
    /// incarnation.
    fn fenced(&self) {
        let incarnation = self.incarnation.swap(0, Ordering::AcqRel);
        // Its filters are another's, or nobody's, until they are announced anew.
        *self.force.lock() = Force::default();
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

#[cfg(test)]
mod tests {
    use gatemq_node::credentials::Dialer;
    use tokio::sync::watch;

    use super::*;
    use crate::cluster::Config;
    use gatemq_proto::cluster::control::Changes;
    use gatemq_proto::cluster::control::watch_reply::Begin;

    fn shared() -> Shared {
        let config = Config {
            name: "b1".to_owned(),
            control: watch::channel(Vec::new()).1,
            http_address: String::new(),
            dialer: Dialer::default(),
            version: String::new(),
        };
        Shared::new(config, String::new(), 1)
    }

    /// Its own rules are no better for that.
    #[test]
    fn a_bridge_that_cannot_go_by_a_rule_takes_nothing_when_it_is_taken_for_gone() {
        let shared = shared();
        shared.is_fit.send_replace(false);
        shared.stand(Standing::Unfit("a rule does not go".to_owned()));
        shared.fenced();
        assert_eq!(*shared.standing.borrow(), Standing::Joining);
        assert!(!*shared.is_fit.borrow());
    }

    #[test]
    fn no_rules_are_in_force_when_it_is_taken_for_gone() {
        let shared = shared();
        shared.force.lock().on_announced(5, 9);
        shared.force.lock().on_watermark(9);
        assert_eq!(shared.in_force(), 5);
        shared.fenced();
        assert_eq!(shared.in_force(), 0);
    }

    /// Changes that come behind a part of the state would be taken for all of it.
    #[test]
    fn who_is_told_the_state_asks_for_all_of_it_again_until_it_has_it() {
        let shared = shared();
        let (requests, _requested) = mpsc::channel(8);
        let mut line = Line {
            shared: &shared,
            incarnation: 3,
            requests,
            confirmed_at: Instant::now(),
        };
        let revision = || shared.told.lock().revision;
        let changes = |revision| {
            watch_reply::Kind::Changes(Changes {
                revision,
                ..Changes::default()
            })
        };
        let mut take = |kind| line.take(WatchReply { kind: Some(kind) });
        assert!(take(changes(7)));
        assert_eq!(revision(), 7);
        assert!(take(watch_reply::Kind::Begin(Begin::default())));
        assert_eq!(revision(), 0);
        assert!(take(changes(9)));
        assert_eq!(revision(), 9);
    }
}
