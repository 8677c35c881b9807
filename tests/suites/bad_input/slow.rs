//! B3 to B5: clients that read slowly, write slowly, or say nothing.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, pause, unique,
    wire::{self, property},
};

use super::{
    oracle::{Oracle, scaled},
    verdict::connected,
};
use crate::listeners::{authority::Authority, http_client};

/// Scale 1: 1,000 messages of 64 KiB to a client that reads nothing: 4 MiB may wait for it.
#[test]
fn b3_a_client_that_does_not_read_costs_its_outbox() {
    let broker = Broker::builder()
        .config("limits: {max-outbox-bytes: 4MiB}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    let topic = unique("firehose");
    let mut deaf = connected(&broker, 5);
    deaf.subscribe(&topic, 0);
    let mut present = connected(&broker, 5);
    present.subscribe(&topic, 0);
    let mut publisher = connected(&broker, 5);
    let n_messages = u32::try_from(scaled(1_000)).expect("not that many");
    let mut payload = vec![b'x'; 64 * 1024];
    for number in 0..n_messages {
        payload[..4].copy_from_slice(&number.to_be_bytes());
        publisher.publish(&topic, &payload, 0);
        let received = present.receive().payload;
        assert_eq!(
            received[..4],
            number.to_be_bytes(),
            "the one that reads misses nothing"
        );
    }
    oracle.grew_less_than(32 * 1024);
    let stats = http_client::get(broker.http(), "/mqtt/stats").body;
    let n_dropped = stats
        .split_once("\"messages_dropped\":")
        .and_then(|(_, rest)| rest.split(|byte: char| !byte.is_ascii_digit()).next())
        .and_then(|digits| digits.parse::<u32>().ok())
        .unwrap_or_else(|| panic!("no count of what is dropped in {stats}"));
    assert!(
        n_dropped > n_messages / 2 && n_dropped < n_messages,
        "{n_dropped} of {n_messages} are dropped"
    );

    // What was kept is whole and in order, and the connection is good again.
    let mut last = None;
    while let Some(packet) = deaf.recv_within(Duration::from_millis(500)) {
        let publish = packet.publish(5);
        assert!(publish.payload.len() == payload.len(), "half a message");
        let number = publish.payload[..4].to_vec();
        assert!(
            last.as_ref() < Some(&number),
            "out of order: {last:?} {number:?}"
        );
        last = Some(number);
    }
    deaf.ping();
    drop((deaf, present, publisher));
    oracle.judge(48 * 1024);
}

/// Some at a time are sent what is retained: whoever does not take it is not one of them.
#[test]
fn b3_those_who_do_not_take_what_is_retained_keep_nobody_from_it() {
    const MESSAGES: usize = 40;
    let broker = Broker::builder().start();
    let prefix = unique("large");
    let mut publisher = connected(&broker, 5);
    for number in 0..MESSAGES {
        publisher.publish_retained(&format!("{prefix}/{number}"), [b'x'; 512 * 1024], 1);
    }
    let filter = format!("{prefix}/#");
    let mut others = Vec::new();
    for number in 0..12 {
        // None of them reads, and half of them would have to acknowledge.
        let mut other = connected(&broker, 5);
        let filters = [(&*filter, number % 2)];
        other.send(&wire::subscribe(5, 1, &Properties::new(), &filters));
        others.push(other);
    }
    let mut present = connected(&broker, 5);
    present.subscribe(&filter, 1);
    for _ in 0..MESSAGES {
        let publish = present.receive();
        assert!(publish.retain, "{publish:?}");
        present.acknowledge(&publish);
    }
    drop(others);
}

/// QoS 1 is not dropped: what does not fit waits in the session's queue.
#[test]
fn b3_a_slow_reader_of_qos_1_gets_everything() {
    let broker = Broker::builder()
        .config("limits: {max-outbox-bytes: 1MiB}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    let topic = unique("slow");
    let mut slow = connected(&broker, 5);
    slow.subscribe(&topic, 1);
    let mut publisher = connected(&broker, 5);
    for number in 0..200_u8 {
        publisher.publish(&topic, vec![number; 64 * 1024], 1);
    }
    for number in 0..200_u8 {
        let publish = slow.receive();
        assert!(
            publish.payload == vec![number; 64 * 1024],
            "message {number}"
        );
    }
    drop((slow, publisher));
    oracle.judge(64 * 1024);
}

#[test]
fn b3_a_stuck_connection_is_ended() {
    let broker = Broker::builder()
        .config("limits: {stuck-timeout: 1s}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    let before = broker.fd_count();
    let topic = unique("stuck");
    let mut stuck = connected(&broker, 5);
    stuck.subscribe(&topic, 1);
    let mut publisher = connected(&broker, 5);
    for _ in 0..200 {
        publisher.publish(&topic, vec![b'x'; 64 * 1024], 1);
    }
    publisher.disconnect();
    gatemq_tests::eventually!(Duration::from_secs(8), broker.fd_count() <= before);
    drop(stuck);
    oracle.judge(64 * 1024);
}

/// One byte every 300 ms until the other side ends it; how long that took.
fn drip(address: SocketAddr, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).expect("it takes connections");
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .expect("a timeout can be set");
    let mut buffer = [0; 256];
    for byte in bytes {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        if start.elapsed() > Duration::from_secs(9) {
            break;
        }
    }
    start.elapsed()
}

/// Scale 1: 50 connections for each of four transports.
#[test]
fn b4_slow_handshakes_end_at_the_timeout() {
    let identity = Authority::new("slow").server();
    let tls = "tls: {certificate: '{dir}/cert.pem', key: '{dir}/key.pem'}";
    let broker = Broker::builder()
        .file("cert.pem", identity.certificate_pem())
        .file("key.pem", identity.key_pem())
        .config(format!(
            "limits: {{connect-timeout: 2s}}\nlisteners:\n\
             - {{transport: tls, address: '127.0.0.1:0', {tls}}}\n\
             - {{transport: wss, address: '127.0.0.1:0', {tls}}}\n"
        ))
        .start();
    let oracle = Oracle::watch(&broker);
    let connect = Connect::new(4, "slow-client-with-a-long-name").bytes();
    let upgrade = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n";
    // A ClientHello's first bytes.
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03abcdefghijklmnopqrstuvwxyz";
    let cases: [(&str, &[u8]); 4] = [
        ("tcp", &connect),
        ("ws", upgrade),
        ("tls", hello),
        ("wss", hello),
    ];
    std::thread::scope(|scope| {
        for (name, bytes) in cases {
            for _ in 0..scaled(50) {
                let address = broker.address(name);
                scope.spawn(move || {
                    let took = drip(address, bytes);
                    assert!(took < Duration::from_secs(6), "{name}: {took:?}");
                    assert!(took > Duration::from_secs(1), "{name}: {took:?}");
                });
            }
        }
        // Others get in meanwhile.
        for _ in 0..20 {
            let start = Instant::now();
            Client::v5(&broker, &unique("quick")).disconnect();
            assert!(
                start.elapsed() < Duration::from_secs(3),
                "{:?}",
                start.elapsed()
            );
        }
    });
    oracle.judge(32 * 1024);
}

/// A CONNECT does not end the patience with what must come before it.
#[test]
fn b4_an_open_websocket_without_a_connect_ends_at_the_timeout() {
    let broker = Broker::builder()
        .config("limits: {connect-timeout: 2s}\n")
        .start();
    let start = Instant::now();
    let mut socket = crate::listeners::ws_client::WebSocket::open(broker.ws());
    socket.until_closed();
    let took = start.elapsed().as_secs_f64();
    assert!((1.8..5.0).contains(&took), "after {took} s");
}

/// When the broker ends a silent connection, and with what.
#[track_caller]
fn ends_after(client: &mut Client, level: u8, range: std::ops::Range<f64>, what: &str) {
    let start = Instant::now();
    client.set_limit(Duration::from_secs(9));
    let packets = client.until_closed();
    let took = start.elapsed().as_secs_f64();
    assert!(
        range.contains(&took),
        "{what}: ended after {took} s, {range:?} was expected"
    );
    match (level, packets.as_slice()) {
        (5, [last]) => assert_eq!(last.disconnect(wire::DISCONNECT).reason, 0x8D, "{what}"),
        (3 | 4, []) => {}
        _ => panic!("{what}: {packets:?}"),
    }
}

// [MQTT-3.1.2-22]
#[test]
fn b5_one_and_a_half_keep_alives_of_silence_end_the_connection() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    std::thread::scope(|scope| {
        for level in [3, 4, 5] {
            for seconds in [1, 2] {
                let broker = &broker;
                scope.spawn(move || {
                    let connect = Connect::new(level, unique("silent")).keep_alive(seconds);
                    let mut client = Client::connect(broker, &connect).0;
                    let due = f64::from(seconds) * 1.5;
                    let what = format!("level {level}, {seconds} s");
                    ends_after(&mut client, level, due - 0.1..due + 1.0, &what);
                });
            }
        }
    });
    oracle.judge(16 * 1024);
}

/// Messages from the broker do not count, nor do the bytes of a packet that is never whole.
#[test]
fn b5_only_whole_packets_of_the_client_count() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let topic = unique("fed");
    let mut fed = Client::connect(&broker, &Connect::new(4, unique("fed")).keep_alive(1)).0;
    fed.subscribe(&topic, 0);
    let mut dripping = Client::connect(&broker, &Connect::new(4, unique("drip")).keep_alive(1)).0;
    let mut busy = Client::connect(&broker, &Connect::new(4, unique("busy")).keep_alive(1)).0;
    let mut publisher = connected(&broker, 5);
    let slow = Publish::new(&topic, vec![b'x'; 100]).bytes(4);
    for byte in slow.iter().take(14) {
        publisher.publish(&topic, b"x", 0);
        dripping.send(&[*byte]);
        busy.ping();
        pause(Duration::from_millis(250));
    }
    assert!(
        !dripping.is_open(),
        "half a packet kept the connection alive for 3.5 s"
    );
    fed.until_closed();
    busy.ping();
    drop((fed, dripping, busy, publisher));
    oracle.judge(16 * 1024);
}

// [MQTT-3.2.2-22], and section 3.2.2.3.14
#[test]
fn b5_the_servers_keep_alive_is_what_counts() {
    let broker = Broker::builder()
        .config("limits: {server-keep-alive: 2}\n")
        .start();
    // No canary: it says nothing for longer than this broker allows.
    std::thread::scope(|scope| {
        for seconds in [0, 3, u16::MAX] {
            let broker = &broker;
            scope.spawn(move || {
                let connect = Connect::new(5, unique("long")).keep_alive(seconds);
                let (mut client, connack) = Client::connect(broker, &connect);
                assert_eq!(
                    connack.properties.number(property::SERVER_KEEP_ALIVE),
                    Some(2)
                );
                ends_after(&mut client, 5, 2.9..5.0, &format!("5, {seconds} s"));
            });
        }
    });
    let (_, connack) = Client::connect(&broker, &Connect::new(5, unique("short")).keep_alive(1));
    let told = connack.properties.number(property::SERVER_KEEP_ALIVE);
    assert!(
        told.is_none_or(|told| told == 1),
        "a shorter one is the client's choice: {told:?}"
    );
}

/// Before 5 the client cannot be told: it is refused, or the limit holds all the same.
#[test]
fn b5_a_keep_alive_above_the_limit_before_5() {
    let broker = Broker::builder()
        .config("limits: {server-keep-alive: 2}\n")
        .start();
    // No canary: it says nothing for longer than this broker allows.
    std::thread::scope(|scope| {
        for level in [3, 4] {
            let broker = &broker;
            for seconds in [3, u16::MAX] {
                let connect = Connect::new(level, unique("long")).keep_alive(seconds);
                let (mut client, connack) = Client::attempt(broker, &connect);
                assert_eq!(connack.code, 2, "level {level}, {seconds} s");
                client.expect_closed();
            }
            // None at all is not refused, but held to the same bound.
            scope.spawn(move || {
                let connect = Connect::new(level, unique("none")).keep_alive(0);
                let mut client = Client::connect(broker, &connect).0;
                ends_after(&mut client, level, 2.9..5.0, &format!("level {level}"));
            });
        }
    });
}

/// Without a keep alive nothing ends a silent client.
#[test]
fn b5_no_keep_alive_is_no_limit() {
    let broker = Broker::shared();
    for level in [4, 5] {
        let mut client = Client::connect(&broker, &Connect::new(level, unique("free"))).0;
        client.expect_silence(2500);
        client.ping();
    }
}
