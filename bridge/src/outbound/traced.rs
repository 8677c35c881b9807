//! The span of a message that comes from elsewhere, until the cluster has taken it: whatever becomes
//! of it here is below that.

use gatemq_node::trace::context::TRACEPARENT;
use gatemq_node::trace::{Context, Kind, Span, Tracer};
use gatemq_proto::mqtt::with_user_property;

use super::{Answer, Arrival};

/// Where messages come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Kafka,
    Mqtt,
}

/// The context that a message comes with, by its header or user property.
pub(crate) fn named<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Option<Context> {
    let mut pairs = pairs.into_iter();
    let (_, value) = pairs.find(|(name, _)| *name == TRACEPARENT)?;
    Context::parse(std::str::from_utf8(value).ok()?)
}

/// Begins it, if the message is traced, and tells the message of it.
pub(super) fn begin(
    tracer: &Tracer,
    arrival: &mut Arrival,
    source: Source,
    topic: &str,
) -> Option<Span> {
    let (name, system) = match source {
        Source::Kafka => ("kafka.consume", "kafka"),
        Source::Mqtt => ("mqtt.receive", "mqtt"),
    };
    let came_with = arrival.trace.take();
    let span = tracer.begin(name, Kind::Consumer, || came_with)?;
    let span = span
        .with("messaging.system", system)
        .with("messaging.operation.type", "process")
        .with("messaging.destination.name", topic);
    let context = span.context();
    arrival.trace = Some(context);
    if tracer.injects() {
        let told = context.to_string();
        arrival.properties = with_user_property(&arrival.properties, TRACEPARENT, &told).into();
    }
    Some(span)
}

/// Ends it.
pub(crate) fn end(span: Option<Span>, answer: Answer) {
    if let (Some(mut span), Answer::Refused(reason)) = (span, answer) {
        span.fail(reason.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_comes_with_is_read_where_it_is_one() {
        let sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let of = |value: &'static [u8]| named([("unit", &b"x"[..]), (TRACEPARENT, value)]);
        assert_eq!(
            of(sampled.as_bytes()).map(|it| it.to_string()).as_deref(),
            Some(sampled)
        );
        assert_eq!(of(b"00-aa"), None);
        assert_eq!(of(b"\xff"), None);
        assert_eq!(named([("unit", &b"x"[..])]), None);
    }
}
