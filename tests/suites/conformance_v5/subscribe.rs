//! Chapters 3.8 and 3.9: SUBSCRIBE, its options, and SUBACK.

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, Value, unique,
    wire::{self, property},
};

use super::scene::{
    EITHER, MALFORMED, PROTOCOL_ERROR, client, nothing_before_marker, refuses, subscribe_id,
};

const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const NEVER: u8 = 0x20;

/// A SUBSCRIBE to one filter with these options and properties.
fn subscribe(properties: &Properties, options: u8) -> Vec<u8> {
    wire::subscribe(5, 1, properties, &[("t", options)])
}

#[test]
fn mqtt_3_8_1_1_other_flags_are_malformed() {
    let broker = Broker::shared();
    let body = &subscribe(&Properties::new(), 0)[2..];
    for flags in [0x0, 0x1, 0x3, 0x6, 0xA, 0xF] {
        refuses(&broker, &wire::frame(0x80 | flags, body), &[MALFORMED]);
    }
}

#[test]
fn mqtt_3_8_3_1_filters_of_any_text_are_taken() {
    let broker = Broker::shared();
    let mut client = client(&broker);
    for tail in ["\u{e9}", "\u{1f600}/+", " ", "a b/#", "\u{10fffd}", "$x"] {
        client.subscribe(&format!("{}/{tail}", unique("s")), 0);
    }
}

#[test]
fn mqtt_3_8_3_2_no_filter_is_a_protocol_error() {
    let broker = Broker::shared();
    let none = wire::subscribe(5, 1, &Properties::new(), &[]);
    refuses(&broker, &none, &[PROTOCOL_ERROR]);
    // A filter without its options, or with half its text.
    refuses(&broker, &wire::frame(0x82, &[0, 1, 0, 0, 1, b't']), EITHER);
    refuses(
        &broker,
        &wire::frame(0x82, &[0, 1, 0, 0, 9, b't', 0]),
        EITHER,
    );
}

#[test]
fn mqtt_3_8_3_3_no_local_keeps_a_clients_own_messages_from_it() {
    let broker = Broker::shared();
    let root = unique("s");
    let topic = format!("{root}/a");
    let mut local = client(&broker);
    local.subscribe(&format!("{root}/+"), NO_LOCAL | 2);
    let mut other = client(&broker);
    other.subscribe(&topic, 2);
    for qos in 0..3 {
        local.publish(&topic, b"own", qos);
        assert_eq!(other.receive().payload, b"own");
    }
    other.publish(&topic, b"foreign", 1);
    assert_eq!(local.receive().payload, b"foreign");
    // A second subscription that overlaps, and is not local, gives it after all.
    local.subscribe(&topic, 1);
    local.publish(&topic, b"both", 1);
    assert_eq!(local.receive().payload, b"both");
    nothing_before_marker(&mut local, &mut client(&broker));
}

#[test]
fn mqtt_3_8_3_3_no_local_is_about_the_client_and_not_the_connection() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("s"));
    let (mut before, _) = super::scene::resume(&broker, &id);
    before.subscribe(&topic, NO_LOCAL | 1);
    before.disconnect();
    let mut after = super::scene::resume_present(&broker, &id);
    after.publish(&topic, b"own", 1);
    nothing_before_marker(&mut after, &mut client(&broker));
}

#[test]
fn mqtt_3_8_3_4_no_local_on_a_shared_subscription_is_a_protocol_error() {
    let broker = Broker::shared();
    let filter = format!("$share/{}/t", unique("g"));
    let packet = wire::subscribe(5, 1, &Properties::new(), &[(&filter, NO_LOCAL)]);
    refuses(&broker, &packet, &[PROTOCOL_ERROR]);
    let second = wire::subscribe(5, 1, &Properties::new(), &[("t", 0), (&filter, NO_LOCAL)]);
    refuses(&broker, &second, &[PROTOCOL_ERROR]);
}

#[test]
fn mqtt_3_8_3_5_reserved_option_bits_are_malformed() {
    let broker = Broker::shared();
    for options in [0x40, 0x80, 0xC0, 0xC1] {
        refuses(
            &broker,
            &subscribe(&Properties::new(), options),
            &[MALFORMED],
        );
    }
}

#[test]
fn mqtt_3_8_3_1_1_qos_3_and_retain_handling_3_are_protocol_errors() {
    let broker = Broker::shared();
    for options in [0x03, 0x30, 0x33] {
        refuses(&broker, &subscribe(&Properties::new(), options), EITHER);
    }
}

#[test]
fn mqtt_3_8_2_1_2_a_bad_subscription_identifier_is_a_protocol_error() {
    let broker = Broker::shared();
    let id = property::SUBSCRIPTION_IDENTIFIER;
    let zero = Properties::new().var(id, 0);
    refuses(&broker, &subscribe(&zero, 0), &[PROTOCOL_ERROR]);
    let twice = Properties::new().var(id, 1).var(id, 2);
    refuses(&broker, &subscribe(&twice, 0), &[PROTOCOL_ERROR]);
    let mut client = client(&broker);
    for id in [1, 268_435_455] {
        subscribe_id(&mut client, &unique("s"), 0, id);
    }
}

#[test]
fn mqtt_3_8_4_1_subscribe_is_answered_with_suback() {
    let broker = Broker::shared();
    let mut client = client(&broker);
    let properties = Properties::new().user("a", "b").user("a", "b");
    let suback = client.subscribe_with(&properties, &[(&unique("s"), 1)]); // [MQTT-3.8.4-2]
    assert_eq!(suback.codes, [1]);
}

#[test]
fn mqtt_3_8_4_3_the_same_filter_again_replaces_the_subscription() {
    let broker = Broker::shared();
    let topic = unique("s");
    let mut subscriber = client(&broker);
    let mut publisher = client(&broker);
    for options in [2, RETAIN_AS_PUBLISHED, 1, NO_LOCAL | 2, 0] {
        subscriber.subscribe(&topic, NEVER | options);
        publisher.publish_retained(&topic, b"x", 2);
        let got = subscriber.receive();
        assert_eq!(got.qos, options & 3);
        assert_eq!(got.retain, options & RETAIN_AS_PUBLISHED != 0);
        nothing_before_marker(&mut subscriber, &mut publisher);
    }
    publisher.publish_retained(&topic, b"", 0);
}

#[test]
fn mqtt_3_8_4_4_no_message_is_lost_while_a_subscription_is_replaced() {
    let broker = Broker::shared();
    let topic = unique("s");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, NEVER | 1);
    let mut publisher = client(&broker);
    let count = 200u16;
    let burst: Vec<u8> = (1..=count)
        .flat_map(|id| {
            let publish = Publish::new(&topic, id.to_be_bytes());
            publish.qos(1, id).bytes(5)
        })
        .collect();
    for (index, half) in burst.chunks(burst.len() / 4 + 1).enumerate() {
        publisher.send(half);
        let options = if index % 2 == 0 { 1 } else { 2 };
        subscriber.subscribe(&topic, NEVER | options);
    }
    for number in 1..=count {
        assert_eq!(subscriber.receive().payload, number.to_be_bytes());
    }
}

#[test]
fn mqtt_3_8_4_5_several_filters_are_several_subscribes() {
    let broker = Broker::shared();
    let root = unique("s");
    let topics: Vec<_> = (0..20).map(|leaf| format!("{root}/{leaf}")).collect();
    let filters: Vec<_> = (0..)
        .zip(&topics)
        .map(|(n, topic)| (topic.as_str(), n % 3))
        .collect();
    let mut subscriber = client(&broker);
    let suback = subscriber.subscribe_with(&Properties::new(), &filters);
    // [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1]
    let granted: Vec<_> = filters.iter().map(|(_, qos)| *qos).collect();
    assert_eq!(suback.codes, granted);
    for (topic, qos) in filters {
        client(&broker).publish(topic, b"x", 2);
        let got = subscriber.receive();
        assert_eq!((got.topic.as_str(), got.qos), (topic, qos));
    }
}

#[test]
fn mqtt_3_8_4_5_the_last_of_two_equal_filters_counts() {
    let broker = Broker::shared();
    let topic = unique("s");
    let mut subscriber = client(&broker);
    let twice = [(topic.as_str(), 2), (topic.as_str(), 0)];
    let suback = subscriber.subscribe_with(&Properties::new(), &twice);
    assert_eq!(suback.codes, [2, 0]);
    client(&broker).publish(&topic, b"x", 2);
    assert_eq!(subscriber.receive().qos, 0);
}

#[test]
fn mqtt_3_9_3_1_codes_have_the_order_of_the_filters() {
    let broker = Broker::shared();
    let good = unique("s");
    let filters = [
        (good.as_str(), 1),
        ("bad#", 1),
        ("$share//bad", 1),
        (good.as_str(), 2),
    ];
    let mut client = client(&broker);
    client.send(&wire::subscribe(5, 1, &Properties::new(), &filters));
    let packet = client.recv();
    if packet.kind == wire::SUBACK {
        // [MQTT-3.9.3-2]
        assert_eq!(packet.suback(wire::SUBACK, 5).codes, [1, 0x8F, 0x8F, 2]);
    } else {
        assert!(
            Broker::is_foreign(),
            "GateMQ refuses the filter only: {packet:?}"
        );
    }
}

#[test]
fn mqtt_3_8_4_8_messages_come_at_the_lower_qos() {
    let broker = Broker::shared();
    for granted in 0..3 {
        let topic = unique("s");
        let mut subscriber = client(&broker);
        assert_eq!(subscriber.subscribe(&topic, granted), granted); // [MQTT-3.8.4-7]
        for published in 0..3 {
            client(&broker).publish(&topic, b"x", published);
            assert_eq!(subscriber.receive().qos, granted.min(published));
        }
    }
}

#[test]
fn mqtt_3_8_4_8_a_queued_message_comes_at_the_lower_qos() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("s"));
    let (mut before, _) = super::scene::resume(&broker, &id);
    before.subscribe(&topic, 1);
    before.disconnect();
    client(&broker).publish(&topic, b"x", 2);
    assert_eq!(super::scene::resume_present(&broker, &id).receive().qos, 1);
}

#[test]
fn mqtt_3_8_4_1_messages_may_come_before_suback_but_not_get_lost() {
    let broker = Broker::shared();
    let topic = unique("s");
    client(&broker).publish_retained(&topic, b"kept", 1);
    let mut subscriber = client(&broker);
    let subscribe = wire::subscribe(5, 1, &Properties::new(), &[(&topic, 1)]);
    let live = Publish::new(&topic, b"live").bytes(5);
    subscriber.send(&[subscribe, live].concat());
    subscriber.recv_kind(wire::SUBACK);
    let mut got = [subscriber.receive().payload, subscriber.receive().payload];
    got.sort();
    assert_eq!(got, [b"kept".to_vec(), b"live".to_vec()]);
}

#[test]
fn mqtt_4_6_0_5_a_retained_message_comes_before_a_later_one() {
    let broker = Broker::shared();
    let topic = unique("s");
    let mut client = client(&broker);
    // One client, one topic, one QoS.
    client.publish_retained(&topic, b"first", 1);
    let subscribe = wire::subscribe(5, 500, &Properties::new(), &[(&topic, 1)]);
    let second = Publish::new(&topic, b"second").qos(1, 501).bytes(5);
    client.send(&[subscribe, second].concat());
    client.recv_kind(wire::SUBACK);
    client.recv_kind(wire::PUBACK);
    assert_eq!(client.receive().payload, b"first");
    assert_eq!(client.receive().payload, b"second");
}

#[test]
fn mqtt_3_8_2_a_foreign_property_is_malformed() {
    let broker = Broker::shared();
    for (id, value) in [
        (property::SESSION_EXPIRY_INTERVAL, Value::Four(1)),
        (property::MESSAGE_EXPIRY_INTERVAL, Value::Four(1)),
        (property::REASON_STRING, Value::Text("x".to_owned())),
    ] {
        let packet = subscribe(&Properties::new().with(id, value), 0);
        refuses(&broker, &packet, &[MALFORMED]);
    }
}

/// Section 3.3.4: "the PUBLISH packet will carry multiple identical Subscription Identifiers".
#[test]
fn equal_identifiers_of_several_subscriptions_all_come() {
    let broker = Broker::shared();
    let root = unique("same");
    let mut subscriber = client(&broker);
    let id = Properties::new().var(property::SUBSCRIPTION_IDENTIFIER, 7);
    for filter in ["#", "+", "a"] {
        subscriber.subscribe_with(&id, &[(&format!("{root}/{filter}"), 1)]);
    }
    client(&broker).publish(&format!("{root}/a"), b"x", 1);
    let publish = subscriber.receive();
    assert_eq!(
        publish
            .properties
            .all(property::SUBSCRIPTION_IDENTIFIER)
            .len(),
        3
    );
    subscriber.expect_silence(50);
}

/// What is a protocol error is not done in part.
#[test]
fn a_subscribe_that_ends_the_connection_subscribes_to_nothing() {
    let broker = Broker::shared();
    let topic = unique("half");
    let connect = Connect::persistent(5, unique("half"));
    let mut subscriber = Client::connect(&broker, &connect).0;
    let filters = [(topic.as_str(), 1), ("$share/g/t", NO_LOCAL)];
    subscriber.send(&wire::subscribe(5, 1, &Properties::new(), &filters));
    subscriber.expect_disconnect(0x82);
    let mut subscriber = Client::connect(&broker, &connect).0;
    let none = subscriber.unsubscribe(&[&topic]);
    assert_eq!(none.codes, [0x11], "no subscription existed");
}
