//! Chapter 4.6: messages keep their order.

use gatemq_tests::{
    Broker, Connect, Publish, unique,
    wire::{self, property},
};

use super::scene::{client, leave, receive_texts, resume, resume_present, session_expiry};

/// Below the Receive Maximum that GateMQ has by default.
const COUNT: u16 = 300;

/// `0`, `1` ... as payloads.
fn numbers(count: u16) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// COUNT messages of one QoS in one write.
fn burst(topic: &str, qos: u8) -> Vec<u8> {
    (0..COUNT)
        .flat_map(|number| {
            let publish = Publish::new(topic, number.to_string());
            let publish = if qos > 0 {
                publish.qos(qos, number + 1)
            } else {
                publish
            };
            publish.bytes(5)
        })
        .collect()
}

#[test]
fn mqtt_4_6_0_5_messages_arrive_in_the_order_of_their_publisher() {
    let broker = Broker::shared();
    for qos in 0..3 {
        let topic = unique("o");
        let mut subscribers = [client(&broker), client(&broker)];
        for subscriber in &mut subscribers {
            subscriber.subscribe(&topic, 2);
        }
        let mut publisher = client(&broker);
        publisher.send(&burst(&topic, qos));
        for subscriber in &mut subscribers {
            assert_eq!(receive_texts(subscriber, COUNT.into()), numbers(COUNT));
        }
    }
}

#[test]
fn mqtt_4_6_0_6_every_topic_is_ordered_also_through_a_wildcard() {
    let broker = Broker::shared();
    let root = unique("o");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&format!("{root}/#"), 1);
    let topics = [format!("{root}/a"), format!("{root}/b")];
    let mut publishers = [client(&broker), client(&broker)];
    for (publisher, topic) in publishers.iter_mut().zip(&topics) {
        publisher.send(&burst(topic, 1));
    }
    let mut seen = [Vec::new(), Vec::new()];
    for _ in 0..2 * COUNT {
        let got = subscriber.receive();
        let payload = String::from_utf8(got.payload).expect("a number");
        seen[usize::from(got.topic == topics[1])].push(payload);
    }
    assert_eq!(seen, [numbers(COUNT), numbers(COUNT)]);
}

#[test]
fn mqtt_4_6_0_5_queued_and_live_messages_keep_their_order() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("o"));
    let (mut before, _) = resume(&broker, &id);
    before.subscribe(&topic, 1);
    leave(before);
    let mut publisher = client(&broker);
    let expected = numbers(120);
    for payload in &expected[..60] {
        publisher.publish(&topic, payload, 1);
    }
    // The client comes back while the publisher goes on.
    let mut after = resume_present(&broker, &id);
    for (number, payload) in (61..).zip(&expected[60..]) {
        publisher.send(&Publish::new(&topic, payload).qos(1, number).bytes(5));
    }
    assert_eq!(receive_texts(&mut after, 120), expected);
}

#[test]
fn mqtt_4_6_0_5_order_holds_over_a_broken_connection_and_a_small_window() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("o"));
    let properties = session_expiry(60).two(property::RECEIVE_MAXIMUM, 3);
    let connect = Connect::persistent(5, &id).properties(properties);
    let (mut subscriber, _) = gatemq_tests::Client::connect(&broker, &connect);
    subscriber.subscribe(&topic, 1);
    let mut publisher = client(&broker);
    let expected = numbers(30);
    for payload in &expected {
        publisher.publish(&topic, payload, 1);
    }
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        for _ in 0..4 {
            if seen.len() < expected.len() {
                seen.extend(receive_texts(&mut subscriber, 1));
            }
        }
        // So that the broker has seen the acknowledgements before the connection breaks.
        subscriber.ping();
        subscriber.cut();
        subscriber = gatemq_tests::Client::connect(&broker, &connect).0;
    }
    assert_eq!(seen, expected);
}

#[test]
fn mqtt_4_6_0_5_pubrels_are_sent_again_in_order() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("o"));
    let (mut before, _) = resume(&broker, &id);
    before.subscribe(&topic, 2);
    let mut publisher = client(&broker);
    let mut ids = Vec::new();
    for payload in numbers(5) {
        publisher.publish(&topic, payload, 2);
        ids.push(before.expect_publish().id.expect("QoS 2 has an id"));
    }
    for packet in &ids {
        before.send(&wire::ack(wire::PUBREC, *packet));
        before.expect_ack(wire::PUBREL, *packet);
    }
    before.cut();
    let mut after = resume_present(&broker, &id);
    for packet in ids {
        let again = after.recv().expect(wire::PUBREL).ack(wire::PUBREL, 5);
        assert_eq!(again.id, packet);
    }
}

#[test]
fn mqtt_4_6_0_5_acknowledgements_come_in_the_order_of_the_publishes() {
    let broker = Broker::shared();
    for (qos, kind) in [(1, wire::PUBACK), (2, wire::PUBREC)] {
        let mut publisher = client(&broker);
        publisher.send(&burst(&unique("o"), qos));
        for id in 1..=COUNT {
            assert_eq!(publisher.recv().ack(kind, 5).id, id);
        }
    }
}
