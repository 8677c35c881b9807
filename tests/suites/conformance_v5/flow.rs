//! Chapters 3.3.4 and 4.9: Receive Maximum as the quota of each side.

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, unique,
    wire::{self, property},
};

use super::scene::{client, client_with, ends, receive_maximum, send_publish};

/// A subscriber with this Receive Maximum, for whom five messages are there.
#[track_caller]
fn five_for(broker: &Broker, maximum: u16, qos: u8) -> (Client, String) {
    let topic = unique("f");
    let mut subscriber = client_with(broker, receive_maximum(maximum));
    subscriber.subscribe(&topic, 2);
    let mut publisher = client(broker);
    for number in 0..5u8 {
        publisher.publish(&topic, [number], qos);
    }
    (subscriber, topic)
}

/// The next message, by its number; its packet id.
#[track_caller]
fn expect_number(subscriber: &mut Client, number: u8) -> u16 {
    let publish = subscriber.expect_publish();
    assert_eq!(publish.payload, [number], "{publish:?}");
    publish.id.expect("QoS 1 and 2 have an id")
}

#[test]
fn mqtt_3_3_4_9_no_more_than_receive_maximum_is_on_its_way_to_the_client() {
    let broker = Broker::shared();
    for qos in [1, 2] {
        let (mut subscriber, _) = five_for(&broker, 2, qos);
        expect_number(&mut subscriber, 0);
        expect_number(&mut subscriber, 1);
        subscriber.expect_silence(300); // [MQTT-4.9.0-1] [MQTT-4.9.0-2]
    }
}

#[test]
fn mqtt_4_9_0_2_puback_gives_the_quota_back() {
    let broker = Broker::shared();
    let (mut subscriber, _) = five_for(&broker, 2, 1);
    let first = expect_number(&mut subscriber, 0);
    let second = expect_number(&mut subscriber, 1);
    // The order of acknowledgements does not matter; each gives room for one.
    subscriber.send(&wire::ack(wire::PUBACK, second));
    let third = expect_number(&mut subscriber, 2);
    subscriber.expect_silence(150);
    for id in [first, third] {
        subscriber.send(&wire::ack(wire::PUBACK, id));
    }
    expect_number(&mut subscriber, 3);
    expect_number(&mut subscriber, 4);
}

#[test]
fn mqtt_4_9_0_2_pubcomp_and_not_pubrec_gives_the_quota_back() {
    let broker = Broker::shared();
    let (mut subscriber, _) = five_for(&broker, 1, 2);
    let id = expect_number(&mut subscriber, 0);
    subscriber.send(&wire::ack(wire::PUBREC, id));
    subscriber.expect_ack(wire::PUBREL, id);
    subscriber.expect_silence(200);
    subscriber.send(&wire::ack(wire::PUBCOMP, id));
    expect_number(&mut subscriber, 1);
}

#[test]
fn mqtt_4_9_0_2_a_refusing_acknowledgement_gives_the_quota_back() {
    let broker = Broker::shared();
    for (qos, kind) in [(1, wire::PUBACK), (2, wire::PUBREC)] {
        let (mut subscriber, _) = five_for(&broker, 1, qos);
        for number in 0..5 {
            let id = expect_number(&mut subscriber, number);
            subscriber.send(&wire::ack_with(kind, id, 0x83, &Properties::new()));
        }
        subscriber.expect_silence(100);
    }
}

#[test]
fn mqtt_4_9_0_3_everything_else_goes_on_without_quota() {
    let broker = Broker::shared();
    let (mut subscriber, topic) = five_for(&broker, 1, 1);
    expect_number(&mut subscriber, 0);
    // [MQTT-3.3.4-10]: requests, pings, its own publishes, and messages of QoS 0.
    subscriber.ping();
    let other = unique("f");
    assert_eq!(subscriber.subscribe(&other, 0), 0);
    subscriber.publish(&unique("f"), b"x", 1);
    subscriber.publish(&unique("f"), b"x", 2);
    client(&broker).publish(&other, b"qos 0", 0);
    let got = subscriber.expect_publish();
    assert_eq!((got.qos, got.payload), (0, b"qos 0".to_vec()));
    assert_eq!(subscriber.unsubscribe(&[&topic]).codes, [0]);
}

#[test]
fn mqtt_3_3_4_9_the_quota_starts_anew_with_each_connection() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("f"));
    let with = |maximum: u16| {
        let properties = super::scene::session_expiry(60).two(property::RECEIVE_MAXIMUM, maximum);
        Connect::persistent(5, &id).properties(properties)
    };
    let (mut before, _) = Client::connect(&broker, &with(4));
    before.subscribe(&topic, 1);
    let mut publisher = client(&broker);
    for number in 0..6u8 {
        publisher.publish(&topic, [number], 1);
    }
    let ids: Vec<_> = (0..4)
        .map(|number| expect_number(&mut before, number))
        .collect();
    before.cut();
    // Four are on their way, but the new connection takes one at a time.
    let (mut after, _) = Client::connect(&broker, &with(1));
    for number in 0..6u8 {
        let publish = after.expect_publish();
        assert_eq!((publish.payload[0], publish.dup), (number, number < 4));
        let known = ids.get(usize::from(number)).copied();
        assert!(
            known.is_none() || known == publish.id,
            "[MQTT-4.4.0-1] {publish:?}"
        );
        if number == 0 {
            after.expect_silence(150);
        }
        after.acknowledge(&publish);
    }
}

#[test]
fn mqtt_3_3_4_7_more_than_the_servers_receive_maximum_is_refused() {
    let broker = Broker::shared();
    let (mut publisher, connack) = Client::connect(&broker, &Connect::new(5, unique("c")));
    let maximum = connack.properties.number(property::RECEIVE_MAXIMUM);
    let maximum = u16::try_from(maximum.unwrap_or(65_535)).expect("two bytes");
    if maximum == 65_535 {
        // Every id that there is: the limit cannot be passed.
        return;
    }
    let topic = unique("f");
    let burst: Vec<u8> = (1..=maximum)
        .flat_map(|id| Publish::new(&topic, b"x").qos(2, id).bytes(5))
        .collect();
    publisher.send(&burst);
    for id in 1..=maximum {
        publisher.expect_ack(wire::PUBREC, id);
    }
    send_publish(&mut publisher, &topic, b"x", 2, maximum + 1);
    ends(&mut publisher, &[0x93]);
}

#[test]
fn mqtt_3_3_4_7_finished_exchanges_count_no_more() {
    let broker = Broker::shared();
    let (mut publisher, connack) = Client::connect(&broker, &Connect::new(5, unique("c")));
    let maximum = connack.properties.number(property::RECEIVE_MAXIMUM);
    let rounds = maximum.filter(|maximum| *maximum < 5000).unwrap_or(100) + 50;
    let topic = unique("f");
    for round in 0..rounds {
        publisher.publish(&topic, b"x", if round % 10 == 0 { 2 } else { 1 });
    }
    // A QoS 2 message sent twice is one message.
    send_publish(&mut publisher, &topic, b"x", 2, 60_000);
    publisher.expect_ack(wire::PUBREC, 60_000);
    for _ in 0..rounds {
        publisher.send(&Publish::new(&topic, b"x").qos(2, 60_000).dup().bytes(5));
        publisher.expect_ack(wire::PUBREC, 60_000);
    }
    publisher.ping();
}
