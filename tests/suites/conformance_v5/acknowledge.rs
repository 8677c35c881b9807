//! Chapters 3.4 to 3.7: PUBACK, PUBREC, PUBREL and PUBCOMP, their codes and their sizes.

use gatemq_tests::{
    Broker, Properties, unique,
    wire::{self, property},
};

use super::scene::{
    EITHER, MALFORMED, PROTOCOL_ERROR, client, client_with, ends, refuses, send_publish, size,
};

/// What PUBACK and PUBREC may say.
const PUBLISH_CODES: [u8; 9] = [0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];

#[test]
fn mqtt_3_4_2_1_puback_has_a_code_of_the_table() {
    let broker = Broker::shared();
    let mut publisher = client(&broker);
    let topic = unique("heard");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 0);
    for topic in [topic, unique("unheard"), "$SYS/of/the/broker".to_owned()] {
        for (qos, kind) in [(1, wire::PUBACK), (2, wire::PUBREC)] {
            send_publish(&mut publisher, &topic, b"x", qos, 3);
            let ack = publisher.expect_ack(kind, 3);
            assert!(PUBLISH_CODES.contains(&ack.reason), "{ack:02x?}"); // [MQTT-3.5.2-1]
            if qos == 2 && ack.reason < 0x80 {
                publisher.send(&wire::ack(wire::PUBREL, 3));
                publisher.expect_ack(wire::PUBCOMP, 3);
            }
        }
    }
}

#[test]
fn mqtt_3_4_2_1_success_where_there_is_a_subscriber() {
    let broker = Broker::shared();
    let topic = unique("heard");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 0);
    let mut publisher = client(&broker);
    for qos in [1, 2] {
        let mut publish = gatemq_tests::Publish::new(&topic, b"x");
        publish.qos = qos;
        let ack = publisher
            .publish_packet(publish)
            .expect("QoS 1 and 2 have an answer");
        assert_eq!(ack.reason, 0);
    }
}

#[test]
fn mqtt_3_6_1_1_pubrel_with_other_flags_is_malformed() {
    let broker = Broker::shared();
    for flags in [0x0, 0x1, 0x3, 0x6, 0xA] {
        let mut publisher = client(&broker);
        send_publish(&mut publisher, "t", b"x", 2, 1);
        publisher.expect_ack(wire::PUBREC, 1);
        publisher.send(&wire::frame(0x60 | flags, &[0, 1]));
        ends(&mut publisher, &[MALFORMED]);
    }
}

#[test]
fn mqtt_3_6_1_1_the_brokers_pubrel_has_the_right_flags() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    client(&broker).publish(&topic, b"x", 2);
    let id = subscriber.expect_publish().id.expect("QoS 2 has an id");
    subscriber.send(&wire::ack(wire::PUBREC, id));
    let packet = subscriber.recv().expect(wire::PUBREL);
    assert_eq!(packet.flags, 2);
    let ack = packet.ack(wire::PUBREL, 5);
    assert_eq!((ack.id, ack.reason), (id, 0)); // [MQTT-3.6.2-1] [MQTT-4.3.3-4]
}

#[test]
fn mqtt_3_6_2_1_pubrec_of_an_unknown_id_gets_pubrel_0x92() {
    let broker = Broker::shared();
    let mut client = client(&broker);
    client.send(&wire::ack(wire::PUBREC, 777));
    let ack = client.expect_ack(wire::PUBREL, 777);
    assert!(
        matches!(ack.reason, 0x92) || Broker::is_foreign(),
        "{ack:02x?}"
    );
}

#[test]
fn mqtt_3_7_2_1_pubrel_of_an_unknown_id_gets_pubcomp_0x92() {
    let broker = Broker::shared();
    let mut client = client(&broker);
    client.send(&wire::ack(wire::PUBREL, 777));
    let ack = client.expect_ack(wire::PUBCOMP, 777); // [MQTT-4.3.3-11]
    assert!(ack.reason == 0x92 || Broker::is_foreign(), "{ack:02x?}");
    // It is no error of the connection.
    client.ping();
}

#[test]
fn mqtt_3_4_0_puback_and_pubcomp_of_an_unknown_id_harm_nobody() {
    let broker = Broker::shared();
    for kind in [wire::PUBACK, wire::PUBCOMP] {
        let mut client = client(&broker);
        client.send(&wire::ack(kind, 777));
        client.send(&wire::pingreq());
        // Nothing in the standard forbids it; ending the connection is allowed too.
        let packet = client.recv();
        if packet.kind != wire::PINGRESP {
            let reason = packet.disconnect(wire::DISCONNECT).reason;
            assert_eq!(reason, PROTOCOL_ERROR);
        }
    }
}

#[test]
fn mqtt_3_4_2_every_form_of_an_acknowledgement_is_read() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    let mut publisher = client(&broker);
    let long = Properties::new()
        .text(property::REASON_STRING, "because")
        .user("a", "b")
        .user("a", "b");
    let forms = |kind: u8, id: u16| {
        let first = kind << 4 | if kind == wire::PUBREL { 2 } else { 0 };
        let [high, low] = id.to_be_bytes();
        [
            wire::ack(kind, id),
            wire::frame(first, &[high, low, 0]),
            wire::frame(first, &[high, low, 0, 0]),
            wire::ack_with(kind, id, 0, &long),
        ]
    };
    for form in 0..4 {
        publisher.publish(&topic, b"x", 1);
        let id = subscriber.expect_publish().id.expect("QoS 1 has an id");
        subscriber.send(&forms(wire::PUBACK, id)[form]);
        publisher.publish(&topic, b"x", 2);
        let id = subscriber.expect_publish().id.expect("QoS 2 has an id");
        subscriber.send(&forms(wire::PUBREC, id)[form]);
        subscriber.expect_ack(wire::PUBREL, id);
        subscriber.send(&forms(wire::PUBCOMP, id)[form]);
        send_publish(&mut publisher, &topic, b"y", 2, 50);
        publisher.expect_ack(wire::PUBREC, 50);
        publisher.send(&forms(wire::PUBREL, 50)[form]);
        assert_eq!(publisher.expect_ack(wire::PUBCOMP, 50).reason, 0);
        let publish = subscriber.receive();
        assert_eq!(publish.payload, b"y");
    }
}

#[test]
fn mqtt_3_4_2_an_acknowledgement_of_the_wrong_form_is_refused() {
    let broker = Broker::shared();
    for first in [0x40, 0x50, 0x62, 0x70] {
        for body in [&b""[..], b"\0", b"\0\x01\0\x05", b"\0\x01\0\0more"] {
            refuses(&broker, &wire::frame(first, body), EITHER);
        }
        // A code of another packet.
        refuses(&broker, &wire::frame(first, &[0, 1, 0x8E, 0]), EITHER);
    }
    let twice = Properties::new()
        .text(property::REASON_STRING, "a")
        .text(property::REASON_STRING, "b");
    let puback = wire::ack_with(wire::PUBACK, 1, 0, &twice);
    refuses(&broker, &puback, &[PROTOCOL_ERROR]);
}

#[test]
fn mqtt_3_4_2_2_acknowledgements_keep_to_the_clients_maximum_packet_size() {
    let broker = Broker::shared();
    let limit = 20;
    let properties = Properties::new().four(property::MAXIMUM_PACKET_SIZE, limit);
    let mut client = client_with(&broker, properties);
    let none = Properties::new();
    let topic = unique("none");
    for (request, kind) in [
        (
            gatemq_tests::Publish::new(&topic, b"x").qos(1, 1).bytes(5),
            wire::PUBACK,
        ),
        (
            gatemq_tests::Publish::new(&topic, b"x").qos(2, 2).bytes(5),
            wire::PUBREC,
        ),
        (
            gatemq_tests::Publish::new("$SYS/x", b"x")
                .qos(1, 6)
                .bytes(5),
            wire::PUBACK,
        ),
        (wire::ack(wire::PUBREL, 99), wire::PUBCOMP),
        (wire::ack(wire::PUBREC, 98), wire::PUBREL),
        (
            wire::subscribe(5, 3, &none, &[("$share//x", 0), ("a#", 0)]),
            wire::SUBACK,
        ),
        (
            wire::unsubscribe(5, 4, &none, &["never/there"]),
            wire::UNSUBACK,
        ),
    ] {
        // [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3]
        // [MQTT-3.7.2-2] [MQTT-3.7.2-3] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1]
        // [MQTT-3.11.2-2]
        client.send(&request);
        let packet = client.recv();
        assert!(size(&packet) <= limit as usize, "{packet:?}");
        if !Broker::is_foreign() {
            packet.expect(kind);
        } else if packet.kind == wire::DISCONNECT {
            break;
        }
    }
}
