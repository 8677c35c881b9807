//! Chapters 4.3 to 4.6: the exchanges of QoS 1 and 2, resending, order.

use gatemq_tests::{Broker, Client, Connect, Publish, unique, wire};

use super::{client, keeper, resume};

#[test]
fn mqtt311_4_3_1_1_qos_0_is_sent_as_qos_0() {
    let broker = Broker::shared();
    let topic = unique("qos0");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 0);
    client(&broker).publish(&topic, "x", 2);
    let publish = subscriber.receive();
    assert_eq!((publish.qos, publish.dup, publish.id), (0, false, None)); // [MQTT-4.3.1-1]
}

#[test]
fn mqtt311_4_3_2_1_a_qos_1_message_is_unacknowledged_until_puback() {
    let broker = Broker::shared();
    let topic = unique("qos1");
    let (mut subscriber, id) = keeper(&broker);
    subscriber.subscribe(&topic, 1);
    client(&broker).publish(&topic, "x", 1);
    let first = subscriber.expect_publish();
    assert_eq!((first.qos, first.dup), (1, false)); // [MQTT-4.3.2-1]
    subscriber.expect_silence(300); // Not sent again on the same connection.
    subscriber.cut();
    let mut subscriber = resume(&broker, &id);
    assert_eq!(subscriber.receive().id, first.id); // [MQTT-4.3.2-1] [MQTT-4.4.0-1]
    subscriber.disconnect();
    let mut subscriber = resume(&broker, &id);
    subscriber.ping();
    subscriber.expect_silence(50); // Acknowledged: not sent again.
}

#[test]
fn mqtt311_4_3_2_2_after_puback_the_same_id_is_a_new_message() {
    let broker = Broker::shared();
    let topic = unique("qos1");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 1);
    let mut publisher = client(&broker);
    let publish = Publish::new(&topic, "x").qos(1, 3);
    for publish in [publish.clone(), publish.clone(), publish.dup()] {
        publisher.send(&publish.bytes(4));
        publisher.expect_ack(wire::PUBACK, 3); // [MQTT-4.3.2-2]
    }
    for _ in 0..3 {
        assert_eq!(subscriber.receive().payload, b"x"); // [MQTT-4.3.2-2]: also with DUP
    }
}

#[test]
fn mqtt311_4_3_3_1_a_qos_2_message_is_sent_again_until_pubrec() {
    let broker = Broker::shared();
    let topic = unique("qos2");
    let (mut subscriber, id) = keeper(&broker);
    subscriber.subscribe(&topic, 2);
    client(&broker).publish(&topic, "x", 2);
    let first = subscriber.expect_publish();
    assert_eq!((first.qos, first.dup), (2, false)); // [MQTT-4.3.3-1]
    subscriber.cut();
    let mut subscriber = resume(&broker, &id);
    let again = subscriber.expect_publish();
    assert_eq!((again.id, again.dup), (first.id, true)); // [MQTT-4.3.3-1]
    subscriber.acknowledge(&again);
    subscriber.disconnect();
    let mut subscriber = resume(&broker, &id);
    subscriber.ping();
    subscriber.expect_silence(50);
}

#[test]
fn mqtt311_4_3_3_1_after_pubrec_only_pubrel_is_sent_again() {
    let broker = Broker::shared();
    let topic = unique("qos2");
    let (mut subscriber, id) = keeper(&broker);
    subscriber.subscribe(&topic, 2);
    client(&broker).publish(&topic, "x", 2);
    let packet_id = subscriber.expect_publish().id.expect("QoS 2 has an id");
    subscriber.send(&wire::ack(wire::PUBREC, packet_id));
    subscriber.expect_ack(wire::PUBREL, packet_id); // [MQTT-4.3.3-1]
    subscriber.cut();
    for _ in 0..2 {
        let mut subscriber = resume(&broker, &id);
        let pubrel = subscriber.recv().ack(wire::PUBREL, 4); // [MQTT-4.3.3-1] [MQTT-4.4.0-1]
        assert_eq!(pubrel.id, packet_id);
        subscriber.expect_silence(50);
        subscriber.cut();
    }
    let mut subscriber = resume(&broker, &id);
    subscriber.expect_ack(wire::PUBREL, packet_id);
    subscriber.send(&wire::ack(wire::PUBCOMP, packet_id));
    subscriber.ping();
    subscriber.disconnect();
    resume(&broker, &id).expect_silence(50);
}

#[test]
fn mqtt311_4_3_3_2_a_qos_2_message_counts_once() {
    let broker = Broker::shared();
    let topic = unique("qos2");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    let mut publisher = client(&broker);
    let publish = Publish::new(&topic, "once").qos(2, 7);
    publisher.send(&publish.bytes(4));
    publisher.expect_ack(wire::PUBREC, 7); // [MQTT-4.3.3-2]
    for _ in 0..3 {
        publisher.send(&publish.clone().dup().bytes(4));
        publisher.expect_ack(wire::PUBREC, 7); // [MQTT-4.3.3-2]: acknowledged again
    }
    publisher.send(&wire::ack(wire::PUBREL, 7));
    publisher.expect_ack(wire::PUBCOMP, 7); // [MQTT-4.3.3-2]
    publisher.publish_packet(Publish::new(&topic, "new").qos(2, 7));
    assert_eq!(subscriber.receive().payload, b"once");
    assert_eq!(subscriber.receive().payload, b"new"); // [MQTT-4.3.3-2]: after PUBCOMP it is new
    subscriber.ping();
}

#[test]
fn mqtt311_4_3_3_2_a_qos_2_message_counts_once_across_connections() {
    let broker = Broker::shared();
    let topic = unique("qos2");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    let (mut publisher, id) = keeper(&broker);
    let publish = Publish::new(&topic, "once").qos(2, 7);
    publisher.send(&publish.bytes(4));
    publisher.expect_ack(wire::PUBREC, 7);
    publisher.cut();
    let mut publisher = resume(&broker, &id);
    publisher.send(&publish.dup().bytes(4));
    publisher.expect_ack(wire::PUBREC, 7);
    publisher.cut();
    let mut publisher = resume(&broker, &id);
    publisher.send(&wire::ack(wire::PUBREL, 7));
    publisher.expect_ack(wire::PUBCOMP, 7);
    client(&broker).publish(&topic, "marker", 2);
    assert_eq!(subscriber.receive().payload, b"once"); // [MQTT-4.3.3-2]
    assert_eq!(subscriber.receive().payload, b"marker");
}

#[test]
fn a_pubrel_without_publish_is_answered() {
    let broker = Broker::shared();
    let mut publisher = client(&broker);
    publisher.send(&wire::ack(wire::PUBREL, 99));
    publisher.expect_ack(wire::PUBCOMP, 99);
}

#[test]
fn mqtt311_4_4_0_1_everything_unacknowledged_is_sent_again_with_its_id() {
    let broker = Broker::shared();
    let topic = unique("resend");
    let (mut subscriber, id) = keeper(&broker);
    subscriber.subscribe(&topic, 2);
    let mut publisher = client(&broker);
    for number in 0..10_u8 {
        publisher.publish(&topic, [number], 1 + number % 2);
    }
    let sent: Vec<_> = (0..10).map(|_| subscriber.expect_publish()).collect();
    subscriber.acknowledge(&sent[0]);
    subscriber.send(&wire::ack(wire::PUBREC, sent[1].id.expect("an id")));
    subscriber.expect_ack(wire::PUBREL, sent[1].id.expect("an id"));
    subscriber.cut();
    let mut subscriber = resume(&broker, &id);
    let mut released = Vec::new();
    let mut again = Vec::new();
    for _ in 1..10 {
        let packet = subscriber.recv();
        if packet.kind == wire::PUBREL {
            released.push(Some(packet.ack(wire::PUBREL, 4).id));
        } else {
            again.push(packet.publish(4));
        }
    }
    assert_eq!(released, [sent[1].id]); // [MQTT-4.4.0-1]
    for (again, sent) in again.iter().zip(&sent[2..]) {
        let expected = Publish {
            dup: true,
            ..sent.clone()
        };
        assert_eq!(again, &expected); // [MQTT-4.4.0-1] [MQTT-4.6.0-1]: in the same order
    }
    assert_eq!(again.len(), 8);
}

#[test]
fn mqtt311_4_5_0_1_every_matching_session_gets_the_message() {
    let broker = Broker::shared();
    let topic = unique("fanout");
    let (mut absent, id) = keeper(&broker);
    absent.subscribe(&topic, 1);
    absent.disconnect();
    let mut present: Vec<_> = (0..10).map(|_| client(&broker)).collect();
    for subscriber in &mut present {
        subscriber.subscribe(&topic, 1);
    }
    client(&broker).publish(&topic, "x", 1);
    for subscriber in &mut present {
        assert_eq!(subscriber.receive().payload, b"x"); // [MQTT-4.5.0-1]
    }
    assert_eq!(resume(&broker, &id).receive().payload, b"x");
}

#[test]
fn mqtt311_4_6_0_6_messages_of_one_publisher_arrive_in_order() {
    let broker = Broker::shared();
    for qos in 0..3 {
        // mosquitto silently drops what goes beyond 20 open exchanges of QoS 2.
        let count: u16 = if qos == 2 && Broker::is_foreign() {
            20
        } else {
            200
        };
        let topic = unique("order");
        let mut subscriber = client(&broker);
        subscriber.subscribe(&topic, qos);
        let mut publisher = client(&broker);
        let mut bytes = Vec::new();
        for number in 0..count {
            let publish = Publish::new(&topic, number.to_be_bytes());
            let publish = if qos > 0 {
                publish.qos(qos, number + 1)
            } else {
                publish
            };
            bytes.extend(publish.bytes(4));
        }
        publisher.send(&bytes);
        if qos == 2 {
            release_all(&mut publisher, count);
        }
        for number in 0..count {
            let publish = subscriber.receive();
            assert_eq!(publish.payload, number.to_be_bytes(), "QoS {qos}"); // [MQTT-4.6.0-6]
        }
    }
}

/// Sends PUBREL for each id as its PUBREC comes.
fn release_all(publisher: &mut Client, count: u16) {
    for id in 1..=count {
        publisher.expect_ack(wire::PUBREC, id);
        publisher.send(&wire::ack(wire::PUBREL, id));
    }
}

#[test]
fn mqtt311_4_6_0_6_messages_wait_and_arrive_in_order() {
    let broker = Broker::shared();
    let topic = unique("order");
    let (mut subscriber, id) = keeper(&broker);
    subscriber.subscribe(&topic, 1);
    subscriber.disconnect();
    let mut publisher = client(&broker);
    for number in 0..100_u8 {
        publisher.publish(&topic, [number], 1);
    }
    let mut subscriber = resume(&broker, &id);
    for number in 0..100_u8 {
        assert_eq!(subscriber.receive().payload, [number]); // [MQTT-4.6.0-5] [MQTT-4.6.0-6]
    }
}

/// 3.1 section 2.1: what is sent again has DUP, PUBREL and SUBSCRIBE as well.
#[test]
fn a_client_of_3_1_marks_what_it_sends_again() {
    let broker = Broker::shared();
    let connect = Connect::new(3, unique("old")).protocol("MQIsdp");
    let mut client = Client::connect(&broker, &connect).0;
    client.send(&Publish::new(&unique("t"), b"x").qos(2, 7).bytes(3));
    client.expect_ack(wire::PUBREC, 7);
    client.send(&[0x6A, 2, 0, 7]);
    client.expect_ack(wire::PUBCOMP, 7);
    let body = [&[0, 8][..], &wire::text("a"), &[1]].concat();
    client.send(&wire::frame(0x8A, &body));
    client.recv_kind(wire::SUBACK);
    client.ping();
}
