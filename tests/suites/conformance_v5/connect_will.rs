//! Chapters 3.1.2.5 to 3.1.2.7 and 3.1.3.2: the will, its properties, its delay, and its end.

use std::time::{Duration, Instant};

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, Will, patience, unique,
    wire::{self, property},
};

use super::scene::{client, drops_connect, ends, nothing_before_marker, session_expiry};

/// A watcher of a new topic, which is the will's.
fn watch(broker: &Broker, options: u8) -> (Client, String) {
    let topic = unique("will");
    let mut watcher = client(broker);
    watcher.subscribe(&topic, options);
    (watcher, topic)
}

/// A client with this will, and a session of an hour where asked.
#[track_caller]
fn mortal(broker: &Broker, will: Will, expiry: u32) -> Client {
    let connect = Connect::new(5, unique("mortal"));
    Client::connect(
        broker,
        &connect.properties(session_expiry(expiry)).will(will),
    )
    .0
}

fn delay(seconds: u32) -> Properties {
    Properties::new().four(property::WILL_DELAY_INTERVAL, seconds)
}

#[test]
fn mqtt_3_1_2_7_the_will_is_kept_and_published_when_the_connection_breaks() {
    let broker = Broker::shared();
    let (mut watcher, topic) = watch(&broker, 2);
    for qos in 0..3 {
        // [MQTT-3.1.2-8] [MQTT-3.1.2-9]
        mortal(&broker, Will::new(&topic, "last words").qos(qos), 0).cut();
        let got = watcher.receive();
        assert_eq!((got.qos, got.payload), (qos, b"last words".to_vec()));
        assert!(!got.retain && !got.dup);
    }
}

#[test]
fn mqtt_3_1_2_9_a_will_flag_announces_properties_topic_and_payload() {
    let broker = Broker::shared();
    let (properties, topic, payload) = (vec![0], wire::text("will/topic"), wire::text("x"));
    let cases = [
        vec![],
        properties.clone(),
        topic.clone(),
        [properties.clone(), topic.clone()].concat(),
        [properties.clone(), payload.clone()].concat(),
        [topic.clone(), payload.clone()].concat(),
    ];
    for fields in cases {
        let connect = Connect::new(5, unique("c")).flags(0x06);
        let body = [connect.body(), fields.clone()].concat();
        drops_connect(&broker, &wire::frame(0x10, &body)); // [MQTT-3.1.2-9]
    }
    let connect = Connect::new(5, unique("c")).flags(0x06);
    let whole = [connect.body(), properties, topic, payload].concat();
    let mut client = Client::connect_tcp(broker.tcp());
    client.send(&wire::frame(0x10, &whole));
    assert_eq!(client.recv().connack(5).code, 0);
}

#[test]
fn mqtt_3_1_2_8_the_will_is_published_whatever_ends_the_connection() {
    let broker = Broker::shared();
    let (mut watcher, topic) = watch(&broker, 0);
    // A protocol error.
    let mut client = mortal(&broker, Will::new(&topic, "error"), 0);
    client.send(&Connect::new(5, unique("c")).bytes());
    assert_eq!(watcher.receive().payload, b"error");
    // The keep alive.
    let connect = Connect::new(5, unique("c")).keep_alive(1);
    let (_silent, _) = Client::connect(&broker, &connect.will(Will::new(&topic, "silence")));
    assert_eq!(watcher.receive().payload, b"silence");
    // Another connection of the same id.
    let id = unique("c");
    let connect = Connect::new(5, &id).will(Will::new(&topic, "taken over"));
    let (mut old, _) = Client::connect(&broker, &connect);
    let _new = Client::v5(&broker, &id);
    assert_eq!(watcher.receive().payload, b"taken over");
    ends(&mut old, &[0x8E]);
}

#[test]
fn mqtt_3_1_2_10_the_will_is_gone_once_published() {
    let broker = Broker::shared();
    let (mut watcher, topic) = watch(&broker, 0);
    let id = unique("c");
    let with = Connect::persistent(5, &id).will(Will::new(&topic, "once"));
    Client::connect(&broker, &with).0.cut();
    assert_eq!(watcher.receive().payload, b"once");
    // The session goes on without a will.
    let without = Connect::persistent(5, &id);
    let (again, connack) = Client::connect(&broker, &without);
    assert!(connack.session_present);
    again.cut();
    nothing_before_marker(&mut watcher, &mut client(&broker));
}

#[test]
fn mqtt_3_14_4_3_a_normal_disconnect_discards_the_will() {
    let broker = Broker::shared();
    let (mut watcher, topic) = watch(&broker, 0);
    mortal(&broker, Will::new(&topic, "x"), 0).disconnect(); // [MQTT-3.1.2-10]
    let mut long = mortal(&broker, Will::new(&topic, "x"), 0);
    long.send(&wire::disconnect_with(0, &Properties::new()));
    long.until_closed();
    // Also one that has a delay and a session to go with it.
    mortal(&broker, Will::new(&topic, "x").properties(delay(1)), 60).disconnect();
    patience::pause(Duration::from_millis(1500));
    nothing_before_marker(&mut watcher, &mut client(&broker));
}

#[test]
fn mqtt_3_1_2_8_disconnect_with_will_publishes_it() {
    let broker = Broker::shared();
    let (mut watcher, topic) = watch(&broker, 0);
    for reason in [0x04, 0x80, 0x83, 0x97] {
        let mut client = mortal(&broker, Will::new(&topic, [reason]), 0);
        client.send(&wire::disconnect_with(reason, &Properties::new()));
        client.expect_closed();
        assert_eq!(watcher.receive().payload, [reason]);
    }
}

#[test]
fn mqtt_3_1_2_14_a_will_is_not_retained_unless_asked() {
    let broker = Broker::shared();
    let (mut watcher, topic) = watch(&broker, 0x08);
    mortal(&broker, Will::new(&topic, "passing"), 0).cut();
    assert!(!watcher.receive().retain);
    let mut later = client(&broker);
    later.subscribe(&topic, 0);
    later.expect_silence(200);
}

#[test]
fn mqtt_3_1_2_15_a_will_is_retained_when_asked() {
    let broker = Broker::shared();
    let (mut watcher, topic) = watch(&broker, 0x08);
    mortal(&broker, Will::new(&topic, "lasting").retain().qos(1), 0).cut();
    assert!(watcher.receive().retain);
    let mut later = client(&broker);
    later.subscribe(&topic, 1);
    let got = later.receive();
    assert_eq!((got.payload, got.retain), (b"lasting".to_vec(), true));
    later.publish_retained(&topic, b"", 0);
}

#[test]
fn mqtt_3_1_3_10_will_properties_go_with_the_message() {
    let broker = Broker::shared();
    let (mut watcher, topic) = watch(&broker, 1);
    let properties = delay(0)
        .byte(property::PAYLOAD_FORMAT_INDICATOR, 1)
        .four(property::MESSAGE_EXPIRY_INTERVAL, 100)
        .text(property::CONTENT_TYPE, "text/plain")
        .text(property::RESPONSE_TOPIC, "answer/here")
        .binary(property::CORRELATION_DATA, b"\x00\x01\xff")
        .user("z", "1")
        .user("a", "2")
        .user("z", "1");
    mortal(
        &broker,
        Will::new(&topic, "text").qos(1).properties(properties),
        0,
    )
    .cut();
    let got = watcher.receive().properties;
    assert_eq!(got.number(property::PAYLOAD_FORMAT_INDICATOR), Some(1));
    let expiry = got.number(property::MESSAGE_EXPIRY_INTERVAL);
    assert!(matches!(expiry, Some(99 | 100)), "{expiry:?}");
    assert_eq!(got.string(property::CONTENT_TYPE), Some("text/plain"));
    assert_eq!(got.string(property::RESPONSE_TOPIC), Some("answer/here"));
    let data = got.data(property::CORRELATION_DATA);
    assert_eq!(data, Some(&b"\x00\x01\xff"[..]));
    assert_eq!(got.users(), [("z", "1"), ("a", "2"), ("z", "1")]); // [MQTT-3.1.3-10]
    assert!(!got.has(property::WILL_DELAY_INTERVAL));
}

#[test]
fn mqtt_3_1_3_2_2_the_will_waits_for_its_delay() {
    let broker = Broker::shared();
    let (mut watcher, topic) = watch(&broker, 0);
    let start = Instant::now();
    mortal(&broker, Will::new(&topic, "late").properties(delay(2)), 60).cut();
    assert_eq!(watcher.receive().payload, b"late");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(1800), "too early: {took:?}");
    assert!(took < Duration::from_secs(5), "too late: {took:?}");
}

#[test]
fn mqtt_3_1_3_2_2_the_will_does_not_outlast_the_session() {
    let broker = Broker::shared();
    let (mut watcher, topic) = watch(&broker, 0);
    // The session ends with the connection.
    let start = Instant::now();
    mortal(&broker, Will::new(&topic, "now").properties(delay(60)), 0).cut();
    assert_eq!(watcher.receive().payload, b"now");
    assert!(start.elapsed() < Duration::from_secs(4));
    // The session ends a second later.
    mortal(&broker, Will::new(&topic, "soon").properties(delay(60)), 1).cut();
    assert_eq!(watcher.receive().payload, b"soon");
    // The session ends by a Clean Start of the same id.
    let id = unique("c");
    let will = Will::new(&topic, "clean").properties(delay(60));
    Client::connect(&broker, &Connect::persistent(5, &id).will(will))
        .0
        .cut();
    let _new = Client::v5(&broker, &id);
    assert_eq!(watcher.receive().payload, b"clean");
}

#[test]
fn mqtt_3_1_3_9_a_new_connection_in_time_cancels_the_will() {
    let broker = Broker::shared();
    let (mut watcher, topic) = watch(&broker, 0);
    let id = unique("c");
    let will = Will::new(&topic, "x").properties(delay(1));
    let connect = Connect::persistent(5, &id).will(will);
    Client::connect(&broker, &connect).0.cut();
    let without = Connect::persistent(5, &id);
    let (mut back, connack) = Client::connect(&broker, &without);
    assert!(connack.session_present);
    patience::pause(Duration::from_millis(1700));
    nothing_before_marker(&mut watcher, &mut client(&broker));
    // So does a takeover: the session lives on, and with it the delay ends.
    let (mut first, _) = Client::connect(&broker, &connect);
    ends(&mut back, &[0x8E]);
    let (_second, _) = Client::connect(&broker, &without);
    ends(&mut first, &[0x8E]);
    patience::pause(Duration::from_millis(1700));
    nothing_before_marker(&mut watcher, &mut client(&broker));
}

#[test]
fn mqtt_3_1_3_11_will_topic_is_taken_as_it_is() {
    let broker = Broker::shared();
    let topic = format!("{}/ \u{e9}\u{1f600}//", unique("will"));
    let mut watcher = client(&broker);
    watcher.subscribe(&topic, 0);
    mortal(&broker, Will::new(&topic, ""), 0).cut();
    let got = watcher.receive();
    assert_eq!((got.topic, got.payload), (topic, Vec::new()));
}

#[test]
fn mqtt_3_1_2_15_an_empty_retained_will_clears_the_topic() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut publisher = client(&broker);
    publisher.publish_packet(Publish::new(&topic, "kept").retain());
    let mut watcher = client(&broker);
    watcher.subscribe(&topic, 0);
    assert_eq!(watcher.receive().payload, b"kept");
    mortal(&broker, Will::new(&topic, "").retain(), 0).cut();
    assert_eq!(watcher.receive().payload, b"");
    let mut later = client(&broker);
    later.subscribe(&topic, 0);
    later.expect_silence(200);
}
