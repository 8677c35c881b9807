//! The end of a session that takes no more messages: what it should have got is not there, so it is
//! over, and its client and the log are told why.

use std::sync::Arc;

use crate::broker::Broker;
use crate::proto::mqtt::Reason;
use crate::session::{End, Session};
use crate::store::redis::Refusal;
use crate::turn::Turn;

/// Why a session takes no more messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overfull {
    /// Its queue has as much as it may have.
    Queue,
    /// Redis has no memory for one.
    NoMemory,
    /// Redis refuses to store one.
    Refused,
}

impl Overfull {
    /// What its client is told, and the log.
    fn told(self) -> (Reason, &'static str) {
        match self {
            Self::Queue => (Reason::QuotaExceeded, "the session's queue is full"),
            Self::NoMemory => (
                Reason::QuotaExceeded,
                "redis has no memory for what the session is to get",
            ),
            Self::Refused => (
                Reason::ImplementationSpecificError,
                "redis refuses to store what the session is to get",
            ),
        }
    }
}

impl From<Refusal> for Overfull {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoMemory => Self::NoMemory,
            Refusal::Otherwise => Self::Refused,
        }
    }
}

impl Broker {
    /// A session is over because it takes no more messages.
    pub(crate) fn end_overfull(self: &Arc<Self>, session: &Arc<Session>, cause: Overfull) {
        let (reason, why) = cause.told();
        tracing::warn!(client.id = &*session.client_id, why, "session ends");
        self.metrics.sessions_overfull.inc();
        let is_claimed = {
            let _shard = self.registry.lock(&session.client_id);
            let mut life = session.life.lock();
            life.is_over = true; // with its connection, if it has one
            std::mem::replace(&mut life.is_claimed, true) // whoever comes now waits for its end
        };
        if is_claimed {
            session.request_end(End::refused(reason, why));
            return;
        }
        let mut turn = Turn::new(self);
        self.end_session(session, &mut turn);
        turn.finish(None);
        self.vacate(session);
    }
}
