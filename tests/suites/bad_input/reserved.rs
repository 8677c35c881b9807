//! A4 and A7: reserved types, flags and options, QoS 3, and packets that only a server sends.

use gatemq_tests::{
    Broker, Connect, Properties, Publish, Will, unique,
    wire::{self, property},
};

use super::{
    oracle::Oracle,
    verdict::{
        Answer, MALFORMED, PROTOCOL_ERROR, WRONG, connected, is_refused, probe, refuses,
        refuses_connect,
    },
};

/// A body that is good for the type, so that only the first byte is wrong.
fn body(level: u8, kind: u8, flags: u8) -> Vec<u8> {
    let properties = if level == 5 { &[0][..] } else { &[] };
    match kind {
        wire::CONNECT => Connect::new(level, unique("again")).body(),
        wire::CONNACK => [&[0, 0], properties].concat(),
        wire::PUBLISH => {
            let id: &[u8] = if flags & 6 == 0 { &[] } else { &[0, 1] };
            [b"\0\x03a/b", id, properties, b"x"].concat()
        }
        wire::PUBACK..=wire::PUBCOMP => vec![0, 1],
        wire::SUBSCRIBE => [&[0, 1], properties, b"\0\x03a/b\0"].concat(),
        wire::SUBACK => [&[0, 1], properties, &[0]].concat(),
        wire::UNSUBSCRIBE => [&[0, 1], properties, b"\0\x03a/b"].concat(),
        wire::UNSUBACK => [&[0, 1], properties, properties].concat(),
        _ => Vec::new(),
    }
}

/// What must happen to a packet with this first byte on a connected client's connection.
enum Rule {
    GoesOn,
    /// It is a message that the standard has no answer for.
    GoesOnOrProtocolError,
    Ends,
    Refused(&'static [u8]),
}

// [MQTT-2.2.2-2] [MQTT-2.1.3-1] [MQTT-3.3.1-4]; DUP with QoS 0: [MQTT-3.3.1-2]
fn rule(level: u8, kind: u8, flags: u8) -> Rule {
    match (kind, flags) {
        (wire::PUBLISH, 0x6 | 0x7 | 0xE | 0xF) => Rule::Refused(MALFORMED),
        (wire::PUBLISH, 0x8 | 0x9) => Rule::Refused(MALFORMED),
        (wire::PUBLISH, _) => Rule::GoesOn,
        (wire::PUBACK | wire::PUBREC | wire::PUBCOMP, 0) | (wire::PUBREL, 2) => {
            Rule::GoesOnOrProtocolError
        }
        (wire::SUBSCRIBE | wire::UNSUBSCRIBE, 2) | (wire::PINGREQ, 0) => Rule::GoesOn,
        // 3.1 marks these with DUP when they are sent again (section 2.1).
        (wire::SUBSCRIBE | wire::UNSUBSCRIBE, 0xA) if level == 3 => Rule::GoesOn,
        (wire::PUBREL, 0xA) if level == 3 => Rule::GoesOnOrProtocolError,
        (wire::DISCONNECT, 0) => Rule::Ends,
        (wire::CONNECT, 0) => Rule::Refused(PROTOCOL_ERROR),
        (wire::CONNACK | wire::SUBACK | wire::UNSUBACK | wire::PINGRESP, _) => Rule::Refused(WRONG),
        (wire::AUTH, 0) if level == 5 => Rule::Refused(PROTOCOL_ERROR),
        _ => Rule::Refused(MALFORMED),
    }
}

fn check(broker: &Broker, level: u8, kind: u8, flags: u8) {
    let what = format!("level {level}, {} with flags {flags:#x}", wire::name(kind));
    let mut client = connected(broker, level);
    client.send(&wire::frame(kind << 4 | flags, &body(level, kind, flags)));
    let refused = |answer, codes: &[u8]| match answer {
        Answer::Ended(code) if level == 5 => code.is_some_and(|code| codes.contains(&code)),
        Answer::Ended(code) => code.is_none(),
        Answer::GoesOn => false,
    };
    let answer = match rule(level, kind, flags) {
        Rule::Refused(codes) => return is_refused(&mut client, level, codes, &what),
        Rule::Ends => return assert!(client.until_closed().is_empty(), "{what}"),
        _ => probe(&mut client, level, &what),
    };
    let good = match rule(level, kind, flags) {
        Rule::GoesOnOrProtocolError => refused(answer, PROTOCOL_ERROR),
        _ => false,
    };
    assert!(good || answer == Answer::GoesOn, "{what}: {answer:02x?}");
}

#[test]
fn a4_every_type_with_every_flag() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    for level in [3, 4, 5] {
        for first in 0..=u8::MAX {
            check(&broker, level, first >> 4, first & 0x0F);
        }
    }
    oracle.judge(16 * 1024);
}

// [MQTT-3.8.3-5]
#[test]
fn a4_reserved_bits_of_subscription_options() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let subscribe =
        |level, options| wire::subscribe(level, 1, &Properties::new(), &[("a", options)]);
    for options in 0..=u8::MAX {
        let what = format!("options {options:#04x}");
        let (qos, handling) = (options & 3, options >> 4 & 3);
        if options & 0xC0 != 0 || qos == 3 || handling == 3 {
            // Reserved bits are malformed; the two values of 3 are protocol errors (section 3.8.3.1).
            let codes = match (options & 0xC0 != 0, qos == 3 || handling == 3) {
                (true, true) => WRONG,
                (true, false) => MALFORMED,
                (false, _) => PROTOCOL_ERROR,
            };
            refuses(&broker, 5, &subscribe(5, options), codes, &what);
        }
        if options > 2 && options.is_power_of_two() || options == 3 {
            refuses(&broker, 4, &subscribe(4, options), MALFORMED, &what);
        }
    }
    oracle.judge(16 * 1024);
}

// [MQTT-3.1.2-3] [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13]
#[test]
fn a4_connect_flags() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let plain = |level| Connect::new(level, unique("flags"));
    let willed = |level: u8| plain(level).will(Will::new("w", b"x"));
    for level in [4, 5] {
        let cases = [
            ("the reserved bit", plain(level).flags(0x03)),
            ("will QoS 3", willed(level).flags(0x1E)),
            ("will QoS without a will", plain(level).flags(0x0A)),
            ("will retain without a will", plain(level).flags(0x22)),
            ("a will flag without a will", plain(level).flags(0x06)),
            ("a user name flag without one", plain(level).flags(0x82)),
        ];
        for (what, connect) in cases {
            let what = format!("level {level}: {what}");
            refuses_connect(&broker, level, &connect.bytes(), MALFORMED, &what);
        }
    }
    let nameless = plain(4).password("secret");
    refuses_connect(
        &broker,
        4,
        &nameless.bytes(),
        MALFORMED,
        "3.1.1: a password alone",
    );
    for flags in [0x01, 0x11, 0x21, 0x31] {
        let bytes = wire::frame(flags, &plain(5).body());
        refuses_connect(
            &broker,
            5,
            &bytes,
            MALFORMED,
            "flags in the first byte of CONNECT",
        );
    }
    oracle.judge(16 * 1024);
}

#[test]
fn a7_packets_that_only_a_server_sends() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let kinds = [wire::CONNACK, wire::SUBACK, wire::UNSUBACK, wire::PINGRESP];
    for level in [3, 4, 5] {
        for kind in kinds {
            let packet = wire::frame(kind << 4, &body(level, kind, 0));
            refuses(&broker, level, &packet, WRONG, wire::name(kind));
            refuses_connect(&broker, level, &packet, WRONG, wire::name(kind));
        }
        check(&broker, level, wire::PUBCOMP, 0);
    }
    // A subscription identifier in a PUBLISH is the server's to set. [MQTT-3.3.4-6]
    let id = Properties::new().var(property::SUBSCRIPTION_IDENTIFIER, 1);
    let publish = Publish::new("a/b", b"x").properties(id).bytes(5);
    refuses(
        &broker,
        5,
        &publish,
        WRONG,
        "PUBLISH with a subscription identifier",
    );
    oracle.judge(16 * 1024);
}
