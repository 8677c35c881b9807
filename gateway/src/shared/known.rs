//! A session has come from another gateway: as soon as every gateway knows of its routes here, those
//! of the gateways that had it before may go.
//!
//! Until then they stand in: whatever comes for the session there is given back, to be routed again,
//! and should one of those gateways die, its routes stay as long (see `trail` in the scripts). So
//! there is no moment in which nobody is known to want the session's messages.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gatemq_router::peer::ReleaseRequest;

use super::arrival::Title;
use crate::broker::Broker;
use crate::cluster::Cluster;
use crate::session::Session;
use crate::store::redis::{Here, Holder, Taken};

/// Pauses before something is tried again: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long a gateway may take for an answer.
const ANSWER: Duration = Duration::from_secs(3);

/// Who had a session before.
#[derive(Debug)]
pub(super) struct Before {
    /// Whose routes stand in for it.
    trail: Vec<u64>,
    /// The last one that had it. The others had it under earlier epochs.
    last: Option<Holder>,
}

impl Before {
    pub(super) fn of(taken: &Taken) -> Self {
        Self {
            trail: taken.trail.clone(),
            last: taken.previous,
        }
    }

    /// Who is to drop it.
    fn holders(&self, own: u64) -> Vec<Holder> {
        let Some(last) = self.last else {
            return Vec::new();
        };
        let earlier = self.trail.iter().filter(|owner| **owner != last.owner);
        let owners = earlier.copied().chain([last.owner]);
        owners
            .filter(|owner| *owner != own)
            .map(|owner| Holder { owner, ..last })
            .collect()
    }
}

impl Broker {
    /// Sees to it that those who had a session before need not stand in for it any longer than
    /// until every gateway knows of its routes here.
    pub(super) fn make_known(
        self: &Arc<Self>,
        session: &Arc<Session>,
        title: Title,
        before: Before,
    ) {
        let holders = before.holders(title.owner);
        let Some(cluster) = &self.cluster else {
            return;
        };
        if holders.is_empty() && before.trail.is_empty() {
            return session.become_known(0, cluster.stamp()); // nobody sends it anything elsewhere
        }
        let (broker, session) = (self.clone(), session.clone());
        // Nobody else would see to it while this gateway lives.
        self.see_to("known", async move {
            make_known(&broker, &session, title, &before.trail, &holders).await;
        });
    }
}

impl Broker {
    /// Says once more that every gateway knows where a session is, if it is here and they do: one that
    /// is gone stands in for it still, as far as Redis knows, which may have lost it the first time.
    pub(crate) async fn say_again(&self, client_id: &str, number: u64, gone: u64) {
        let session = self.session_here(client_id);
        let is_it = |it: &Arc<Session>| it.number == number && is_known(it) && !has_gone(it);
        let (Some(redis), Some(session)) = (self.store.redis(), session.filter(is_it)) else {
            return;
        };
        let here = Here {
            client_id,
            number,
            owner: self.incarnation(),
            epoch: session.claim_epoch.load(Ordering::Acquire),
        };
        if let Err(error) = redis.made_known(here, &[gone]).await {
            tracing::debug!(client.id = client_id, %error, "another stands in for it still");
        }
    }
}

async fn make_known(
    broker: &Broker,
    session: &Session,
    title: Title,
    trail: &[u64],
    holders: &[Holder],
) {
    let (Some(cluster), Some(redis)) = (&broker.cluster, broker.store.redis()) else {
        return;
    };
    // Whoever gets the session next has to see to all of them; so has whoever adopts it.
    let is_mine = || cluster.incarnation() == title.owner && !has_gone(session);
    cluster.until_known(session).await;
    session.become_known(cluster.watermark(), cluster.stamp());
    let here = Here {
        client_id: &session.client_id,
        number: title.number,
        owner: title.owner,
        epoch: title.epoch,
    };
    let mut pause = PAUSES.0;
    while is_mine()
        && !trail.is_empty()
        && let Err(error) = redis.made_known(here, trail).await
    {
        tracing::debug!(client.id = here.client_id, %error, "others stand in for it still");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
    for holder in holders {
        let mut pause = PAUSES.0;
        while is_mine() && cluster.is_alive(holder.owner) {
            if tell_moved(cluster, &session.client_id, holder).await {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

/// Whether every gateway knows that a session is here.
fn is_known(session: &Session) -> bool {
    !session.is_unknown_to(u64::MAX - 1) // the last revision stands for never
}

/// Whether a session is another gateway's by now. One that has ended is not.
fn has_gone(session: &Session) -> bool {
    session.outbound.lock().is_moved()
}

/// Tells a gateway to forget a session that it had; whether it has heard.
async fn tell_moved(cluster: &Cluster, client_id: &str, holder: &Holder) -> bool {
    let mut request = cluster.release_request(client_id, holder);
    request.is_moved = true;
    let telling = cluster.peers.release(holder.owner, request);
    matches!(tokio::time::timeout(ANSWER, telling).await, Ok(Ok(_)))
}

impl Cluster {
    pub(super) fn release_request(&self, client_id: &str, holder: &Holder) -> ReleaseRequest {
        ReleaseRequest {
            cluster_id: self.id.clone(),
            client_id: client_id.to_owned(),
            by: self.incarnation(),
            epoch: holder.epoch,
            number: holder.number,
            is_moved: false,
            has_claimed: false,
            stands_in: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(owner: u64) -> Holder {
        Holder {
            owner,
            number: 7,
            epoch: 3,
        }
    }

    #[test]
    fn everybody_who_had_it_is_told_but_this_gateway() {
        let check = |trail: &[u64], last: Option<u64>, expected: &[u64]| {
            let before = Before {
                trail: trail.into(),
                last: last.map(holder),
            };
            let holders = before.holders(9);
            let expected: Vec<Holder> = expected.iter().map(|owner| holder(*owner)).collect();
            assert_eq!(holders, expected);
        };
        check(&[], None, &[]);
        check(&[], Some(4), &[4]); // it did not go on: nobody stands in for the new one
        check(&[4], Some(4), &[4]);
        check(&[2, 4], Some(4), &[2, 4]);
        check(&[2], Some(9), &[2]); // claimed once more here
    }
}
