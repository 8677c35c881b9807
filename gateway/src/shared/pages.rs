//! Pages of queues that are read from Redis while the gateway goes on.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::session::queued::{PAGE, Queued};
use crate::store::{Wanted, record};
use crate::turn::Turn;

/// Pause before a page is asked for again that did not come.
const PAUSE: Duration = Duration::from_millis(200);

impl Broker {
    /// Reads a page for a session, and sends what is in it.
    pub(crate) fn load_page(self: &Arc<Self>, wanted: Wanted) {
        let broker = self.clone();
        self.see_to("pages", async move { load(&broker, wanted).await });
    }
}

async fn load(broker: &Arc<Broker>, (session, range): Wanted) {
    let Some(redis) = broker.store.redis() else {
        return;
    };
    while session.outbound.lock().is_loading(range) {
        let (from, to) = range;
        match redis.queue_page(session.number, from, to, PAGE).await {
            Ok((entries, next)) => {
                let entries = entries.into_iter();
                let page: Vec<Queued> = entries
                    .filter_map(|(seq, value)| {
                        let queued = record::queued(seq, &value, |_| None);
                        queued
                            .map_err(|error| {
                                tracing::error!(seq, %error, "queue entry left out");
                            })
                            .ok()
                    })
                    .collect();
                let mut turn = Turn::new(broker);
                session.outbound.lock().handle_page(range, page, next);
                turn.pump(&session);
                turn.finish(None);
                return;
            }
            Err(error) => {
                tracing::debug!(client.id = &*session.client_id, %error, "queue not read yet");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
