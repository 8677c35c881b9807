//! How a connection gets a session that any gateway may have.
//!
//! Redis decides, in one call. A gateway whose client is connected is asked to let go first, so
//! that the old connection has ended, and its will is out, before the new one's first word; one
//! that is gone, or does not answer, loses the session all the same: its epoch is old then, and
//! its writes are refused. The gateway that had the session keeps its routes until every gateway
//! knows of the new ones, and gives back whatever comes meanwhile.
//!
//! A claim has a task of its own, and does not end with the connection that asked: whatever Redis
//! has given away by then is brought into memory and let go again. So it is with a claim whose
//! answer is lost, too. The client is told so, and as soon as Redis answers again it is asked what
//! became of that claim: there is no session that is this gateway's without its knowledge, and one
//! whose client was refused waits for it as before, with its will. A claim that certainly was not
//! carried out ends with the refusal.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::release::Released;
use super::reserved::Reserved;
use crate::broker::Broker;
use crate::lifecycle::{Claim, Claimed, NoSession, let_go, taken_over};
use crate::proto::mqtt::Version;
use crate::registry::places::Place;
use crate::session::{End, Session};
use crate::store::redis::{self, Claimed as Answer, Error, Health};

/// Pause before a session is claimed again whose gateway has let go of it.
const AGAIN: Duration = Duration::from_millis(5);
/// Pause before a claim is made again that has to wait for a lease.
const PAUSE: Duration = Duration::from_millis(100);
/// The first and the longest pause before it is asked again what became of a claim.
const PAUSES: (Duration, Duration) = (PAUSE, Duration::from_secs(5));
/// How long a claim may take, how long of that it may wait for a lease, and how long for one before
/// it while Redis does not answer.
const CLAIM: Duration = Duration::from_secs(10);
const LEASED: Duration = Duration::from_secs(4);
const DOWN: Duration = Duration::from_secs(2);
/// How long a client waits for every gateway to know of the routes of its session that has moved.
const ROUTED: Duration = Duration::from_secs(2);

/// A claim, whatever becomes of who asked for it.
struct Claiming {
    broker: Arc<Broker>,
    client_id: String,
    principal: Option<String>,
    clean_start: bool,
    version: Version,
    expiry: u32,
    /// The incarnation that claims: read once.
    owner: u64,
    began: Instant,
    /// That of a new session of its user: taken before Redis is asked, since others ask at the same
    /// time.
    place: Option<Place>,
    /// Who asked, until told.
    asker: Option<oneshot::Sender<Result<Offer, NoSession>>>,
}

/// A session for who asked; let go if nobody takes it.
struct Offer {
    broker: Arc<Broker>,
    claimed: Option<Claimed>,
}

impl Broker {
    /// Gets the session of a client identifier for a new connection, from whichever gateway has
    /// it.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(crate) async fn claim_shared(
        self: &Arc<Self>,
        claim: &Claim<'_>,
    ) -> Result<Claimed, NoSession> {
        let owner = self.incarnation();
        if owner == 0 {
            return Err(NoSession::Unavailable); // fenced
        }
        let (asker, told) = oneshot::channel();
        let claiming = Claiming {
            broker: self.clone(),
            client_id: claim.client_id.to_owned(),
            principal: claim.principal.map(str::to_owned),
            clean_start: claim.clean_start,
            version: claim.version,
            expiry: claim.expiry,
            owner,
            began: Instant::now(),
            place: None,
            asker: Some(asker),
        };
        // What Redis has given away nobody else here would know of.
        self.see_to("claim", claiming.run());
        match told.await {
            Ok(offer) => offer.map(Offer::take),
            Err(_) => Err(NoSession::Unavailable), // the gateway stops
        }
    }
}

impl Claiming {
    async fn run(mut self) {
        let broker = self.broker.clone();
        let passing = broker.claims.pass(&self.client_id);
        let _passing = tokio::select! {
            passing = passing => passing,
            () = tokio::time::sleep_until(self.began + CLAIM) => {
                return self.refuse(NoSession::Busy);
            }
            () = down_after(&broker, self.began + DOWN) => {
                broker.refusals.note(&"an earlier claim is not done");
                return self.refuse(NoSession::Unavailable);
            }
        };
        match self.claim(&broker).await {
            Ok(claimed) => self.offer(claimed),
            Err(why) => self.refuse(why),
        }
    }

    async fn claim(&mut self, broker: &Arc<Broker>) -> Result<Claimed, NoSession> {
        let redis = broker.store.redis().ok_or(NoSession::Unavailable)?;
        let (client_id, principal) = (self.client_id.clone(), self.principal.clone());
        let claim = Claim {
            client_id: &client_id,
            principal: principal.as_deref(),
            clean_start: self.clean_start,
            version: self.version,
            expiry: self.expiry,
        };
        let new_number = broker.store.new_session();
        let (mut force, mut has_asked, mut released) = (None, false, Released::default());
        // Whether Redis may have given the session already. Once an answer is lost, that is all
        // that is still to be known.
        let (mut is_open, mut unknown, mut pause) = (false, None, PAUSES.0);
        loop {
            let here = broker.session_here(&client_id);
            if let Some(session) = &here
                && self.takes_from(session, broker).await?
            {
                continue;
            }
            if here.is_none() && !has_asked {
                self.place = broker.ask_for_room(claim.principal.unwrap_or_default())?;
            }
            has_asked = true;
            if broker.incarnation() != self.owner {
                return Err(NoSession::Unavailable); // fenced: what it has is others' to adopt
            }
            let known = here
                .as_ref()
                .and_then(|session| Reserved::new(broker, session));
            if let (Some(session), None) = (&here, &known)
                && !session.outbound.lock().is_moved()
            {
                self.look_again().await?; // something has begun with it this very moment
                continue;
            }
            let now = broker.clock.now();
            let cluster = broker.cluster.as_ref();
            let asked = redis::Claim {
                client_id: &client_id,
                new_number,
                owner: self.owner,
                principal: claim.principal,
                clean_start: claim.clean_start,
                expiry: claim.expiry,
                version: claim.version,
                now,
                force,
                known: known.as_ref().and_then(Reserved::known_as),
                is_leased: cluster.is_none_or(|cluster| cluster.lease.is_held(now)),
                is_again: unknown.is_some(),
            };
            match redis.claim(&asked).await {
                Ok(Answer::Taken(taken)) => {
                    if let (Some(old), true) = (&here, known.is_some())
                        && taken.resumed.as_ref().is_some_and(brings_state)
                    {
                        // Another gateway had it meanwhile, or a claim had it of which nothing is
                        // known here. What was submitted for it goes first, then its state is read
                        // by the same claim; what comes for it meanwhile is given back.
                        is_open = true;
                        known.map(Reserved::keep);
                        broker.lose(old, redis::Fenced::Taken);
                        old.life.lock().is_claimed = false;
                        continue;
                    }
                    return self
                        .receive(broker, &claim, *taken, here.as_ref(), known)
                        .await;
                }
                Ok(Answer::Forbidden) => return Err(NoSession::NotOwn),
                Ok(Answer::Undone) => return Err(NoSession::Unavailable), // told already
                Ok(Answer::Unleased) => {
                    if self.began.elapsed() >= LEASED {
                        return Err(NoSession::Unavailable);
                    }
                    drop(known);
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(Answer::Held(holder)) => {
                    if self.began.elapsed() >= CLAIM {
                        return Err(NoSession::Busy);
                    }
                    if broker.ask_to_let_go(&client_id, &holder).await
                        && !released.is_wrong(holder, Instant::now())
                    {
                        tokio::time::sleep(AGAIN).await; // its last write is on its way
                    } else {
                        force = Some((holder.number, holder.epoch));
                    }
                }
                Err(error) => {
                    if self.asker.is_some() {
                        tracing::debug!(client.id = client_id, %error, "no session");
                        broker.refusals.note(&error);
                    }
                    match &error {
                        Error::Unanswered { .. } => is_open = true,
                        Error::Unasked { .. } | Error::Full { .. } | Error::Refused { .. }
                            if is_open => {}
                        Error::Full { .. } => return Err(NoSession::Redis),
                        _ => return Err(NoSession::Unavailable),
                    }
                    unknown.get_or_insert_with(|| broker.refusals.unknown());
                    self.refuse(NoSession::Unavailable);
                    drop(known);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                    redis.answers().await;
                }
            }
        }
    }

    /// Whether somebody here had the session, who has let go of it now.
    async fn takes_from(&self, session: &Session, broker: &Broker) -> Result<bool, NoSession> {
        let (claimed, is_doomed) = {
            let life = session.life.lock();
            if life.is_there(broker.clock.now()) && !life.is_for(self.principal.as_deref()) {
                return Err(NoSession::NotOwn); // somebody else's, who notices nothing
            }
            let is_left = life.is_over && !life.is_ended && !session.outbound.lock().is_moved();
            (life.is_claimed.then_some(life.epoch), is_left)
        };
        let Some(epoch) = claimed else {
            if is_doomed {
                // A turn has found that it takes no more, and ends it with what else it does: Redis
                // would still give it away.
                self.look_again().await?;
            }
            return Ok(is_doomed);
        };
        session.request_end(taken_over());
        let letting_go = let_go(session, epoch);
        if self.asker.is_none() {
            letting_go.await; // there is something to be known still
            return Ok(true);
        }
        tokio::select! {
            () = letting_go => Ok(true),
            () = tokio::time::sleep_until(self.began + CLAIM) => Err(NoSession::Busy),
            () = down_after(broker, self.began + DOWN) => {
                // One that has ended waits for Redis, too.
                broker.refusals.note(&"an earlier session is not let go");
                Err(NoSession::Unavailable)
            }
        }
    }

    /// Waits a little, for as long as somebody may be told of it; a claim of which nobody knows what
    /// came of it is not given up.
    async fn look_again(&self) -> Result<(), NoSession> {
        if self.asker.is_some() && self.began.elapsed() >= CLAIM {
            return Err(NoSession::Busy);
        }
        tokio::time::sleep(AGAIN).await;
        Ok(())
    }

    /// Redis has given the session: it is brought here.
    async fn receive(
        &mut self,
        broker: &Arc<Broker>,
        claim: &Claim<'_>,
        taken: redis::Taken,
        here: Option<&Arc<Session>>,
        known: Option<Reserved<'_>>,
    ) -> Result<Claimed, NoSession> {
        let handing_over = broker.hand_over(claim.client_id, self.owner, &taken);
        let recent = handing_over.await;
        if self.asker.is_none() && taken.resumed.as_ref().is_some_and(brings_state) {
            // Its client was refused, and has not come back: it waits for it as it did.
            let session = broker.take_in(self.owner, taken, broker.clock.now(), here);
            session.inspect(|session| session.note_recent(recent));
            return Err(NoSession::Unavailable);
        }
        let place = self.place.take();
        let claimed = broker.take_over(claim, self.owner, taken, here, known, place)?;
        claimed.session.note_recent(recent);
        if broker.incarnation() != self.owner {
            broker.make_room(&claimed.session); // fenced meanwhile: others adopt it
            return Err(NoSession::Unavailable);
        }
        if let (true, Some(cluster)) = (claimed.is_present, &broker.cluster)
            && self.asker.is_some()
        {
            // What is published after the CONNACK comes here.
            cluster.known_everywhere(&claimed.session, ROUTED).await;
        }
        Ok(claimed)
    }

    /// Gives the session to who asked; if nobody waits for it any more, it is let go.
    fn offer(&mut self, claimed: Claimed) {
        let offer = Offer {
            broker: self.broker.clone(),
            claimed: Some(claimed),
        };
        if let Some(asker) = self.asker.take() {
            let _ = asker.send(Ok(offer)); // dropped with the offer if nobody waits
        }
    }

    fn refuse(&mut self, why: NoSession) {
        if let Some(asker) = self.asker.take() {
            let _ = asker.send(Err(why)); // the connection may be gone
        }
    }
}

impl Offer {
    fn take(mut self) -> Claimed {
        self.claimed.take().expect("it is taken once")
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if let Some(claimed) = self.claimed.take() {
            // As if nobody had asked: its client was not let in.
            self.broker.detach(&claimed.session, &End::Lost);
        }
    }
}

/// Whether a session comes with all that is stored of it.
fn brings_state(resumed: &redis::Resumed) -> bool {
    resumed.stored.is_some()
}

/// Waits until Redis is known not to answer at some time after a moment.
async fn down_after(broker: &Broker, moment: Instant) {
    tokio::time::sleep_until(moment).await;
    let Some(redis) = broker.store.redis() else {
        return std::future::pending().await;
    };
    let mut health = redis.health();
    let is_down = |health: &Health| matches!(health, Health::Down { .. });
    let _ = health.wait_for(is_down).await; // an error: the store is gone
}
