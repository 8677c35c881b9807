//! A session that comes from Redis is put into memory, in the place of what was here of it.
//!
//! Whoever does so has passed the turnstile, and names the incarnation under which Redis gave the
//! session away: that is read once, when Redis is asked, since it may have changed meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gatemq_node::seeded_bug::{Bug, is_seeded};

use crate::broker::Broker;
use crate::registry::places;
use crate::restore::{after, how_far};
use crate::session::outbound::Outbound;
use crate::session::recent::{Recent, go_on};
use crate::session::{Life, Session};
use crate::store::record::SessionRecord;
use crate::store::redis::{Place, Stored};

/// Under which claim a session is here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Title {
    pub(super) owner: u64,
    pub(super) number: u64,
    pub(super) epoch: u64,
}

impl Broker {
    /// From now on this gateway writes for the session.
    pub(super) fn attach(&self, session: &Arc<Session>, title: Title) {
        session.claim_epoch.store(title.epoch, Ordering::Release);
        // Before the store knows of it: whatever was here of the number takes out only itself then.
        self.owned.insert(session);
        if let Some(redis) = self.store.redis() {
            let place = Place::live(&*session.client_id, title.owner, title.epoch);
            redis.attach(session.number, place);
        }
    }

    /// Puts a session that came from another gateway into memory, with its subscriptions, in the
    /// place of what was here of it.
    ///
    /// At no moment is it missing from a filter that what was here had, too: a message that found
    /// nobody would be confirmed, and what was sent here for it comes here only once. So it is in the
    /// table first, and only then is the other one taken out.
    pub(super) fn bring_in(
        self: &Arc<Self>,
        title: Title,
        record: &SessionRecord,
        stored: Stored,
        life: Life,
        old: Option<&Arc<Session>>,
        place: Option<places::Place>,
    ) -> Arc<Session> {
        let entries = stored.queue.map(|queue| (queue.first, queue.last));
        let (n_entries, n_bytes) = stored.queue.map_or((0, 0), |queue| {
            (queue.n_entries as usize, queue.n_bytes as usize)
        });
        let sent_below = how_far(record.sent_below, stored.edge);
        let outbound = Outbound::restored(entries, sent_below, n_entries, n_bytes)
            .going_on_at(go_on(
                stored.next_seq,
                after(record.sent_below, stored.edge),
            ))
            .with_edge(stored.edge.unwrap_or(0));
        let mut session = Session::new(title.number, &record.client_id, outbound, life);
        session.arrives();
        *session.place.get_mut() = place;
        for (packet_id, origin) in stored.received {
            if is_seeded(Bug::Qos2ExchangeForgotten) {
                break;
            }
            session.received.get_mut().insert_unknown(packet_id, origin);
        }
        *session.recent.get_mut() = Recent::restored(stored.recent);
        let session = Arc::new(session);
        self.attach(&session, title);
        let change = self.begin_move();
        for (text, subscribed) in stored.subscriptions {
            self.subscribe(&session, &text, &subscribed, || None);
            session.subscriptions.lock().insert(text, subscribed);
        }
        // Behind the last of its subscriptions: what is routed from now on finds all of them.
        let stamp = self.cluster.as_ref().map_or(0, |cluster| cluster.stamp());
        session.arrived.store(stamp, Ordering::Release);
        drop(change);
        if let Some(old) = old {
            self.make_room(old);
        }
        if let Some(cluster) = &self.cluster {
            cluster.announce_arrival(&session);
        }
        self.registry
            .lock(&session.client_id)
            .insert(session.clone());
        session
    }

    /// What was here of a client identifier is another session by now, or another gateway had it
    /// meanwhile: it makes room for the one that comes.
    pub(super) fn make_room(self: &Arc<Self>, old: &Arc<Session>) {
        old.life.lock().is_claimed = false; // nobody else has a claim to it, see the turnstile
        self.drop_moved(old);
        old.detached.notify_waiters();
    }

    /// What is here of a client identifier.
    pub(super) fn session_here(&self, client_id: &str) -> Option<Arc<Session>> {
        self.registry.lock(client_id).find(client_id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::lifecycle::NoSession;
    use crate::message::MessageRef;
    use crate::proto::mqtt::{Qos, Version};
    use crate::registry::Registry;
    use crate::session::Subscribed;
    use crate::turn::Turn;
    use crate::turn::author::Author;

    const NUMBER: u64 = 7;

    /// The session as another gateway leaves it, with these subscriptions.
    fn come(broker: &Arc<Broker>, filters: &[&str], old: Option<&Arc<Session>>) -> Arc<Session> {
        let subscribed = Subscribed::any(Qos::AtLeastOnce);
        let subscriptions = filters
            .iter()
            .map(|text| ((*text).into(), subscribed.clone()));
        let stored = Stored {
            subscriptions: subscriptions.collect(),
            ..Stored::default()
        };
        broker.bring_in(TITLE, &record(), stored, Life::default(), old, None)
    }

    const TITLE: Title = Title {
        owner: 1,
        number: NUMBER,
        epoch: 1,
    };

    fn record() -> SessionRecord {
        SessionRecord {
            client_id: "c".to_owned(),
            version: Version::V5,
            expiry: 60,
            detached_at: 1,
            created_at: 1,
            sent_below: 0,
            principal: String::new(),
        }
    }

    #[tokio::test]
    async fn of_two_that_come_at_once_the_last_place_is_for_one() {
        let mut broker = Broker::in_memory();
        Arc::get_mut(&mut broker).expect("nobody else's").registry = Registry::new(1);
        let place = broker.ask_for_room("user ann").expect("there is one place");
        // Its session is still on its way.
        let none = broker.ask_for_room("user ann").err();
        assert_eq!(none, Some(NoSession::SessionsOfUser));
        let life = Life {
            principal: "user ann".into(),
            ..Life::default()
        };
        let stored = Stored::default();
        let session = broker.bring_in(TITLE, &record(), stored, life, None, place);
        assert!(broker.ask_for_room("user ann").is_err());
        broker.registry.lock("c").remove(&session);
        assert!(
            broker
                .ask_for_room("user ann")
                .is_ok_and(|place| place.is_some())
        );
    }

    /// Whoever routes has asked by then whether anything before its message is still on its way.
    #[tokio::test]
    async fn a_session_that_comes_amid_a_turn_is_given_nothing_by_it() {
        let broker = Broker::in_cluster();
        let early = Turn::new(&broker);
        let session = come(&broker, &["t"], None);
        let late = Turn::new(&broker);
        let message = MessageRef::any(Qos::AtLeastOnce);
        let plan = broker.table.plan("t");
        for (mut turn, expected) in [(early, 0), (late, 1)] {
            turn.route(message, &plan, Author::named("p", ""));
            turn.finish(None);
            assert_eq!(session.outbound.lock().n_queued(), expected);
        }
    }

    fn has(broker: &Broker, topic: &str) -> bool {
        let plan = broker.table.plan(topic);
        let members = plan
            .filters()
            .iter()
            .map(|it| it.subscribers().direct.as_slice().len());
        members.sum::<usize>() > 0
    }

    #[tokio::test]
    async fn a_session_that_comes_back_is_missing_from_its_filters_at_no_moment() {
        let broker = Broker::in_memory();
        let mut session = come(&broker, &["a/#", "b"], None);
        let is_over = Arc::new(AtomicBool::new(false));
        let looking = {
            let (broker, is_over) = (broker.clone(), is_over.clone());
            tokio::task::spawn_blocking(move || {
                let mut n_missed = 0u64;
                while !is_over.load(Ordering::Acquire) {
                    n_missed += u64::from(!has(&broker, "a/x"));
                }
                n_missed
            })
        };
        for _ in 0..20_000 {
            session = come(&broker, &["a/#"], Some(&session));
        }
        is_over.store(true, Ordering::Release);
        assert_eq!(looking.await.expect("it ends"), 0);
        // And of what was here before nothing is left.
        assert!(!has(&broker, "b") && session.was_here(0));
        assert_eq!(broker.registry.n_sessions(), 1);
        let here = broker.session_here("c").expect("it is here");
        assert!(Arc::ptr_eq(&here, &session));
        broker.drop_moved(&session);
        assert!(!has(&broker, "a/x"));
    }

    /// Another gateway may say at that very moment that what was here is not needed any more.
    #[test]
    fn what_was_here_takes_only_itself_out() {
        let broker = Broker::in_memory();
        let mut session = come(&broker, &["a/#"], None);
        for _ in 0..5_000 {
            let old = session.clone();
            std::thread::scope(|scope| {
                scope.spawn(|| broker.drop_moved(&old));
                session = come(&broker, &["a/#"], Some(&old));
            });
            assert!(has(&broker, "a/x"));
            let owned = broker.owned.find(NUMBER).expect("it is here");
            assert!(Arc::ptr_eq(&owned, &session));
        }
    }
}
