//! Limits of connections per listener and per address, and the time that a CONNECT may take.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use gatemq_tests::{Broker, Client, Connect, patience::becomes_true, pause, unique};

use super::http_client::n_hits;

/// The client, if the CONNACK accepts; a close or a refusal by any code is a refusal.
fn enter(address: SocketAddr, level: u8) -> Option<Client> {
    let mut client = Client::connect_tcp(address);
    client.set_level(level);
    client.send(&Connect::new(level, unique("limit")).bytes());
    let connack = client.recv_within(Duration::from_secs(5))?.connack(level);
    if connack.code == 0 {
        return Some(client);
    }
    let codes: &[u8] = if level == 5 {
        &[0x97, 0x9F, 0x89]
    } else {
        &[3]
    };
    assert!(codes.contains(&connack.code), "refused with {connack:02x?}");
    client.expect_closed();
    None
}

#[track_caller]
fn takes_three(address: SocketAddr) {
    let mut inside: Vec<_> = [3, 4, 5].map(|level| enter(address, level)).into();
    assert!(inside.iter().all(Option::is_some), "three are let in");
    for level in [3, 4, 5] {
        assert!(
            enter(address, level).is_none(),
            "a fourth of level {level} was let in"
        );
    }
    for client in inside.iter_mut().flatten() {
        client.ping();
    }
    inside.pop().flatten().expect("it was let in").disconnect();
    let again = becomes_true(Duration::from_secs(5), || {
        enter(address, 5).is_some_and(|client| {
            client.disconnect();
            true
        })
    });
    assert!(again, "a place was given back");
}

#[test]
fn a_listener_takes_so_many_connections() {
    let broker = Broker::builder()
        .args(["--ws", ""])
        .config("listeners: [{transport: tcp, address: '127.0.0.1:0', max-connections: 3}]\n")
        .args(["--tcp", ""])
        .start();
    takes_three(broker.tcp());
}

#[test]
fn an_address_has_so_many_connections() {
    let broker = Broker::builder()
        .args(["--tcp", ""])
        .config(
            "listeners:\n\
             - {transport: tcp, address: '127.0.0.1:0', max-connections-per-address: 3}\n",
        )
        .start();
    takes_three(broker.tcp());
}

#[test]
fn limits_of_one_listener_are_not_those_of_another() {
    let broker = Broker::builder()
        .args(["--tcp", ""])
        .config(
            "listeners:\n\
             - {transport: tcp, address: '127.0.0.1:0', max-connections: 1}\n\
             - {transport: tcp, address: '127.0.0.1:0'}\n",
        )
        .start();
    let addresses = broker.listening("tcp");
    let address = |index: usize| addresses[index].parse().expect("an address");
    // The order of the lines need not be that of the file.
    let first = [enter(address(0), 5), enter(address(0), 5)];
    let second = [enter(address(1), 5), enter(address(1), 5)];
    let n_inside = |clients: &[Option<Client>]| clients.iter().flatten().count();
    let mut inside = [n_inside(&first), n_inside(&second)];
    inside.sort_unstable();
    assert_eq!(inside, [1, 2]);
}

#[test]
fn a_place_is_given_back_by_those_who_never_sent_a_connect() {
    let broker = Broker::builder()
        .args(["--tcp", ""])
        .config(
            "listeners: [{transport: tcp, address: '127.0.0.1:0', max-connections: 2}]\n\
             limits: {connect-timeout: 1s}\n",
        )
        .start();
    let mut silent = [
        Client::connect_tcp(broker.tcp()),
        Client::connect_tcp(broker.tcp()),
    ];
    for client in &mut silent {
        client.expect_closed();
    }
    let again = becomes_true(Duration::from_secs(5), || enter(broker.tcp(), 5).is_some());
    assert!(again, "the places were given back");
}

#[test]
fn a_connection_without_a_connect_ends_at_the_timeout() {
    let broker = Broker::builder()
        .config("limits: {connect-timeout: 2s}\n")
        .shared();
    for bytes in [&[][..], &[0x10], &[0x10, 0x20, 0, 4, b'M', b'Q']] {
        let start = Instant::now();
        let mut client = Client::connect_tcp(broker.tcp());
        client.send(bytes);
        client.expect_closed();
        let took = start.elapsed().as_secs_f64();
        assert!(
            (1.8..5.0).contains(&took),
            "{bytes:02x?} ended after {took} s"
        );
    }
}

#[test]
fn a_connected_client_outlives_the_connect_timeout() {
    let broker = Broker::builder()
        .config("limits: {connect-timeout: 1s}\n")
        .shared();
    let mut client = Client::v5(&broker, &unique("idle"));
    client.expect_silence(2000);
    client.ping();
}

/// A list of one listener, over plain TCP, with these keys.
fn one_listener(keys: &str) -> Broker {
    let yaml = format!("listeners: [{{transport: tcp, address: '127.0.0.1:0', {keys}}}]\n");
    Broker::builder().args(["--tcp", ""]).config(yaml).start()
}

#[test]
fn too_many_connections_a_second_of_one_address_are_closed_without_a_word() {
    let broker = one_listener("connection-rate-per-address: 5");
    let start = Instant::now();
    let mut inside: Vec<_> = (0..5).filter_map(|_| enter(broker.tcp(), 5)).collect();
    assert_eq!(inside.len(), 5, "a second's worth at once");
    let mut n_closed = 0_u32;
    for _ in 0..20 {
        let mut client = Client::connect_tcp(broker.tcp());
        let _closed = client.try_send(&Connect::new(5, unique("rate")).bytes());
        match client.recv_within(Duration::from_secs(5)) {
            None => n_closed += 1,
            Some(packet) => assert_eq!(packet.connack(5).code, 0),
        }
    }
    // However slow the machine: those of a second at once, and those of the time that has passed.
    let (n_admitted, elapsed) = (25 - n_closed, start.elapsed().as_secs_f64());
    let is_kept = f64::from(n_admitted) <= 5.0 * (elapsed + 1.0);
    assert!(is_kept, "{n_admitted} were let in within {elapsed} s");
    assert!(n_hits(&broker, "connection-rate-per-address") >= n_closed.into());
    // Who is inside does not notice, and later others may come.
    inside.iter_mut().for_each(Client::ping);
    let again = becomes_true(Duration::from_secs(5), || {
        pause(Duration::from_millis(200));
        let mut client = Client::connect_tcp(broker.tcp());
        let _closed = client.try_send(&Connect::new(5, unique("rate")).bytes());
        client.recv_within(Duration::from_secs(5)).is_some()
    });
    assert!(again, "after a while one is let in again");
}

#[test]
fn connections_of_one_proxy_count_as_their_clients() {
    let broker = one_listener(
        "connection-rate-per-address: 1, proxy-from: ['127.0.0.0/8'], allow-anonymous: true",
    );
    let from = |address: &str| {
        let mut client = Client::connect_tcp(broker.tcp());
        let header = format!("PROXY TCP4 {address} 10.9.9.9 1 1883\r\n");
        let connect = Connect::new(5, unique("proxied")).bytes();
        let _closed = client.try_send(&[header.as_bytes(), &connect].concat());
        let connack = client.recv_within(Duration::from_secs(10))?.connack(5);
        (connack.code == 0).then_some(client)
    };
    let start = Instant::now();
    assert!(from("10.0.0.1").is_some());
    let is_back = from("10.0.0.1").is_some();
    let has_waited = start.elapsed() >= Duration::from_secs(1);
    assert!(!is_back || has_waited, "it was here just now");
    assert!(from("10.0.0.2").is_some(), "behind the same proxy");
}

#[test]
fn too_many_connections_a_second_of_a_listener_wait_and_none_is_lost() {
    let broker = one_listener("connection-rate: 10");
    let start = Instant::now();
    let address = broker.tcp();
    let comes = |_| std::thread::spawn(move || enter(address, 5));
    let coming: Vec<_> = (0..25).map(comes).collect();
    let came = coming
        .into_iter()
        .map(|client| client.join().expect("no panic"));
    assert_eq!(came.flatten().count(), 25);
    let took = start.elapsed();
    assert!(took > Duration::from_millis(1_300), "after {took:?}");
    assert!(n_hits(&broker, "connection-rate") > 0);
    assert_eq!(n_hits(&broker, "max-connections"), 0);
}

#[test]
fn a_limit_that_is_reached_is_counted() {
    let broker = one_listener("max-connections: 3, max-connections-per-address: 2");
    let inside = [enter(broker.tcp(), 5), enter(broker.tcp(), 5)];
    assert!(inside.iter().all(Option::is_some) && enter(broker.tcp(), 5).is_none());
    assert_eq!(n_hits(&broker, "max-connections-per-address"), 1);
}
