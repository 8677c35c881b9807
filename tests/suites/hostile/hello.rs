//! D10: what comes instead of a ClientHello, and ClientHellos with something wrong in them.

use std::{io::Write, net::TcpStream, sync::Arc, time::Duration};

use gatemq_tests::history::Random;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};

use crate::{
    bad_input::oracle::Oracle,
    listeners::{authority::Authority, tls, tls_client::TlsClient},
};

/// Hellos with bytes changed, of each version.
const ROUNDS: usize = 400;
/// Memory that all of this may cost for good.
const COST_KIB: u64 = 32 << 10;

/// What a client says first.
fn hello(version: &'static rustls::SupportedProtocolVersion) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("ring speaks it")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client
        .write_tls(&mut bytes)
        .expect("it is written to memory");
    bytes
}

/// A record of the handshake.
fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a record is short");
    [&[kind, 3, 1], &length.to_be_bytes()[..], payload].concat()
}

/// What is not random.
fn corpus(hello: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let body = &hello[5..];
    let in_bytes: Vec<u8> = body.iter().flat_map(|byte| record(22, &[*byte])).collect();
    let with_length = |length: [u8; 3]| {
        let mut body = body.to_vec();
        body[1..4].copy_from_slice(&length);
        record(22, &body)
    };
    vec![
        ("HTTP", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("MQTT", b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0".to_vec()),
        (
            "SSL 2",
            b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10\0\0\0".to_vec(),
        ),
        ("nothing but lengths", vec![0xFF; 4096]),
        ("zeros", vec![0; 4096]),
        ("a record of nothing, often", record(22, &[]).repeat(5_000)),
        ("the byte of a heartbeat", record(24, &[1, 0xFF, 0xFF])),
        ("alerts", record(21, &[1, 90]).repeat(5_000)),
        ("changes of the cipher", record(20, &[1]).repeat(5_000)),
        ("data before keys", record(23, &[0; 100])),
        ("a handshake of 16 MiB", with_length([0xFF, 0xFF, 0xFF])),
        ("a handshake of nothing", with_length([0, 0, 0])),
        ("a handshake that is short by one", with_length([0, 0, 1])),
        ("a handshake in records of a byte", in_bytes),
        ("twice", [hello, hello].concat()),
        (
            "a longer record than there may be",
            [&[22, 3, 1, 0x48, 0x01], &[0; 18_433][..]].concat(),
        ),
        (
            "a server's hello",
            record(22, &[&[2, 0, 0, 40, 3, 3], &[0; 38][..]].concat()),
        ),
        (
            "a finished before all",
            record(22, &[20, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ),
    ]
}

#[test]
fn d10_hellos_that_are_none_hurt_nobody() {
    let authority = Authority::new("tests");
    let broker = tls::broker(&authority.server(), "").start();
    let client = TlsClient::trusting(&authority);
    let address = broker.address("tls");
    client.dial(address).expect("the handshake succeeds");
    let oracle = Oracle::watch(&broker);
    let mut random = Random::from_env("hellos");
    // Whoever says something wrong may go on as long as a handshake may take; nobody waits for it.
    let mut left: Vec<TcpStream> = Vec::new();
    let mut say = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(address).expect("it takes connections");
        let limit = Some(Duration::from_secs(1));
        stream
            .set_write_timeout(limit)
            .expect("a timeout can be set");
        let _cut = stream.write_all(bytes);
        left.push(stream);
        if left.len() > 64 {
            left.clear();
        }
    };
    for version in [&TLS12, &TLS13] {
        let hello = hello(version);
        for (_, bytes) in corpus(&hello) {
            say(&bytes);
        }
        for length in (0..hello.len()).step_by(7) {
            say(&hello[..length]);
        }
        for round in 0..ROUNDS {
            let mut bad = hello.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bad.len());
                match round % 3 {
                    0 => bad[at] ^= 1 << random.below(8),
                    1 => bad[at] = [0, 0xFF, 0x80, 0x7F][random.below(4)],
                    _ => {
                        let to = (at + random.below(64)).min(bad.len());
                        let part = bad[at..to].to_vec();
                        bad.splice(at..at, part);
                    }
                }
            }
            say(&bad);
        }
    }
    drop(left);
    client.dial(address).expect("the handshake succeeds");
    oracle.judge(COST_KIB);
}
