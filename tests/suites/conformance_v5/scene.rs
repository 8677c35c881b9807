//! The moves that these tests share: clients of level 5, and what a broker does to one that
//! breaks a rule.

use gatemq_tests::{
    Broker, Client, Connect, Packet, Properties, Publish, unique,
    wire::{self, Connack, property},
};

/// Malformed Packet.
pub(super) const MALFORMED: u8 = 0x81;
/// Protocol Error.
pub(super) const PROTOCOL_ERROR: u8 = 0x82;
/// Where the standard forbids something and leaves the code to the server.
pub(super) const EITHER: &[u8] = &[MALFORMED, PROTOCOL_ERROR];

/// A client with a name of its own and no session beyond the connection.
#[track_caller]
pub(super) fn client(broker: &Broker) -> Client {
    Client::v5(broker, &unique("c"))
}

/// A client with these CONNECT properties.
#[track_caller]
pub(super) fn client_with(broker: &Broker, properties: Properties) -> Client {
    let connect = Connect::new(5, unique("c")).properties(properties);
    Client::connect(broker, &connect).0
}

/// Clean Start 0 and a session that outlives the connection by an hour.
#[track_caller]
pub(super) fn resume(broker: &Broker, client_id: &str) -> (Client, Connack) {
    Client::connect(broker, &Connect::persistent(5, client_id))
}

/// As [`resume`]; the session must be there.
#[track_caller]
pub(super) fn resume_present(broker: &Broker, client_id: &str) -> Client {
    let (client, connack) = resume(broker, client_id);
    assert!(connack.session_present, "the session is gone: {connack:?}");
    client
}

/// Ends the connection, leaving the session, and waits until the broker has closed its side.
#[track_caller]
pub(super) fn leave(client: Client) {
    client.disconnect();
}

/// Session Expiry Interval.
pub(super) fn session_expiry(seconds: u32) -> Properties {
    Properties::new().four(property::SESSION_EXPIRY_INTERVAL, seconds)
}

/// Receive Maximum.
pub(super) fn receive_maximum(count: u16) -> Properties {
    Properties::new().two(property::RECEIVE_MAXIMUM, count)
}

/// The broker must refuse these bytes: CONNACK with one of the codes, then the end.
#[track_caller]
pub(super) fn refuses_connect(broker: &Broker, bytes: &[u8], codes: &[u8]) {
    let mut client = Client::connect_tcp(broker.tcp());
    client.send(bytes);
    let Some(packet) = last_packet(&mut client) else {
        return;
    };
    let connack = packet.connack(5);
    assert!(
        codes.contains(&connack.code),
        "code {:#04x}, expected one of {codes:02x?}",
        connack.code
    );
    assert_eq!(connack.flags, 0, "[MQTT-3.2.2-6] {connack:?}");
}

/// The one packet before the end that must come now. The standard lets a broker just close, and
/// others do; GateMQ promises the packet.
#[track_caller]
fn last_packet(client: &mut Client) -> Option<Packet> {
    let mut packets = client.until_closed();
    if packets.is_empty() && Broker::is_foreign() {
        return None;
    }
    assert_eq!(packets.len(), 1, "one packet, then the end: {packets:?}");
    packets.pop()
}

/// The broker must end this connection; it may send one CONNACK that refuses before.
#[track_caller]
pub(super) fn drops_connect(broker: &Broker, bytes: &[u8]) {
    let mut client = Client::connect_tcp(broker.tcp());
    client.send(bytes);
    match client.until_closed().as_slice() {
        [] => {}
        [packet] => {
            packet.clone().expect(wire::CONNACK);
            assert_ne!(packet.body.get(1), Some(&0), "it accepted: {packet:?}");
        }
        more => panic!("one CONNACK at most was expected: {more:?}"),
    }
}

/// The next packet must be DISCONNECT with one of the codes; then the end.
#[track_caller]
pub(super) fn ends(client: &mut Client, codes: &[u8]) {
    let Some(packet) = last_packet(client) else {
        return;
    };
    let disconnect = packet.disconnect(wire::DISCONNECT);
    assert!(
        codes.contains(&disconnect.reason),
        "reason {:#04x}, expected one of {codes:02x?}",
        disconnect.reason
    );
    let expiry = disconnect.properties.has(property::SESSION_EXPIRY_INTERVAL);
    assert!(!expiry, "[MQTT-3.14.2-2] {disconnect:?}");
}

/// A fresh client sends this; the broker must answer with DISCONNECT and the end.
#[track_caller]
pub(super) fn refuses(broker: &Broker, bytes: &[u8], codes: &[u8]) {
    let mut client = client(broker);
    client.send(bytes);
    ends(&mut client, codes);
}

/// The broker must not grant this filter: SUBACK 0x8F, or DISCONNECT and the end.
#[track_caller]
pub(super) fn refuses_filter(broker: &Broker, filter: &str, options: u8) {
    let mut client = client(broker);
    let id = client.next_id();
    client.send(&wire::subscribe(
        5,
        id,
        &Properties::new(),
        &[(filter, options)],
    ));
    let packet = client.recv();
    if packet.kind == wire::SUBACK {
        let suback = packet.suback(wire::SUBACK, 5);
        assert_eq!((suback.id, suback.codes), (id, vec![0x8F]), "{filter}");
        return;
    }
    let reason = packet.disconnect(wire::DISCONNECT).reason;
    assert!(
        [MALFORMED, PROTOCOL_ERROR, 0x8F].contains(&reason),
        "{filter}: {reason:#04x}"
    );
    client.expect_closed();
}

/// What the publisher sent so far must not have reached the subscriber: the next message that
/// arrives is the marker that is published now.
#[track_caller]
pub(super) fn nothing_before_marker(subscriber: &mut Client, publisher: &mut Client) {
    let topic = unique("marker");
    subscriber.subscribe(&topic, 0);
    publisher.publish(&topic, b"marker", 0);
    let next = subscriber.expect_publish();
    assert_eq!(next.topic, topic, "only the marker was expected: {next:?}");
}

/// Sends a QoS 1 or 2 PUBLISH with this id and goes no further.
pub(super) fn send_publish(client: &mut Client, topic: &str, payload: &[u8], qos: u8, id: u16) {
    client.send(&Publish::new(topic, payload).qos(qos, id).bytes(5));
}

/// Subscribes with a Subscription Identifier.
#[track_caller]
pub(super) fn subscribe_id(client: &mut Client, filter: &str, options: u8, id: u32) {
    let properties = Properties::new().var(property::SUBSCRIPTION_IDENTIFIER, id);
    let suback = client.subscribe_with(&properties, &[(filter, options)]);
    assert!(suback.codes[0] < 3, "{filter}: {suback:02x?}");
}

/// Bytes that a packet takes on the wire.
pub(super) fn size(packet: &Packet) -> usize {
    1 + wire::var_int(packet.body.len()).len() + packet.body.len()
}

/// Payloads as text, for messages in a row.
#[track_caller]
pub(super) fn receive_texts(client: &mut Client, count: usize) -> Vec<String> {
    (0..count)
        .map(|_| String::from_utf8(client.receive().payload).expect("these payloads are text"))
        .collect()
}
