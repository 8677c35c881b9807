//! Certificates of clients that their authority has revoked.

use std::{fs, sync::Arc};

use gatemq_tests::{Broker, Builder, eventually};
use rustls::version::{TLS12, TLS13};

use super::{
    authority::{Authority, Identity},
    tls::{self, is_let_in},
    tls_client::TlsClient,
};

/// Two clients of one authority.
struct Scene {
    servers: Authority,
    clients: Authority,
    good: Arc<Identity>,
    lost: Arc<Identity>,
}

impl Scene {
    fn new() -> Self {
        let clients = Authority::new("clients");
        let (good, lost) = (clients.client("good"), clients.client("lost"));
        Self {
            servers: Authority::new("servers"),
            good: good.into(),
            lost: lost.into(),
            clients,
        }
    }

    fn builder(&self, list: &str) -> Builder {
        let more = ", client-ca: '{dir}/clients.pem', client-crl: '{dir}/clients.crl'";
        tls::broker(&self.servers.server(), more)
            .file("clients.pem", self.clients.pem())
            .file("clients.crl", list)
    }

    /// Whether both listeners let a client in, with both versions, or none does.
    fn lets_in(&self, broker: &Broker, identity: &Arc<Identity>) -> bool {
        let client = || TlsClient::trusting(&self.servers).showing(identity.clone());
        let ways = [
            ("tls", &TLS12),
            ("tls", &TLS13),
            ("wss", &TLS12),
            ("wss", &TLS13),
        ];
        let lets_in = ways
            .map(|(name, version)| is_let_in(&client().only(version), broker.address(name), name));
        assert!(lets_in.iter().all(|is| *is == lets_in[0]), "{lets_in:?}");
        lets_in[0]
    }
}

#[test]
fn a_revoked_certificate_opens_nothing() {
    let scene = Scene::new();
    let list = scene.clients.list(&[&scene.lost], 2090);
    let broker = scene.builder(&list).start();
    assert!(scene.lets_in(&broker, &scene.good));
    assert!(!scene.lets_in(&broker, &scene.lost));
}

#[test]
fn a_list_is_read_again_and_a_bad_one_changes_nothing() {
    let scene = Scene::new();
    let broker = scene.builder(&scene.clients.list(&[], 2090)).start();
    assert!(scene.lets_in(&broker, &scene.lost));
    let file = broker.dir().join("clients.crl");
    let put = |list: &str| {
        fs::write(&file, list).expect("it is writable");
        broker.signal("HUP");
    };
    put(&scene.clients.list(&[&scene.lost], 2090));
    // Each listener has read it.
    eventually!(broker.log().matches("TLS identity reloaded").count() == 2);
    assert!(scene.lets_in(&broker, &scene.good));
    assert!(!scene.lets_in(&broker, &scene.lost));
    let old = scene.clients.list(&[], 2024);
    let cut = &old[..old.len() / 2];
    for (n_times, bad) in [(2, ""), (4, &old), (6, cut), (8, "x")] {
        put(bad);
        eventually!(broker.log().matches("TLS identity not reloaded").count() == n_times);
        assert!(scene.lets_in(&broker, &scene.good), "{bad}");
        assert!(!scene.lets_in(&broker, &scene.lost), "{bad}");
    }
}

#[test]
fn a_list_that_cannot_be_used_ends_the_start() {
    let scene = Scene::new();
    let old = scene.clients.list(&[], 2024);
    for (list, says) in [
        ("", "has no list"),
        (&*old, "out of date"),
        (&old[..40], "is not PEM"),
        ("x", "is no list"),
    ] {
        let trouble = scene.builder(list).try_start().err();
        let trouble = trouble.expect("it does not start");
        let key = "listeners[0].tls.client-crl";
        assert!(trouble.contains(key) && trouble.contains(says), "{trouble}");
    }
}
