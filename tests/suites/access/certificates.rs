//! Clients whose certificate has their user name: who comes in, as whom, and what it may do then; over
//! TLS and over WebSocket.

use std::fs;

use gatemq_tests::{
    Broker, Client, Connect,
    broker::Builder,
    client::Wire,
    eventually, unique,
    wire::{Connack, property},
};
use rcgen::{CertificateParams, DnType, SanType};

use super::scene::{BAD_LOGIN, NOT_AUTHORIZED, may_publish, may_subscribe, n_answers};
use crate::listeners::{
    authority::{Authority, Identity},
    tls_client::TlsClient,
    ws_client::WebSocket,
};

const BAD_CLIENT_ID: u8 = 0x85;

/// `pump` is in no list of users.
const USERS: &str = "
password-hash: plain
users:
- {username: ann, password: ann}
- {username: bob, password: bob, client-id: bob-1}
- {username: root, password: root, superuser: true}
- {client-id: pump-7, password: pump-7}
rules:
- {allow: all, topics: ['own/%u/#']}
- {allow: publish, topics: [pumps], users: [pump]}
- {allow: publish, topics: [by-id], clients: [pump-7]}
- {allow: subscribe, topics: ['public/#']}
";

/// An authority of clients, and a broker that believes it.
struct Scene {
    servers: Authority,
    clients: Authority,
    broker: Broker,
}

impl Scene {
    fn new(tls: &str) -> Self {
        Self::changed(tls, |builder| builder)
    }

    fn changed(tls: &str, change: impl FnOnce(Builder) -> Builder) -> Self {
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let identity = servers.server();
        let tls = format!(
            "tls: {{certificate: '{{dir}}/cert.pem', key: '{{dir}}/key.pem', \
             client-ca: '{{dir}}/clients.pem', {tls}}}"
        );
        let builder = Broker::builder()
            .file("cert.pem", identity.certificate_pem())
            .file("key.pem", identity.key_pem())
            .file("clients.pem", clients.pem())
            .file("users.yml", USERS)
            .config(format!(
                "auth: {{sources: [{{type: file, path: '{{dir}}/users.yml'}}]}}\n\
                 listeners:\n\
                 - {{transport: tls, address: '127.0.0.1:0', {tls}}}\n\
                 - {{transport: wss, address: '127.0.0.1:0', {tls}}}\n"
            ));
        Self {
            broker: change(builder).start(),
            servers,
            clients,
        }
    }

    fn connect(&self, over: &str, identity: Identity, connect: &Connect) -> (Client, Connack) {
        let client = TlsClient::trusting(&self.servers).showing(identity);
        let wire = client.dial(self.broker.address(over));
        let wire: Box<dyn Wire> = Box::new(wire.expect("the handshake succeeds"));
        let wire = match over {
            "wss" => {
                let socket = WebSocket::upgrade(wire, "/mqtt", Some("mqtt"));
                Box::new(socket.expect("the upgrade succeeds"))
            }
            _ => wire,
        };
        let mut client = Client::over(wire);
        let connack = client.handshake(connect);
        (client, connack)
    }

    /// A client of this common name, which comes in.
    #[track_caller]
    fn named(&self, over: &str, name: &str, connect: &Connect) -> Client {
        let (client, connack) = self.connect(over, self.clients.client(name), connect);
        assert_eq!(connack.code, 0, "{over} {name}: {connack:?}");
        client
    }

    /// How a client is refused, and why.
    #[track_caller]
    fn refused(&self, over: &str, identity: Identity, connect: &Connect) -> (u8, String) {
        let (mut client, connack) = self.connect(over, identity, connect);
        assert_ne!(connack.code, 0, "{over}: {connect:?} comes in");
        client.expect_closed();
        let why = connack.properties.string(property::REASON_STRING);
        (connack.code, why.unwrap_or_default().to_owned())
    }
}

fn anybody() -> Connect {
    Connect::new(5, unique("c"))
}

const BOTH: [&str; 2] = ["tls", "wss"];

#[test]
fn what_a_source_says_of_certificates_is_counted() {
    let scene = Scene::new("username: cn");
    scene.named("tls", "ann", &anybody());
    scene.named("tls", "pump", &anybody());
    let bob = scene.clients.client("bob");
    let connect = anybody().username("eve");
    assert_eq!(scene.refused("tls", bob, &connect).0, NOT_AUTHORIZED);
    let said = ["allow", "deny", "pass"].map(|outcome| n_answers(&scene.broker, outcome));
    assert_eq!(said, [1, 1, 1]);
    // Whatever it says of itself: by its certificate it is known.
    let line = |line: &str| line.contains("connection refused") && line.contains("user=\"bob\"");
    eventually!(scene.broker.log().lines().any(line));
}

#[test]
fn the_name_in_the_certificate_is_the_user_name() {
    let scene = Scene::new("username: cn");
    for over in BOTH {
        // Whatever the client says of itself.
        for connect in [
            anybody(),
            anybody().username("root").password("root"),
            anybody().username("ann"),
        ] {
            let mut pump = scene.named(over, "pump", &connect);
            assert!(may_publish(&mut pump, "pumps"), "its rule");
            assert!(may_publish(&mut pump, "own/pump/a"));
            for topic in ["own/ann/a", "own/root/a", "by-id", "public/a", "else"] {
                assert!(!may_publish(&mut pump, topic), "{topic}");
            }
            assert!(may_subscribe(&mut pump, "public/#"));
            pump.disconnect();
        }
        // One that a source knows, without its password; older versions, too.
        let mut ann = scene.named(over, "ann", &anybody());
        assert!(may_publish(&mut ann, "own/ann/a") && !may_publish(&mut ann, "pumps"));
        let mut root = scene.named(over, "root", &anybody());
        assert!(may_publish(&mut root, "else"), "it may do everything");
        scene.named(over, "ann", &Connect::new(4, unique("c")));
    }
}

#[test]
fn a_client_id_that_is_somebody_elses_is_not_to_be_had_by_a_certificate() {
    let scene = Scene::new("username: cn");
    for over in BOTH {
        for (name, client_id) in [("pump", "pump-7"), ("ann", "bob-1"), ("bob", "bob-2")] {
            let connect = Connect::new(5, client_id);
            let (code, _) = scene.refused(over, scene.clients.client(name), &connect);
            assert_eq!(code, NOT_AUTHORIZED, "{name} {client_id}");
        }
        scene.named(over, "bob", &Connect::new(5, "bob-1"));
    }
}

#[test]
fn sessions_are_of_the_user_of_the_certificate() {
    let scene = Scene::new("username: cn");
    let id = unique("s");
    let stored = || Connect::persistent(5, &id);
    scene.named("tls", "pump", &stored()).disconnect();
    let (code, why) = scene.refused("tls", scene.clients.client("other"), &stored());
    assert_eq!(code, NOT_AUTHORIZED, "{why}");
    let (_, connack) = scene.connect("wss", scene.clients.client("pump"), &stored());
    assert_eq!((connack.code, connack.session_present), (0, true));
}

/// Nobody knows `pump` but its certificate: what it may have when it is away goes by the rules, also
/// after a restart.
#[test]
fn what_waits_for_a_certificates_user_is_there_after_a_restart() {
    let scene = Scene::changed("username: cn", |builder| builder.storage("redb"));
    let id = unique("s");
    let stored = || Connect::persistent(5, &id);
    let mut pump = scene.named("tls", "pump", &stored());
    pump.subscribe("own/pump/#", 1);
    pump.disconnect();
    assert!(scene.broker.terminate().success());
    scene.broker.restart();
    let mut root = scene.named("tls", "root", &anybody());
    root.publish("own/pump/a", b"x", 1);
    let mut pump = scene.named("tls", "pump", &stored());
    assert_eq!(pump.receive().topic, "own/pump/a");
}

#[test]
fn the_client_id_has_to_be_the_name_where_that_is_asked_for() {
    let scene = Scene::new("username: cn, username-is-client-id: true");
    for over in BOTH {
        for client_id in ["pump-8", "PUMP", "pump ", ""] {
            let connect = Connect::new(5, client_id);
            let (code, why) = scene.refused(over, scene.clients.client("pump"), &connect);
            assert_eq!(code, BAD_CLIENT_ID, "{client_id:?}: {why}");
        }
        scene.named(over, "pump", &Connect::new(5, "pump"));
    }
}

#[test]
fn the_password_is_asked_for_as_well_where_that_is_wanted() {
    let scene = Scene::changed("username: cn, password: true", |builder| {
        builder.arg("--allow-anonymous")
    });
    for over in BOTH {
        let of = |name: &str| scene.clients.client(name);
        // The password is that of the certificate's user, whatever the client calls itself.
        for connect in [
            anybody().password("ann"),
            anybody().username("bob").password("ann"),
        ] {
            let mut ann = scene.named(over, "ann", &connect);
            assert!(may_publish(&mut ann, "own/ann/a") && !may_publish(&mut ann, "own/bob/a"));
        }
        for (name, connect) in [
            ("ann", anybody()),
            ("ann", anybody().username("ann")),
            ("ann", anybody().username("ann").password("bob")),
            ("ann", anybody().username("root").password("root")),
            ("pump", anybody()),
            ("pump", anybody().username("ann").password("ann")),
        ] {
            let (code, why) = scene.refused(over, of(name), &connect);
            assert_eq!(code, BAD_LOGIN, "{name} {connect:?}: {why}");
        }
        // What proves somebody else is no proof.
        let connect = Connect::new(5, "pump-7").password("pump-7");
        let (code, why) = scene.refused(over, of("pump"), &connect);
        assert_eq!(code, NOT_AUTHORIZED, "{why}");
    }
}

fn common(name: &str) -> impl FnOnce(&mut CertificateParams) {
    let name = name.to_owned();
    move |params| params.distinguished_name.push(DnType::CommonName, name)
}

#[test]
fn c12_a_certificate_that_does_not_say_who_it_is_of_lets_nobody_in() {
    let scene = Scene::new("username: cn");
    let who = |says: &dyn Fn(&mut CertificateParams)| scene.clients.client_who(says);
    let other = DnType::CustomDnType(vec![2, 5, 4, 3]);
    for over in BOTH {
        for (identity, expected) in [
            (who(&|_| {}), "the certificate has no common name"),
            (
                who(&|params| params.subject_alt_names = vec![dns("root")]),
                "the certificate has no common name",
            ),
            (
                who(&|params| {
                    common("pump")(params);
                    params.distinguished_name.push(other.clone(), "root");
                }),
                "the certificate has several common names",
            ),
            (
                who(&|params| {
                    common("root")(params);
                    params.distinguished_name.push(other.clone(), "root");
                }),
                "the certificate has several common names",
            ),
            (
                who(&|params| common("root\0")(params)),
                "the name in the certificate is empty",
            ),
            (
                who(&|params| common("root\0.x")(params)),
                "the name in the certificate is empty",
            ),
            (
                who(&|params| common("ro\not")(params)),
                "the name in the certificate is empty",
            ),
            (
                who(&|params| common("")(params)),
                "the name in the certificate is empty",
            ),
        ] {
            // Nor does a password help: the certificate is what counts here.
            let connect = anybody().username("root").password("root");
            let (code, why) = scene.refused(over, identity, &connect);
            assert_eq!(code, NOT_AUTHORIZED, "{why}");
            assert!(why.starts_with(expected), "{why:?}, not {expected:?}");
        }
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("it is ASCII"))
}

#[test]
fn c12_the_kind_of_name_that_is_asked_for_is_the_one_that_counts() {
    let scene = Scene::new("username: san-dns");
    for over in BOTH {
        let both = scene.clients.client_who(|params| {
            common("root")(params);
            params.subject_alt_names = vec![dns("pump")];
        });
        let (mut pump, connack) = scene.connect(over, both, &anybody());
        assert_eq!(connack.code, 0);
        assert!(may_publish(&mut pump, "pumps") && !may_publish(&mut pump, "else"));
        let two = scene.clients.client_who(|params| {
            params.subject_alt_names = vec![dns("pump"), dns("root")];
        });
        let none = scene.clients.client("root");
        for (identity, expected) in [
            (two, "the certificate has several DNS names"),
            (none, "the certificate has no DNS name"),
        ] {
            let (code, why) = scene.refused(over, identity, &anybody());
            assert_eq!((code, &*why), (NOT_AUTHORIZED, expected));
        }
    }
}

#[test]
fn c12_a_name_that_means_something_in_a_filter_opens_nothing() {
    let scene = Scene::new("username: cn");
    for over in BOTH {
        for name in ["#", "+", "a/b", "$SYS", "pump+O=x", "pump/x"] {
            let mut client = scene.named(over, name, &anybody());
            for topic in ["own/a/b", "own/pump/a", "own/x", "pumps", "$SYS/a"] {
                assert!(!may_publish(&mut client, topic), "{name} {topic}");
            }
            for filter in ["own/#", "own/+/#", "own/a/b/#", "#", "$SYS/#"] {
                assert!(!may_subscribe(&mut client, filter), "{name} {filter}");
            }
        }
    }
}

#[test]
fn who_is_refused_by_now_is_disconnected() {
    let scene = Scene::new("username: cn");
    let mut pump = scene.named("tls", "pump", &anybody());
    let id = unique("ann");
    let mut ann = scene.named("tls", "ann", &Connect::new(5, &id));
    let users = USERS.replace("client-id: pump-7", &format!("client-id: '{id}'"));
    fs::write(scene.broker.dir().join("users.yml"), users).expect("it is writable");
    scene.broker.signal("HUP");
    ann.expect_disconnect(NOT_AUTHORIZED);
    assert!(may_publish(&mut pump, "pumps"), "nothing is against it");
}
