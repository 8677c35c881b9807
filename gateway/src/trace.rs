//! What the spans of a traced message say, by OpenTelemetry's conventions for messaging; and where
//! that message begins one, or one that no client's PUBLISH has brought. What is not sampled costs a branch in each of these places.
//!
//! `publish` in [`crate::connection`] and [`crate::turn::traced`], `route` and `forward` in [`crate::turn`], `deliver` in
//! [`crate::session::outbound`].

use gatemq_node::trace::context::TRACEPARENT;
use gatemq_node::trace::{Context, Kind, Parent, Span, Tracer};

use crate::message::MessageRef;
use crate::proto::mqtt::{self, Publish, Qos};

/// Begins the trace of a message that a client publishes, or goes on with the one that it names.
#[inline]
pub(crate) fn begin(
    tracer: &Tracer,
    publish: &Publish<'_>,
    topic: &str,
    client_id: &str,
) -> Option<Span> {
    let span = tracer.begin("publish", Kind::Server, || named(publish))?;
    let span = describe(span, topic, publish.qos, client_id);
    let length = publish.payload.len();
    Some(span.with("messaging.message.body.size", length))
}

/// The same for a message that no client's PUBLISH has brought: a will, one of the API or of a bridge.
#[inline]
pub(crate) fn begin_own(
    tracer: &Tracer,
    message: &MessageRef<'_>,
    kind: Kind,
    client_id: &str,
) -> Option<Span> {
    let named = || {
        let value = mqtt::user_property(message.properties, TRACEPARENT)?;
        Context::parse(str::from_utf8(value).ok()?)
    };
    let span = match message.trace {
        Some(parent) => parent.child("publish", kind),
        None => tracer.begin("publish", kind, named)?,
    };
    let span = describe(span, message.topic, message.qos, client_id);
    let length = message.payload.len();
    Some(span.with("messaging.message.body.size", length))
}

/// Begins the span of a message on its way to another node.
pub(crate) fn forward(message: &MessageRef<'_>, client_id: &str, node: u64) -> Option<Span> {
    let span = message.trace?.child("forward", Kind::Client);
    let span = describe(span, message.topic, message.qos, client_id);
    Some(span.with("gatemq.destination", node))
}

/// Begins the span of a message that a client is sent.
pub(crate) fn deliver(parent: &Parent, topic: &str, qos: Qos, client_id: &str) -> Span {
    describe(
        parent.child("deliver", Kind::Producer),
        topic,
        qos,
        client_id,
    )
}

/// The properties of a message, with the span in them that whoever gets it goes on from.
pub(crate) fn inject(properties: &[u8], span: &Parent) -> Vec<u8> {
    mqtt::with_user_property(properties, TRACEPARENT, &span.context().to_string())
}

/// What a message from another node comes from.
#[inline]
pub(crate) fn follow(tracer: &Tracer, trace: &[u8]) -> Option<Parent> {
    tracer.follow(Context::from_bytes(trace)?)
}

fn named(publish: &Publish<'_>) -> Option<Context> {
    let mut properties = publish.properties.user_properties.iter();
    let (_, value) = properties.find(|(name, _)| *name == TRACEPARENT)?;
    Context::parse(value)
}

fn describe(mut span: Span, topic: &str, qos: Qos, client_id: &str) -> Span {
    span.set("messaging.system", "mqtt");
    span.set("messaging.destination.name", topic);
    span.set("messaging.client.id", client_id);
    span.set("messaging.mqtt.qos", i64::from(qos as u8));
    span
}
