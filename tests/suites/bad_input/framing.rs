//! A1 and A2: lengths that lie, and lengths written in a way that the standard forbids.

use std::{
    io::Write,
    net::TcpStream,
    time::{Duration, Instant},
};

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, Value, Will, unique,
    wire::{self, property},
};

use super::{
    oracle::{Oracle, scaled},
    verdict::{MALFORMED, WRONG, refuses, refuses_connect},
};

const TIMEOUT: Duration = Duration::from_secs(2);

/// So many connections send these bytes and no more.
fn stall(broker: &Broker, bytes: &[u8], count: usize) -> Vec<Client> {
    let stalled = (0..count).map(|_| {
        let mut client = Client::connect_tcp(broker.tcp());
        client.send(bytes);
        client
    });
    stalled.collect()
}

/// Scale 1: 1,000 connections that announce the longest CONNECT that is taken, and no more.
#[test]
fn a1_remaining_length_is_not_allocated() {
    let broker = Broker::builder()
        .config("limits: {connect-timeout: 2s}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    let n_connections = scaled(1_000);
    let limit_kib = 4 * 1024 + 16 * n_connections as u64;
    let start = Instant::now();
    let mut stalled = stall(&broker, &half_a_connect(LONGEST_CONNECT), n_connections);
    let opened = start.elapsed();
    oracle.grew_less_than(limit_kib);
    let mut last = stalled.pop().expect("there are some");
    assert!(last.is_open(), "it may still be finished in time");
    for client in stalled.iter_mut().chain([&mut last]) {
        let answer = client.until_closed();
        assert!(answer.is_empty(), "no CONNACK for half a CONNECT");
    }
    let took = start.elapsed();
    let expected = TIMEOUT..TIMEOUT + opened + Duration::from_secs(3);
    assert!(expected.contains(&took), "all closed after {took:?}");
    oracle.judge(limit_kib);
}

/// Scale 1: 300 connections for each of two lengths that no CONNECT may have here.
#[test]
fn a1_a_connect_that_is_too_long_is_refused_by_its_header() {
    let broker = Broker::builder()
        .config("limits: {connect-timeout: 60s}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    for remaining in [LONGEST_CONNECT + 1, 268_435_455] {
        let start = Instant::now();
        for mut client in stall(&broker, &half_a_connect(remaining), scaled(300)) {
            client.until_closed();
        }
        let took = start.elapsed();
        assert!(took < Duration::from_secs(10), "it does not wait: {took:?}");
    }
    oracle.judge(8 * 1024);
}

/// Remaining Length of the longest CONNECT that is taken: 64 KiB with its four bytes of header.
const LONGEST_CONNECT: usize = 64 * 1024 - 4;

/// The beginning of a CONNECT of 3.1.1 with this Remaining Length.
fn half_a_connect(remaining: usize) -> Vec<u8> {
    let beginning = b"\0\x04MQTT\x04\x02\0\x3C\xFF\xFF".to_vec();
    [vec![0x10], wire::var_int(remaining), beginning].concat()
}

/// Scale 1: 300 connected clients, each with 1 % of a packet of a million bytes.
#[test]
fn a1_an_unfinished_publish_costs_what_has_come() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let n_clients = scaled(300);
    let publish = Publish::new("a/b", vec![b'x'; 1_000_000]).bytes(4);
    let connect = Connect::new(4, "").bytes();
    let clients: Vec<_> = (0..n_clients)
        .map(|_| {
            let mut stream = TcpStream::connect(broker.tcp()).expect("it takes connections");
            let bytes = [connect.as_slice(), &publish[..10_000]].concat();
            stream.write_all(&bytes).expect("the broker reads");
            stream
        })
        .collect();
    // A round trip behind them all, so that what they sent has been read.
    Client::v5(&broker, &unique("behind")).ping();
    let limit_kib = 8 * 1024 + 48 * n_clients as u64;
    oracle.grew_less_than(limit_kib);
    drop(clients);
    oracle.judge(limit_kib);
}

/// Section 3.2.2.3.6: packet too large.
#[test]
fn a1_a_packet_above_the_maximum_is_refused_by_its_header() {
    let broker = Broker::builder()
        .config("limits: {maximum-packet-size: 10000}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    let too_large = |size: usize| [vec![0x30], wire::var_int(size)].concat();
    for level in [3, 4, 5] {
        for size in [9_998, 20_000, 2_000_000, 268_435_455] {
            let what = format!("level {level}, {size} bytes");
            refuses(&broker, level, &too_large(size), &[0x95], &what);
        }
        // Three bytes of header: 10,000 in all.
        let mut client = super::verdict::connected(&broker, level);
        let overhead = 2 + 3 + usize::from(level == 5);
        client.send(&Publish::new("a/b", vec![b'x'; 9_997 - overhead]).bytes(level));
        client.ping();
    }
    let (_, connack) = Client::connect(&broker, &Connect::new(5, unique("max")));
    assert_eq!(
        connack.properties.number(property::MAXIMUM_PACKET_SIZE),
        Some(10_000)
    );
    oracle.judge(16 * 1024);
}

// [MQTT-1.5.5-1]
#[test]
fn a2_variable_byte_integers_of_five_bytes_or_with_padding() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let fixed_headers: [&[u8]; 6] = [
        &[0xC0, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
        &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F],
        &[0x30, 0x80, 0x80, 0x80, 0x80],
        &[0xC0, 0x80, 0x00],
        &[0xC0, 0x80, 0x80, 0x80, 0x00],
        &[0x30, 0x86, 0x00, 0, 3, b'a', b'/', b'b', 0],
    ];
    for bytes in fixed_headers {
        refuses(&broker, 5, bytes, MALFORMED, &format!("{bytes:02x?}"));
        refuses(
            &broker,
            4,
            &bytes[..bytes.len()],
            MALFORMED,
            &format!("{bytes:02x?}"),
        );
    }
    for length in [
        &[0x80, 0x00][..],
        &[0xFF, 0xFF, 0xFF, 0xFF, 0x01],
        &[0x80, 0x80, 0x80, 0x80, 0],
    ] {
        let wrong = Properties::new().length(length);
        let what = format!("property length {length:02x?}");
        let packets = [
            Publish::new("a/b", b"x").properties(wrong.clone()).bytes(5),
            wire::subscribe(5, 1, &wrong, &[("a/b", 0)]),
            wire::unsubscribe(5, 1, &wrong, &["a/b"]),
            wire::disconnect_with(0, &wrong),
        ];
        for packet in packets {
            refuses(
                &broker,
                5,
                &packet,
                MALFORMED,
                &format!("{what}: {packet:02x?}"),
            );
        }
        let connect = Connect::new(5, unique("varint")).properties(wrong.clone());
        refuses_connect(&broker, 5, &connect.bytes(), MALFORMED, &what);
        let will = Will::new("a/b", b"x").properties(wrong);
        let connect = Connect::new(5, unique("varint")).will(will);
        refuses_connect(
            &broker,
            5,
            &connect.bytes(),
            MALFORMED,
            &format!("will: {what}"),
        );
    }
    for id in [
        &[0x81, 0x00][..],
        &[0xFF, 0xFF, 0xFF, 0xFF, 0x01],
        &[0x00],
        &[0x80, 0x00],
    ] {
        let id = Properties::new().with(property::SUBSCRIPTION_IDENTIFIER, Value::Raw(id.to_vec()));
        let packet = wire::subscribe(5, 1, &id, &[("a/b", 0)]);
        refuses(&broker, 5, &packet, WRONG, &format!("{id:?}"));
    }
    let body = Connect::new(4, unique("padded")).body();
    let length = u8::try_from(body.len()).expect("a short CONNECT");
    let padded = [&[0x10, length | 0x80, 0x00], body.as_slice()].concat();
    refuses_connect(&broker, 4, &padded, MALFORMED, "a padded length of CONNECT");
    refuses_connect(
        &broker,
        4,
        &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
        MALFORMED,
        "five bytes",
    );
    oracle.judge(16 * 1024);
}
