//! Whether a will that had to wait is still this gateway's to publish.
//!
//! Meanwhile its client may have come back elsewhere. Whoever has its session then publishes the will
//! before the client says anything; what came from here later would be the last word, and take the
//! place of what the client has had retained since.

use std::sync::Arc;
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
    before: Option<Title>,
}

/// The number of a session, and its owner.
type Title = (u64, u64);

/// What becomes of a will that has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Still {
    Due,
    /// Its client has begun another session: it came back in time, as with one that has a delay.
    Back,
    /// Another gateway has the session, and publishes it.
    Elsewhere,
}

// === impl Late ===

impl Late {
    /// The will of this session begins to wait.
    pub(crate) async fn begin(broker: &Broker, number: u64, will: &Will) -> Self {
        let here = broker.owned.find(number);
        let before = match here {
            Some(_) => Some((number, broker.incarnation())),
            None => title(broker, will).await,
        };
        Self {
            number,
            here,
            before,
        }
    }

    /// It has waited.
    pub(crate) async fn judge(&self, broker: &Broker, will: &Will) -> Still {
        let now = title(broker, will).await;
        let is_moved = |session: &Arc<Session>| session.outbound.lock().is_moved();
        match self.here.as_ref().is_some_and(is_moved) {
            true => Still::Elsewhere,
            false => still(self.number, self.before, now),
        }
    }
}

/// Who has the session of a will's client; waits for Redis to say so.
async fn title(broker: &Broker, will: &Will) -> Option<Title> {
    let redis = broker.store.redis()?;
    loop {
        match redis.holder(&will.client_id).await {
            Ok(holder) => return holder.map(|Holder { number, owner, .. }| (number, owner)),
            Err(error) => {
                tracing::debug!(client.id = &*will.client_id, %error, "will waits");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn still(number: u64, before: Option<Title>, now: Option<Title>) -> Still {
    match now {
        None => Still::Due,
        now if now == before => Still::Due,
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
        let ours = Some((NUMBER, 1));
        for (before, now, expected) in [
            (ours, ours, Still::Due),
            (ours, None, Still::Due), // it has ended
            (None, None, Still::Due),
            (ours, Some((NUMBER, 2)), Still::Elsewhere),
            (None, Some((NUMBER, 2)), Still::Elsewhere),
            (ours, Some((8, 2)), Still::Back),
            (ours, Some((8, 1)), Still::Back),
            (None, Some((8, 2)), Still::Back),
            // It had ended before, and its client was back already.
            (Some((8, 1)), Some((8, 1)), Still::Due),
        ] {
            assert_eq!(still(NUMBER, before, now), expected, "{before:?} {now:?}");
        }
    }
}
