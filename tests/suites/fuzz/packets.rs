//! What clients say when nothing is wrong: what is changed then.

use gatemq_tests::{
    Connect, Properties, Publish, Will,
    wire::{self, property},
};

/// Packets of a client of this level, of every kind.
pub(super) fn of(level: u8) -> Vec<Vec<u8>> {
    let none = Properties::new();
    let rich = Properties::new()
        .byte(property::PAYLOAD_FORMAT_INDICATOR, 1)
        .four(property::MESSAGE_EXPIRY_INTERVAL, 60)
        .text(property::CONTENT_TYPE, "text/plain")
        .text(property::RESPONSE_TOPIC, "a/answer")
        .binary(property::CORRELATION_DATA, &[0, 0xFF])
        .two(property::TOPIC_ALIAS, 1)
        .user("key", "value");
    let ids = Properties::new().var(property::SUBSCRIPTION_IDENTIFIER, 300);
    let will = Will::new("a/will", b"gone").qos(1).retain();
    let options = if level == 5 { 0x2D } else { 1 };
    let mut packets = vec![
        Connect::new(level, "fuzz").bytes(),
        Connect::persistent(level, "fuzz-1")
            .will(will)
            .username("ann")
            .password("secret")
            .keep_alive(60)
            .bytes(),
        Publish::new("a/b", b"hello").retain().bytes(level),
        Publish::new("a/\u{1F980}", b"hello")
            .qos(1, 7)
            .properties(rich)
            .bytes(level),
        Publish::new("a/b", b"").qos(2, 8).dup().bytes(level),
        wire::subscribe(level, 9, &ids, &[("a/+/c", options), ("$share/g/a/#", 2)]),
        wire::unsubscribe(level, 10, &none, &["a/+/c", "#"]),
        wire::pingreq(),
        wire::disconnect(),
    ];
    for kind in [wire::PUBACK, wire::PUBREC, wire::PUBREL, wire::PUBCOMP] {
        packets.push(wire::ack(kind, 7));
        if level == 5 {
            let why = Properties::new()
                .text(property::REASON_STRING, "why")
                .user("a", "b");
            packets.push(wire::ack_with(kind, 7, 0x80, &why));
        }
    }
    if level == 5 {
        packets.push(wire::disconnect_with(4, &Properties::new().four(0x11, 60)));
        packets.push(wire::auth(0x18, &Properties::new().text(0x15, "none")));
    }
    packets
}

/// What whole connections say: a CONNECT that is taken, and all the rest behind it.
pub(super) fn connections() -> Vec<Vec<u8>> {
    let levels = [3, 4, 5].into_iter();
    let of_level = levels.flat_map(|level| {
        let connect = Connect::new(level, "").bytes();
        let packets = of(level).into_iter().skip(2);
        let alone = packets
            .clone()
            .map(move |packet| [connect.clone(), packet].concat());
        let connect = Connect::new(level, "").bytes();
        let all: Vec<Vec<u8>> = [connect].into_iter().chain(packets).collect();
        alone.chain([all.concat()])
    });
    of_level.collect()
}
