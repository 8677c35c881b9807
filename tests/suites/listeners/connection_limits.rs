//! Limits of connections per listener and per address, and the time that a CONNECT may take.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use gatemq_tests::{Broker, Client, Connect, patience::becomes_true, unique};

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
