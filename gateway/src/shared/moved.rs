//! Sessions that are another gateway's by now.
//!
//! Such a session stays in the table for a while, and whatever comes for it is given back to where
//! it came from, to be routed again: until every gateway knows of the new owner, messages still
//! come here. The new owner says when that is so, to this gateway and in Redis; if it dies before,
//! whoever gets the session from it does. Until then nothing makes this gateway drop it but the end
//! of its own incarnation, or that whoever has it turns out to be none of the cluster.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::lifecycle::taken_over;
use crate::proto::mqtt::Reason;
use crate::session::{End, Session};
use crate::store::redis::{Fenced, Here, Holder};

/// How often it is looked in Redis whether a session that has moved is still to be kept.
const LOOK: Duration = Duration::from_secs(5);
/// As that, where it seems that nobody of this cluster has it.
const AGAIN: Duration = Duration::from_millis(200);

impl Broker {
    /// A write for a session was refused: it is not this gateway's any more.
    pub(crate) fn lose(self: &Arc<Self>, session: &Arc<Session>, why: Fenced) {
        // Whatever is known of it: a connection that got it meanwhile may not be told otherwise.
        session.request_end(match why {
            Fenced::Missing => End::refused(
                Reason::ServerBusy,
                "the store has lost the session: connect again, and it begins anew",
            ),
            Fenced::Taken | Fenced::Unattached => taken_over(),
        });
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
        {
            let mut life = session.life.lock();
            (life.will, life.awaiting) = (None, None); // they are the new owner's
        }
        if why == Fenced::Missing || session.outbound.lock().has_ended() {
            // Nobody has it, or it has no routes any more: what is sent to it is lost with it.
            self.drop_moved(session);
            return;
        }
        let (broker, session) = (self.clone(), session.clone());
        self.see_to("moved", async move { broker.keep_moved(&session).await });
    }

    /// Keeps a session that has moved for as long as its routes here stand in for those elsewhere.
    async fn keep_moved(self: &Arc<Self>, session: &Arc<Session>) {
        let Some(redis) = self.store.redis() else {
            return;
        };
        let owner = self.incarnation();
        let (mut pause, mut suspect) = (LOOK, None);
        loop {
            tokio::time::sleep(pause).await;
            if self.drops_ended(session) {
                return;
            }
            let looking = redis.stands_in(&session.client_id, session.number, owner);
            match looking.await {
                Ok(None) => return self.drop_moved(session),
                // It comes back: whoever brings it here takes this one out.
                Ok(Some(holder)) if holder.owner == owner => (pause, suspect) = (LOOK, None),
                Ok(Some(holder)) if suspect == Some(holder.owner) => {
                    return self.give_up(session, holder, owner).await;
                }
                Ok(Some(holder)) => {
                    // One of which nothing is left had the session before it was looked: whoever
                    // adopted it is who has it now.
                    let cluster = self.cluster.as_ref();
                    let is_foreign = cluster.is_none_or(|it| it.is_foreign(holder.owner));
                    suspect = is_foreign.then_some(holder.owner);
                    pause = if is_foreign { AGAIN } else { LOOK };
                }
                Err(error) => {
                    tracing::debug!(client.id = &*session.client_id, %error, "kept for now");
                }
            }
        }
    }

    /// Whether a session that has moved is not kept any more: it has been dropped meanwhile, or its
    /// connection was just about to end it here.
    fn drops_ended(self: &Arc<Self>, session: &Arc<Session>) -> bool {
        let is_ended = session.life.lock().is_ended;
        if is_ended && session.outbound.lock().has_ended() {
            self.drop_moved(session);
        }
        is_ended
    }

    /// Something that is none of this cluster has the session: nobody will say that the routes here
    /// need not stand in for it. Those who wait for it to get a message are told that it does not.
    async fn give_up(self: &Arc<Self>, session: &Arc<Session>, holder: Holder, owner: u64) {
        tracing::warn!(
            client.id = &*session.client_id,
            owner = holder.owner,
            "session was taken by a process that uses the same keys and is not of this cluster"
        );
        session.outbound.lock().give_up();
        let here = Here {
            client_id: &session.client_id,
            number: holder.number,
            owner: holder.owner,
            epoch: holder.epoch,
        };
        if let Some(redis) = self.store.redis()
            && let Err(error) = redis.made_known(here, &[owner]).await
        {
            tracing::debug!(client.id = here.client_id, %error, "on its trail still");
        }
        // What is on its way back here meets it still.
        tokio::time::sleep(LOOK).await;
        if !self.drops_ended(session) {
            self.drop_moved(session);
        }
    }

    /// Forgets a session that is another gateway's, and its routes here. Nothing is written.
    pub(crate) fn drop_moved(self: &Arc<Self>, session: &Arc<Session>) {
        let has_ended = {
            let mut outbound = session.outbound.lock();
            outbound.move_away();
            outbound.has_ended()
        };
        self.strike_timers(session);
        {
            let mut life = session.life.lock();
            (life.is_over, life.is_ended) = (true, true);
            (life.will, life.awaiting) = (None, None);
        }
        if has_ended {
            self.vacate(session); // its end is not to be written any more
        } else {
            let mut shard = self.registry.lock(&session.client_id);
            let is_connected = session.life.lock().is_claimed;
            if !is_connected {
                shard.remove(session);
            }
            drop(shard);
            if is_connected {
                session.request_end(taken_over());
            }
        }
        self.take_out_moved(session);
        session.received.lock().forget_put_off();
        // If it has come back meanwhile, what is written is that of the later one.
        if self.owned.remove(session)
            && let Some(redis) = self.store.redis()
        {
            redis.detach(session.number);
        }
    }

    /// Takes a session that is another gateway's out of the table. Done once more when its connection
    /// has ended: that may have been amid a SUBSCRIBE, so what it has subscribed to is kept in mind.
    pub(crate) fn take_out_moved(&self, session: &Session) {
        let filters: Vec<_> = session.subscriptions.lock().keys().cloned().collect();
        for filter in filters {
            self.unsubscribe(session, &filter, || None);
        }
    }

    fn strike_timers(&self, session: &Session) {
        let mut life = session.life.lock();
        self.agenda.strike(life.expiry_timer.take());
        self.agenda.strike(life.will_timer.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::mqtt::Qos;
    use crate::session::outbound::Outbound;
    use crate::session::{Life, Subscribed};

    /// Messages for it would be given back for ever.
    #[tokio::test]
    async fn of_what_a_connection_subscribes_to_while_its_session_goes_nothing_stays_in_the_table()
    {
        let broker = Broker::in_cluster();
        let life = Life {
            is_claimed: true,
            expiry: 60,
            ..Life::default()
        };
        let session = Arc::new(Session::new(7, "c", Outbound::new(true), life));
        broker.registry.lock("c").insert(session.clone());
        let subscribed = Subscribed::any(Qos::AtLeastOnce);
        let note = |filter: &str| {
            let mut subscriptions = session.subscriptions.lock();
            subscriptions.insert(filter.into(), subscribed.clone());
        };
        let enter = |filter| broker.subscribe(&session, filter, &subscribed, || None);
        let is_found = |filter| !broker.table.plan(filter).filters().is_empty();
        note("before");
        enter("before");
        note("amid");
        broker.drop_moved(&session);
        assert!(!is_found("before"));
        enter("amid");
        note("behind");
        enter("behind");
        assert!(is_found("amid") && is_found("behind"));
        broker.detach(&session, &End::Lost);
        for filter in ["before", "amid", "behind"] {
            assert!(!is_found(filter), "{filter}");
        }
        assert_eq!(broker.registry.n_sessions(), 0);
    }

    /// Its connection lets go of it when it is another gateway's for a moment only that knows of it.
    #[tokio::test]
    async fn of_one_that_ends_here_when_it_has_gone_nothing_stays() {
        let broker = Broker::in_cluster();
        let session = Session::new(7, "c", Outbound::new(true), Life::default());
        let session = Arc::new(session);
        broker.owned.insert(&session);
        broker.lose(&session, Fenced::Taken);
        assert!(!broker.drops_ended(&session), "its routes are needed");
        let mut turn = crate::turn::Turn::new(&broker);
        broker.end_session(&session, &mut turn);
        turn.finish(None);
        assert!(broker.owned.find(7).is_some());
        assert!(broker.drops_ended(&session));
        assert!(broker.owned.find(7).is_none());
    }
}
