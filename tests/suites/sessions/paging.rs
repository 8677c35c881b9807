//! Long queues and small windows: everything comes, in order, and never more than is asked for.

use std::time::Duration;

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, unique,
    wire::{self, property},
};

use super::restart::{End, resume};

const N_MESSAGES: u32 = 5_000;

/// Publishes numbered QoS 1 messages, many at a time.
fn publish_numbers(broker: &Broker, topic: &str, range: std::ops::Range<u32>) {
    let mut publisher = Client::v5(broker, &unique("pub"));
    publisher.set_limit(Duration::from_secs(20));
    let numbers: Vec<_> = range.collect();
    for batch in numbers.chunks(500) {
        let packets = batch.iter().zip(1..).map(|(number, id)| {
            Publish::new(topic, number.to_be_bytes())
                .qos(1, id)
                .bytes(5)
        });
        publisher.send(&packets.collect::<Vec<_>>().concat());
        for (_, id) in batch.iter().zip(1..) {
            assert!(publisher.expect_ack(wire::PUBACK, id).reason < 0x80);
        }
    }
}

fn narrow(window: u16) -> Connect {
    let properties = Properties::new()
        .four(property::SESSION_EXPIRY_INTERVAL, 3600)
        .two(property::RECEIVE_MAXIMUM, window);
    Connect::new(5, unique("narrow"))
        .clean(false)
        .properties(properties)
}

fn long_queue_through_a_window_of_10(way: &str, restart: bool) {
    let broker = Broker::builder().storage(way).start();
    let topic = unique("long");
    let connect = narrow(10);
    let mut client = Client::connect(&broker, &connect).0;
    client.subscribe(&topic, 1);
    client.disconnect();
    publish_numbers(&broker, &topic, 0..N_MESSAGES);
    if restart {
        End::Killed.restart(&broker);
    }
    let mut client = resume(&broker, &connect);
    let window: Vec<_> = (0..10).map(|_| client.expect_publish()).collect();
    client.expect_silence(200);
    for (publish, number) in window.iter().zip(0_u32..) {
        assert_eq!(publish.payload, number.to_be_bytes());
    }
    // Out of order: the places are what counts.
    for publish in window.iter().rev() {
        client.acknowledge(publish);
    }
    for number in 10..N_MESSAGES / 2 {
        assert_eq!(client.receive().payload, number.to_be_bytes());
    }
    // A pause half way does no harm, and what is new comes behind what is old.
    client.ping();
    client.cut();
    publish_numbers(&broker, &topic, N_MESSAGES..N_MESSAGES + 100);
    let mut client = resume(&broker, &connect);
    // What was on its way when the connection was cut comes first, again.
    let first = u32::from_be_bytes(client.receive().payload.try_into().expect("a number"));
    assert_eq!(first, N_MESSAGES / 2);
    for number in first + 1..N_MESSAGES + 100 {
        assert_eq!(client.receive().payload, number.to_be_bytes());
    }
    client.expect_silence(200);
}

#[test]
fn memory_pages_a_long_queue() {
    long_queue_through_a_window_of_10("memory", false);
}

#[test]
fn redb_pages_a_long_queue() {
    long_queue_through_a_window_of_10("redb", false);
}

#[test]
fn redb_pages_a_long_queue_after_a_kill() {
    long_queue_through_a_window_of_10("redb", true);
}

#[test]
fn fjall_pages_a_long_queue_after_a_kill() {
    long_queue_through_a_window_of_10("fjall", true);
}

/// A window of one: strictly one after the other, QoS 2 included.
#[test]
fn a_window_of_one() {
    let broker = Broker::shared();
    let topic = unique("one");
    let mut client = Client::connect(&broker, &narrow(1)).0;
    client.subscribe(&topic, 2);
    let mut publisher = Client::v5(&broker, &unique("pub"));
    for number in 0..20_u8 {
        publisher.publish(&topic, [number], 1 + number % 2);
    }
    for number in 0..20_u8 {
        let publish = client.expect_publish();
        assert_eq!(publish.payload, [number]);
        client.expect_silence(10);
        client.acknowledge(&publish);
    }
    // QoS 0 needs no place in the window.
    publisher.publish(&topic, b"one", 1);
    client.expect_publish();
    publisher.publish(&topic, b"zero", 0);
    assert_eq!(client.expect_publish().payload, b"zero");
}

/// The broker's own limit holds for those who set none.
#[test]
fn max_inflight_is_the_window_of_those_who_ask_for_none() {
    let broker = Broker::builder()
        .config("limits: {max-inflight: 7}\n")
        .start();
    let topic = unique("inflight");
    for level in [4, 5] {
        let mut client = Client::connect(&broker, &Connect::new(level, unique("wide"))).0;
        client.subscribe(&topic, 1);
        let mut publisher = Client::v5(&broker, &unique("pub"));
        for number in 0..20_u8 {
            publisher.publish(&topic, [number], 1);
        }
        let window: Vec<_> = (0..7).map(|_| client.expect_publish()).collect();
        client.expect_silence(200);
        for publish in &window {
            client.acknowledge(publish);
        }
        for number in 7..20_u8 {
            assert_eq!(client.receive().payload, [number], "level {level}");
        }
        client.disconnect();
    }
    let wide = Properties::new().two(property::RECEIVE_MAXIMUM, u16::MAX);
    let mut client = Client::connect(&broker, &Connect::new(5, unique("wide")).properties(wide)).0;
    client.subscribe(&topic, 1);
    publish_numbers(&broker, &topic, 0..20);
    let n_received = std::iter::from_fn(|| client.recv_within(Duration::from_millis(600))).count();
    assert_eq!(n_received, 7, "the smaller of both counts");
}

/// Packets that the client said are too large for it are left out, and nothing else is.
/// [MQTT-3.1.2-24] [MQTT-3.1.2-25]
#[test]
fn messages_too_large_for_the_client_are_skipped() {
    let broker = Broker::shared();
    let topic = unique("large");
    let properties = Properties::new()
        .four(property::SESSION_EXPIRY_INTERVAL, 60)
        .four(property::MAXIMUM_PACKET_SIZE, 200);
    let connect = Connect::new(5, unique("small"))
        .clean(false)
        .properties(properties);
    let mut client = Client::connect(&broker, &connect).0;
    client.subscribe(&topic, 2);
    let publish = || {
        let mut publisher = Client::v5(&broker, &unique("pub"));
        for qos in 0..3 {
            publisher.publish(&topic, [b'x'; 500], qos);
        }
        publisher.publish(&topic, b"fits", 1);
    };
    publish();
    assert_eq!(client.receive().payload, b"fits");
    client.expect_silence(100);
    client.cut();
    publish();
    let mut client = resume(&broker, &connect);
    assert_eq!(client.receive().payload, b"fits");
    client.expect_silence(100);
}
