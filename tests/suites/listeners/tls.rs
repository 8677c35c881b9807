//! TLS and secure WebSocket: versions, client certificates, plaintext on the wrong port.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use gatemq_tests::{Broker, Builder, Client, Connect, client::Wire, eventually, unique};
use rustls::{
    ProtocolVersion,
    version::{TLS12, TLS13},
};

use super::{
    authority::{Authority, Identity},
    http_client::get,
    kinds::exchange,
    tls_client::TlsClient,
    ws_client::WebSocket,
};

/// A broker with a `tls` and a `wss` listener that show this certificate.
pub(crate) fn broker(identity: &Identity, more: &str) -> Builder {
    let tls = format!("tls: {{certificate: '{{dir}}/cert.pem', key: '{{dir}}/key.pem'{more}}}");
    Broker::builder()
        .file("cert.pem", identity.certificate_pem())
        .file("key.pem", identity.key_pem())
        .config(format!(
            "listeners:\n\
             - {{transport: tls, address: '127.0.0.1:0', {tls}}}\n\
             - {{transport: wss, address: '127.0.0.1:0', {tls}}}\n"
        ))
}

#[test]
fn tls_1_2_and_1_3_clients_are_served() {
    let authority = Authority::new("tests");
    let broker = broker(&authority.server(), "").start();
    for (version, name) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let client = TlsClient::trusting(&authority).only(version);
        let wire = client
            .dial(broker.address("tls"))
            .expect("the handshake succeeds");
        assert_eq!(wire.version(), name);
        exchange(&mut Client::over(Box::new(wire)), 5);
    }
}

#[test]
fn secure_websocket() {
    let authority = Authority::new("tests");
    let broker = broker(&authority.server(), "").start();
    let client = TlsClient::trusting(&authority);
    for level in [4, 5] {
        let wire = client
            .dial(broker.address("wss"))
            .expect("the handshake succeeds");
        let socket = WebSocket::upgrade(Box::new(wire), "/mqtt", Some("mqtt"));
        let socket = socket.expect("the upgrade succeeds");
        exchange(&mut Client::over(Box::new(socket)), level);
    }
}

#[test]
fn a_client_that_does_not_trust_the_authority_does_not_disturb() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let broker = broker(&ours.server(), "").start();
    let stranger = TlsClient::trusting(&other).dial(broker.address("tls"));
    assert!(stranger.is_err(), "the client must not have trusted");
    exchange(
        &mut TlsClient::trusting(&ours).mqtt(broker.address("tls")),
        5,
    );
}

#[test]
fn plain_mqtt_on_a_tls_port_is_closed() {
    let authority = Authority::new("tests");
    let broker = broker(&authority.server(), "").start();
    for name in ["tls", "wss"] {
        let stream = TcpStream::connect(broker.address(name)).expect("it takes connections");
        let mut client = Client::over(Box::new(stream));
        client.send(&Connect::new(4, "plain").bytes());
        // A TLS alert may come before the end.
        client.until_closed();
    }
    exchange(
        &mut TlsClient::trusting(&authority).mqtt(broker.address("tls")),
        4,
    );
}

#[test]
fn a_client_certificate_is_required_where_an_authority_is_configured() {
    let (servers, clients, others) = (
        Authority::new("servers"),
        Authority::new("clients"),
        Authority::new("others"),
    );
    let broker = broker(&servers.server(), ", client-ca: '{dir}/clients.pem'")
        .file("clients.pem", clients.pem())
        .start();
    for version in [&TLS12, &TLS13] {
        for name in ["tls", "wss"] {
            let address = broker.address(name);
            let nameless = TlsClient::trusting(&servers).only(version);
            assert!(
                !is_let_in(&nameless, address, name),
                "{name}: no certificate"
            );
            let stranger = TlsClient::trusting(&servers)
                .only(version)
                .showing(others.client("stranger"));
            assert!(
                !is_let_in(&stranger, address, name),
                "{name}: another authority's"
            );
            let server = TlsClient::trusting(&servers)
                .only(version)
                .showing(clients.server());
            assert!(
                !is_let_in(&server, address, name),
                "{name}: a server's certificate"
            );
            let friend = TlsClient::trusting(&servers)
                .only(version)
                .showing(clients.client("friend"));
            assert!(is_let_in(&friend, address, name), "{name}: the right one");
        }
    }
}

#[test]
fn listeners_may_have_identities_of_their_own() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let (one, two) = (first.server(), second.server());
    let own = "tls: {certificate: '{dir}/two.pem', key: '{dir}/two.key'}";
    let broker = Broker::builder()
        .file("one.pem", one.certificate_pem())
        .file("one.key", one.key_pem())
        .file("two.pem", two.certificate_pem())
        .file("two.key", two.key_pem())
        .args(["--tls", "127.0.0.1:0", "--wss", "127.0.0.1:0"])
        .args(["--tls-cert", "{dir}/one.pem", "--tls-key", "{dir}/one.key"])
        .config(format!(
            "listeners:\n\
             - {{transport: tls, address: '127.0.0.1:0', {own}}}\n\
             - {{transport: wss, address: '127.0.0.1:0', {own}}}\n\
             - {{transport: tls, address: '127.0.0.1:0'}}\n"
        ))
        .start();
    for (name, expected) in [("tls", [2, 1]), ("wss", [1, 1])] {
        let addresses = broker.listening(name);
        let n_served = [&first, &second].map(|authority| {
            let client = TlsClient::trusting(authority);
            let dial =
                |address: &&String| client.dial(address.parse().expect("an address")).is_ok();
            addresses.iter().filter(dial).count()
        });
        assert_eq!(n_served, expected, "{name}: {addresses:?}");
    }
}

/// Whoever sends nothing is nobody to speak of.
#[test]
fn who_is_refused_in_the_handshake_is_in_the_log_and_counted() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let broker = broker(&servers.server(), ", client-ca: '{dir}/clients.pem'")
        .file("clients.pem", clients.pem())
        .start();
    let lines = || {
        let log = broker.log();
        let lines = log.lines().filter(|line| line.contains("INFO"));
        let lines = lines.filter(|line| line.contains("connection refused"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    drop(TcpStream::connect(broker.address("tls")).expect("it takes connections"));
    let nameless = TlsClient::trusting(&servers);
    assert!(!is_let_in(&nameless, broker.address("tls"), "tls"));
    let stranger = TlsClient::trusting(&servers).showing(servers.client("stranger"));
    assert!(!is_let_in(&stranger, broker.address("wss"), "wss"));
    eventually!(lines().len() == 2);
    let lines = lines();
    let all = ["peer=127.0.0.1", "reason=\"TLS handshake\""];
    let own = [
        ["listener=\"tls ", "why=\"peer sent no certificates\""],
        ["listener=\"wss ", "why=\"invalid peer certificate: "],
    ];
    for (line, own) in lines.iter().zip(own) {
        for part in all.iter().chain(&own) {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    let counted = |reason: &str, n: u8| {
        let line = format!("gateway_connections_refused_total{{reason=\"{reason}\"}} {n}");
        let body = get(broker.http(), "/metrics").body;
        body.lines().any(|found| found == line)
    };
    eventually!(counted("TLS handshake", 2) && counted("no CONNACK", 1));
}

/// The name in a certificate is text of a stranger, too.
#[test]
fn a_strange_name_in_a_certificate_is_harmless() {
    let authority = Authority::new("tests");
    let broker = broker(&authority.server(), ", client-ca: '{dir}/ca.pem'")
        .file("ca.pem", authority.pem())
        .args(["--level", "debug"])
        .start();
    for name in [
        "a\ngatemq-injected: b",
        "\x1B]0;gatemq-injected\x07",
        "a\0b",
        "",
        "/CN=root",
    ] {
        let client = TlsClient::trusting(&authority).showing(authority.client(name));
        // Let in or not; the broker goes on and its log stays its own.
        is_let_in(&client, broker.address("tls"), "tls");
    }
    let friend = TlsClient::trusting(&authority).showing(authority.client("friend"));
    assert!(is_let_in(&friend, broker.address("tls"), "tls"));
    let log = broker.log();
    assert!(
        !log.lines().any(|line| line.starts_with("gatemq-injected")),
        "{log}"
    );
    assert!(!log.contains("\x1B]0;gatemq-injected"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

/// Whether MQTT can be spoken on the connection. With TLS 1.3 a refusal may only show at the
/// first read.
pub(crate) fn is_let_in(client: &TlsClient, address: SocketAddr, name: &str) -> bool {
    let Ok(wire) = client.dial(address) else {
        return false;
    };
    let wire: Box<dyn Wire> = if name == "wss" {
        match WebSocket::upgrade(Box::new(wire), "/mqtt", Some("mqtt")) {
            Ok(socket) => Box::new(socket),
            Err(_) => return false,
        }
    } else {
        Box::new(wire)
    };
    let mut client = Client::over(wire);
    client.send(&Connect::new(4, unique("let")).bytes());
    let answer = client.recv_within(Duration::from_secs(5));
    answer.is_some_and(|packet| packet.connack(4).code == 0)
}
