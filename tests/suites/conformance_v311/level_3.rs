//! MQTT 3.1 (`MQIsdp`, level 3), which the 3.1.1 suite does not know: what differs, and that it
//! works with clients of the other versions.

use gatemq_tests::{Broker, Client, Connect, unique};

use super::client;

#[test]
fn level_3_exchanges_messages_with_level_4() {
    let broker = Broker::shared();
    let topic = unique("three");
    let (mut old, _) = Client::connect(&broker, &Connect::new(3, unique("c3")));
    let mut new = client(&broker);
    old.subscribe(&topic, 2);
    new.subscribe(&topic, 2);
    for qos in 0..3 {
        old.publish(&topic, "from old", qos);
        assert_eq!(old.receive().payload, b"from old");
        assert_eq!(new.receive().qos, qos);
        new.publish(&topic, "from new", qos);
        assert_eq!(new.receive().payload, b"from new");
        assert_eq!(old.receive().qos, qos);
    }
    old.ping();
    old.disconnect();
}

#[test]
fn level_3_refuses_an_empty_client_id_with_2() {
    let broker = Broker::shared();
    let (mut client, connack) = Client::attempt(&broker, &Connect::new(3, ""));
    assert_eq!((connack.flags, connack.code), (0, 2));
    client.expect_closed();
}

#[test]
fn level_3_keeps_a_session() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c3"), unique("three"));
    let (mut subscriber, _) = Client::connect(&broker, &Connect::persistent(3, &id));
    subscriber.subscribe(&topic, 1);
    subscriber.disconnect();
    client(&broker).publish(&topic, "waiting", 1);
    let (mut subscriber, _) = Client::connect(&broker, &Connect::persistent(3, &id));
    assert_eq!(subscriber.receive().payload, b"waiting");
}
