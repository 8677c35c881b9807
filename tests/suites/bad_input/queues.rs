//! B2: sessions of clients that are away, with more in their queues than they may hold.

use std::time::Duration;

use gatemq_tests::{Broker, Client, Connect, Publish, unique, wire};

use super::{
    oracle::{Oracle, scaled},
    verdict::connected,
};

const QUOTA: u8 = 50;
const SENT: u8 = 80;

struct Away {
    broker: Broker,
    topic: String,
    connect: Connect,
    codes: Vec<u8>,
}

/// A session that is away while more is sent to it than its queue may hold.
fn overfill(policy: &str, way: &str) -> Away {
    let config =
        format!("limits: {{max-queued-messages: {QUOTA}}}\nsession: {{on-full: {policy}}}\n");
    let broker = Broker::builder().storage(way).config(config).start();
    let topic = unique("full");
    let connect = Connect::persistent(5, unique("away"));
    let mut client = Client::connect(&broker, &connect).0;
    client.subscribe(&topic, 1);
    client.disconnect();
    let mut publisher = connected(&broker, 5);
    let codes = (0..SENT).map(|number| {
        let id = publisher.next_id();
        publisher.send(&Publish::new(&topic, [number]).qos(1, id).bytes(5));
        publisher.expect_ack(wire::PUBACK, id).reason
    });
    let codes = codes.collect();
    Away {
        broker,
        topic,
        connect,
        codes,
    }
}

impl Away {
    /// Session Present, and the numbers of the messages that were kept.
    fn back(&self) -> (bool, Vec<u8>) {
        let (mut client, connack) = Client::connect(&self.broker, &self.connect);
        let received = std::iter::from_fn(|| {
            let packet = client.recv_within(Duration::from_secs(1))?;
            let publish = packet.publish(5);
            client.acknowledge(&publish);
            Some(publish.payload[0])
        });
        (connack.session_present, received.collect())
    }
}

/// The default: an honest end. Promise 7 of the design.
#[test]
fn b2_end_session_hides_no_loss() {
    for way in ["memory", "redb"] {
        let away = overfill("end-session", way);
        assert!(
            away.codes.iter().all(|code| *code < 0x80),
            "{way}: {:02x?}",
            away.codes
        );
        assert_eq!(away.back(), (false, vec![]), "{way}");
    }
}

#[test]
fn b2_reject_tells_the_publisher() {
    for way in ["memory", "redb"] {
        let away = overfill("reject", way);
        let (taken, refused) = away.codes.split_at(usize::from(QUOTA));
        assert!(
            taken.iter().all(|code| *code < 0x80),
            "{way}: {:02x?}",
            away.codes
        );
        assert!(
            refused.iter().all(|code| *code == 0x97),
            "{way}: {:02x?}",
            away.codes
        );
        assert_eq!(away.back(), (true, (0..QUOTA).collect()), "{way}");
    }
}

#[test]
fn b2_drop_oldest_keeps_the_newest() {
    for way in ["memory", "redb"] {
        let away = overfill("drop-oldest", way);
        assert!(
            away.codes.iter().all(|code| *code < 0x80),
            "{way}: {:02x?}",
            away.codes
        );
        assert_eq!(away.back(), (true, (SENT - QUOTA..SENT).collect()), "{way}");
    }
}

/// Nobody is refused for what somebody else does not take: room is made for messages that are larger
/// than those that go, and for many that come at once, before the first of them is stored.
#[test]
fn b2_drop_oldest_refuses_nobody() {
    const LARGE: usize = 20 * 1024;
    let limits = format!("max-queued-messages: {QUOTA}, max-queued-bytes: 32KiB");
    for way in ["memory", "redb"] {
        let config = format!("limits: {{{limits}}}\nsession: {{on-full: drop-oldest}}\n");
        let broker = Broker::builder().storage(way).config(config).start();
        let topic = unique("full");
        let connect = Connect::persistent(5, unique("away"));
        Client::connect(&broker, &connect).0.subscribe(&topic, 1);
        let mut publisher = connected(&broker, 5);
        let mut publish = |sizes: &[usize]| {
            let ids: Vec<_> = sizes.iter().map(|_| publisher.next_id()).collect();
            let sent = ids.iter().zip(sizes).flat_map(|(id, size)| {
                let payload = vec![u8::try_from(*size % 251).expect("small"); *size];
                Publish::new(&topic, payload).qos(1, *id).bytes(5)
            });
            publisher.send(&sent.collect::<Vec<u8>>());
            for id in ids {
                let reason = publisher.expect_ack(wire::PUBACK, id).reason;
                assert!(reason < 0x80, "{way}: {reason:#04x}");
            }
        };
        let burst: Vec<usize> = (1..=usize::from(SENT)).collect();
        publish(&burst);
        publish(&[LARGE]);
        publish(&[LARGE]);
        publish(&[1]); // for some nothing could go that was not safe yet
        let (mut client, connack) = Client::connect(&broker, &connect);
        assert!(connack.session_present, "{way}");
        let mut sizes = Vec::new();
        while let Some(packet) = client.recv_within(Duration::from_secs(1)) {
            let publish = packet.publish(5);
            sizes.push(publish.payload.len());
            client.acknowledge(&publish);
        }
        assert!(sizes.ends_with(&[LARGE, 1]), "{way}: {sizes:?}");
        let n_bytes: usize = sizes.iter().sum();
        assert!(n_bytes <= 32 * 1024, "{way}: {sizes:?}");
        assert!(sizes.len() <= usize::from(QUOTA), "{way}: {sizes:?}");
    }
}

/// Before 5 there is no code for a refusal: no acknowledgement is the honest answer.
#[test]
fn b2_reject_withholds_the_acknowledgement_of_3_1_1() {
    let away = overfill("reject", "memory");
    let mut refused = connected(&away.broker, 4);
    refused.send(&Publish::new(&away.topic, b"x").qos(1, 1).bytes(4));
    assert!(refused.until_closed().is_empty(), "no acknowledgement"); // [MQTT-4.8.0-2]
    // It is no worse for other topics, on a connection that may be new.
    connected(&away.broker, 4).publish(&unique("elsewhere"), b"x", 1);
    assert_eq!(away.back().1.len(), usize::from(QUOTA));
}

/// A session at its quota must not keep others from their messages.
#[test]
fn b2_one_full_queue_is_no_one_elses_trouble() {
    let broker = Broker::builder()
        .config("limits: {max-queued-messages: 10}\nsession: {on-full: drop-oldest}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    let topic = unique("both");
    let connect = Connect::persistent(5, unique("away"));
    Client::connect(&broker, &connect).0.subscribe(&topic, 1);
    let mut present = connected(&broker, 4);
    present.subscribe(&topic, 1);
    let mut publisher = connected(&broker, 4);
    for number in 0..100_u8 {
        publisher.publish(&topic, [number], 1);
        assert_eq!(present.receive().payload, [number]);
    }
    drop((present, publisher));
    oracle.judge(16 * 1024);
}

/// Sends so many QoS 1 messages of 64 KiB; the reason codes.
fn publish_large(broker: &Broker, topic: &str, count: usize) -> Vec<u8> {
    let mut publisher = connected(broker, 5);
    let mut publish = |_| {
        let id = publisher.next_id();
        publisher.send(&Publish::new(topic, [b'x'; 64 * 1024]).qos(1, id).bytes(5));
        publisher.expect_ack(wire::PUBACK, id).reason
    };
    (0..count).map(&mut publish).collect()
}

/// A client that is there but does not read has a queue, too. Scale 1: 1,000 messages of 64 KiB
/// (63 MiB). What the allocator keeps for its threads comes and goes in steps of 2 MiB, up to 16 MiB
/// on a busy machine: so much more than that is sent.
#[test]
fn b2_the_queue_of_a_client_that_does_not_read_is_bounded() {
    for policy in ["end-session", "reject", "drop-oldest"] {
        let limits = "max-queued-bytes: 2MiB, max-outbox-bytes: 1MiB";
        let broker = Broker::builder()
            .config(format!(
                "limits: {{{limits}}}\nsession: {{on-full: {policy}}}\n"
            ))
            .start();
        let oracle = Oracle::watch(&broker);
        let topic = unique("deaf");
        let mut deaf = connected(&broker, 5);
        deaf.subscribe(&topic, 1);
        let codes = publish_large(&broker, &topic, scaled(1_000));
        assert!(
            codes.iter().all(|code| matches!(code, 0 | 0x10 | 0x97)),
            "{policy}: {codes:02x?}"
        );
        let is_refused = codes.contains(&0x97);
        assert_eq!(is_refused, policy == "reject", "{policy}: {codes:02x?}");
        let has_left = codes.last() == Some(&0x10);
        assert_eq!(has_left, policy == "end-session", "{policy}: {codes:02x?}");
        oracle.grew_less_than(32 * 1024);
        drop(deaf);
        oracle.judge(32 * 1024);
    }
}

/// Where the storage is memory, all that waits for a client is in memory. Scale 1: 1,000 messages
/// of 64 KiB (63 MiB) for a client that is away.
#[test]
fn b2_a_queue_in_memory_is_bounded_in_bytes() {
    let broker = Broker::builder()
        .storage("memory")
        .config("limits: {max-queued-bytes: 2MiB}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    let topic = unique("away");
    let connect = Connect::persistent(5, unique("away"));
    let mut client = Client::connect(&broker, &connect).0;
    client.subscribe(&topic, 1);
    client.disconnect();
    publish_large(&broker, &topic, scaled(1_000));
    oracle.grew_less_than(32 * 1024);
    let (_, connack) = Client::connect(&broker, &connect);
    assert!(!connack.session_present, "what was dropped is not hidden");
    oracle.judge(32 * 1024);
}

/// Scale 1: 20 sessions × 50 messages of 256 KiB (250 MiB in all), of which memory holds no more than
/// what is on its way to the disk.
#[test]
fn b2_stored_queues_are_not_in_memory() {
    let broker = Broker::builder()
        .storage("redb")
        .config("limits: {max-queued-bytes: 64MiB}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    let n_sessions = scaled(20);
    // A topic for each: a body that many queues share would be stored once.
    let topics: Vec<_> = (0..n_sessions).map(|_| unique("heavy")).collect();
    let connects: Vec<_> = topics
        .iter()
        .map(|topic| Connect::persistent(4, topic))
        .collect();
    for (connect, topic) in connects.iter().zip(&topics) {
        let mut client = Client::connect(&broker, connect).0;
        client.subscribe(topic, 1);
        client.disconnect();
    }
    let mut publisher = connected(&broker, 5);
    publisher.set_limit(Duration::from_secs(20));
    for number in 0..50_u8 {
        for topic in &topics {
            publisher.publish(topic, vec![number; 256 * 1024], 1);
        }
    }
    eprintln!(
        "{} KiB more after {n_sessions} full queues",
        oracle.growth_kib()
    );
    // redb's own cache is 64 MiB of this.
    let limit_kib = 140 * 1024 + 1024 * n_sessions as u64;
    oracle.grew_less_than(limit_kib);
    let (mut client, connack) = Client::connect(&broker, &connects[0]);
    assert!(connack.session_present);
    for number in 0..50_u8 {
        assert!(
            client.receive().payload == vec![number; 256 * 1024],
            "message {number}"
        );
    }
    drop((client, publisher));
    oracle.judge(limit_kib);
}

/// How much is stored is not known after a start: large messages at the front of a queue say nothing of
/// those behind them.
#[test]
fn b2_no_queue_is_taken_for_full_after_a_restart_for_its_first_messages() {
    const LARGE: usize = 32;
    const SMALL: usize = 1_000;
    for on_full in ["end-session", "drop-oldest", "reject"] {
        let config =
            format!("limits: {{max-queued-bytes: 64KiB}}\nsession: {{on-full: {on_full}}}\n");
        let builder = Broker::builder().storage("redb").config(&config);
        let broker = builder.start();
        let topic = unique("full");
        let connect = Connect::persistent(5, unique("away"));
        Client::connect(&broker, &connect).0.subscribe(&topic, 1);
        let mut publisher = connected(&broker, 5);
        for number in 0..LARGE + SMALL {
            let size = if number < LARGE { 200 } else { 4 };
            publisher.publish(&topic, vec![b'x'; size], 1);
        }
        broker.restart();
        connected(&broker, 5).publish(&topic, b"last", 1);
        let (mut client, connack) = Client::connect(&broker, &connect);
        assert!(connack.session_present, "{on_full}");
        let (mut n_received, mut last) = (0, Vec::new());
        while let Some(packet) = client.recv_within(Duration::from_secs(1)) {
            let publish = packet.publish(5);
            client.acknowledge(&publish);
            (n_received, last) = (n_received + 1, publish.payload);
        }
        assert_eq!(last, b"last", "{on_full}");
        assert_eq!(n_received, LARGE + SMALL + 1, "{on_full}");
    }
}
