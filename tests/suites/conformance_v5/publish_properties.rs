//! Chapter 3.3.2.3: the properties that go from publisher to subscriber unaltered.

use gatemq_tests::{Broker, Client, Properties, Publish, Value, unique, wire::property};

use super::scene::{
    EITHER, MALFORMED, PROTOCOL_ERROR, client, leave, refuses, resume, resume_present,
};

/// Publishes with these properties and returns what a subscriber gets.
#[track_caller]
fn forwarded(broker: &Broker, properties: Properties, payload: &[u8], qos: u8) -> Properties {
    let topic = unique("p");
    let mut subscriber = client(broker);
    subscriber.subscribe(&topic, 2);
    publish(&mut client(broker), &topic, properties, payload, qos);
    let got = subscriber.receive();
    assert_eq!(got.payload, payload);
    got.properties
}

#[track_caller]
fn publish(client: &mut Client, topic: &str, properties: Properties, payload: &[u8], qos: u8) {
    let mut publish = Publish::new(topic, payload).properties(properties);
    publish.qos = qos;
    client.publish_packet(publish);
}

#[test]
fn mqtt_3_3_2_4_payload_format_indicator_is_passed_on() {
    let broker = Broker::shared();
    let indicator = property::PAYLOAD_FORMAT_INDICATOR;
    for qos in 0..3 {
        for value in [0, 1] {
            let properties = Properties::new().byte(indicator, value);
            let got = forwarded(&broker, properties, "t\u{e9}xt".as_bytes(), qos);
            assert_eq!(got.number(indicator), Some(u32::from(value)));
        }
        assert!(!forwarded(&broker, Properties::new(), b"\xff", qos).has(indicator));
    }
}

#[test]
fn mqtt_3_3_2_3_2_a_payload_that_is_not_what_it_says_may_be_refused() {
    let broker = Broker::shared();
    let topic = unique("p");
    let mut publisher = client(&broker);
    let properties = Properties::new().byte(property::PAYLOAD_FORMAT_INDICATOR, 1);
    let publish = Publish::new(&topic, b"\xff")
        .qos(1, 1)
        .properties(properties);
    publisher.send(&publish.bytes(5));
    let packet = publisher.recv();
    // Passed on, refused, or the connection ended: in each case with the code that says so.
    if packet.kind == gatemq_tests::wire::PUBACK {
        let reason = packet.ack(gatemq_tests::wire::PUBACK, 5).reason;
        assert!(matches!(reason, 0 | 0x10 | 0x99), "{reason:#04x}");
    } else {
        assert_eq!(
            packet.disconnect(gatemq_tests::wire::DISCONNECT).reason,
            0x99
        );
    }
}

#[test]
fn mqtt_3_3_2_14_a_response_topic_has_no_wildcards() {
    let broker = Broker::shared();
    for topic in ["a/#", "+/b"] {
        let properties = Properties::new().text(property::RESPONSE_TOPIC, topic);
        let publish = Publish::new("t", b"x").properties(properties);
        let codes = &[MALFORMED, PROTOCOL_ERROR, 0x90];
        refuses(&broker, &publish.bytes(5), codes);
    }
}

#[test]
fn mqtt_3_3_2_15_response_topic_is_passed_on() {
    let broker = Broker::shared();
    for qos in 0..3 {
        let answer = "answer/\u{e9}/ /here";
        let properties = Properties::new().text(property::RESPONSE_TOPIC, answer);
        let got = forwarded(&broker, properties, b"x", qos);
        assert_eq!(got.string(property::RESPONSE_TOPIC), Some(answer));
    }
}

#[test]
fn mqtt_3_3_2_16_correlation_data_is_passed_on() {
    let broker = Broker::shared();
    let every: Vec<u8> = (0..=255).collect();
    for data in [vec![], vec![0], every, vec![7; 65_535]] {
        let properties = Properties::new().binary(property::CORRELATION_DATA, &data);
        let got = forwarded(&broker, properties, b"x", 1);
        let got = got.data(property::CORRELATION_DATA);
        assert!(got == Some(&data[..]), "{} bytes", data.len());
    }
}

#[test]
fn mqtt_3_3_2_17_user_properties_are_passed_on() {
    let broker = Broker::shared();
    let long = "v".repeat(10_000);
    let properties = Properties::new()
        .user("", "")
        .user("name", "")
        .user("", "value")
        .user("\u{1f600}", "\u{e9}")
        .user("long", &long);
    for qos in 0..3 {
        let got = forwarded(&broker, properties.clone(), b"x", qos);
        assert_eq!(got.users(), properties.users());
    }
}

#[test]
fn mqtt_3_3_2_18_user_properties_keep_their_order() {
    let broker = Broker::shared();
    let mut properties = Properties::new();
    for name in ["z", "a", "m", "a", "z", "a"] {
        let number = properties.list.len().to_string();
        properties = properties.user(name, &number);
        // Others in between do not disturb it.
        if name == "m" {
            properties = properties.text(property::CONTENT_TYPE, "x");
        }
    }
    let got = forwarded(&broker, properties.clone(), b"x", 1);
    assert_eq!(got.users(), properties.users());
}

#[test]
fn mqtt_3_3_2_20_content_type_is_passed_on() {
    let broker = Broker::shared();
    for content_type in ["", "application/json; charset=utf-8", "\u{e9}"] {
        let properties = Properties::new().text(property::CONTENT_TYPE, content_type);
        let got = forwarded(&broker, properties, b"x", 1);
        assert_eq!(got.string(property::CONTENT_TYPE), Some(content_type));
    }
}

#[test]
fn mqtt_3_3_2_17_properties_survive_the_queue_of_an_absent_client() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("p"));
    let (mut before, _) = resume(&broker, &id);
    before.subscribe(&topic, 2);
    leave(before);
    let properties = Properties::new()
        .byte(property::PAYLOAD_FORMAT_INDICATOR, 1)
        .text(property::CONTENT_TYPE, "text/plain")
        .text(property::RESPONSE_TOPIC, "answer")
        .binary(property::CORRELATION_DATA, b"\0\xff")
        .user("b", "1")
        .user("a", "2");
    publish(&mut client(&broker), &topic, properties.clone(), b"x", 2);
    let got = resume_present(&broker, &id).receive().properties;
    for (id, value) in &properties.list {
        assert!(got.all(*id).contains(&value), "{id:#x} in {got:?}");
    }
    assert_eq!(got.users(), properties.users());
}

#[test]
fn mqtt_3_3_2_a_property_that_repeats_is_a_protocol_error() {
    let broker = Broker::shared();
    let cases = [
        (property::PAYLOAD_FORMAT_INDICATOR, Value::Byte(0)),
        (property::MESSAGE_EXPIRY_INTERVAL, Value::Four(9)),
        (property::TOPIC_ALIAS, Value::Two(1)),
        (property::RESPONSE_TOPIC, Value::Text("a".to_owned())),
        (property::CORRELATION_DATA, Value::Bytes(vec![1])),
        (property::CONTENT_TYPE, Value::Text("a".to_owned())),
    ];
    for (id, value) in cases {
        let properties = Properties::new().with(id, value.clone()).with(id, value);
        let publish = Publish::new("t", b"x").properties(properties);
        refuses(&broker, &publish.bytes(5), &[PROTOCOL_ERROR]);
    }
    let two = Properties::new().byte(property::PAYLOAD_FORMAT_INDICATOR, 2);
    refuses(
        &broker,
        &Publish::new("t", b"x").properties(two).bytes(5),
        EITHER,
    );
}

#[test]
fn mqtt_4_10_request_and_response_meet() {
    let broker = Broker::shared();
    let (service, inbox) = (unique("service"), unique("inbox"));
    let mut responder = client(&broker);
    responder.subscribe(&service, 1);
    let mut requester = client(&broker);
    requester.subscribe(&inbox, 1);
    let request = Properties::new()
        .text(property::RESPONSE_TOPIC, &inbox)
        .binary(property::CORRELATION_DATA, b"\x01\x02");
    publish(&mut requester, &service, request, b"question", 1);
    let request = responder.receive().properties;
    let to = request
        .string(property::RESPONSE_TOPIC)
        .expect("where to answer");
    let data = request
        .data(property::CORRELATION_DATA)
        .expect("what to answer");
    let answer = Properties::new().binary(property::CORRELATION_DATA, data);
    publish(&mut responder, to, answer, b"answer", 1);
    let got = requester.receive();
    assert_eq!(got.payload, b"answer");
    assert_eq!(
        got.properties.data(property::CORRELATION_DATA),
        Some(&b"\x01\x02"[..])
    );
}
