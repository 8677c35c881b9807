//! Keeps what says whose the store is beside its keys, which Redis may lose with all else: gateways
//! that join later find it there. Somebody else's in its place is the end: two clusters would take
//! each other's sessions.

use std::sync::Arc;
use std::time::Duration;

use gatemq_node::fatal;

use crate::broker::Broker;
use crate::store::{Held, Stray};

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Keeps it until the gateway stops.
pub(crate) async fn hold(broker: Arc<Broker>) {
    let Some(cluster) = &broker.cluster else {
        return;
    };
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = broker.tasks_end.cancelled() => return,
        }
        match broker.store.hold(&cluster.id, cluster.store()).await {
            Ok(Held::Kept) => {}
            Ok(Held::Lost) => {
                tracing::error!(
                    "redis has lost what it had of this cluster: sessions begin anew, queues and \
                     retained messages are gone"
                );
                // At once, before one that joins makes up another.
                if let Some(guard) = &broker.guard
                    && let Err(error) = guard.agree(&broker.store).await
                {
                    tracing::warn!(%error, "the secret of the cluster is not in redis");
                }
            }
            Ok(Held::Renamed) => tracing::warn!(
                "in redis the store had a name that the cluster has not agreed on: put right"
            ),
            Err(Stray::Unanswered(error)) => tracing::debug!(%error, "not seen whose the store is"),
            Err(stray) => fatal::end(fatal::STORE_FAILED, &stray.to_string()),
        }
    }
}
