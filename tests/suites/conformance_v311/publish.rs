//! Chapter 3.3: PUBLISH in both directions, but for RETAIN.

use gatemq_tests::{Broker, Client, Publish, unique, wire};

use super::{client, keeper, publish_raw, resume, violates};

#[test]
fn mqtt311_3_3_1_1_a_resend_is_marked() {
    let broker = Broker::shared();
    let topic = unique("dup");
    for qos in [1, 2] {
        let (mut subscriber, id) = keeper(&broker);
        subscriber.subscribe(&topic, qos);
        client(&broker).publish(&topic, "x", qos);
        let first = subscriber.expect_publish();
        assert!(!first.dup); // [MQTT-4.3.2-1] [MQTT-4.3.3-1]
        subscriber.cut();
        let mut subscriber = resume(&broker, &id);
        let again = subscriber.receive();
        assert!(again.dup); // [MQTT-3.3.1-1]
        assert_eq!((again.id, again.payload), (first.id, first.payload)); // [MQTT-4.4.0-1]
        subscriber.unsubscribe(&[&topic]);
    }
}

#[test]
fn mqtt311_3_3_1_2_qos_0_is_sent_without_dup() {
    let broker = Broker::shared();
    let topic = unique("dup");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    client(&broker).publish(&topic, "x", 0);
    let publish = subscriber.receive();
    assert_eq!((publish.qos, publish.dup), (0, false)); // [MQTT-3.3.1-2] [MQTT-4.3.1-1]
}

#[test]
fn mqtt311_3_3_1_3_dup_is_not_passed_on() {
    let broker = Broker::shared();
    let topic = unique("dup");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    let mut publisher = client(&broker);
    for qos in [1, 2] {
        publisher.publish_packet(Publish::new(&topic, "x").qos(qos, 77).dup());
        let publish = subscriber.receive();
        assert_eq!((publish.qos, publish.dup), (qos, false)); // [MQTT-3.3.1-3]
    }
}

#[test]
fn mqtt311_3_3_1_4_qos_3_closes() {
    violates("QoS 3", &Publish::new("a", "x").qos(3, 1).bytes(4)); // [MQTT-3.3.1-4]
}

#[test]
fn mqtt311_3_3_2_1_a_publish_without_topic_closes() {
    violates("empty", &wire::frame(0x30, &[])); // [MQTT-3.3.2-1]
    violates("half a length", &wire::frame(0x30, &[0]));
    violates("longer than the packet", &wire::frame(0x30, &[0, 9, b'a']));
    violates("no packet id", &wire::frame(0x32, &wire::text("a")));
    violates(
        "half a packet id",
        &wire::frame(0x32, &[&wire::text("a")[..], &[1]].concat()),
    );
}

#[test]
fn mqtt311_3_3_2_2_a_topic_with_wildcard_closes() {
    for topic in ["#", "+", "a/#", "a/+/b", "a#", "a+b"] {
        violates(topic, &publish_raw(topic.as_bytes())); // [MQTT-3.3.2-2] [MQTT-4.7.1-1]
    }
}

#[test]
fn mqtt311_3_3_2_3_the_topic_of_a_delivery_matches_the_filter() {
    let broker = Broker::shared();
    let base = unique("match");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&format!("{base}/+/x"), 0);
    let mut publisher = client(&broker);
    for topic in ["a/y", "a/x", "x", "a/b/x", "/x", "b/x"] {
        publisher.publish(&format!("{base}/{topic}"), "x", 1);
    }
    for topic in ["a/x", "/x", "b/x"] {
        assert_eq!(subscriber.receive().topic, format!("{base}/{topic}")); // [MQTT-3.3.2-3]
    }
}

#[test]
fn mqtt311_3_3_4_1_each_qos_has_its_answer() {
    let broker = Broker::shared();
    let mut publisher = client(&broker);
    publisher.send(&Publish::new("answer", "x").bytes(4));
    publisher.ping(); // [MQTT-3.3.4-1]: QoS 0 has no answer before the ping's.
    publisher.send(&Publish::new("answer", "x").qos(1, 5).bytes(4));
    assert_eq!(publisher.recv().ack(wire::PUBACK, 4).id, 5);
    publisher.send(&Publish::new("answer", "x").qos(2, 6).bytes(4));
    assert_eq!(publisher.recv().ack(wire::PUBREC, 4).id, 6);
}

#[test]
fn mqtt311_3_3_5_1_overlapping_filters_deliver_with_the_highest_qos() {
    let broker = Broker::shared();
    let base = unique("overlap");
    let (all, one, exact) = (
        format!("{base}/#"),
        format!("{base}/+"),
        format!("{base}/t"),
    );
    let mut publisher = client(&broker);
    for filters in [
        [(all.as_str(), 0), (&one, 1), (&exact, 2)],
        [(all.as_str(), 2), (&one, 0), (&exact, 1)],
        [(all.as_str(), 1), (&one, 2), (&exact, 0)],
    ] {
        let mut subscriber = client(&broker);
        subscriber.subscribe_with(&Default::default(), &filters);
        publisher.publish(&exact, "x", 2);
        assert_eq!(subscriber.receive().qos, 2, "{filters:?}"); // [MQTT-3.3.5-1]
    }
}

#[test]
fn overlapping_filters_deliver_once() {
    let broker = Broker::shared();
    let base = unique("overlap");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&format!("{base}/#"), 1);
    subscriber.subscribe(&format!("{base}/+"), 1);
    let mut publisher = client(&broker);
    publisher.publish(&format!("{base}/a"), "one", 1);
    publisher.publish(&format!("{base}/a"), "two", 1);
    assert_eq!(subscriber.receive().payload, b"one");
    assert_eq!(subscriber.receive().payload, b"two");
}

#[test]
fn mqtt311_3_3_5_2_a_forbidden_publish_is_acknowledged_and_dropped() {
    let broker = Broker::shared();
    let topic = format!("$SYS/{}", unique("forbidden"));
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 0);
    let mut publisher = client(&broker);
    for qos in 0..3 {
        publisher.publish(&topic, "x", qos); // [MQTT-3.3.5-2]
    }
    publisher.ping();
    subscriber.expect_silence(200);
}

#[test]
fn mqtt311_3_6_1_1_pubrel_with_other_flags_closes() {
    for flags in [0, 1, 3, 4, 6, 8, 10, 15] {
        let broker = Broker::shared();
        let mut publisher = client(&broker);
        publisher.send(&Publish::new("pubrel", "x").qos(2, 1).bytes(4));
        publisher.expect_ack(wire::PUBREC, 1);
        publisher.send(&wire::frame(0x60 | flags, &[0, 1]));
        publisher.expect_closed(); // [MQTT-3.6.1-1]
    }
}

#[test]
fn mqtt311_3_12_4_1_pingreq_is_answered() {
    let broker = Broker::shared();
    let mut client: Client = client(&broker);
    for _ in 0..3 {
        client.ping(); // [MQTT-3.12.4-1]
    }
}

#[test]
fn payloads_of_any_size_arrive_unchanged() {
    let broker = Broker::shared();
    let topic = unique("size");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 1);
    let mut publisher = client(&broker);
    for size in [0, 1, 126, 127, 128, 16_383, 16_384, 100_000] {
        let payload: Vec<u8> = (0..=255).cycle().take(size).collect();
        publisher.publish(&topic, &payload, 1);
        assert!(subscriber.receive().payload == payload, "{size} bytes");
    }
}
