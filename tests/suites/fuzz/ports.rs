//! Ports of real processes. Whatever comes, the process lives, does not panic, keeps its memory, and
//! others notice nothing.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use gatemq_tests::{Broker, Cluster, mutate::for_a_while, patience::becomes_true};

use super::packets;
use crate::bad_input::oracle::Oracle;

/// Memory that a port may cost for good.
const COST_KIB: u64 = 64 << 10;

/// Says something on a new connection, and looks at the first of the answer now and then: whoever
/// never reads is one kind of client, and whoever does another.
fn say(address: SocketAddr, bytes: &[u8], is_read: bool) {
    let mut stream = TcpStream::connect(address).expect("it takes connections");
    let limit = Some(Duration::from_millis(20));
    for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        set(&stream, limit).expect("a timeout can be set");
    }
    let _cut = stream.write_all(bytes);
    if is_read {
        let _nothing = stream.read(&mut [0; 4096]);
    }
}

fn feed(what: &str, address: SocketAddr, valid: &[Vec<u8>]) {
    let mut at = 0;
    let n_inputs = for_a_while(what, valid, |bytes| {
        at += 1;
        say(address, bytes, at % 16 == 0);
    });
    assert!(n_inputs > 50, "{what}: {n_inputs} inputs");
}

/// Bytes as frames of a client, in as many as there are parts.
fn frames(bytes: &[u8], part: usize) -> Vec<u8> {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    let frame = |payload: &[u8]| {
        let length = u8::try_from(payload.len()).expect("a short part");
        let masked = payload.iter().zip(MASK.iter().cycle());
        let masked = masked.map(|(byte, mask)| byte ^ mask);
        let head = [0x82, 0x80 | length].into_iter().chain(MASK);
        head.chain(masked).collect::<Vec<u8>>()
    };
    bytes.chunks(part).flat_map(frame).collect()
}

#[test]
fn any_bytes_from_clients() {
    let broker = Broker::builder()
        .config(
            "listeners: [{transport: tcp, address: '127.0.0.1:0', proxy-from: [127.0.0.0/8], \
             allow-anonymous: true}]",
        )
        .start();
    let tcp = broker.listening("tcp");
    let proxied = tcp.last().expect("a listener").parse().expect("an address");
    let oracle = Oracle::watch(&broker);
    let connections = packets::connections();
    feed("mqtt", broker.tcp(), &connections);
    let upgrade = b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let with = |frames: Vec<u8>| [&upgrade[..], &frames].concat();
    let mut web: Vec<Vec<u8>> = connections
        .iter()
        .flat_map(|bytes| [125, 7].map(|part| with(frames(bytes, part))))
        .collect();
    let control = [
        0x89, 0x84, 0, 0, 0, 0, b'p', b'i', b'n', b'g', 0x88, 0x82, 0, 0, 0, 0, 3, 0xE8,
    ];
    web.push(with(control.to_vec()));
    feed("websocket", broker.ws(), &web);
    let one = b"PROXY TCP4 10.1.2.3 10.0.0.1 40000 1883\r\n".to_vec();
    let mut two =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x01\x02\x03\x0a\0\0\x01\x9c\x40\x07\x5b".to_vec();
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    two.extend_from_slice(&connections[0]);
    feed(
        "proxy",
        proxied,
        &[[one, connections[0].clone()].concat(), two, local],
    );
    let http = ["/healthz", "/metrics", "/mqtt/stats", "/readyz"].map(|path| {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n").into_bytes()
    });
    feed("http", broker.http(), &http);
    oracle.judge(COST_KIB);
}

#[test]
fn any_bytes_from_operators_and_nodes() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let (control, gateway) = (cluster.node("c1"), cluster.node("g1"));
    let before = [control, gateway].map(|node| node.rss_kib());
    let ask = |method: &str, path: &str, body: &str| {
        let length = body.len();
        format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    };
    // None of these changes anything that the test stands on.
    let requests = [
        ask("GET", "/members", ""),
        ask("GET", "/clients?search=a&limit=2", ""),
        ask("GET", "/routes/explain?topic=a%2Fb", ""),
        ask("GET", "/config/history?limit=1", ""),
        ask("DELETE", "/clients/nobody", ""),
        ask(
            "POST",
            "/config/validate",
            r#"{"settings":{"limits.max-inflight":9}}"#,
        ),
        ask(
            "POST",
            "/publish",
            r#"{"topic":"a/b","payload":"hello","qos":1,"retain":false}"#,
        ),
    ];
    let costs = |what: &str| {
        let now = [control, gateway].map(|node| node.rss_kib());
        eprintln!("{what}: {now:?} KiB");
    };
    costs("before");
    feed("api", control.http(), &requests);
    costs("api");
    for (what, node, address, path) in [
        ("raft", control, control.raft(), "/gatemq.raft.v1.Raft/Vote"),
        (
            "control",
            control,
            control.raft(),
            "/gatemq.control.v1.Control/Status",
        ),
        (
            "peer",
            gateway,
            gateway.grpc(),
            "/gatemq.peer.v1.Peer/Forward",
        ),
    ] {
        feed(what, address, &crate::hostile::streams::calls(path));
        assert!(node.is_running(), "{what}: {}", node.log().tail(20));
        costs(what);
    }
    // What nodes say over gossip the test cannot make; it changes what it overhears.
    let mut heard = Vec::new();
    {
        gateway.kill();
        let socket = UdpSocket::bind(gateway.gossip()).expect("nobody has the port");
        let limit = Some(Duration::from_millis(100));
        socket
            .set_read_timeout(limit)
            .expect("a timeout can be set");
        let mut buffer = [0; 4096];
        becomes_true(Duration::from_secs(5), || {
            if let Ok(n_bytes) = socket.recv(&mut buffer) {
                heard.push(buffer[..n_bytes].to_vec());
            }
            heard.len() >= 10
        });
    }
    gateway.restart();
    assert!(!heard.is_empty(), "nobody has looked for the node");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    for_a_while("gossip", &heard, |bytes| {
        for node in [control, gateway] {
            let _too_long = socket.send_to(bytes, node.gossip());
        }
    });
    let gossip = control.gossip().parse().expect("an address");
    feed("gossip over tcp", gossip, &heard);
    costs("gossip");
    crate::hostile::is_well(&cluster);
    for (node, before) in [control, gateway].into_iter().zip(before) {
        let growth = node.rss_kib().saturating_sub(before);
        assert!(growth < COST_KIB, "{}: {growth} KiB", node.name());
    }
}
