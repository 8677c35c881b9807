//! How a session waited for its client, while a connection has it that is not let in yet.
//!
//! A client that hangs up before it is let in has not come back: its session waits for it on as it
//! did, as long as it would have and for whom it did, and the will of the connection before is published
//! when it is due. So that will is forgotten, in memory and in the store, only when the client is let in.

use std::sync::Arc;

use super::Life;
use crate::proto::mqtt::Version;
use crate::store::record::SessionRecord;
use crate::will::Will;

/// What was before the connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Awaiting {
    version: Option<Version>,
    expiry: u32,
    detached_at: u64,
    principal: Box<str>,
    /// The will of the connection before, if it was not due.
    pub(crate) will: Option<Arc<Will>>,
}

impl Awaiting {
    /// Of a session that is in memory.
    pub(crate) fn here(life: &mut Life) -> Self {
        Self {
            version: life.version,
            expiry: life.expiry,
            detached_at: life.detached_at,
            principal: life.principal.clone(),
            will: life.will.take(),
        }
    }

    /// Of one that comes from the store, see [`Life::stored`].
    pub(crate) fn stored(record: &SessionRecord, will: Option<Arc<Will>>, now: u64) -> Self {
        Self::here(&mut Life::stored(record, will, now))
    }

    /// The will of the connection before, if it was due by now.
    pub(crate) fn take_due(&mut self, now: u64) -> Option<Arc<Will>> {
        let (detached_at, expiry) = (self.detached_at, self.expiry);
        let is_due = |will: &mut Arc<Will>| will.is_due(detached_at, expiry, now);
        self.will.take_if(is_due)
    }

    /// It waits on.
    pub(crate) fn go_on(self, life: &mut Life) {
        life.version = self.version;
        life.expiry = self.expiry;
        life.detached_at = self.detached_at;
        life.principal = self.principal;
        life.will = self.will;
    }
}

#[cfg(test)]
mod tests {
    use gatemq_storage::Batch;

    use super::*;
    use crate::broker::Broker;
    use crate::completion;
    use crate::lifecycle::Claim;
    use crate::message::MessageRef;
    use crate::proto::mqtt::Qos;
    use crate::registry::Registry;
    use crate::session::outbound::Outbound;
    use crate::session::{End, Session, Subscription};
    use crate::store::keys;

    fn will(delay: u32) -> Option<Arc<Will>> {
        let will = Will {
            delay,
            expiry: None,
            client_id: "c".into(),
            principal: "".into(),
            origin: None,
            message: MessageRef::any(Qos::AtLeastOnce).to_message(),
        };
        Some(Arc::new(will))
    }

    async fn claim(broker: &Arc<Broker>, expiry: u32) -> Arc<Session> {
        claim_as(broker, None, expiry).await
    }

    async fn claim_as(broker: &Arc<Broker>, principal: Option<&str>, expiry: u32) -> Arc<Session> {
        let claim = Claim {
            client_id: "c",
            principal,
            clean_start: false,
            version: Version::V5,
            expiry,
        };
        broker.claim(&claim).await.expect("room").session
    }

    /// As where it was adopted a moment ago, and the agenda has not come to it.
    #[tokio::test]
    async fn a_will_that_was_due_is_out_though_its_client_is_back() {
        for (delay, n_expected) in [(0, 1), (5, 1), (300, 0)] {
            let broker = Broker::in_memory();
            broker.tasks.spawn(completion::run(broker.clone()));
            let watcher = Session::new(9, "watcher", Outbound::new(true), Life::default());
            let watcher = Arc::new(watcher);
            let subscription = Subscription::any(watcher.clone(), Qos::AtLeastOnce);
            broker.table.subscribe(None, "t", 9, subscription);
            let session = claim(&broker, u32::MAX).await;
            broker.let_in(&session, None).await;
            broker.detach(&session, &End::Lost);
            {
                let mut life = session.life.lock();
                // By the clock of whoever has noted it, and that may be ahead.
                let since = if delay == 0 { 0 } else { 10_000 };
                life.detached_at = broker.clock.now() + 100 - since;
                life.will = will(delay);
            }
            claim(&broker, u32::MAX).await;
            broker.let_in(&session, None).await;
            assert_eq!(broker.store.make_safe(Batch::default()).await, Ok(true));
            assert_eq!(watcher.outbound.lock().n_queued(), n_expected, "{delay}");
            broker.tasks_end.cancel();
        }
    }

    #[tokio::test]
    async fn only_who_is_let_in_has_come_back() {
        let broker = Broker::in_memory();
        broker.tasks.spawn(completion::run(broker.clone()));
        let session = claim(&broker, u32::MAX).await;
        broker.let_in(&session, will(300)).await;
        broker.detach(&session, &End::Lost);
        let is_stored = || broker.store.get(&keys::will(session.number)).is_some();
        let before = broker.clock.now() - 1_000;
        session.life.lock().detached_at = before;
        // It would end with this connection.
        assert!(Arc::ptr_eq(&claim(&broker, 0).await, &session));
        broker.detach(&session, &End::Lost);
        {
            let life = session.life.lock();
            assert_eq!((life.expiry, life.detached_at), (u32::MAX, before));
            assert_eq!(life.will, will(300));
            let due = life.will_timer.map(|(due, _)| due);
            assert_eq!(due, Some(before + 300_000));
        }
        assert!(is_stored());
        session.life.lock().detached_at = broker.clock.now();
        claim(&broker, 3_600).await;
        broker.let_in(&session, None).await;
        assert!(!is_stored());
        broker.detach(&session, &End::Lost);
        let life = session.life.lock();
        assert_eq!((&life.will, life.will_timer), (&None, None));
        broker.tasks_end.cancel();
    }

    /// A session that is nobody's in particular is for whoever is let in, and for nobody who was not.
    #[tokio::test]
    async fn whose_it_is_is_decided_by_who_is_let_in() {
        let mut broker = Broker::in_memory();
        Arc::get_mut(&mut broker).expect("nobody else's").registry = Registry::new(1);
        broker.tasks.spawn(completion::run(broker.clone()));
        let nobodys = claim(&broker, u32::MAX).await;
        broker.let_in(&nobodys, None).await;
        broker.detach(&nobodys, &End::Lost);
        let (ann, bob) = (Some("user ann"), Some("user bob"));
        let session = claim_as(&broker, ann, u32::MAX).await;
        assert!(broker.ask_for_room("user ann").is_err(), "she has one");
        broker.detach(&session, &End::Lost);
        assert_eq!(&*session.life.lock().principal, "");
        assert!(broker.ask_for_room("user ann").is_ok());
        let settled = broker.store.make_safe(Batch::default());
        settled.await.expect("memory takes it");
        let record = broker.store.get(&keys::session(session.number));
        let record = SessionRecord::restore(&record.expect("it is stored"));
        assert_eq!(record.expect("it is whole").principal, "");
        let session = claim_as(&broker, bob, u32::MAX).await;
        assert!(Arc::ptr_eq(&session, &nobodys));
        broker.let_in(&session, None).await;
        broker.detach(&session, &End::Lost);
        assert_eq!(&*session.life.lock().principal, "user bob");
        broker.tasks_end.cancel();
    }
}
