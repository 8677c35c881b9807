//! Chapter 3.3.2.3.3: the Message Expiry Interval, as stored and as delivered.

use std::time::Duration;

use gatemq_tests::{
    Broker, Properties, Publish, patience, unique,
    wire::{self, property},
};

use super::scene::{client, leave, nothing_before_marker, resume, resume_present};

const INTERVAL: u8 = property::MESSAGE_EXPIRY_INTERVAL;

/// A QoS 1 message that lives this long.
fn mortal(topic: &str, payload: &str, seconds: u32) -> Publish {
    let mut publish = Publish::new(topic, payload);
    publish.qos = 1;
    publish.properties(Properties::new().four(INTERVAL, seconds))
}

#[test]
fn mqtt_3_3_2_5_an_expired_message_is_not_delivered() {
    let broker = Broker::shared();
    for qos in [1, 2] {
        let (id, topic) = (unique("c"), unique("e"));
        let (mut before, _) = resume(&broker, &id);
        before.subscribe(&topic, qos);
        leave(before);
        let mut publisher = client(&broker);
        for (payload, seconds) in [("short", 1), ("long", 60), ("short", 1)] {
            let mut message = mortal(&topic, payload, seconds);
            message.qos = qos;
            publisher.publish_packet(message);
        }
        publisher.publish(&topic, "immortal", qos);
        patience::pause(Duration::from_millis(2200));
        let mut after = resume_present(&broker, &id);
        assert_eq!(after.receive().payload, b"long");
        assert_eq!(after.receive().payload, b"immortal");
        nothing_before_marker(&mut after, &mut publisher);
    }
}

#[test]
fn mqtt_3_3_2_6_the_interval_is_what_is_left() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("e"));
    let (mut subscriber, _) = resume(&broker, &id);
    subscriber.subscribe(&topic, 1);
    let mut publisher = client(&broker);
    // At once: nothing, or next to nothing, has passed.
    publisher.publish_packet(mortal(&topic, "now", 10));
    let left = subscriber.receive().properties.number(INTERVAL);
    assert!(matches!(left, Some(9 | 10)), "{left:?}");
    leave(subscriber);
    publisher.publish_packet(mortal(&topic, "later", 10));
    publisher.publish(&topic, "immortal", 1);
    patience::pause(Duration::from_millis(2200));
    let mut subscriber = resume_present(&broker, &id);
    let left = subscriber.receive().properties.number(INTERVAL);
    assert!(matches!(left, Some(7 | 8)), "{left:?}");
    assert!(!subscriber.receive().properties.has(INTERVAL));
}

#[test]
fn mqtt_3_3_2_6_a_retained_message_too_shows_what_is_left_and_goes() {
    let broker = Broker::shared();
    let topic = unique("e");
    let mut publisher = client(&broker);
    publisher.publish_packet(mortal(&topic, "x", 4).retain());
    patience::pause(Duration::from_millis(1200));
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 1);
    let left = subscriber.receive().properties.number(INTERVAL);
    assert!(matches!(left, Some(2 | 3)), "{left:?}");
    patience::pause(Duration::from_millis(3500));
    let mut late = client(&broker);
    late.subscribe(&topic, 1);
    late.expect_silence(150);
}

#[test]
fn mqtt_3_3_2_3_3_an_interval_of_0_is_delivered_at_once_or_not_at_all() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("e"));
    let (mut before, _) = resume(&broker, &id);
    before.subscribe(&topic, 1);
    leave(before);
    let mut publisher = client(&broker);
    publisher.publish_packet(mortal(&topic, "x", 0));
    patience::pause(Duration::from_millis(1100));
    let mut after = resume_present(&broker, &id);
    nothing_before_marker(&mut after, &mut publisher);
}

#[test]
fn mqtt_4_3_3_7_a_message_that_was_sent_does_not_expire() {
    let broker = Broker::shared();
    for qos in [1, 2] {
        let (id, topic) = (unique("c"), unique("e"));
        let (mut before, _) = resume(&broker, &id);
        before.subscribe(&topic, qos);
        let mut message = mortal(&topic, "x", 1);
        message.qos = qos;
        client(&broker).publish_packet(message);
        let sent = before.expect_publish();
        before.cut();
        patience::pause(Duration::from_millis(2200));
        let mut after = resume_present(&broker, &id);
        let again = after.receive();
        assert_eq!((again.id, again.dup), (sent.id, true));
    }
}

#[test]
fn mqtt_4_3_3_13_the_exchange_of_an_expired_message_goes_on() {
    let broker = Broker::shared();
    let topic = unique("e");
    let mut publisher = client(&broker);
    let mut message = mortal(&topic, "x", 1);
    message = message.qos(2, 5);
    publisher.send(&message.bytes(5));
    assert!(publisher.expect_ack(wire::PUBREC, 5).reason < 0x80);
    patience::pause(Duration::from_millis(1500));
    // Neither does the id become free before PUBREL.
    publisher.send(&message.dup().bytes(5));
    assert!(publisher.expect_ack(wire::PUBREC, 5).reason < 0x80);
    publisher.send(&wire::ack(wire::PUBREL, 5));
    assert_eq!(publisher.expect_ack(wire::PUBCOMP, 5).reason, 0);
}
