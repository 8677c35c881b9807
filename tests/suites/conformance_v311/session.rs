//! Chapters 3.1.2.4 and 4.1: what a session keeps, and for how long.

use gatemq_tests::{Broker, Client, Connect, Publish, unique, wire};

use super::{client, keeper, resume};

#[test]
fn mqtt311_3_1_2_4_a_session_is_resumed() {
    let broker = Broker::shared();
    let topic = unique("resume");
    let (mut subscriber, id) = keeper(&broker); // [MQTT-3.1.2-4]: created
    subscriber.subscribe(&topic, 1);
    subscriber.disconnect();
    let mut subscriber = resume(&broker, &id);
    client(&broker).publish(&topic, "after", 1);
    assert_eq!(subscriber.receive().payload, b"after"); // [MQTT-3.1.2-4] [MQTT-4.1.0-1]
}

#[test]
fn mqtt311_3_1_2_4_a_session_outlives_a_cut_connection() {
    let broker = Broker::shared();
    let topic = unique("resume");
    let (mut subscriber, id) = keeper(&broker);
    subscriber.subscribe(&topic, 1);
    subscriber.cut();
    client(&broker).publish(&topic, "meanwhile", 1);
    assert_eq!(resume(&broker, &id).receive().payload, b"meanwhile"); // [MQTT-3.1.2-4]
}

#[test]
fn mqtt311_3_1_2_5_messages_wait_for_an_absent_client() {
    let broker = Broker::shared();
    let base = unique("wait");
    let (mut subscriber, id) = keeper(&broker);
    subscriber.subscribe(&format!("{base}/#"), 2);
    subscriber.disconnect();
    let mut publisher = client(&broker);
    for number in 0..20 {
        let qos = if number % 2 == 0 { 1 } else { 2 };
        publisher.publish(&format!("{base}/{number}"), number.to_string(), qos);
    }
    let mut subscriber = resume(&broker, &id);
    for number in 0..20 {
        let publish = subscriber.receive(); // [MQTT-3.1.2-5] [MQTT-4.5.0-1]
        assert_eq!(publish.payload, number.to_string().as_bytes());
        assert_eq!(publish.qos, if number % 2 == 0 { 1 } else { 2 });
        assert!(!publish.dup);
    }
}

#[test]
fn mqtt311_3_1_2_6_a_clean_session_starts_anew() {
    let broker = Broker::shared();
    let topic = unique("clean");
    let (mut subscriber, id) = keeper(&broker);
    subscriber.subscribe(&topic, 1);
    subscriber.disconnect();
    client(&broker).publish(&topic, "waiting", 1);
    let (mut subscriber, connack) = Client::connect(&broker, &Connect::new(4, &id));
    assert!(!connack.session_present); // [MQTT-3.1.2-6] [MQTT-3.1.4-3]
    client(&broker).publish(&topic, "unsubscribed", 1);
    subscriber.ping();
    subscriber.expect_silence(50);
}

#[test]
fn mqtt311_3_1_2_6_a_clean_session_ends_with_its_connection() {
    let broker = Broker::shared();
    let (topic, id) = (unique("clean"), unique("clean"));
    let mut subscriber = Client::v4(&broker, &id);
    subscriber.subscribe(&topic, 1);
    subscriber.disconnect();
    client(&broker).publish(&topic, "lost", 1);
    let (mut subscriber, connack) = Client::connect(&broker, &Connect::persistent(4, &id));
    assert!(!connack.session_present); // [MQTT-3.1.2-6]: not reused
    subscriber.ping();
    subscriber.expect_silence(50);
}

#[test]
fn mqtt311_3_1_2_6_open_qos_2_exchanges_end_with_a_clean_session() {
    let broker = Broker::shared();
    let (topic, id) = (unique("clean"), unique("clean"));
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    let mut publisher = Client::v4(&broker, &id);
    publisher.send(&Publish::new(&topic, "one").qos(2, 7).bytes(4));
    publisher.expect_ack(wire::PUBREC, 7);
    publisher.disconnect();
    let mut publisher = Client::v4(&broker, &id);
    publisher.publish_packet(Publish::new(&topic, "two").qos(2, 7));
    let mut last = subscriber.receive();
    if last.payload == b"one" {
        last = subscriber.receive(); // A broker may deliver before PUBREL, or drop the first.
    }
    assert_eq!(last.payload, b"two"); // [MQTT-3.1.2-6]: id 7 is new
}

#[test]
fn mqtt311_4_1_0_2_a_session_lasts_as_long_as_its_connection() {
    let broker = Broker::shared();
    let topic = unique("lasts");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 1);
    for _ in 0..50 {
        drop(client(&broker));
    }
    client(&broker).publish(&topic, "x", 1);
    assert_eq!(subscriber.receive().payload, b"x"); // [MQTT-4.1.0-2]
}

#[test]
fn a_taken_over_session_goes_on_in_the_new_connection() {
    let broker = Broker::shared();
    let topic = unique("takeover");
    let (mut first, id) = keeper(&broker);
    first.subscribe(&topic, 1);
    client(&broker).publish(&topic, "x", 1);
    let before = first.expect_publish();
    let mut second = resume(&broker, &id);
    let again = second.receive();
    assert_eq!((again.id, again.dup), (before.id, true));
    first.expect_closed();
}
