//! A session that is kept as it is while Redis is asked for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::broker::Broker;
use crate::session::Session;
use crate::turn::Turn;

/// A session that does not expire, nor is let go, while Redis is asked. Let go where it is not
/// wanted after all, however that comes about: whatever has become of it meanwhile holds then. One that
/// is over ends, and of one that is another gateway's nothing is done here.
pub(super) struct Reserved<'b> {
    broker: &'b Arc<Broker>,
    session: Option<Arc<Session>>,
}

impl<'b> Reserved<'b> {
    pub(super) fn new(broker: &'b Arc<Broker>, session: &Arc<Session>) -> Option<Self> {
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

    /// Under which number and epoch it is in memory.
    pub(super) fn known_as(&self) -> Option<(u64, u64)> {
        let session = self.session.as_ref()?;
        Some((session.number, session.claim_epoch.load(Ordering::Acquire)))
    }

    /// It is the caller's now.
    pub(super) fn keep(mut self) -> Arc<Session> {
        self.session.take().expect("it is let go once")
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        let ends = {
            let mut shard = self.broker.registry.lock(&session.client_id);
            let mut life = session.life.lock();
            let is_moved = session.outbound.lock().is_moved();
            let ends = life.is_over && !is_moved;
            life.is_claimed = ends; // whoever comes now waits until its end is on its way
            if life.is_ended {
                shard.remove(&session);
            } else if !is_moved && !ends {
                self.broker.set_timers(&session, &mut life);
            }
            ends
        };
        if ends {
            let mut turn = Turn::new(self.broker);
            self.broker.end_session(&session, &mut turn);
            turn.finish(None);
            self.broker.vacate(&session);
        } else {
            session.detached.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lifecycle::Claim;
    use crate::proto::mqtt::Version;
    use crate::session::outbound::Outbound;
    use crate::session::{End, Life};
    use crate::store::redis::Fenced;

    /// A session that waits for its client, with its timers, and is asked for.
    fn reserved(broker: &Arc<Broker>) -> (Arc<Session>, Reserved<'_>) {
        let life = Life {
            expiry: 3_600,
            detached_at: broker.clock.now(),
            ..Life::default()
        };
        let session = Session::new(7, "c", Outbound::new(true), life);
        let session = Arc::new(session);
        broker.owned.insert(&session);
        broker.registry.lock("c").insert(session.clone());
        broker.set_timers(&session, &mut session.life.lock());
        let reserved = Reserved::new(broker, &session).expect("it is nobody's");
        assert_eq!(session.life.lock().expiry_timer, None);
        (session, reserved)
    }

    #[tokio::test]
    async fn one_that_is_not_wanted_after_all_expires_as_before() {
        let broker = Broker::in_memory();
        let (session, reserved) = reserved(&broker);
        drop(reserved);
        let life = session.life.lock();
        assert!(life.expiry_timer.is_some() && !life.is_claimed);
    }

    /// Its routes stand in for those elsewhere until every gateway knows of these.
    #[tokio::test]
    async fn one_that_went_elsewhere_meanwhile_does_not_expire_here() {
        let broker = Broker::in_memory();
        let (session, reserved) = reserved(&broker);
        broker.lose(&session, Fenced::Taken);
        drop(reserved);
        let life = session.life.lock();
        assert!(life.expiry_timer.is_none() && !life.is_claimed && !life.is_ended);
        assert_eq!(broker.registry.n_sessions(), 1);
    }

    /// Whoever asks for it from elsewhere need not ask once more for the connection that gets it.
    #[tokio::test]
    async fn one_that_is_asked_for_meanwhile_goes_on_only_to_be_let_go() {
        let broker = Broker::in_memory();
        let (session, reserved) = reserved(&broker);
        let waiting = tokio::spawn({
            let (broker, session) = (broker.clone(), session.clone());
            async move { broker.wait_until_free(&session).await }
        });
        let is_asked = || async {
            while session.life.lock().end.is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        is_asked().await;
        let claim = Claim {
            client_id: "c",
            principal: None,
            clean_start: false,
            version: Version::V5,
            expiry: 3_600,
        };
        broker.resume(&session, &mut reserved.keep().life.lock(), &claim);
        let asked = tokio::time::timeout(Duration::from_secs(20), is_asked());
        asked.await.expect("it is to end");
        assert!(!waiting.is_finished());
        broker.detach(&session, &End::Lost);
        waiting.await.expect("it is free");
    }

    #[tokio::test]
    async fn one_that_was_dropped_meanwhile_is_out_of_memory() {
        let broker = Broker::in_memory();
        let (session, reserved) = reserved(&broker);
        broker.drop_moved(&session);
        assert_eq!(broker.registry.n_sessions(), 1, "it is claimed");
        drop(reserved);
        assert!(session.life.lock().expiry_timer.is_none());
        assert_eq!(broker.registry.n_sessions(), 0);
        assert!(broker.owned.find(7).is_none());
    }
}
