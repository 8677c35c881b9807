//! Chapters 1.5 and 2: text, variable byte integers, reserved flags, packet ids, properties.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use gatemq_tests::{
    Broker, Connect, Properties, Publish, Value, Will, unique,
    wire::{self, property},
};

use super::scene::{
    EITHER, MALFORMED, PROTOCOL_ERROR, client, drops_connect, ends, refuses, refuses_connect,
    send_publish,
};

/// Byte sequences that are no UTF-8.
const ILL_FORMED: [&[u8]; 8] = [
    b"\xff",
    b"a\x80b",
    b"\xc0\xaf",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
];

/// A PUBLISH of QoS 0 with a topic of any bytes.
fn publish_topic(topic: &[u8]) -> Vec<u8> {
    wire::frame(0x30, &[wire::text(topic), vec![0], b"x".to_vec()].concat())
}

/// A PUBLISH of QoS 0 with these properties.
fn publish_properties(properties: Properties) -> Vec<u8> {
    Publish::new("t", b"x").properties(properties).bytes(5)
}

#[test]
fn mqtt_1_5_4_1_ill_formed_text_is_malformed() {
    let broker = Broker::shared();
    for bad in ILL_FORMED {
        refuses(&broker, &publish_topic(bad), &[MALFORMED]); // [MQTT-3.3.2-1]
        refuses_connect(&broker, &Connect::new(5, bad).bytes(), &[MALFORMED]); // [MQTT-3.1.3-4]
    }
    let bad = b"\xed\xa0\x80";
    let will = Connect::new(5, "c").will(Will::new(bad, b"x"));
    refuses_connect(&broker, &will.bytes(), &[MALFORMED]); // [MQTT-3.1.3-11]
    let username = Connect::new(5, "c").username(bad);
    refuses_connect(&broker, &username.bytes(), &[MALFORMED]); // [MQTT-3.1.3-12]
    let options = [wire::text(bad), vec![0]].concat();
    let subscribe = wire::frame(0x82, &[vec![0, 1, 0], options].concat());
    refuses(&broker, &subscribe, &[MALFORMED]); // [MQTT-3.8.3-1]
    let unsubscribe = wire::frame(0xA2, &[vec![0, 1, 0], wire::text(bad)].concat());
    refuses(&broker, &unsubscribe, &[MALFORMED]); // [MQTT-3.10.3-1]
    for id in [property::RESPONSE_TOPIC, property::CONTENT_TYPE] {
        // [MQTT-3.3.2-13] [MQTT-3.3.2-19]
        let packet = publish_properties(Properties::new().binary(id, bad));
        refuses(&broker, &packet, &[MALFORMED]);
    }
}

#[test]
fn mqtt_1_5_4_2_null_character_is_malformed() {
    let broker = Broker::shared();
    let codes = &[MALFORMED, PROTOCOL_ERROR, 0x90];
    refuses(&broker, &publish_topic(b"a\0b"), codes); // [MQTT-4.7.3-2]
    refuses_connect(
        &broker,
        &Connect::new(5, "a\0b").bytes(),
        &[MALFORMED, 0x85],
    );
    let user = Connect::new(5, unique("c")).username("a\0b");
    refuses_connect(&broker, &user.bytes(), &[MALFORMED]);
    let filter = wire::subscribe(5, 1, &Properties::new(), &[("a\0b", 0)]);
    refuses(&broker, &filter, &[MALFORMED, PROTOCOL_ERROR, 0x8F]); // [MQTT-4.7.3-2]
    let packet = publish_properties(Properties::new().text(property::CONTENT_TYPE, "a\0b"));
    refuses(&broker, &packet, &[MALFORMED]);
}

#[test]
fn mqtt_1_5_4_3_byte_order_mark_is_kept() {
    let broker = Broker::shared();
    let plain = unique("bom");
    let marked = format!("\u{feff}{plain}");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&marked, 0);
    let mut publisher = client(&broker);
    publisher.publish(&plain, b"plain", 0);
    let value = "\u{feff}value";
    publisher.publish_packet(
        Publish::new(&marked, b"marked").properties(Properties::new().user("\u{feff}k", value)),
    );
    let got = subscriber.receive();
    assert_eq!(
        (got.topic.as_str(), got.payload.as_slice()),
        (marked.as_str(), &b"marked"[..])
    );
    assert_eq!(got.properties.users(), [("\u{feff}k", value)]);
}

#[test]
fn mqtt_1_5_5_1_variable_byte_integers_of_five_bytes_are_malformed() {
    let broker = Broker::shared();
    // Remaining Length, Property Length, Subscription Identifier.
    refuses(&broker, b"\x30\xff\xff\xff\xff\x01", &[MALFORMED]);
    refuses(
        &broker,
        &publish_properties(Properties::new().length(b"\x80\x80\x80\x80\x01")),
        &[MALFORMED],
    );
    let five = Value::Raw(b"\xff\xff\xff\xff\x7f".to_vec());
    let properties = Properties::new().with(property::SUBSCRIPTION_IDENTIFIER, five);
    let subscribe = wire::subscribe(5, 1, &properties, &[("t", 0)]);
    refuses(&broker, &subscribe, EITHER);
}

#[test]
fn mqtt_1_5_5_1_longer_forms_than_needed_are_malformed() {
    let broker = Broker::shared();
    refuses(&broker, b"\xc0\x80\x00", &[MALFORMED]);
    refuses(
        &broker,
        &publish_properties(Properties::new().length(b"\x80\x00")),
        &[MALFORMED],
    );
    let long = Value::Raw(b"\x81\x00".to_vec());
    let properties = Properties::new().with(property::SUBSCRIPTION_IDENTIFIER, long);
    let subscribe = wire::subscribe(5, 1, &properties, &[("t", 0)]);
    refuses(&broker, &subscribe, &[MALFORMED]);
}

#[test]
fn mqtt_1_5_5_1_sent_lengths_are_minimal() {
    let broker = Broker::shared();
    let topic = unique("len");
    // Byte by byte, for the harness's parser takes a longer form as well.
    let mut subscriber = TcpStream::connect(broker.tcp()).expect("the broker listens");
    let limit = Some(Duration::from_secs(5));
    subscriber
        .set_read_timeout(limit)
        .expect("a timeout can be set");
    let connect = Connect::new(5, unique("c")).bytes();
    let subscribe = wire::subscribe(5, 1, &Properties::new(), &[(&topic, 0)]);
    subscriber
        .write_all(&[connect, subscribe].concat())
        .expect("the broker reads");
    // CONNACK of a length that is short, then SUBACK.
    let mut head = [0; 2];
    subscriber.read_exact(&mut head).expect("CONNACK");
    let mut rest = vec![0; usize::from(head[1]) + 6];
    subscriber.read_exact(&mut rest).expect("SUBACK");
    let mut publisher = client(&broker);
    let overhead = 2 + topic.len() + 1;
    for remaining in [overhead, 127, 128, 16_383, 16_384, 200_000] {
        let payload = vec![b'x'; remaining - overhead];
        publisher.publish(&topic, &payload, 0);
        let expected = Publish::new(&topic, payload).bytes(5);
        let mut bytes = vec![0; expected.len()];
        subscriber.read_exact(&mut bytes).expect("PUBLISH");
        assert!(bytes == expected, "{remaining}: {:02x?}", &bytes[..8]);
    }
}

#[test]
fn mqtt_1_5_7_1_both_strings_of_a_pair_are_text() {
    let broker = Broker::shared();
    let bad = b"\xff";
    for (name, value) in [
        (&bad[..], &b"v"[..]),
        (b"k", bad),
        (b"k\0", b"v"),
        (b"k", b"v\0"),
    ] {
        let pair = Value::Raw([wire::text(name), wire::text(value)].concat());
        let properties = Properties::new().with(property::USER_PROPERTY, pair);
        refuses(
            &broker,
            &publish_properties(properties.clone()),
            &[MALFORMED],
        );
        let connect = Connect::new(5, unique("c")).properties(properties);
        refuses_connect(&broker, &connect.bytes(), &[MALFORMED]);
    }
}

#[test]
fn mqtt_2_1_3_1_reserved_flags_are_malformed() {
    let broker = Broker::shared();
    let disconnect = [0xE1, 0x00];
    let pingreq = [0xC1, 0x00];
    let puback = [0x41, 0x02, 0x00, 0x01];
    let pubrec = [0x52, 0x02, 0x00, 0x01];
    let pubcomp = [0x74, 0x02, 0x00, 0x01];
    let packets: [&[u8]; 5] = [&disconnect, &pingreq, &puback, &pubrec, &pubcomp];
    for packet in packets {
        refuses(&broker, packet, &[MALFORMED]);
    }
    let mut connect = Connect::new(5, unique("c")).bytes();
    connect[0] = 0x11;
    drops_connect(&broker, &connect);
}

#[test]
fn mqtt_2_1_2_packet_types_that_a_client_never_sends_are_refused() {
    let broker = Broker::shared();
    let connack: &[u8] = &[0x20, 0x03, 0, 0, 0];
    let suback: &[u8] = &[0x90, 0x04, 0, 1, 0, 0];
    let unsuback: &[u8] = &[0xB0, 0x04, 0, 1, 0, 0];
    for packet in [&[0x00, 0x00][..], connack, suback, unsuback, &[0xD0, 0x00]] {
        refuses(&broker, packet, EITHER);
    }
}

#[test]
fn mqtt_2_2_1_2_qos_0_has_no_packet_id() {
    let broker = Broker::shared();
    let topic = unique("id");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 0);
    let mut publisher = client(&broker);
    // A forwarded id would show up as an odd property length or payload.
    publisher.publish(&topic, b"x", 1);
    let got = subscriber.expect_publish();
    assert_eq!((got.qos, got.id, got.payload), (0, None, b"x".to_vec()));
}

#[test]
fn mqtt_2_2_1_3_packet_id_of_zero_is_refused() {
    let broker = Broker::shared();
    for qos in [1, 2] {
        refuses(
            &broker,
            &Publish::new("t", b"x").qos(qos, 0).bytes(5),
            EITHER,
        );
    }
    let none = Properties::new();
    refuses(&broker, &wire::subscribe(5, 0, &none, &[("t", 0)]), EITHER);
    refuses(&broker, &wire::unsubscribe(5, 0, &none, &["t"]), EITHER);
    for kind in [wire::PUBACK, wire::PUBREC, wire::PUBREL, wire::PUBCOMP] {
        refuses(&broker, &wire::ack(kind, 0), EITHER);
    }
}

#[test]
fn mqtt_2_2_1_4_server_uses_ids_that_are_free() {
    let broker = Broker::shared();
    let topic = unique("id");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    let mut publisher = client(&broker);
    let mut ids = Vec::new();
    for number in 0..20 {
        publisher.publish(&topic, b"x", 1 + number % 2);
        // Never acknowledged, so all of them are in use.
        let got = subscriber.expect_publish();
        assert_eq!(got.qos, 1 + number % 2);
        let id = got.id.expect("QoS 1 and 2 have an id");
        assert_ne!(id, 0);
        assert!(!ids.contains(&id), "{id} is in use: {ids:?}"); // [MQTT-4.3.2-1] [MQTT-4.3.3-1]
        ids.push(id);
    }
}

#[test]
fn mqtt_2_2_1_5_acknowledgements_have_the_publishs_id() {
    let broker = Broker::shared();
    let topic = unique("id");
    let mut publisher = client(&broker);
    for id in [1, 77, 0x8000, 65_535] {
        send_publish(&mut publisher, &topic, b"x", 1, id);
        publisher.expect_ack(wire::PUBACK, id);
        send_publish(&mut publisher, &topic, b"x", 2, id);
        publisher.expect_ack(wire::PUBREC, id);
        publisher.send(&wire::ack(wire::PUBREL, id));
        publisher.expect_ack(wire::PUBCOMP, id);
    }
}

#[test]
fn mqtt_2_2_1_6_suback_and_unsuback_have_the_requests_id() {
    let broker = Broker::shared();
    let topic = unique("id");
    let mut client = client(&broker);
    for id in [1, 77, 0x8000, 65_535] {
        client.send(&wire::subscribe(5, id, &Properties::new(), &[(&topic, 0)]));
        assert_eq!(client.recv().suback(wire::SUBACK, 5).id, id); // [MQTT-3.8.4-2]
        client.send(&wire::unsubscribe(5, id, &Properties::new(), &[&topic]));
        assert_eq!(client.recv().suback(wire::UNSUBACK, 5).id, id); // [MQTT-3.10.4-5]
    }
}

#[test]
fn mqtt_2_2_2_1_no_properties_is_a_length_of_zero() {
    let broker = Broker::shared();
    let topic = unique("props");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 0);
    client(&broker).publish(&topic, b"", 0);
    // The topic, a length of zero, and an empty payload: nothing may be left out.
    let packet = subscriber.recv().expect(wire::PUBLISH);
    assert_eq!(packet.body, [wire::text(&topic), vec![0]].concat());
    // A packet without its property length is short.
    refuses(&broker, &wire::frame(0x30, &wire::text("t")), &[MALFORMED]);
    refuses(&broker, &wire::frame(0x82, &[0, 1]), EITHER);
}

#[test]
fn mqtt_2_2_2_foreign_or_unknown_properties_are_malformed() {
    let broker = Broker::shared();
    let foreign = [
        Properties::new().four(property::SESSION_EXPIRY_INTERVAL, 1),
        Properties::new().text(property::REASON_STRING, "x"),
        Properties::new().byte(property::MAXIMUM_QOS, 1),
        Properties::new().with(0x7E, Value::Byte(0)),
        Properties::new().with(0x00, Value::Byte(0)),
        // Longer than the packet, and shorter than its content.
        Properties::new().length(b"\x7f"),
        Properties::new().user("name", "value").length(b"\x03"),
    ];
    for properties in foreign {
        refuses(&broker, &publish_properties(properties), &[MALFORMED]);
    }
    let alias = Properties::new().two(property::TOPIC_ALIAS, 1);
    let connect = Connect::new(5, unique("c")).properties(alias.clone());
    refuses_connect(&broker, &connect.bytes(), &[MALFORMED]);
    let subscribe = wire::subscribe(5, 1, &alias, &[("t", 0)]);
    refuses(&broker, &subscribe, &[MALFORMED]);
    refuses(
        &broker,
        &wire::unsubscribe(5, 1, &alias, &["t"]),
        &[MALFORMED],
    );
    refuses(&broker, &wire::disconnect_with(0, &alias), &[MALFORMED]);
    let mut publisher = client(&broker);
    send_publish(&mut publisher, "t", b"x", 2, 1);
    publisher.expect_ack(wire::PUBREC, 1);
    publisher.send(&wire::ack_with(wire::PUBREL, 1, 0, &alias));
    ends(&mut publisher, &[MALFORMED]);
}
