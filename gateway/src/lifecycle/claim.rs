//! How a connection gets the session of its client identifier.
//!
//! A CONNECT whose client identifier is claimed asks that connection to end, waits until it has
//! let go, and tries again `[MQTT-3.1.4-3]`; whoever finds the session free under the registry's
//! lock has it.

use std::sync::Arc;
use std::time::Duration;

use gatemq_storage::Batch;

use super::record_of;
use crate::broker::Broker;
use crate::metrics::Limit;
use crate::proto::mqtt::{Reason, Version};
use crate::registry::places::Place;
use crate::session::outbound::Outbound;
use crate::session::{Awaiting, End, Life, Session};
use crate::store::keys;
use crate::turn::Turn;

/// What a CONNECT asks of the sessions.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) client_id: &'a str,
    /// Who the client is; `None` where nobody looks at that.
    pub(crate) principal: Option<&'a str>,
    pub(crate) clean_start: bool,
    pub(crate) version: Version,
    /// Session expiry in force, in seconds.
    pub(crate) expiry: u32,
}

/// A session that a connection has now.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) session: Arc<Session>,
    pub(crate) epoch: u64,
    /// Session Present.
    pub(crate) is_present: bool,
    /// The session that it takes the place of.
    pub(crate) replaced: Option<Arc<Session>>,
}

/// Why a connection gets no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSession {
    /// It is somebody else's.
    NotOwn,
    /// Who has it does not let go in time.
    Busy,
    /// It cannot be asked for now.
    Unavailable,
    /// There are as many as there may be.
    Sessions,
    /// Its user has as many as it may have.
    SessionsOfUser,
    /// The disk is full.
    Disk,
    /// Redis has no memory.
    Redis,
}

/// What came of one try.
enum Try {
    Claimed(Claimed),
    /// Another connection has the session, and has been asked to let go; its epoch.
    Held(Arc<Session>, u64),
}

// === impl NoSession ===

impl NoSession {
    /// What the CONNACK says, and the log.
    pub(crate) fn told(self) -> (Reason, &'static str) {
        match self {
            Self::NotOwn => (
                Reason::NotAuthorized,
                "the session of this client identifier is somebody else's",
            ),
            Self::Busy => (Reason::ServerBusy, "the session is not to be had now"),
            Self::Unavailable => (
                Reason::ServerUnavailable,
                "the session is not to be had now",
            ),
            Self::Sessions => (
                Reason::QuotaExceeded,
                "too many sessions (limits.max-sessions)",
            ),
            Self::SessionsOfUser => (
                Reason::QuotaExceeded,
                "too many sessions of this user (limits.max-sessions-per-user)",
            ),
            Self::Disk => (
                Reason::QuotaExceeded,
                "there is no room on the disk for another session",
            ),
            Self::Redis => (
                Reason::QuotaExceeded,
                "redis has no memory for another session",
            ),
        }
    }
}

// === impl Broker ===

impl Broker {
    /// Gets the session of a client identifier for a new connection.
    ///
    /// # Errors
    ///
    /// There is no room for another session, or it is somebody else's.
    pub(crate) async fn claim(self: &Arc<Self>, claim: &Claim<'_>) -> Result<Claimed, NoSession> {
        if self.store.redis().is_some() {
            return self.claim_shared(claim).await;
        }
        loop {
            let (holder, epoch) = match self.try_claim(claim)? {
                Try::Claimed(claimed) => {
                    self.publish_overdue(&claimed.session);
                    self.store_claim(&claimed).await;
                    return Ok(claimed);
                }
                Try::Held(holder, epoch) => (holder, epoch),
            };
            let_go(&holder, epoch).await;
        }
    }

    /// Ends the connection of a session, if there is one, because another node wants it.
    ///
    /// It may only be kept for a client here whose claim is under way. If that gets it, the connection
    /// that begins then is to end, too: whoever wants it would be told by Redis to ask for that one.
    pub(crate) async fn wait_until_free(&self, session: &Arc<Session>) {
        /// How often it is looked whether another connection has it.
        const LOOK: Duration = Duration::from_millis(20);
        let mut asked = None;
        loop {
            let epoch = {
                let life = session.life.lock();
                if !life.is_claimed {
                    return;
                }
                life.epoch
            };
            if asked.replace(epoch) != Some(epoch) {
                session.request_end(taken_over());
            }
            let letting_go = tokio::time::timeout(LOOK, let_go(session, epoch));
            if letting_go.await.is_ok() {
                return;
            }
        }
    }

    fn try_claim(self: &Arc<Self>, claim: &Claim<'_>) -> Result<Try, NoSession> {
        let mut shard = self.registry.lock(claim.client_id);
        let known = shard.find(claim.client_id).cloned();
        if let Some(session) = &known {
            let mut life = session.life.lock();
            let is_there = life.is_there(self.clock.now());
            if is_there && !life.is_for(claim.principal) {
                return Err(NoSession::NotOwn); // somebody else's, who notices nothing
            }
            if life.is_claimed {
                let epoch = life.epoch;
                drop(life);
                drop(shard);
                session.request_end(taken_over());
                return Ok(Try::Held(session.clone(), epoch));
            }
            if !claim.clean_start && is_there {
                self.resume(session, &mut life, claim);
                let epoch = life.epoch;
                drop(life);
                self.registry
                    .count(session, claim.principal.unwrap_or_default());
                return Ok(Try::Claimed(Claimed {
                    session: session.clone(),
                    epoch,
                    is_present: true,
                    replaced: None,
                }));
            }
            drop(life);
            shard.remove(session);
        }
        let new = self.place_for(claim).map(|place| {
            let session = self.new_session(claim);
            *session.place.lock() = place;
            shard.insert(session.clone());
            session
        });
        drop(shard);
        if let Some(old) = &known {
            let mut turn = Turn::new(self);
            self.end_session(old, &mut turn);
            turn.finish(None);
        }
        Ok(Try::Claimed(Claimed {
            session: new?,
            epoch: 1,
            is_present: false,
            replaced: known,
        }))
    }

    /// Gives a session, whose life this is, to a connection that takes it up again, and is let in later.
    /// From now on that one is meant by whoever asks the connection to end.
    pub(crate) fn resume(&self, session: &Session, life: &mut Life, claim: &Claim<'_>) {
        session.begin_connection(life);
        life.awaiting = Some(Awaiting::here(life));
        life.is_claimed = true;
        life.epoch += 1;
        life.version = Some(claim.version);
        life.expiry = claim.expiry;
        life.principal = claim.principal.unwrap_or_default().into();
        life.detached_at = 0;
        self.agenda.strike(life.expiry_timer.take());
        self.agenda.strike(life.will_timer.take());
    }

    /// A place for another session, in all and of its user, if there is one.
    fn place_for(&self, claim: &Claim<'_>) -> Result<Option<Place>, NoSession> {
        let must_be_stored = claim.expiry > 0;
        if must_be_stored && self.store.is_short() {
            return Err(NoSession::Disk);
        }
        self.ask_for_room(claim.principal.unwrap_or_default())
    }

    /// Whether this gateway may have one more session of anybody's.
    fn check_sessions(&self) -> Result<(), NoSession> {
        match self.registry.n_sessions() < self.settings.load().max_sessions {
            true => Ok(()),
            false => {
                self.metrics.limits_hit.inc(Limit::MaxSessions);
                Err(NoSession::Sessions)
            }
        }
    }

    /// The same and a place of its user, as far as it is known here, where other gateways have
    /// sessions, too.
    pub(crate) fn ask_for_room(&self, principal: &str) -> Result<Option<Place>, NoSession> {
        self.check_sessions()?;
        let place = self.registry.ask_for_place(principal);
        place.map_err(|_| {
            self.metrics.limits_hit.inc(Limit::MaxSessionsPerUser);
            NoSession::SessionsOfUser
        })
    }

    fn new_session(&self, claim: &Claim<'_>) -> Arc<Session> {
        let life = Life {
            is_claimed: true,
            epoch: 1,
            version: Some(claim.version),
            expiry: claim.expiry,
            principal: claim.principal.unwrap_or_default().into(),
            created_at: self.clock.now(),
            ..Life::default()
        };
        let outbound = Outbound::new(claim.expiry > 0);
        let number = self.store.new_session();
        Arc::new(Session::new(number, claim.client_id, outbound, life))
    }

    /// Stores who has the client identifier now, before the client is told of it: a session that
    /// is to outlive its connection, and that the one before it is no more.
    async fn store_claim(&self, claimed: &Claimed) {
        let session = &claimed.session;
        let mut batch = Batch::default();
        if let Some(old) = &claimed.replaced
            && old.outbound.lock().is_stored()
        {
            batch.delete(&keys::session(old.number));
            if !self.wills.has(old.number) {
                batch.delete(&keys::will(old.number)); // else when it is out
            }
        }
        let is_stored = session.outbound.lock().is_stored();
        if !is_stored && batch.is_empty() {
            return;
        }
        let safe = {
            // Under the lock: should the session end of a full queue, that is stored after this.
            let life = session.life.lock();
            if is_stored && !life.is_over {
                let record = record_of(session, &life);
                batch.put(&keys::session(session.number), &record.store());
            }
            self.store.make_safe(batch)
        };
        // A resumed session reads its queue from the store: what its last connection finished
        // must be gone from there. An error means that the store, and the process, has stopped.
        let _ = safe.await;
    }
}

/// Waits until a connection has let go of its session.
pub(crate) async fn let_go(session: &Session, epoch: u64) {
    let detached = session.detached.notified();
    tokio::pin!(detached);
    detached.as_mut().enable();
    // Looked at after `enable`, so that a release in between is not missed, nor another
    // connection that has the session since and was not asked to end.
    let is_same = {
        let life = session.life.lock();
        life.is_claimed && life.epoch == epoch
    };
    if is_same {
        detached.await;
    }
}

pub(crate) fn taken_over() -> End {
    End::refused(
        Reason::SessionTakenOver,
        "another connection has the client identifier now",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::completion;
    use crate::session::Signal;

    /// Whoever asks does so once: a connection that does not notice would go on.
    #[tokio::test]
    async fn a_connection_that_is_asked_to_end_as_it_begins_notices_or_is_not_meant() {
        const ROUNDS: usize = 2_000;
        let broker = Broker::in_memory();
        broker.tasks.spawn(completion::run(broker.clone()));
        let claim = Claim {
            client_id: "c",
            principal: None,
            clean_start: false,
            version: Version::V5,
            expiry: u32::MAX,
        };
        let session = broker.claim(&claim).await.expect("room").session;
        broker.detach(&session, &End::Lost);
        let barrier = Arc::new(Barrier::new(2));
        let asking = std::thread::spawn({
            let (session, barrier) = (session.clone(), barrier.clone());
            move || {
                for _ in 0..ROUNDS {
                    barrier.wait();
                    session.request_end(taken_over());
                    barrier.wait();
                }
            }
        });
        for round in 0..ROUNDS {
            barrier.wait();
            let claimed = broker.try_claim(&claim).expect("it is there");
            barrier.wait();
            assert!(matches!(claimed, Try::Claimed(_)));
            let is_asked = session.life.lock().end.is_some();
            assert_eq!(session.take_signal(Signal::End), is_asked, "{round}");
            broker.detach(&session, &End::Lost);
        }
        asking.join().expect("it does not panic");
        broker.tasks_end.cancel();
    }

    #[test]
    fn each_cause_that_there_is_no_room_has_its_own_words() {
        let full = [
            (NoSession::Sessions, "max-sessions)"),
            (NoSession::SessionsOfUser, "max-sessions-per-user)"),
            (NoSession::Disk, "on the disk"),
            (NoSession::Redis, "redis"),
        ];
        for (no_session, part) in full {
            let (reason, why) = no_session.told();
            assert_eq!(reason, Reason::QuotaExceeded, "{why}");
            assert!(why.contains(part), "{part}: {why}");
            let others = full.iter().filter(|(other, _)| *other != no_session);
            for (_, part) in others {
                assert!(!why.contains(part), "{part}: {why}");
            }
        }
    }
}
