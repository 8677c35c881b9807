//! How the broker answered bad bytes, judged against what the standard allows.

use std::time::{Duration, Instant};

use gatemq_tests::{Broker, Client, Connect, unique, wire};

/// Any code that says no.
pub(super) const ANY: &[u8] = &[];
/// Malformed packet.
pub(super) const MALFORMED: &[u8] = &[0x81];
/// Protocol error.
pub(super) const PROTOCOL_ERROR: &[u8] = &[0x82];
/// Where the standard leaves the choice between malformed packet and protocol error, or names
/// each in another place.
pub(super) const WRONG: &[u8] = &[0x81, 0x82];

fn allows(codes: &[u8], code: u8) -> bool {
    code >= 0x80 && (codes.is_empty() || codes.contains(&code))
}

/// A connected client of this level with a clean session.
#[track_caller]
pub(super) fn connected(broker: &Broker, level: u8) -> Client {
    Client::connect(broker, &Connect::new(level, unique("bad"))).0
}

/// Sends these bytes on a new connection; see [`is_refused`].
#[track_caller]
pub(super) fn refuses(broker: &Broker, level: u8, bytes: &[u8], codes: &[u8], what: &str) {
    let mut client = connected(broker, level);
    client.send(bytes);
    is_refused(&mut client, level, codes, what);
}

/// The broker must end the connection: with a DISCONNECT of one of these codes in 5, without a
/// word before. Acknowledgements of what went before may come first.
#[track_caller]
pub(super) fn is_refused(client: &mut Client, level: u8, codes: &[u8], what: &str) {
    let mut packets = client.until_closed();
    let last = packets.pop();
    if level < 5 {
        let answer = last.filter(|packet| packet.kind == wire::DISCONNECT);
        assert!(
            answer.is_none(),
            "{what}: a server of level {level} sends no {answer:?}"
        );
        return;
    }
    let Some(last) = last else {
        panic!("{what}: closed without a DISCONNECT");
    };
    let disconnect = last.disconnect(wire::DISCONNECT);
    let code = disconnect.reason;
    assert!(
        allows(codes, code),
        "{what}: {code:#04x}, expected one of {codes:02x?}"
    );
}

/// Sends these bytes as a connection's first; see [`is_refused_at_connect`].
#[track_caller]
pub(super) fn refuses_connect(broker: &Broker, level: u8, bytes: &[u8], codes: &[u8], what: &str) {
    let mut client = Client::connect_tcp(broker.tcp());
    client.send(bytes);
    is_refused_at_connect(&mut client, level, codes, what);
}

/// The broker must close within a second of its CONNACK, or without one. A CONNACK of 5 must
/// have one of these codes, one of 3.1 and 3.1.1 any but 0.
#[track_caller]
pub(super) fn is_refused_at_connect(client: &mut Client, level: u8, codes: &[u8], what: &str) {
    let Some(packet) = client.recv_within(Duration::from_secs(5)) else {
        // Closed without a word, or else this fails.
        client.expect_closed();
        return;
    };
    let answered = Instant::now();
    let code = packet.connack(level).code;
    if level == 5 {
        assert!(
            allows(codes, code),
            "{what}: {code:#04x}, expected one of {codes:02x?}"
        );
    } else {
        assert!((1..=5).contains(&code), "{what}: {code:#04x}");
    }
    client.expect_closed();
    let took = answered.elapsed();
    assert!(
        took < Duration::from_secs(1),
        "{what}: open for {took:?} after the CONNACK"
    );
}

/// How a connection answered a packet that may be good or bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It goes on: a ping is answered.
    GoesOn,
    /// The broker ended it, with this code in a CONNACK or DISCONNECT if there was one.
    Ended(Option<u8>),
}

/// Sends a ping behind what was sent and waits for its answer or the end.
#[track_caller]
pub(super) fn probe(client: &mut Client, level: u8, what: &str) -> Answer {
    client.send(&wire::pingreq());
    let mut code = None;
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        match client.recv_within(Duration::from_millis(500)) {
            Some(packet) => match packet.kind {
                wire::PINGRESP => return Answer::GoesOn,
                wire::DISCONNECT if level == 5 => {
                    code = Some(packet.disconnect(wire::DISCONNECT).reason);
                }
                // The version may be what is wrong, so that only the first two bytes are sure.
                wire::CONNACK => code = packet.body.get(1).copied().filter(|code| *code > 0),
                _ => {}
            },
            None if !client.is_open() => return Answer::Ended(code),
            None => {}
        }
    }
    panic!("{what}: neither an answer nor the end")
}
