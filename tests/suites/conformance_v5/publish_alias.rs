//! Chapter 3.3.2.3.4: topic aliases, from the client and towards it.

use std::collections::HashMap;

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, unique,
    wire::{self, property},
};

use super::scene::{
    EITHER, PROTOCOL_ERROR, client, client_with, ends, nothing_before_marker, refuses,
};

fn alias(number: u16) -> Properties {
    Properties::new().two(property::TOPIC_ALIAS, number)
}

/// A client, and how many aliases the broker takes from it.
#[track_caller]
fn client_and_maximum(broker: &Broker) -> (Client, u16) {
    let (client, connack) = Client::connect(broker, &Connect::new(5, unique("c")));
    let maximum = connack.properties.number(property::TOPIC_ALIAS_MAXIMUM);
    (
        client,
        u16::try_from(maximum.unwrap_or(0)).expect("two bytes"),
    )
}

#[test]
fn mqtt_3_3_2_7_aliases_end_with_the_connection() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("a"));
    let (mut first, _) = super::scene::resume(&broker, &id);
    first.publish_packet(Publish::new(&topic, b"x").properties(alias(1)));
    super::scene::leave(first);
    let mut second = super::scene::resume_present(&broker, &id);
    second.send(&Publish::new("", b"x").properties(alias(1)).bytes(5));
    ends(&mut second, &[PROTOCOL_ERROR]);
}

#[test]
fn mqtt_3_3_2_8_an_alias_of_0_is_refused() {
    let broker = Broker::shared();
    let codes = &[EITHER, &[0x94]].concat();
    for topic in ["t", ""] {
        let publish = Publish::new(topic, b"x").properties(alias(0));
        refuses(&broker, &publish.bytes(5), codes);
    }
}

#[test]
fn mqtt_3_3_2_9_an_alias_above_the_maximum_is_refused() {
    let broker = Broker::shared();
    let (_, maximum) = client_and_maximum(&broker);
    for number in [maximum.saturating_add(1), 65_535] {
        let publish = Publish::new("t", b"x").properties(alias(number));
        refuses(&broker, &publish.bytes(5), &[0x94]); // [MQTT-3.2.2-17] [MQTT-3.2.2-18]
    }
}

#[test]
fn mqtt_3_3_2_12_every_alias_up_to_the_maximum_is_taken() {
    let broker = Broker::shared();
    let root = unique("a");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&format!("{root}/#"), 1);
    let (mut publisher, maximum) = client_and_maximum(&broker);
    assert!(maximum > 0, "GateMQ takes aliases");
    for number in 1..=maximum {
        let topic = format!("{root}/{number}");
        publisher.publish_packet(Publish::new(&topic, b"set").properties(alias(number)));
        let got = subscriber.receive();
        assert_eq!((got.topic, got.payload), (topic, b"set".to_vec()));
        assert!(
            !got.properties.has(property::TOPIC_ALIAS),
            "it is the publisher's"
        );
    }
    for number in (1..=maximum).rev() {
        let mut publish = Publish::new("", b"used").properties(alias(number));
        publish.qos = u8::from(number % 2 == 0);
        publisher.publish_packet(publish);
        let got = subscriber.receive();
        assert_eq!(got.topic, format!("{root}/{number}"));
    }
}

#[test]
fn mqtt_3_3_2_3_4_an_alias_can_be_given_another_topic() {
    let broker = Broker::shared();
    let root = unique("a");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&format!("{root}/#"), 0);
    let mut publisher = client(&broker);
    let (one, two) = (format!("{root}/1"), format!("{root}/2"));
    for (topic, expected) in [(&one[..], &one), ("", &one), (&two, &two), ("", &two)] {
        publisher.publish_packet(Publish::new(topic, b"x").properties(alias(1)));
        assert_eq!(subscriber.receive().topic, *expected);
    }
}

#[test]
fn mqtt_3_3_2_3_4_an_alias_that_was_never_set_is_a_protocol_error() {
    let broker = Broker::shared();
    refuses(
        &broker,
        &Publish::new("", b"x").properties(alias(1)).bytes(5),
        &[PROTOCOL_ERROR],
    );
    // Aliases of one client mean nothing to another.
    let topic = unique("a");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 0);
    let mut one = client(&broker);
    one.publish_packet(Publish::new(&topic, b"x").qos(1, 1).properties(alias(1)));
    subscriber.receive();
    refuses(
        &broker,
        &Publish::new("", b"y").properties(alias(1)).bytes(5),
        &[PROTOCOL_ERROR],
    );
    nothing_before_marker(&mut subscriber, &mut one);
}

#[test]
fn mqtt_3_1_2_27_no_aliases_to_a_client_that_takes_none() {
    let broker = Broker::shared();
    for properties in [
        Properties::new(),
        Properties::new().two(property::TOPIC_ALIAS_MAXIMUM, 0),
    ] {
        let topic = unique("a");
        let mut subscriber = client_with(&broker, properties);
        subscriber.subscribe(&topic, 1);
        let mut publisher = client(&broker);
        for qos in [0, 1, 0, 1, 0] {
            publisher.publish(&topic, b"x", qos);
            let got = subscriber.receive();
            assert_eq!(got.topic, topic);
            assert!(!got.properties.has(property::TOPIC_ALIAS), "{got:?}");
        }
    }
}

#[test]
fn mqtt_3_1_2_26_aliases_to_a_client_stay_within_its_maximum() {
    let broker = Broker::shared();
    for maximum in [1, 2, 65_535] {
        let root = unique("a");
        let properties = Properties::new().two(property::TOPIC_ALIAS_MAXIMUM, maximum);
        let mut subscriber = client_with(&broker, properties);
        subscriber.subscribe(&format!("{root}/#"), 1);
        let mut publisher = client(&broker);
        let mut known = HashMap::new();
        for round in 0..4 {
            for leaf in 0..5 {
                let topic = format!("{root}/{leaf}");
                publisher.publish(&topic, b"x", round % 2);
                let got = subscriber.receive();
                // [MQTT-3.3.2-11]
                assert_eq!(resolve(&got, maximum, &mut known), topic);
            }
        }
    }
}

/// The topic of a PUBLISH from the broker, by the aliases that it set.
#[track_caller]
fn resolve(publish: &Publish, maximum: u16, known: &mut HashMap<u32, String>) -> String {
    let Some(alias) = publish.properties.number(property::TOPIC_ALIAS) else {
        return publish.topic.clone();
    };
    assert!(
        alias > 0 && alias <= u32::from(maximum),
        "[MQTT-3.3.2-8] {publish:?}"
    );
    if publish.topic.is_empty() {
        let topic = known.get(&alias);
        return topic
            .unwrap_or_else(|| panic!("never set: {publish:?}"))
            .clone();
    }
    known.insert(alias, publish.topic.clone());
    publish.topic.clone()
}

#[test]
fn mqtt_3_1_2_25_a_message_that_is_too_large_sets_no_alias() {
    let broker = Broker::shared();
    let topic = unique("a");
    let properties = Properties::new()
        .two(property::TOPIC_ALIAS_MAXIMUM, 10)
        .four(property::MAXIMUM_PACKET_SIZE, 100);
    let mut subscriber = client_with(&broker, properties);
    subscriber.subscribe(&topic, 0);
    let mut publisher = client(&broker);
    publisher.publish(&topic, vec![b'x'; 200], 0);
    publisher.publish(&topic, b"small", 0);
    publisher.publish(&topic, b"small", 0);
    let mut known = HashMap::new();
    for _ in 0..2 {
        assert_eq!(resolve(&subscriber.receive(), 10, &mut known), topic);
    }
}

#[test]
fn mqtt_3_3_2_7_aliases_to_a_client_end_with_the_connection() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("a"));
    let properties = super::scene::session_expiry(60).two(property::TOPIC_ALIAS_MAXIMUM, 10);
    let connect = Connect::persistent(5, &id).properties(properties);
    let mut publisher = client(&broker);
    for connection in 0..3 {
        let (mut subscriber, _) = Client::connect(&broker, &connect);
        if connection == 0 {
            subscriber.subscribe(&topic, 1);
        }
        let mut known = HashMap::new();
        for _ in 0..3 {
            publisher.publish(&topic, b"x", 1);
            let got = subscriber.expect_publish();
            assert_eq!(resolve(&got, 10, &mut known), topic);
            subscriber.acknowledge(&got);
        }
        // One is left unacknowledged: sent again, its alias must be set again.
        publisher.publish(&topic, b"again", 1);
        let got = subscriber.expect_publish();
        assert_eq!(resolve(&got, 10, &mut known), topic);
        subscriber.cut();
        let (mut back, _) = Client::connect(&broker, &connect);
        let got = back.expect_publish();
        assert_eq!(resolve(&got, 10, &mut HashMap::new()), topic);
        back.acknowledge(&got);
        back.send(&wire::disconnect());
        back.until_closed();
    }
}
