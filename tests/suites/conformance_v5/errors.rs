//! Chapters 3.1.2.10, 4.2 and 4.13: keep alive, the byte stream, and what an error ends.

use std::time::{Duration, Instant};

use gatemq_tests::{
    Broker, Canary, Client, Connect, Properties, Publish, patience, unique,
    wire::{self, property},
};

use super::scene::{
    EITHER, MALFORMED, PROTOCOL_ERROR, client, ends, refuses, refuses_connect, send_publish,
};

#[test]
fn mqtt_4_13_1_1_errors_end_the_connection_that_made_them() {
    let broker = Broker::shared();
    let canary = Canary::start(&broker);
    let id = property::SUBSCRIPTION_IDENTIFIER;
    let zero = Properties::new().var(id, 0);
    let cases: [(&[u8], &[u8]); 12] = [
        (b"\x00\x00", EITHER),
        (b"\x10\x00", EITHER),
        (b"\x36\x05\x00\x01t\x00\x01", &[MALFORMED]),
        (b"\x30\x03\x00\x00\x00", &[PROTOCOL_ERROR]),
        (b"\x30\x02\x00\x05", &[MALFORMED]),
        (b"\x30\xff\xff\xff\xff", &[MALFORMED]),
        (b"\x40\x01\x00", &[MALFORMED]),
        (b"\x80\x06\x00\x01\x00\x00\x01t", &[MALFORMED]),
        (b"\x82\x03\x00\x01\x00", &[PROTOCOL_ERROR]),
        (b"\xa2\x03\x00\x01\x00", &[PROTOCOL_ERROR]),
        (b"\xc0\x01\x00", &[MALFORMED]),
        (b"\xf0\x00", &[PROTOCOL_ERROR]),
    ];
    for (bytes, codes) in cases {
        eprintln!("{bytes:02x?}");
        refuses(&broker, bytes, codes); // [MQTT-4.13.2-1]
    }
    refuses(
        &broker,
        &wire::subscribe(5, 1, &zero, &[("t", 0)]),
        &[PROTOCOL_ERROR],
    );
    canary.finish();
}

#[test]
fn mqtt_4_13_2_1_a_refusing_connack_ends_the_connection() {
    let broker = Broker::shared();
    // The helper waits for the end.
    let connect = Connect::new(5, unique("c")).flags(0x03);
    refuses_connect(&broker, &connect.bytes(), &[MALFORMED]);
    let mut client = client(&broker);
    client.send(&wire::disconnect_with(0x82, &Properties::new()));
    client.expect_closed();
}

#[test]
fn mqtt_4_13_1_an_error_does_not_end_the_session() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("t"));
    let (mut before, _) = super::scene::resume(&broker, &id);
    before.subscribe(&topic, 1);
    before.send(&Publish::new("", b"x").bytes(5));
    ends(&mut before, &[PROTOCOL_ERROR]);
    client(&broker).publish(&topic, b"x", 1);
    let mut after = super::scene::resume_present(&broker, &id);
    assert_eq!(after.receive().payload, b"x");
}

#[test]
fn mqtt_4_13_1_the_reason_is_told_right_after_an_answer() {
    let broker = Broker::shared();
    // A stored session, whose SUBACK waits for a commit and is written by another task.
    for _ in 0..30 {
        let (mut client, _) = super::scene::resume(&broker, &unique("c"));
        client.subscribe(&unique("t"), 1);
        client.send(&Publish::new("", b"x").bytes(5));
        ends(&mut client, &[PROTOCOL_ERROR]);
    }
}

#[test]
fn mqtt_4_13_1_what_came_before_an_error_is_processed() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut watcher = client(&broker);
    watcher.subscribe(&topic, 1);
    let mut client = client(&broker);
    let good = Publish::new(&topic, b"good").qos(1, 1).bytes(5);
    client.send(&[good, Publish::new("", b"bad").bytes(5)].concat());
    assert_eq!(watcher.receive().payload, b"good");
    let packets = client.until_closed();
    let kinds: Vec<_> = packets.iter().map(|packet| packet.kind).collect();
    assert!(
        kinds == [wire::PUBACK, wire::DISCONNECT] || kinds == [wire::DISCONNECT],
        "{packets:?}"
    );
}

#[test]
fn mqtt_3_1_2_22_silence_beyond_the_keep_alive_ends_the_connection() {
    let broker = Broker::shared();
    for seconds in [1, 2] {
        let connect = Connect::new(5, unique("c")).keep_alive(seconds);
        let (mut client, _) = Client::connect(&broker, &connect);
        let start = Instant::now();
        client.set_limit(Duration::from_secs(20));
        ends(&mut client, &[0x8D]);
        let took = start.elapsed();
        let limit = Duration::from_millis(1500 * u64::from(seconds));
        assert!(
            took > limit - Duration::from_millis(200),
            "too early: {took:?}"
        );
        let late = limit + Duration::from_millis(4000);
        assert!(took < late || Broker::is_foreign(), "too late: {took:?}");
    }
}

#[test]
fn mqtt_3_1_2_22_any_packet_counts_and_what_the_broker_sends_does_not() {
    let broker = Broker::shared();
    let topic = unique("t");
    let connect = Connect::new(5, unique("c")).keep_alive(1);
    let (mut busy, _) = Client::connect(&broker, &connect);
    for round in 0..6u16 {
        patience::pause(Duration::from_millis(600));
        if round % 2 == 0 {
            busy.ping();
        } else {
            send_publish(&mut busy, &topic, b"x", 1, round);
            busy.expect_ack(wire::PUBACK, round);
        }
    }
    busy.disconnect();
    let connect = Connect::new(5, unique("c")).keep_alive(1);
    let (mut silent, _) = Client::connect(&broker, &connect);
    silent.subscribe(&topic, 0);
    let mut publisher = client(&broker);
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        publisher.publish(&topic, b"x", 0);
        let packet = silent.recv_within(Duration::from_millis(200));
        match packet {
            Some(packet) if packet.kind == wire::DISCONNECT => {
                assert_eq!(packet.disconnect(wire::DISCONNECT).reason, 0x8D);
                break;
            }
            Some(_) => assert!(Instant::now() < deadline, "still connected"),
            None => assert!(Broker::is_foreign(), "neither message nor DISCONNECT"),
        }
        if !silent.is_open() {
            break;
        }
    }
}

#[test]
fn mqtt_3_1_2_22_keep_alive_0_is_none() {
    let broker = Broker::shared();
    let (mut client, _) = Client::connect(&broker, &Connect::new(5, unique("c")));
    client.expect_silence(3000);
    client.ping();
}

/// TCP is one of the transports that the standard names. [MQTT-7.1.1-1]
#[test]
fn mqtt_4_2_1_the_stream_may_be_cut_anywhere() {
    let broker = Broker::shared();
    let topic = unique("t");
    let mut client = Client::connect_tcp(broker.tcp());
    client.set_level(5);
    for byte in Connect::new(5, unique("c")).bytes() {
        client.send(&[byte]);
    }
    assert_eq!(client.recv().connack(5).code, 0);
    client.subscribe(&topic, 1);
    let publish = Publish::new(&topic, vec![7; 300]).qos(1, 9).bytes(5);
    for part in publish.chunks(3) {
        client.send(part);
    }
    client.expect_ack(wire::PUBACK, 9);
    assert_eq!(client.receive().payload, vec![7; 300]);
    // And the other way round: much in one piece.
    client.send(&publish.repeat(20));
    for _ in 0..20 {
        client.expect_ack(wire::PUBACK, 9);
    }
    for _ in 0..20 {
        assert_eq!(client.receive().payload.len(), 300);
    }
}
