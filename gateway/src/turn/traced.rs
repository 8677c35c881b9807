//! A message that no client's PUBLISH has brought, with what traces are told of it: a span of its own
//! where it is sampled, and a line for those of clients.

use gatemq_node::trace::{Kind, Span};

use super::{Published, Turn};
use crate::capture::{About, Event};
use crate::message::MessageRef;
use crate::trace;

/// Where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// A client that is gone.
    Will,
    /// The API or a bridge, which wait for an answer.
    Request,
}

impl Turn<'_> {
    /// Publishes it by `publish`, which gets it with the span.
    pub(crate) fn publish_traced(
        &mut self,
        message: MessageRef<'_>,
        (from, client_id): (From, &str),
        publish: impl FnOnce(&mut Self, MessageRef<'_>) -> Published,
    ) -> Published {
        let broker = self.broker;
        let tracer = &broker.config.tracer;
        let kind = match from {
            From::Will => Kind::Internal,
            From::Request => Kind::Server,
        };
        let mut span = trace::begin_own(tracer, &message, kind, client_id);
        let parent = span.as_ref().map(Span::parent);
        let injected;
        let mut properties = message.properties;
        if let Some(parent) = parent.as_ref().filter(|_| tracer.injects()) {
            injected = trace::inject(properties, parent);
            properties = &injected;
        }
        let traced = MessageRef {
            trace: parent.as_ref(),
            properties,
            ..message
        };
        let published = publish(self, traced);
        if let (Some(span), Some(reason)) = (&mut span, published.refused) {
            span.fail(reason.to_string());
        }
        self.spans.extend(span);
        if broker.captures.is_any() {
            self.capture_published(&message, from, client_id, &published);
        }
        published
    }

    #[cold]
    fn capture_published(
        &self,
        message: &MessageRef<'_>,
        from: From,
        client_id: &str,
        published: &Published,
    ) {
        let about = About {
            client_id,
            address: None,
            topic: Some(message.topic),
        };
        self.broker.captures.tell(&about, || {
            let event = Event::new(match from {
                From::Will => "will",
                From::Request => "publish",
            });
            let event = event.with("topic", message.topic);
            let event = event.with("qos", message.qos as u8);
            let event = event.with("retain", message.retain);
            let event = event.with("length", message.payload.len());
            event.with("reason", published.reason().name())
        });
    }
}
