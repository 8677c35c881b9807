//! SIGHUP takes up new certificates: for new connections only, and only if they are good.

use std::fs;

use gatemq_tests::{Broker, Connect, client::Wire, eventually, unique};

use super::{
    authority::{Authority, Identity},
    http_client,
    kinds::exchange,
    tls,
    tls_client::TlsClient,
};

fn put(broker: &Broker, identity: &Identity) {
    write(broker, "cert.pem", &identity.certificate_pem());
    write(broker, "key.pem", &identity.key_pem());
}

fn write(broker: &Broker, name: &str, content: &str) {
    fs::write(broker.dir().join(name), content).expect("the directory is writable");
}

fn shows(broker: &Broker, client: &TlsClient, name: &str, identity: &Identity) -> bool {
    let wire = client.dial(broker.address(name));
    wire.is_ok_and(|wire| wire.server_certificate() == identity.certificate())
}

#[test]
fn a_reload_serves_the_new_certificate_and_drops_nobody() {
    let authority = Authority::new("tests");
    let (first, second) = (authority.server(), authority.server());
    let broker = tls::broker(&first, "").start();
    let trusting = TlsClient::trusting(&authority);
    let mut established = trusting.mqtt(broker.address("tls"));
    established.handshake(&Connect::new(5, unique("old")));
    let topic = unique("reload");
    established.subscribe(&topic, 1);
    assert!(shows(&broker, &trusting, "tls", &first));

    put(&broker, &second);
    broker.signal("HUP");
    for name in ["tls", "wss"] {
        eventually!(shows(&broker, &trusting, name, &second));
    }
    exchange(&mut trusting.mqtt(broker.address("tls")), 5);
    established.publish(&topic, b"still here", 1);
    assert_eq!(established.receive().payload, b"still here");
}

#[test]
fn a_reload_that_fails_keeps_the_old_certificate() {
    let authority = Authority::new("tests");
    let (first, second) = (authority.server(), authority.server());
    let broken = [
        ("an empty certificate", String::new(), second.key_pem()),
        ("no PEM", "not a certificate".to_owned(), second.key_pem()),
        (
            "another one's key",
            second.certificate_pem(),
            first.key_pem(),
        ),
    ];
    let broker = tls::broker(&first, "").start();
    let trusting = TlsClient::trusting(&authority);
    let mut established = trusting.mqtt(broker.address("tls"));
    established.handshake(&Connect::new(5, unique("old")));
    for (what, certificate, key) in broken {
        write(&broker, "cert.pem", &certificate);
        write(&broker, "key.pem", &key);
        let lines_before = broker.log().lines().count();
        broker.signal("HUP");
        eventually!(broker.log().lines().count() > lines_before);
        assert!(
            shows(&broker, &trusting, "tls", &first),
            "{what}: the old one is gone"
        );
        established.ping();
    }
    fs::remove_file(broker.dir().join("cert.pem")).expect("it was there");
    let lines_before = broker.log().lines().count();
    broker.signal("HUP");
    eventually!(broker.log().lines().count() > lines_before);
    assert!(
        shows(&broker, &trusting, "wss", &first),
        "a missing file: the old one is gone"
    );

    put(&broker, &second);
    broker.signal("HUP");
    eventually!(shows(&broker, &trusting, "tls", &second));
    established.ping();
}

#[test]
fn a_reload_takes_up_a_new_client_authority() {
    let (servers, old, new) = (
        Authority::new("servers"),
        Authority::new("old"),
        Authority::new("new"),
    );
    let broker = tls::broker(&servers.server(), ", client-ca: '{dir}/clients.pem'")
        .file("clients.pem", old.pem())
        .start();
    let address = broker.address("tls");
    let is_let_in = |authority: &Authority| {
        let client = TlsClient::trusting(&servers).showing(authority.client("device"));
        client.dial(address).is_ok_and(|mut wire| {
            let connect = Connect::new(4, unique("ca")).bytes();
            let sent = std::io::Write::write_all(&mut wire, &connect);
            let mut first = [0];
            wire.set_read_deadline(Some(std::time::Duration::from_secs(5)))
                .is_ok()
                && sent.is_ok()
                && std::io::Read::read(&mut wire, &mut first).is_ok_and(|count| count == 1)
        })
    };
    assert!(is_let_in(&old) && !is_let_in(&new));
    write(&broker, "clients.pem", &new.pem());
    broker.signal("HUP");
    eventually!(is_let_in(&new));
    assert!(!is_let_in(&old), "the old authority is no longer trusted");
}

#[test]
fn a_hangup_without_certificates_changes_nothing() {
    let broker = Broker::builder().start();
    let mut client = gatemq_tests::Client::v5(&broker, &unique("hup"));
    for _ in 0..3 {
        broker.signal("HUP");
        client.ping();
    }
    assert_eq!(http_client::get(broker.http(), "/healthz").status, 200);
    assert!(broker.is_running());
}
