//! Each kind of plain listener takes clients, alone and beside others of its kind.

use std::{
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
};

use gatemq_tests::{Broker, Client, Connect, unique, wire};

/// Connects, and sends itself messages small and large: whatever the transport, the bytes are
/// the same at the other end.
#[track_caller]
pub(super) fn exchange(client: &mut Client, level: u8) {
    let connack = client.handshake(&Connect::new(level, unique("kind")));
    assert_eq!(connack.code, 0, "{connack:?}");
    let topic = unique("kinds");
    client.subscribe(&topic, 2);
    for (qos, size) in [
        (0, 0),
        (1, 1),
        (2, 125),
        (1, 126),
        (1, 65_535),
        (1, 65_536),
        (2, 300_000),
    ] {
        let payload: Vec<u8> = (0..=u8::MAX).cycle().take(size).collect();
        client.publish(&topic, &payload, qos);
        let received = client.recv_kind(wire::PUBLISH).publish(level);
        client.acknowledge(&received);
        assert_eq!(received.qos, qos);
        assert!(
            received.payload == payload,
            "a payload of {size} bytes changed"
        );
    }
    client.ping();
}

fn parse(addresses: &[String]) -> Vec<SocketAddr> {
    let parse = |address: &String| address.parse().expect("an address and a port");
    addresses.iter().map(parse).collect()
}

#[test]
fn tcp_takes_every_protocol_version() {
    let broker = Broker::shared();
    for level in [3, 4, 5] {
        exchange(&mut Client::connect_tcp(broker.tcp()), level);
    }
}

#[test]
fn port_0_is_replaced_by_the_port_that_was_taken() {
    let broker = Broker::shared();
    for name in ["tcp", "ws", "http"] {
        let address = broker.address(name);
        assert_ne!(address.port(), 0, "{name}");
        TcpStream::connect(address).expect("the port that was named takes connections");
    }
}

#[test]
fn an_empty_address_turns_a_listener_off() {
    let broker = Broker::builder().args(["--ws", "", "--http", ""]).start();
    assert_eq!(broker.listening("ws"), Vec::<String>::new());
    assert_eq!(broker.listening("http"), Vec::<String>::new());
    exchange(&mut Client::connect_tcp(broker.tcp()), 5);
}

#[test]
fn several_tcp_listeners_serve_one_broker() {
    let broker = Broker::builder()
        .args(["--tcp", ""])
        .config(
            "listeners:\n\
             - {transport: tcp, address: '127.0.0.1:0'}\n\
             - {transport: tcp, address: '127.0.0.1:0'}\n\
             - {transport: tcp, address: '[::1]:0'}\n",
        )
        .start();
    let addresses = parse(&broker.listening("tcp"));
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    assert!(addresses.iter().any(SocketAddr::is_ipv6), "{addresses:?}");
    for address in &addresses {
        exchange(&mut Client::connect_tcp(*address), 4);
    }
    let topic = unique("across");
    let mut subscriber = Client::connect_tcp(addresses[0]);
    subscriber.handshake(&Connect::new(5, unique("a")));
    subscriber.subscribe(&topic, 1);
    let mut publisher = Client::connect_tcp(addresses[1]);
    publisher.handshake(&Connect::new(5, unique("b")));
    publisher.publish(&topic, b"over", 1);
    assert_eq!(subscriber.receive().payload, b"over");
}

#[test]
fn unix_socket() {
    let broker = Broker::builder()
        .config(
            "listeners:\n\
             - {transport: unix, address: '{dir}/one.sock'}\n\
             - {transport: unix, address: '{dir}/two.sock'}\n",
        )
        .start();
    let paths = broker.listening("unix");
    assert_eq!(paths.len(), 2, "{paths:?}");
    for path in &paths {
        let stream = UnixStream::connect(path).expect("the socket takes connections");
        exchange(&mut Client::over(Box::new(stream)), 5);
    }
}

#[test]
fn a_unix_socket_by_its_flag() {
    let broker = Broker::builder()
        .args(["--unix", "{dir}/flag.sock"])
        .start();
    let stream = UnixStream::connect(broker.dir().join("flag.sock"));
    exchange(
        &mut Client::over(Box::new(stream.expect("it takes connections"))),
        4,
    );
}

#[test]
fn a_unix_socket_left_by_a_killed_broker_is_replaced() {
    let broker = Broker::builder()
        .config("listeners: [{transport: unix, address: '{dir}/mqtt.sock'}]\n")
        .start();
    let path = broker.listening("unix").remove(0);
    broker.kill();
    UnixStream::connect(&path).expect_err("nobody listens");
    broker.restart();
    let stream = UnixStream::connect(&path).expect("the socket takes connections again");
    exchange(&mut Client::over(Box::new(stream)), 4);
    broker.terminate();
    assert!(
        !std::path::Path::new(&path).exists(),
        "a broker takes its socket away"
    );
}
