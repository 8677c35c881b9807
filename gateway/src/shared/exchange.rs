//! QoS 2 publishes of sessions that any gateway can go on with: first the identifier is stored,
//! then the message is routed, then PUBREC leaves.
//!
//! Whenever the gateway dies on the way, the client sends the message again to another one. If
//! the identifier is there, the message is routed again under the [`Origin`] that is stored with
//! it, and reaches only those who have not had it; if not, nobody has had it. The other way round,
//! the message before its identifier, it would come twice. (In a `$share` group, whose next try
//! may choose another member, it can.)
//!
//! [`Origin`]: crate::session::received::Origin

use std::sync::Arc;

use gatemq_router::Plan;

use crate::message::MessageRef;
use crate::session::Subscription;
use crate::store;
use crate::turn::{Published, Turn};

impl Turn<'_> {
    /// Routes a publish as soon as the batch of this turn is safe.
    pub(crate) fn publish_behind_identifier(
        &mut self,
        message: &MessageRef<'_>,
        plan: &Plan<Subscription>,
        client_id: &str,
    ) -> Published {
        let leg = self.has_publisher.then(|| self.leg());
        self.published.push(store::Published {
            message: Arc::new(message.to_message()),
            client_id: client_id.into(),
            leg,
            publisher: None,
            origin: self.exchange,
            is_refused: false,
        });
        Published {
            is_matched: !plan.filters().is_empty(),
            refused: None,
        }
    }
}
