//! Chapter 3.10: UNSUBSCRIBE and UNSUBACK.

use gatemq_tests::{Broker, unique, wire};

use super::{client, violates};

#[test]
fn mqtt311_3_10_1_1_unsubscribe_with_other_flags_closes() {
    let body = [&[0, 1], &wire::text("a")[..]].concat();
    for flags in [0, 1, 3, 4, 6, 10, 15] {
        violates("flags", &wire::frame(0xA0 | flags, &body)); // [MQTT-3.10.1-1]
    }
}

#[test]
fn mqtt311_3_10_3_2_unsubscribe_without_filter_closes() {
    violates("no filter", &wire::frame(0xA2, &[0, 1])); // [MQTT-3.10.3-2]
}

#[test]
fn mqtt311_3_10_4_1_filters_are_compared_by_character() {
    let broker = Broker::shared();
    let base = unique("compare");
    let topic = format!("{base}/a");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 1);
    let upper = topic.to_uppercase();
    for other in ["+", "#", "A", "a/", "a/#", "/a", ""] {
        subscriber.unsubscribe(&[&format!("{base}/{other}")]); // [MQTT-3.10.4-5]
    }
    subscriber.unsubscribe(&[&upper, "#"]);
    let mut publisher = client(&broker);
    publisher.publish(&topic, "still", 1);
    assert_eq!(subscriber.receive().payload, b"still"); // [MQTT-3.10.4-1]
    subscriber.unsubscribe(&[&topic]);
    subscriber.subscribe(&base, 1);
    publisher.publish(&topic, "no longer", 1);
    publisher.publish(&base, "marker", 1);
    assert_eq!(subscriber.receive().payload, b"marker"); // [MQTT-3.10.4-1]
}

#[test]
fn mqtt311_3_10_4_1_a_wildcard_filter_is_removed_by_its_own_text() {
    let broker = Broker::shared();
    let base = unique("compare");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&format!("{base}/+"), 1);
    subscriber.subscribe(&format!("{base}/b"), 1);
    subscriber.unsubscribe(&[&format!("{base}/+")]);
    let mut publisher = client(&broker);
    publisher.publish(&format!("{base}/a"), "no longer", 1);
    publisher.publish(&format!("{base}/b"), "still", 1);
    assert_eq!(subscriber.receive().payload, b"still"); // [MQTT-3.10.4-1]
}

#[test]
fn mqtt311_3_10_4_2_nothing_new_is_delivered_after_unsuback() {
    let broker = Broker::shared();
    let topic = unique("stop");
    let (mut subscriber, mut publisher) = (client(&broker), client(&broker));
    for qos in 0..3 {
        subscriber.subscribe(&topic, qos);
        assert!(subscriber.unsubscribe(&[&topic]).codes.is_empty());
        publisher.publish(&topic, "no longer", qos);
        publisher.ping();
    }
    subscriber.ping();
    subscriber.expect_silence(100); // [MQTT-3.10.4-2]
}

#[test]
fn mqtt311_3_10_4_3_a_delivery_that_began_is_completed() {
    let broker = Broker::shared();
    let topic = unique("begun");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    let mut publisher = client(&broker);
    publisher.publish(&topic, "one", 1);
    publisher.publish(&topic, "two", 2);
    let (one, two) = (subscriber.expect_publish(), subscriber.expect_publish());
    subscriber.unsubscribe(&[&topic]);
    subscriber.acknowledge(&one);
    subscriber.acknowledge(&two); // [MQTT-3.10.4-3]: PUBREL comes although unsubscribed.
    subscriber.ping();
}

#[test]
fn mqtt311_3_10_4_4_unsubscribe_is_answered_with_its_id() {
    let broker = Broker::shared();
    let topic = unique("answer");
    let mut client = client(&broker);
    client.subscribe(&topic, 0);
    client.send(&wire::unsubscribe(4, 4_660, &Default::default(), &[&topic]));
    let unsuback = client.recv().suback(wire::UNSUBACK, 4);
    assert_eq!((unsuback.id, unsuback.codes), (4_660, vec![])); // [MQTT-3.10.4-4]
}

#[test]
fn mqtt311_3_10_4_5_unsubscribing_nothing_is_answered() {
    let broker = Broker::shared();
    let mut client = client(&broker);
    client.unsubscribe(&[&unique("never")]); // [MQTT-3.10.4-5]
}

#[test]
fn mqtt311_3_10_4_6_many_filters_get_one_unsuback() {
    let broker = Broker::shared();
    let base = unique("many");
    let [a, b, c] = ["a", "b", "c"].map(|name| format!("{base}/{name}"));
    let mut subscriber = client(&broker);
    for filter in [&a, &b, &c] {
        subscriber.subscribe(filter, 1);
    }
    subscriber.unsubscribe(&[&a, "never/subscribed", &c]);
    let mut publisher = client(&broker);
    for topic in [&a, &c, &b] {
        publisher.publish(topic, "x", 1);
    }
    assert_eq!(subscriber.receive().topic, b); // [MQTT-3.10.4-6]
    subscriber.ping();
}
