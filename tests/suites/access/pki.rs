//! Clients by certificates, from nothing: `gatemq pki` makes all that is needed, and what it makes is let
//! in as whom it says, and as nothing else.

use std::{path::Path, process::Command};

use gatemq_tests::{
    Broker, Connect,
    cluster::{Kind, binary},
    unique,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::scene::{may_publish, may_subscribe};
use crate::listeners::{authority::Identity, tls::is_let_in, tls_client::TlsClient};

/// Runs `gatemq pki` in a folder, and returns what it says.
#[track_caller]
fn pki(folder: &Path, arguments: &str) -> String {
    let binary = binary(Kind::Whole).expect("the binary is there");
    let mut command = Command::new(binary);
    command.current_dir(folder).arg("pki");
    let made = command.args(arguments.split(' ')).output();
    let made = made.expect("the binary runs");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "pki {arguments}: {said}");
    String::from_utf8_lossy(&made.stdout).into_owned()
}

#[test]
fn a_client_comes_in_by_a_certificate_that_pki_has_made() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let folder = folder.path();
    pki(folder, "init --clients");
    let server = pki(folder, "server localhost 127.0.0.1");
    let told = pki(folder, "client pump-7 --dns pump-7.example");
    assert!(told.contains("username: cn"), "{told}");
    pki(folder, "init --cluster lab --node n1:gateway");
    let file = |name: &str| folder.join(name).display().to_string();
    // As it says, with other folders.
    let keys = server.replace(": clients/", &format!(": {}/", file("clients")));
    let start = |username: &str| {
        let rules = "rules: [{allow: all, topics: ['of/%u/#']}]\n";
        Broker::builder()
            .file("users.yml", rules)
            .config(format!(
                "{keys}\
                 auth: {{sources: [{{type: file, path: '{{dir}}/users.yml'}}]}}\n\
                 listeners:\n\
                 - {{transport: tls, address: '127.0.0.1:0', tls: {{client-ca: '{}', username: \
                 {username}}}}}\n",
                file("clients/ca.crt")
            ))
            .start()
    };
    let authority = CertificateDer::from_pem_file(folder.join("clients/ca.crt"));
    let authority = authority.expect("it is there");
    let shows = |name: &str| {
        let path = |kind| folder.join(format!("{name}.{kind}"));
        let identity = Identity::read(&path("crt"), &path("key"));
        TlsClient::trusting_der(authority.clone()).showing(identity)
    };
    for (username, is) in [("cn", "pump-7"), ("san-dns", "pump-7.example")] {
        let broker = start(username);
        let address = broker.address("tls");
        let mut pump = shows("clients/pump-7").mqtt(address);
        let connack = pump.handshake(&Connect::new(5, unique("c")));
        assert_eq!(connack.code, 0, "{username}: {connack:?}");
        assert!(may_publish(&mut pump, &format!("of/{is}/a")), "{is}");
        assert!(!may_subscribe(&mut pump, "of/other/#"), "{is}");
        // What the broker shows, and what a node does, are no clients.
        for name in ["clients/localhost", "pki/n1"] {
            assert!(!is_let_in(&shows(name), address, "tls"), "{name}");
        }
    }
}
