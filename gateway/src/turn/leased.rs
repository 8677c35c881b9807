//! What is stored for a session and not sent yet goes out under the lease only. A gateway that stood
//! still may not know that another one has the session by now, which sends it all: what is on its way
//! here already stays fenced in the store, but what its client hears would come twice.

use std::sync::Arc;

use super::Turn;
use crate::session::Session;
use crate::session::outbound::Outbound;

impl Turn<'_> {
    /// Whether what waits for a session may not be sent now; then it is when there is a lease.
    pub(super) fn waits_for_lease(&self, session: &Arc<Session>, outbound: &mut Outbound) -> bool {
        if !outbound.is_stored() || !outbound.has_waiting() || self.broker.has_lease() {
            return false;
        }
        if let Some(link) = &mut outbound.link
            && !std::mem::replace(&mut link.waits_for_lease, true)
        {
            let (broker, session) = (self.broker.clone(), session.clone());
            self.broker.see_to("lease", async move {
                broker.lease_held().await;
                if let Some(link) = &mut session.outbound.lock().link {
                    link.waits_for_lease = false;
                }
                let mut turn = Turn::new(&broker);
                turn.pump(&session);
                turn.finish(None);
            });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::broker::Broker;
    use crate::completion;
    use crate::message::MessageRef;
    use crate::proto::mqtt::Qos;
    use crate::session::Life;
    use crate::session::frames::{Delivery, Frames};
    use crate::session::link::Link;
    use crate::session::outbound::Taken;
    use crate::session::queued::Terms;

    /// As after an acknowledgement that was in the socket of a gateway which stood still.
    #[tokio::test]
    async fn what_waits_is_sent_when_there_is_a_lease() {
        let broker = Broker::in_cluster();
        broker.tasks.spawn(completion::run(broker.clone()));
        let session = Session::new(7, "c", Outbound::new(true), Life::default());
        let session = Arc::new(session);
        {
            let mut outbound = session.outbound.lock();
            outbound.attach(Link::any(1));
            let message = MessageRef::any(Qos::AtLeastOnce);
            let mut frames = Frames::default();
            let mut delivery = Delivery::new(message, 0, &mut frames);
            let terms = Terms {
                qos: Qos::AtLeastOnce,
                retain: false,
                ids: &[],
                share: None,
            };
            let bounds = broker.settings.load().bounds;
            let Taken::Store(seq) = outbound.deliver(&mut delivery, &terms, &bounds) else {
                panic!("it is stored");
            };
            outbound.commit(seq);
        }
        let n_sent = || session.outbound.lock().n_inflight();
        for _ in 0..2 {
            let mut turn = Turn::new(&broker);
            turn.pump(&session);
            turn.finish(None);
        }
        tokio::task::yield_now().await;
        assert_eq!(n_sent(), 0);
        let cluster = broker.cluster.as_ref().expect("it is in one");
        cluster.begin_lease(broker.clock.now());
        let sent = tokio::time::timeout(Duration::from_secs(20), async {
            while n_sent() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        sent.await.expect("it is sent");
        broker.tasks_end.cancel();
    }
}
