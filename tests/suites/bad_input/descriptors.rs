//! B8: no file descriptor is left.

use std::{fs, io::Read, net::TcpStream, time::Duration};

use gatemq_tests::{Broker, Client, Connect, eventually, pause, unique};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{
    oracle::{Oracle, processor_ms, scaled},
    verdict::connected,
};
use crate::listeners::{authority::Authority, tls_client::TlsClient};

/// Takes all but so many descriptors from a running broker; how many it may have then.
fn limit(broker: &Broker, count: usize) -> usize {
    let pid = i32::try_from(broker.pid())
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process id");
    let total = broker.fd_count() + count;
    let limit = Rlimit {
        current: Some(total as u64),
        maximum: Some(total as u64),
    };
    prlimit(Some(pid), Resource::Nofile, limit).expect("a limit may be lowered");
    total
}

/// Scale 1: 60 descriptors for 300 connections.
#[test]
fn b8_clients_wait_while_there_is_no_descriptor() {
    let broker = Broker::builder()
        .config("limits: {connect-timeout: 60s}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    let mut inside = connected(&broker, 5);
    let total = limit(&broker, 60);
    let waiting: Vec<_> = (0..scaled(300))
        .map_while(|_| TcpStream::connect_timeout(&broker.tcp(), Duration::from_secs(1)).ok())
        .collect();
    eventually!(broker.fd_count() >= total);
    let before = processor_ms(&broker);
    for _ in 0..10 {
        inside.ping();
        inside.expect_silence(100);
    }
    let spent = processor_ms(&broker) - before;
    assert!(
        spent < 600,
        "{spent} ms of processor time within a second: accept spins"
    );
    drop(waiting);
    // The listener has survived, and the wait of its clients is over.
    eventually!({
        let mut client = Client::connect_tcp(broker.tcp());
        client.send(&Connect::new(4, unique("after")).bytes());
        client.recv_within(Duration::from_secs(1)).is_some()
    });
    drop(inside);
    oracle.judge(32 * 1024);
}

/// A reload that cannot open its files keeps what was in force: a client without a certificate
/// is still refused.
#[test]
fn b8_a_reload_without_descriptors_keeps_the_old_security() {
    let authority = Authority::new("tests");
    let identity = authority.server();
    let broker = Broker::builder()
        .file("cert.pem", identity.certificate_pem())
        .file("key.pem", identity.key_pem())
        .file("ca.pem", authority.pem())
        .config(
            "limits: {connect-timeout: 60s}\nlisteners:\n\
             - transport: tls\n  address: '127.0.0.1:0'\n  tls: {certificate: \
             '{dir}/cert.pem', key: '{dir}/key.pem', client-ca: '{dir}/ca.pem'}\n",
        )
        .start();
    let oracle = Oracle::watch(&broker);
    let total = limit(&broker, 20);
    let waiting: Vec<_> = (0..40)
        .map_while(|_| TcpStream::connect_timeout(&broker.tcp(), Duration::from_secs(1)).ok())
        .collect();
    // Longer than the broker waits before it takes what has become free: a descriptor that it
    // needs for a moment only would be free again for the reload.
    let is_full = |_| {
        pause(Duration::from_millis(60));
        broker.fd_count() >= total
    };
    eventually!((0..5).all(is_full));
    fs::write(broker.dir().join("ca.pem"), Authority::new("other").pem()).expect("writable");
    broker.signal("HUP");
    eventually!(broker.log().contains("TLS identity not reloaded"));
    drop(waiting);
    let is_let_in = |client: &TlsClient| {
        client.dial(broker.address("tls")).is_ok_and(|mut wire| {
            let sent = std::io::Write::write_all(&mut wire, &Connect::new(4, "x").bytes());
            sent.is_ok() && wire.read(&mut [0]).is_ok_and(|count| count == 1)
        })
    };
    eventually!(is_let_in(
        &TlsClient::trusting(&authority).showing(authority.client("ours"))
    ));
    assert!(
        !is_let_in(&TlsClient::trusting(&authority)),
        "no certificate is asked for"
    );
    oracle.judge(32 * 1024);
}
