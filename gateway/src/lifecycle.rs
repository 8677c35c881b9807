//! How sessions are let go, expire, and end.
//!
//! A session is *claimed* by one connection at a time: [`claim`] says how a connection gets it,
//! [`Broker::detach`] how it is let go. A session ends when its connection does, when its time is
//! up, when a clean start replaces it, or when it takes no more messages ([`overfull`]); [`removal`]
//! then takes what it left out of the store. [`dismissal`] is the end that an operator wants, and
//! [`farewell`] what all clients are told when their gateway is.

mod claim;
mod dismissal;
pub(crate) mod farewell;
mod overfull;
mod removal;

use std::sync::Arc;

use gatemq_storage::Batch;

pub(crate) use claim::{Claim, Claimed, NoSession, let_go, taken_over};
pub(crate) use overfull::Overfull;

use crate::agenda::{Action, Timer};
use crate::broker::Broker;
use crate::proto::mqtt::Version;
use crate::session::link::Link;
use crate::session::{End, Life, Session};
use crate::store::{Ticket, keys, record};
use crate::turn::Turn;
use crate::will::Will;

impl Broker {
    /// A connection lets go of its session, and gets its link back with what was not written.
    pub(crate) fn detach(self: &Arc<Self>, session: &Arc<Session>, end: &End) -> Option<Box<Link>> {
        let link = session.outbound.lock().detach();
        session.unwatch_fresh();
        self.announce_groups(session);
        let wants_will = !matches!(
            end,
            End::Disconnected {
                with_will: false,
                ..
            }
        );
        let due_will = {
            let mut life = session.life.lock();
            if let Some(awaiting) = life.awaiting.take() {
                awaiting.go_on(&mut life); // the client was not let in
                self.registry.count(session, &life.principal);
            }
            if let End::Disconnected {
                expiry: Some(expiry),
                ..
            } = end
            {
                life.expiry = *expiry;
            }
            let is_over = life.expiry == 0 || life.is_over;
            let expiry = life.expiry;
            let is_due = |will: &Will| wants_will && (is_over || will.due_at(0, expiry) == 0);
            life.will.take_if(|will| is_due(will))
        };
        if let Some(will) = due_will {
            // Before anybody else can have the client identifier, and publish.
            let mut turn = Turn::new(self);
            self.publish_will(session.number, Some(session), &will, &mut turn);
            turn.finish(None);
        }
        if self.release(session, wants_will) {
            let mut turn = Turn::new(self);
            self.end_session(session, &mut turn);
            turn.finish(None);
            self.vacate(session);
        } else {
            session.detached.notify_waiters();
        }
        link
    }

    /// Frees a session for the next connection, or keeps it to be ended if it is over; returns which.
    fn release(self: &Arc<Self>, session: &Arc<Session>, wants_will: bool) -> bool {
        let now = self.clock.now();
        let mut shard = self.registry.lock(&session.client_id);
        let mut life = session.life.lock();
        if session.outbound.lock().is_moved() {
            // What becomes of it is another gateway's business now.
            life.is_claimed = false;
            life.will = None;
            if life.is_ended {
                shard.remove(session);
                drop((life, shard));
                self.take_out_moved(session);
            }
            return false;
        }
        let is_over = life.expiry == 0 || life.is_over;
        life.is_over = is_over;
        life.is_claimed = is_over; // whoever comes now waits until its end is on its way
        let mut batch = Batch::default();
        if !wants_will && life.will.take().is_some() {
            batch.delete(&keys::will(session.number)); // [MQTT-3.14.4-3]
        }
        if !is_over {
            if life.detached_at == 0 {
                life.detached_at = now;
            }
            self.set_timers(session, &mut life);
            let record = record_of(session, &life);
            batch.put(&keys::session(session.number), &record.store());
        }
        // Under the locks: the record of the next connection comes after this one, and so does
        // the end of the session if its queue takes no more.
        if !batch.is_empty() {
            self.store.submit(batch, Ticket::default());
        }
        is_over
    }

    /// Enters what is to happen to a session without a connection.
    pub(crate) fn set_timers(&self, session: &Arc<Session>, life: &mut Life) {
        if life.expiry != u32::MAX {
            let due = life.detached_at + u64::from(life.expiry) * 1000;
            life.expiry_timer = Some(self.agenda.enter(due, session, Action::ExpireSession));
        }
        if let Some(will) = &life.will {
            let due = will.due_at(life.detached_at, life.expiry);
            life.will_timer = Some(self.agenda.enter(due, session, Action::PublishWill));
        }
    }

    /// A session's time is up.
    pub(crate) fn expire(
        self: &Arc<Self>,
        session: &Arc<Session>,
        timer: Timer,
        turn: &mut Turn<'_>,
    ) {
        {
            let _shard = self.registry.lock(&session.client_id);
            let mut life = session.life.lock();
            if life.expiry_timer != Some(timer) {
                return; // its client came back at the last moment
            }
            life.expiry_timer = None;
            life.is_over = true;
            life.is_claimed = true; // whoever comes now waits until the will is on its way
        }
        tracing::debug!(client.id = &*session.client_id, "session expired");
        self.end_session(session, turn);
        self.let_go(session, turn);
    }

    /// The time of a delayed will has come.
    pub(crate) fn publish_delayed_will(
        self: &Arc<Self>,
        session: &Arc<Session>,
        timer: Timer,
        turn: &mut Turn<'_>,
    ) {
        let will = {
            let _shard = self.registry.lock(&session.client_id);
            let mut life = session.life.lock();
            if life.will_timer != Some(timer) {
                return; // its client came back at the last moment
            }
            life.will_timer = None;
            life.is_claimed = true; // as in `expire`
            life.will.take()
        };
        if let Some(will) = will {
            self.publish_will(session.number, Some(session), &will, turn);
        }
        self.let_go(session, turn);
    }

    /// Frees a session that was claimed for a moment by the broker itself.
    fn let_go(self: &Arc<Self>, session: &Arc<Session>, turn: &mut Turn<'_>) {
        let is_over = {
            let _shard = self.registry.lock(&session.client_id);
            let mut life = session.life.lock();
            life.is_claimed = life.is_over;
            life.is_over
        };
        if is_over {
            self.end_session(session, turn);
            self.vacate(session);
        } else {
            session.detached.notify_waiters();
        }
    }

    /// Takes a session that has ended, and has no connection, out of memory: whoever waits for its
    /// client identifier finds nothing of it but what is on its way out already. With Redis that is
    /// so when its end is submitted, or not to be: a claim that came before would resume it, and the
    /// end that comes then would be the end of that one. To be called again when it is.
    pub(crate) fn vacate(&self, session: &Arc<Session>) {
        {
            let mut shard = self.registry.lock(&session.client_id);
            let mut life = session.life.lock();
            let is_own = |owned: Arc<Session>| Arc::ptr_eq(&owned, session);
            if self.store.redis().is_some()
                && self.owned.find(session.number).is_some_and(is_own)
                && !session.outbound.lock().is_moved()
            {
                return; // what was to be stored for it is not settled
            }
            life.is_claimed = false;
            shard.remove(session);
        }
        session.detached.notify_waiters();
    }

    /// Ends a session that nobody can claim any more, and that has no connection; then it is to be
    /// [vacated](Self::vacate). What it left in the store goes when the last commit of something for
    /// it is through: until then the store does not have all of it.
    pub(crate) fn end_session(self: &Arc<Self>, session: &Arc<Session>, turn: &mut Turn<'_>) {
        let mut life = session.life.lock();
        if std::mem::replace(&mut life.is_ended, true) {
            return;
        }
        life.is_over = true;
        let will = life.will.take();
        self.agenda.strike(life.expiry_timer.take());
        self.agenda.strike(life.will_timer.take());
        drop(life);
        if let Some(will) = will {
            // [MQTT-3.1.2-10]: no later than the session
            self.publish_will(session.number, Some(session), &will, turn);
        }
        for (filter, _) in std::mem::take(&mut *session.subscriptions.lock()) {
            self.unsubscribe(session, &filter, || None);
        }
        let (is_settled, shared) = {
            let mut outbound = session.outbound.lock();
            (outbound.end(), outbound.take_shared())
        };
        for (share, message) in shared {
            turn.redeliver(&share, &message);
        }
        if is_settled {
            self.remove_stored(session);
        }
    }
}

/// What is stored of a session itself.
fn record_of(session: &Session, life: &Life) -> record::SessionRecord {
    let sent_below = session.outbound.lock().sent_below();
    record::SessionRecord {
        sent_below: if life.is_claimed {
            u64::MAX
        } else {
            sent_below
        },
        client_id: session.client_id.to_string(),
        version: life.version.unwrap_or(Version::V5),
        expiry: life.expiry,
        detached_at: life.detached_at,
        created_at: life.created_at,
        principal: life.principal.to_string(),
    }
}
