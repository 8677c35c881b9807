//! Chapter 3.3.1: DUP and QoS of a PUBLISH, and its topic name.

use gatemq_tests::{
    Broker, Properties, Publish, unique,
    wire::{self, property},
};

use super::scene::{
    EITHER, MALFORMED, PROTOCOL_ERROR, client, leave, refuses, resume, resume_present, send_publish,
};

#[test]
fn mqtt_3_3_1_1_a_message_sent_again_has_dup() {
    let broker = Broker::shared();
    for qos in [1, 2] {
        let (id, topic) = (unique("c"), unique("t"));
        let (mut before, _) = resume(&broker, &id);
        before.subscribe(&topic, qos);
        client(&broker).publish(&topic, b"x", qos);
        let first = before.expect_publish();
        assert!(!first.dup, "[MQTT-4.3.2-2] [MQTT-4.3.3-2] {first:?}");
        before.cut();
        let mut after = resume_present(&broker, &id);
        let second = after.expect_publish();
        assert!(second.dup, "{second:?}");
        assert_eq!((second.id, second.payload), (first.id, first.payload));
    }
}

#[test]
fn mqtt_3_3_1_1_a_message_that_was_only_queued_has_no_dup() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("t"));
    let (mut before, _) = resume(&broker, &id);
    before.subscribe(&topic, 1);
    leave(before);
    client(&broker).publish(&topic, b"x", 1);
    assert!(!resume_present(&broker, &id).expect_publish().dup);
}

#[test]
fn mqtt_3_3_1_2_qos_0_has_no_dup() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 0);
    let mut publisher = client(&broker);
    publisher.publish(&topic, b"0", 0);
    publisher.publish_packet(Publish::new(&topic, b"1").qos(1, 100).dup());
    for _ in 0..2 {
        assert!(!subscriber.receive().dup); // [MQTT-4.3.1-1]
    }
}

#[test]
fn mqtt_3_3_1_3_dup_is_not_passed_on() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    let mut publisher = client(&broker);
    for qos in [1, 2] {
        publisher.publish_packet(Publish::new(&topic, b"x").qos(qos, 100).dup());
        assert!(!subscriber.receive().dup);
    }
}

#[test]
fn mqtt_3_3_1_4_qos_3_is_malformed() {
    let broker = Broker::shared();
    refuses(
        &broker,
        &Publish::new("t", b"x").qos(3, 1).bytes(5),
        &[MALFORMED],
    );
    let dup = Publish::new("t", b"x").qos(3, 1).dup().retain();
    refuses(&broker, &dup.bytes(5), &[MALFORMED]);
}

#[test]
fn mqtt_3_3_2_1_a_topic_name_must_be_there() {
    let broker = Broker::shared();
    // Empty, and without an alias that would stand for it.
    let empty = Publish::new("", b"x");
    refuses(&broker, &empty.bytes(5), &[PROTOCOL_ERROR]); // [MQTT-4.7.3-1]
    refuses(&broker, &empty.qos(1, 1).bytes(5), &[PROTOCOL_ERROR]);
    refuses(&broker, &wire::frame(0x30, &[]), EITHER);
    refuses(&broker, &wire::frame(0x30, &[0, 9, b't']), &[MALFORMED]);
    refuses(&broker, &wire::frame(0x32, &[0, 1, b't', 0]), &[MALFORMED]);
}

#[test]
fn mqtt_3_3_2_2_a_topic_name_has_no_wildcards() {
    let broker = Broker::shared();
    for topic in ["#", "a/#", "+", "a/+/b", "a+", "a#"] {
        for qos in 0..3 {
            let mut publish = Publish::new(topic, b"x");
            if qos > 0 {
                publish = publish.qos(qos, 1);
            }
            let codes = &[MALFORMED, PROTOCOL_ERROR, 0x90];
            refuses(&broker, &publish.bytes(5), codes); // [MQTT-4.7.0-1]
        }
    }
}

#[test]
fn mqtt_3_3_2_3_the_topic_name_is_that_of_the_publisher() {
    let broker = Broker::shared();
    let root = unique("t");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&format!("{root}/+/#"), 0);
    for tail in ["a", "a/b", "a//", " /x"] {
        let topic = format!("{root}/{tail}");
        client(&broker).publish(&topic, b"x", 0);
        assert_eq!(subscriber.receive().topic, topic);
    }
}

#[test]
fn mqtt_3_3_4_1_the_answer_follows_the_qos() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut publisher = client(&broker);
    publisher.publish(&topic, b"x", 0);
    publisher.expect_silence(100);
    send_publish(&mut publisher, &topic, b"x", 1, 1);
    let ack = publisher.recv().ack(wire::PUBACK, 5); // [MQTT-4.3.2-4]
    assert!(matches!(ack.reason, 0 | 0x10), "{ack:02x?}"); // [MQTT-3.4.2-1]
    send_publish(&mut publisher, &topic, b"x", 2, 2);
    let ack = publisher.recv().ack(wire::PUBREC, 5); // [MQTT-4.3.3-8]
    assert!(matches!(ack.reason, 0 | 0x10), "{ack:02x?}"); // [MQTT-3.5.2-1]
    publisher.send(&wire::ack(wire::PUBREL, 2));
    let ack = publisher.recv().ack(wire::PUBCOMP, 5);
    assert_eq!((ack.id, ack.reason), (2, 0)); // [MQTT-3.7.2-1]
}

#[test]
fn mqtt_3_3_4_6_a_client_sends_no_subscription_identifier() {
    let broker = Broker::shared();
    for id in [0, 1, 268_435_455] {
        let properties = Properties::new().var(property::SUBSCRIPTION_IDENTIFIER, id);
        let publish = Publish::new("t", b"x").properties(properties);
        refuses(&broker, &publish.bytes(5), EITHER);
    }
}

#[test]
fn mqtt_3_3_3_any_payload_is_carried() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 1);
    let mut publisher = client(&broker);
    let every: Vec<u8> = (0..=255).collect();
    for payload in [vec![], vec![0], every, vec![0xAB; 70_000]] {
        publisher.publish(&topic, &payload, 1);
        assert!(
            subscriber.receive().payload == payload,
            "{} bytes",
            payload.len()
        );
    }
}
