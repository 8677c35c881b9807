//! Whether a will that had to wait is still this gateway's to publish.
//!
//! Meanwhile its client may have come back elsewhere. Whoever has its session then publishes the will
//! before the client says anything; what came from here later would be the last word, and take the
//! place of what the client has had retained since. One with a delay has been forgotten there: its
//! client was back in time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::broker::Broker;
use crate::session::Session;
use crate::store::redis::Holder;
use crate::will::Will;

/// Pause before it is asked again who has a session.
const PAUSE: Duration = Duration::from_millis(200);

/// A will that waits, and who had its client's session when it began to.
#[derive(Debug)]
pub(crate) struct Late {
    number: u64,
    /// The session, if it is here.
    here: Option<Arc<Session>>,
    before: Option<Holder>,
}

/// What becomes of a will that has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Still {
    Due,
    /// Its client is back here, or has begun another session: it came back in time, as with one that
    /// has a delay.
    Back,
    /// Another gateway has the session, and publishes it.
    Elsewhere,
}

// === impl Late ===

impl Late {
    /// The will of this session begins to wait: to be called before anybody can take the session up.
    pub(crate) fn new(broker: &Broker, number: u64) -> Self {
        let here = broker.owned.find(number);
        let before = here.as_ref().map(|session| Holder {
            number,
            owner: broker.incarnation(),
            epoch: session.claim_epoch.load(Ordering::Acquire),
        });
        Self {
            number,
            here,
            before,
        }
    }

    /// Who has the session that it is of, where that is not here.
    pub(crate) async fn begin(&mut self, broker: &Broker, will: &Will) {
        if self.here.is_none() {
            self.before = holder(broker, will).await;
        }
    }

    /// It has waited.
    pub(crate) async fn judge(&self, broker: &Broker, will: &Will) -> Still {
        loop {
            let now = holder(broker, will).await;
            let (Some(session), Some(before)) = (&self.here, self.before) else {
                return still(self.number, self.before, now);
            };
            if session.outbound.lock().is_moved() {
                return Still::Elsewhere;
            }
            let is_own = |now: &Holder| (now.number, now.owner) == (before.number, before.owner);
            let Some(own) = now.filter(is_own).filter(|_| will.delay > 0) else {
                return still(self.number, self.before, now);
            };
            let epoch = session.claim_epoch.load(Ordering::Acquire);
            let (is_claimed, is_let_in) = {
                let life = session.life.lock();
                let is_claimed = life.is_claimed && epoch != before.epoch;
                (is_claimed, life.awaiting.is_none())
            };
            if is_claimed && is_let_in {
                return Still::Back; // in time
            }
            if own.epoch == epoch && !is_claimed {
                return Still::Due;
            }
            // A claim is under way of which nobody knows yet whether its client comes in.
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Who has the session of a will's client; waits for Redis to say so.
async fn holder(broker: &Broker, will: &Will) -> Option<Holder> {
    let redis = broker.store.redis()?;
    loop {
        match redis.holder(&will.client_id).await {
            Ok(holder) => return holder,
            Err(error) => {
                tracing::debug!(client.id = &*will.client_id, %error, "will waits");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn still(number: u64, before: Option<Holder>, now: Option<Holder>) -> Still {
    let title = |holder: Holder| (holder.number, holder.owner);
    match now.map(title) {
        None => Still::Due,
        now if now == before.map(title) => Still::Due,
        Some((known, _)) if known == number => Still::Elsewhere,
        Some(_) => Still::Back,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_will_is_published_unless_its_client_is_back() {
        const NUMBER: u64 = 7;
        let held = |number, owner, epoch| {
            Some(Holder {
                owner,
                number,
                epoch,
            })
        };
        let ours = held(NUMBER, 1, 3);
        for (before, now, expected) in [
            (ours, ours, Still::Due),
            (ours, None, Still::Due), // it has ended
            (None, None, Still::Due),
            (ours, held(NUMBER, 2, 4), Still::Elsewhere),
            (None, held(NUMBER, 2, 4), Still::Elsewhere),
            (ours, held(NUMBER, 1, 4), Still::Due), // of one without a delay
            (ours, held(8, 2, 4), Still::Back),
            (ours, held(8, 1, 4), Still::Back),
            (None, held(8, 2, 4), Still::Back),
            // It had ended before, and its client was back already.
            (held(8, 1, 3), held(8, 1, 3), Still::Due),
            (held(8, 1, 3), held(8, 1, 4), Still::Due),
        ] {
            assert_eq!(still(NUMBER, before, now), expected, "{before:?} {now:?}");
        }
    }
}
