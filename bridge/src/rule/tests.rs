//! What a rule makes of a message.

use gatemq_proto::mqtt::{Qos, UserProperties};

use super::*;
use crate::message::Origin;

/// `unit: celsius`, `traceparent: 00-aa`, and one that would pass for ours.
const PROPERTIES: &[u8] =
    b"\x26\0\x04unit\0\x07celsius\x26\0\x0btraceparent\0\x0500-aa\x26\0\x07mqtt.id\0\x01x";

pub(crate) fn sample() -> Message<'static> {
    Message {
        origin: Some(Origin {
            source: 17,
            id: 4711,
        }),
        qos: Qos::AtLeastOnce,
        is_retained: true,
        topic: "site/7/temp",
        client_id: "dev-1",
        username: "ann",
        properties: UserProperties::from_block(PROPERTIES).expect("user properties"),
        block: PROPERTIES,
        expires_at: None,
        payload: b"21.5",
        trace: None,
        at: 1_700_000_000_123,
        event: None,
    }
}

fn rule() -> Rule {
    Rule {
        name: "telemetry".to_owned(),
        filters: vec!["site/+/temp".to_owned(), "site/#".to_owned()],
        topic: Topic::parse("site-${topic.2}").expect("a topic"),
        key: Key::ClientId,
        headers: Header::DEFAULT.to_vec(),
        value: Value::Raw,
        ack: Ack::Kafka,
        refuses_missing: false,
        events: vec![],
        subscriptions: vec![],
    }
}

fn headers(record: &Record) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let headers = record.headers();
    headers
        .map(|(name, value)| (name.to_owned(), text(value)))
        .collect()
}

#[test]
fn a_message_becomes_a_record() {
    let record = rule().render(&sample()).expect("a topic");
    assert_eq!(record.topic(), "site-7");
    assert_eq!(record.key(), Some(&b"dev-1"[..]));
    assert_eq!(record.value(), b"21.5");
    assert_eq!(record.at(), 1_700_000_000_123);
    let expected = [
        ("mqtt.id", "17-4711"),
        ("mqtt.qos", "1"),
        ("mqtt.retain", "true"),
        ("mqtt.topic", "site/7/temp"),
        ("traceparent", "00-aa"),
        ("unit", "celsius"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(headers(&record), expected);
}

#[test]
fn a_message_of_qos_0_has_no_id() {
    let message = Message {
        origin: None,
        qos: Qos::AtMostOnce,
        ..sample()
    };
    let record = rule().render(&message).expect("a topic");
    assert_eq!(headers(&record)[0], ("mqtt.qos".into(), "0".into()));
}

#[test]
fn headers_are_those_that_were_chosen() {
    let rule = Rule {
        headers: vec![Header::ClientId, Header::Id],
        value: Value::Comqtt,
        ..rule()
    };
    let record = rule.render(&sample()).expect("a topic");
    let expected = [("mqtt.client-id", "dev-1"), ("mqtt.id", "17-4711")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(headers(&record), expected);
    assert_eq!(
        String::from_utf8_lossy(record.value()),
        r#"{"action":"publish","clientid":"dev-1","username":"ann","topics":["site/7/temp"],"payload":"MjEuNQ==","ts":1700000000}"#
    );
}

#[test]
fn filters_decide_as_those_of_a_subscription() {
    let rule = rule();
    assert!(rule.matches("site/7/temp"));
    assert!(rule.matches("site"));
    assert!(!rule.matches("sites/7"));
    assert!(!rule.matches("$SYS/site"));
}

#[test]
fn a_message_that_makes_no_topic_is_refused() {
    let rule = Rule {
        topic: Topic::parse("${user.none}").expect("a topic"),
        ..rule()
    };
    assert_eq!(rule.render(&sample()), Err(BadName::Empty));
}

#[test]
fn a_rule_tells_of_events_that_it_was_asked_for() {
    let rule = Rule {
        topic: Topic::parse("clients").expect("a topic"),
        events: vec![event::Kind::Connect, event::Kind::Unsubscribe],
        subscriptions: vec!["a/#".to_owned()],
        ..rule()
    };
    let event = Event::new("dev-1", "ann", 1_700_000_000_123);
    let record = rule
        .render_event(&event, None)
        .expect("it tells of a connect");
    assert_eq!(record.topic(), "clients");
    assert_eq!(record.key(), Some(&b"dev-1"[..]));
    let unsubscribe = |topics| Event {
        kind: event::Kind::Unsubscribe,
        topics,
        ..event
    };
    let record = rule.render_event(&unsubscribe(&["a/b", "b"]), None);
    let record = record.expect("one of them counts");
    let value = String::from_utf8_lossy(record.value()).into_owned();
    assert!(value.contains(r#""topics":["a/b"]"#), "{value}");
    assert_eq!(rule.render_event(&unsubscribe(&["b"]), None), None);
    let disconnect = Event {
        kind: event::Kind::Disconnect,
        ..event
    };
    assert_eq!(rule.render_event(&disconnect, None), None);
}

#[test]
fn an_event_has_the_headers_that_it_can_have_and_the_value_of_the_template() {
    let template = r#"{"what": "${event}", "who": "${client-id}/${username}", "why": "${reason}"}"#;
    let rule = Rule {
        topic: Topic::parse("clients").expect("a topic"),
        value: Value::Json(value::Json::parse(template).expect("a template")),
        headers: vec![Header::Topic, Header::Qos, Header::Id, Header::ClientId],
        events: vec![event::Kind::Disconnect],
        ..rule()
    };
    let event = Event {
        kind: event::Kind::Disconnect,
        payload: b"EOF",
        ..Event::new("dev-1", "ann", 1_700_000_000_123)
    };
    let record = rule.render_event(&event, Some(Origin { source: 5, id: 7 }));
    let record = record.expect("it tells of it");
    assert_eq!(record.at(), 1_700_000_000_123);
    let expected = [("mqtt.id", "5-7"), ("mqtt.client-id", "dev-1")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(headers(&record), expected);
    assert_eq!(
        String::from_utf8_lossy(record.value()),
        r#"{"what":"disconnect","who":"dev-1/ann","why":"EOF"}"#
    );
}

#[test]
fn the_span_that_a_message_was_sent_from_is_what_readers_go_on_from() {
    const STATE: &[u8] = b"\x26\0\x0btraceparent\0\x0500-aa\x26\0\x0atracestate\0\x03a=b";
    let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let message = Message {
        trace: gatemq_node::trace::Context::parse(sent),
        properties: UserProperties::from_block(STATE).expect("user properties"),
        ..sample()
    };
    let record = rule().render(&message).expect("a topic");
    let of_traces: Vec<_> = headers(&record)
        .into_iter()
        .filter(|(name, _)| name.starts_with("trace"))
        .collect();
    let expected = [("traceparent", sent), ("tracestate", "a=b")];
    let expected = expected.map(|(name, value)| (name.into(), value.into()));
    assert_eq!(of_traces, expected);
}
