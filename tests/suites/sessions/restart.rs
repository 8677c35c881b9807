//! What each way of storage keeps over a restart, whether the broker was asked to end or killed.

use std::{
    thread,
    time::{Duration, Instant},
};

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, eventually, unique,
    wire::{self, property},
};

/// Ends the broker, one way or the other, and starts it again on its data.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Killed,
    Asked,
}

impl End {
    #[track_caller]
    pub(super) fn restart(self, broker: &Broker) {
        match self {
            Self::Killed => broker.kill(),
            Self::Asked => {
                let status = broker.terminate();
                assert_eq!(status.code(), Some(0), "{}", broker.log());
            }
        }
        broker.restart();
    }
}

/// Runs a check for each way that stores and each way to end, all at once: they mostly wait.
pub(super) fn for_each_way(check: impl Fn(&Broker, End) + Sync) {
    thread::scope(|scope| {
        for way in ["redb", "fjall"] {
            for end in [End::Killed, End::Asked] {
                let check = &check;
                let run = move || check(&Broker::builder().storage(way).start(), end);
                thread::Builder::new()
                    .name(format!("{way}, {end:?}"))
                    .spawn_scoped(scope, run)
                    .expect("a thread can be made");
            }
        }
    });
}

/// A client of this session; it must be there.
#[track_caller]
pub(super) fn resume(broker: &Broker, connect: &Connect) -> Client {
    let (client, connack) = Client::connect(broker, connect);
    assert!(connack.session_present, "the session is gone");
    client
}

#[test]
fn subscriptions_and_queues_are_kept_in_order() {
    for_each_way(|broker, end| {
        let prefix = unique("order");
        let away = Connect::persistent(5, unique("away"));
        let mut client = Client::connect(broker, &away).0;
        client.subscribe(&format!("{prefix}/+"), 2);
        client.disconnect();
        let mut publisher = Client::v5(broker, &unique("pub"));
        for number in 0..60_u8 {
            publisher.publish(&format!("{prefix}/{}", number % 3), [number], number % 3);
        }
        end.restart(broker);
        // A second restart without a visit between takes nothing away.
        end.restart(broker);
        let mut publisher = Client::v5(broker, &unique("pub"));
        for number in 60..70_u8 {
            publisher.publish(&format!("{prefix}/x"), [number], 1);
        }
        let mut client = resume(broker, &away);
        let mut received = Vec::new();
        while let Some(packet) = client.recv_within(Duration::from_secs(1)) {
            let publish = packet.publish(5);
            client.acknowledge(&publish);
            received.push(publish.payload[0]);
        }
        let expected: Vec<_> = (0..70)
            .filter(|number| *number >= 60 || number % 3 != 0)
            .collect();
        assert_eq!(received, expected);
    });
}

#[test]
fn what_was_acknowledged_is_not_sent_again() {
    for_each_way(|broker, end| {
        let topic = unique("acked");
        let connect = Connect::persistent(4, unique("acked"));
        let mut client = Client::connect(broker, &connect).0;
        client.subscribe(&topic, 2);
        let mut publisher = Client::v4(broker, &unique("pub"));
        for number in 0..6_u8 {
            publisher.publish(&topic, [number], 1 + number % 2);
        }
        for number in 0..4_u8 {
            assert_eq!(client.receive().payload, [number]);
        }
        client.ping();
        client.cut();
        end.restart(broker);
        let mut client = resume(broker, &connect);
        let mut received = Vec::new();
        while let Some(packet) = client.recv_within(Duration::from_secs(1)) {
            // Nobody waits for the storing of PUBACK and PUBCOMP: a kill may undo the last of
            // them. Then the packet before them comes again, as it may; a QoS 2 message may not.
            let is_undone = matches!(end, End::Killed);
            if packet.kind == wire::PUBREL {
                assert!(is_undone, "{packet:?}");
                continue;
            }
            let publish = packet.publish(4);
            if publish.payload[0] < 4 {
                assert!(is_undone && publish.dup && publish.qos == 1, "{publish:?}");
                continue;
            }
            received.push(publish.payload[0]);
        }
        assert_eq!(received, [4, 5]);
    });
}

#[test]
fn subscriptions_keep_their_options() {
    for_each_way(|broker, end| {
        let (plain, local, kept) = (unique("plain"), unique("local"), unique("kept"));
        let connect = Connect::persistent(5, unique("options"));
        let mut client = Client::connect(broker, &connect).0;
        let id = Properties::new().var(property::SUBSCRIPTION_IDENTIFIER, 268_435_455);
        let suback = client.subscribe_with(&id, &[(&plain, 1), (&local, 0b0110), (&kept, 0b1000)]);
        assert_eq!(suback.codes, [1, 2, 0]);
        client.subscribe("left/again", 1);
        client.unsubscribe(&["left/again"]);
        client.disconnect();
        end.restart(broker);
        let mut client = resume(broker, &connect);
        client.publish(&local, b"own", 1);
        let mut publisher = Client::v5(broker, &unique("pub"));
        publisher.publish("left/again", b"x", 1);
        publisher.publish(&local, b"others", 2);
        let publish = client.receive();
        assert_eq!(
            (publish.payload.as_slice(), publish.qos),
            (&b"others"[..], 2)
        );
        publisher.publish(&plain, b"x", 2);
        let publish = client.receive();
        assert_eq!(publish.qos, 1);
        let id = publish.properties.number(property::SUBSCRIPTION_IDENTIFIER);
        assert_eq!(id, Some(268_435_455));
        publisher.publish_retained(&kept, b"x", 0);
        assert!(client.receive().retain, "retain as published");
        publisher.publish_retained(&plain, b"x", 0);
        assert!(!client.receive().retain, "not as published");
        client.expect_silence(100);
    });
}

#[test]
fn retained_messages_keep_their_properties() {
    for_each_way(|broker, end| {
        let prefix = unique("kept");
        let properties = Properties::new()
            .byte(property::PAYLOAD_FORMAT_INDICATOR, 1)
            .four(property::MESSAGE_EXPIRY_INTERVAL, 1000)
            .text(property::CONTENT_TYPE, "text/plain")
            .text(property::RESPONSE_TOPIC, "answer/here")
            .binary(property::CORRELATION_DATA, &[0, 1, 255])
            .user("one", "1")
            .user("two", "2")
            .user("one", "again");
        let mut publisher = Client::v5(broker, &unique("pub"));
        let full = Publish::new(&format!("{prefix}/full"), b"full").properties(properties.clone());
        publisher.publish_packet(Publish {
            qos: 2,
            ..full.retain()
        });
        let brief = Properties::new().four(property::MESSAGE_EXPIRY_INTERVAL, 1);
        let brief = Publish::new(&format!("{prefix}/brief"), b"brief").properties(brief);
        publisher.publish_packet(Publish {
            qos: 1,
            ..brief.retain()
        });
        publisher.publish_retained(&format!("{prefix}/cleared"), b"old", 1);
        publisher.publish_retained(&format!("{prefix}/cleared"), b"", 1);
        publisher.publish_retained(&format!("{prefix}/again"), b"old", 1);
        publisher.publish_retained(&format!("{prefix}/again"), b"new", 1);
        let published = Instant::now();
        end.restart(broker);
        gatemq_tests::pause(Duration::from_millis(1500).saturating_sub(published.elapsed()));

        let mut client = Client::v5(broker, &unique("sub"));
        client.subscribe(&format!("{prefix}/#"), 2);
        let mut received = [client.receive(), client.receive()];
        received.sort_by(|one, other| one.topic.cmp(&other.topic));
        let [again, full] = &mut received;
        assert_eq!((again.payload.as_slice(), again.qos), (&b"new"[..], 1));
        assert_eq!((full.payload.as_slice(), full.qos), (&b"full"[..], 2));
        assert!(again.retain && full.retain);
        let expiry = full.properties.number(property::MESSAGE_EXPIRY_INTERVAL);
        assert!(
            expiry.is_some_and(|left| (990..1000).contains(&left)),
            "{expiry:?}"
        );
        let others = |properties: &Properties| {
            let mut list = properties.list.clone();
            list.retain(|(id, _)| *id != property::MESSAGE_EXPIRY_INTERVAL);
            list.sort_by_key(|(id, _)| *id);
            list
        };
        assert_eq!(others(&full.properties), others(&properties));
        client.expect_silence(100);
    });
}

#[test]
fn queued_messages_keep_their_properties() {
    for_each_way(|broker, end| {
        let topic = unique("props");
        let connect = Connect::persistent(5, unique("props"));
        let mut client = Client::connect(broker, &connect).0;
        let id = Properties::new().var(property::SUBSCRIPTION_IDENTIFIER, 7);
        client.subscribe_with(&id, &[(&topic, 1)]);
        client.disconnect();
        let properties = Properties::new()
            .text(property::CONTENT_TYPE, "type")
            .text(property::RESPONSE_TOPIC, "answer")
            .binary(property::CORRELATION_DATA, b"data")
            .user("b", "2")
            .user("a", "1");
        let publish = Publish::new(&topic, b"x").properties(properties);
        Client::v5(broker, &unique("pub")).publish_packet(Publish { qos: 1, ..publish });
        end.restart(broker);
        let publish = resume(broker, &connect).receive();
        assert_eq!(
            publish.properties.string(property::CONTENT_TYPE),
            Some("type")
        );
        assert_eq!(
            publish.properties.string(property::RESPONSE_TOPIC),
            Some("answer")
        );
        assert_eq!(
            publish.properties.data(property::CORRELATION_DATA),
            Some(&b"data"[..])
        );
        assert_eq!(publish.properties.users(), [("b", "2"), ("a", "1")]);
        assert_eq!(
            publish.properties.number(property::SUBSCRIPTION_IDENTIFIER),
            Some(7)
        );
    });
}

#[test]
fn clean_sessions_are_not_kept() {
    for_each_way(|broker, end| {
        let topic = unique("fleeting");
        let id = unique("fleeting");
        let mut client = Client::connect(broker, &Connect::new(4, &id)).0;
        client.subscribe(&topic, 1);
        client.ping();
        end.restart(broker);
        let (_, connack) = Client::connect(broker, &Connect::persistent(4, &id));
        assert!(!connack.session_present);
        let publish = Publish {
            qos: 1,
            ..Publish::new(&topic, b"x")
        };
        let ack = Client::v5(broker, &unique("pub"))
            .publish_packet(publish)
            .expect("a PUBACK");
        assert!([0, 0x10].contains(&ack.reason), "{ack:02x?}");
    });
}

#[test]
fn memory_keeps_nothing_over_a_restart_and_all_until_then() {
    let broker = Broker::builder().storage("memory").start();
    let topic = unique("memory");
    let connect = Connect::persistent(5, unique("memory"));
    let mut client = Client::connect(&broker, &connect).0;
    client.subscribe(&topic, 1);
    client.disconnect();
    let mut publisher = Client::v5(&broker, &unique("pub"));
    publisher.publish_retained(&topic, b"x", 1);
    assert_eq!(resume(&broker, &connect).receive().payload, b"x");
    End::Asked.restart(&broker);
    let (mut client, connack) = Client::connect(&broker, &connect);
    assert!(!connack.session_present);
    client.subscribe(&topic, 1);
    client.expect_silence(100);
}

/// A shared subscription of a session that is away is there again, too.
#[test]
fn shared_subscriptions_are_kept() {
    for_each_way(|broker, end| {
        let topic = unique("shared");
        let connect = Connect::persistent(5, unique("member"));
        let mut client = Client::connect(broker, &connect).0;
        client.subscribe(&format!("$share/g/{topic}"), 1);
        client.disconnect();
        end.restart(broker);
        Client::v5(broker, &unique("pub")).publish(&topic, b"x", 1);
        let mut client = resume(broker, &connect);
        assert_eq!(client.recv_kind(wire::PUBLISH).publish(5).payload, b"x");
    });
}

/// A start does not read every queue: 400 messages of 50 KiB for each of ten sessions, 200 MiB.
#[test]
fn a_start_does_not_load_the_queues() {
    let broker = Broker::builder().storage("redb").start();
    // A topic for each: a body that many queues share would be stored once.
    let connects: Vec<_> = (0..10_u16)
        .map(|number| Connect::persistent(4, format!("big{number}")))
        .collect();
    for (number, connect) in connects.iter().enumerate() {
        let mut client = Client::connect(&broker, connect).0;
        client.subscribe(&format!("big/{number}"), 1);
        client.disconnect();
    }
    let mut publisher = Client::v5(&broker, &unique("pub"));
    for batch in 0..40 {
        let mut bytes = Vec::new();
        for id in 0..100_u16 {
            let topic = format!("big/{}", id % 10);
            let publish = Publish::new(&topic, vec![batch; 50 * 1024]).qos(1, id + 1);
            bytes.extend(publish.bytes(5));
        }
        publisher.send(&bytes);
        for id in 1..=100 {
            assert!(publisher.expect_ack(wire::PUBACK, id).reason < 0x80);
        }
    }
    End::Asked.restart(&broker);
    let anonymous = broker.anonymous_kib();
    assert!(
        anonymous < 160 * 1024,
        "{anonymous} KiB after a start with 200 MiB of queues"
    );
    let mut client = resume(&broker, &connects[3]);
    for batch in 0..40 {
        for _ in 0..10 {
            assert_eq!(client.receive().payload[0], batch);
        }
    }
    client.disconnect();
    eventually!(broker.is_running());
}
