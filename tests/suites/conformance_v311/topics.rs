//! Chapters 4.7 and 4.8: which filters are legal, what they match, and how errors end.

use std::time::{Duration, Instant};

use gatemq_tests::{Broker, Publish, unique, wire};

use super::{client, publish_raw, subscribe_raw, violates};

#[test]
fn mqtt311_4_7_1_2_the_multi_level_wildcard_stands_alone_at_the_end() {
    for filter in ["a#", "a/b#", "#/a", "a/#/b", "##", "#/", "a/##", "+#"] {
        violates(filter, &subscribe_raw(filter.as_bytes(), 0)); // [MQTT-4.7.1-2]
    }
}

#[test]
fn mqtt311_4_7_1_3_the_single_level_wildcard_is_a_level() {
    for filter in ["a+", "+a", "a/+b", "a/b+/c", "++", "a/++"] {
        violates(filter, &subscribe_raw(filter.as_bytes(), 0)); // [MQTT-4.7.1-3]
    }
}

#[test]
fn mqtt311_4_7_1_2_and_3_wildcards_match_as_the_standard_says() {
    // Filter, topics that match, topics that do not; each below a level of its own.
    let cases: [(&str, &[&str], &[&str]); 10] = [
        ("#", &["a", "a/b", "a//b", "/"], &[]),
        ("a/#", &["a", "a/b", "a/b/c", "a/"], &["b", "ab", "ab/c"]),
        ("+", &["a", "b", "$c"], &["a/b", "/a"]),
        ("a/+", &["a/b", "a/"], &["a", "a/b/c"]),
        ("+/+", &["a/b", "/b", "a/", "/"], &["a", "a/b/c"]),
        ("/+", &["/a", "/"], &["a", "a/b"]),
        ("+/b/#", &["a/b", "a/b/c", "/b"], &["b", "a/c/b"]),
        ("a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/c/d", "a/b/b/c"]),
        ("a b/ü", &["a b/ü"], &["a  b/ü", "A b/ü", "a b/u\u{308}"]),
        ("a//b", &["a//b"], &["a/b", "a///b"]),
    ];
    let broker = Broker::shared();
    let mut publisher = client(&broker);
    for (filter, matching, others) in cases {
        let base = unique("wild");
        let mut subscriber = client(&broker);
        subscriber.subscribe(&format!("{base}/{filter}"), 1); // [MQTT-4.7.1-3]
        for topic in others.iter().chain(matching) {
            publisher.publish(&format!("{base}/{topic}"), "x", 1);
        }
        for topic in matching {
            let found = subscriber.receive().topic;
            assert_eq!(found, format!("{base}/{topic}"), "{filter}"); // [MQTT-4.7.1-2]
        }
    }
}

#[test]
fn mqtt311_4_7_2_1_leading_wildcards_do_not_match_dollar_topics() {
    let broker = Broker::shared();
    let base = unique("dollar");
    let (own, system) = (format!("{base}/x"), format!("${base}/x"));
    for filter in ["#", "+/x", "+/#"] {
        let mut subscriber = client(&broker);
        subscriber.subscribe(filter, 0);
        let mut publisher = client(&broker);
        publisher.publish(&system, "x", 1);
        publisher.publish(&own, "x", 1);
        let mut topic = String::new();
        while topic != own {
            topic = subscriber.receive().topic;
            assert!(!topic.starts_with('$'), "{filter} matched {topic}"); // [MQTT-4.7.2-1]
        }
    }
}

#[test]
fn mqtt311_4_7_2_1_retained_dollar_topics_stay_hidden() {
    let broker = Broker::shared();
    let mut subscriber = client(&broker);
    subscriber.subscribe("+/+", 0);
    subscriber.subscribe("#", 0);
    subscriber.ping();
    // Other tests publish meanwhile: a time, not silence, is the end.
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        if let Some(packet) = subscriber.recv_within(Duration::from_millis(50)) {
            let topic = packet.publish(4).topic;
            assert!(!topic.starts_with('$'), "{topic}"); // [MQTT-4.7.2-1]
        }
    }
}

#[test]
fn mqtt311_4_7_3_1_topics_and_filters_have_a_character() {
    violates("topic", &publish_raw(b"")); // [MQTT-4.7.3-1]
    violates("filter", &subscribe_raw(b"", 0));
    violates("unsubscribe", &wire::frame(0xA2, &[0, 1, 0, 0]));
}

#[test]
fn mqtt311_4_7_3_3_a_topic_of_64_kib_is_taken_or_closes() {
    let broker = Broker::shared();
    let topic = "t".repeat(65_535);
    let mut client = client(&broker);
    client.send(&Publish::new(&topic, "x").qos(1, 1).bytes(4)); // [MQTT-4.7.3-3]
    match client.recv_within(Duration::from_secs(5)) {
        Some(packet) => assert_eq!(packet.ack(wire::PUBACK, 4).id, 1),
        None => client.expect_closed(),
    }
}

#[test]
fn mqtt311_4_7_3_4_topics_are_not_normalized() {
    let broker = Broker::shared();
    let base = unique("norm");
    // The same to a reader, different to a broker: composed and decomposed, case, slashes, spaces.
    let names = [
        "ä", "a\u{308}", "Ä", "ä/", "/ä", "ä ", " ä", "Ａ", "A", "%41",
    ];
    let mut publisher = client(&broker);
    for subscribed in names {
        let filter = format!("{base}{subscribed}");
        let mut subscriber = client(&broker);
        subscriber.subscribe(&filter, 1);
        for published in names.iter().filter(|published| **published != subscribed) {
            publisher.publish(&format!("{base}{published}"), "other", 1);
        }
        publisher.publish(&filter, "same", 1);
        let publish = subscriber.receive();
        assert_eq!((publish.topic, publish.payload), (filter, b"same".to_vec())); // [MQTT-4.7.3-4]
    }
}

#[test]
fn mqtt311_4_8_0_1_a_protocol_violation_closes_only_its_connection() {
    let broker = Broker::shared();
    let mut bystander = client(&broker);
    violates("reserved type", &[0xF0, 0]); // [MQTT-4.8.0-1]
    violates("QoS 3", &Publish::new("a", "x").qos(3, 1).bytes(4));
    bystander.ping();
}

#[test]
fn mqtt311_7_1_1_1_tcp_carries_packets_cut_anywhere() {
    let broker = Broker::shared();
    let topic = unique("stream");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 1);
    let mut publisher = client(&broker);
    let bytes = Publish::new(&topic, "in pieces").qos(1, 1).bytes(4);
    for byte in bytes {
        publisher.send(&[byte]); // [MQTT-7.1.1-1]
    }
    publisher.expect_ack(wire::PUBACK, 1);
    assert_eq!(subscriber.receive().payload, b"in pieces"); // [MQTT-7.0.0-2]
}
