//! Wills: kept with the session that left them, published when its connection ends badly.

mod late;
mod leave;

use std::sync::Arc;

use gatemq_storage::Batch;

use crate::broker::Broker;
use crate::message::{Message, MessageRef};
use crate::proto::mqtt;
use crate::session::Session;
use crate::session::received::Origin;
use crate::store::{keys, record};
use crate::turn::Turn;
use crate::turn::author::Author;
use crate::turn::traced::From;

pub(crate) use late::{Late, Still};
pub(crate) use leave::Leave;

/// How long a CONNECT waits for its will to be safe.
const KEPT_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// A will, ready to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Will {
    /// Will Delay Interval, in seconds.
    pub(crate) delay: u32,
    /// Message Expiry Interval, in seconds, counted from when the will is published.
    pub(crate) expiry: Option<u32>,
    /// The client that left it.
    pub(crate) client_id: Box<str>,
    /// As whom the client left it, see [`crate::auth::Rights::author`].
    pub(crate) principal: Box<str>,
    /// What it is known by, however often it is published: where another gateway may have to.
    pub(crate) origin: Option<Origin>,
    pub(crate) message: Message,
}

impl Will {
    /// The will of a CONNECT.
    pub(crate) fn new(
        will: &mqtt::Will<'_>,
        (client_id, principal): (&str, &str),
        publisher: u64,
        origin: Option<Origin>,
    ) -> Arc<Self> {
        let mut scratch = Vec::new();
        let message = MessageRef {
            publisher,
            qos: will.qos,
            retain: will.retain,
            expires_at: u64::MAX,
            topic: will.topic,
            properties: mqtt::forwardable(will.properties.block, &mut scratch),
            payload: will.payload,
            trace: None,
        };
        Arc::new(Self {
            delay: will.delay,
            expiry: will.properties.message_expiry,
            client_id: client_id.into(),
            principal: principal.into(),
            origin,
            message: message.to_message(),
        })
    }

    /// When it is due after a connection that ended at `detached_at`, in Unix milliseconds: after
    /// its delay, and no later than the session ends `[MQTT-3.1.2-8]`.
    pub(crate) fn due_at(&self, detached_at: u64, expiry: u32) -> u64 {
        detached_at.saturating_add(u64::from(self.delay.min(expiry)) * 1000)
    }

    /// Whether whoever takes a session over has to publish it: it was due, and is still stored, so
    /// nobody knows whether all have it. Where the connection was cut off (`detached_at` is 0), only
    /// one without a delay is due; otherwise the client is back in time `[MQTT-3.1.3-9]`.
    pub(crate) fn is_due(&self, detached_at: u64, expiry: u32, now: u64) -> bool {
        // Without a delay it was due when the connection ended, whenever others count that was.
        self.delay == 0 || detached_at != 0 && self.due_at(detached_at, expiry) <= now
    }

    /// Who has published it.
    pub(crate) fn author(&self) -> Author<'_> {
        Author::of_will(&self.client_id, &self.principal)
    }

    /// What is published; `longest` bounds its expiry, in seconds, 0 for no bound.
    pub(crate) fn message_at(&self, now: u64, longest: u32) -> MessageRef<'_> {
        let mut message = self.message.as_ref();
        let longest = Some(longest).filter(|longest| *longest > 0);
        if let Some(expiry) = self.expiry.into_iter().chain(longest).min() {
            message.expires_at = now + u64::from(expiry) * 1000;
        }
        message
    }
}

impl Broker {
    /// A session has a connection again. If the agenda had not come to its will yet, which was due, that
    /// is published now: its client is not back in time.
    pub(crate) fn publish_overdue(self: &Arc<Self>, session: &Session) {
        let now = self.clock.now();
        let overdue = {
            let mut life = session.life.lock();
            life.awaiting.as_mut().and_then(|it| it.take_due(now))
        };
        if let Some(will) = overdue {
            let mut turn = Turn::new(self);
            self.publish_will(session.number, Some(session), &will, &mut turn);
            turn.finish(None);
        }
    }

    /// A client is let in. Keeps its will, in the store too: it is published even if the broker
    /// dies. One that the connection before has left, and that is not due yet, is forgotten.
    pub(crate) async fn let_in(&self, session: &Arc<Session>, will: Option<Arc<Will>>) {
        let awaiting = session.life.lock().awaiting.take();
        let Some(will) = will else {
            if awaiting.is_some_and(|awaiting| awaiting.will.is_some()) {
                let mut batch = Batch::default();
                batch.delete(&keys::will(session.number)); // it is back in time [MQTT-3.1.3-9]
                let safe = self.store.make_safe(batch);
                let _ = tokio::time::timeout(KEPT_WITHIN, safe).await;
            }
            return;
        };
        // The one before is out first, which would be lost with its gateway otherwise.
        let out = self.wills.out(session.number);
        let _ = tokio::time::timeout(KEPT_WITHIN, out).await;
        let mut batch = Batch::default();
        batch.put(&keys::will(session.number), &record::store_will(&will));
        session.life.lock().will = Some(will);
        // An error means that the store, and the process, has stopped. In Redis it is written as
        // soon as that answers: a client is not kept waiting for ever.
        let store = || self.store.make_safe(batch);
        let safe = self.wills.replace(session.number, store);
        let _ = tokio::time::timeout(KEPT_WITHIN, safe).await;
    }

    /// Publishes the will that a session left, and forgets it: in one commit with what it caused,
    /// or where that takes several, behind all of them. One that its client may not publish any more
    /// is only forgotten.
    pub(crate) fn publish_will(
        self: &Arc<Self>,
        number: u64,
        session: Option<&Session>,
        will: &Will,
        turn: &mut Turn<'_>,
    ) {
        let leave = self.leave_for(session, will);
        if self.store.redis().is_some() {
            // Without a delay it is due wherever the session is, and known by its name.
            let leave = match leave {
                Leave::Given if will.delay > 0 => Leave::Later,
                leave => leave,
            };
            self.publish_stored_will(number, will, leave);
            return;
        }
        match leave {
            Leave::Given => turn.publish_will(will),
            Leave::Refused => {}
            Leave::Unknown | Leave::Later => {
                // Stored as long as it waits, even if its session ends meanwhile.
                let ticket = self.wills.begin(number);
                let (broker, will) = (self.clone(), will.clone());
                // If it stops first, the next start has it.
                self.see_to("will", async move {
                    let is_given = broker.wait_for_leave(&will, leave).await;
                    let mut turn = Turn::new(&broker);
                    if is_given {
                        turn.publish_will(&will);
                    }
                    let forget = || turn.batch.delete(&keys::will(number));
                    broker.wills.end(number, ticket, forget);
                    turn.finish(None);
                });
                return;
            }
        }
        turn.batch.delete(&keys::will(number));
    }
}

impl Turn<'_> {
    fn publish_will(&mut self, will: &Will) {
        let message = will.message_at(self.now, self.settings.message_expiry);
        let plan = self.broker.table.plan(message.topic);
        let whose = (From::Will, &*will.client_id);
        let published = self.publish_traced(message, whose, |turn, message| {
            let published = turn.publish(message, &plan, will.author());
            match published.refused.is_some() && message.retain {
                // There is no room to keep it; those who are subscribed get it all the same.
                true => turn.route(message, &plan, will.author()),
                false => published,
            }
        });
        if let Some(reason) = published.refused {
            tracing::warn!(client.id = &*will.client_id, %reason, "will not published everywhere");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::completion;
    use crate::lifecycle::Claim;
    use crate::memory::{Level, Memory};
    use crate::session::outbound::Outbound;
    use crate::session::{End, Life};

    fn will(delay: u32) -> Will {
        let message = MessageRef {
            publisher: 1,
            qos: mqtt::Qos::AtLeastOnce,
            retain: false,
            expires_at: u64::MAX,
            topic: "t",
            properties: &[],
            payload: b"gone",
            trace: None,
        };
        Will {
            delay,
            expiry: None,
            client_id: "c".into(),
            principal: "".into(),
            origin: None,
            message: message.to_message(),
        }
    }

    #[test]
    fn a_will_that_is_still_stored_is_due_after_its_delay_or_with_its_session() {
        assert!(will(0).is_due(1_000, 60, 1_000));
        assert!(!will(5).is_due(1_000, 60, 5_999) && will(5).is_due(1_000, 60, 6_000));
        assert!(!will(5).is_due(1_000, 3, 3_999) && will(5).is_due(1_000, 3, 4_000));
        // Cut off: nobody knows when.
        assert!(will(0).is_due(0, 60, u64::MAX) && !will(5).is_due(0, 60, u64::MAX));
        // Damaged: not in this age.
        assert!(!will(5).is_due(u64::MAX - 1, 60, u64::MAX - 1));
    }

    fn retained(payload: &str) -> Will {
        let message = MessageRef {
            publisher: 1,
            qos: mqtt::Qos::AtLeastOnce,
            retain: true,
            expires_at: u64::MAX,
            topic: "t",
            properties: &[],
            payload: payload.as_bytes(),
            trace: None,
        };
        Will {
            message: message.to_message(),
            ..will(0)
        }
    }

    /// A broker without memory, a session that has lost its connection, and whether its will, which
    /// is retained, is still stored.
    async fn short_of_memory(stuck_timeout: Duration) -> (Arc<Broker>, impl Fn() -> bool) {
        let mut broker = Broker::in_memory();
        let unshared = Arc::get_mut(&mut broker).expect("nobody else's");
        unshared.memory = Memory::new(1_000);
        unshared.config.limits.stuck_timeout = stuck_timeout;
        broker.tasks.spawn(completion::run(broker.clone()));
        let session = Session::new(7, "c", Outbound::new(true), Life::default());
        let session = Arc::new(session);
        broker
            .let_in(&session, Some(Arc::new(retained("gone"))))
            .await;
        broker.memory.look(u64::MAX);
        broker.detach(&session, &End::Lost);
        let store = broker.clone();
        let is_stored = move || store.store.get(&keys::will(7)).is_some();
        (broker, is_stored)
    }

    /// A broker without memory, and a session of the client "c" there of which such a will waits.
    async fn waiting() -> (Arc<Broker>, Arc<Session>) {
        let mut broker = Broker::in_memory();
        let unshared = Arc::get_mut(&mut broker).expect("nobody else's");
        unshared.memory = Memory::new(1_000);
        unshared.config.limits.stuck_timeout = Duration::from_secs(3600);
        broker.tasks.spawn(completion::run(broker.clone()));
        let session = claim(&broker, false).await;
        broker
            .let_in(&session, Some(Arc::new(retained("gone"))))
            .await;
        broker.memory.look(u64::MAX);
        broker.detach(&session, &End::Lost);
        assert!(broker.wills.has(session.number));
        (broker, session)
    }

    async fn claim(broker: &Arc<Broker>, clean_start: bool) -> Arc<Session> {
        let claim = Claim {
            client_id: "c",
            principal: None,
            clean_start,
            version: mqtt::Version::V5,
            expiry: 3600,
        };
        broker.claim(&claim).await.expect("room").session
    }

    /// Whether it is stored what a session left.
    fn has_left(broker: &Broker, session: &Session, will: &Will) -> bool {
        let stored = broker.store.get(&keys::will(session.number));
        stored.is_some_and(|stored| record::will(&stored).is_ok_and(|stored| stored == *will))
    }

    #[tokio::test]
    async fn a_will_that_waits_is_stored_though_its_client_begins_anew() {
        let (broker, session) = waiting().await;
        let next = claim(&broker, true).await;
        assert_ne!(next.number, session.number);
        assert!(broker.store.get(&keys::session(session.number)).is_none());
        assert!(has_left(&broker, &session, &retained("gone")));
        broker.memory.look(0);
        let is_stored = || broker.store.get(&keys::will(session.number)).is_some();
        is_published(&broker, is_stored).await;
    }

    #[tokio::test]
    async fn a_will_that_waits_is_out_before_another_one_takes_its_place() {
        let (broker, session) = waiting().await;
        assert!(Arc::ptr_eq(&claim(&broker, false).await, &session));
        let letting_in = tokio::spawn({
            let (broker, session) = (broker.clone(), session.clone());
            async move {
                broker
                    .let_in(&session, Some(Arc::new(retained("next"))))
                    .await
            }
        });
        let settled = broker.store.make_safe(Batch::default());
        settled.await.expect("memory takes it");
        assert!(has_left(&broker, &session, &retained("gone")) && !letting_in.is_finished());
        broker.memory.look(0);
        is_published(&broker, || broker.wills.has(session.number)).await;
        letting_in.await.expect("it does not fail");
        assert!(has_left(&broker, &session, &retained("next")));
    }

    async fn is_published(broker: &Broker, is_stored: impl Fn() -> bool) {
        let is_out = async {
            while broker.retained.is_empty() || is_stored() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), is_out).await;
        waited.expect("it is published, and forgotten");
        broker.tasks_end.cancel();
    }

    #[tokio::test]
    async fn without_memory_a_will_waits_and_is_stored_though_its_session_ends() {
        let (broker, is_stored) = short_of_memory(Duration::from_secs(3600)).await;
        let settled = broker.store.make_safe(Batch::default());
        settled.await.expect("memory takes it");
        assert_eq!((broker.retained.len(), is_stored()), (0, true));
        broker.memory.look(0);
        is_published(&broker, is_stored).await;
    }

    #[tokio::test]
    async fn a_will_does_not_wait_for_memory_for_ever() {
        let (broker, is_stored) = short_of_memory(Duration::from_millis(50)).await;
        is_published(&broker, is_stored).await;
        assert_eq!(broker.memory.level(), Level::Short);
    }
}
