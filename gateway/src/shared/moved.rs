//! Sessions that are another gateway's by now.
//!
//! Such a session stays in the table for a while, and whatever comes for it is given back to where
//! it came from, to be routed again: until every gateway knows of the new owner, messages still
//! come here. The new owner says when that is so; if it does not, a time bound does.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::lifecycle::taken_over;
use crate::session::Session;
use crate::store::redis::Fenced;

/// How long a session that has moved is kept at most.
const KEPT: Duration = Duration::from_secs(30);

impl Broker {
    /// A write for a session was refused: it is not this gateway's any more.
    pub(crate) fn lose(self: &Arc<Self>, session: &Arc<Session>, why: Fenced) {
        if session.outbound.lock().is_moved() {
            return;
        }
        tracing::debug!(
            client.id = &*session.client_id,
            ?why,
            "session is not here any more"
        );
        let change = self.begin_move();
        session.outbound.lock().move_away();
        drop(change);
        self.strike_timers(session);
        session.life.lock().will = None; // it is the new owner's to publish
        session.request_end(taken_over());
        if why == Fenced::Missing {
            // Nobody has it: what is sent to it is lost with it.
            self.drop_moved(session);
            return;
        }
        let (broker, session) = (self.clone(), session.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(KEPT) => broker.drop_moved(&session),
                () = broker.tasks_end.cancelled() => {}
            }
        });
    }

    /// Forgets a session that is another gateway's, and its routes here. Nothing is written.
    pub(crate) fn drop_moved(self: &Arc<Self>, session: &Arc<Session>) {
        session.outbound.lock().move_away();
        self.strike_timers(session);
        {
            let mut life = session.life.lock();
            (life.is_over, life.is_ended, life.will) = (true, true, None);
        }
        let mut shard = self.registry.lock(&session.client_id);
        let is_connected = session.life.lock().is_claimed;
        if !is_connected {
            shard.remove(session);
        }
        drop(shard);
        if is_connected {
            session.request_end(taken_over());
        }
        for (filter, _) in std::mem::take(&mut *session.subscriptions.lock()) {
            self.unsubscribe(session, &filter, || None);
        }
        self.owned.remove(session.number);
        if let Some(redis) = self.store.redis() {
            redis.detach(session.number);
        }
    }

    fn strike_timers(&self, session: &Session) {
        let mut life = session.life.lock();
        self.agenda.strike(life.expiry_timer.take());
        self.agenda.strike(life.will_timer.take());
    }
}
