//! How sessions begin, are taken over, outlive their connections, and end.
//!
//! A session is *claimed* by one connection at a time. A CONNECT whose client identifier is
//! claimed asks that connection to end, waits until it has let go, and tries again
//! `[MQTT-3.1.4-3]`; whoever finds the session free under the registry's lock has it.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::agenda::{Action, Timer};
use crate::broker::Broker;
use crate::proto::mqtt::{Reason, Version};
use crate::session::link::Link;
use crate::session::outbound::Outbound;
use crate::session::{End, Life, Session};
use crate::store::{Ticket, keys, record};
use crate::turn::Turn;
use crate::will::Will;

/// What a CONNECT asks of the sessions.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) client_id: &'a str,
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
}

impl Broker {
    /// Gets the session of a client identifier for a new connection.
    pub(crate) async fn claim(self: &Arc<Self>, claim: &Claim<'_>) -> Result<Claimed, Reason> {
        loop {
            let (holder, epoch) = match self.try_claim(claim)? {
                Ok(claimed) => {
                    self.store_claim(claim, &claimed).await;
                    return Ok(claimed);
                }
                Err(holder) => holder,
            };
            let detached = holder.detached.notified();
            tokio::pin!(detached);
            detached.as_mut().enable();
            // Looked at after `enable`, so that a release in between is not missed, nor another
            // connection that has the session since and was not asked to end.
            let is_same = {
                let life = holder.life.lock();
                life.is_claimed && life.epoch == epoch
            };
            if is_same {
                detached.await;
            }
        }
    }

    /// The session, or its present holder, which has been asked to let go.
    fn try_claim(
        self: &Arc<Self>,
        claim: &Claim<'_>,
    ) -> Result<Result<Claimed, (Arc<Session>, u64)>, Reason> {
        let mut shard = self.registry.lock(claim.client_id);
        let known = shard.find(claim.client_id).cloned();
        if let Some(session) = &known {
            let mut life = session.life.lock();
            if life.is_claimed {
                let epoch = life.epoch;
                drop(life);
                drop(shard);
                session.request_end(End::refused(
                    Reason::SessionTakenOver,
                    "another connection has the client identifier now",
                ));
                return Ok(Err((session.clone(), epoch)));
            }
            if !claim.clean_start {
                life.is_claimed = true;
                life.epoch += 1;
                life.version = Some(claim.version);
                life.expiry = claim.expiry;
                life.detached_at = 0;
                life.end = None;
                self.agenda.strike(life.expiry_timer.take());
                self.agenda.strike(life.will_timer.take());
                life.will = None; // the connection came back in time [MQTT-3.1.3-9]
                let epoch = life.epoch;
                drop(life);
                session.begin_connection();
                return Ok(Ok(Claimed {
                    session: session.clone(),
                    epoch,
                    is_present: true,
                }));
            }
            drop(life);
            shard.remove(session);
        }
        let is_full = self.registry.n_sessions() >= self.config.limits.max_sessions;
        let new = (!is_full).then(|| {
            let life = Life {
                is_claimed: true,
                epoch: 1,
                version: Some(claim.version),
                expiry: claim.expiry,
                created_at: self.clock.now(),
                ..Life::default()
            };
            let outbound = Outbound::new(claim.expiry > 0);
            let number = self.store.new_number();
            Arc::new(Session::new(number, claim.client_id, outbound, life))
        });
        if let Some(session) = &new {
            shard.insert(session.clone());
        }
        drop(shard);
        if let Some(old) = known {
            let mut turn = Turn::new(self);
            self.end_session(&old, &mut turn);
            turn.finish(None);
        }
        let session = new.ok_or(Reason::QuotaExceeded)?;
        Ok(Ok(Claimed {
            session,
            epoch: 1,
            is_present: false,
        }))
    }

    /// Stores a session that is to outlive its connection, before its client is told of it.
    async fn store_claim(&self, claim: &Claim<'_>, claimed: &Claimed) {
        let session = &claimed.session;
        if !session.outbound.lock().is_stored() {
            return;
        }
        let mut batch = gatemq_storage::Batch::default();
        if claimed.is_present {
            batch.delete(&keys::will(session.number));
        }
        batch.put(
            &keys::session(session.number),
            &self.record(session).store(),
        );
        let (waiter, safe) = oneshot::channel();
        self.store.submit(
            batch,
            Ticket {
                waiter: Some(waiter),
                ..Ticket::default()
            },
        );
        // A resumed session reads its queue from the store: what its last connection finished
        // must be gone from there. An error means that the store, and the process, has stopped.
        let _ = safe.await;
        debug_assert_eq!(*session.client_id, *claim.client_id);
    }

    fn record(&self, session: &Session) -> record::SessionRecord {
        let sent_below = session.outbound.lock().sent_below();
        let life = session.life.lock();
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
        }
    }

    /// Keeps a connection's will, in the store too: it is published even if the broker dies.
    pub(crate) async fn keep_will(&self, session: &Arc<Session>, will: Option<Arc<Will>>) {
        let Some(will) = will else { return };
        let mut batch = gatemq_storage::Batch::default();
        batch.put(&keys::will(session.number), &record::store_will(&will));
        session.life.lock().will = Some(will);
        let (waiter, safe) = oneshot::channel();
        self.store.submit(
            batch,
            Ticket {
                waiter: Some(waiter),
                ..Ticket::default()
            },
        );
        let _ = safe.await; // as in `store_claim`
    }

    /// Lets go of a session that no connection came to have.
    pub(crate) fn abandon(self: &Arc<Self>, claimed: &Claimed) {
        let end = End::Disconnected {
            with_will: false,
            expiry: None,
        };
        drop(self.detach(&claimed.session, &end));
    }

    /// A connection lets go of its session, and gets its link back with what was not written.
    pub(crate) fn detach(self: &Arc<Self>, session: &Arc<Session>, end: &End) -> Option<Box<Link>> {
        let mut turn = Turn::new(self);
        let link = session.outbound.lock().detach();
        let mut shard = self.registry.lock(&session.client_id);
        let mut life = session.life.lock();
        life.is_claimed = false;
        if let End::Disconnected {
            expiry: Some(expiry),
            ..
        } = end
        {
            life.expiry = *expiry;
        }
        let is_over = life.expiry == 0 || life.is_over;
        let mut due_will = None;
        if let Some(will) = life.will.take() {
            let delay = will.delay.min(life.expiry);
            if matches!(
                end,
                End::Disconnected {
                    with_will: false,
                    ..
                }
            ) {
                turn.batch.delete(&keys::will(session.number)); // [MQTT-3.14.4-3]
            } else if is_over || delay == 0 {
                due_will = Some(will);
            } else {
                let due = turn.now + u64::from(delay) * 1000;
                life.will_timer = Some(self.agenda.enter(due, session, Action::PublishWill));
                life.will = Some(will);
            }
        }
        if is_over {
            shard.remove(session);
        } else {
            life.detached_at = turn.now;
            if life.expiry != u32::MAX {
                let due = turn.now + u64::from(life.expiry) * 1000;
                life.expiry_timer = Some(self.agenda.enter(due, session, Action::ExpireSession));
            }
        }
        drop(life);
        if !is_over {
            // Under the lock, so that the record of the next connection comes after it.
            let mut batch = gatemq_storage::Batch::default();
            batch.put(
                &keys::session(session.number),
                &self.record(session).store(),
            );
            self.store.submit(batch, Ticket::default());
        }
        drop(shard);
        session.detached.notify_waiters();
        if let Some(will) = due_will {
            self.publish_will(session, &will, &mut turn);
        }
        if is_over {
            self.end_session(session, &mut turn);
        }
        turn.finish(None);
        link
    }

    /// A session's time is up.
    pub(crate) fn expire(
        self: &Arc<Self>,
        session: &Arc<Session>,
        timer: Timer,
        turn: &mut Turn<'_>,
    ) {
        let mut shard = self.registry.lock(&session.client_id);
        if session.life.lock().expiry_timer != Some(timer) {
            return; // its client came back at the last moment
        }
        shard.remove(session);
        drop(shard);
        tracing::debug!(client.id = &*session.client_id, "session expired");
        self.end_session(session, turn);
    }

    /// A session takes no more messages: it ends, so that no loss is hidden.
    pub(crate) fn end_overfull(self: &Arc<Self>, session: &Arc<Session>) {
        let mut shard = self.registry.lock(&session.client_id);
        let mut life = session.life.lock();
        if std::mem::replace(&mut life.is_over, true) {
            return;
        }
        let is_claimed = life.is_claimed;
        drop(life);
        tracing::warn!(
            client.id = &*session.client_id,
            "session ends: its queue is full"
        );
        self.metrics.sessions_overfull.inc();
        if is_claimed {
            drop(shard);
            session.request_end(End::refused(
                Reason::QuotaExceeded,
                "the session's queue is full",
            ));
            return;
        }
        shard.remove(session);
        drop(shard);
        let mut turn = Turn::new(self);
        self.end_session(session, &mut turn);
        turn.finish(None);
    }

    /// Ends a session that is out of the registry and has no connection. What it left in the
    /// store goes when the last commit of something for it is through: until then the store
    /// does not have all of it.
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
            self.publish_will(session, &will, turn); // [MQTT-3.1.2-10]: no later than the session
        }
        for (filter, _) in std::mem::take(&mut *session.subscriptions.lock()) {
            let (share, filter) = split_share(&filter);
            self.table.unsubscribe(share, filter, session.number);
        }
        let (is_settled, shared) = {
            let mut outbound = session.outbound.lock();
            (outbound.end(), outbound.take_shared())
        };
        for (share, message) in shared {
            turn.redeliver(&share, &message);
        }
        if is_settled {
            self.remove_stored(session, turn);
        }
    }

    /// Removes what an ended session left in the store.
    pub(crate) fn remove_stored(self: &Arc<Self>, session: &Arc<Session>, turn: &mut Turn<'_>) {
        if !session.outbound.lock().is_stored() {
            return;
        }
        let mut shared = Vec::new();
        self.remove_queue(session, turn, &mut shared);
        turn.batch.delete(&keys::session(session.number));
        turn.batch.delete(&keys::will(session.number));
        for kind in [keys::FILTER, keys::QUEUE, keys::RECEIVED] {
            let (start, end) = keys::of_session(kind, session.number);
            turn.batch.delete_range(&start, &end);
        }
        for (share, message) in shared {
            turn.redeliver(&share, &message);
        }
    }

    /// Frees the bodies that a stored queue shares, and collects its shared messages.
    fn remove_queue(
        &self,
        session: &Arc<Session>,
        turn: &mut Turn<'_>,
        shared: &mut Vec<(
            Arc<crate::session::queued::Share>,
            Arc<crate::message::Message>,
        )>,
    ) {
        let n_sent = session.outbound.lock().sent_below();
        let mut from = Some(0);
        while let Some(start) = from {
            let (page, next) = self.store.queue_page(session.number, start, u64::MAX, 256);
            from = next;
            for queued in page {
                if queued.body != 0 {
                    crate::store::forget(&mut turn.batch, session.number, queued.seq, queued.body);
                }
                let may_move =
                    queued.qos < crate::proto::mqtt::Qos::ExactlyOnce || queued.seq >= n_sent; // [MQTT-4.8.2-5]
                if let (Some(share), Some(message), true) = (queued.share, queued.message, may_move)
                {
                    shared.push((share, message));
                }
            }
        }
    }

    /// The time of a delayed will has come.
    pub(crate) fn publish_delayed_will(
        self: &Arc<Self>,
        session: &Arc<Session>,
        timer: Timer,
        turn: &mut Turn<'_>,
    ) {
        let mut life = session.life.lock();
        if life.will_timer != Some(timer) {
            return; // its client came back at the last moment
        }
        let will = life.will.take();
        life.will_timer = None;
        drop(life);
        if let Some(will) = will {
            self.publish_will(session, &will, turn);
        }
    }

    pub(crate) fn publish_will(&self, session: &Session, will: &Will, turn: &mut Turn<'_>) {
        let mut message = will.message.as_ref();
        if let Some(expiry) = will.expiry {
            message.expires_at = turn.now + u64::from(expiry) * 1000;
        }
        let plan = self.table.plan(message.topic);
        let mut published = turn.publish(message, &plan, &will.client_id);
        if published.refused.is_some() && message.retain {
            // There is no room to keep it; those who are subscribed get it all the same.
            published = turn.route(message, &plan, &will.client_id);
        }
        if let Some(reason) = published.refused {
            tracing::warn!(client.id = &*will.client_id, %reason, "will not published everywhere");
        }
        turn.batch.delete(&keys::will(session.number)); // in one commit with what it caused
    }
}

/// The share name and the filter of a subscription's text.
pub(crate) fn split_share(text: &str) -> (Option<&str>, &str) {
    match text
        .strip_prefix("$share/")
        .and_then(|rest| rest.split_once('/'))
    {
        Some((share, filter)) => (Some(share), filter),
        None => (None, text),
    }
}
