//! Chapter 3.3.4: who gets a message, how often, at which QoS, with which Subscription
//! Identifiers.

use gatemq_tests::{Broker, Publish, Value, unique, wire::property};

use super::scene::{client, leave, nothing_before_marker, resume, resume_present, subscribe_id};

/// The Subscription Identifiers of a message, sorted.
fn ids(publish: &Publish) -> Vec<u32> {
    let mut ids: Vec<_> = publish
        .properties
        .all(property::SUBSCRIPTION_IDENTIFIER)
        .into_iter()
        .map(|value| match value {
            Value::Var(id) => *id,
            other => panic!("no identifier: {other:?}"),
        })
        .collect();
    ids.sort_unstable();
    ids
}

#[test]
fn mqtt_3_3_4_2_overlapping_subscriptions_give_the_highest_qos() {
    let broker = Broker::shared();
    for options in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 1, 0]] {
        let root = unique("o");
        let filters = [
            format!("{root}/#"),
            format!("{root}/+"),
            format!("{root}/a"),
        ];
        let mut subscriber = client(&broker);
        for (filter, qos) in filters.iter().zip(options) {
            subscriber.subscribe(filter, qos);
        }
        let mut publisher = client(&broker);
        publisher.publish(&format!("{root}/a"), b"x", 2);
        let highest = options.into_iter().max();
        assert_eq!(Some(subscriber.receive().qos), highest);
        if !Broker::is_foreign() {
            // GateMQ sends one copy. [MQTT-3.3.4-4]
            nothing_before_marker(&mut subscriber, &mut publisher);
        }
    }
}

#[test]
fn mqtt_3_3_4_3_the_identifiers_of_all_matching_subscriptions_are_sent() {
    let broker = Broker::shared();
    let root = unique("o");
    let mut subscriber = client(&broker);
    subscribe_id(&mut subscriber, &format!("{root}/#"), 1, 1);
    subscribe_id(&mut subscriber, &format!("{root}/+"), 0, 268_435_455);
    subscribe_id(&mut subscriber, &format!("{root}/b"), 1, 300);
    subscriber.subscribe(&format!("{root}/a"), 2);
    let mut publisher = client(&broker);
    publisher.publish(&format!("{root}/a"), b"x", 2);
    let mut got = ids(&subscriber.receive());
    if Broker::is_foreign() {
        while got.len() < 2 {
            got.extend(ids(&subscriber.receive()));
        }
        got.sort_unstable();
    }
    assert_eq!(got, [1, 268_435_455]); // [MQTT-3.3.4-4]
}

#[test]
fn mqtt_3_3_4_3_an_identifier_is_sent_with_every_message_of_its_subscription() {
    let broker = Broker::shared();
    let root = unique("o");
    let mut subscriber = client(&broker);
    for (leaf, id) in [
        ("a", 1),
        ("b", 127),
        ("c", 128),
        ("d", 16_384),
        ("e", 2_097_152),
    ] {
        let topic = format!("{root}/{leaf}");
        subscribe_id(&mut subscriber, &topic, 2, id);
        for qos in 0..3 {
            client(&broker).publish(&topic, b"x", qos);
            assert_eq!(ids(&subscriber.receive()), [id]); // [MQTT-3.3.4-5]
        }
    }
}

#[test]
fn mqtt_3_3_4_3_two_filters_of_one_subscribe_share_its_identifier() {
    let broker = Broker::shared();
    let (a, b) = (unique("o"), unique("o"));
    let mut subscriber = client(&broker);
    let properties = gatemq_tests::Properties::new().var(property::SUBSCRIPTION_IDENTIFIER, 9);
    subscriber.subscribe_with(&properties, &[(&a, 0), (&b, 0)]);
    for topic in [a, b] {
        client(&broker).publish(&topic, b"x", 0);
        assert_eq!(ids(&subscriber.receive()), [9]);
    }
}

#[test]
fn mqtt_3_8_4_3_a_new_subscription_replaces_the_identifier() {
    let broker = Broker::shared();
    let topic = unique("o");
    let mut subscriber = client(&broker);
    let mut publisher = client(&broker);
    subscribe_id(&mut subscriber, &topic, 1, 5);
    subscribe_id(&mut subscriber, &topic, 1, 6);
    publisher.publish(&topic, b"x", 1);
    assert_eq!(ids(&subscriber.receive()), [6]);
    subscriber.subscribe(&topic, 1);
    publisher.publish(&topic, b"x", 1);
    assert!(ids(&subscriber.receive()).is_empty());
}

#[test]
fn mqtt_4_1_identifiers_are_part_of_the_session() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("o"));
    let (mut before, _) = resume(&broker, &id);
    subscribe_id(&mut before, &topic, 1, 77);
    leave(before);
    let mut publisher = client(&broker);
    publisher.publish(&topic, b"queued", 1);
    let mut after = resume_present(&broker, &id);
    assert_eq!(ids(&after.receive()), [77]);
    publisher.publish(&topic, b"live", 1);
    assert_eq!(ids(&after.receive()), [77]);
}

#[test]
fn mqtt_3_3_4_3_a_publishers_own_subscription_does_not_leak_to_others() {
    let broker = Broker::shared();
    let topic = unique("o");
    let mut plain = client(&broker);
    plain.subscribe(&topic, 0);
    let mut marked = client(&broker);
    subscribe_id(&mut marked, &topic, 0, 3);
    marked.publish(&topic, b"x", 0);
    assert!(ids(&plain.receive()).is_empty());
    assert_eq!(ids(&marked.receive()), [3]);
}

#[test]
fn mqtt_4_5_0_1_every_matching_client_gets_its_copy() {
    let broker = Broker::shared();
    let topic = unique("o");
    let mut subscribers: Vec<_> = (0..10).map(|_| client(&broker)).collect();
    for (number, subscriber) in (0..).zip(&mut subscribers) {
        subscriber.subscribe(&topic, number % 3);
    }
    let (id, mut publisher) = (unique("c"), client(&broker));
    let (mut absent, _) = resume(&broker, &id);
    absent.subscribe(&topic, 1);
    leave(absent);
    publisher.publish(&topic, b"x", 2);
    for (number, subscriber) in (0..).zip(&mut subscribers) {
        assert_eq!(subscriber.receive().qos, number % 3);
    }
    assert_eq!(resume_present(&broker, &id).receive().payload, b"x");
}
