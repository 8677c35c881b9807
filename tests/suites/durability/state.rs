//! What else an acknowledgement promises, each against a `kill -9` that follows at once: a
//! granted subscription, a retained message, the state of a QoS 2 exchange on either side.

use std::time::Duration;

use gatemq_tests::{
    Broker, Client, Connect, Publish, pause, unique,
    wire::{self, Properties},
};

const ENGINES: [&str; 2] = ["redb", "fjall"];

fn resumed(broker: &Broker, level: u8, client_id: &str) -> Client {
    let (client, connack) = Client::connect(broker, &Connect::persistent(level, client_id));
    // 3.1 has no such flag.
    assert!(
        connack.session_present || level == 3,
        "the session of {client_id} is lost"
    );
    client
}

fn persistent(broker: &Broker, level: u8, client_id: &str) -> Client {
    Client::connect(broker, &Connect::persistent(level, client_id)).0
}

#[test]
fn a_granted_subscription_survives_kill_9() {
    for storage in ENGINES {
        let broker = Broker::builder().storage(storage).start();
        for level in [3, 4, 5, 4, 5] {
            let (name, topic) = (unique("sub"), unique("topic"));
            let mut subscriber = persistent(&broker, level, &name);
            subscriber.subscribe(&topic, 1);
            broker.restart();
            Client::v5(&broker, &unique("pub")).publish(&topic, "kept", 1);
            let mut subscriber = resumed(&broker, level, &name);
            let message = subscriber.receive();
            assert_eq!(message.payload, b"kept", "{storage}, level {level}");
            subscriber.disconnect();
        }
    }
}

#[test]
fn an_acknowledged_unsubscription_survives_kill_9() {
    for storage in ENGINES {
        let broker = Broker::builder().storage(storage).start();
        for level in [4, 5] {
            let (name, gone, kept) = (unique("sub"), unique("gone"), unique("kept"));
            let mut subscriber = persistent(&broker, level, &name);
            subscriber.subscribe(&gone, 1);
            subscriber.subscribe(&kept, 1);
            subscriber.unsubscribe(&[&gone]);
            broker.restart();
            let mut publisher = Client::v5(&broker, &unique("pub"));
            publisher.publish(&gone, "gone", 1);
            publisher.publish(&kept, "kept", 1);
            let message = resumed(&broker, level, &name).receive();
            assert_eq!(message.payload, b"kept", "{storage}, level {level}");
        }
    }
}

#[test]
fn acknowledged_retained_messages_survive_kill_9() {
    for storage in ENGINES {
        let broker = Broker::builder().storage(storage).start();
        let prefix = unique("retained");
        let topic = |number: usize| format!("{prefix}/{number:02}");
        for round in 0..4 {
            let mut publisher = Client::v5(&broker, &unique("pub"));
            for number in 0..20 {
                let qos = 1 + u8::from(number % 2 == 0);
                publisher.publish_retained(&topic(number), format!("round {round}"), qos);
            }
            // An empty one clears [MQTT-3.3.1-6].
            publisher.publish_retained(&topic(7), "", 1);
            broker.restart();
            let mut reader = Client::v4(&broker, &unique("reader"));
            reader.subscribe(&format!("{prefix}/#"), 0);
            let mut found: Vec<_> = (0..19).map(|_| reader.receive()).collect();
            reader.expect_silence(200);
            found.sort_by(|one, other| one.topic.cmp(&other.topic));
            let expected: Vec<_> = (0..20).filter(|number| *number != 7).map(topic).collect();
            let topics: Vec<_> = found.iter().map(|message| &message.topic).collect();
            assert_eq!(topics, expected.iter().collect::<Vec<_>>(), "{storage}");
            for message in found {
                let payload = String::from_utf8_lossy(&message.payload);
                assert_eq!(payload, format!("round {round}"), "{storage}");
                assert!(message.retain, "{message:?}");
            }
        }
    }
}

/// A publisher's exchange is cut after PUBREC, and after PUBREL: the message comes once.
#[test]
fn a_received_qos_2_message_is_known_after_kill_9() {
    for storage in ENGINES {
        let broker = Broker::builder().storage(storage).start();
        for level in [4, 5] {
            let (sender, name, topic) = (unique("pub"), unique("sub"), unique("topic"));
            let mut subscriber = persistent(&broker, level, &name);
            subscriber.subscribe(&topic, 2);
            subscriber.disconnect();
            let message = Publish::new(&topic, "once").qos(2, 77);

            let mut publisher = persistent(&broker, level, &sender);
            publisher.send(&message.bytes(level));
            publisher.expect_ack(wire::PUBREC, 77);
            broker.restart();
            // The same again: the broker knows the id [MQTT-4.3.3-10].
            let mut publisher = resumed(&broker, level, &sender);
            publisher.send(&message.clone().dup().bytes(level));
            let pubrec = publisher.expect_ack(wire::PUBREC, 77);
            assert!(pubrec.reason < 0x80, "{pubrec:02x?}");
            broker.restart();
            let mut publisher = resumed(&broker, level, &sender);
            publisher.send(&wire::ack(wire::PUBREL, 77));
            let pubcomp = publisher.expect_ack(wire::PUBCOMP, 77);
            assert_eq!(pubcomp.reason, 0, "the id was known: {pubcomp:02x?}");
            broker.restart();
            // PUBCOMP is out: the id is free, and a new message may have it.
            let mut publisher = resumed(&broker, level, &sender);
            publisher.publish_packet(Publish::new(&topic, "next").qos(2, 77));

            let mut subscriber = resumed(&broker, level, &name);
            assert_eq!(subscriber.receive().payload, b"once", "{storage} {level}");
            assert_eq!(subscriber.receive().payload, b"next", "{storage} {level}");
            subscriber.expect_silence(200);
        }
    }
}

/// A subscriber's exchange is cut after the broker's PUBREL: the message does not come again.
#[test]
fn a_delivered_qos_2_message_is_not_delivered_again_after_kill_9() {
    for storage in ENGINES {
        let broker = Broker::builder().storage(storage).start();
        for level in [4, 5] {
            let (name, topic) = (unique("sub"), unique("topic"));
            let mut subscriber = persistent(&broker, level, &name);
            subscriber.subscribe(&topic, 2);
            Client::v5(&broker, &unique("pub")).publish(&topic, "once", 2);
            let message = subscriber.expect_publish();
            let id = message.id.expect("QoS 2 has an id");
            broker.restart();
            // Not acknowledged: it comes again, with the same id and DUP [MQTT-4.4.0-1].
            let mut subscriber = resumed(&broker, level, &name);
            let again = subscriber.expect_publish();
            assert_eq!((again.id, again.dup), (Some(id), true), "{storage} {level}");
            subscriber.send(&wire::ack(wire::PUBREC, id));
            subscriber.expect_ack(wire::PUBREL, id);
            broker.restart();
            // PUBREL was out: only PUBREL may come.
            let mut subscriber = resumed(&broker, level, &name);
            subscriber.expect_ack(wire::PUBREL, id);
            subscriber.send(&wire::ack(wire::PUBCOMP, id));
            subscriber.ping();
            subscriber.disconnect();
            broker.restart();
            // PUBREL may come again, for nothing acknowledges a PUBCOMP; PUBLISH may not.
            let mut subscriber = resumed(&broker, level, &name);
            while let Some(packet) = subscriber.recv_within(Duration::from_secs(1)) {
                assert_eq!(packet.ack(wire::PUBREL, level).id, id, "{storage} {level}");
                subscriber.send(&wire::ack(wire::PUBCOMP, id));
            }
        }
    }
}

/// The session's expiry survives too: counted from the end of the connection, or, where that could
/// not be written down any more, from the restart.
#[test]
fn session_expiry_is_known_after_kill_9() {
    for storage in ENGINES {
        let broker = Broker::builder().storage(storage).start();
        let short = Properties::new().four(wire::property::SESSION_EXPIRY_INTERVAL, 1);
        let short = Connect::persistent(5, unique("short")).properties(short);
        let long = Connect::persistent(5, unique("long"));
        for connect in [&short, &long] {
            Client::connect(&broker, connect).0.disconnect();
        }
        broker.restart();
        pause(Duration::from_millis(2_500));
        let (_, connack) = Client::connect(&broker, &long);
        assert!(connack.session_present, "{storage}: it has an hour");
        let (_, connack) = Client::connect(&broker, &short);
        assert!(!connack.session_present, "{storage}: it had a second");
    }
}
