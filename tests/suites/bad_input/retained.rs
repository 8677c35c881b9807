//! B1: retained messages up to their quota, beyond it, and all of them at once.

use std::{thread, time::Duration};

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, eventually, unique,
    wire::{self, property},
};

use crate::listeners::http_client::{get, n_hits};

use super::{
    oracle::{Oracle, scaled},
    verdict::connected,
};

/// Sends retained QoS 1 messages with up to 500 unacknowledged; their reason codes in order.
fn publish_all(client: &mut Client, topics: impl Iterator<Item = String>) -> Vec<u8> {
    let topics: Vec<_> = topics.collect();
    let mut codes = Vec::with_capacity(topics.len());
    for batch in topics.chunks(500) {
        let mut bytes = Vec::new();
        for (topic, id) in batch.iter().zip(1..) {
            bytes.extend(Publish::new(topic, [b'x'; 32]).qos(1, id).retain().bytes(5));
        }
        client.send(&bytes);
        for (_, id) in batch.iter().zip(1..) {
            codes.push(client.expect_ack(wire::PUBACK, id).reason);
        }
    }
    codes
}

/// Scale 1: a quota of 20,000.
#[test]
fn b1_retained_messages_end_at_their_quota() {
    let quota = scaled(20_000);
    let broker = Broker::builder()
        .config(format!("limits: {{max-retained: {quota}}}\n"))
        .start();
    let oracle = Oracle::watch(&broker);
    let mut client = connected(&broker, 5);
    let topic = |number: usize| format!("quota/{}/{number}", number % 100);
    // The broker's own retained messages may count, so that the last few are uncertain.
    let sure = quota - quota / 100;
    let codes = publish_all(&mut client, (0..sure).map(topic));
    assert!(
        codes.iter().all(|code| *code < 0x80),
        "refused before the quota"
    );
    let per_topic = oracle.growth_kib() * 1024 / sure as u64;
    eprintln!("{per_topic} bytes of memory a retained message");
    assert!(
        per_topic < 2048,
        "{per_topic} bytes of memory a retained message"
    );

    let codes = publish_all(&mut client, (sure..quota + 600).map(topic));
    let (taken, refused): (Vec<u8>, Vec<u8>) = codes.iter().partition(|code| **code < 0x80);
    assert!(refused.iter().all(|code| *code == 0x97), "{refused:02x?}");
    assert!(
        taken.len() <= quota - sure,
        "{} above the quota",
        taken.len()
    );
    assert!(!refused.is_empty(), "nothing was refused");

    // At the quota a known topic may be set again, and one that is cleared makes room.
    assert!(publish_all(&mut client, [topic(0)].into_iter())[0] < 0x80);
    client.publish_retained(&topic(1), b"", 1);
    assert!(publish_all(&mut client, [topic(quota + 700)].into_iter())[0] < 0x80);
    assert_eq!(
        publish_all(&mut client, [topic(quota + 701)].into_iter()),
        [0x97]
    );

    // QoS 0 and 3.1.1 have no words for it: the client goes on, or is cut off, but never lied to.
    client.publish_retained(&topic(quota + 702), b"x", 0);
    client.ping();
    let mut old = connected(&broker, 4);
    old.send(
        &Publish::new(&topic(quota + 703), b"x")
            .qos(1, 9)
            .retain()
            .bytes(4),
    );
    let answer = old.recv_within(Duration::from_secs(2));
    assert_eq!(
        answer, None,
        "a 3.1.1 client was told that its message is safe"
    );
    let mut late = connected(&broker, 5);
    late.subscribe(&topic(quota + 702), 0);
    late.subscribe(&topic(quota + 703), 0);
    late.expect_silence(100);
    drop((client, old, late));
    oracle.judge(128 * 1024 + 2 * quota as u64);
}

/// A quota of 1 MiB, whatever it is made up of, before a restart and after it.
#[test]
fn b1_the_bytes_of_retained_messages_end_at_their_quota() {
    let broker = Broker::builder()
        .config("limits: {max-retained-bytes: 1MiB}\n")
        .storage("redb")
        .start();
    let mut client = connected(&broker, 5);
    let publish = |client: &mut Client, topic: String, n_bytes: usize| {
        let packet = Publish::new(&topic, vec![b'x'; n_bytes]).qos(1, 1).retain();
        client.send(&packet.bytes(5));
        client.expect_ack(wire::PUBACK, 1).reason
    };
    let mut codes = (0..200).map(|n| publish(&mut client, format!("bytes/{n}"), 10_000));
    let n_taken = codes
        .position(|code| code == 0x97)
        .expect("there is a quota");
    drop(codes);
    assert!((95..=104).contains(&n_taken), "{n_taken} of 10,000 bytes");
    assert_eq!(n_hits(&broker, "max-retained-bytes"), 1);
    assert_eq!(n_hits(&broker, "max-retained"), 0);
    // Something shorter has room where something longer has not, and a clear makes some.
    let is_taken = |code: u8| code < 0x80;
    assert!(is_taken(publish(&mut client, "bytes/0".to_owned(), 9_990)));
    assert!(!is_taken(publish(
        &mut client,
        "bytes/1".to_owned(),
        20_000
    )));
    assert!(is_taken(publish(&mut client, "bytes/2".to_owned(), 0)));
    assert!(is_taken(publish(&mut client, "bytes/1".to_owned(), 19_000)));
    let n_bytes = || {
        let metrics = get(broker.http(), "/metrics").body;
        let name = "gateway_retained_bytes ";
        let mut found = metrics.lines().filter_map(|line| line.strip_prefix(name));
        let found = found.next().expect("it is a metric");
        found.parse::<u64>().expect("a number")
    };
    let before = n_bytes();
    assert!((950_000..=1 << 20).contains(&before), "{before} bytes");
    drop(client);
    broker.restart();
    let mut client = connected(&broker, 5);
    assert_eq!(n_bytes(), before);
    assert!(!is_taken(publish(
        &mut client,
        "bytes/new".to_owned(),
        20_000
    )));
    for n in 0..n_taken {
        publish(&mut client, format!("bytes/{n}"), 0);
    }
    eventually!(n_bytes() == 0);
}

/// Scale 1: 5,000 retained messages, 10 subscribers to all of them at once.
#[test]
fn b1_subscribers_to_everything_at_once() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let n_retained = scaled(5_000);
    let mut client = connected(&broker, 5);
    publish_all(
        &mut client,
        (0..n_retained).map(|number| format!("all/{number}")),
    );
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let connect = Connect::new(5, unique("everything"));
                let mut subscriber = Client::connect(&broker, &connect).0;
                subscriber.set_limit(Duration::from_secs(20));
                subscriber.subscribe("all/#", 0);
                let mut seen = vec![false; n_retained];
                for _ in 0..n_retained {
                    let publish = subscriber.recv_kind(wire::PUBLISH).publish(5);
                    let number: usize = publish.topic["all/".len()..].parse().expect("a number");
                    assert!(publish.retain && !seen[number], "{publish:?}");
                    seen[number] = true;
                }
                subscriber.expect_silence(50);
            });
        }
    });
    drop(client);
    oracle.judge(96 * 1024);
}

/// Topics are set, cleared and expire under subscribers that come and go. Scale 1: 3 × 500 turns.
#[test]
fn b1_set_clear_and_expire_race() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let n_turns = scaled(500);
    thread::scope(|scope| {
        for worker in 0..3_usize {
            let broker = &broker;
            scope.spawn(move || {
                let mut client = connected(broker, 5);
                let expiry = Properties::new().four(property::MESSAGE_EXPIRY_INTERVAL, 1);
                for turn in 0..n_turns {
                    let topic = format!("race/{}", (turn * 7 + worker) % 10);
                    let publish = match (turn + worker) % 3 {
                        0 => Publish::new(&topic, b"stays"),
                        1 => Publish::new(&topic, b""),
                        _ => Publish::new(&topic, b"goes").properties(expiry.clone()),
                    };
                    client.publish_packet(Publish {
                        qos: 1,
                        ..publish.retain()
                    });
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..n_turns / 5 {
                let mut client = connected(&broker, 5);
                client.subscribe("race/#", 0);
                client.disconnect();
            }
        });
    });
    // What is left at the end is cleared, and what expires is gone by itself.
    let mut client = connected(&broker, 5);
    for number in 0..5 {
        client.publish_retained(&format!("race/{number}"), b"", 1);
    }
    for number in 5..10 {
        let expiry = Properties::new().four(property::MESSAGE_EXPIRY_INTERVAL, 1);
        let publish = Publish::new(&format!("race/{number}"), b"goes").properties(expiry);
        client.publish_packet(Publish {
            qos: 1,
            ..publish.retain()
        });
    }
    eventually!({
        let mut late = connected(&broker, 4);
        late.subscribe("race/#", 0);
        late.recv_within(Duration::from_millis(100)).is_none()
    });
    drop(client);
    oracle.judge(32 * 1024);
}
