//! Tells the control plane of this gateway's filters, one batch after the other, and releases
//! who waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatemq_router::control::{self, Failure};
use tonic::{Code, Status};

use super::{Cluster, Waiter};
use crate::broker::Broker;
use crate::proto::cluster::control::control_client::ControlClient;
use crate::proto::cluster::state::{Routes, command::Kind};
use crate::proto::mqtt::Reason;
use crate::receipt::Owed;

/// How long the control plane may take for one batch before it is sent again.
const PATIENCE: Duration = Duration::from_secs(3);
/// Pause after a batch that did not get through.
const PAUSE: Duration = Duration::from_millis(100);
/// How often those who have waited too long are looked for.
const LOOK: Duration = Duration::from_millis(250);

/// The last refusal that was told of: the same batch is sent again until the watch says what has
/// become of the incarnation, and refused each time.
#[derive(Debug, Default)]
struct Said(Option<(u64, String)>);

impl Said {
    /// Whether this refusal is another one than the last.
    fn is_news(&mut self, incarnation: u64, why: &str) -> bool {
        let is_same = |(of, said): &(u64, String)| *of == incarnation && said == why;
        if self.0.as_ref().is_some_and(is_same) {
            return false;
        }
        self.0 = Some((incarnation, why.to_owned()));
        true
    }
}

/// Tells what there is to tell, until the gateway stops.
pub(super) async fn run(broker: Arc<Broker>, cluster: Arc<Cluster>) {
    let telling = async {
        let mut said = Said::default();
        loop {
            match next_batch(&broker, &cluster) {
                Some(routes) => tell(&broker, &cluster, routes, &mut said).await,
                None => cluster.changed.notified().await,
            }
        }
    };
    let giving_up = async {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = Instant::now();
            let is_late =
                |waiter: &Waiter| matches!(waiter, Waiter::Leg(_, deadline) if *deadline <= now);
            let late = cluster.announcements.lock().give_up(is_late);
            if !late.is_empty() {
                let n_waiting = late.len();
                tracing::warn!(n_waiting, "the cluster did not agree on filters in time");
                release(&broker, late, Some(Reason::UnspecifiedError));
            }
        }
    };
    tokio::select! {
        () = telling => {}
        () = giving_up => {}
        () = broker.tasks_end.cancelled() => {}
    }
}

fn next_batch(broker: &Broker, cluster: &Cluster) -> Option<Routes> {
    let mut announcements = cluster.announcements.lock();
    let look = |filter: &str| broker.local_route(filter);
    let (routes, idle) = announcements.take_batch(look);
    if routes.is_none() && announcements.has_more() {
        cluster.changed.notify_one(); // others had to wait
    }
    drop(announcements);
    release(broker, idle, None);
    routes
}

/// Sends a batch; if it does not get through it stays the next one.
async fn tell(broker: &Broker, cluster: &Cluster, routes: Routes, said: &mut Said) {
    let mut channel = cluster.channel.subscribe();
    let current = channel.borrow_and_update().clone();
    let Some(current) = current else {
        let _ = channel.changed().await;
        return;
    };
    let incarnation = routes.incarnation;
    let mut client = ControlClient::new(current);
    let routes = Kind::Routes(routes);
    let outcome = match control::propose(&mut client, &cluster.id, routes, PATIENCE).await {
        Ok(outcome) => outcome,
        Err(Failure::Status(status)) => {
            if is_too_large(&status) && cluster.announcements.lock().halve() {
                tracing::info!(%status, "filters are announced in smaller parts");
                return;
            }
            tracing::debug!(%status, "filters not announced yet");
            tokio::time::sleep(PAUSE).await;
            return;
        }
        Err(_) => return,
    };
    if !outcome.refused.is_empty() {
        // The incarnation is fenced, most likely: the watch will say so.
        if said.is_news(incarnation, &outcome.refused) {
            tracing::warn!(incarnation, why = outcome.refused, "filters refused");
        }
        tokio::time::sleep(PAUSE).await;
        return;
    }
    *said = Said::default();
    let mut announcements = cluster.announcements.lock();
    let done = announcements.committed(incarnation, outcome.index);
    drop(announcements);
    release(broker, done, None);
}

/// Whether a batch may have been refused for its size: by the control plane itself, or by the
/// gRPC of one of both sides.
fn is_too_large(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted
    )
}

/// Proposes something until it has been agreed on, or refused.
pub(super) async fn propose(broker: &Broker, cluster_id: &bytes::Bytes, kind: Kind) {
    let Some(cluster) = &broker.cluster else {
        return;
    };
    loop {
        let channel = cluster.channel.borrow().clone();
        if let Some(channel) = channel {
            let mut client = ControlClient::new(channel);
            let proposed = control::propose(&mut client, cluster_id, kind.clone(), PATIENCE).await;
            if let Ok(outcome) = proposed {
                if !outcome.refused.is_empty() {
                    tracing::debug!(why = outcome.refused, "refused by the control plane");
                }
                return;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Lets go of who has waited.
pub(super) fn release(broker: &Broker, waiters: Vec<Waiter>, failure: Option<Reason>) {
    let owed: Vec<Owed> = waiters
        .into_iter()
        .filter_map(|waiter| match waiter {
            Waiter::Leg(leg, _) => leg.done(failure),
            Waiter::Latch(latch) => {
                drop(latch);
                None
            }
        })
        .collect();
    broker.settle_all(owed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_of_once_until_something_is_agreed_on() {
        let mut said = Said::default();
        let told = (0..100).filter(|_| said.is_news(7, "7 is fenced")).count();
        assert_eq!(told, 1);
        assert!(said.is_news(7, "no room") && said.is_news(9, "no room"));
        said = Said::default();
        assert!(said.is_news(9, "no room"), "it was agreed on meanwhile");
    }
}
