//! Chapters 3.10 to 3.13: UNSUBSCRIBE, UNSUBACK, PINGREQ.

use gatemq_tests::{
    Broker, Properties, unique,
    wire::{self},
};

use super::scene::{
    MALFORMED, PROTOCOL_ERROR, client, leave, nothing_before_marker, refuses, resume,
    resume_present,
};

#[test]
fn mqtt_3_10_1_1_other_flags_are_malformed() {
    let broker = Broker::shared();
    let body = &wire::unsubscribe(5, 1, &Properties::new(), &["t"])[2..];
    for flags in [0x0, 0x1, 0x3, 0x6, 0xA, 0xF] {
        refuses(&broker, &wire::frame(0xA0 | flags, body), &[MALFORMED]);
    }
}

#[test]
fn mqtt_3_10_3_2_no_filter_is_a_protocol_error() {
    let broker = Broker::shared();
    let none = wire::unsubscribe(5, 1, &Properties::new(), &[]);
    refuses(&broker, &none, &[PROTOCOL_ERROR]);
    refuses(
        &broker,
        &wire::frame(0xA2, &[0, 1, 0, 0, 9, b't']),
        &[MALFORMED],
    );
}

#[test]
fn mqtt_3_10_4_1_filters_are_compared_character_by_character() {
    let broker = Broker::shared();
    let root = unique("u");
    let mut subscriber = client(&broker);
    let wide = format!("{root}/#");
    subscriber.subscribe(&wide, 0);
    // Each of these matches the same topics or looks alike; none is the filter.
    let others = [
        format!("{root}/a"),
        format!("{root}/+"),
        format!("{root}//#"),
        wide.to_uppercase(),
        "#".to_owned(),
    ];
    let others: Vec<_> = others.iter().map(String::as_str).collect();
    let unsuback = subscriber.unsubscribe(&others);
    assert_eq!(unsuback.codes, [0x11; 5]); // [MQTT-3.11.3-2]
    let mut publisher = client(&broker);
    publisher.publish(&format!("{root}/a"), b"x", 0);
    assert_eq!(subscriber.receive().payload, b"x");
    assert_eq!(subscriber.unsubscribe(&[&wide]).codes, [0]);
    publisher.publish(&format!("{root}/a"), b"x", 0);
    nothing_before_marker(&mut subscriber, &mut publisher);
}

#[test]
fn mqtt_3_10_4_2_no_new_messages_after_unsubscribe() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("u"));
    let (mut subscriber, _) = resume(&broker, &id);
    subscriber.subscribe(&topic, 2);
    assert_eq!(subscriber.unsubscribe(&[&topic]).codes, [0]);
    let mut publisher = client(&broker);
    for qos in 0..3 {
        publisher.publish(&topic, b"x", qos);
    }
    nothing_before_marker(&mut subscriber, &mut publisher);
    // Not after a reconnection either.
    leave(subscriber);
    publisher.publish(&topic, b"x", 1);
    let mut subscriber = resume_present(&broker, &id);
    nothing_before_marker(&mut subscriber, &mut publisher);
}

#[test]
fn mqtt_3_10_4_3_messages_on_their_way_are_completed() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("u"));
    let (mut subscriber, _) = resume(&broker, &id);
    subscriber.subscribe(&topic, 2);
    let mut publisher = client(&broker);
    publisher.publish(&topic, b"two", 2);
    publisher.publish(&topic, b"one", 1);
    let two = subscriber.expect_publish();
    let one = subscriber.expect_publish();
    assert_eq!(subscriber.unsubscribe(&[&topic]).codes, [0]);
    // The exchange goes on, here and on the next connection.
    let two_id = two.id.expect("QoS 2 has an id");
    subscriber.send(&wire::ack(wire::PUBREC, two_id));
    subscriber.expect_ack(wire::PUBREL, two_id);
    subscriber.cut();
    let mut subscriber = resume_present(&broker, &id);
    let release = subscriber.recv_kind(wire::PUBREL).ack(wire::PUBREL, 5);
    assert_eq!(release.id, two_id);
    subscriber.send(&wire::ack(wire::PUBCOMP, two_id));
    let again = subscriber.receive();
    assert_eq!((again.id, again.payload), (one.id, one.payload));
}

#[test]
fn mqtt_3_10_4_4_unsubscribe_is_answered_with_unsuback() {
    let broker = Broker::shared();
    let topic = unique("u");
    let mut client = client(&broker);
    client.subscribe(&topic, 0);
    // Also where nothing was subscribed to, and with properties. [MQTT-3.10.4-5]
    for (id, expected) in [(1000, 0), (1001, 0x11)] {
        let properties = Properties::new().user("a", "b");
        client.send(&wire::unsubscribe(5, id, &properties, &[&topic]));
        let unsuback = client.recv().suback(wire::UNSUBACK, 5);
        assert_eq!((unsuback.id, unsuback.codes), (id, vec![expected]));
    }
}

#[test]
fn mqtt_3_10_4_6_several_filters_are_several_unsubscribes() {
    let broker = Broker::shared();
    let (a, b, c) = (unique("u"), unique("u"), unique("u"));
    let mut subscriber = client(&broker);
    for topic in [&a, &b, &c] {
        subscriber.subscribe(topic, 0);
    }
    let unsuback = subscriber.unsubscribe(&[&a, "never", &b, &a]);
    assert_eq!(unsuback.codes, [0, 0x11, 0, 0x11]); // [MQTT-3.11.3-1]
    let mut publisher = client(&broker);
    for topic in [&a, &b, &c] {
        publisher.publish(topic, b"x", 0);
    }
    assert_eq!(subscriber.receive().topic, c);
    nothing_before_marker(&mut subscriber, &mut publisher);
}

#[test]
fn mqtt_3_12_4_1_pingreq_is_answered() {
    let broker = Broker::shared();
    let mut client = client(&broker);
    for _ in 0..10 {
        client.ping();
    }
    client.send(&wire::pingreq().repeat(50));
    for _ in 0..50 {
        client.recv().expect(wire::PINGRESP);
    }
}

#[test]
fn mqtt_3_12_1_pingreq_with_a_body_is_malformed() {
    let broker = Broker::shared();
    refuses(&broker, &wire::frame(0xC0, b"x"), &[MALFORMED]);
}
