//! SIGTERM: clients are told, what is stored stays, the process ends by itself.

use std::time::{Duration, Instant};

use gatemq_tests::{Broker, Client, Connect, Will, eventually, unique, wire};

use super::{http_client, ws_client::WebSocket};

const GRACE: Duration = Duration::from_secs(10);

#[track_caller]
fn ends_well(broker: &Broker, since: Instant) {
    let status = broker.wait(GRACE);
    assert_eq!(status.code(), Some(0), "{status}; {}", broker.log());
    assert!(since.elapsed() < GRACE);
    assert!(!broker.log().contains("panicked"), "{}", broker.log());
}

#[test]
fn clients_are_told_and_the_process_ends() {
    let broker = Broker::builder().start();
    let mut v5 = Client::v5(&broker, &unique("five"));
    let mut v4 = Client::v4(&broker, &unique("four"));
    let mut v3 = Client::connect_tcp(broker.tcp());
    v3.handshake(&Connect::new(3, unique("three")));
    let mut ws = WebSocket::mqtt(broker.ws());
    ws.handshake(&Connect::new(5, unique("ws")));
    let mut silent = Client::connect_tcp(broker.tcp());
    silent.send(&[0x10]);

    let start = Instant::now();
    broker.signal("TERM");
    v5.expect_disconnect(0x8B);
    ws.expect_disconnect(0x8B);
    v4.expect_closed();
    v3.expect_closed();
    silent.expect_closed();
    ends_well(&broker, start);
}

/// A client that does not read what waits for it, and the one that sent that.
fn stuck(broker: &Broker) -> (Client, Client) {
    let topic = unique("stuck");
    let mut stuck = Client::v4(broker, &unique("stuck"));
    stuck.subscribe(&topic, 0);
    let mut publisher = Client::v5(broker, &unique("pub"));
    for _ in 0..64 {
        publisher.publish(&topic, vec![b'x'; 256 * 1024], 0);
    }
    publisher.ping();
    (stuck, publisher)
}

#[test]
fn a_client_that_does_not_read_does_not_hold_up_the_end() {
    let broker = Broker::builder().start();
    let (_stuck, mut publisher) = stuck(&broker);
    let start = Instant::now();
    broker.signal("TERM");
    publisher.expect_disconnect(0x8B);
    ends_well(&broker, start);
}

/// Whoever sends clients here must know early that this process ends, and that it still lives.
#[test]
fn a_draining_broker_is_healthy_but_not_ready() {
    let broker = Broker::builder().start();
    let (stuck, mut publisher) = stuck(&broker);
    let status = |path| http_client::get(broker.http(), path).status;
    assert_eq!(status("/readyz"), 200);
    let start = Instant::now();
    broker.signal("TERM");
    // What the stuck client has not read keeps the drain open.
    eventually!(status("/readyz") == 503);
    assert_eq!(status("/healthz"), 200);
    publisher.expect_disconnect(0x8B);
    drop(stuck);
    ends_well(&broker, start);
}

#[test]
fn an_idle_broker_ends_at_once() {
    let broker = Broker::builder().start();
    let start = Instant::now();
    broker.signal("TERM");
    ends_well(&broker, start);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        start.elapsed()
    );
}

#[test]
fn sigint_ends_it_too() {
    let broker = Broker::builder().start();
    let mut client = Client::v5(&broker, &unique("int"));
    let start = Instant::now();
    broker.signal("INT");
    client.expect_disconnect(0x8B);
    ends_well(&broker, start);
}

fn sessions_and_messages_are_there_after_a_restart(way: &str) {
    let broker = Broker::builder().storage(way).start();
    let (topic, kept) = (unique("drain"), unique("kept"));
    let online = Connect::persistent(5, unique("online"));
    let away = Connect::persistent(4, unique("away"));
    let mut client = Client::connect(&broker, &online).0;
    client.subscribe(&topic, 1);
    let mut other = Client::connect(&broker, &away).0;
    other.subscribe(&topic, 2);
    other.disconnect();
    let mut publisher = Client::v5(&broker, &unique("pub"));
    publisher.publish(&topic, b"one", 1);
    publisher.publish(&topic, b"two", 2);
    publisher.publish_retained(&kept, b"kept", 1);
    assert_eq!(client.receive().payload, b"one");

    let start = Instant::now();
    broker.signal("TERM");
    ends_well(&broker, start);
    broker.restart();

    let (mut client, connack) = Client::connect(&broker, &online);
    assert!(connack.session_present);
    let rest = client.receive();
    assert_eq!((rest.payload.as_slice(), rest.qos), (&b"two"[..], 1));
    client.expect_silence(100);
    client.subscribe(&kept, 0);
    assert_eq!(client.receive().payload, b"kept");
    let (mut other, connack) = Client::connect(&broker, &away);
    assert!(connack.session_present);
    assert_eq!(other.receive().payload, b"one");
    assert_eq!(other.receive().payload, b"two");
    Client::v4(&broker, &unique("pub")).publish(&topic, b"three", 1);
    assert_eq!(client.recv_kind(wire::PUBLISH).publish(5).payload, b"three");
    assert_eq!(other.receive().payload, b"three");
}

#[test]
fn redb_keeps_sessions_and_messages_over_a_drain() {
    sessions_and_messages_are_there_after_a_restart("redb");
}

#[test]
fn fjall_keeps_sessions_and_messages_over_a_drain() {
    sessions_and_messages_are_there_after_a_restart("fjall");
}

#[test]
fn the_will_of_a_drained_client_is_not_lost() {
    let broker = Broker::builder().storage("redb").start();
    let topic = unique("drainwill");
    let watcher = Connect::persistent(5, unique("watcher"));
    Client::connect(&broker, &watcher).0.subscribe(&topic, 1);
    let dying = Connect::new(4, unique("dying")).will(Will::new(&topic, b"gone").qos(1));
    let mut dying = Client::connect(&broker, &dying).0;
    let start = Instant::now();
    broker.signal("TERM");
    dying.expect_closed();
    ends_well(&broker, start);
    broker.restart();
    let mut watcher = Client::connect(&broker, &watcher).0;
    assert_eq!(watcher.receive().payload, b"gone");
    watcher.expect_silence(200);
}
