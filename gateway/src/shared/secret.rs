//! Keeps the secret of the store the same for all gateways: one that could not read it when it started
//! asks again until it can, and what Redis has lost, with all else, is put back.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;

/// How often it is asked for as long as it is not known, and how often it is looked at then.
const UNKNOWN: Duration = Duration::from_secs(1);
const KNOWN: Duration = Duration::from_secs(10);

/// Keeps it until the gateway stops.
pub(crate) async fn agree(broker: Arc<Broker>) {
    let Some(guard) = &broker.guard else {
        return;
    };
    loop {
        let was_known = guard.has_agreed();
        let pause = if was_known { KNOWN } else { UNKNOWN };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = broker.tasks_end.cancelled() => return,
        }
        match guard.agree(&broker.store).await {
            Ok(()) if !was_known => {
                tracing::info!("salts of users that are none are made of the store's secret now");
            }
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "the store does not say its secret"),
        }
    }
}
