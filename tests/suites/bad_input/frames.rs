//! B10: WebSocket frames as no well-meaning client sends them.

use std::time::{Duration, Instant};

use gatemq_tests::{Broker, Connect, Properties, Publish, unique, wire};

use super::oracle::{Oracle, processor_ms, scaled};
use crate::listeners::{
    http_client,
    ws_client::{self, BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, WebSocket, tcp},
};

/// The last frame of a message.
const LAST: u8 = 0x80;

/// A WebSocket on which MQTT 5 is connected.
#[track_caller]
fn connected(broker: &Broker) -> WebSocket {
    let mut socket = WebSocket::open(broker.ws());
    socket.send(BINARY, &Connect::new(5, unique("frames")).bytes());
    let connack = socket.frame().expect("a CONNACK");
    assert_eq!(
        (connack.opcode, connack.payload[0], connack.payload[3]),
        (BINARY, 0x20, 0)
    );
    socket
}

#[track_caller]
fn pings(socket: &mut WebSocket) {
    socket.send(BINARY, &wire::pingreq());
    assert_eq!(socket.frame().expect("a PINGRESP").payload, [0xD0, 0]);
}

/// Closed, with one of these close codes (a DISCONNECT may come in a frame before).
#[track_caller]
fn closes(mut socket: WebSocket, codes: &[u16], what: &str) {
    let code = socket.until_closed();
    assert!(
        code.is_some_and(|code| codes.contains(&code)),
        "{what}: closed with {code:?}"
    );
}

// [MQTT-6.0.0-2]: packets and frames need not be aligned.
#[test]
fn b10_packets_and_frames_are_independent() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let topic = unique("frames");
    let publish = Publish::new(&topic, b"payload").bytes(5);
    let mut socket = connected(&broker);
    let none = Properties::new();
    socket.send(BINARY, &wire::subscribe(5, 1, &none, &[(&topic, 0)]));
    assert_eq!(socket.frame().expect("a SUBACK").payload[0], 0x90);

    // Several packets in one frame, and one packet over many frames.
    socket.send(
        BINARY,
        &[publish.clone(), publish.clone(), publish.clone()].concat(),
    );
    for byte in &publish {
        socket.send(BINARY, &[*byte]);
    }
    // Over many frames of one message, with empty ones, and packets that end within a frame.
    socket.send_raw(&ws_client::frame(BINARY, &publish[..1]));
    socket.send_raw(&ws_client::frame(CONTINUATION, &[]));
    socket.send_raw(&ws_client::frame(CONTINUATION, &publish[1..4]));
    let rest = [&publish[4..], &publish[..6]].concat();
    socket.send_raw(&ws_client::frame(LAST | CONTINUATION, &rest));
    socket.send(BINARY, &publish[6..]);
    // A frame byte by byte.
    for byte in ws_client::frame(LAST | BINARY, &publish) {
        socket.send_raw(&[byte]);
    }
    let mut received = Vec::new();
    while received.len() < 7 * publish.len() {
        received.extend(socket.frame().expect("the messages").payload);
    }
    assert_eq!(received, publish.repeat(7));
    pings(&mut socket);
    drop(socket);
    oracle.judge(16 * 1024);
}

#[test]
fn b10_control_frames_between_fragments() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let mut socket = connected(&broker);
    let ping = wire::pingreq();
    socket.send_raw(&ws_client::frame(BINARY, &ping[..1]));
    socket.send(PING, b"between");
    socket.send(PONG, b"unasked");
    let pong = socket.frame().expect("a pong");
    assert_eq!(
        (pong.opcode, pong.payload.as_slice()),
        (PONG, &b"between"[..])
    );
    socket.send_raw(&ws_client::frame(LAST | CONTINUATION, &ping[1..]));
    assert_eq!(socket.frame().expect("a PINGRESP").payload, [0xD0, 0]);
    drop(socket);
    oracle.judge(16 * 1024);
}

// [MQTT-6.0.0-1]
#[test]
fn b10_a_text_frame_ends_the_connection() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let mut socket = connected(&broker);
    socket.send(TEXT, b"\xC0\0");
    closes(socket, &[1002, 1003, 1007], "text after CONNECT");
    let mut socket = WebSocket::open(broker.ws());
    socket.send(TEXT, b"hello");
    closes(socket, &[1002, 1003], "text before CONNECT");
    oracle.judge(16 * 1024);
}

// [MQTT-6.0.0-3]
#[test]
fn b10_the_subprotocol_must_be_offered() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    for subprotocol in [
        None,
        Some("chat"),
        Some("mqttx"),
        Some(""),
        Some("xmqtt, MQTTS"),
    ] {
        match WebSocket::upgrade(tcp(broker.ws()), "/mqtt", subprotocol) {
            Err(answer) => assert!(
                answer.starts_with("HTTP/1.1 4"),
                "{subprotocol:?}: {answer}"
            ),
            // RFC 6455 lets a server agree to none; then MQTT must not be spoken.
            Ok(mut socket) => {
                assert_eq!(
                    socket.header("Sec-WebSocket-Protocol"),
                    None,
                    "{subprotocol:?}"
                );
                socket.send(BINARY, &Connect::new(5, unique("none")).bytes());
                closes(socket, &[1002, 1003, 1008], "no subprotocol");
            }
        }
    }
    oracle.judge(16 * 1024);
}

#[test]
fn b10_frames_that_break_the_protocol() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let unmasked = [&[LAST | BINARY, 2][..], &wire::pingreq()].concat();
    let cases: [(&str, Vec<u8>); 11] = [
        ("an unmasked frame", unmasked),
        (
            "a reserved bit",
            ws_client::frame(LAST | 0x40 | BINARY, &wire::pingreq()),
        ),
        (
            "two reserved bits",
            ws_client::frame(LAST | 0x30 | BINARY, &wire::pingreq()),
        ),
        (
            "a reserved opcode",
            ws_client::frame(LAST | 0x3, &wire::pingreq()),
        ),
        (
            "a reserved control opcode",
            ws_client::frame(LAST | 0xB, &[]),
        ),
        (
            "a continuation of nothing",
            ws_client::frame(LAST | CONTINUATION, &wire::pingreq()),
        ),
        ("a fragmented ping", ws_client::frame(PING, b"x")),
        (
            "a ping of 126 bytes",
            ws_client::frame(LAST | PING, &[b'x'; 126]),
        ),
        (
            "a close frame of one byte",
            ws_client::frame(LAST | CLOSE, &[3]),
        ),
        (
            "a message within a message",
            [
                ws_client::frame(BINARY, &[0xC0]),
                ws_client::frame(LAST | BINARY, &[0]),
            ]
            .concat(),
        ),
        (
            "a length with the highest bit",
            [&[LAST | BINARY, 0xFF, 0x80][..], &[0; 11]].concat(),
        ),
    ];
    for (what, bytes) in cases {
        let mut socket = connected(&broker);
        socket.send_raw(&bytes);
        // No frame may be so long, and no length may be written so.
        let is_long = what.starts_with("a length");
        let codes: &[u16] = if is_long { &[1002, 1009] } else { &[1002] };
        closes(socket, codes, what);
    }
    oracle.judge(16 * 1024);
}

/// A frame's length is refused as soon as its header is there: nothing else of it is sent.
#[test]
fn b10_an_oversize_frame_closes_with_1009() {
    let broker = Broker::builder()
        .config("limits: {maximum-packet-size: 64KiB}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    for length in [200_000, 100_000_000, 1 << 40] {
        let mut socket = connected(&broker);
        socket.send_raw(&ws_client::header(LAST | BINARY, length));
        socket.send_raw(&[0; 4]);
        closes(socket, &[1009], &format!("{length} bytes"));
    }
    // Before CONNECT less is taken.
    let mut socket = WebSocket::open(broker.ws());
    socket.send_raw(&ws_client::header(LAST | BINARY, 1 << 30));
    socket.send_raw(&[0; 4]);
    closes(socket, &[1009], "before CONNECT");
    oracle.judge(16 * 1024);
}

/// Scale 1: 10,000 fragments of one byte that make a packet of 10,000 bytes.
#[test]
fn b10_many_fragments_are_cheap() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let topic = unique("frag");
    let mut watcher = gatemq_tests::Client::v4(&broker, &unique("watcher"));
    watcher.subscribe(&topic, 0);
    let mut socket = connected(&broker);
    let publish = Publish::new(&topic, vec![b'x'; scaled(10_000)]).bytes(5);
    let (before, start) = (processor_ms(&broker), Instant::now());
    let mut bytes = ws_client::frame(BINARY, &publish[..1]);
    for byte in &publish[1..publish.len() - 1] {
        bytes.extend(ws_client::frame(CONTINUATION, &[*byte]));
    }
    bytes.extend(ws_client::frame(
        LAST | CONTINUATION,
        &publish[publish.len() - 1..],
    ));
    socket.send_raw(&bytes);
    assert_eq!(watcher.receive().payload.len(), scaled(10_000));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    let spent = processor_ms(&broker) - before;
    assert!(spent < 2_000, "{spent} ms of processor time");
    drop((socket, watcher));
    oracle.judge(16 * 1024);
}

/// No compression is agreed on, so that nothing can be blown up.
#[test]
fn b10_compression_is_not_offered() {
    let broker = Broker::builder()
        .config("limits: {connect-timeout: 1s}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    let request = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    // The connect timeout ends it; what matters is the head.
    let answer = http_client::send(broker.ws(), request.as_bytes());
    assert_eq!(answer.status, 101, "{answer:?}");
    assert!(
        !answer
            .head
            .to_lowercase()
            .contains("sec-websocket-extensions"),
        "{answer:?}"
    );
    oracle.judge(16 * 1024);
}

#[test]
fn b10_upgrade_requests_that_are_wrong() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let good = [
        "GET /mqtt HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: mqtt",
    ];
    let mut requests = Vec::new();
    for left_out in 2..good.len() - 1 {
        let kept = good
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != left_out);
        requests.push(
            kept.map(|(_, line)| format!("{line}\r\n"))
                .collect::<String>(),
        );
    }
    let replaced = [
        ("GET", "POST"),
        ("HTTP/1.1", "HTTP/1.0"),
        ("Version: 13", "Version: 99"),
        ("Upgrade: websocket", "Upgrade: h2c"),
    ];
    for (from, to) in replaced {
        requests.push(good.join("\r\n").replacen(from, to, 1) + "\r\n");
    }
    requests.push(format!(
        "{}\r\nX: {}\r\n",
        good.join("\r\n"),
        "x".repeat(200_000)
    ));
    requests.push(format!(
        "{}\r\n{}",
        good.join("\r\n"),
        "X: y\r\n".repeat(10_000)
    ));
    for request in requests {
        let answer = http_client::send(broker.ws(), format!("{request}\r\n").as_bytes());
        let refused = answer.status == 0 || (400..500).contains(&answer.status);
        assert!(
            refused,
            "{} for {}",
            answer.status,
            &request[..request.len().min(400)]
        );
    }
    oracle.judge(16 * 1024);
}
