//! Every statement of MQTT 3.1.1 that concerns a server, by chapter. A test is named after the
//! statement that it proves; `conformance/statements.tsv` lists what else each one proves.

mod connack;
mod connect;
mod connect_fields;
mod delivery;
mod encoding;
mod header;
mod level_3;
mod publish;
mod retain;
mod session;
mod subscribe;
mod topics;
mod unsubscribe;
mod websocket;
mod will;

use gatemq_tests::{Broker, Client, Connect, unique, wire};

/// A fresh client with a clean session.
#[track_caller]
fn client(broker: &Broker) -> Client {
    Client::v4(broker, &unique("v4c"))
}

/// A client whose session outlives it, and the id to come back with.
#[track_caller]
fn keeper(broker: &Broker) -> (Client, String) {
    let id = unique("v4k");
    (Client::connect(broker, &Connect::persistent(4, &id)).0, id)
}

/// The same client again, its session resumed.
#[track_caller]
fn resume(broker: &Broker, id: &str) -> Client {
    let (client, connack) = Client::connect(broker, &Connect::persistent(4, id));
    assert!(connack.session_present, "the session of {id} is gone");
    client
}

/// These bytes from a connected client must end its connection, without an answer.
#[track_caller]
fn violates(case: &str, bytes: &[u8]) {
    let broker = Broker::shared();
    let mut client = client(&broker);
    client.send(bytes);
    assert_eq!(client.closing(), Ok(Vec::new()), "{case}: {bytes:02x?}");
}

/// These bytes on a new connection must end it, without an answer.
#[track_caller]
fn is_no_connect(case: &str, bytes: &[u8]) {
    let broker = Broker::shared();
    let mut client = Client::connect_tcp(broker.tcp());
    client.send(bytes);
    assert_eq!(client.closing(), Ok(Vec::new()), "{case}: {bytes:02x?}");
}

/// A SUBSCRIBE for one filter of any bytes.
fn subscribe_raw(filter: &[u8], options: u8) -> Vec<u8> {
    wire::frame(
        0x82,
        &[&[0, 9], &wire::text(filter)[..], &[options]].concat(),
    )
}

/// A QoS 0 PUBLISH for a topic of any bytes.
fn publish_raw(topic: &[u8]) -> Vec<u8> {
    wire::frame(0x30, &[&wire::text(topic)[..], b"payload"].concat())
}
