//! The sessions of a gateway that is gone: the control plane deals them out to those that are
//! left, slice by slice, and each takes its own.
//!
//! An adopted session waits for its client like any other: its subscriptions are in the table, its
//! queue goes on, its will is published when it is due. A slice is done when nothing is left of the
//! dead one there: neither a session of its own, nor one that went to another gateway, here or
//! elsewhere, whose routes there not every gateway knows of. Only then is the control plane told,
//! and the routes of the one that is gone may go.
//!
//! Every step can be done again: what was taken stays where it was found until every gateway knows
//! of it. So whatever fails, be it that Redis did the work and the answer was lost, the slice is
//! looked through once more. It ends early only with the incarnation that adopts.
//!
//! What is damaged in Redis ([`damaged`]) is passed over, and holds up nothing else there. Its slice
//! is not done before it is mended or gone: what is sent to that session would be lost otherwise.

mod damaged;
mod insist;
mod told;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{self, join_all};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::arrival::Title;
use super::known::Before;
use crate::broker::Broker;
use crate::cluster::Cluster;
use crate::lifecycle::let_go;
use crate::session::{Life, Session};
use crate::store::redis::{Adopted, Error, RedisStore, Taken};
use crate::store::{Ticket, keys};
use crate::turn::Turn;
use damaged::{Damaged, Part};
use insist::{Ask, Insisting};

/// Pause before a slice is looked through again after an error.
const PAUSE: Duration = Duration::from_millis(200);
/// Pause before it is looked through again to see whether every gateway knows: first, and longest.
const LOOKS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));
/// The longest pause where nothing is to be seen sooner: the incarnation may end meanwhile.
const REST: Duration = Duration::from_secs(1);
/// After how many of those it is asked for, and again: every 5 s.
const PATIENCE: usize = 20;
/// Slices that are looked through at once.
const AT_ONCE: usize = 64;
/// How long a connection may take to let go of a session that is not its any more.
const LET_GO: Duration = Duration::from_secs(3);

/// Why an adoption does not go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended;

/// What is adopted.
struct Adoption<'a> {
    broker: &'a Arc<Broker>,
    redis: &'a RedisStore<Ticket>,
    cluster: &'a Arc<Cluster>,
    /// The gateway that is gone, and the incarnation that adopts.
    from: u64,
    by: u64,
    n_adopted: AtomicUsize,
    /// Whether other gateways are asked to say again what they may have said, and for which sessions.
    insists: AtomicBool,
    asks: Mutex<Vec<Ask>>,
    /// Ended sessions that are looked after here: once is enough, however often they are met.
    inherited: Mutex<HashSet<u64>>,
    damaged: Mutex<Damaged>,
}

/// When it is worth to look again; `None` where nothing is left.
type Left = Option<Instant>;

/// Adopts the sessions that a gateway had in these slices; returns when nothing depends on its
/// routes there any more.
///
/// # Errors
///
/// The incarnation that adopts is fenced itself: others will have to begin anew.
pub(crate) async fn adopt(
    broker: &Arc<Broker>,
    (from, by): (u64, u64),
    slices: &[u32],
) -> Result<(), Ended> {
    let (Some(redis), Some(cluster)) = (broker.store.redis(), &broker.cluster) else {
        return Ok(());
    };
    let adoption = Adoption {
        broker,
        redis,
        cluster,
        from,
        by,
        n_adopted: AtomicUsize::new(0),
        insists: AtomicBool::new(false),
        asks: Mutex::default(),
        inherited: Mutex::default(),
        damaged: Mutex::default(),
    };
    let slices = slices.iter().filter_map(|slice| u16::try_from(*slice).ok());
    let slices: Vec<u16> = slices.collect();
    let n_slices = slices.len();
    adoption.bury(slices.clone()).await?;
    let now = Instant::now();
    let mut open: Vec<(u16, Instant)> = slices.into_iter().map(|slice| (slice, now)).collect();
    let (mut pause, mut n_looks, insisting) = (LOOKS.0, 0_usize, Insisting::default());
    while let Some(next) = open.iter().map(|(_, at)| *at).min() {
        let now = Instant::now();
        if next > now {
            // Nothing but what is damaged is left.
            tokio::time::sleep_until(next.min(now + REST)).await;
            adoption.stand().await?;
            continue;
        }
        n_looks += 1;
        let insists = n_looks.is_multiple_of(PATIENCE);
        adoption.insists.store(insists, Ordering::Relaxed);
        let (due, later): (Vec<_>, Vec<_>) = open.into_iter().partition(|(_, at)| *at <= now);
        // Redis syncs what many ask for at once in one go.
        let looks = stream::iter(due).map(|(slice, _)| adoption.look_through(slice));
        let left = looks.buffer_unordered(AT_ONCE).try_filter_map(future::ok);
        open = left.try_collect().await?;
        let asks = std::mem::take(&mut *adoption.asks.lock());
        if !asks.is_empty() {
            insisting.insist(broker, asks, from);
        }
        if !open.is_empty() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOKS.1);
        }
        open.extend(later);
    }
    tracing::info!(
        from,
        slices = n_slices,
        sessions = adoption.n_adopted.into_inner(),
        "adopted the sessions of a gateway that is gone"
    );
    Ok(())
}

impl Adoption<'_> {
    /// Waits until this gateway may adopt: it has a lease.
    async fn stand(&self) -> Result<(), Ended> {
        while self.cluster.incarnation() == self.by {
            if self.cluster.lease.is_held(self.broker.clock.now()) {
                return Ok(());
            }
            tokio::time::sleep(LOOKS.0).await;
        }
        Err(Ended)
    }

    /// The dead one gets nothing more, and writes nothing more.
    async fn bury(&self, mut slices: Vec<u16>) -> Result<(), Ended> {
        while !slices.is_empty() {
            self.stand().await?;
            let n = slices.len().min(AT_ONCE);
            let some: Vec<u16> = slices.drain(..n).collect();
            let buried = some.iter().map(|slice| self.redis.bury(self.from, *slice));
            let buried = join_all(buried).await;
            let mut last = None;
            for (slice, buried) in some.into_iter().zip(buried) {
                if let Err(error) = buried {
                    slices.push(slice);
                    last = Some(error);
                }
            }
            if let Some(error) = last {
                tracing::warn!(from = self.from, %error, "sessions not adopted yet");
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Takes whatever is left of the dead one in a slice, which is returned unless nothing was, with
    /// when to look again.
    async fn look_through(&self, slice: u16) -> Result<Option<(u16, Instant)>, Ended> {
        loop {
            self.stand().await?;
            match self.take(slice).await {
                Ok(left) => return Ok(left.map(|at| (slice, at))),
                Err(Error::Dead) => return Err(Ended),
                Err(error) => {
                    tracing::warn!(slice, from = self.from, %error, "sessions not adopted yet");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn take(&self, slice: u16) -> Result<Left, Error> {
        let (sessions, ended) = (self.take_sessions(slice), self.take_all_ended(slice));
        let sessions = self.attend(slice, Part::Sessions(slice), sessions).await?;
        let ended = self.attend(slice, Part::AllEnded(slice), ended).await?;
        Ok(sooner(sessions, ended))
    }

    async fn take_sessions(&self, slice: u16) -> Result<Left, Error> {
        let (mut left, mut cursor) = (None, Some(0));
        while let Some(at) = cursor {
            let found = self.redis.sessions_of(self.from, slice, at).await?;
            cursor = found.next;
            for client_id in found.parts {
                let taking = async {
                    let is_done = self.take_session(&client_id).await?;
                    Ok((!is_done).then(Instant::now))
                };
                let part = Part::Session(client_id.clone());
                left = sooner(left, self.attend(slice, part, taking).await?);
            }
            let damaged = found.damaged.into_iter().map(Part::NoSession);
            left = sooner(left, self.attend_unreadable(slice, damaged).await?);
        }
        Ok(left)
    }

    async fn take_all_ended(&self, slice: u16) -> Result<Left, Error> {
        let (mut left, mut cursor) = (None, Some(0));
        while let Some(at) = cursor {
            let found = self.redis.ended_of(self.from, slice, at).await?;
            cursor = found.next;
            for (number, client_id) in found.parts {
                let taking = async {
                    self.take_ended(number, &client_id).await?;
                    Ok(None)
                };
                let part = Part::Ended(number);
                left = sooner(left, self.attend(slice, part, taking).await?);
            }
            let damaged = found.damaged.into_iter().map(Part::NoEnded);
            left = sooner(left, self.attend_unreadable(slice, damaged).await?);
        }
        Ok(left)
    }

    /// Sees to entries of a slice that say nothing of what they are of.
    async fn attend_unreadable(
        &self,
        slice: u16,
        parts: impl Iterator<Item = Part>,
    ) -> Result<Left, Error> {
        let mut left = None;
        for part in parts {
            let unreadable = future::err(Error::Malformed);
            left = sooner(left, self.attend(slice, part, unreadable).await?);
        }
        Ok(left)
    }

    /// Sees to a part of a slice by `seeing`, unless that is damaged and it was asked for lately.
    async fn attend(
        &self,
        slice: u16,
        part: Part,
        seeing: impl Future<Output = Result<Left, Error>>,
    ) -> Result<Left, Error> {
        let rests = self.damaged.lock().rests(&part, Instant::now());
        if rests.is_some() {
            return Ok(rests);
        }
        match seeing.await {
            Err(error) if error.is_lasting() => {
                let (until, is_new) = self.damaged.lock().note(part.clone(), Instant::now());
                if is_new {
                    self.tell_damaged(slice, &part, &error);
                }
                Ok(Some(until))
            }
            Err(error) => Err(error),
            Ok(left) => {
                if self.damaged.lock().strike(&part) {
                    tracing::info!(slice, from = self.from, ?part, "what was damaged is mended");
                }
                Ok(left)
            }
        }
    }

    /// Takes one session; whether nobody depends on the dead one's routes for it.
    async fn take_session(&self, client_id: &str) -> Result<bool, Error> {
        let passing = self.broker.claims.pass(client_id).await;
        let here = self.broker.session_here(client_id);
        let known = here.as_ref().and_then(|session| known_as(session));
        let now = self.broker.clock.now();
        let ways = (self.from, self.by);
        let adopting = self.redis.adopt(client_id, ways, known, now);
        match adopting.await? {
            Adopted::Gone => Ok(true),
            Adopted::Waits(holder) => {
                drop(passing);
                // It may have been said long ago, and Redis has lost it: nobody else says it again.
                if holder.owner == self.by {
                    let (broker, number) = (self.broker, holder.number);
                    broker.say_again(client_id, number, self.from).await;
                } else if self.insists.load(Ordering::Relaxed) {
                    self.asks.lock().push((client_id.to_owned(), holder));
                }
                Ok(false)
            }
            Adopted::Taken(taken) => {
                if self.cluster.incarnation() != self.by {
                    return Err(Error::Dead);
                }
                if let Some(old) = &here {
                    self.end_connection(old).await;
                }
                self.broker.take_in(self.by, *taken, now, here.as_ref());
                self.n_adopted.fetch_add(1, Ordering::Relaxed);
                Ok(false)
            }
        }
    }

    /// The connection of a session that was another gateway's meanwhile ends first, so that nothing
    /// of it comes after.
    async fn end_connection(&self, old: &Arc<Session>) {
        self.broker.lose(old, crate::store::redis::Fenced::Taken);
        let (is_claimed, epoch) = {
            let life = old.life.lock();
            (life.is_claimed, life.epoch)
        };
        if is_claimed {
            let _ = tokio::time::timeout(LET_GO, let_go(old, epoch)).await;
        }
    }

    async fn take_ended(&self, number: u64, client_id: &str) -> Result<(), Error> {
        let is_inherited = self.inherited.lock().contains(&number);
        if !is_inherited {
            let inheriting = self.redis.inherit(client_id, number, self.from, self.by);
            let Some(left) = inheriting.await? else {
                return Ok(()); // another one looks after it
            };
            self.inherited.lock().insert(number);
            self.broker.settle_ended(client_id, self.by, left);
        }
        self.redis.inherited(client_id, number, self.from).await
    }
}

impl Broker {
    /// Brings a session into memory that comes without a connection, as one whose connection has
    /// ended now, if it had one, in the place of what was here of it. Returns it if it waits here
    /// for its client.
    pub(super) fn take_in(
        self: &Arc<Self>,
        owner: u64,
        taken: Taken,
        now: u64,
        here: Option<&Arc<Session>>,
    ) -> Option<Arc<Session>> {
        let before = Before::of(&taken);
        let Some(resumed) = taken.resumed else {
            here.inspect(|old| self.make_room(old));
            return None;
        };
        let record = resumed.record;
        let stored = resumed.stored.unwrap_or_default();
        let will = stored.will.clone().map(Arc::new);
        let life = Life::stored(&record, will, now);
        let detached_at = life.detached_at;
        let title = Title {
            owner,
            number: taken.number,
            epoch: taken.epoch,
        };
        let session = self.bring_in(title, &record, stored, life, here, None);
        if self.incarnation() != owner {
            self.drop_moved(&session); // fenced meanwhile: others adopt it
            return None;
        }
        self.make_known(&session, title, before);
        let mut turn = Turn::new(self);
        if record.expiry == 0 {
            // A clean session ends with its connection, and its gateway.
            session.life.lock().is_claimed = true; // whoever comes waits until its end is on its way
            self.end_session(&session, &mut turn);
            turn.finish(None);
            self.vacate(&session);
            return None;
        }
        let mut life = session.life.lock();
        self.set_timers(&session, &mut life);
        let mut record = record;
        record.detached_at = detached_at;
        record.sent_below = session.outbound.lock().sent_below();
        turn.batch
            .put(&keys::session(session.number), &record.store());
        drop(life);
        turn.finish(None);
        Some(session)
    }
}

fn sooner(one: Left, other: Left) -> Left {
    one.into_iter().chain(other).min()
}

/// The number and epoch under which a session is in memory, if it is not another gateway's.
fn known_as(session: &Session) -> Option<(u64, u64)> {
    let epoch = &session.claim_epoch;
    let epoch = epoch.load(Ordering::Acquire);
    let is_here = !session.outbound.lock().is_moved();
    is_here.then_some((session.number, epoch))
}
