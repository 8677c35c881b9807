//! Asks another gateway for a session that it has: to let go of its client, and then of the session.

use std::time::Duration;

use tokio::time::Instant;

use crate::broker::Broker;
use crate::store::redis::{Holder, Taken};

/// How long another gateway may take to let go of a client.
const LET_GO: Duration = Duration::from_secs(3);

/// When a gateway said first that nobody is connected there any more, by which claim.
#[derive(Debug, Default)]
pub(super) struct Released(Option<(Holder, Instant)>);

impl Released {
    /// A gateway says so of what Redis has; whether Redis is wrong, which has lost what that gateway
    /// wrote, or never had it: to be known by the same claim still being there long after.
    pub(super) fn is_wrong(&mut self, holder: Holder, now: Instant) -> bool {
        match self.0 {
            Some((known, since)) if known == holder => now - since >= LET_GO,
            _ => {
                self.0 = Some((holder, now));
                false
            }
        }
    }
}

impl Broker {
    /// Asks a gateway to disconnect a client; whether it has.
    pub(super) async fn ask_to_let_go(&self, client_id: &str, holder: &Holder) -> bool {
        let Some(cluster) = &self.cluster else {
            return false;
        };
        let asking = async {
            // One that has just come must not be taken for gone.
            cluster.until_heard_of(holder.owner).await;
            if !cluster.is_alive(holder.owner) {
                return None;
            }
            let request = cluster.release_request(client_id, holder);
            Some(cluster.peers.release(holder.owner, request).await)
        };
        match tokio::time::timeout(LET_GO, asking).await {
            Ok(None) => false,
            Ok(Some(Ok(_))) => true,
            Ok(Some(Err(status))) => {
                let why = status.message();
                tracing::warn!(owner = holder.owner, why, "a gateway does not let go");
                false
            }
            Err(_) => {
                tracing::warn!(owner = holder.owner, "a gateway does not let go in time");
                false
            }
        }
    }

    /// Asks the gateway that has a session to say again that every gateway knows where it is, as far as
    /// they do: one that is gone stands in for it still. Whether it has answered; it is asked again
    /// some time.
    pub(super) async fn ask_to_say_again(
        &self,
        client_id: &str,
        holder: &Holder,
        gone: u64,
    ) -> bool {
        let cluster = self.cluster.as_ref();
        let Some(cluster) = cluster.filter(|cluster| cluster.is_alive(holder.owner)) else {
            return false;
        };
        let mut request = cluster.release_request(client_id, holder);
        request.stands_in = gone;
        let asking = cluster.peers.release(holder.owner, request);
        matches!(tokio::time::timeout(LET_GO, asking).await, Ok(Ok(_)))
    }

    /// Has the gateway that had a session let go of it for good; returns what that session has had
    /// of QoS 2 lately. A gateway that is gone takes that with it.
    pub(super) async fn hand_over(&self, client_id: &str, own: u64, taken: &Taken) -> Vec<u64> {
        let holder = taken.previous.filter(|holder| holder.owner != own);
        let (Some(cluster), Some(holder)) = (&self.cluster, holder) else {
            return Vec::new();
        };
        if taken.resumed.is_none() || !cluster.is_alive(holder.owner) {
            return Vec::new();
        }
        let mut request = cluster.release_request(client_id, &holder);
        request.has_claimed = true;
        let asking = cluster.peers.release(holder.owner, request);
        match tokio::time::timeout(LET_GO, asking).await {
            Ok(Ok(reply)) => reply.recent,
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_is_wrong_where_the_same_claim_is_there_long_after_it_was_let_go() {
        let holder = |epoch| Holder {
            owner: 5,
            number: 7,
            epoch,
        };
        let (mut released, now) = (Released::default(), Instant::now());
        for (epoch, after, is_wrong) in [
            (1, Duration::ZERO, false),
            (1, LET_GO / 2, false), // its last write is on its way
            (2, LET_GO, false),     // its client has come back there, and was let go again
            (2, LET_GO * 3 / 2, false),
            (2, LET_GO * 2, true),
        ] {
            let found = released.is_wrong(holder(epoch), now + after);
            assert_eq!(found, is_wrong, "epoch {epoch} after {after:?}");
        }
    }

    /// Its registration is on its way here: it is no more gone than any other.
    #[tokio::test]
    async fn one_that_is_not_heard_of_yet_is_waited_for() {
        const OWNER: u64 = 1_000;
        let broker = Broker::in_cluster();
        let cluster = broker.cluster.clone().expect("there is one");
        let holder = Holder {
            owner: OWNER,
            number: 7,
            epoch: 1,
        };
        let asking = broker.ask_to_let_go("c", &holder);
        tokio::pin!(asking);
        let early = tokio::time::timeout(LET_GO / 10, &mut asking).await;
        assert!(early.is_err(), "taken for gone");
        cluster.view.lock().revision = OWNER;
        assert!(!asking.await, "it has gone again");
    }
}
