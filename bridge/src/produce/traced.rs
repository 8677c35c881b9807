//! The span of a record on its way to Kafka, or to another broker, until that has confirmed it.
//!
//! A record that was in the spool goes on from its header: what was known beside may be of an earlier
//! life of the process.

use gatemq_node::trace::context::TRACEPARENT;
use gatemq_node::trace::{Context, Kind, Parent, Span, Tracer};

use super::Outcome;
use crate::Record;
use crate::mqtt::forward;

/// Begins it.
pub(crate) fn span(parent: &Parent, record: &Record) -> Span {
    let (name, system) = match forward::is_of_mqtt(record) {
        true => ("mqtt.forward", "mqtt"),
        false => ("kafka.produce", "kafka"),
    };
    let mut span = parent.child(name, Kind::Producer);
    span.set("messaging.system", system);
    span.set("messaging.operation.type", "send");
    span.set("messaging.destination.name", record.topic());
    span
}

/// Begins that of a record from the spool, if it is traced.
pub(super) fn span_of_spooled(tracer: &Tracer, record: &Record) -> Option<Span> {
    if !tracer.is_on() {
        return None;
    }
    Some(span(&tracer.follow(named(record)?)?, record))
}

/// The span that the headers of a record name, if that is sampled.
pub(super) fn named(record: &Record) -> Option<Context> {
    let mut headers = record.headers();
    let (_, value) = headers.find(|(name, _)| *name == TRACEPARENT)?;
    let context = Context::parse(std::str::from_utf8(value).ok()?)?;
    context.is_sampled().then_some(context)
}

/// Ends it.
pub(crate) fn end(mut span: Span, outcome: Outcome) {
    match outcome {
        Outcome::Accepted => {}
        Outcome::Refused => span.fail("it is not taken there"),
        Outcome::Unknown => span.fail("nobody says whether it is there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Draft;

    fn of(traceparent: Option<&str>) -> Option<String> {
        let mut draft = Draft::new("t", None, 0, 0);
        draft.header("mqtt.qos", b"1");
        if let Some(value) = traceparent {
            draft.header(TRACEPARENT, value.as_bytes());
        }
        let record = draft.finish(|_| ());
        let record = Record::from_bytes(record.as_bytes().to_vec().into()).expect("a record");
        named(&record).map(|context| context.to_string())
    }

    #[test]
    fn a_record_that_comes_back_from_the_spool_goes_on_from_its_header() {
        let sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(of(Some(sampled)).as_deref(), Some(sampled));
        assert_eq!(of(Some(&sampled.replace("-01", "-00"))), None);
        assert_eq!(of(Some("00-aa")), None);
        assert_eq!(of(None), None);
    }
}
