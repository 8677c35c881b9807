//! Chapter 4.3: the three delivery protocols, the broker as receiver and as sender.

use gatemq_tests::{
    Broker, Publish, unique,
    wire::{self},
};

use super::scene::{client, leave, nothing_before_marker, resume, resume_present, send_publish};

#[test]
fn mqtt_4_3_1_1_qos_0_goes_out_once_and_plain() {
    let broker = Broker::shared();
    let topic = unique("q");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 0);
    let mut publisher = client(&broker);
    publisher.publish(&topic, b"x", 0);
    let got = subscriber.receive();
    assert_eq!((got.qos, got.dup, got.id), (0, false, None));
    nothing_before_marker(&mut subscriber, &mut publisher);
}

#[test]
fn mqtt_4_3_2_2_qos_1_goes_out_with_an_id_and_no_dup() {
    let broker = Broker::shared();
    let topic = unique("q");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 1);
    client(&broker).publish(&topic, b"x", 1);
    let got = subscriber.expect_publish();
    assert_eq!((got.qos, got.dup), (1, false));
    assert!(got.id.is_some_and(|id| id != 0)); // [MQTT-4.3.2-1]
    // After PUBACK nothing more comes. [MQTT-4.3.2-3]
    subscriber.acknowledge(&got);
    subscriber.expect_silence(100);
}

#[test]
fn mqtt_4_3_2_5_after_puback_the_same_id_is_a_new_message() {
    let broker = Broker::shared();
    let topic = unique("q");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 1);
    let mut publisher = client(&broker);
    let publish = Publish::new(&topic, b"x").qos(1, 7);
    for packet in [publish.clone(), publish.clone().dup(), publish.dup()] {
        publisher.send(&packet.bytes(5));
        publisher.expect_ack(wire::PUBACK, 7);
        assert_eq!(subscriber.receive().payload, b"x");
    }
}

#[test]
fn mqtt_4_3_3_2_qos_2_goes_out_with_an_id_and_no_dup() {
    let broker = Broker::shared();
    let topic = unique("q");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    client(&broker).publish(&topic, b"x", 2);
    let got = subscriber.expect_publish();
    assert_eq!((got.qos, got.dup), (2, false));
    let id = got.id.expect("QoS 2 has an id"); // [MQTT-4.3.3-1]
    assert_ne!(id, 0);
    // PUBREL comes on PUBREC, and only then. [MQTT-4.3.3-3] [MQTT-4.3.3-4]
    subscriber.expect_silence(100);
    subscriber.send(&wire::ack(wire::PUBREC, id));
    subscriber.expect_ack(wire::PUBREL, id);
    subscriber.expect_silence(100);
    subscriber.send(&wire::ack(wire::PUBCOMP, id));
    // PUBREC again, for an id that is free now.
    subscriber.send(&wire::ack(wire::PUBREC, id));
    let ack = subscriber.expect_ack(wire::PUBREL, id);
    assert!(ack.reason == 0x92 || Broker::is_foreign(), "{ack:02x?}"); // [MQTT-3.6.2-1]
}

#[test]
fn mqtt_4_3_3_8_qos_2_is_answered_with_pubrec() {
    let broker = Broker::shared();
    let topic = unique("q");
    let mut publisher = client(&broker);
    send_publish(&mut publisher, &topic, b"x", 2, 7);
    publisher.expect_ack(wire::PUBREC, 7);
    publisher.expect_silence(100);
}

#[test]
fn mqtt_4_3_3_9_after_a_refusing_pubrec_the_same_id_is_a_new_message() {
    if Broker::is_foreign() {
        return; // How to make it refuse is GateMQ's own.
    }
    let settings = "
limits:
  max-queued-messages: 2
session:
  on-full: reject
";
    let broker = Broker::builder().config(settings).shared();
    let (id, topic) = (unique("c"), unique("q"));
    let (mut before, _) = resume(&broker, &id);
    before.subscribe(&topic, 2);
    leave(before);
    let mut publisher = client(&broker);
    let mut refuse = |number: u8| {
        send_publish(&mut publisher, &topic, &[number], 2, u16::from(number));
        let reason = publisher.expect_ack(wire::PUBREC, number.into()).reason;
        if reason < 0x80 {
            publisher.send(&wire::ack(wire::PUBREL, number.into()));
            publisher.expect_ack(wire::PUBCOMP, number.into());
        }
        reason
    };
    let refused = (1..10).find(|number| refuse(*number) >= 0x80);
    let refused = refused.expect("a queue of two is full before ten");
    let mut after = resume_present(&broker, &id);
    for number in 1..refused {
        assert_eq!(after.receive().payload, [number]);
    }
    // Neither the message nor its id is known: the same id begins anew.
    assert!(refuse(refused) < 0x80);
    assert_eq!(after.receive().payload, [refused]);
}

#[test]
fn mqtt_4_3_3_10_before_pubrel_the_same_id_is_the_same_message() {
    let broker = Broker::shared();
    let topic = unique("q");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    let mut publisher = client(&broker);
    let publish = Publish::new(&topic, b"once").qos(2, 7);
    for packet in [publish.clone(), publish.clone().dup(), publish] {
        publisher.send(&packet.bytes(5));
        assert!(publisher.expect_ack(wire::PUBREC, 7).reason < 0x80);
    }
    publisher.send(&wire::ack(wire::PUBREL, 7));
    publisher.expect_ack(wire::PUBCOMP, 7);
    assert_eq!(subscriber.receive().payload, b"once");
    nothing_before_marker(&mut subscriber, &mut publisher);
}

#[test]
fn mqtt_4_3_3_11_pubrel_is_answered_with_pubcomp_each_time() {
    let broker = Broker::shared();
    let mut publisher = client(&broker);
    send_publish(&mut publisher, &unique("q"), b"x", 2, 7);
    publisher.expect_ack(wire::PUBREC, 7);
    publisher.send(&wire::ack(wire::PUBREL, 7));
    assert_eq!(publisher.expect_ack(wire::PUBCOMP, 7).reason, 0);
    publisher.send(&wire::ack(wire::PUBREL, 7));
    let ack = publisher.expect_ack(wire::PUBCOMP, 7);
    assert!(ack.reason == 0x92 || Broker::is_foreign(), "{ack:02x?}"); // [MQTT-3.7.2-1]
}

#[test]
fn mqtt_4_3_3_12_after_pubcomp_the_same_id_is_a_new_message() {
    let broker = Broker::shared();
    let topic = unique("q");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    let mut publisher = client(&broker);
    for round in 0..3u8 {
        let publish = Publish::new(&topic, [round]).qos(2, 7);
        let publish = if round == 1 { publish.dup() } else { publish };
        publisher.publish_packet(publish);
        assert_eq!(subscriber.receive().payload, [round]);
    }
}

#[test]
fn mqtt_4_3_3_exchanges_may_interleave() {
    let broker = Broker::shared();
    let topic = unique("q");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    let mut publisher = client(&broker);
    for id in [3, 1, 2] {
        send_publish(&mut publisher, &topic, &[id], 2, u16::from(id));
    }
    for id in [3, 1, 2] {
        publisher.expect_ack(wire::PUBREC, id);
    }
    for id in [2, 3, 1] {
        publisher.send(&wire::ack(wire::PUBREL, id));
        publisher.expect_ack(wire::PUBCOMP, id);
    }
    let got: Vec<_> = (0..3).map(|_| subscriber.expect_publish()).collect();
    let payloads: Vec<_> = got.iter().map(|publish| publish.payload[0]).collect();
    assert_eq!(payloads, [3, 1, 2]);
    for publish in got.iter().rev() {
        subscriber.acknowledge(publish);
    }
}

#[test]
fn mqtt_4_3_3_ids_of_the_two_directions_are_apart() {
    let broker = Broker::shared();
    let topic = unique("q");
    let mut both = client(&broker);
    both.subscribe(&topic, 2);
    client(&broker).publish(&topic, b"in", 2);
    let arrived = both.expect_publish();
    let id = arrived.id.expect("QoS 2 has an id");
    // The client uses the same id for a message of its own, while the other is open.
    let out = unique("q");
    send_publish(&mut both, &out, b"out", 2, id);
    both.expect_ack(wire::PUBREC, id);
    both.send(&wire::ack(wire::PUBREL, id));
    assert_eq!(both.expect_ack(wire::PUBCOMP, id).reason, 0);
    both.acknowledge(&arrived);
}
