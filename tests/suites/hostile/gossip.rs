//! D6: gossip of somebody else, or of yesterday: nobody joins, leaves or stops voting by it.

use std::{
    io::ErrorKind,
    net::{TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use gatemq_tests::{
    Cluster, Node,
    cluster::{Kind, Place, Plan, Wrap},
    history::Random,
    patience::becomes_true,
};
use serde_json::Value;

use super::{SOON, is_well};

const KEY: &str = "7f3a9b0c1d2e4f5061728394a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8";
const OTHER_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn keyed(key: &str) -> String {
    format!("cluster: {{gossip-keys: [{key}]}}")
}

/// The members as the API tells, name and state.
fn members(node: &Node) -> Vec<(String, String)> {
    let answer = node.get("/api/v1/members").expect("the node answers");
    let members: Value = serde_json::from_str(&answer.1).expect("JSON");
    let items = members["items"].as_array().expect("items").iter();
    let text = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let mut members: Vec<_> = items
        .map(|item| (text(item, "name"), text(item, "state")))
        .collect();
    members.sort();
    members
}

fn expected(names: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = names.iter();
    let owned = owned.map(|(name, state)| ((*name).to_owned(), (*state).to_owned()));
    owned.collect()
}

/// Sends a datagram to each node.
fn shower(nodes: &[&Node], datagram: &[u8]) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    for node in nodes {
        // One that is too long is nobody's.
        let _too_long = socket.send_to(datagram, node.gossip());
    }
}

/// What others send to a port whose node is gone.
fn overhear(socket: &UdpSocket, heard: &mut Vec<Vec<u8>>, period: Duration) {
    let until = Instant::now() + period;
    let mut buffer = [0; 65_536];
    while Instant::now() < until {
        let limit = Some(Duration::from_millis(100));
        socket
            .set_read_timeout(limit)
            .expect("a timeout can be set");
        match socket.recv(&mut buffer) {
            Ok(n_bytes) => heard.push(buffer[..n_bytes].to_vec()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

/// A voter goes when an operator says so: not when gossip says that it has left or failed, and least
/// of all when that is said again after it has come back.
#[test]
fn d6_gossip_that_is_replayed_changes_nothing() {
    let cluster = Cluster::builder()
        .setting(&keyed(KEY))
        .control(3)
        .gateways(2)
        .start();
    cluster.wait_for_voters();
    let (control, leaving, gone) = (cluster.node("c1"), cluster.node("c3"), cluster.node("g2"));
    let whole = expected(&[
        ("c1", "voter"),
        ("c2", "voter"),
        ("c3", "voter"),
        ("g1", "active"),
        ("g2", "active"),
    ]);
    assert!(becomes_true(SOON, || members(control) == whole));
    // A gateway is gone, and what others send to it comes here: that it fails, that a voter leaves.
    gone.kill();
    let socket = UdpSocket::bind(gone.gossip()).expect("nobody has the port");
    let mut heard = Vec::new();
    overhear(&socket, &mut heard, Duration::from_secs(1));
    leaving.terminate();
    overhear(&socket, &mut heard, Duration::from_secs(2));
    assert!(heard.len() > 10, "{} datagrams", heard.len());
    drop(socket);
    let is_voter = |name: &str| members(control).iter().any(|(it, _)| it == name);
    assert!(is_voter("c3"), "{:?}", members(control));
    leaving.restart();
    gone.restart();
    assert!(
        becomes_true(SOON, || members(control) == whole),
        "{:?}",
        members(control)
    );
    // Everything again, whole and broken, to everybody.
    let nodes: Vec<&Node> = cluster.nodes().iter().collect();
    let mut random = Random::from_env("gossip");
    for datagram in &heard {
        shower(&nodes, datagram);
        let mut broken = datagram.clone();
        let at = random.below(broken.len());
        broken[at] ^= 1 << random.below(8);
        shower(&nodes, &broken);
        shower(&nodes, &datagram[..random.below(datagram.len())]);
    }
    for node in cluster.gateways() {
        super::works(node);
    }
    assert!(
        becomes_true(SOON, || members(control) == whole),
        "{:?}",
        members(control)
    );
    assert_eq!(
        cluster.complaints(|line| line.contains("is fenced")),
        Vec::<String>::new()
    );
    is_well(&cluster);
}

/// Without the key, with another one, and of another cluster with the same one.
#[test]
fn d6_whoever_has_not_the_key_is_not_heard() {
    let cluster = Cluster::builder()
        .setting(&keyed(KEY))
        .control(1)
        .gateways(1)
        .start();
    let other = Cluster::builder()
        .setting(&keyed(KEY))
        .control(1)
        .gateways(1)
        .start();
    let control = cluster.node("c1");
    let whole = expected(&[("c1", "voter"), ("g1", "active")]);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let strangers = [("plain", String::new()), ("other", keyed(OTHER_KEY))];
    let strangers = strangers.map(|(name, config)| {
        let stranger = Node::new(Plan {
            name: name.to_owned(),
            kind: Kind::Gateway,
            flags: vec![
                format!("--members={}", control.gossip()),
                "--storage-way=redis".to_owned(),
                format!("--redis={}", cluster.redis().address()),
            ],
            config,
            folder: folder.path().join(name).join("node"),
            place: Place::default(),
            wrap: Wrap::default(),
        });
        stranger.launch().expect("the binary runs");
        stranger
    });
    // One of the other cluster is told to join this one.
    let seed = format!("--members={}", control.gossip());
    let emigrant = other.node("g1").with_flags(&[&seed]);
    other.node("g1").kill();
    emigrant.launch().expect("the binary runs");
    // What is no gossip at all, on both transports.
    let nodes: Vec<&Node> = cluster.nodes().iter().collect();
    let mut random = Random::from_env("noise");
    for length in (0..2_000).map(|at| at % 1_500) {
        let noise: Vec<u8> = (0..length)
            .map(|_| random.below(256).to_le_bytes()[0])
            .collect();
        shower(&nodes, &noise);
    }
    for first in 0..=255 {
        let address = control.gossip().parse().expect("an address");
        let header = [first, 0xFF, 0xFF, 0xFF, 0xFF, 0, 1, 2, 3];
        if first % 16 == 0 {
            super::send(address, &header, Duration::from_millis(50));
        } else if let Ok(mut stream) = TcpStream::connect(address) {
            let _cut = std::io::Write::write_all(&mut stream, &header);
        }
    }
    for stranger in &strangers {
        let waits = || stranger.log().count("joined the cluster") == 0;
        assert!(waits(), "{}", stranger.log().tail(20));
    }
    assert_eq!(members(control), whole);
    is_well(&cluster);
    for stranger in strangers.iter().chain([&emigrant]) {
        assert_eq!(
            stranger.log().count("joined the cluster"),
            0,
            "{}",
            stranger.log().tail(20)
        );
        assert_eq!(stranger.log().count("panicked"), 0);
    }
    assert!(control.rss_kib() < 256 << 10, "{} KiB", control.rss_kib());
}
