//! Chapter 3.2: CONNACK comes first and says whether a session was there.

use gatemq_tests::{Broker, Client, Connect, unique};

use super::{client, keeper};

#[test]
fn mqtt311_3_2_0_1_connack_is_the_first_packet() {
    let broker = Broker::shared();
    let topic = unique("first");
    let (mut subscriber, id) = keeper(&broker);
    subscriber.subscribe(&topic, 1);
    subscriber.disconnect();
    client(&broker).publish(&topic, "waiting", 1);
    let mut subscriber = Client::connect_tcp(broker.tcp());
    subscriber.send(&Connect::persistent(4, &id).bytes());
    assert_eq!(subscriber.recv().connack(4).code, 0); // [MQTT-3.2.0-1] [MQTT-3.1.4-4]
    assert_eq!(subscriber.receive().payload, b"waiting");
}

#[test]
fn mqtt311_3_1_4_4_a_good_connect_is_accepted() {
    let broker = Broker::shared();
    let (_client, connack) = Client::attempt(&broker, &Connect::new(4, unique("good")));
    assert_eq!((connack.flags, connack.code), (0, 0)); // [MQTT-3.1.4-4]
}

#[test]
fn mqtt311_3_2_2_1_clean_session_says_no_session_present() {
    let broker = Broker::shared();
    let (client, id) = keeper(&broker);
    client.disconnect();
    let (_client, connack) = Client::connect(&broker, &Connect::new(4, &id));
    assert_eq!(connack.flags, 0); // [MQTT-3.2.2-1]
}

#[test]
fn mqtt311_3_2_2_2_a_stored_session_is_present() {
    let broker = Broker::shared();
    let (client, id) = keeper(&broker);
    client.disconnect();
    let (_client, connack) = Client::connect(&broker, &Connect::persistent(4, &id));
    assert_eq!((connack.flags, connack.code), (1, 0)); // [MQTT-3.2.2-2]
}

#[test]
fn mqtt311_3_2_2_3_without_a_stored_session_none_is_present() {
    let broker = Broker::shared();
    let connect = Connect::persistent(4, unique("new"));
    let (_client, connack) = Client::connect(&broker, &connect);
    assert_eq!((connack.flags, connack.code), (0, 0)); // [MQTT-3.2.2-3]
}

#[test]
fn mqtt311_3_2_2_4_a_refusal_says_no_session_present() {
    let broker = Broker::shared();
    let (client, id) = keeper(&broker);
    client.disconnect();
    let mut connect = Connect::persistent(4, &id);
    connect.level = 2;
    let mut client = Client::connect_tcp(broker.tcp());
    client.send(&connect.bytes());
    let connack = client.recv().connack(4);
    assert_eq!((connack.flags, connack.code), (0, 1)); // [MQTT-3.2.2-4]
    client.expect_closed(); // [MQTT-3.2.2-5]
}
