//! A client id has one owner, whoever came last.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use gatemq_tests::{Broker, Client, Connect, Publish, Will, eventually, unique, wire};

// [MQTT-3.1.4-3]
#[test]
fn the_newer_connection_takes_the_session_with_its_queue() {
    let broker = Broker::shared();
    let topic = unique("taken");
    let connect = Connect::persistent(5, unique("taken"));
    let mut old = Client::connect(&broker, &connect).0;
    old.subscribe(&topic, 1);
    let mut publisher = Client::v5(&broker, &unique("pub"));
    for number in 0..10_u8 {
        publisher.publish(&topic, [number], 1);
    }
    // Three of ten are acknowledged, three are read, the rest is on its way.
    for number in 0..3_u8 {
        assert_eq!(old.receive().payload, [number]);
    }
    // What is acknowledged counts once the broker has read it.
    old.ping();
    let ids: Vec<_> = (3..6_u8).map(|_| old.expect_publish().id).collect();
    let (mut new, connack) = Client::connect(&broker, &connect);
    assert!(connack.session_present);
    let last = old.until_closed().pop().expect("a DISCONNECT");
    assert_eq!(last.disconnect(wire::DISCONNECT).reason, 0x8E);
    for number in 3..10_u8 {
        let publish = new.receive();
        assert_eq!(publish.payload, [number]);
        if let Some(id) = ids.get(usize::from(number) - 3) {
            assert_eq!((publish.id, publish.dup), (*id, true), "message {number}");
        }
    }
    publisher.publish(&topic, b"after", 1);
    assert_eq!(new.receive().payload, b"after");
    new.expect_silence(100);
}

#[test]
fn what_the_old_connection_sends_late_has_no_effect() {
    let broker = Broker::shared();
    let topic = unique("late");
    let connect = Connect::persistent(4, unique("late"));
    let mut watcher = Client::v5(&broker, &unique("watcher"));
    watcher.subscribe(&topic, 1);
    let mut old = Client::connect(&broker, &connect).0;
    let _new = Client::connect(&broker, &connect).0;
    // The CONNACK is the moment from which the old connection is nobody's.
    old.send(&Publish::new(&topic, b"late").qos(1, 1).bytes(4));
    old.until_closed();
    watcher.expect_silence(200);
}

/// Two clients throw each other out for a while; when one gives up, the other stays.
#[test]
fn a_churn_of_takeovers_ends_with_one_owner() {
    for way in ["memory", "redb"] {
        let broker = Broker::builder().storage(way).start();
        let topic = unique("churn");
        let connect = Connect::persistent(5, unique("churn"));
        Client::connect(&broker, &connect).0.subscribe(&topic, 1);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let mut client = Client::connect_tcp(broker.tcp());
                        client.send(&connect.bytes());
                        client.set_level(5);
                        let first = client.recv_within(Duration::from_secs(5));
                        let first = first.expect("a CONNACK, or the news of the takeover");
                        assert_eq!(first.connack(5).code, 0);
                        assert!(first.connack(5).session_present);
                    }
                });
            }
        });
        let (mut owner, connack) = Client::connect(&broker, &connect);
        assert!(connack.session_present);
        Client::v5(&broker, &unique("pub")).publish(&topic, b"one", 1);
        assert_eq!(owner.receive().payload, b"one", "{way}");
        owner.expect_silence(200);
        owner.ping();
        assert!(!broker.log().contains("panicked"), "{}", broker.log());
    }
}

/// Takeover is not a death: with a delay the will waits for the session, which goes on.
/// [MQTT-3.1.3-9]
#[test]
fn a_delayed_will_is_not_sent_by_a_takeover() {
    let broker = Broker::shared();
    let topic = unique("takenwill");
    let mut watcher = Client::v5(&broker, &unique("watcher"));
    watcher.subscribe(&topic, 0);
    let delay = gatemq_tests::Properties::new().four(wire::property::WILL_DELAY_INTERVAL, 1);
    let will = Will::new(&topic, b"gone").properties(delay);
    let connect = Connect::persistent(5, unique("taken")).will(will);
    let mut old = Client::connect(&broker, &connect).0;
    let _new = Client::connect(&broker, &connect).0;
    old.expect_disconnect(0x8E);
    watcher.expect_silence(2000);
}

#[test]
fn a_clean_start_forgets_what_was_queued() {
    for way in ["memory", "redb", "fjall"] {
        let broker = Broker::builder().storage(way).start();
        let topic = unique("clean");
        let connect = Connect::persistent(5, unique("clean"));
        let mut client = Client::connect(&broker, &connect).0;
        client.subscribe(&topic, 2);
        client.disconnect();
        let mut publisher = Client::v4(&broker, &unique("pub"));
        publisher.publish(&topic, b"old", 2);
        let (mut client, connack) = Client::connect(&broker, &connect.clone().clean(true));
        assert!(!connack.session_present, "{way}");
        client.expect_silence(100);
        publisher.publish(&topic, b"unheard", 2);
        client.expect_silence(100);
        client.cut();
        // The new session is empty over a restart, too.
        broker.restart();
        let (mut client, connack) = Client::connect(&broker, &connect);
        assert_eq!(connack.session_present, way != "memory", "{way}");
        client.expect_silence(100);
    }
}

#[test]
fn a_session_that_ends_leaves_nothing_behind() {
    let broker = Broker::builder().start();
    let before = broker.fd_count();
    let topic = unique("ends");
    for _ in 0..100 {
        let mut client = Client::v5(&broker, &unique("ends"));
        client.subscribe(&topic, 1);
        client.disconnect();
    }
    eventually!(broker.fd_count() <= before);
    let ack = Client::v5(&broker, &unique("pub"))
        .publish_packet(Publish {
            qos: 1,
            ..Publish::new(&topic, b"x")
        })
        .expect("a PUBACK");
    assert!([0, 0x10].contains(&ack.reason), "{ack:02x?}");
}

/// Messages that are sent again while their session changes hands, by the old connection and by the
/// new one at once: that of QoS 2 counts once for whoever receives it, that of QoS 1 arrives.
#[test]
fn a11_what_is_sent_again_during_a_takeover_counts_once() {
    thread::scope(|scope| {
        for way in ["memory", "redb", "fjall"] {
            scope.spawn(move || {
                let broker = Broker::builder().storage(way).start();
                for level in [4, 5] {
                    sent_again_during_takeovers(&broker, level, way);
                }
            });
        }
    });
}

fn sent_again_during_takeovers(broker: &Broker, level: u8, way: &str) {
    const ROUNDS: u8 = 20;
    let topic = unique("again");
    let mut watcher = Client::v5(broker, &unique("watcher"));
    watcher.subscribe(&topic, 2);
    let connect = Connect::persistent(level, unique("sender"));
    let mut old = Client::connect(broker, &connect).0;
    for round in 0..ROUNDS {
        let twice = Publish::new(&topic, [2, round]).qos(2, 7);
        let once = Publish::new(&topic, [1, round]).qos(1, 8);
        old.send(&[twice.bytes(level), once.bytes(level)].concat());
        if round % 2 == 0 {
            old.expect_ack(wire::PUBREC, 7); // otherwise the takeover may be before it
        }
        let again = twice.dup().bytes(level);
        let mut new = Client::connect_tcp(broker.tcp());
        new.set_level(level);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            // Also behind the new one's PUBREL: what is late has no effect.
            scope.spawn(|| while old.try_send(&again).is_ok() && !is_over.load(Relaxed) {});
            // The new one does not wait for its CONNACK.
            let resent = once.clone().dup().bytes(level);
            new.send(&[connect.bytes(), again.clone(), resent].concat());
            let connack = new.recv().connack(level);
            assert_eq!((connack.code, connack.session_present), (0, true));
            new.expect_ack(wire::PUBREC, 7);
            new.send(&wire::ack(wire::PUBREL, 7));
            new.expect_ack(wire::PUBCOMP, 7);
            new.expect_ack(wire::PUBACK, 8);
            is_over.store(true, Relaxed);
        });
        old = new;
    }
    old.publish(&topic, [0], 2);
    let mut received = Vec::new();
    while received.last() != Some(&vec![0]) {
        received.push(watcher.receive().payload);
    }
    for round in 0..ROUNDS {
        let count = |qos| {
            received
                .iter()
                .filter(|payload| **payload == [qos, round])
                .count()
        };
        let what = format!("{way}, level {level}, round {round}: {received:?}");
        assert_eq!(count(2), 1, "{what}");
        assert!(count(1) >= 1, "{what}");
    }
    watcher.expect_silence(100);
}
