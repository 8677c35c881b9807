//! Whom a broker keeps out by itself: by a file, and for coming and going too often.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use gatemq_tests::{Broker, Client, Connect, Will, eventually, unique};

use super::scene::attempt;
use crate::listeners::{authority::Authority, http_client::get};

const BANNED: u8 = 0x8A;
/// What who is there is told: the other one is of CONNACK only `[MQTT-3.14.2-1]`.
const DISMISSED: u8 = 0x98;
const TAKEN_OVER: u8 = 0x8E;

fn of_user(level: u8, username: &str) -> Connect {
    Connect::new(level, unique("of-user")).username(username)
}

fn with_file(bans: &str) -> Broker {
    Broker::builder()
        .file("bans.yml", bans)
        .config("bans: {file: '{dir}/bans.yml'}")
        .start()
}

fn put(broker: &Broker, bans: &str) {
    fs::write(broker.dir().join("bans.yml"), bans).expect("it is writable");
    broker.signal("HUP");
}

#[test]
fn whoever_is_in_the_file_is_kept_out_and_told_why() {
    let broker = with_file(
        "bans: [{username: eve, reason: x}, {client-id-prefix: bad-}, {client-id: pump-7}]",
    );
    assert_eq!(attempt(&broker, &of_user(5, "eve")).code, BANNED);
    assert_eq!(attempt(&broker, &of_user(4, "eve")).code, 5);
    assert_eq!(attempt(&broker, &Connect::new(5, "bad-1")).code, BANNED);
    assert_eq!(attempt(&broker, &Connect::new(5, "pump-7")).code, BANNED);
    for good in ["pump-77", "bad", "eve"] {
        assert_eq!(attempt(&broker, &Connect::new(5, good)).code, 0, "{good}");
    }
    assert_eq!(attempt(&broker, &of_user(5, "ann")).code, 0);
}

#[test]
fn a_file_that_is_read_again_ends_connections_and_lets_others_in() {
    let broker = with_file("bans: [{username: eve}]");
    let topic = unique("wills");
    let mut watcher = Client::v5(&broker, &unique("watcher"));
    watcher.subscribe(&topic, 1);
    let will = || Will::new(&topic, "gone").qos(1);
    let mut adam = Client::connect(&broker, &of_user(5, "adam").will(will())).0;
    let mut old = Client::connect(&broker, &of_user(4, "adam").will(will())).0;
    put(&broker, "bans: [{username: adam}]");
    adam.expect_disconnect(DISMISSED);
    old.expect_closed();
    watcher.expect_silence(200);
    assert_eq!(attempt(&broker, &of_user(5, "adam")).code, BANNED);
    assert_eq!(attempt(&broker, &of_user(5, "eve")).code, 0);
    // A file that is wrong changes nothing, and one that is empty is wrong.
    let told = "the bans that were known stay in force";
    for (n, wrong) in [(1, "bans: [{address: 10.1.2.3/8}]"), (2, "")] {
        put(&broker, wrong);
        eventually!(broker.log().matches(told).count() == n);
    }
    assert_eq!(attempt(&broker, &of_user(5, "adam")).code, BANNED);
    put(&broker, "bans: [{address: 127.0.0.0/8}]");
    eventually!(!watcher.is_open());
    assert_eq!(attempt(&broker, &of_user(5, "ann")).code, BANNED);
    put(&broker, "bans: []");
    eventually!(attempt(&broker, &of_user(5, "adam")).code == 0);
}

#[test]
fn how_many_there_are_of_each_kind_is_in_the_log_and_in_the_metrics() {
    let broker = with_file(
        "bans: [{username: eve}, {client-id-prefix: bad-}, {client-id: a}, {client-id: b}]",
    );
    let counted = |kind: &str| {
        let line = format!("gateway_bans{{kind=\"{kind}\"}} ");
        let body = get(broker.http(), "/metrics").body;
        let n = body.lines().find_map(|found| found.strip_prefix(&line));
        n.map(str::to_owned)
    };
    let all = || ["client-id", "client-id-prefix", "username", "address"].map(counted);
    let expected = |n: [u8; 4]| n.map(|n| Some(n.to_string()));
    assert_eq!(all(), expected([2, 1, 1, 0]));
    let line = "bans.yml\" client_ids=2 client_id_prefixes=1 usernames=1 addresses=0";
    assert!(broker.log().contains(line), "{}", broker.log());
    put(&broker, "bans: [{address: 10.0.0.0/8}]");
    eventually!(all() == expected([0, 0, 0, 1]));
    let line = "client_ids=0 client_id_prefixes=0 usernames=0 addresses=1";
    eventually!(broker.log().contains(line));
}

#[test]
fn a_file_that_is_wrong_keeps_the_broker_from_starting() {
    let started = Broker::builder()
        .file("bans.yml", "bans: [{username: eve}, {client: x}]")
        .config("bans: {file: '{dir}/bans.yml'}")
        .try_start();
    let error = started.err().expect("it does not start");
    assert!(error.contains("bans.file"), "{error}");
}

/// Two devices with one client id take it from each other for ever.
#[test]
fn whoever_comes_and_goes_too_often_is_kept_out_for_a_while() {
    let broker = Broker::builder()
        .config("bans: {flapping: {max-connects: 4, window: 1m, ban: 10s}}")
        .start();
    let connect = Connect::new(5, unique("twice"));
    let (mut last, _) = Client::connect(&broker, &connect);
    for _ in 0..3 {
        let (next, _) = Client::connect(&broker, &connect);
        last.expect_disconnect(TAKEN_OVER);
        last = next;
    }
    let (mut fifth, _) = Client::connect(&broker, &connect);
    fifth.expect_disconnect(DISMISSED);
    last.expect_disconnect(TAKEN_OVER);
    assert_eq!(attempt(&broker, &connect).code, BANNED);
    for _ in 0..4 {
        let other = Connect::new(5, unique("other"));
        assert_eq!(attempt(&broker, &other).code, 0);
    }
    let limit = Duration::from_secs(30);
    eventually!(limit, attempt(&broker, &connect).code == 0);
}

/// Whether a broker closes a connection without a word, on which it was told this much.
fn is_closed_at_once(address: SocketAddr, told: &[u8]) -> bool {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let limit = Some(Duration::from_secs(2));
    stream.set_read_timeout(limit).expect("it can be set");
    stream.write_all(told).expect("it takes it");
    let mut heard = [0; 1];
    match stream.read(&mut heard) {
        Ok(0) => true,
        Ok(_) => panic!("it says something"),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
        Err(_) => false,
    }
}

const TLS: &str = "tls: {certificate: '{dir}/cert.pem', key: '{dir}/key.pem'}";

/// It waits for a handshake of all others.
#[test]
fn an_address_that_is_banned_gets_no_handshake() {
    let identity = Authority::new("tests").server();
    let broker = Broker::builder()
        .file("cert.pem", identity.certificate_pem())
        .file("key.pem", identity.key_pem())
        .file(
            "bans.yml",
            "bans: [{address: 127.0.0.0/8}, {address: 192.0.2.7}]",
        )
        .config(format!(
            "bans: {{file: '{{dir}}/bans.yml'}}\nallow-anonymous: true\n\
             limits: {{connect-timeout: 20s}}\n\
             listeners:\n\
             - {{transport: tls, address: '127.0.0.1:0', {TLS}}}\n\
             - {{transport: wss, address: '127.0.0.1:0', {TLS}}}\n\
             - {{transport: ws, address: '127.0.0.1:0', proxy-from: [127.0.0.1/32]}}\n",
        ))
        .start();
    assert!(is_closed_at_once(broker.address("tls"), b""));
    assert!(is_closed_at_once(broker.address("wss"), b""));
    // Of whom a load balancer speaks is known only then; that it is banned itself says nothing.
    let ws = broker.listening("ws").pop().expect("a listener");
    let behind = |from: &str| {
        let header = format!("PROXY TCP4 {from} 198.51.100.1 40000 1883\r\n");
        is_closed_at_once(ws.parse().expect("an address"), header.as_bytes())
    };
    assert!(behind("192.0.2.7") && !behind("192.0.2.8"));
    // By MQTT alone it is told why.
    assert_eq!(attempt(&broker, &of_user(5, "ann")).code, BANNED);
    put(&broker, "bans: []");
    eventually!(attempt(&broker, &of_user(5, "ann")).code == 0);
    assert!(!is_closed_at_once(broker.address("tls"), b""));
}
