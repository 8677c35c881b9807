//! How a connection gets a session that any gateway may have.
//!
//! Redis decides, in one call. A gateway whose client is connected is asked to let go first, so
//! that the old connection has ended, and its will is out, before the new one's first word; one
//! that is gone, or does not answer, loses the session all the same: its epoch is old then, and
//! its writes are refused. The gateway that had the session keeps its routes until every gateway
//! knows of the new ones, and gives back whatever comes meanwhile.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use foldhash::fast::FixedState;
use gatemq_router::peer::ReleaseRequest;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::lifecycle::{Claim, Claimed, let_go, taken_over};
use crate::proto::mqtt::Reason;
use crate::session::outbound::Outbound;
use crate::session::recent::Recent;
use crate::session::{Life, Session};
use crate::store::record::SessionRecord;
use crate::store::redis::{self, Claimed as Answer, Error, Holder, Place, Stored, Taken};
use crate::will::Will;

/// Client identifiers that share a place in the queue.
const PLACES: usize = 256;
/// How long another gateway may take to let go of a client.
const LET_GO: Duration = Duration::from_secs(3);
/// Pause before a session is claimed again whose gateway has let go of it.
const AGAIN: Duration = Duration::from_millis(5);
/// How long a claim may take.
const CLAIM: Duration = Duration::from_secs(10);
/// How long it may take until every gateway knows of the routes of a session that has moved: for
/// the one that had it, and for the client.
const LOOKED: Duration = Duration::from_secs(20);
const ROUTED: Duration = Duration::from_secs(2);

/// Lets one claim of a client identifier through at a time.
#[derive(Debug)]
pub(crate) struct Turnstile(Box<[tokio::sync::Mutex<()>]>);

impl Default for Turnstile {
    fn default() -> Self {
        Self((0..PLACES).map(|_| tokio::sync::Mutex::default()).collect())
    }
}

impl Turnstile {
    async fn pass(&self, client_id: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let hash = FixedState::with_seed(0x636c_6169).hash_one(client_id);
        self.0[hash as usize % PLACES].lock().await
    }
}

impl Broker {
    /// Gets the session of a client identifier for a new connection, from whichever gateway has
    /// it.
    ///
    /// # Errors
    ///
    /// The reason for the CONNACK.
    pub(crate) async fn claim_shared(
        self: &Arc<Self>,
        claim: &Claim<'_>,
    ) -> Result<Claimed, Reason> {
        let deadline = Instant::now() + CLAIM;
        let late = |_| Reason::ServerBusy;
        let passing = self.claims.pass(claim.client_id);
        let _place = tokio::time::timeout_at(deadline, passing)
            .await
            .map_err(late)?;
        let new_number = self.store.new_session();
        let mut force = None;
        loop {
            let local = self
                .registry
                .lock(claim.client_id)
                .find(claim.client_id)
                .cloned();
            if let Some(session) = &local
                && let Some(epoch) = claimed_epoch(session)
            {
                session.request_end(taken_over());
                let letting_go = let_go(session, epoch);
                tokio::time::timeout_at(deadline, letting_go)
                    .await
                    .map_err(late)?;
                continue;
            }
            if local.is_none() && self.registry.n_sessions() >= self.settings.load().max_sessions {
                return Err(Reason::QuotaExceeded);
            }
            // It does not expire, nor is it let go, while Redis is asked.
            let known = local
                .as_ref()
                .and_then(|session| Reserved::new(self, session));
            let now = self.clock.now();
            let asked = redis::Claim {
                client_id: claim.client_id,
                new_number,
                owner: self.incarnation(),
                principal: "",
                clean_start: claim.clean_start,
                expiry: claim.expiry,
                version: claim.version,
                now,
                window: self.window(),
                force,
                is_known: known.is_some(),
            };
            let Some(store) = self.store.redis() else {
                return Err(Reason::ServerUnavailable);
            };
            match store.claim(&asked).await {
                Ok(Answer::Taken(taken)) => {
                    let known = known.map(Reserved::keep);
                    let recent = self.hand_over(claim.client_id, &taken).await;
                    let claimed = self.take_over(claim, *taken, local.as_ref(), known.as_ref())?;
                    claimed.session.note_recent(recent);
                    if let (true, Some(cluster)) = (claimed.is_present, &self.cluster) {
                        // What is published after the CONNACK comes here.
                        cluster.known_everywhere(&claimed.session, ROUTED).await;
                    }
                    return Ok(claimed);
                }
                Ok(Answer::Forbidden) => return Err(Reason::NotAuthorized),
                Ok(Answer::Held(holder)) => {
                    if Instant::now() >= deadline {
                        return Err(Reason::ServerBusy);
                    }
                    if self.ask_to_let_go(claim.client_id, &holder).await {
                        tokio::time::sleep(AGAIN).await; // its last write is on its way
                    } else {
                        force = Some((holder.number, holder.epoch));
                    }
                }
                Err(Error::Full { why }) => {
                    tracing::warn!(client.id = claim.client_id, why, "no session");
                    return Err(Reason::QuotaExceeded);
                }
                Err(error) => {
                    tracing::warn!(client.id = claim.client_id, %error, "no session");
                    return Err(Reason::ServerUnavailable);
                }
            }
        }
    }

    /// The incarnation that owns this gateway's sessions.
    pub(super) fn incarnation(&self) -> u64 {
        self.cluster
            .as_ref()
            .map_or(1, |cluster| cluster.incarnation())
    }

    /// Entries of a queue that may have been sent when a connection was cut off: its window, and as
    /// much again that was finished and not deleted yet.
    pub(super) fn window(&self) -> usize {
        2 * usize::from(self.config.limits.max_inflight)
    }

    /// Asks a gateway to disconnect a client; whether it has.
    async fn ask_to_let_go(&self, client_id: &str, holder: &Holder) -> bool {
        let Some(cluster) = &self.cluster else {
            return false;
        };
        if !cluster.is_alive(holder.owner) {
            return false;
        }
        let request = cluster.release_request(client_id, holder);
        let asking = cluster.peers.release(holder.owner, request);
        match tokio::time::timeout(LET_GO, asking).await {
            Ok(Ok(reply)) => reply.is_released,
            Ok(Err(status)) => {
                tracing::warn!(owner = holder.owner, %status, "a gateway does not let go");
                false
            }
            Err(_) => {
                tracing::warn!(owner = holder.owner, "a gateway does not let go in time");
                false
            }
        }
    }

    /// Has the gateway that had a session let go of it for good; returns what that session has had
    /// of QoS 2 lately. A gateway that is gone takes that with it.
    async fn hand_over(&self, client_id: &str, taken: &Taken) -> Vec<u64> {
        let own = self.incarnation();
        let holder = taken.previous.filter(|holder| holder.owner != own);
        let (Some(cluster), Some(holder)) = (&self.cluster, holder) else {
            return Vec::new();
        };
        if taken.resumed.is_none() || !cluster.is_alive(holder.owner) {
            return Vec::new();
        }
        let mut request = cluster.release_request(client_id, &holder);
        request.has_claimed = true;
        let asking = cluster.peers.release(holder.owner, request);
        match tokio::time::timeout(LET_GO, asking).await {
            Ok(Ok(reply)) => reply.recent,
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }

    /// Brings a session that was claimed into memory. `local` is what was here of the client
    /// identifier, `known` the same if it is still good.
    fn take_over(
        self: &Arc<Self>,
        claim: &Claim<'_>,
        taken: Taken,
        local: Option<&Arc<Session>>,
        known: Option<&Arc<Session>>,
    ) -> Result<Claimed, Reason> {
        let is_present = taken.resumed.is_some();
        let same = known.filter(|known| known.number == taken.number);
        let session = match (taken.resumed, same) {
            (Some(resumed), Some(session)) if resumed.stored.is_none() => {
                let will = {
                    let mut life = session.life.lock();
                    let will = life.will.take();
                    self.resume(&mut life, claim);
                    will
                };
                session.begin_connection();
                self.attach(session, taken.epoch);
                if will.is_some() {
                    self.forget_will(session.number); // the client came back in time [MQTT-3.1.3-9]
                }
                session.clone()
            }
            (Some(resumed), _) => {
                let Some(stored) = resumed.stored else {
                    tracing::error!(
                        client.id = claim.client_id,
                        "a session came without its state"
                    );
                    return Err(Reason::ServerUnavailable);
                };
                let life = self.life_of(claim, resumed.record.created_at);
                let will = stored.will.clone();
                self.forget(local);
                let session =
                    self.bring_in(taken.number, taken.epoch, &resumed.record, stored, life);
                self.settle_will(&session, will, &resumed.record);
                session
            }
            (None, _) => {
                self.forget(local);
                let life = self.life_of(claim, self.clock.now());
                let outbound = Outbound::new(claim.expiry > 0);
                let session = Session::new(taken.number, claim.client_id, outbound, life);
                let session = Arc::new(session);
                self.attach(&session, taken.epoch);
                self.registry.lock(claim.client_id).insert(session.clone());
                session
            }
        };
        if let Some(ended) = taken.ended {
            self.settle_ended(claim.client_id, ended);
        }
        if let Some(holder) = taken
            .previous
            .filter(|holder| holder.owner != self.incarnation())
        {
            self.tell_moved(&session, holder);
        }
        let epoch = session.life.lock().epoch;
        Ok(Claimed {
            session,
            epoch,
            is_present,
            replaced: None,
        })
    }

    fn life_of(&self, claim: &Claim<'_>, created_at: u64) -> Life {
        Life {
            is_claimed: true,
            epoch: 1,
            version: Some(claim.version),
            expiry: claim.expiry,
            created_at,
            ..Life::default()
        }
    }

    /// From now on this gateway writes for the session.
    pub(super) fn attach(&self, session: &Arc<Session>, epoch: u64) {
        session.claim_epoch.store(epoch, Ordering::Release);
        if let Some(redis) = self.store.redis() {
            let place = Place::live(&*session.client_id, self.incarnation(), epoch);
            redis.attach(session.number, place);
        }
        self.owned.insert(session);
    }

    /// Puts a session that came from another gateway into memory, with its subscriptions.
    pub(super) fn bring_in(
        self: &Arc<Self>,
        number: u64,
        epoch: u64,
        record: &SessionRecord,
        stored: Stored,
        life: Life,
    ) -> Arc<Session> {
        let (first, last, n_entries, n_bytes, window_end) =
            stored.queue.map_or((None, 0, 0, 0, 0), |queue| {
                let bounds = (queue.n_entries as usize, queue.n_bytes as usize);
                (
                    Some(queue.first),
                    queue.last,
                    bounds.0,
                    bounds.1,
                    queue.window_end,
                )
            });
        let sent_below = match record.sent_below {
            u64::MAX => window_end + 1, // cut off: whatever may have been sent counts as sent
            sent_below => sent_below,
        };
        let entries = first.map(|first| (first, last));
        let outbound = Outbound::restored(entries, sent_below, n_entries, n_bytes);
        let mut session = Session::new(number, &record.client_id, outbound, life);
        if let Some(cluster) = &self.cluster {
            session.arrived = cluster.stamp();
        }
        for (packet_id, origin) in stored.received {
            session.received.get_mut().insert_unknown(packet_id, origin);
        }
        *session.recent.get_mut() = Recent::restored(stored.recent);
        let session = Arc::new(session);
        self.attach(&session, epoch);
        let change = self.begin_move();
        for (text, subscribed) in stored.subscriptions {
            self.subscribe(&session, &text, &subscribed, || None);
            session.subscriptions.lock().insert(text, subscribed);
        }
        drop(change);
        self.registry
            .lock(&session.client_id)
            .insert(session.clone());
        session
    }

    /// A session that was here before is another one by now, or somebody else's.
    fn forget(self: &Arc<Self>, known: Option<&Arc<Session>>) {
        if let Some(known) = known {
            known.life.lock().is_claimed = false; // by this very claim
            self.drop_moved(known);
        }
    }

    /// The will of the connection before: published, or forgotten if the client is back in time.
    fn settle_will(
        self: &Arc<Self>,
        session: &Arc<Session>,
        will: Option<Will>,
        record: &SessionRecord,
    ) {
        match will {
            Some(will) if will.is_due(record.detached_at, record.expiry, self.clock.now()) => {
                self.publish_stored_will(session.number, &will);
            }
            Some(_) => self.forget_will(session.number),
            None => {}
        }
    }

    /// Tells the gateway that had a session to forget it, as soon as every gateway knows of its
    /// routes here.
    pub(super) fn tell_moved(self: &Arc<Self>, session: &Arc<Session>, holder: Holder) {
        let (broker, session) = (self.clone(), session.clone());
        self.tasks.spawn(async move {
            let telling = async {
                let Some(cluster) = &broker.cluster else {
                    return;
                };
                cluster.known_everywhere(&session, LOOKED).await;
                if !cluster.is_alive(holder.owner) {
                    return;
                }
                let mut request = cluster.release_request(&session.client_id, &holder);
                request.is_moved = true;
                let telling = cluster.peers.release(holder.owner, request);
                // If it does not hear it, its own time bound will do.
                let _ = tokio::time::timeout(LET_GO, telling).await;
            };
            tokio::select! {
                () = telling => {}
                () = broker.tasks_end.cancelled() => {}
            }
        });
    }
}

impl crate::cluster::Cluster {
    fn release_request(&self, client_id: &str, holder: &Holder) -> ReleaseRequest {
        ReleaseRequest {
            cluster_id: self.id.clone(),
            client_id: client_id.to_owned(),
            by: self.incarnation(),
            epoch: holder.epoch,
            number: holder.number,
            is_moved: false,
            has_claimed: false,
        }
    }
}

/// A session that is kept as it is while Redis is asked for it. Let go where it is not wanted after
/// all.
struct Reserved<'b> {
    broker: &'b Arc<Broker>,
    session: Option<Arc<Session>>,
}

impl<'b> Reserved<'b> {
    fn new(broker: &'b Arc<Broker>, session: &Arc<Session>) -> Option<Self> {
        let _shard = broker.registry.lock(&session.client_id);
        let mut life = session.life.lock();
        if life.is_claimed || life.is_over || session.outbound.lock().is_moved() {
            return None;
        }
        life.is_claimed = true;
        broker.agenda.strike(life.expiry_timer.take());
        broker.agenda.strike(life.will_timer.take());
        drop(life);
        Some(Self {
            broker,
            session: Some(session.clone()),
        })
    }

    /// It is the caller's now.
    fn keep(mut self) -> Arc<Session> {
        self.session.take().expect("it is let go once")
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        {
            let _shard = self.broker.registry.lock(&session.client_id);
            let mut life = session.life.lock();
            life.is_claimed = false;
            self.broker.set_timers(&session, &mut life);
        }
        session.detached.notify_waiters();
    }
}

/// The epoch of the connection that a session has, if it has one.
fn claimed_epoch(session: &Session) -> Option<u64> {
    let life = session.life.lock();
    life.is_claimed.then_some(life.epoch)
}
