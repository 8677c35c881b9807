//! Chapter 3.1.2.5: when the will is published, and when not.

use gatemq_tests::{Broker, Client, Connect, Publish, Will, unique, wire};

use super::client;

/// A watcher of the topic and a client with a will on it.
fn watched(broker: &Broker, topic: &str, will: Will) -> (Client, Client) {
    let mut watcher = client(broker);
    watcher.subscribe(topic, 2);
    let (mortal, _) = Client::connect(broker, &Connect::new(4, unique("mortal")).will(will));
    (watcher, mortal)
}

/// The next thing that the watcher sees is this marker: nothing came before.
#[track_caller]
fn nothing_came(broker: &Broker, watcher: &mut Client, topic: &str) {
    client(broker).publish(topic, "marker", 1);
    assert_eq!(watcher.receive().payload, b"marker");
}

#[test]
fn mqtt311_3_1_2_8_a_cut_connection_publishes_the_will() {
    let broker = Broker::shared();
    for qos in 0..3 {
        let topic = unique("will");
        let will = Will::new(&topic, "gone").qos(qos);
        let (mut watcher, mortal) = watched(&broker, &topic, will);
        mortal.cut();
        let publish = watcher.receive(); // [MQTT-3.1.2-8] [MQTT-3.1.2-9]
        assert_eq!((publish.payload, publish.qos), (b"gone".to_vec(), qos));
    }
}

#[test]
fn mqtt311_3_1_2_8_a_protocol_error_publishes_the_will() {
    let broker = Broker::shared();
    let topic = unique("will");
    let (mut watcher, mut mortal) = watched(&broker, &topic, Will::new(&topic, "error"));
    mortal.send(&Publish::new("a", "x").qos(3, 1).bytes(4));
    mortal.expect_closed();
    assert_eq!(watcher.receive().payload, b"error"); // [MQTT-3.1.2-8]
}

#[test]
fn mqtt311_3_1_2_8_a_takeover_publishes_the_will() {
    let broker = Broker::shared();
    let (topic, id) = (unique("will"), unique("mortal"));
    let mut watcher = client(&broker);
    watcher.subscribe(&topic, 0);
    let connect = Connect::new(4, &id).will(Will::new(&topic, "taken over"));
    let (mut first, _) = Client::connect(&broker, &connect);
    let _second = Client::v4(&broker, &id);
    first.expect_closed();
    assert_eq!(watcher.receive().payload, b"taken over"); // [MQTT-3.1.2-8]
}

#[test]
fn mqtt311_3_1_2_10_the_will_is_published_once() {
    let broker = Broker::shared();
    let (topic, id) = (unique("will"), unique("mortal"));
    let mut watcher = client(&broker);
    watcher.subscribe(&topic, 0);
    let connect = Connect::persistent(4, &id).will(Will::new(&topic, "once"));
    Client::connect(&broker, &connect).0.cut();
    assert_eq!(watcher.receive().payload, b"once");
    let (client, connack) = Client::connect(&broker, &Connect::persistent(4, &id));
    assert!(connack.session_present);
    client.cut();
    nothing_came(&broker, &mut watcher, &topic); // [MQTT-3.1.2-10] [MQTT-3.1.2-12]
}

#[test]
fn mqtt311_3_1_2_12_without_will_flag_nothing_is_published() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = client(&broker);
    watcher.subscribe(&topic, 0);
    client(&broker).cut();
    nothing_came(&broker, &mut watcher, &topic); // [MQTT-3.1.2-12]
}

#[test]
fn mqtt311_3_14_4_3_disconnect_discards_the_will() {
    let broker = Broker::shared();
    let topic = unique("will");
    let (mut watcher, mortal) = watched(&broker, &topic, Will::new(&topic, "wrong"));
    mortal.disconnect();
    nothing_came(&broker, &mut watcher, &topic); // [MQTT-3.14.4-3] [MQTT-3.1.2-10]
}

#[test]
fn mqtt311_3_1_2_16_a_will_without_retain_is_not_retained() {
    let broker = Broker::shared();
    let topic = unique("will");
    let (mut watcher, mortal) = watched(&broker, &topic, Will::new(&topic, "passing"));
    mortal.cut();
    assert!(!watcher.receive().retain);
    let mut late = client(&broker);
    late.subscribe(&topic, 0);
    nothing_came(&broker, &mut late, &topic); // [MQTT-3.1.2-16]
}

#[test]
fn mqtt311_3_1_2_17_a_will_with_retain_is_retained() {
    let broker = Broker::shared();
    let topic = unique("will");
    let (mut watcher, mortal) = watched(&broker, &topic, Will::new(&topic, "kept").qos(1).retain());
    mortal.cut();
    assert!(!watcher.receive().retain);
    let mut late = client(&broker);
    late.subscribe(&topic, 1);
    let publish = late.receive();
    assert_eq!((publish.payload, publish.retain), (b"kept".to_vec(), true)); // [MQTT-3.1.2-17]
    client(&broker).publish_retained(&topic, "", 0);
}

#[test]
fn mqtt311_3_14_1_1_a_disconnect_with_flags_is_no_disconnect() {
    let broker = Broker::shared();
    let topic = unique("will");
    let (mut watcher, mut mortal) = watched(&broker, &topic, Will::new(&topic, "malformed"));
    mortal.send(&wire::frame(0xE1, &[]));
    mortal.expect_closed(); // [MQTT-3.14.1-1]
    assert_eq!(watcher.receive().payload, b"malformed");
}

#[test]
fn a_will_topic_with_wildcard_is_refused() {
    for topic in ["a/#", "+/a", "#"] {
        let connect = Connect::new(4, unique("will")).will(Will::new(topic, "x"));
        let broker = Broker::shared();
        let mut client = Client::connect_tcp(broker.tcp());
        client.send(&connect.bytes());
        let answer = client.closing().expect(topic);
        assert!(
            !answer.iter().any(|packet| packet.body.get(1) == Some(&0)),
            "{topic}"
        );
    }
}
