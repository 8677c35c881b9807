//! A5 and A6: empty topics, text that is no UTF-8, and text that is meant for a terminal.

use gatemq_tests::{
    Broker, Client, Connect, Properties, Will, unique,
    wire::{self, property},
};

use super::{
    oracle::Oracle,
    verdict::{Answer, MALFORMED, connected, probe, refuses, refuses_connect},
};

/// What no text may hold. [MQTT-1.5.4-1] [MQTT-1.5.4-2]
const NO_TEXT: [(&str, &[u8]); 9] = [
    ("U+0000", b"a\0b"),
    ("a surrogate", b"a\xED\xA0\x80b"),
    ("a surrogate pair", b"\xED\xA0\x80\xED\xB0\x80"),
    ("an overlong U+0000", b"a\xC0\x80b"),
    ("an overlong slash", b"a\xE0\x80\xAFb"),
    ("above U+10FFFF", b"a\xF5\x80\x80\x80b"),
    ("a lone continuation", b"a\x80b"),
    ("half a character", b"ab\xE2\x82"),
    ("no byte of UTF-8", b"\xFF\xFE"),
];

/// PUBLISH with a topic of any bytes.
fn publish(level: u8, topic: &[u8], properties: &Properties) -> Vec<u8> {
    let mut body = wire::text(topic);
    if level == 5 {
        body.extend(properties.bytes());
    }
    wire::frame(wire::PUBLISH << 4, &body)
}

/// SUBSCRIBE or UNSUBSCRIBE with a filter of any bytes.
fn filter(level: u8, kind: u8, filter: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 1];
    if level == 5 {
        body.push(0);
    }
    body.extend(wire::text(filter));
    if kind == wire::SUBSCRIBE {
        body.push(0);
    }
    wire::frame(kind << 4 | 2, &body)
}

/// CONNECTs with these bytes in each place of text.
fn connects(level: u8, bytes: &[u8]) -> Vec<(&'static str, Connect)> {
    let plain = || Connect::new(level, unique("text"));
    let mut connects = vec![
        ("client id", Connect::new(level, bytes)),
        ("user name", plain().username(bytes)),
        ("will topic", plain().will(Will::new(bytes, b"x"))),
    ];
    if level == 5 {
        let pair = [wire::text(bytes), wire::text("v")].concat();
        let user =
            || Properties::new().with(property::USER_PROPERTY, property::Value::Raw(pair.clone()));
        let will = |properties| Will::new("will", b"x").properties(properties);
        connects.extend([
            ("user property", plain().properties(user())),
            ("will's user property", plain().will(will(user()))),
            (
                "will's content type",
                plain().will(will(
                    Properties::new().binary(property::CONTENT_TYPE, bytes),
                )),
            ),
            (
                "authentication method",
                plain()
                    .properties(Properties::new().binary(property::AUTHENTICATION_METHOD, bytes)),
            ),
        ]);
    }
    connects
}

/// Packets with these bytes in each place of text, for a connected client.
fn packets(level: u8, bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let none = Properties::new();
    let mut packets = vec![
        ("topic", publish(level, bytes, &none)),
        ("filter", filter(level, wire::SUBSCRIBE, bytes)),
        ("filter to leave", filter(level, wire::UNSUBSCRIBE, bytes)),
    ];
    if level == 5 {
        let name = [wire::text(bytes), wire::text("v")].concat();
        let value = [wire::text("n"), wire::text(bytes)].concat();
        let user = |pair: &[u8]| {
            none.clone()
                .with(property::USER_PROPERTY, property::Value::Raw(pair.to_vec()))
        };
        let text = |id| Properties::new().binary(id, bytes);
        packets.extend([
            ("user property's name", publish(5, b"t", &user(&name))),
            ("user property's value", publish(5, b"t", &user(&value))),
            (
                "content type",
                publish(5, b"t", &text(property::CONTENT_TYPE)),
            ),
            (
                "response topic",
                publish(5, b"t", &text(property::RESPONSE_TOPIC)),
            ),
            (
                "reason string",
                wire::disconnect_with(4, &text(property::REASON_STRING)),
            ),
            (
                "reason of an acknowledgement",
                wire::ack_with(wire::PUBACK, 1, 0, &text(property::REASON_STRING)),
            ),
            (
                "user property of SUBSCRIBE",
                wire::subscribe(5, 1, &user(&name), &[("a", 0)]),
            ),
        ]);
    }
    packets
}

// [MQTT-3.3.2-1] [MQTT-4.7.3-1]
#[test]
fn a5_a_topic_is_at_least_one_byte() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    for level in [3, 4, 5] {
        refuses(
            &broker,
            level,
            &publish(level, b"", &Properties::new()),
            &[0x82, 0x90],
            "PUBLISH",
        );
        let connect = Connect::new(level, unique("empty")).will(Will::new("", b"x"));
        refuses_connect(
            &broker,
            level,
            &connect.bytes(),
            &[0x81, 0x82, 0x90],
            "will",
        );
        for kind in [wire::SUBSCRIBE, wire::UNSUBSCRIBE] {
            let mut client = connected(&broker, level);
            client.send(&filter(level, kind, b""));
            if level < 5 {
                ends_or_fails(&mut client, level);
                continue;
            }
            let answer = client.recv();
            let code = if answer.kind == wire::DISCONNECT {
                answer.disconnect(wire::DISCONNECT).reason
            } else {
                answer.suback(kind + 1, 5).codes[0]
            };
            assert_eq!(code, 0x8F, "{}: {code:#04x}", wire::name(kind));
        }
    }
    let mut client = connected(&broker, 5);
    let alias = Properties::new().two(property::TOPIC_ALIAS, 1);
    client.send(&publish(5, b"t", &alias));
    client.send(&publish(5, b"", &alias));
    client.ping();
    drop(client);
    oracle.judge(16 * 1024);
}

/// Before 5: closed, a SUBACK of 0x80, or an UNSUBACK that says nothing.
#[track_caller]
fn ends_or_fails(client: &mut Client, level: u8) {
    if let Some(packet) = client.recv_within(std::time::Duration::from_secs(5)) {
        let failed =
            packet.kind == wire::UNSUBACK || packet.suback(wire::SUBACK, level).codes == [0x80];
        assert!(failed, "{packet:?}");
    }
}

#[test]
fn a6_text_that_is_no_utf_8_is_refused_everywhere() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    for level in [3, 4, 5] {
        for (name, bytes) in NO_TEXT {
            for (place, packet) in packets(level, bytes) {
                let what = format!("level {level}, {name} in {place}");
                refuses(&broker, level, &packet, MALFORMED, &what);
            }
            for (place, connect) in connects(level, bytes) {
                let what = format!("level {level}, {name} in {place}");
                refuses_connect(&broker, level, &connect.bytes(), &[0x81, 0x82, 0x85], &what);
            }
        }
    }
    oracle.judge(16 * 1024);
}

/// These are text, if strange: taken as they are, or refused, but never half of it, and never
/// raw in the log. [MQTT-1.5.4-3]
#[test]
fn a6_strange_text_is_harmless() {
    let broker = Broker::builder().args(["--level", "debug"]).start();
    let oracle = Oracle::watch(&broker);
    let strange = [
        "\u{FFFF}",
        "\u{FEFF}",
        "\u{85}\u{9B}31m",
        "\r\ngatemq-injected: a line",
        "\ngatemq-injected: a line",
        "\x1B]0;gatemq-injected\x07\x1B[2J",
        "\u{202E}abc",
        "${jndi:ldap://x}%s%n{}'\"`;--",
    ];
    for level in [4, 5] {
        for text in strange {
            for (place, packet) in packets(level, text.as_bytes()) {
                let what = format!("level {level}, {text:?} in {place}");
                let mut client = connected(&broker, level);
                client.send(&packet);
                let answer = probe(&mut client, level, &what);
                let refused = matches!(
                    answer,
                    Answer::Ended(None | Some(0x81 | 0x82 | 0x90 | 0x8F))
                );
                assert!(refused || answer == Answer::GoesOn, "{what}: {answer:02x?}");
            }
            for (place, connect) in connects(level, text.as_bytes()) {
                let what = format!("level {level}, {text:?} in {place}");
                let mut client = Client::connect_tcp(broker.tcp());
                client.set_level(level);
                client.send(&connect.bytes());
                probe(&mut client, level, &what);
            }
        }
    }
    let log = broker.log();
    let injected = log.lines().find(|line| line.starts_with("gatemq-injected"));
    assert_eq!(injected, None, "a client wrote a line of the log");
    assert!(
        !log.contains("\x1B]0;gatemq-injected"),
        "a client's escape sequence is in the log"
    );
    assert!(
        !log.contains('\u{9B}'),
        "a client's control character is in the log"
    );
    oracle.judge(16 * 1024);
}

// [MQTT-1.5.4-3]
#[test]
fn a6_a_byte_order_mark_is_kept() {
    let broker = Broker::shared();
    let topic = format!("\u{FEFF}{}", unique("bom"));
    for level in [4, 5] {
        let mut client = connected(&broker, level);
        client.subscribe(&topic, 0);
        client.publish(&topic, b"x", 0);
        assert_eq!(client.receive().topic, topic);
    }
}
