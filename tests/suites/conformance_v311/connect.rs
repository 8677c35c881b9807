//! Chapter 3.1: which CONNECT is taken, which is refused and how.

use std::time::{Duration, Instant};

use gatemq_tests::{Broker, Client, Connect, Publish, Will, pause, unique, wire};

use super::{client, is_no_connect, violates};

#[test]
fn mqtt311_3_1_0_1_the_first_packet_is_connect() {
    let others = [
        Publish::new("a", "x").bytes(4),
        wire::ack(wire::PUBACK, 1),
        wire::ack(wire::PUBREL, 1),
        wire::subscribe(4, 1, &Default::default(), &[("a", 0)]),
        wire::unsubscribe(4, 1, &Default::default(), &["a"]),
        wire::pingreq(),
        wire::disconnect(),
        vec![0xF0, 0],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ];
    for bytes in others {
        is_no_connect("first packet", &bytes); // [MQTT-3.1.0-1]
    }
}

#[test]
fn mqtt311_3_1_0_2_a_second_connect_closes() {
    violates("second CONNECT", &Connect::new(4, unique("second")).bytes()); // [MQTT-3.1.0-2]
}

#[test]
fn mqtt311_3_1_2_1_a_wrong_protocol_name_is_not_served() {
    let broker = Broker::shared();
    for name in ["", "mqtt", "MQTX", "MQTTT", "MQISDP", "HTTP"] {
        let mut client = Client::connect_tcp(broker.tcp());
        client.send(&Connect::new(4, unique("name")).protocol(name).bytes());
        let answer = client.closing().expect(name);
        let accepted = |packet: &wire::Packet| packet.body.get(1) == Some(&0);
        assert!(!answer.iter().any(accepted), "{name}: {answer:?}"); // [MQTT-3.1.2-1]
    }
}

#[test]
fn mqtt311_3_1_2_2_an_unknown_level_is_refused_with_1() {
    let broker = Broker::shared();
    for level in [0, 1, 2, 6, 127] {
        let mut connect = Connect::new(4, unique("level"));
        connect.level = level;
        let mut client = Client::connect_tcp(broker.tcp());
        client.send(&connect.bytes());
        let body = client.recv().expect(wire::CONNACK).body;
        // To a client from the future the answer may be that of 5.0 [MQTT-3.1.2-2].
        let refused = body == [0, 1] || (level > 5 && body.starts_with(&[0, 0x84]));
        assert!(refused, "level {level}: {body:02x?}"); // [MQTT-3.1.2-2]
        client.expect_closed();
    }
}

#[test]
fn mqtt311_3_1_2_3_the_reserved_flag_is_zero() {
    is_no_connect(
        "reserved flag",
        &Connect::new(4, unique("flag")).flags(0b11).bytes(),
    );
}

#[test]
fn mqtt311_3_1_2_24_a_silent_client_is_disconnected_after_one_and_a_half_keep_alives() {
    let broker = Broker::shared();
    let topic = unique("silent");
    let mut watcher = client(&broker);
    watcher.subscribe(&topic, 0);
    let connect = Connect::new(4, unique("silent"))
        .keep_alive(2)
        .will(Will::new(&topic, "network failed"));
    let (mut silent, _) = Client::connect(&broker, &connect);
    let start = Instant::now();
    silent.set_limit(Duration::from_secs(8));
    silent.expect_closed(); // [MQTT-3.1.2-24]
    let took = start.elapsed().as_millis();
    assert!(
        (2_500..5_000).contains(&took),
        "closed after {took} ms instead of 3,000"
    );
    assert_eq!(watcher.receive().payload, b"network failed"); // [MQTT-3.1.2-8]
}

#[test]
fn mqtt311_3_1_2_24_any_packet_keeps_the_connection_alive() {
    let broker = Broker::shared();
    let connect = Connect::new(4, unique("alive")).keep_alive(2);
    let (mut pinger, _) = Client::connect(&broker, &connect);
    let connect = Connect::new(4, unique("alive")).keep_alive(2);
    let (mut publisher, _) = Client::connect(&broker, &connect);
    for _ in 0..5 {
        pause(Duration::from_millis(1_000));
        pinger.ping();
        publisher.publish("alive", "x", 1);
    }
}

#[test]
fn mqtt311_3_1_2_24_keep_alive_zero_is_for_ever() {
    let broker = Broker::shared();
    let mut client = client(&broker);
    client.expect_silence(2_500);
    client.ping();
}

#[test]
fn mqtt311_3_1_3_2_the_client_id_names_the_session() {
    let broker = Broker::shared();
    let (one, other) = (unique("one"), unique("other"));
    let (mut client, _) = Client::connect(&broker, &Connect::persistent(4, &one));
    client.subscribe(&unique("topic"), 1);
    client.disconnect();
    let (_client, connack) = Client::connect(&broker, &Connect::persistent(4, &other));
    assert!(!connack.session_present); // [MQTT-3.1.3-2]
    let (_client, connack) = Client::connect(&broker, &Connect::persistent(4, &one));
    assert!(connack.session_present);
}

#[test]
fn mqtt311_3_1_3_5_ordinary_client_ids_are_taken() {
    let broker = Broker::shared();
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for length in [1, 2, 22, 23] {
        for start in 0..=all.len() - length {
            if length > 2 && start % 13 > 0 {
                continue;
            }
            Client::v4(&broker, &all[start..start + length]); // [MQTT-3.1.3-5]
        }
    }
}

#[test]
fn mqtt311_3_1_3_6_an_empty_client_id_gets_one_of_its_own() {
    let broker = Broker::shared();
    let mut first = Client::v4(&broker, "");
    let mut second = Client::v4(&broker, "");
    let topic = unique("empty");
    first.subscribe(&topic, 0);
    second.publish(&topic, "x", 1); // [MQTT-3.1.3-6]
    assert_eq!(first.receive().payload, b"x");
}

#[test]
fn mqtt311_3_1_3_8_an_empty_client_id_without_clean_session_is_refused_with_2() {
    let broker = Broker::shared();
    let (mut client, connack) = Client::attempt(&broker, &Connect::new(4, "").clean(false));
    assert_eq!((connack.session_present, connack.code), (false, 2)); // [MQTT-3.1.3-8] [MQTT-3.1.3-9]
    client.expect_closed(); // [MQTT-3.2.2-5]
}

#[test]
fn mqtt311_3_1_4_1_a_cut_connect_closes_without_connack() {
    let connect = Connect::new(4, "id")
        .will(Will::new("will/topic", "will").qos(1))
        .username("user")
        .password("pass");
    let body = connect.body();
    for length in 0..body.len() {
        is_no_connect("cut", &wire::frame(0x10, &body[..length])); // [MQTT-3.1.4-1] [MQTT-3.2.2-6]
    }
    is_no_connect(
        "byte added",
        &wire::frame(0x10, &[&body[..], &[0]].concat()),
    );
}

#[test]
fn mqtt311_3_1_4_2_a_second_client_with_the_id_ends_the_first() {
    let broker = Broker::shared();
    let id = unique("twice");
    let mut first = Client::v4(&broker, &id);
    let mut second = Client::v4(&broker, &id);
    first.expect_closed(); // [MQTT-3.1.4-2]
    second.ping();
}

#[test]
fn mqtt311_3_1_4_5_nothing_after_a_refused_connect_is_processed() {
    let broker = Broker::shared();
    let topic = unique("refused");
    let mut watcher = client(&broker);
    watcher.subscribe(&topic, 0);
    let mut refused = Client::connect_tcp(broker.tcp());
    let connect = Connect::new(4, "").clean(false).bytes();
    refused.send(&[connect, Publish::new(&topic, "smuggled").bytes(4)].concat());
    assert_eq!(refused.recv().connack(4).code, 2);
    refused.expect_closed();
    client(&broker).publish(&topic, "marker", 0);
    assert_eq!(watcher.receive().payload, b"marker"); // [MQTT-3.1.4-5]
}

#[test]
fn packets_may_follow_connect_before_connack() {
    let broker = Broker::shared();
    let topic = unique("eager");
    let mut client = Client::connect_tcp(broker.tcp());
    let subscribe = wire::subscribe(4, 1, &Default::default(), &[(&topic, 0)]);
    let publish = Publish::new(&topic, "early").bytes(4);
    client.send(&[Connect::new(4, unique("eager")).bytes(), subscribe, publish].concat());
    assert_eq!(client.recv().connack(4).code, 0);
    // The message may come before SUBACK.
    assert_eq!(
        client.recv_kind(wire::SUBACK).suback(wire::SUBACK, 4).codes,
        [0]
    );
    assert_eq!(client.receive().payload, b"early");
}
