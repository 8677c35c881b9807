//! QoS 1 and 2 exchanges that a restart interrupts, in every phase and in both directions. The
//! phases of QoS 2: PUBLISH stored, PUBREC sent, PUBREL sent, PUBCOMP sent.

use std::time::Duration;

use gatemq_tests::{Broker, Client, Connect, Publish, unique, wire};

use super::restart::{End, for_each_way, resume};

/// A watcher whose session outlives restarts, and the topic.
fn watcher(broker: &Broker) -> (Connect, String) {
    let topic = unique("exchange");
    let connect = Connect::persistent(5, unique("watcher"));
    let mut client = Client::connect(broker, &connect).0;
    client.subscribe(&topic, 2);
    client.disconnect();
    (connect, topic)
}

/// The watcher gets exactly these.
#[track_caller]
fn saw(broker: &Broker, watcher: &Connect, payloads: &[&[u8]]) {
    let mut client = resume(broker, watcher);
    for payload in payloads {
        assert_eq!(client.receive().payload, *payload);
    }
    client.expect_silence(200);
    client.disconnect();
}

// === from a publisher ===

// [MQTT-4.3.3-10]
#[test]
fn from_a_publisher_after_pubrec() {
    for_each_way(|broker, end| {
        let (watcher, topic) = watcher(broker);
        let connect = Connect::persistent(5, unique("pub"));
        let mut publisher = Client::connect(broker, &connect).0;
        let publish = Publish::new(&topic, b"once").qos(2, 10);
        publisher.send(&publish.bytes(5));
        publisher.expect_ack(wire::PUBREC, 10);
        end.restart(broker);
        let mut publisher = resume(broker, &connect);
        publisher.send(&publish.dup().bytes(5));
        publisher.expect_ack(wire::PUBREC, 10);
        end.restart(broker);
        let mut publisher = resume(broker, &connect);
        publisher.send(&wire::ack(wire::PUBREL, 10));
        assert_eq!(publisher.expect_ack(wire::PUBCOMP, 10).reason, 0);
        saw(broker, &watcher, &[b"once"]);
    });
}

/// A client that has not heard of a refusal sends the message again, and is told the same, though
/// there is room by now: others were accepted behind it.
#[test]
fn a_refusal_that_was_lost_is_said_again() {
    let config = "limits: {max-queued-messages: 1}\nsession: {on-full: reject}\n";
    let broker = Broker::builder().config(config).start();
    let (watcher, topic) = watcher(&broker);
    let connect = Connect::persistent(5, unique("pub"));
    Client::connect(&broker, &connect).0.disconnect();
    for (qos, kind) in [(1, wire::PUBACK), (2, wire::PUBREC)] {
        let mut publisher = resume(&broker, &connect);
        publisher.publish(&topic, b"fills", 1);
        let refused = Publish::new(&topic, b"refused").qos(qos, 10);
        publisher.send(&refused.bytes(5));
        assert_eq!(publisher.expect_ack(kind, 10).reason, 0x97);
        drop(publisher);
        saw(&broker, &watcher, &[b"fills"]);
        let mut publisher = resume(&broker, &connect);
        publisher.send(&refused.dup().bytes(5));
        assert_eq!(publisher.expect_ack(kind, 10).reason, 0x97);
        // The identifier is free for another message.
        publisher.send(&Publish::new(&topic, b"next").qos(qos, 10).bytes(5));
        assert_eq!(publisher.expect_ack(kind, 10).reason, 0);
        if qos == 2 {
            publisher.send(&wire::ack(wire::PUBREL, 10));
            publisher.expect_ack(wire::PUBCOMP, 10);
        }
        publisher.disconnect();
        saw(&broker, &watcher, &[b"next"]);
    }
}

// [MQTT-4.4.0-1]
#[test]
fn from_a_publisher_after_pubcomp() {
    for_each_way(|broker, end| {
        let (watcher, topic) = watcher(broker);
        let connect = Connect::persistent(4, unique("pub"));
        let mut publisher = Client::connect(broker, &connect).0;
        publisher.send(&Publish::new(&topic, b"one").qos(2, 10).bytes(4));
        publisher.expect_ack(wire::PUBREC, 10);
        publisher.send(&wire::ack(wire::PUBREL, 10));
        publisher.expect_ack(wire::PUBCOMP, 10);
        end.restart(broker);
        // The client may not have seen the PUBCOMP and sends PUBREL again.
        let mut publisher = resume(broker, &connect);
        publisher.send(&wire::ack(wire::PUBREL, 10));
        publisher.expect_ack(wire::PUBCOMP, 10);
        // Or it has, and uses the id for another message.
        publisher.send(&Publish::new(&topic, b"two").qos(2, 10).bytes(4));
        publisher.expect_ack(wire::PUBREC, 10);
        publisher.send(&wire::ack(wire::PUBREL, 10));
        publisher.expect_ack(wire::PUBCOMP, 10);
        saw(broker, &watcher, &[b"one", b"two"]);
    });
}

#[test]
fn from_a_publisher_several_at_once_in_different_phases() {
    for_each_way(|broker, end| {
        let (watcher, topic) = watcher(broker);
        let connect = Connect::persistent(5, unique("pub"));
        let mut publisher = Client::connect(broker, &connect).0;
        for id in 1..=20 {
            publisher.send(&Publish::new(&topic, id.to_string()).qos(2, id).bytes(5));
            publisher.expect_ack(wire::PUBREC, id);
        }
        for id in (2..=20).step_by(2) {
            publisher.send(&wire::ack(wire::PUBREL, id));
            publisher.expect_ack(wire::PUBCOMP, id);
        }
        end.restart(broker);
        let mut publisher = resume(broker, &connect);
        for id in (1..=19).step_by(2) {
            publisher.send(
                &Publish::new(&topic, id.to_string())
                    .qos(2, id)
                    .dup()
                    .bytes(5),
            );
            publisher.expect_ack(wire::PUBREC, id);
            publisher.send(&wire::ack(wire::PUBREL, id));
            publisher.expect_ack(wire::PUBCOMP, id);
        }
        let payloads: Vec<_> = (1..=20).map(|id: u16| id.to_string()).collect();
        let payloads: Vec<_> = payloads.iter().map(String::as_bytes).collect();
        saw(broker, &watcher, &payloads);
    });
}

// === to a subscriber ===

/// A subscriber with one message of this QoS on its way to it.
fn subscriber(broker: &Broker, qos: u8) -> (Connect, Client, Publish) {
    let topic = unique("exchange");
    let connect = Connect::persistent(5, unique("sub"));
    let mut client = Client::connect(broker, &connect).0;
    client.subscribe(&topic, 2);
    Client::v5(broker, &unique("pub")).publish(&topic, b"once", qos);
    let publish = client.expect_publish();
    assert_eq!((publish.qos, publish.dup), (qos, false));
    (connect, client, publish)
}

/// Nothing is open any more, over one more restart. Nobody waits for the storing of the client's
/// last packet, PUBACK or PUBCOMP: a kill may undo it.
#[track_caller]
fn is_done(broker: &Broker, connect: &Connect, mut client: Client, end: End, qos: u8) {
    client.ping();
    client.cut();
    end.restart(broker);
    let mut client = resume(broker, connect);
    match (end, client.recv_within(Duration::from_millis(200))) {
        (_, None) => {}
        (End::Killed, Some(packet)) if qos == 2 => {
            packet.expect(wire::PUBREL);
        }
        (End::Killed, Some(packet)) => assert!(packet.publish(5).dup),
        (End::Asked, Some(packet)) => panic!("it is still open: {packet:?}"),
    }
}

// [MQTT-4.4.0-1] [MQTT-3.3.1-1]
#[test]
fn to_a_subscriber_before_its_answer() {
    for_each_way(|broker, end| {
        for qos in [1, 2] {
            let (connect, _client, publish) = subscriber(broker, qos);
            end.restart(broker);
            let mut client = resume(broker, &connect);
            let again = client.expect_publish();
            assert_eq!((again.id, again.dup, again.qos), (publish.id, true, qos));
            assert_eq!(again.payload, b"once");
            client.acknowledge(&again);
            is_done(broker, &connect, client, end, qos);
        }
    });
}

// [MQTT-4.4.0-1]
#[test]
fn to_a_subscriber_after_its_pubrec() {
    for_each_way(|broker, end| {
        let (connect, mut client, publish) = subscriber(broker, 2);
        let id = publish.id.expect("QoS 2");
        client.send(&wire::ack(wire::PUBREC, id));
        // With PUBREL the broker has given up the message itself.
        client.expect_ack(wire::PUBREL, id);
        end.restart(broker);
        for _ in 0..2 {
            let mut client = resume(broker, &connect);
            client.expect_ack(wire::PUBREL, id);
            client.expect_silence(100);
            end.restart(broker);
        }
        let mut client = resume(broker, &connect);
        client.expect_ack(wire::PUBREL, id);
        client.send(&wire::ack(wire::PUBCOMP, id));
        is_done(broker, &connect, client, end, 2);
    });
}

/// Many in flight, acknowledged here and there: what is left comes in its old order, under its
/// old ids, and before what is new. [MQTT-4.6.0-6]
#[test]
fn to_a_subscriber_several_at_once_in_different_phases() {
    for_each_way(|broker, end| {
        let topic = unique("phases");
        let connect = Connect::persistent(5, unique("sub"));
        let mut client = Client::connect(broker, &connect).0;
        client.subscribe(&topic, 2);
        let mut publisher = Client::v5(broker, &unique("pub"));
        for number in 0..12_u8 {
            publisher.publish(&topic, [number], 1 + number % 2);
        }
        let sent: Vec<_> = (0..12).map(|_| client.expect_publish()).collect();
        let id = |number: usize| sent[number].id.expect("QoS above 0");
        // 0 and 2 are done; 1 and 5 are half done; the rest is untouched.
        for number in [0, 2] {
            client.acknowledge(&sent[number]);
        }
        for number in [1, 5] {
            client.send(&wire::ack(wire::PUBREC, id(number)));
            client.expect_ack(wire::PUBREL, id(number));
        }
        client.ping();
        client.cut();
        end.restart(broker);
        Client::v5(broker, &unique("pub")).publish(&topic, [12], 1);
        let mut client = resume(broker, &connect);
        let mut released = Vec::new();
        let mut repeated = Vec::new();
        let mut last = None;
        while let Some(packet) = client.recv_within(Duration::from_millis(500)) {
            match packet.kind {
                wire::PUBREL => released.push(packet.ack(wire::PUBREL, 5).id),
                _ => {
                    let publish = packet.publish(5);
                    if publish.payload == [12] {
                        assert!(!publish.dup, "{publish:?}");
                        last = Some(publish);
                        continue;
                    }
                    assert!(last.is_none(), "the new one came before {publish:?}");
                    assert!(publish.dup, "{publish:?}");
                    repeated.push((publish.payload[0], publish.id.expect("QoS above 0")));
                }
            }
        }
        assert_eq!(released, [id(1), id(5)]);
        let left = [3, 4, 6, 7, 8, 9, 10, 11_u8];
        let expected: Vec<_> = left
            .iter()
            .map(|number| (*number, id(usize::from(*number))))
            .collect();
        assert_eq!(repeated, expected);
        assert!(last.is_some(), "the new message did not come");
    });
}

// [MQTT-4.3.2-1]
#[test]
fn a_qos_1_message_that_was_acknowledged_is_there_after_a_kill() {
    for way in ["redb", "fjall"] {
        let broker = Broker::builder().storage(way).start();
        let (watcher, topic) = watcher(&broker);
        for number in 0..5_u8 {
            let mut publisher = Client::v5(&broker, &unique("pub"));
            publisher.publish(&topic, [number], 1 + number % 2);
            End::Killed.restart(&broker);
        }
        saw(&broker, &watcher, &[&[0], &[1], &[2], &[3], &[4]]);
    }
}
