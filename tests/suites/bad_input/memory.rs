//! F35: more than fits into the memory that the broker may have. It lets nobody in and takes no more
//! messages before it is killed for it, and goes on when there is memory again.

use std::{
    io::{ErrorKind, Write},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, eventually,
    patience::becomes_true,
    unique,
    wire::{self, Will, property},
};

use crate::listeners::http_client::{get, n_hits};

const SERVER_BUSY: u8 = 0x89;
/// What each broker may have.
const LIMIT_KIB: u64 = 200 << 10;

fn start() -> Broker {
    let yaml = "limits: {memory: 200MiB, max-queued-bytes: 4GiB, stuck-timeout: 10m}\n";
    let broker = Broker::builder().config(yaml).start();
    eventually!(broker.log().contains("memory: a limit holds"));
    broker
}

/// A subscriber to `m` that takes one message, and never says so: all others wait for it.
fn greedy(broker: &Broker) -> Client {
    let properties = Properties::new().two(property::RECEIVE_MAXIMUM, 1);
    let connect = Connect::new(5, unique("greedy")).properties(properties);
    let mut greedy = Client::connect(broker, &connect).0;
    greedy.subscribe("m", 1);
    greedy
}

fn has_metric(broker: &Broker, line: &str) -> bool {
    let metrics = get(broker.http(), "/metrics").body;
    metrics.lines().any(|found| found == line)
}

fn is_short(broker: &Broker) -> bool {
    has_metric(broker, "gateway_memory_level 2")
}

/// The CONNACK's code for somebody new.
fn knock(broker: &Broker, level: u8) -> u8 {
    Client::attempt(broker, &Connect::new(level, unique("new")))
        .1
        .code
}

#[test]
fn f35_who_publishes_waits_while_memory_is_short_and_nobody_is_let_in() {
    let broker = start();
    let greedy = greedy(&broker);
    let mut witness = Client::v5(&broker, &unique("witness"));
    witness.subscribe("gone", 1);
    let leaving = {
        let connect = Connect::new(5, unique("leaving")).will(Will::new("gone", "will").qos(1));
        Client::connect(&broker, &connect).0
    };
    let connect = Connect::new(5, unique("publisher")).keep_alive(2);
    let mut publisher = Client::connect(&broker, &connect).0;
    assert_eq!(knock(&broker, 5), 0);
    let held = (0..5_000).find_map(|_| {
        let id = publisher.next_id();
        publisher.send(&Publish::new("m", vec![b'x'; 200_000]).qos(1, id).bytes(5));
        for _ in 0..5 {
            match publisher.recv_within(Duration::from_secs(4)) {
                Some(puback) => {
                    assert!(puback.ack(wire::PUBACK, 5).reason < 0x80);
                    return None;
                }
                None if is_short(&broker) => return Some(id),
                None => {} // the machine is busy
            }
        }
        panic!("there is neither an answer nor a shortage");
    });
    let held = held.expect("at last a publish waits");
    assert!(broker.is_running(), "{}", broker.log());
    assert_eq!((knock(&broker, 5), knock(&broker, 4)), (SERVER_BUSY, 3));
    witness.ping();
    let ready = get(broker.http(), "/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("memory is short"), "{}", ready.body);
    // A will waits, too.
    leaving.cut();
    eventually!(has_metric(&broker, "gateway_clients_connected 3"));
    witness.send(&wire::pingreq());
    assert_eq!(witness.recv().kind, wire::PINGRESP, "and nothing before");
    assert!(is_short(&broker));
    assert!(n_hits(&broker, "memory") >= 3);
    // What was kept for it is free again, and everything goes on.
    greedy.cut();
    publisher.set_limit(Duration::from_secs(20));
    publisher.expect_ack(wire::PUBACK, held);
    publisher.publish("m", b"x", 1);
    assert_eq!(witness.receive().topic, "gone");
    assert_eq!(get(broker.http(), "/readyz").status, 200);
    let is_open = || knock(&broker, 5) == 0 && knock(&broker, 4) == 0;
    assert!(becomes_true(Duration::from_secs(20), is_open));
    eventually!(has_metric(&broker, "gateway_memory_level 0"));
    witness.ping();
    // Once, and not to and fro.
    let says = "there is memory again: clients are let in";
    eventually!(broker.log().contains(says));
    assert_eq!(broker.log().matches(says).count(), 1);
}

/// Writes a packet again and again, until nobody reads it because memory is short.
fn pour(mut stream: TcpStream, packets: impl Iterator<Item = Vec<u8>>, is_short: &AtomicBool) {
    let patience = Some(Duration::from_millis(500));
    stream.set_write_timeout(patience).expect("it can be set");
    for packet in packets {
        let mut rest = &packet[..];
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(n_bytes) => rest = &rest[n_bytes..],
                Err(error) => {
                    let is_full =
                        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                    assert!(is_full, "{error}");
                    if is_short.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        }
    }
    panic!("more was read than there may be");
}

/// Eight clients that publish as fast as they can, what is queued and what is retained.
#[test]
fn f35_a_crowd_that_publishes_takes_no_more_than_the_limit() {
    const PAYLOAD: usize = 50_000;
    /// Each could fill it by itself.
    const EACH: usize = (LIMIT_KIB as usize) * 1024 / PAYLOAD;
    let broker = start();
    let greedy = greedy(&broker);
    let short = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..8 {
            let mut stream = TcpStream::connect(broker.tcp()).expect("it listens");
            let connect = Connect::new(4, unique("crowd")).bytes();
            stream.write_all(&connect).expect("it is read");
            let packets = (0..EACH).map(move |at| {
                let payload = vec![b'x'; PAYLOAD];
                match number % 2 {
                    0 => {
                        let id = u16::try_from(at % 60_000 + 1).expect("small");
                        Publish::new("m", payload).qos(1, id).bytes(4)
                    }
                    _ => {
                        let topic = format!("kept/{number}/{at}");
                        Publish::new(&topic, payload).retain().bytes(4)
                    }
                }
            });
            let short = &short;
            scope.spawn(move || pour(stream, packets, short));
        }
        let limit = Duration::from_secs(60);
        let fills = becomes_true(limit, || is_short(&broker));
        short.store(true, Ordering::Relaxed);
        assert!(fills, "it never runs short");
    });
    assert!(broker.is_running(), "{}", broker.log());
    let peak = broker.peak_rss_kib();
    eprintln!("{peak} KiB at most");
    assert!(peak < LIMIT_KIB, "{peak} KiB");
    drop(greedy);
}
