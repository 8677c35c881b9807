//! Chapter 3.3.1.3: retained messages.

use gatemq_tests::{Broker, Publish, unique, wire};

use super::{client, keeper};

#[test]
fn mqtt311_3_3_1_5_a_retained_message_is_stored_with_its_qos() {
    let broker = Broker::shared();
    for qos in 0..3 {
        let topic = unique("retain");
        client(&broker).publish_retained(&topic, "kept", qos);
        let mut subscriber = client(&broker);
        subscriber.subscribe(&topic, 2);
        let publish = subscriber.receive();
        assert_eq!((publish.payload, publish.qos), (b"kept".to_vec(), qos)); // [MQTT-3.3.1-5]
        client(&broker).publish_retained(&topic, "", 0);
    }
}

#[test]
fn mqtt311_3_3_1_6_a_new_subscription_gets_the_last_of_each_topic() {
    let broker = Broker::shared();
    let base = unique("retain");
    let mut publisher = client(&broker);
    for topic in ["a", "b", "b/c", "other"] {
        publisher.publish_retained(&format!("{base}/{topic}"), "old", 1);
        publisher.publish_retained(&format!("{base}/{topic}"), topic, 1);
    }
    for (filter, expected) in [
        ("#", vec!["a", "b", "b/c", "other"]),
        ("+", vec!["a", "b", "other"]),
        ("b/#", vec!["b", "b/c"]),
        ("a", vec!["a"]),
        ("+/c", vec!["b/c"]),
        ("none", vec![]),
    ] {
        let mut subscriber = client(&broker);
        subscriber.subscribe(&format!("{base}/{filter}"), 1);
        let mut received: Vec<_> = expected.iter().map(|_| subscriber.receive()).collect();
        received.sort_by(|a, b| a.topic.cmp(&b.topic));
        let payloads: Vec<_> = received
            .iter()
            .map(|publish| String::from_utf8_lossy(&publish.payload).into_owned())
            .collect();
        assert_eq!(payloads, expected, "{filter}"); // [MQTT-3.3.1-6]
        subscriber.ping();
        subscriber.expect_silence(50);
    }
}

#[test]
fn mqtt311_3_3_1_7_a_qos_0_message_replaces_the_retained_one() {
    let broker = Broker::shared();
    let topic = unique("retain");
    client(&broker).publish_retained(&topic, "old", 2);
    let mut publisher = client(&broker);
    publisher.publish_retained(&topic, "new", 0);
    publisher.ping();
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    assert_eq!(subscriber.receive().payload, b"new"); // [MQTT-3.3.1-7]
}

#[test]
fn mqtt311_3_3_1_8_what_a_new_subscription_brings_is_marked_retained() {
    let broker = Broker::shared();
    let topic = unique("retain");
    client(&broker).publish_retained(&topic, "x", 1);
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 0);
    assert!(subscriber.receive().retain); // [MQTT-3.3.1-8]
}

#[test]
fn mqtt311_3_3_1_9_an_established_subscription_sees_no_retain_flag() {
    let broker = Broker::shared();
    let topic = unique("retain");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    for qos in 0..3 {
        client(&broker).publish_retained(&topic, "x", qos);
        assert!(!subscriber.receive().retain); // [MQTT-3.3.1-9]
    }
}

#[test]
fn mqtt311_3_3_1_9_a_queued_message_has_no_retain_flag() {
    let broker = Broker::shared();
    let topic = unique("retain");
    let (mut subscriber, id) = keeper(&broker);
    subscriber.subscribe(&topic, 1);
    subscriber.disconnect();
    client(&broker).publish_retained(&topic, "x", 1);
    assert!(!super::resume(&broker, &id).receive().retain); // [MQTT-3.3.1-9]
}

#[test]
fn mqtt311_3_3_1_10_an_empty_message_removes_the_retained_one_and_is_passed_on() {
    let broker = Broker::shared();
    let topic = unique("retain");
    for qos in 0..3 {
        let mut publisher = client(&broker);
        publisher.publish_retained(&topic, "kept", 1);
        let mut established = client(&broker);
        established.subscribe(&topic, 2);
        assert_eq!(established.receive().payload, b"kept");
        publisher.publish_retained(&topic, "", qos);
        let publish = established.receive();
        assert_eq!((publish.payload, publish.retain), (vec![], false)); // [MQTT-3.3.1-10]
        let mut late = client(&broker);
        late.subscribe(&topic, 2);
        publisher.publish(&topic, "marker", 1);
        assert_eq!(late.receive().payload, b"marker"); // [MQTT-3.3.1-10] [MQTT-3.3.1-11]
    }
}

#[test]
fn mqtt311_3_3_1_12_a_message_without_retain_leaves_the_retained_one_alone() {
    let broker = Broker::shared();
    let topic = unique("retain");
    let mut publisher = client(&broker);
    publisher.publish_retained(&topic, "kept", 1);
    publisher.publish(&topic, "passing", 1);
    publisher.publish(&topic, "", 1);
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 1);
    assert_eq!(subscriber.receive().payload, b"kept"); // [MQTT-3.3.1-12]
}

#[test]
fn mqtt311_3_3_1_12_a_message_without_retain_is_not_stored() {
    let broker = Broker::shared();
    let topic = unique("retain");
    let mut publisher = client(&broker);
    publisher.publish(&topic, "passing", 2);
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 1);
    publisher.publish(&topic, "marker", 1);
    assert_eq!(subscriber.receive().payload, b"marker"); // [MQTT-3.3.1-12]
}

#[test]
fn mqtt311_3_1_2_7_retained_messages_outlive_the_session() {
    let broker = Broker::shared();
    let topic = unique("retain");
    let mut publisher = client(&broker);
    publisher.publish_retained(&topic, "kept", 1);
    publisher.disconnect();
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 1);
    assert_eq!(subscriber.receive().payload, b"kept"); // [MQTT-3.1.2-7]
}

#[test]
fn a_retained_qos_2_message_is_stored_once_whatever_is_sent_again() {
    let broker = Broker::shared();
    let topic = unique("retain");
    let mut publisher = client(&broker);
    let publish = Publish::new(&topic, "kept").qos(2, 9).retain();
    publisher.send(&publish.bytes(4));
    publisher.expect_ack(wire::PUBREC, 9);
    publisher.send(&publish.dup().bytes(4));
    publisher.expect_ack(wire::PUBREC, 9);
    publisher.send(&wire::ack(wire::PUBREL, 9));
    publisher.expect_ack(wire::PUBCOMP, 9);
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 1);
    assert_eq!(subscriber.receive().payload, b"kept");
    subscriber.ping();
    subscriber.expect_silence(50);
}
