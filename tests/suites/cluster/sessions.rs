//! A session is one session, on whatever node its client connects: one owner, one queue, the
//! identifiers that it had.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use gatemq_tests::{
    Client, Cluster, Connect, Node, Properties, Publish,
    patience::{becomes_true, pause},
    unique, wire,
    wire::property,
};

use super::PAIRS;

const TAKEN_OVER: u8 = 0x8E;

/// A persistent session that expires after so many seconds.
fn expiring(client_id: &str, seconds: u32) -> Connect {
    let expiry = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, seconds);
    Connect::new(5, client_id).clean(false).properties(expiry)
}

/// What PUBACK or PUBREC says to a message.
fn reason_of(publisher: &mut Client, topic: &str, payload: &[u8], qos: u8) -> u8 {
    let publish = Publish {
        qos,
        ..Publish::new(topic, payload)
    };
    let ack = publisher.publish_packet(publish);
    ack.expect("it was not of QoS 0").reason
}

/// [MQTT-3.1.4-3]
#[test]
fn whoever_comes_last_takes_the_client_id_from_any_node() {
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    for (from, to) in PAIRS {
        for level in [4, 5] {
            for is_clean in [true, false] {
                let what = format!("from {from} to {to}, level {level}, clean {is_clean}");
                takeover(nodes[from], nodes[to], level, is_clean, &what);
            }
        }
    }
}

fn takeover(from: &Node, to: &Node, level: u8, is_clean: bool, what: &str) {
    let topic = unique("taken");
    let connect = match is_clean {
        true => Connect::new(level, unique("taken")),
        false => Connect::persistent(level, unique("taken")),
    };
    let mut old = from.connect(&connect).0;
    old.subscribe(&topic, 1);
    let (mut new, connack) = to.connect(&connect);
    assert_eq!(connack.session_present, !is_clean, "{what}");
    let farewell = old.until_closed();
    match level {
        5 => {
            let last = farewell.last().expect("a DISCONNECT").clone();
            let reason = last.disconnect(wire::DISCONNECT).reason;
            assert_eq!(reason, TAKEN_OVER, "{what}");
        }
        _ => assert!(farewell.is_empty(), "{what}: {farewell:?}"),
    }
    let mut publisher = from.v5(&unique("pub"));
    let reason = reason_of(&mut publisher, &topic, b"after", 1);
    if is_clean {
        new.expect_silence(20);
    } else {
        assert_eq!(reason, 0, "{what}");
        assert_eq!(new.receive().payload, b"after", "{what}");
    }
    new.ping();
}

#[test]
fn what_the_old_connection_sends_late_has_no_effect() {
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let topic = unique("late");
    let mut watcher = three.v5(&unique("watcher"));
    watcher.subscribe(&topic, 1);
    for level in [4, 5] {
        let connect = Connect::persistent(level, unique("late"));
        let mut old = one.connect(&connect).0;
        let mut new = two.connect(&connect).0;
        // The CONNACK is the moment from which the old connection is nobody's.
        old.send(&Publish::new(&topic, b"late").qos(1, 1).bytes(level));
        old.until_closed();
        new.publish(&topic, b"in time", 1);
        assert_eq!(watcher.receive().payload, b"in time");
    }
    watcher.expect_silence(100);
}

#[test]
fn thirty_connections_at_once_end_with_one_owner() {
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    for is_clean in [true, false] {
        let topic = unique("crowd");
        let client_id = unique("crowd");
        let connect = match is_clean {
            true => Connect::new(5, &client_id),
            false => Connect::persistent(5, &client_id),
        };
        let start = Barrier::new(30);
        let mut clients: Vec<Client> = thread::scope(|scope| {
            let connecting: Vec<_> = (0..30)
                .map(|number: usize| {
                    let (start, connect, node) = (&start, &connect, nodes[number % 3]);
                    scope.spawn(move || {
                        let mut client = Client::connect_tcp(node.tcp());
                        client.set_limit(Duration::from_secs(20));
                        client.set_level(5);
                        start.wait();
                        client.send(&connect.bytes());
                        let connack = client.recv().connack(5);
                        assert_eq!(connack.code, 0, "{connack:?}");
                        client
                    })
                })
                .collect();
            let joined = connecting.into_iter().map(|thread| thread.join());
            joined.map(|client| client.expect("a CONNACK")).collect()
        });
        // All but one hear that they were taken over, and that one is the owner.
        let only_one = becomes_true(Duration::from_secs(10), || {
            clients.retain_mut(Client::is_open);
            clients.len() <= 1
        });
        assert!(
            only_one,
            "clean {is_clean}: {} connections are open",
            clients.len()
        );
        let mut owner = clients.pop().expect("one connection is left");
        owner.subscribe(&topic, 1);
        nodes[0].v4(&unique("pub")).publish(&topic, b"one", 1);
        assert_eq!(owner.receive().payload, b"one");
        owner.expect_silence(50);
        owner.ping();
    }
}

#[test]
fn a_queue_is_received_on_another_node() {
    const N_MESSAGES: u8 = 40;
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    for (number, (from, to)) in PAIRS.into_iter().enumerate() {
        let level = if number % 2 == 0 { 4 } else { 5 };
        let what = format!("from {from} to {to}, level {level}");
        let topic = unique("queue");
        let connect = Connect::persistent(level, unique("sub"));
        let mut client = nodes[from].connect(&connect).0;
        client.subscribe(&topic, 2);
        client.disconnect();
        let mut publisher = nodes[number % 3].v5(&unique("pub"));
        for payload in 0..N_MESSAGES {
            let reason = reason_of(&mut publisher, &topic, &[payload], 1 + payload % 2);
            assert_eq!(reason, 0, "{what}: who is away is subscribed");
        }
        let (mut client, connack) = nodes[to].connect(&connect);
        assert!(connack.session_present, "{what}");
        for payload in 0..N_MESSAGES {
            let publish = client.receive();
            assert_eq!(publish.payload, [payload], "{what}");
            assert_eq!(
                (publish.qos, publish.dup),
                (1 + payload % 2, false),
                "{what}"
            );
        }
        client.expect_silence(20);
        // Nothing of it comes again on the node where it was before.
        client.ping();
        let (mut client, connack) = nodes[from].connect(&connect);
        assert!(connack.session_present, "{what}");
        client.expect_silence(50);
    }
}

/// [MQTT-4.4.0-1]
#[test]
fn what_was_in_flight_is_sent_again_with_its_identifiers_on_another_node() {
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    for level in [4, 5] {
        for is_takeover in [false, true] {
            let what = format!("level {level}, takeover {is_takeover}");
            let topic = unique("inflight");
            let connect = Connect::persistent(level, unique("sub"));
            let mut old = one.connect(&connect).0;
            old.subscribe(&topic, 2);
            let mut publisher = three.v5(&unique("pub"));
            for number in 0..12_u8 {
                publisher.publish(&topic, [number], 1 + number % 2);
            }
            // Four are finished, and of the rest half of the QoS 2 ones have a PUBREC.
            for number in 0..4_u8 {
                assert_eq!(old.receive().payload, [number], "{what}");
            }
            let open: Vec<_> = (4..12).map(|_| old.expect_publish()).collect();
            let (mut received, mut released) = (BTreeMap::new(), BTreeSet::new());
            for publish in open {
                let id = publish.id.expect("an identifier");
                if publish.qos == 2 && publish.payload[0] < 8 {
                    old.send(&wire::ack(wire::PUBREC, id));
                    old.expect_ack(wire::PUBREL, id);
                    released.insert(id);
                } else {
                    received.insert(publish.payload[0], (id, publish.qos));
                }
            }
            old.ping();
            let old = match is_takeover {
                true => Some(old),
                false => {
                    old.cut();
                    None
                }
            };
            let (mut new, connack) = two.connect(&connect);
            assert!(connack.session_present, "{what}");
            for _ in 0..received.len() + released.len() {
                let packet = new.recv();
                if packet.kind == wire::PUBREL {
                    let id = packet.ack(wire::PUBREL, level).id;
                    assert!(released.remove(&id), "{what}: PUBREL {id}");
                    new.send(&wire::ack(wire::PUBCOMP, id));
                    continue;
                }
                let publish = packet.publish(level);
                let expected = received.remove(&publish.payload[0]);
                let id = publish.id.expect("an identifier");
                assert_eq!(expected, Some((id, publish.qos)), "{what}: {publish:?}");
                assert!(publish.dup, "{what}: {publish:?}");
                new.acknowledge(&publish);
            }
            publisher.publish(&topic, b"after", 1);
            assert_eq!(new.receive().payload, b"after", "{what}");
            new.expect_silence(20);
            drop(old);
        }
    }
}

/// [MQTT-4.3.3-10]: the node that gets it again knows that it was received.
#[test]
fn a_qos_2_message_that_is_sent_again_on_another_node_counts_once() {
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    let topic = unique("once");
    let mut watcher = nodes[2].v5(&unique("watcher"));
    watcher.subscribe(&topic, 2);
    for (from, to) in PAIRS {
        for level in [4, 5] {
            let what = format!("from {from} to {to}, level {level}");
            let connect = Connect::persistent(level, unique("pub"));
            let sent = Publish::new(&topic, &what).qos(2, 7);
            let mut client = nodes[from].connect(&connect).0;
            client.send(&sent.bytes(level));
            client.expect_ack(wire::PUBREC, 7);
            client.cut();
            let (mut client, connack) = nodes[to].connect(&connect);
            assert!(connack.session_present, "{what}");
            client.send(&sent.clone().dup().bytes(level));
            client.expect_ack(wire::PUBREC, 7);
            client.send(&wire::ack(wire::PUBREL, 7));
            client.expect_ack(wire::PUBCOMP, 7);
            assert_eq!(watcher.receive().payload, what.as_bytes());
            // The identifier is free again, on every node.
            let client = nodes[from].connect(&connect).0;
            let mut client = client;
            let next = format!("{what}, next");
            client.send(&Publish::new(&topic, &next).qos(2, 7).bytes(level));
            client.expect_ack(wire::PUBREC, 7);
            client.send(&wire::ack(wire::PUBREL, 7));
            client.expect_ack(wire::PUBCOMP, 7);
            assert_eq!(watcher.receive().payload, next.as_bytes());
        }
    }
    watcher.expect_silence(50);
}

#[test]
fn pubrel_on_another_node_ends_the_exchange() {
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let topic = unique("pubrel");
    let mut watcher = three.v5(&unique("watcher"));
    watcher.subscribe(&topic, 2);
    let connect = Connect::persistent(5, unique("pub"));
    let mut client = one.connect(&connect).0;
    client.send(&Publish::new(&topic, b"first").qos(2, 3).bytes(5));
    client.expect_ack(wire::PUBREC, 3);
    let mut client = two.connect(&connect).0;
    client.send(&wire::ack(wire::PUBREL, 3));
    assert_eq!(client.expect_ack(wire::PUBCOMP, 3).reason, 0);
    client.send(&Publish::new(&topic, b"second").qos(2, 3).bytes(5));
    client.expect_ack(wire::PUBREC, 3);
    assert_eq!(watcher.receive().payload, b"first");
    assert_eq!(watcher.receive().payload, b"second");
}

#[test]
fn subscriptions_move_with_their_options() {
    const NO_LOCAL: u8 = 4;
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let root = unique("options");
    let topic = |name: &str| format!("{root}/{name}");
    let connect = Connect::persistent(5, unique("sub"));
    let mut client = one.connect(&connect).0;
    let number = Properties::new().var(property::SUBSCRIPTION_IDENTIFIER, 42);
    client.subscribe_with(&number, &[(&topic("numbered"), 1)]);
    client.subscribe(&topic("left"), 1);
    client.subscribe(&topic("not/mine"), 2 | NO_LOCAL);
    client.subscribe(&topic("low"), 0);
    client.unsubscribe(&[&topic("left")]);
    client.disconnect();
    let mut client = two.connect(&connect).0;
    let mut publisher = three.v5(&unique("pub"));
    publisher.publish(&topic("left"), b"x", 1);
    client.publish(&topic("not/mine"), b"x", 1);
    publisher.publish(&topic("low"), b"low", 2);
    let low = client.receive();
    assert_eq!((low.payload.as_slice(), low.qos), (&b"low"[..], 0));
    publisher.publish(&topic("numbered"), b"numbered", 1);
    let numbered = client.receive();
    let number = numbered
        .properties
        .number(property::SUBSCRIPTION_IDENTIFIER);
    assert_eq!(number, Some(42));
    client.expect_silence(50);
    // What is unsubscribed from here is so where it was.
    client.unsubscribe(&[&topic("numbered")]);
    let mut client = one.connect(&connect).0;
    publisher.publish(&topic("numbered"), b"x", 1);
    client.expect_silence(50);
}

/// [MQTT-3.1.2-4], [MQTT-3.1.2-5], [MQTT-3.2.2-2], [MQTT-3.2.2-3]
#[test]
fn session_present_is_true_only_where_there_is_a_session() {
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    for level in [4, 5] {
        let client_id = unique("present");
        let persistent = Connect::persistent(level, &client_id);
        let clean = Connect::new(level, &client_id);
        let steps = [
            (0, &persistent, false, "it is new"),
            (1, &persistent, true, "it was on another node"),
            (2, &persistent, true, "and on yet another"),
            (0, &clean, false, "a clean start forgets it"),
            (1, &persistent, false, "and leaves nothing"),
            (1, &persistent, true, "it is on the same node"),
            (2, &clean, false, "a clean start on another node"),
            (2, &clean, false, "and once more"),
            (0, &persistent, false, "nothing was kept"),
        ];
        for (node, connect, is_present, why) in steps {
            let (client, connack) = nodes[node].connect(connect);
            assert_eq!(connack.session_present, is_present, "level {level}: {why}");
            client.disconnect();
        }
    }
}

#[test]
fn a_clean_start_on_another_node_forgets_queue_and_subscriptions() {
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    for (from, to) in PAIRS {
        let what = format!("from {from} to {to}");
        let topic = unique("clean");
        let persistent = Connect::persistent(5, unique("clean"));
        let mut client = nodes[from].connect(&persistent).0;
        client.subscribe(&topic, 2);
        client.disconnect();
        let mut publisher = nodes[from].v5(&unique("pub"));
        publisher.publish(&topic, b"old", 2);
        let (mut client, connack) = nodes[to].connect(&persistent.clone().clean(true));
        assert!(!connack.session_present, "{what}");
        publisher.publish(&topic, b"unheard", 1);
        client.expect_silence(20);
        let is_forgotten = becomes_true(Duration::from_secs(5), || {
            reason_of(&mut publisher, &topic, b"unheard", 1) == 0x10
        });
        assert!(is_forgotten, "{what}: its subscription is still there");
        // The new session is a session: it is there on the first node.
        client.cut();
        let (mut client, connack) = nodes[from].connect(&persistent);
        assert!(connack.session_present, "{what}");
        client.expect_silence(20);
    }
}

/// [MQTT-3.1.2-23]
#[test]
fn a_session_ends_when_it_expires_wherever_it_is_looked_for() {
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let topic = unique("expires");
    let (short, long) = (unique("short"), unique("long"));
    let mut client = one.connect(&expiring(&short, 1)).0;
    client.subscribe(&topic, 1);
    client.cut();
    one.connect(&expiring(&long, 60)).0.cut();
    let mut publisher = two.v5(&unique("pub"));
    assert_eq!(reason_of(&mut publisher, &topic, b"in time", 1), 0);
    let has_ended = becomes_true(Duration::from_secs(5), || {
        reason_of(&mut publisher, &topic, b"x", 1) == 0x10
    });
    assert!(has_ended, "its subscription is still there");
    let connack = two.connect(&expiring(&short, 1)).1;
    assert!(!connack.session_present, "it had expired");
    // A session that moved expires by its new node's clock.
    let (client, connack) = three.connect(&expiring(&long, 1));
    assert!(connack.session_present);
    client.cut();
    pause(Duration::from_millis(1_500));
    let connack = one.connect(&expiring(&long, 60)).1;
    assert!(!connack.session_present, "its new expiry had passed");
}

/// [MQTT-3.14.2-2] and its like: the DISCONNECT may end the session.
#[test]
fn a_disconnect_with_expiry_0_ends_a_session_that_came_from_another_node() {
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let connect = Connect::persistent(5, unique("ends"));
    one.connect(&connect).0.disconnect();
    let (mut client, connack) = two.connect(&connect);
    assert!(connack.session_present);
    let now = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, 0);
    client.send(&wire::disconnect_with(0, &now));
    client.until_closed();
    let connack = three.connect(&connect).1;
    assert!(!connack.session_present);
}

/// A client that changes nodes all the time while others publish to it: all arrives, QoS 2 once,
/// in order.
#[test]
fn nothing_is_lost_or_doubled_while_a_client_moves_from_node_to_node() {
    const N_HOPS: usize = 40;
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    for level in [4, 5] {
        let topic = unique("moves");
        let connect = Connect::persistent(level, unique("moves"));
        let mut client = nodes[0].connect(&connect).0;
        client.subscribe(&topic, 2);
        client.disconnect();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let publishing = scope.spawn(|| {
                let mut publisher = nodes[2].v5(&unique("pub"));
                publisher.set_limit(Duration::from_secs(20));
                let mut number = 0_u32;
                while !is_over.load(Relaxed) {
                    let reason = reason_of(&mut publisher, &topic, &number.to_be_bytes(), 2);
                    assert_eq!(reason, 0, "message {number}");
                    number += 1;
                }
                number
            });
            let mut received = Receiver::default();
            for hop in 0..N_HOPS {
                let (mut client, connack) = nodes[hop % 3].connect(&connect);
                assert!(connack.session_present, "hop {hop}");
                // Reads a little; now and then leaves in the middle of an exchange.
                for _ in 0..hop % 7 {
                    let packet = client.recv_within(Duration::from_millis(200));
                    let Some(packet) = packet else { break };
                    received.take(&mut client, &packet, level, hop % 3 == 1);
                }
                match hop % 2 {
                    0 => client.cut(),
                    _ => drop(client),
                }
            }
            is_over.store(true, Relaxed);
            let n_sent = publishing.join().expect("every message is accepted");
            let (mut client, connack) = nodes[1].connect(&connect);
            assert!(connack.session_present);
            while let Some(packet) = client.recv_within(Duration::from_millis(700)) {
                received.take(&mut client, &packet, level, false);
            }
            let expected: Vec<_> = (0..n_sent).collect();
            let seen = &received.seen;
            assert_eq!(received.numbers, expected, "level {level}: {seen:?}");
        });
    }
}

/// The receiver's half of QoS 2, which may be interrupted.
#[derive(Default)]
struct Receiver {
    numbers: Vec<u32>,
    /// Each PUBLISH: what it brought, its identifier and DUP.
    seen: Vec<(u32, u16, bool)>,
    open: BTreeSet<u16>,
}

impl Receiver {
    fn take(&mut self, client: &mut Client, packet: &wire::Packet, level: u8, is_lazy: bool) {
        if packet.kind == wire::PUBREL {
            let id = packet.ack(wire::PUBREL, level).id;
            self.open.remove(&id);
            client.send(&wire::ack(wire::PUBCOMP, id));
            return;
        }
        let publish = packet.publish(level);
        let id = publish.id.expect("an identifier");
        let number = publish.payload.try_into().expect("four bytes");
        let number = u32::from_be_bytes(number);
        self.seen.push((number, id, publish.dup));
        if self.open.insert(id) {
            self.numbers.push(number);
        }
        if !is_lazy {
            client.send(&wire::ack(wire::PUBREC, id));
        }
    }
}
