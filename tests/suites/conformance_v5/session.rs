//! Chapters 4.1, 4.4 and 4.5: what a session keeps, and what is sent again on resuming it.

use gatemq_tests::{
    Broker, Client, Properties, unique,
    wire::{self},
};

use super::scene::{
    client, leave, nothing_before_marker, receive_texts, resume, resume_present, send_publish,
};

/// A session that subscribes to a new topic at QoS 2.
#[track_caller]
fn subscribed(broker: &Broker) -> (Client, String, String) {
    let (id, topic) = (unique("c"), unique("s"));
    let (mut client, _) = resume(broker, &id);
    client.subscribe(&topic, 2);
    (client, id, topic)
}

#[test]
fn mqtt_4_4_0_1_unacknowledged_publishes_are_sent_again_with_their_ids() {
    let broker = Broker::shared();
    let (mut before, id, topic) = subscribed(&broker);
    let mut publisher = client(&broker);
    for (payload, qos) in [("a", 1), ("b", 2), ("c", 1), ("d", 2)] {
        publisher.publish(&topic, payload, qos);
    }
    let sent: Vec<_> = (0..4).map(|_| before.expect_publish()).collect();
    before.cut();
    // As often as it takes.
    for _ in 0..2 {
        let mut after = resume_present(&broker, &id);
        for first in &sent {
            let again = after.expect_publish();
            assert!(again.dup && !first.dup, "{again:?}");
            assert_eq!((again.id, again.qos), (first.id, first.qos));
            assert_eq!(again.payload, first.payload); // in their order
        }
        after.cut();
    }
    // And not once more when they are acknowledged. [MQTT-4.3.2-3]
    let mut after = resume_present(&broker, &id);
    for _ in 0..4 {
        let publish = after.expect_publish();
        after.acknowledge(&publish);
    }
    leave(after);
    let mut after = resume_present(&broker, &id);
    nothing_before_marker(&mut after, &mut publisher);
}

#[test]
fn mqtt_4_4_0_1_an_unacknowledged_pubrel_is_sent_again() {
    let broker = Broker::shared();
    let (mut before, id, topic) = subscribed(&broker);
    client(&broker).publish(&topic, b"x", 2);
    let packet = before.expect_publish().id.expect("QoS 2 has an id");
    before.send(&wire::ack(wire::PUBREC, packet));
    before.expect_ack(wire::PUBREL, packet);
    before.cut();
    for _ in 0..2 {
        let mut after = resume_present(&broker, &id);
        // PUBREL, and no PUBLISH. [MQTT-4.3.3-5] [MQTT-4.3.3-6]
        let again = after.recv().expect(wire::PUBREL).ack(wire::PUBREL, 5);
        assert_eq!(again.id, packet);
        after.expect_silence(100);
        after.cut();
    }
    let mut after = resume_present(&broker, &id);
    after.expect_ack(wire::PUBREL, packet);
    after.send(&wire::ack(wire::PUBCOMP, packet));
    leave(after);
    resume_present(&broker, &id).expect_silence(150);
}

#[test]
fn mqtt_4_4_0_1_nothing_is_sent_again_on_the_same_connection() {
    let broker = Broker::shared();
    let (mut subscriber, _, topic) = subscribed(&broker);
    let mut publisher = client(&broker);
    publisher.publish(&topic, b"1", 1);
    publisher.publish(&topic, b"2", 2);
    subscriber.expect_publish();
    let two = subscriber.expect_publish().id.expect("QoS 2 has an id");
    subscriber.expect_silence(1500);
    subscriber.send(&wire::ack(wire::PUBREC, two));
    subscriber.expect_ack(wire::PUBREL, two);
    subscriber.expect_silence(1500);
}

#[test]
fn mqtt_4_4_0_1_what_was_acknowledged_is_not_sent_again() {
    // Again and again, and on a disk as well: the broker may not be overtaken by a client that
    // comes back at once.
    for broker in [Broker::shared(), Broker::builder().storage("redb").shared()] {
        let (mut subscriber, id, topic) = subscribed(&broker);
        let mut publisher = client(&broker);
        for round in 0..20 {
            let payload = [round];
            publisher.publish(&topic, payload, 1 + round % 2);
            let got = subscriber.receive();
            assert_eq!((got.payload[0], got.dup), (round, false), "{got:?}");
            // The broker has read what came before the ping.
            subscriber.ping();
            subscriber.cut();
            subscriber = resume_present(&broker, &id);
        }
        nothing_before_marker(&mut subscriber, &mut publisher);
    }
}

#[test]
fn mqtt_4_4_0_2_a_refused_message_is_not_sent_again() {
    let broker = Broker::shared();
    for (qos, kind) in [(1, wire::PUBACK), (2, wire::PUBREC)] {
        for reason in [0x80, 0x83, 0x87, 0x97, 0x99] {
            let (mut before, id, topic) = subscribed(&broker);
            client(&broker).publish(&topic, b"x", qos);
            let packet = before.expect_publish().id.expect("it has an id");
            before.send(&wire::ack_with(kind, packet, reason, &Properties::new()));
            // No PUBREL for a refused message. [MQTT-4.3.3-4]
            before.ping();
            leave(before);
            let mut after = resume_present(&broker, &id);
            nothing_before_marker(&mut after, &mut client(&broker));
        }
    }
}

#[test]
fn mqtt_4_5_0_1_messages_are_kept_for_an_absent_client() {
    let broker = Broker::shared();
    let (before, id, topic) = subscribed(&broker);
    leave(before);
    let mut publisher = client(&broker);
    let expected: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    for (number, payload) in (0..).zip(&expected) {
        publisher.publish(&topic, payload, 1 + number % 2);
    }
    let mut after = resume_present(&broker, &id);
    assert_eq!(receive_texts(&mut after, 50), expected);
    nothing_before_marker(&mut after, &mut publisher);
}

#[test]
fn mqtt_4_3_3_10_an_inbound_exchange_survives_the_connection() {
    let broker = Broker::shared();
    let topic = unique("s");
    let mut watcher = client(&broker);
    watcher.subscribe(&topic, 2);
    let id = unique("c");
    let (mut publisher, _) = resume(&broker, &id);
    send_publish(&mut publisher, &topic, b"once", 2, 9);
    publisher.expect_ack(wire::PUBREC, 9);
    publisher.cut();
    // Sent again as a client must; delivered once. [MQTT-4.3.3-10]
    let mut publisher = resume_present(&broker, &id);
    let again = gatemq_tests::Publish::new(&topic, b"once").qos(2, 9).dup();
    publisher.send(&again.bytes(5));
    publisher.expect_ack(wire::PUBREC, 9);
    publisher.cut();
    let mut publisher = resume_present(&broker, &id);
    publisher.send(&wire::ack(wire::PUBREL, 9));
    assert_eq!(publisher.expect_ack(wire::PUBCOMP, 9).reason, 0);
    assert_eq!(watcher.receive().payload, b"once");
    nothing_before_marker(&mut watcher, &mut publisher);
}

#[test]
fn mqtt_3_1_2_4_a_clean_start_forgets_an_inbound_exchange() {
    let broker = Broker::shared();
    let id = unique("c");
    let (mut publisher, _) = resume(&broker, &id);
    send_publish(&mut publisher, "t", b"x", 2, 9);
    publisher.expect_ack(wire::PUBREC, 9);
    publisher.cut();
    let mut publisher = Client::v5(&broker, &id);
    publisher.send(&wire::ack(wire::PUBREL, 9));
    let reason = publisher.expect_ack(wire::PUBCOMP, 9).reason;
    assert!(reason == 0x92 || Broker::is_foreign(), "{reason:#04x}");
}

#[test]
fn mqtt_4_1_retained_messages_are_not_part_of_a_session() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("s"));
    let mut publisher = Client::v5(&broker, &id);
    publisher.publish_retained(&topic, b"kept", 1);
    publisher.disconnect();
    let mut reader = Client::v5(&broker, &id);
    reader.subscribe(&topic, 1);
    assert_eq!(reader.receive().payload, b"kept");
    reader.publish_retained(&topic, b"", 1);
}

#[test]
fn mqtt_4_1_subscription_options_are_part_of_the_session() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("s"));
    let (mut before, _) = resume(&broker, &id);
    before.subscribe(&topic, 0x0C | 1); // No Local, Retain As Published
    leave(before);
    let mut after = resume_present(&broker, &id);
    after.publish(&topic, b"own", 1);
    client(&broker).publish_retained(&topic, b"foreign", 2);
    let got = after.receive();
    assert_eq!(
        (got.payload.as_slice(), got.qos, got.retain),
        (&b"foreign"[..], 1, true)
    );
    client(&broker).publish_retained(&topic, b"", 1);
}

#[test]
fn mqtt_2_2_1_4_packet_ids_of_a_session_stay_taken() {
    let broker = Broker::shared();
    let (mut before, id, topic) = subscribed(&broker);
    let mut publisher = client(&broker);
    publisher.publish(&topic, b"old", 1);
    let old = before.expect_publish().id;
    leave(before);
    for _ in 0..5 {
        publisher.publish(&topic, b"new", 1);
    }
    let mut after = resume_present(&broker, &id);
    let mut ids = Vec::new();
    for _ in 0..6 {
        let packet = after.expect_publish().id;
        assert!(!ids.contains(&packet), "{packet:?} twice: {ids:?}"); // [MQTT-2.2.1-4]
        ids.push(packet);
    }
    assert_eq!(ids[0], old);
}
