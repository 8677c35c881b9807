//! Both ends of connections between nodes, over loopback.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, SanType,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_stream::StreamExt;
use tonic::transport::Endpoint;

use super::*;

/// An authority, and the files of those that it issued certificates to.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.crt"), certificate.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self {
            certificate,
            issuer,
            folder,
        }
    }

    /// Files of a certificate with this name in it, changed in some way.
    fn issue(&self, uri: &str, change: impl FnOnce(&mut CertificateParams)) -> Files {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let name = uri.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let path = |kind| self.folder.path().join(format!("{name}.{kind}"));
        fs::write(path("crt"), certificate.pem()).unwrap();
        fs::write(path("key"), key.serialize_pem()).unwrap();
        Files {
            ca: self.folder.path().join("ca.crt"),
            certificate: path("crt"),
            key: path("key"),
        }
    }

    fn node(&self, uri: &str) -> Arc<Credentials> {
        let identity: Identity = uri.parse().unwrap();
        let files = self.issue(uri, |_| {});
        Arc::new(Credentials::load(files, &identity.node, identity.roles).unwrap())
    }
}

fn expired(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
}

/// A server of a node.
async fn listen(credentials: Arc<Credentials>) -> (Incoming, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (Incoming::new(listener, Some(credentials)), address)
}

async fn dial(
    credentials: &Arc<Credentials>,
    address: SocketAddr,
    whom: Whom,
) -> Result<tonic::transport::Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.connect_timeout(LIMIT);
    let dialer = Dialer::new(Some(credentials.clone()));
    dialer.connect(&endpoint, &whom).await.map_err(|error| {
        let mut deepest: &dyn std::error::Error = &error;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        deepest.to_string()
    })
}

/// Shakes hands with this configuration, says something, and waits for what comes back.
async fn speak(config: ClientConfig, address: SocketAddr) -> Vec<u8> {
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    let mut heard = Vec::new();
    if let Ok(mut stream) = connector.connect(name, stream).await {
        let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let _ = stream.read_to_end(&mut heard).await;
    }
    heard
}

/// A client that believes every server, and shows this certificate.
fn credulous(shown: Option<&Files>) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(provider)));
    match shown {
        None => builder.with_no_client_auth(),
        Some(files) => builder
            .with_client_auth_cert(
                certificates(&files.certificate).unwrap(),
                PrivateKeyDer::from_pem_file(&files.key).unwrap(),
            )
            .unwrap(),
    }
}

#[derive(Debug)]
struct Credulous(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        unreachable!("1.3 only")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn nodes_of_one_authority_know_one_another() {
    let authority = Authority::new();
    let control = authority.node("gatemq://c/control/c1");
    let gateway = authority.node("gatemq://c/gateway/g1");
    let (mut incoming, address) = listen(control).await;
    let dialing = dial(&gateway, address, Whom::node(Role::Control, "c1"));
    let (channel, connection) = tokio::join!(dialing, incoming.next());
    channel.unwrap();
    let connection = connection.unwrap().unwrap();
    let mut request = tonic::Request::new(());
    use tonic::transport::server::Connected;
    request.extensions_mut().insert(connection.connect_info());
    let caller = Caller::of(&request).unwrap();
    assert_eq!(caller.to_string(), "gatemq://c/gateway/g1");
}

#[tokio::test]
async fn whoever_is_no_node_of_the_cluster_is_not_heard() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (mut incoming, address) = listen(authority.node("gatemq://c/control/c1")).await;
    let good = "gatemq://c/gateway/g1";
    let self_signed = {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(good.try_into().unwrap())];
        let files = other.issue("gatemq://c/gateway/self", |_| {});
        let certificate = params.self_signed(&key).unwrap();
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    };
    let strangers = [
        ("nothing", None),
        ("a self-signed certificate", Some(self_signed)),
        ("another authority", Some(other.issue(good, |_| {}))),
        (
            "an expired one",
            Some(authority.issue("gatemq://c/gateway/old", expired)),
        ),
        (
            "another cluster's",
            Some(authority.issue("gatemq://d/gateway/g1", |_| {})),
        ),
        (
            "no identity",
            Some(authority.issue("https://example", |_| {})),
        ),
        (
            "a server's only",
            Some(authority.issue("gatemq://c/gateway/server", |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            })),
        ),
    ];
    for (what, shown) in strangers {
        let speaking = speak(credulous(shown.as_ref()), address);
        tokio::select! {
            _ = incoming.next() => panic!("{what} is let in"),
            heard = speaking => assert!(heard.is_empty(), "{what} was answered"),
        }
    }
    // Whoever speaks plain is heard no more than those; what comes back is TLS's refusal.
    let plain = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        stream.write_all(preface).await.unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard).await;
        heard
    };
    tokio::select! {
        _ = incoming.next() => panic!("plain bytes are let in"),
        heard = plain => assert!(heard.len() <= 7 && !heard.windows(4).any(|w| w == b"HTTP")),
    }
    // And one that shows what it should is: the sieve lets something through.
    let gateway = authority.issue(good, |_| {});
    tokio::select! {
        connection = incoming.next() => drop(connection.unwrap().unwrap()),
        _ = speak(credulous(Some(&gateway)), address) => panic!("a node is not let in"),
    }
}

#[tokio::test]
async fn whoever_does_not_shake_hands_keeps_nobody_out() {
    let authority = Authority::new();
    let (mut incoming, address) = listen(authority.node("gatemq://c/control/c1")).await;
    let gateway = authority.node("gatemq://c/gateway/g1");
    let opening = async {
        let mut silent = Vec::new();
        for _ in 0..300 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let channel = dial(&gateway, address, Whom::any(Role::Control)).await;
        (silent, channel.unwrap())
    };
    let taking = tokio::time::timeout(LIMIT, incoming.next());
    let (_, taken) = tokio::join!(opening, taking);
    taken.expect("in time").unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_the_one_called_is_not_spoken_to() {
    let (authority, other) = (Authority::new(), Authority::new());
    let gateway = authority.node("gatemq://c/gateway/g1");
    let bad = |files: Files, node: &str, roles: Role| {
        Credentials::load(files, node, Roles::from_iter([roles])).unwrap()
    };
    let elsewhere = other.node("gatemq://c/control/c1");
    let another = authority.node("gatemq://d/control/c1");
    let client_only = bad(
        authority.issue("gatemq://c/control/c3", |_| {}),
        "c3",
        Role::Control,
    );
    for (what, credentials, whom, says) in [
        (
            "its authority",
            elsewhere,
            Whom::any(Role::Control),
            "invalid peer certificate",
        ),
        (
            "its cluster",
            another,
            Whom::any(Role::Control),
            "it is of the cluster d, and this node of c",
        ),
        (
            "its role",
            authority.node("gatemq://c/gateway/c1"),
            Whom::any(Role::Control),
            "gatemq://c/gateway/c1, and a node that is control was called",
        ),
        (
            "its name",
            Arc::new(client_only),
            Whom::node(Role::Control, "c2"),
            "gatemq://c/control/c3, and c2, as control, was called",
        ),
    ] {
        let (mut incoming, address) = listen(credentials).await;
        let refused = tokio::select! {
            refused = dial(&gateway, address, whom) => refused,
            () = async { while incoming.next().await.is_some() {} } => unreachable!(),
        };
        let refused = refused.expect_err(what);
        assert!(refused.contains(says), "{what}: {refused}");
    }
    // A plain server.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let plain = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let whom = Whom::any(Role::Control);
    let (refused, ()) = tokio::join!(dial(&gateway, address, whom), plain);
    refused.expect_err("a plain server");
}

#[test]
fn files_that_are_not_this_nodes_are_named() {
    let (authority, other) = (Authority::new(), Authority::new());
    let files = authority.issue("gatemq://c/gateway/g1", |_| {});
    let roles = Roles::from_iter([Role::Gateway]);
    let check = |files: &Files, node: &str, roles: Roles, file: &Path, what: &str| {
        let error = Credentials::load(files.clone(), node, roles).unwrap_err();
        assert_eq!(error.file(), file, "{error}");
        let text = error.to_string();
        assert!(text.contains(what) && !text.contains('\n'), "{text}");
    };
    Credentials::load(files.clone(), "g1", roles).unwrap();
    check(
        &files,
        "g2",
        roles,
        &files.certificate,
        "is for the node g1",
    );
    let both = Roles::from_iter([Role::Gateway, Role::Control]);
    let says = "is for gateway only, and this node is control+gateway";
    check(&files, "g1", both, &files.certificate, says);
    let ca = other.folder.path().join("ca.crt");
    let mixed = Files {
        ca,
        ..files.clone()
    };
    check(&mixed, "g1", roles, &files.certificate, "is not good today");
    let old = authority.issue("gatemq://c/gateway/g1-old", expired);
    check(&old, "g1-old", roles, &old.certificate, "is not good today");
    let key = authority.issue("gatemq://c/gateway/g3", |_| {}).key;
    let mixed = Files {
        key,
        ..files.clone()
    };
    check(
        &mixed,
        "g1",
        roles,
        &files.certificate,
        "does not go with the key",
    );
    let none = files.ca.with_file_name("none");
    let missing = Files {
        ca: none.clone(),
        ..files
    };
    check(&missing, "g1", roles, &none, "cannot be read");
}

#[tokio::test]
async fn a_reload_holds_for_new_connections_and_a_bad_one_changes_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let uri = "gatemq://c/control/c1";
    let files = authority.issue(uri, |_| {});
    let roles = Roles::from_iter([Role::Control]);
    let control = Arc::new(Credentials::load(files.clone(), "c1", roles).unwrap());
    let gateway = authority.node("gatemq://c/gateway/g1");
    let (mut incoming, address) = listen(control.clone()).await;
    let taking = async { while incoming.next().await.is_some() {} };
    let trying = async {
        let is_known = async || {
            let whom = Whom::any(Role::Control);
            dial(&gateway, address, whom).await.is_ok()
        };
        assert!(is_known().await);
        let before = control.good_until();
        fs::write(&files.key, "gone").unwrap();
        control.reload();
        assert!(is_known().await && control.good_until() == before);
        authority.issue("gatemq://c/control/c1", |params| {
            params.not_after = rcgen::date_time_ymd(2039, 1, 1);
        });
        control.reload();
        assert!(is_known().await && control.good_until() != before);
        // From now on it is of another authority.
        let moved = other.issue(uri, |_| {});
        for (from, to) in [
            (&moved.ca, &files.ca),
            (&moved.certificate, &files.certificate),
            (&moved.key, &files.key),
        ] {
            fs::copy(from, to).unwrap();
        }
        control.reload();
        assert!(!is_known().await);
        gateway.reload(); // its authority's file is another one, and its certificate is not of it
        assert!(!is_known().await);
    };
    tokio::select! {
        () = taking => unreachable!(),
        () = trying => {}
    }
    drop((authority.certificate, other.certificate));
}
