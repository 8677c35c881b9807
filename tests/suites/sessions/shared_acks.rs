//! Shared subscriptions whose members go away with messages that they did not acknowledge.

use std::{collections::BTreeSet, time::Duration};

use gatemq_tests::{
    Broker, Client, Connect, Properties, unique,
    wire::{self, property},
};

fn member(broker: &Broker, connect: &Connect, topic: &str) -> Client {
    let mut client = Client::connect(broker, connect).0;
    client.subscribe(&format!("$share/group/{topic}"), 2);
    client
}

fn numbers(client: &mut Client) -> BTreeSet<u8> {
    let mut numbers = BTreeSet::new();
    while let Some(packet) = client.recv_within(Duration::from_millis(600)) {
        if packet.kind == wire::PUBLISH {
            let publish = packet.publish(5);
            client.acknowledge(&publish);
            numbers.insert(publish.payload[0]);
        }
    }
    numbers
}

/// A group of one, which is sent five messages and answers none; what an heir then gets.
fn inherited(broker: &Broker, qos: u8) -> BTreeSet<u8> {
    let topic = unique("redeliver");
    let mut dying = member(broker, &Connect::new(5, unique("dying")), &topic);
    let mut publisher = Client::v5(broker, &unique("pub"));
    for number in 0..5_u8 {
        publisher.publish(&topic, [number], qos);
    }
    for _ in 0..5 {
        dying.expect_publish();
    }
    let mut heir = member(broker, &Connect::new(5, unique("heir")), &topic);
    heir.expect_silence(50);
    dying.cut();
    numbers(&mut heir)
}

/// Section 4.8.2: the server should send it to another.
#[test]
fn unanswered_messages_of_qos_1_go_to_another_when_the_session_ends() {
    for way in ["memory", "redb"] {
        let broker = Broker::builder().storage(way).start();
        assert_eq!(inherited(&broker, 1), (0..5).collect(), "{way}");
    }
}

// [MQTT-4.8.2-5]
#[test]
fn unanswered_messages_of_qos_2_do_not_go_to_another() {
    for way in ["memory", "redb"] {
        let broker = Broker::builder().storage(way).start();
        assert_eq!(inherited(&broker, 2), BTreeSet::new(), "{way}");
    }
}

// [MQTT-4.8.2-6]
#[test]
fn a_message_that_a_member_refuses_goes_to_nobody() {
    let broker = Broker::shared();
    let topic = unique("refused");
    let mut refusing = member(&broker, &Connect::new(5, unique("refusing")), &topic);
    Client::v5(&broker, &unique("pub")).publish(&topic, b"x", 1);
    let id = refusing.expect_publish().id.expect("QoS 1");
    let mut other = member(&broker, &Connect::new(5, unique("other")), &topic);
    refusing.send(&wire::ack_with(wire::PUBACK, id, 0x80, &Properties::new()));
    refusing.ping();
    refusing.cut();
    other.expect_silence(300);
}

#[test]
fn what_was_acknowledged_is_not_delivered_to_another() {
    let broker = Broker::shared();
    let topic = unique("acked");
    let mut dying = member(&broker, &Connect::new(5, unique("dying")), &topic);
    let mut publisher = Client::v5(&broker, &unique("pub"));
    for (number, qos) in [(0, 1), (1, 2), (2, 1), (3, 2), (4, 1), (5, 1)] {
        publisher.publish(&topic, [number], qos);
    }
    for _ in 0..4 {
        dying.receive();
    }
    let mut heir = member(&broker, &Connect::new(5, unique("heir")), &topic);
    dying.ping();
    dying.cut();
    assert_eq!(numbers(&mut heir), BTreeSet::from([4, 5]));
}

/// A session that goes on keeps what it was given; when it expires, the group gets it back.
#[test]
fn a_session_that_lasts_keeps_its_messages_until_it_expires() {
    let broker = Broker::shared();
    let topic = unique("keeps");
    let expiry = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, 2);
    let connect = Connect::new(5, unique("lasting"))
        .clean(false)
        .properties(expiry);
    let mut lasting = member(&broker, &connect, &topic);
    let mut publisher = Client::v5(&broker, &unique("pub"));
    for number in 0..3_u8 {
        publisher.publish(&topic, [number], 1);
    }
    for _ in 0..3 {
        lasting.expect_publish();
    }
    let mut heir = member(&broker, &Connect::new(5, unique("heir")), &topic);
    lasting.cut();
    heir.expect_silence(500);
    let (mut lasting, connack) = Client::connect(&broker, &connect);
    assert!(connack.session_present);
    let again = lasting.receive();
    assert_eq!((again.payload.as_slice(), again.dup), (&[0][..], true));
    lasting.ping();
    lasting.cut();
    heir.set_limit(Duration::from_secs(8));
    let first = heir.receive();
    let mut rest = numbers(&mut heir);
    rest.extend(first.payload);
    assert_eq!(rest, BTreeSet::from([1, 2]));
}

/// Whoever unsubscribes keeps what is on its way to it, and gets nothing new.
#[test]
fn a_member_that_leaves_finishes_what_it_has() {
    let broker = Broker::shared();
    let topic = unique("leaves");
    let mut leaving = member(&broker, &Connect::new(5, unique("leaving")), &topic);
    let mut publisher = Client::v5(&broker, &unique("pub"));
    publisher.publish(&topic, [0], 2);
    let publish = leaving.expect_publish();
    let mut staying = member(&broker, &Connect::new(5, unique("staying")), &topic);
    leaving.unsubscribe(&[&format!("$share/group/{topic}")]);
    leaving.acknowledge(&publish);
    for number in 1..5_u8 {
        publisher.publish(&topic, [number], 1);
    }
    assert_eq!(numbers(&mut staying), (1..5).collect());
    leaving.expect_silence(100);
}

/// Members come and go under a steady stream: each message reaches somebody.
#[test]
fn nothing_is_lost_while_members_come_and_go() {
    let broker = Broker::shared();
    let topic = unique("stream");
    let mut steady = member(&broker, &Connect::new(5, unique("steady")), &topic);
    let mut publisher = Client::v5(&broker, &unique("pub"));
    let mut seen = BTreeSet::new();
    for round in 0..10_u8 {
        let mut passing = member(&broker, &Connect::new(5, unique("passing")), &topic);
        for number in 0..10 {
            publisher.publish(&topic, [round * 10 + number], 1);
        }
        // Half of what it was given is acknowledged.
        for _ in 0..2 {
            if let Some(packet) = passing.recv_within(Duration::from_millis(100)) {
                let publish = packet.publish(5);
                passing.acknowledge(&publish);
                seen.insert(publish.payload[0]);
            }
        }
        passing.ping();
        passing.cut();
    }
    seen.extend(numbers(&mut steady));
    assert_eq!(seen, (0..100).collect());
}

/// A member whose window is full does not hold up the others.
#[test]
fn a_member_that_does_not_acknowledge_does_not_starve_the_group() {
    let broker = Broker::shared();
    let topic = unique("busy");
    let narrow = Properties::new().two(property::RECEIVE_MAXIMUM, 2);
    let connect = Connect::new(5, unique("busy")).properties(narrow);
    let mut busy = member(&broker, &connect, &topic);
    let mut free = member(&broker, &Connect::new(5, unique("free")), &topic);
    let mut publisher = Client::v5(&broker, &unique("pub"));
    for number in 0..40_u8 {
        publisher.publish(&topic, [number], 1);
    }
    let n_busy = std::iter::from_fn(|| busy.recv_within(Duration::from_millis(200))).count();
    assert!(n_busy <= 2, "{n_busy} in a window of 2");
    let mut seen = numbers(&mut free);
    assert!(seen.len() >= 20, "{} of 40", seen.len());
    // What waits behind the window is not lost when its session ends.
    busy.cut();
    seen.extend(numbers(&mut free));
    assert_eq!(seen, (0..40).collect());
}
