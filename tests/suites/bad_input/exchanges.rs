//! A10 to A12: packet ids, the QoS 2 exchange and topic aliases under abuse.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, unique,
    wire::{self, property},
};

use super::{
    oracle::Oracle,
    verdict::{Answer, PROTOCOL_ERROR, WRONG, connected, is_refused, probe, refuses},
};

// === A10: packet ids ===

// [MQTT-2.2.1-3]
#[test]
fn a10_packet_id_0_is_refused() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let none = Properties::new();
    for level in [3, 4, 5] {
        let packets = [
            Publish::new("a", b"x").qos(1, 0).bytes(level),
            Publish::new("a", b"x").qos(2, 0).bytes(level),
            wire::subscribe(level, 0, &none, &[("a", 0)]),
            wire::unsubscribe(level, 0, &none, &["a"]),
            wire::ack(wire::PUBACK, 0),
            wire::ack(wire::PUBREC, 0),
            wire::ack(wire::PUBREL, 0),
            wire::ack(wire::PUBCOMP, 0),
        ];
        for packet in packets {
            refuses(
                &broker,
                level,
                &packet,
                WRONG,
                &format!("level {level}: {packet:02x?}"),
            );
        }
    }
    oracle.judge(16 * 1024);
}

/// Before 5.0 a client has as many open exchanges as there are packet identifiers; each message is
/// received, and the whole costs a bounded amount.
#[test]
fn a10_open_exchanges_of_3_1_1_cost_a_bounded_amount() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let mut stream = TcpStream::connect(broker.tcp()).expect("it takes connections");
    let mut reading = stream.try_clone().expect("a socket can be shared");
    let reader = thread::spawn(move || {
        let mut received = Vec::new();
        // Until the connection ends, however it does.
        let _end = reading.read_to_end(&mut received);
        received
    });
    stream
        .write_all(&Connect::new(4, unique("open")).bytes())
        .expect("the broker reads");
    for id in 1..=u16::MAX {
        let publish = Publish::new("open", [b'x'; 100]).qos(2, id).bytes(4);
        stream.write_all(&publish).expect("the broker goes on");
    }
    stream
        .write_all(&wire::disconnect())
        .expect("the broker goes on");
    let received = reader.join().expect("the reader ends with the connection");
    let n_answers = received[4..].chunks(4).filter(|ack| ack[0] == 0x50).count();
    assert_eq!(n_answers, 65_535, "a PUBREC for each");
    oracle.judge(64 * 1024);
}

/// Section 3.3.4: receive maximum exceeded. [MQTT-3.3.4-7] is the client's side of it.
#[test]
fn a10_more_open_exchanges_than_receive_maximum_end_the_connection() {
    let broker = Broker::builder()
        .config("limits: {receive-maximum: 20}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    let (mut client, connack) = Client::connect(&broker, &Connect::new(5, unique("many")));
    assert_eq!(
        connack.properties.number(property::RECEIVE_MAXIMUM),
        Some(20)
    );
    for id in 1..=20 {
        client.send(&Publish::new("many", b"x").qos(2, id).bytes(5));
        client.expect_ack(wire::PUBREC, id);
    }
    client.send(&Publish::new("many", b"x").bytes(5));
    client.ping();
    client.send(&Publish::new("many", b"x").qos(2, 21).bytes(5));
    is_refused(&mut client, 5, &[0x93], "a 21st");
    drop(client);

    // A place is given back by PUBCOMP, and by a PUBREC that refuses.
    let mut client = connected(&broker, 5);
    for id in 1..=200 {
        client.publish_packet(Publish::new("many", b"x").qos(2, id));
    }
    drop(client);
    oracle.judge(16 * 1024);
}

/// Acknowledgements of nothing must not let the broker send more than Receive Maximum.
#[test]
fn a10_stray_acknowledgements_do_not_widen_the_window() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let topic = unique("window");
    for stray in [wire::PUBACK, wire::PUBREC, wire::PUBCOMP] {
        let limited = Properties::new().two(property::RECEIVE_MAXIMUM, 5);
        let connect = Connect::new(5, unique("narrow")).properties(limited);
        let mut subscriber = Client::connect(&broker, &connect).0;
        subscriber.subscribe(&topic, 1);
        let mut publisher = connected(&broker, 5);
        for number in 0..20_u8 {
            publisher.publish(&topic, [number], 1);
        }
        let window: Vec<_> = (0..5).map(|_| subscriber.expect_publish()).collect();
        subscriber.expect_silence(100);
        for id in 0..100 {
            subscriber.send(&wire::ack(stray, 60_000 + id));
        }
        // The broker may take it for a protocol error, or answer a PUBREC by a PUBREL.
        let more = std::iter::from_fn(|| subscriber.recv_within(Duration::from_millis(200)));
        let more: Vec<_> = more.collect();
        let n_publishes = more
            .iter()
            .filter(|packet| packet.kind == wire::PUBLISH)
            .count();
        assert_eq!(n_publishes, 0, "{} opened the window", wire::name(stray));
        if subscriber.is_open() {
            subscriber.acknowledge(&window[0]);
            let next = subscriber.recv_kind(wire::PUBLISH).publish(5);
            assert_eq!(next.payload, [5]);
            if next.id != window[0].id {
                // The same acknowledgement again is stray by now.
                subscriber.acknowledge(&window[0]);
                let more = subscriber.recv_within(Duration::from_millis(200));
                let refused = more.is_none_or(|packet| packet.kind == wire::DISCONNECT);
                assert!(refused, "a second message for one acknowledgement");
            }
        }
    }
    oracle.judge(16 * 1024);
}

/// A QoS 1 message answered as if it were QoS 2, and the other way round.
#[test]
fn a10_an_acknowledgement_of_the_wrong_kind() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let topic = unique("kind");
    for (qos, wrong) in [
        (1, wire::PUBREC),
        (1, wire::PUBCOMP),
        (2, wire::PUBACK),
        (2, wire::PUBCOMP),
    ] {
        let mut subscriber = connected(&broker, 5);
        subscriber.subscribe(&topic, qos);
        connected(&broker, 4).publish(&topic, b"x", qos);
        let publish = subscriber.expect_publish();
        subscriber.send(&wire::ack(wrong, publish.id.expect("QoS above 0")));
        let answer = probe(&mut subscriber, 5, wire::name(wrong));
        assert!(
            matches!(answer, Answer::GoesOn | Answer::Ended(Some(0x82))),
            "QoS {qos} answered by {}: {answer:02x?}",
            wire::name(wrong)
        );
    }
    oracle.judge(16 * 1024);
}

// === A11: exactly once ===

// [MQTT-4.3.3-10] [MQTT-4.3.3-12]
#[test]
fn a11_a_qos_2_message_counts_once_however_often_it_is_sent() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    for level in [4, 5] {
        let topic = unique("once");
        let mut watcher = connected(&broker, 5);
        watcher.subscribe(&topic, 2);
        let connect = Connect::persistent(level, unique("sender"));
        let mut sender = Client::connect(&broker, &connect).0;
        let publish = Publish::new(&topic, b"once").qos(2, 7);
        sender.send(&publish.bytes(level));
        sender.expect_ack(wire::PUBREC, 7);
        for _ in 0..3 {
            sender.send(&publish.clone().dup().bytes(level));
            sender.expect_ack(wire::PUBREC, 7);
        }
        // Over a lost connection, and in the middle of a takeover.
        sender.cut();
        let (mut sender, connack) = Client::connect(&broker, &connect);
        assert!(connack.session_present);
        sender.send(&publish.clone().dup().bytes(level));
        sender.expect_ack(wire::PUBREC, 7);
        let mut taker = Client::connect(&broker, &connect).0;
        sender.send(&publish.clone().dup().bytes(level));
        taker.send(&publish.dup().bytes(level));
        taker.expect_ack(wire::PUBREC, 7);
        taker.send(&wire::ack(wire::PUBREL, 7));
        taker.expect_ack(wire::PUBCOMP, 7);
        // The answer to PUBREL may be lost too.
        taker.send(&wire::ack(wire::PUBREL, 7));
        let again = taker.expect_ack(wire::PUBCOMP, 7);
        assert!([0, 0x92].contains(&again.reason), "{again:02x?}");
        assert_eq!(watcher.receive().payload, b"once");
        watcher.expect_silence(200);
        // Released, the id is a new message's.
        taker.send(&Publish::new(&topic, b"next").qos(2, 7).bytes(level));
        taker.expect_ack(wire::PUBREC, 7);
        assert_eq!(watcher.receive().payload, b"next");
    }
    oracle.judge(16 * 1024);
}

#[test]
fn a11_pubrel_of_an_unknown_id_is_answered() {
    let broker = Broker::shared();
    for (level, reason) in [(4, 0), (5, 0x92)] {
        let mut client = connected(&broker, level);
        client.send(&wire::ack(wire::PUBREL, 99));
        assert_eq!(client.expect_ack(wire::PUBCOMP, 99).reason, reason);
    }
}

// === A12: topic aliases ===

fn aliased(topic: &str, alias: u16) -> Vec<u8> {
    let alias = Properties::new().two(property::TOPIC_ALIAS, alias);
    Publish::new(topic, b"x").properties(alias).bytes(5)
}

// [MQTT-3.3.2-8] [MQTT-3.3.2-9]
#[test]
fn a12_aliases_out_of_range_or_unknown() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let (_, connack) = Client::connect(&broker, &Connect::new(5, unique("alias")));
    let maximum = connack
        .properties
        .number(property::TOPIC_ALIAS_MAXIMUM)
        .unwrap_or(0);
    let maximum = u16::try_from(maximum).expect("two bytes");
    assert!(maximum > 0, "aliases are on by default");
    refuses(&broker, 5, &aliased("a", 0), &[0x94], "alias 0");
    refuses(&broker, 5, &aliased("a", u16::MAX), &[0x94], "alias 65,535");
    refuses(
        &broker,
        5,
        &aliased("a", maximum + 1),
        &[0x94],
        "one above the maximum",
    );
    refuses(
        &broker,
        5,
        &aliased("", 1),
        PROTOCOL_ERROR,
        "an unknown alias",
    );
    refuses(
        &broker,
        5,
        &aliased("", maximum + 1),
        &[0x94],
        "unknown and above",
    );
    oracle.judge(16 * 1024);
}

#[test]
fn a12_an_alias_may_be_redefined_and_ends_with_the_connection() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let (one, two) = (unique("one"), unique("two"));
    let mut watcher = connected(&broker, 4);
    watcher.subscribe(&one, 0);
    watcher.subscribe(&two, 0);
    let connect = Connect::persistent(5, unique("alias"));
    let mut client = Client::connect(&broker, &connect).0;
    client.send(
        &[
            aliased(&one, 1),
            aliased("", 1),
            aliased(&two, 1),
            aliased("", 1),
        ]
        .concat(),
    );
    let topics: Vec<_> = (0..4).map(|_| watcher.receive().topic).collect();
    assert_eq!(topics, [&one, &one, &two, &two].map(String::as_str));
    client.cut();
    let (mut client, connack) = Client::connect(&broker, &connect);
    assert!(connack.session_present);
    client.send(&aliased("", 1));
    is_refused(
        &mut client,
        5,
        PROTOCOL_ERROR,
        "an alias of the last connection",
    );
    drop(client);
    watcher.expect_silence(100);
    drop(watcher);
    oracle.judge(16 * 1024);
}

/// An alias is no way around the checks of a topic name.
#[test]
fn a12_an_alias_is_not_set_by_a_bad_topic() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    for topic in ["a/#", "+", "a\0b"] {
        let packets = [aliased(topic, 1), aliased("", 1)].concat();
        refuses(&broker, 5, &packets, &[0x81, 0x82, 0x90], topic);
    }
    oracle.judge(16 * 1024);
}
