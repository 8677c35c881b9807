//! Chapters 3.1.2.4 and 3.1.2.11.2: Clean Start and the Session Expiry Interval.

use std::time::Duration;

use gatemq_tests::{
    Broker, Client, Connect, Properties, patience, unique,
    wire::{self, property},
};

use super::scene::{
    PROTOCOL_ERROR, client, ends, leave, nothing_before_marker, resume, resume_present,
    session_expiry,
};

#[test]
fn mqtt_3_1_2_4_clean_start_1_discards_the_session() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("t"));
    let (mut before, _) = resume(&broker, &id);
    before.subscribe(&topic, 1);
    leave(before);
    client(&broker).publish(&topic, b"queued", 1);
    let (mut after, connack) = Client::connect(&broker, &Connect::new(5, &id));
    assert!(!connack.session_present); // [MQTT-3.2.2-2]
    // Neither the queued message nor the subscription is left.
    client(&broker).publish(&topic, b"live", 1);
    nothing_before_marker(&mut after, &mut client(&broker));
}

#[test]
fn mqtt_3_1_2_5_clean_start_0_resumes_the_session() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("t"));
    let (mut before, _) = resume(&broker, &id);
    before.subscribe(&topic, 2);
    leave(before);
    let mut publisher = client(&broker);
    publisher.publish(&topic, b"queued", 2);
    let mut after = resume_present(&broker, &id); // [MQTT-3.2.2-3]
    assert_eq!(after.receive().payload, b"queued"); // [MQTT-4.5.0-1]
    publisher.publish(&topic, b"live", 1);
    assert_eq!(after.receive().payload, b"live");
}

#[test]
fn mqtt_3_1_2_6_clean_start_0_without_a_session_makes_one() {
    let broker = Broker::shared();
    let id = unique("c");
    let (first, connack) = resume(&broker, &id);
    assert!(!connack.session_present); // [MQTT-3.2.2-3]
    leave(first);
    resume_present(&broker, &id);
}

#[test]
fn mqtt_3_1_2_23_a_session_with_an_expiry_is_stored() {
    let broker = Broker::shared();
    for seconds in [60, 0xFFFF_FFFF] {
        // Clean Start 1 does not mean that the new session is not kept.
        let (id, topic) = (unique("c"), unique("t"));
        let connect = Connect::new(5, &id).properties(session_expiry(seconds));
        let (mut first, _) = Client::connect(&broker, &connect);
        first.subscribe(&topic, 1);
        first.cut();
        client(&broker).publish(&topic, b"x", 1);
        assert_eq!(resume_present(&broker, &id).receive().payload, b"x");
    }
}

#[test]
fn mqtt_3_1_2_11_2_without_an_expiry_the_session_ends_with_the_connection() {
    let broker = Broker::shared();
    for properties in [Properties::new(), session_expiry(0)] {
        let id = unique("c");
        let connect = Connect::new(5, &id).clean(false).properties(properties);
        let (first, _) = Client::connect(&broker, &connect);
        leave(first);
        let (_, connack) = resume(&broker, &id);
        assert!(!connack.session_present);
    }
}

#[test]
fn mqtt_4_1_0_2_an_expired_session_is_discarded() {
    let broker = Broker::shared();
    let id = unique("c");
    let connect = Connect::new(5, &id).properties(session_expiry(1));
    let (first, _) = Client::connect(&broker, &connect);
    leave(first);
    patience::pause(Duration::from_millis(2300));
    let (_, connack) = resume(&broker, &id);
    assert!(!connack.session_present);
}

#[test]
fn mqtt_4_1_0_1_a_session_does_not_expire_under_its_connection() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("t"));
    let connect = Connect::new(5, &id).properties(session_expiry(1));
    let (mut first, _) = Client::connect(&broker, &connect);
    first.subscribe(&topic, 1);
    patience::pause(Duration::from_millis(2300));
    client(&broker).publish(&topic, b"alive", 1);
    assert_eq!(first.receive().payload, b"alive");
    leave(first);
    resume_present(&broker, &id);
}

#[test]
fn mqtt_3_1_2_11_2_the_newest_connect_sets_the_expiry() {
    let broker = Broker::shared();
    let id = unique("c");
    leave(resume(&broker, &id).0);
    let none = Connect::new(5, &id).clean(false);
    let (second, connack) = Client::connect(&broker, &none);
    assert!(connack.session_present);
    leave(second);
    let (_, connack) = resume(&broker, &id);
    assert!(!connack.session_present, "the second CONNECT asked for 0");
}

#[test]
fn mqtt_3_14_2_2_2_disconnect_changes_the_expiry() {
    let broker = Broker::shared();
    for (asked, at_end, kept) in [(3600, 0, false), (3600, 60, true), (1, 3600, true)] {
        let id = unique("c");
        let connect = Connect::new(5, &id).properties(session_expiry(asked));
        let (mut first, _) = Client::connect(&broker, &connect);
        first.send(&wire::disconnect_with(0, &session_expiry(at_end)));
        first.expect_closed();
        if asked == 1 {
            patience::pause(Duration::from_millis(2300));
        }
        let (_, connack) = resume(&broker, &id);
        assert_eq!(connack.session_present, kept, "{asked} then {at_end}");
    }
}

#[test]
fn mqtt_3_14_2_2_2_disconnect_cannot_make_a_session_last() {
    let broker = Broker::shared();
    for properties in [Properties::new(), session_expiry(0)] {
        let id = unique("c");
        let connect = Connect::new(5, &id).properties(properties);
        let (mut first, _) = Client::connect(&broker, &connect);
        first.send(&wire::disconnect_with(0, &session_expiry(10)));
        ends(&mut first, &[PROTOCOL_ERROR]);
        let (_, connack) = resume(&broker, &id);
        assert!(!connack.session_present);
    }
}

#[test]
fn mqtt_3_2_2_3_2_an_expiry_as_asked_needs_no_answer_and_another_is_told() {
    let broker = Broker::shared();
    let connect = Connect::new(5, unique("c")).properties(session_expiry(60));
    let (_, connack) = Client::connect(&broker, &connect);
    let told = connack.properties.number(property::SESSION_EXPIRY_INTERVAL);
    assert!(matches!(told, None | Some(60)), "{connack:?}");
}

#[test]
fn mqtt_3_1_4_3_takeover_keeps_the_session() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("t"));
    let (mut old, _) = resume(&broker, &id);
    old.subscribe(&topic, 1);
    client(&broker).publish(&topic, b"x", 1);
    let sent = old.expect_publish();
    let mut new = resume_present(&broker, &id);
    ends(&mut old, &[0x8E]);
    let again = new.receive();
    assert_eq!((again.id, again.dup), (sent.id, true)); // [MQTT-4.4.0-1]
}
