//! Sessions of a cluster in a Redis that takes nothing but TLS from it, and is verified.

use std::{fs, time::Duration};

use gatemq_tests::{Cluster, Connect, cluster::Kind, patience::becomes_true, unique};
use tempfile::TempDir;

use super::{start::fails, tls::crosses};
use crate::listeners::authority::Authority;

/// How long what is to come back may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What the harness wants, and the certificate of an authority that has signed none of it.
pub(crate) fn files() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let ours = Authority::new("ours");
    let (server, client) = (ours.server(), ours.client("gateway"));
    for (name, text) in [
        ("ca.pem", ours.pem()),
        ("server.pem", server.certificate_pem()),
        ("server.key", server.key_pem()),
        ("client.pem", client.certificate_pem()),
        ("client.key", client.key_pem()),
        ("other.pem", Authority::new("other").pem()),
    ] {
        fs::write(folder.path().join(name), text).expect("it is writable");
    }
    folder
}

#[test]
fn two_nodes_share_sessions_over_tls() {
    let files = files();
    let cluster = Cluster::builder().control(1).gateways(2);
    let cluster = cluster.redis_with_tls(files.path()).start();
    let (one, two) = (cluster.node("g1"), cluster.node("g2"));
    crosses(one, two);
    let connect = Connect::persistent(5, unique("tls"));
    let topic = unique("kept");
    let mut client = one.connect(&connect).0;
    client.subscribe(&topic, 1);
    client.disconnect();
    two.v5(&unique("pub")).publish(&topic, b"kept", 1);
    let (mut client, connack) = two.connect(&connect);
    assert!(connack.session_present);
    assert_eq!(client.receive().payload, b"kept");
    // It dies, and comes back.
    cluster.redis().restart();
    let takes = || {
        let (client, connack) = one.attempt(&Connect::persistent(5, unique("back")));
        client.cut();
        connack.code == 0
    };
    assert!(becomes_true(LIMIT, takes), "no sessions are taken");
    assert_eq!(one.log().count("nothing is encrypted"), 0);
}

#[test]
fn a_redis_that_is_not_believed_ends_the_start_in_one_line() {
    let files = files();
    let cluster = Cluster::builder().control(1).redis_with_tls(files.path());
    let cluster = cluster.start();
    let good = fs::read(files.path().join("ca.pem")).expect("it is there");
    let node = cluster.prepare(Kind::Gateway, "g1");
    fs::copy(files.path().join("other.pem"), files.path().join("ca.pem")).expect("copied");
    let address = cluster.redis().tls_address().to_string();
    fails(&node, &[&address, "UnknownIssuer", "redis.tls"]);
    fs::remove_file(files.path().join("ca.pem")).expect("it was there");
    fails(&node.with_flags(&[]), &["redis", "ca.pem", "tls"]);
    fs::write(files.path().join("ca.pem"), good).expect("it is writable");
    let plain = cluster.redis().address().to_string();
    let node = node.with_flags(&[&format!("--redis={plain}")]);
    fails(&node, &[&plain, "redis.tls"]);
}
