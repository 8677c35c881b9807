//! A8: packets in the wrong state, protocols of another kind, and refusals that are half an end.

use std::time::{Duration, Instant};

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, eventually, unique,
    wire::{self, property},
};

use super::{
    oracle::{Oracle, scaled},
    verdict::{
        ANY, MALFORMED, PROTOCOL_ERROR, WRONG, connected, is_refused_at_connect, refuses,
        refuses_connect,
    },
};

// [MQTT-3.1.0-1]
#[test]
fn a8_nothing_is_taken_before_connect() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let topic = unique("before");
    let mut watcher = Client::v5(&broker, &unique("watcher"));
    watcher.subscribe(&topic, 0);
    let no_properties = Properties::new();
    let packets = [
        Publish::new(&topic, b"x").bytes(4),
        Publish::new(&topic, b"x").qos(1, 1).bytes(5),
        wire::subscribe(4, 1, &no_properties, &[("#", 0)]),
        wire::unsubscribe(4, 1, &no_properties, &["#"]),
        wire::ack(wire::PUBACK, 1),
        wire::ack(wire::PUBREL, 1),
        wire::pingreq(),
        wire::disconnect(),
        wire::auth(
            0x18,
            &Properties::new().text(property::AUTHENTICATION_METHOD, "x"),
        ),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x00\xF4\x01\x00\x00\xF0\x03\x03".to_vec(),
        vec![0; 64],
        vec![0xFF; 64],
    ];
    for packet in packets {
        let mut client = Client::connect_tcp(broker.tcp());
        client.send(&[packet.clone(), Connect::new(4, unique("late")).bytes()].concat());
        let answers = client.until_closed();
        assert!(
            answers.is_empty(),
            "{packet:02x?} was answered by {answers:?}"
        );
    }
    watcher.expect_silence(100);
    drop(watcher);
    oracle.judge(16 * 1024);
}

// [MQTT-3.1.0-2]
#[test]
fn a8_a_second_connect_ends_the_connection() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    for level in [3, 4, 5] {
        let id = unique("twice");
        let mut client = Client::connect(&broker, &Connect::new(level, &id)).0;
        client.send(&Connect::new(level, &id).bytes());
        super::verdict::is_refused(&mut client, level, PROTOCOL_ERROR, "the same again");
        let other = Connect::new(9 - level, unique("other")).bytes();
        refuses(&broker, level, &other, WRONG, "another version's");
    }
    oracle.judge(16 * 1024);
}

// [MQTT-3.1.2-1] [MQTT-3.1.2-2]
#[test]
fn a8_unknown_protocols_are_refused() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    for (name, level) in [
        ("MQTT", 0),
        ("MQTT", 1),
        ("MQTT", 2),
        ("MQTT", 3),
        ("MQTT", 6),
        ("MQTT", 0x84),
        ("MQTT", 255),
    ] {
        let connect = Connect {
            level,
            ..Connect::new(4, unique("level"))
        }
        .protocol(name);
        speaks_no(&broker, &connect);
    }
    for name in [
        "",
        "mqtt",
        "MQTX",
        "MQTTT",
        "MQIsdp",
        "HTTP",
        "MQ\0T",
        "\u{FEFF}MQTT",
    ] {
        for level in [4, 5] {
            speaks_no(&broker, &Connect::new(level, unique("name")).protocol(name));
        }
    }
    speaks_no(&broker, &Connect::new(3, unique("name")).protocol("MQTT"));
    oracle.judge(16 * 1024);
}

/// A CONNACK may say so in the form of any version; then, or at once, the end follows.
#[track_caller]
fn speaks_no(broker: &Broker, connect: &Connect) {
    let mut client = Client::connect_tcp(broker.tcp());
    client.send(&connect.bytes());
    let answers = client.until_closed();
    let good = match answers.as_slice() {
        [] => true,
        [connack] => connack.kind == wire::CONNACK && matches!(connack.body[1], 0x01 | 0x80..),
        _ => false,
    };
    assert!(good, "{connect:?} was answered by {answers:?}");
}

/// Clients that are refused keep their side open: the broker's end is what frees the connection.
/// Scale 1: 200 connections.
#[test]
fn a8_a_refusal_ends_the_connection_and_frees_it() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let before = broker.fd_count();
    let mut kept = Vec::new();
    let too_many = Properties::new()
        .four(property::SESSION_EXPIRY_INTERVAL, 1)
        .four(property::SESSION_EXPIRY_INTERVAL, 1);
    for _ in 0..scaled(200) {
        let mut client = Client::connect_tcp(broker.tcp());
        client.send(
            &Connect::new(5, unique("half"))
                .properties(too_many.clone())
                .bytes(),
        );
        is_refused_at_connect(&mut client, 5, PROTOCOL_ERROR, "a property twice");
        kept.push(client);
    }
    eventually!(broker.fd_count() <= before);
    drop(kept);
    oracle.judge(16 * 1024);
}

// [MQTT-3.1.3-8] [MQTT-3.1.3-9]
#[test]
fn a8_an_empty_client_id_needs_a_clean_session_before_5() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let mut client = Client::connect_tcp(broker.tcp());
    let connack = client.handshake(&Connect::new(4, "").clean(false));
    assert_eq!((connack.code, connack.session_present), (2, false));
    client.expect_closed();
    drop(client);
    oracle.judge(16 * 1024);
}

// [MQTT-4.12.0-1] and the chapter on enhanced authentication
#[test]
fn a8_authentication_out_of_place() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let method = || Properties::new().text(property::AUTHENTICATION_METHOD, "SCRAM-SHA-1");
    refuses(
        &broker,
        5,
        &wire::auth(0x18, &method()),
        PROTOCOL_ERROR,
        "AUTH without a method",
    );
    refuses(
        &broker,
        5,
        &wire::auth(0x77, &method()),
        WRONG,
        "AUTH with an unknown code",
    );
    refuses(
        &broker,
        4,
        &wire::auth(0x18, &method()),
        MALFORMED,
        "AUTH in 3.1.1",
    );
    let connect = Connect::new(5, unique("auth")).properties(method());
    refuses_connect(
        &broker,
        5,
        &connect.bytes(),
        &[0x8C, 0x87],
        "an unknown method",
    );
    let data = Properties::new().binary(property::AUTHENTICATION_DATA, b"x");
    let connect = Connect::new(5, unique("auth")).properties(data);
    refuses_connect(
        &broker,
        5,
        &connect.bytes(),
        PROTOCOL_ERROR,
        "data without a method",
    );
    oracle.judge(16 * 1024);
}

#[test]
fn a8_disconnect_that_is_wrong() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let expiry = |seconds| Properties::new().four(property::SESSION_EXPIRY_INTERVAL, seconds);
    refuses(
        &broker,
        5,
        &wire::disconnect_with(0, &expiry(60)),
        PROTOCOL_ERROR,
        "an expiry where CONNECT had none",
    );
    // A code of the server's, or none at all: the end is an answer, with or without a code.
    for reason in [0x8B, 0x55] {
        let mut client = connected(&broker, 5);
        client.send(&wire::disconnect_with(reason, &Properties::new()));
        for answer in client.until_closed() {
            let code = answer.disconnect(wire::DISCONNECT).reason;
            assert!(WRONG.contains(&code), "{reason:#04x}: {code:#04x}");
        }
    }
    let mut client = connected(&broker, 4);
    client.send(&wire::frame(0xE0, &[0]));
    assert!(client.until_closed().is_empty(), "a body in 3.1.1");
    drop(client);
    oracle.judge(16 * 1024);
}

/// Packets sent behind a DISCONNECT are not handled. [MQTT-3.14.4-1]
#[test]
fn a8_nothing_is_taken_after_disconnect() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let topic = unique("after");
    let mut watcher = Client::v5(&broker, &unique("watcher"));
    watcher.subscribe(&topic, 0);
    for level in [4, 5] {
        let mut client = connected(&broker, level);
        let late = Publish::new(&topic, b"late").bytes(level);
        client.send(&[wire::disconnect(), late].concat());
        assert!(client.until_closed().is_empty());
    }
    watcher.expect_silence(100);
    drop(watcher);
    oracle.judge(16 * 1024);
}

/// A client that was told to go and stays is cut off. Its receive buffer is left full, so that
/// the broker's DISCONNECT cannot even leave.
#[test]
fn a8_a_refused_client_that_does_not_read_is_cut_off() {
    let broker = Broker::builder()
        .config("limits: {max-outbox-bytes: 64MiB}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    let before = broker.fd_count();
    let topic = unique("full");
    let mut deaf = Client::v5(&broker, &unique("deaf"));
    deaf.subscribe(&topic, 0);
    let mut publisher = Client::v5(&broker, &unique("loud"));
    for _ in 0..32 {
        publisher.publish(&topic, vec![b'x'; 512 * 1024], 0);
    }
    publisher.ping();
    publisher.disconnect();
    deaf.send(&[0xFF; 16]);
    let start = Instant::now();
    eventually!(Duration::from_secs(10), broker.fd_count() <= before);
    assert!(start.elapsed() < Duration::from_secs(10));
    drop(deaf);
    refuses_connect(&broker, 4, &[0xFF; 16], ANY, "the broker goes on");
    oracle.judge(64 * 1024);
}

/// Whatever is wrong with a second CONNECT: that it is one is what DISCONNECT can say.
#[test]
fn a8_a_second_connect_of_another_version_is_a_protocol_error() {
    let broker = Broker::shared();
    let mut client = connected(&broker, 5);
    client.send(b"\x10\x0D\0\x04MQTT\x06\x02\0\x3C\0\0\0");
    client.expect_disconnect(0x82);
}
