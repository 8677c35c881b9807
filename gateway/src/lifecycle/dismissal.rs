//! Ends a session because an operator wants it to, whether its client is connected or not: its client
//! identifier is free then, for whoever may come in.

use std::sync::Arc;

use gatemq_storage::Batch;

use super::let_go;
use crate::broker::Broker;
use crate::proto::mqtt::Reason;
use crate::session::{End, Session};
use crate::turn::Turn;

impl Broker {
    /// Ends a session, and returns when it is out of the store, too; whether it was this gateway's, and
    /// has ended.
    pub(crate) async fn dismiss(self: &Arc<Self>, session: &Arc<Session>, why: &str) -> bool {
        let connection = {
            let _shard = self.registry.lock(&session.client_id);
            let mut life = session.life.lock();
            if life.is_ended || session.outbound.lock().is_moved() {
                return false; // it is another gateway's, or nobody's
            }
            life.is_over = true; // with its connection, if it has one
            let connection = life.is_claimed.then_some(life.epoch);
            life.is_claimed = true; // whoever comes now waits until the will is on its way
            connection
        };
        match connection {
            Some(epoch) => {
                session.request_end(End::refused(Reason::AdministrativeAction, why));
                let_go(session, epoch).await;
            }
            None => {
                let mut turn = Turn::new(self);
                self.end_session(session, &mut turn);
                self.let_go(session, &mut turn);
                turn.finish(None);
            }
        }
        // What is under way to it is settled first, then it is removed.
        for _ in 0..2 {
            let _ = self.store.make_safe(Batch::default()).await; // an error: the process stops
        }
        // Another gateway may have taken it meanwhile.
        session.life.lock().is_ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::completion;
    use crate::lifecycle::{Claim, NoSession};
    use crate::proto::mqtt::{Qos, Version};
    use crate::session::Subscribed;
    use crate::store::keys;

    async fn claim(broker: &Arc<Broker>, principal: &str) -> Result<Arc<Session>, NoSession> {
        let claim = Claim {
            client_id: "c",
            principal: Some(principal),
            clean_start: false,
            version: Version::V5,
            expiry: u32::MAX,
        };
        let claimed = broker.claim(&claim).await?;
        Ok(claimed.session)
    }

    #[tokio::test]
    async fn whoever_had_it_is_gone_from_memory_and_store_and_another_may_have_the_name() {
        let broker = Broker::in_memory();
        broker.tasks.spawn(completion::run(broker.clone()));
        for is_connected in [true, false] {
            let session = claim(&broker, "user removed").await.expect("room");
            let connection = tokio::spawn({
                let (broker, session) = (broker.clone(), session.clone());
                async move {
                    while is_connected && session.life.lock().end.is_none() {
                        tokio::task::yield_now().await;
                    }
                    broker.detach(&session, &End::Lost);
                }
            });
            if !is_connected {
                connection.await.expect("it is let go");
                let refused = claim(&broker, "user new").await;
                assert_eq!(refused.err(), Some(NoSession::NotOwn));
            }
            let record = keys::session(session.number);
            assert!(broker.store.get(&record).is_some());
            assert!(broker.dismiss(&session, "gone").await);
            assert!(broker.store.get(&record).is_none());
            assert!(!broker.dismiss(&session, "gone").await, "once is enough");
            let new = claim(&broker, "user new").await.expect("the name is free");
            broker.detach(&new, &End::Lost);
            assert!(broker.dismiss(&new, "gone").await);
        }
        broker.tasks_end.cancel();
    }

    /// It takes a while with so many subscriptions, and whoever waits runs beside it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_that_it_had_is_gone_when_that_is_said() {
        let broker = Broker::in_memory();
        broker.tasks.spawn(completion::run(broker.clone()));
        let session = claim(&broker, "user removed").await.expect("room");
        let subscribed = Subscribed::any(Qos::AtLeastOnce);
        for number in 0..20_000 {
            let filter = format!("a/{number}");
            let mut subscriptions = session.subscriptions.lock();
            subscriptions.insert(filter.as_str().into(), subscribed.clone());
            broker.subscribe(&session, &filter, &subscribed, || None);
        }
        let (connection, ends) = (broker.clone(), session.clone());
        tokio::spawn(async move {
            while ends.life.lock().end.is_none() {
                tokio::task::yield_now().await;
            }
            connection.detach(&ends, &End::Lost);
        });
        assert!(broker.dismiss(&session, "gone").await);
        assert_eq!(broker.table.counts().subscriptions, 0);
        assert!(broker.store.get(&keys::session(session.number)).is_none());
        broker.tasks_end.cancel();
    }
}
