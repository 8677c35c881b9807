//! Hostile callers of everything that is not MQTT, and disks that lie: HTTP, the ports that are for
//! nodes, TLS, files. The table of bug classes that brokers had, D, and where each is tried:
//!
//! | | known mistakes | tests |
//! |---|---|---|
//! | D1 | an API that does, or shows, more than it may | `api` |
//! | D2 | web pages that call it; HTTP that means two things | `http` |
//! | D3 | names of clients that become headers; servers that lead elsewhere | `access::http::d3_what_is_in_names_stays_in_them`, `access::http::a_server_that_fails_lets_nobody_in_and_holds_nobody_up` |
//! | D4 | names of clients that become statements | `access::redis::d4_a_name_is_no_command`, `access::sql::a_name_is_no_statement` |
//! | D5 | ports for nodes that are for everybody | `cluster::tls` |
//! | D6 | gossip of somebody else | `gossip` |
//! | D7 | frames that cost more than they should | `streams` |
//! | D8 | a log of the control plane that grows | `growth` |
//! | D9 | files that are not what was written | `files` |
//! | D10 | hellos that are none; damaged lists of revoked certificates | `hello`; in the node `tls::clients` |
//!
//! `rows` holds that each row of all four tables has a test that is named after it.

mod api;
mod files;
mod gossip;
mod growth;
mod hello;
mod http;
mod rows;
pub(crate) mod streams;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use gatemq_tests::{Cluster, Node};

use crate::cluster::tls::crosses;

/// How long something may take that happens at once.
const SOON: Duration = Duration::from_secs(20);

/// A message goes from one client of a gateway to another, acknowledged: the gateway has a lease and
/// the control plane agrees on a new filter.
#[track_caller]
fn works(gateway: &Node) {
    crosses(gateway, gateway);
}

/// Every process of it runs, as it did before, and none has panicked.
#[track_caller]
pub(crate) fn is_well(cluster: &Cluster) {
    for node in cluster.nodes() {
        assert!(
            node.is_running(),
            "{}: {}",
            node.name(),
            node.log().tail(20)
        );
    }
    let panics = cluster.complaints(|line| line.contains("panicked"));
    assert_eq!(panics, Vec::<String>::new());
    works(cluster.gateways()[0]);
}

/// Sends these bytes on a connection of their own, reads what comes until it closes or says nothing
/// for so long.
fn send(address: SocketAddr, bytes: &[u8], patience: Duration) -> Vec<u8> {
    let mut stream = TcpStream::connect_timeout(&address, SOON).expect("somebody listens");
    stream.set_nodelay(true).expect("TCP_NODELAY can be set");
    for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        set(&stream, Some(patience)).expect("a timeout can be set");
    }
    // Whoever is not heard may be cut off before the end.
    let _cut = stream.write_all(bytes);
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n_bytes @ 1..) = stream.read(&mut buffer) {
        heard.extend_from_slice(&buffer[..n_bytes]);
        if heard.len() > 1 << 20 {
            break;
        }
    }
    heard
}
