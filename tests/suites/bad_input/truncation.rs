//! A3: every packet cut off at every byte, and every pair of bytes that may be a length changed.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, Will,
    wire::{self, property},
};

use super::{
    oracle::{Oracle, scaled},
    verdict::{Answer, connected, probe},
};

/// Stands in a sample CONNECT for the client id, which is another one on each connection: two of
/// the same would end each other.
const CLIENT_ID: &[u8; 8] = b"????????";

/// A good packet.
struct Sample {
    name: &'static str,
    level: u8,
    first: u8,
    body: Vec<u8>,
    /// Lengths of the body, shorter than all of it, that make a good packet too.
    good: fn(usize) -> bool,
}

impl Sample {
    fn new(name: &'static str, level: u8, packet: &[u8], good: fn(usize) -> bool) -> Self {
        assert!(
            packet[1] & 0x80 != 0 || usize::from(packet[1]) == packet.len() - 2,
            "{name}"
        );
        let header = if packet[1] & 0x80 == 0 { 2 } else { 3 };
        Self {
            name,
            level,
            first: packet[0],
            body: packet[header..].to_vec(),
            good,
        }
    }

    /// A connection on which the packet, or its likes, are in place.
    #[track_caller]
    fn open(&self, broker: &Broker) -> Client {
        if self.first >> 4 == wire::CONNECT {
            Client::connect_tcp(broker.tcp())
        } else {
            connected(broker, self.level)
        }
    }

    #[track_caller]
    fn answer(&self, broker: &Broker, body: &[u8], what: &str) -> Answer {
        let mut client = self.open(broker);
        client.set_level(self.level);
        client.send(&wire::frame(self.first, &self.with_own_client_id(body)));
        probe(&mut client, self.level, what)
    }

    /// The body with a client id that no other has, as far as its bytes are there unchanged.
    fn with_own_client_id(&self, body: &[u8]) -> Vec<u8> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let mut body = body.to_vec();
        if self.first >> 4 == wire::CONNECT {
            let place = self.body.windows(8).position(|bytes| bytes == CLIENT_ID);
            let place = place.expect("a sample CONNECT has the client id");
            let id = format!("{:08}", NEXT.fetch_add(1, Ordering::Relaxed));
            for (byte, digit) in body.iter_mut().skip(place).zip(id.bytes()) {
                if *byte == CLIENT_ID[0] {
                    *byte = digit;
                }
            }
        }
        body
    }

    /// What happens to the whole packet on a connection where nothing went before.
    fn is_answered_by(&self, answer: Answer) -> bool {
        match self.first >> 4 {
            // An acknowledgement of nothing.
            wire::PUBACK..=wire::PUBCOMP => {
                matches!(answer, Answer::GoesOn | Answer::Ended(None | Some(0x82)))
            }
            wire::DISCONNECT => answer == Answer::Ended(None),
            // CONNECT had no authentication method. [MQTT-4.12.0-7]
            wire::AUTH => answer == Answer::Ended(Some(0x82)),
            _ => answer == Answer::GoesOn,
        }
    }
}

fn never(_length: usize) -> bool {
    false
}

fn samples() -> Vec<Sample> {
    let rich = Properties::new()
        .byte(property::PAYLOAD_FORMAT_INDICATOR, 1)
        .four(property::MESSAGE_EXPIRY_INTERVAL, 60)
        .text(property::CONTENT_TYPE, "a/b")
        .text(property::RESPONSE_TOPIC, "a/b")
        .binary(property::CORRELATION_DATA, b"12")
        .user("n", "v");
    let will = Will::new("will/topic", b"gone")
        .qos(1)
        .properties(rich.clone());
    let connect = |level| {
        let connect = Connect::new(level, CLIENT_ID).will(will.clone());
        connect.username("user").password("word").properties(
            Properties::new()
                .four(property::SESSION_EXPIRY_INTERVAL, 0)
                .two(property::RECEIVE_MAXIMUM, 10)
                .four(property::MAXIMUM_PACKET_SIZE, 70_000)
                .user("n", "v"),
        )
    };
    let reason = Properties::new()
        .text(property::REASON_STRING, "why")
        .user("n", "v");
    let publish = Publish::new("to/pic", b"").qos(1, 10).properties(rich);
    let filters = [("a/b", 1), ("c/#", 2)];
    let mut samples = vec![
        // In 3.1 the length counts more than the flags of user name and password.
        Sample::new("CONNECT 3.1", 3, &connect(3).bytes(), |length| {
            length == 40 || length == 46
        }),
        Sample::new("CONNECT 3.1.1", 4, &connect(4).bytes(), never),
        Sample::new("CONNECT 5", 5, &connect(5).bytes(), never),
        Sample::new("PUBLISH 5", 5, &publish.bytes(5), never),
        Sample::new("PUBLISH 3.1.1", 4, &publish.bytes(4), never),
        // The body may end behind the first filter.
        Sample::new(
            "SUBSCRIBE 5",
            5,
            &wire::subscribe(
                5,
                1,
                &Properties::new().var(property::SUBSCRIPTION_IDENTIFIER, 5),
                &filters,
            ),
            |length| length == 2 + 3 + 6,
        ),
        Sample::new(
            "SUBSCRIBE 3.1.1",
            4,
            &wire::subscribe(4, 1, &Properties::new(), &filters),
            |length| length == 2 + 6,
        ),
        Sample::new(
            "UNSUBSCRIBE 5",
            5,
            &wire::unsubscribe(5, 1, &Properties::new().user("n", "v"), &["a/b", "c/#"]),
            |length| length == 2 + 8 + 5,
        ),
        Sample::new(
            "UNSUBSCRIBE 3.1.1",
            4,
            &wire::unsubscribe(4, 1, &Properties::new(), &["a/b", "c/#"]),
            |length| length == 2 + 5,
        ),
    ];
    // Of an acknowledgement the id is enough, and the properties may be left out.
    let acks = [
        (wire::PUBACK, "PUBACK"),
        (wire::PUBREC, "PUBREC"),
        (wire::PUBREL, "PUBREL"),
        (wire::PUBCOMP, "PUBCOMP"),
    ];
    for (kind, name) in acks {
        let packet = wire::ack_with(kind, 9, 0, &reason);
        samples.push(Sample::new(name, 5, &packet, |length| {
            length == 2 || length == 3
        }));
        samples.push(Sample::new(name, 4, &wire::ack(kind, 9), never));
    }
    // Of DISCONNECT nothing is needed, or the reason code alone.
    let disconnect = wire::disconnect_with(4, &reason);
    samples.push(Sample::new("DISCONNECT", 5, &disconnect, |length| {
        length < 2
    }));
    let method = reason
        .text(property::AUTHENTICATION_METHOD, "method")
        .binary(property::AUTHENTICATION_DATA, b"12");
    let auth = wire::auth(0x18, &method);
    samples.push(Sample::new("AUTH", 5, &auth, never));
    samples
}

#[test]
fn a3_a_packet_cut_off_at_any_byte_is_refused() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    for sample in samples() {
        for length in 0..sample.body.len() {
            if (sample.good)(length) {
                continue;
            }
            let what = format!(
                "{} cut off at {length} of {:02x?}",
                sample.name, sample.body
            );
            let answer = sample.answer(&broker, &sample.body[..length], &what);
            let Answer::Ended(code) = answer else {
                panic!("{what}: it was taken");
            };
            let expected = if sample.first >> 4 == wire::CONNECT {
                // Before the level is known there is nothing to say no in.
                sample.level < 5 || matches!(code, None | Some(0x81 | 0x82 | 0x84))
            } else {
                (sample.level < 5 && code.is_none()) || matches!(code, Some(0x81 | 0x82))
            };
            assert!(expected, "{what}: {code:02x?}");
        }
        let answer = sample.answer(&broker, &sample.body, sample.name);
        assert!(
            sample.is_answered_by(answer),
            "{} of level {} is good: {answer:02x?}",
            sample.name,
            sample.level
        );
    }
    oracle.judge(16 * 1024);
}

#[test]
fn a3_a_connection_that_ends_within_a_packet_leaves_nothing() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    for sample in samples() {
        let packet = wire::frame(sample.first, &sample.body);
        for length in 1..packet.len() {
            let mut client = sample.open(&broker);
            client.send(&packet[..length]);
            client.cut();
        }
    }
    oracle.judge(16 * 1024);
}

/// Scale 1: each fourth of the changes; 4 makes it exhaustive.
#[test]
fn a3_any_inner_length_may_be_wrong() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let samples = samples();
    let mut changes = Vec::new();
    for (index, sample) in samples.iter().enumerate() {
        for offset in 0..sample.body.len() - 1 {
            let old = u16::from_be_bytes([sample.body[offset], sample.body[offset + 1]]);
            for new in [old.wrapping_sub(1), old.wrapping_add(1), 0, u16::MAX] {
                changes.push((index, offset, new));
            }
        }
    }
    let step = 4_usize.checked_div(scaled(1)).unwrap_or(1).max(1);
    let changes = Mutex::new(changes.into_iter().step_by(step));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = changes.lock().expect("no panic under the lock").next();
                    let Some((index, offset, new)) = next else {
                        return;
                    };
                    let sample = &samples[index];
                    let mut body = sample.body.clone();
                    body[offset..offset + 2].copy_from_slice(&new.to_be_bytes());
                    let what = format!("{} {new:04x} at {offset}: {body:02x?}", sample.name);
                    // Some changes make another good packet; what counts is a clear answer.
                    sample.answer(&broker, &body, &what);
                }
            });
        }
    });
    oracle.judge(16 * 1024);
}

/// The seven bytes that ended comqtt, and the like.
#[test]
fn a3_packets_that_ended_other_brokers() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let packets: [&[u8]; 7] = [
        &[0x82, 0x05, 0x00, 0x01, 0x00, 0x00, 0x01],
        &[0x82, 0x06, 0x00, 0x01, 0x00, 0x00, 0x01, b'a'],
        &[0x82, 0x03, 0x00, 0x01, 0x00],
        &[0x82, 0x00],
        &[0xA2, 0x03, 0x00, 0x01, 0x00],
        &[0x30, 0x00],
        &[0x32, 0x03, 0x00, 0x01, b'a'],
    ];
    for packet in packets {
        super::verdict::refuses(
            &broker,
            5,
            packet,
            super::verdict::WRONG,
            &format!("{packet:02x?}"),
        );
    }
    oracle.judge(16 * 1024);
}
