//! Chapter 3.3.1.3: retained messages, Retain Handling and Retain As Published.

use gatemq_tests::{Broker, Client, Properties, Publish, unique, wire::property};

use super::scene::{client, subscribe_id};

const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const IF_NEW: u8 = 0x10;
const NEVER: u8 = 0x20;

/// What a new subscriber of this filter gets at once.
#[track_caller]
fn retained(broker: &Broker, filter: &str, count: usize) -> Vec<Publish> {
    let mut subscriber = client(broker);
    subscriber.subscribe(filter, 2);
    let messages = (0..count).map(|_| subscriber.receive()).collect();
    subscriber.expect_silence(150);
    messages
}

#[test]
fn mqtt_3_3_1_5_a_retained_message_replaces_the_one_before() {
    let broker = Broker::shared();
    let topic = unique("r");
    let mut publisher = client(&broker);
    for (payload, qos) in [("one", 0), ("two", 2), ("three", 1)] {
        publisher.publish_retained(&topic, payload, qos);
        let [message] = &retained(&broker, &topic, 1)[..] else {
            panic!("one message was asked for");
        };
        // The QoS is stored with it.
        assert_eq!(
            (message.payload.as_slice(), message.qos),
            (payload.as_bytes(), qos)
        );
        assert!(message.retain && !message.dup);
    }
}

#[test]
fn mqtt_3_3_1_6_an_empty_payload_removes_the_retained_message() {
    let broker = Broker::shared();
    let topic = unique("r");
    let mut present = client(&broker);
    present.subscribe(&topic, 0);
    let mut publisher = client(&broker);
    publisher.publish_retained(&topic, "kept", 1);
    assert_eq!(present.receive().payload, b"kept");
    publisher.publish_retained(&topic, "", 1);
    // It goes to who is there like any message.
    let last = present.receive();
    assert_eq!((last.payload.as_slice(), last.retain), (&b""[..], false));
    retained(&broker, &topic, 0);
}

#[test]
fn mqtt_3_3_1_7_an_empty_retained_message_is_not_stored() {
    let broker = Broker::shared();
    let topic = unique("r");
    client(&broker).publish_retained(&topic, "", 1);
    retained(&broker, &topic, 0);
}

#[test]
fn mqtt_3_3_1_8_a_message_without_retain_changes_nothing() {
    let broker = Broker::shared();
    let topic = unique("r");
    let mut publisher = client(&broker);
    publisher.publish(&topic, "passing", 1);
    retained(&broker, &topic, 0);
    publisher.publish_retained(&topic, "kept", 1);
    publisher.publish(&topic, "passing", 1);
    publisher.publish(&topic, "", 1);
    assert_eq!(retained(&broker, &topic, 1)[0].payload, b"kept");
}

#[test]
fn mqtt_3_3_1_9_handling_0_sends_at_each_subscribe() {
    let broker = Broker::shared();
    let root = unique("r");
    let mut publisher = client(&broker);
    for leaf in ["a", "b", "b/c"] {
        publisher.publish_retained(&format!("{root}/{leaf}"), leaf, 1);
    }
    let mut subscriber = client(&broker);
    for _ in 0..2 {
        // All that match; again at the second time. [MQTT-3.8.4-4]
        subscriber.subscribe(&format!("{root}/#"), 1);
        let mut leaves: Vec<_> = (0..3).map(|_| subscriber.receive().payload).collect();
        leaves.sort();
        assert_eq!(leaves, [b"a".to_vec(), b"b".to_vec(), b"b/c".to_vec()]);
        subscriber.expect_silence(150);
    }
}

#[test]
fn mqtt_3_3_1_10_handling_1_sends_to_a_new_subscription_only() {
    let broker = Broker::shared();
    let topic = unique("r");
    client(&broker).publish_retained(&topic, "x", 1);
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, IF_NEW | 1);
    assert_eq!(subscriber.receive().payload, b"x");
    // It exists now; other options do not make it new.
    for options in [IF_NEW | 1, IF_NEW | 2, IF_NEW | RETAIN_AS_PUBLISHED] {
        subscriber.subscribe(&topic, options);
        subscriber.expect_silence(150);
    }
    // After UNSUBSCRIBE it is new again.
    subscriber.unsubscribe(&[&topic]);
    subscriber.subscribe(&topic, IF_NEW | 1);
    assert_eq!(subscriber.receive().payload, b"x");
    // A subscription that a resumed session has is not new.
    let id = unique("c");
    let (mut before, _) = super::scene::resume(&broker, &id);
    before.subscribe(&topic, NEVER);
    super::scene::leave(before);
    let mut after = super::scene::resume_present(&broker, &id);
    after.subscribe(&topic, IF_NEW);
    after.expect_silence(150);
}

/// Nothing of what a new subscription is owed is lost because its client asks for it again at once.
#[test]
fn mqtt_3_3_1_10_what_is_being_sent_is_sent_to_its_end() {
    const COUNT: usize = 400;
    let broker = Broker::shared();
    let name = unique("r");
    let mut publisher = client(&broker);
    for at in 0..COUNT {
        publisher.publish_retained(&format!("{name}/{at}"), vec![b'x'; 1_000], 0);
    }
    publisher.ping();
    let mut subscriber = client(&broker);
    let filter = format!("{name}/+");
    let twice = [1, 2].map(|id| {
        let asked = [(&*filter, IF_NEW)];
        gatemq_tests::wire::subscribe(5, id, &Properties::new(), &asked)
    });
    subscriber.send(&twice.concat());
    let mut topics = std::collections::BTreeSet::new();
    while topics.len() < COUNT {
        let packet = subscriber.recv();
        if packet.kind == gatemq_tests::wire::PUBLISH {
            topics.insert(packet.publish(5).topic);
        }
    }
}

#[test]
fn mqtt_3_3_1_11_handling_2_sends_nothing() {
    let broker = Broker::shared();
    let topic = unique("r");
    let mut publisher = client(&broker);
    publisher.publish_retained(&topic, "before", 1);
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, NEVER | 1);
    subscriber.expect_silence(150);
    publisher.publish_retained(&topic, "after", 1);
    assert_eq!(subscriber.receive().payload, b"after");
}

#[test]
fn mqtt_3_3_1_12_without_retain_as_published_the_flag_is_cleared() {
    let broker = Broker::shared();
    let topic = unique("r");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 2);
    let mut publisher = client(&broker);
    for qos in 0..3 {
        publisher.publish_retained(&topic, "x", qos);
        publisher.publish(&topic, "y", qos);
        assert!(!subscriber.receive().retain);
        assert!(!subscriber.receive().retain);
    }
}

#[test]
fn mqtt_3_3_1_13_retain_as_published_keeps_the_flag() {
    let broker = Broker::shared();
    let topic = unique("r");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, RETAIN_AS_PUBLISHED | 2);
    let mut publisher = client(&broker);
    for qos in 0..3 {
        publisher.publish_retained(&topic, "x", qos);
        publisher.publish(&topic, "y", qos);
        assert!(subscriber.receive().retain);
        assert!(!subscriber.receive().retain);
    }
}

#[test]
fn mqtt_3_3_1_13_a_message_sent_because_of_a_subscribe_has_retain() {
    let broker = Broker::shared();
    let topic = unique("r");
    client(&broker).publish_retained(&topic, "x", 0);
    for options in [0, RETAIN_AS_PUBLISHED] {
        let mut subscriber = client(&broker);
        subscriber.subscribe(&topic, options);
        assert!(subscriber.receive().retain);
    }
}

#[test]
fn mqtt_3_3_2_4_a_retained_message_keeps_its_properties() {
    let broker = Broker::shared();
    let topic = unique("r");
    let properties = Properties::new()
        .byte(property::PAYLOAD_FORMAT_INDICATOR, 1)
        .text(property::CONTENT_TYPE, "text/plain")
        .text(property::RESPONSE_TOPIC, "answer")
        .binary(property::CORRELATION_DATA, b"\0\xff")
        .user("b", "1")
        .user("a", "2");
    let publish = Publish::new(&topic, "x").retain();
    client(&broker).publish_packet(publish.properties(properties.clone()));
    let got = &retained(&broker, &topic, 1)[0].properties;
    for (id, value) in &properties.list {
        assert!(got.all(*id).contains(&value), "{id:#x} in {got:?}");
    }
    assert_eq!(got.users(), [("b", "1"), ("a", "2")]);
}

#[test]
fn mqtt_3_3_4_3_a_retained_message_has_the_new_subscriptions_id() {
    let broker = Broker::shared();
    let root = unique("r");
    let topic = format!("{root}/x");
    client(&broker).publish_retained(&topic, "x", 1);
    let mut subscriber = client(&broker);
    subscribe_id(&mut subscriber, &format!("{root}/+"), NEVER | 1, 7);
    subscribe_id(&mut subscriber, &topic, 1, 8);
    let got = subscriber.receive().properties;
    let id = property::SUBSCRIPTION_IDENTIFIER;
    assert!(
        got.all(id).contains(&&gatemq_tests::Value::Var(8)),
        "{got:?}"
    );
}

#[test]
fn mqtt_3_3_1_9_a_shared_subscription_gets_no_retained_message() {
    let broker = Broker::shared();
    let topic = unique("r");
    client(&broker).publish_retained(&topic, "x", 1);
    let mut subscriber = client(&broker);
    subscriber.subscribe(&format!("$share/{}/{topic}", unique("g")), 1);
    subscriber.expect_silence(150);
}

#[test]
fn mqtt_3_8_4_8_a_retained_message_comes_at_the_lower_qos() {
    let broker = Broker::shared();
    for published in 0..3 {
        let topic = unique("r");
        client(&broker).publish_retained(&topic, "x", published);
        for granted in 0..3 {
            let mut subscriber: Client = client(&broker);
            subscriber.subscribe(&topic, granted);
            assert_eq!(subscriber.receive().qos, published.min(granted));
        }
    }
}

#[test]
fn mqtt_3_8_3_3_no_local_holds_for_retained_messages() {
    let broker = Broker::shared();
    let topic = unique("own");
    let mut own = client(&broker);
    own.publish_retained(&topic, b"mine", 1);
    own.subscribe(&topic, NO_LOCAL);
    own.expect_silence(100);
    let mut other = client(&broker);
    other.subscribe(&topic, NO_LOCAL);
    assert_eq!(other.receive().payload, b"mine");
}
