//! Chapters 3.8 and 3.9: SUBSCRIBE and SUBACK.

use gatemq_tests::{Broker, Client, Properties, unique, wire};

use super::{client, subscribe_raw, violates};

#[test]
fn mqtt311_3_8_1_1_subscribe_with_other_flags_closes() {
    let body = [&[0, 1], &wire::text("a")[..], &[0]].concat();
    for flags in [0, 1, 3, 4, 6, 10, 15] {
        violates("flags", &wire::frame(0x80 | flags, &body)); // [MQTT-3.8.1-1]
    }
}

#[test]
fn mqtt311_3_8_3_3_subscribe_without_filter_closes() {
    violates("no filter", &wire::frame(0x82, &[0, 1])); // [MQTT-3.8.3-3]
    violates(
        "no QoS",
        &wire::frame(0x82, &[&[0, 1], &wire::text("a")[..]].concat()),
    );
}

#[test]
fn mqtt311_3_8_3_4_reserved_bits_and_qos_3_close() {
    for options in [3, 4, 8, 16, 32, 64, 128, 0xFF] {
        violates("options", &subscribe_raw(b"a", options)); // [MQTT-3.8.3-4]
    }
}

#[test]
fn mqtt311_3_8_4_1_subscribe_is_answered() {
    let broker = Broker::shared();
    let mut client = client(&broker);
    client.send(&wire::subscribe(
        4,
        7,
        &Default::default(),
        &[(&unique("t"), 1)],
    ));
    let suback = client.recv().suback(wire::SUBACK, 4);
    assert_eq!((suback.id, suback.codes), (7, vec![1])); // [MQTT-3.8.4-1] [MQTT-3.8.4-2]
}

#[test]
fn mqtt311_3_8_4_3_the_same_filter_replaces_the_subscription() {
    let broker = Broker::shared();
    let topic = unique("replace");
    client(&broker).publish_retained(&topic, "kept", 2);
    let mut subscriber = client(&broker);
    for qos in [2, 0, 1] {
        assert_eq!(subscriber.subscribe(&topic, qos), qos);
        let publish = subscriber.receive();
        assert_eq!((publish.qos, publish.retain), (qos, true)); // [MQTT-3.8.4-3]: sent again
    }
    let mut publisher = client(&broker);
    publisher.publish(&topic, "one", 2);
    publisher.publish(&topic, "two", 2);
    for payload in ["one", "two"] {
        let publish = subscriber.receive();
        assert_eq!((publish.payload, publish.qos), (payload.into(), 1)); // [MQTT-3.8.4-3]: once
    }
}

#[test]
fn mqtt311_3_8_4_4_many_filters_are_like_many_subscribes() {
    let broker = Broker::shared();
    let base = unique("many");
    let names: Vec<_> = (0..50).map(|number| format!("{base}/{number}")).collect();
    let filters: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let mut subscriber = client(&broker);
    let suback = subscriber.subscribe_with(&Default::default(), &filters);
    assert_eq!(suback.codes, vec![1; 50]); // [MQTT-3.8.4-4] [MQTT-3.8.4-5]
    let mut publisher = client(&broker);
    for name in &names {
        publisher.publish(name, "x", 1);
        assert_eq!(&subscriber.receive().topic, name);
    }
}

#[test]
fn mqtt311_3_8_4_4_a_filter_twice_in_one_subscribe_counts_as_the_last() {
    let broker = Broker::shared();
    let topic = unique("twice");
    let mut subscriber = client(&broker);
    let filters = [(topic.as_str(), 0), (&topic, 2), (&topic, 1)];
    let suback = subscriber.subscribe_with(&Default::default(), &filters);
    assert_eq!(suback.codes, [0, 2, 1]); // [MQTT-3.8.4-4]
    client(&broker).publish(&topic, "x", 2);
    assert_eq!(subscriber.receive().qos, 1);
}

#[test]
fn mqtt311_3_8_4_6_the_lower_qos_of_message_and_subscription_counts() {
    let broker = Broker::shared();
    let mut publisher = client(&broker);
    for granted in 0..3 {
        let topic = unique("minimum");
        let mut subscriber = client(&broker);
        assert_eq!(subscriber.subscribe(&topic, granted), granted); // [MQTT-3.8.4-5]
        for published in 0..3 {
            publisher.publish(&topic, "x", published);
            let qos = subscriber.receive().qos;
            assert_eq!(qos, granted.min(published), "{granted} {published}"); // [MQTT-3.8.4-6]
        }
    }
}

#[test]
fn mqtt311_3_9_3_1_codes_come_in_the_order_of_filters() {
    let broker = Broker::shared();
    let base = unique("order");
    let qos = [2, 0, 1, 1, 0, 2, 2];
    let names: Vec<_> = (0..qos.len())
        .map(|number| format!("{base}/{number}"))
        .collect();
    let filters: Vec<_> = names.iter().map(String::as_str).zip(qos).collect();
    let suback = client(&broker).subscribe_with(&Default::default(), &filters);
    assert_eq!(suback.codes, qos); // [MQTT-3.9.3-1] [MQTT-3.9.3-2]
}

#[test]
fn mqtt311_3_9_3_2_only_the_four_codes_are_used() {
    let broker = Broker::shared();
    let base = unique("codes");
    for filter in ["#", "+", "$SYS/#", "/", "//", "$share/g/x", "$other/x"] {
        let mut client = client(&broker);
        let filters = [(filter, 1), (base.as_str(), 2)];
        let suback = client.subscribe_with(&Default::default(), &filters);
        let legal = suback
            .codes
            .iter()
            .all(|code| [0, 1, 2, 0x80].contains(code));
        assert!(legal && suback.codes.len() == 2, "{filter}: {suback:02x?}"); // [MQTT-3.9.3-2]
    }
}

#[test]
fn mqtt311_3_8_3_2_filters_with_wildcards_are_refused_where_there_are_none() {
    let broker = Broker::builder()
        .config("limits: {wildcard-available: false}\n")
        .start();
    let mut subscriber = Client::v4(&broker, &unique("sub"));
    let filters = [("a/+/b", 1), ("a/#", 1), ("a/b", 1)];
    let suback = subscriber.subscribe_with(&Properties::new(), &filters);
    assert_eq!(suback.codes, [0x80, 0x80, 1]);
}
