//! Wills: kept with the session that left them, published when its connection ends badly.

use std::sync::Arc;

use gatemq_storage::Batch;

use crate::broker::Broker;
use crate::message::{Message, MessageRef};
use crate::proto::mqtt;
use crate::session::Session;
use crate::store::{keys, record};
use crate::turn::Turn;

/// How long a CONNECT waits for its will to be safe.
const KEPT_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// A will, ready to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Will {
    /// Will Delay Interval, in seconds.
    pub(crate) delay: u32,
    /// Message Expiry Interval, in seconds, counted from when the will is published.
    pub(crate) expiry: Option<u32>,
    /// The client that left it.
    pub(crate) client_id: Box<str>,
    pub(crate) message: Message,
}

impl Will {
    /// The will of a CONNECT.
    pub(crate) fn new(will: &mqtt::Will<'_>, client_id: &str, publisher: u64) -> Arc<Self> {
        let mut scratch = Vec::new();
        let message = MessageRef {
            publisher,
            qos: will.qos,
            retain: will.retain,
            expires_at: u64::MAX,
            topic: will.topic,
            properties: mqtt::forwardable(will.properties.block, &mut scratch),
            payload: will.payload,
        };
        Arc::new(Self {
            delay: will.delay,
            expiry: will.properties.message_expiry,
            client_id: client_id.into(),
            message: message.to_message(),
        })
    }
}

impl Broker {
    /// Keeps a connection's will, in the store too: it is published even if the broker dies.
    pub(crate) async fn keep_will(&self, session: &Arc<Session>, will: Option<Arc<Will>>) {
        let Some(will) = will else { return };
        let mut batch = Batch::default();
        batch.put(&keys::will(session.number), &record::store_will(&will));
        session.life.lock().will = Some(will);
        // An error means that the store, and the process, has stopped. In Redis it is written as
        // soon as that answers: a client is not kept waiting for ever.
        let safe = self.store.make_safe(batch);
        let _ = tokio::time::timeout(KEPT_WITHIN, safe).await;
    }

    /// Publishes the will that a session left, and forgets it in one commit with what it caused.
    pub(crate) fn publish_will(&self, session: u64, will: &Will, turn: &mut Turn<'_>) {
        let mut message = will.message.as_ref();
        let longest = Some(turn.settings.message_expiry).filter(|longest| *longest > 0);
        if let Some(expiry) = will.expiry.into_iter().chain(longest).min() {
            message.expires_at = turn.now + u64::from(expiry) * 1000;
        }
        let plan = self.table.plan(message.topic);
        let mut published = turn.publish(message, &plan, &will.client_id);
        if published.refused.is_some() && message.retain {
            // There is no room to keep it; those who are subscribed get it all the same.
            published = turn.route(message, &plan, &will.client_id);
        }
        if let Some(reason) = published.refused {
            tracing::warn!(client.id = &*will.client_id, %reason, "will not published everywhere");
        }
        turn.batch.delete(&keys::will(session));
    }
}
