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
use crate::receipt::{Owed, Receipt};
use crate::session::Subscription;
use crate::store;
use crate::turn::author::Author;
use crate::turn::{Published, Turn};

impl Turn<'_> {
    /// Routes a publish as soon as the batch of this turn is safe.
    pub(crate) fn publish_behind_identifier(
        &mut self,
        message: &MessageRef<'_>,
        plan: &Plan<Subscription>,
        author: Author<'_>,
    ) -> Published {
        let leg = self.has_publisher.then(|| self.leg());
        self.published.push(store::Published {
            message: Arc::new(message.to_message()),
            client_id: author.client_id.into(),
            username: "".into(), // that of its session
            leg,
            publisher: self.publisher.clone(),
            is_held: false,
            exchange: self.exchange,
            origin: None,
            is_refused: false,
        });
        Published {
            is_matched: !plan.filters().is_empty(),
            refused: None,
        }
    }

    /// Routes a publish that is stored now, or the identifier of its exchange.
    pub(crate) fn route_stored(&mut self, published: store::Published) {
        let held = published.publisher.clone().filter(|_| published.is_held);
        if !published.is_refused {
            self.route_in_order(published);
        }
        if let Some(publisher) = held {
            publisher.unhold();
        }
    }

    /// Routes it, unless it would overtake another one.
    fn route_in_order(&mut self, mut published: store::Published) {
        let plan = self
            .broker
            .table
            .plan(published.message.as_ref().as_ref().topic);
        let in_order = published.exchange.zip(published.publisher.clone());
        let (Some((exchange, publisher)), Some(cluster)) = (in_order, &self.broker.cluster) else {
            self.parent = published.leg.take();
            self.begin_message();
            if let Some(origin) = published.origin {
                self.go_on(origin);
            }
            self.route_now(&published, &plan);
            self.since = None;
            return;
        };
        let mut received = publisher.received.lock();
        let next = received.route(published, &cluster.moves, self.before);
        drop(received);
        let Some(mut published) = next else { return };
        // It has a receipt of its own, so that it is known when it is safe, whatever else its turn
        // had to do.
        let receipt = Receipt::new();
        self.parent = Some(receipt.leg(Some(0)));
        self.begin_message();
        self.go_on(exchange.origin);
        let leg = published.leg.take();
        self.route_now(&published, &plan);
        self.since = None;
        receipt.seal(Some(Owed::of_exchange(publisher, exchange.packet_id, leg)));
        self.broker.settle(receipt.commit());
    }

    fn route_now(&mut self, published: &store::Published, plan: &Plan<Subscription>) {
        let message = published.message.as_ref().as_ref();
        self.has_publisher = self.parent.is_some();
        let author = match &published.publisher {
            Some(session) => Author::of(session),
            None => Author::named(&published.client_id, &published.username),
        };
        self.route_begun(message, plan, author);
        self.has_publisher = false;
        self.legs.extend(self.parent.take());
    }
}
