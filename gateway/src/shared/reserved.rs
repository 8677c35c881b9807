//! A session that is kept as it is while Redis is asked for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::broker::Broker;
use crate::session::Session;
use crate::turn::Turn;

/// A session that does not expire, nor is let go, while Redis is asked. Let go where it is not
/// wanted after all, however that comes about; one that is over by then ends.
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
            life.is_claimed = false;
            if life.is_over {
                shard.remove(&session);
            } else {
                self.broker.set_timers(&session, &mut life);
            }
            life.is_over
        };
        if ends {
            let mut turn = Turn::new(self.broker);
            self.broker.end_session(&session, &mut turn);
            turn.finish(None);
        }
        session.detached.notify_waiters();
    }
}
