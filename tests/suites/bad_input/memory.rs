//! F35: more than fits into the memory that the broker may have. It lets nobody in and takes no more
//! messages before it is killed for it, and goes on when there is memory again.

use std::time::Duration;

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, eventually,
    patience::becomes_true,
    unique,
    wire::{self, property},
};

use crate::listeners::http_client::{get, n_hits};

const SERVER_BUSY: u8 = 0x89;

/// The CONNACK's code for somebody new.
fn knock(broker: &Broker, level: u8) -> u8 {
    Client::attempt(broker, &Connect::new(level, unique("new")))
        .1
        .code
}

#[test]
fn f35_who_publishes_waits_while_memory_is_short_and_nobody_is_let_in() {
    let broker = Broker::builder()
        .config("limits: {memory: 200MiB, max-queued-bytes: 4GiB, stuck-timeout: 10m}\n")
        .start();
    // It takes one message, and never says so: all others wait for it.
    let properties = Properties::new().two(property::RECEIVE_MAXIMUM, 1);
    let connect = Connect::new(5, unique("greedy")).properties(properties);
    let mut greedy = Client::connect(&broker, &connect).0;
    greedy.subscribe("m", 1);
    let mut witness = Client::v5(&broker, &unique("witness"));
    let connect = Connect::new(5, unique("publisher")).keep_alive(2);
    let mut publisher = Client::connect(&broker, &connect).0;
    assert_eq!(knock(&broker, 5), 0);
    let is_short = || {
        let metrics = get(broker.http(), "/metrics").body;
        metrics.contains("gateway_memory_level 2")
    };
    let held = (0..5_000).find_map(|_| {
        let id = publisher.next_id();
        publisher.send(&Publish::new("m", vec![b'x'; 200_000]).qos(1, id).bytes(5));
        for _ in 0..5 {
            match publisher.recv_within(Duration::from_secs(4)) {
                Some(puback) => {
                    assert!(puback.ack(wire::PUBACK, 5).reason < 0x80);
                    return None;
                }
                None if is_short() => return Some(id),
                None => {} // the machine is busy
            }
        }
        panic!("there is neither an answer nor a shortage");
    });
    let held = held.expect("at last a publish waits");
    assert!(broker.is_running(), "{}", broker.log());
    assert_eq!((knock(&broker, 5), knock(&broker, 4)), (SERVER_BUSY, 3));
    witness.ping();
    assert_eq!(get(broker.http(), "/readyz").status, 200);
    assert!(is_short());
    assert!(n_hits(&broker, "memory") >= 3);
    // What was kept for it is free again, and everything goes on.
    greedy.cut();
    publisher.set_limit(Duration::from_secs(20));
    publisher.expect_ack(wire::PUBACK, held);
    publisher.publish("m", b"x", 1);
    let is_open = || knock(&broker, 5) == 0 && knock(&broker, 4) == 0;
    assert!(becomes_true(Duration::from_secs(20), is_open));
    eventually!(
        get(broker.http(), "/metrics")
            .body
            .contains("gateway_memory_level 0")
    );
    witness.ping();
    // Once, and not to and fro.
    let says = "there is memory again: clients are let in";
    eventually!(broker.log().contains(says));
    assert_eq!(broker.log().matches(says).count(), 1);
}
