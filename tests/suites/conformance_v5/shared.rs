//! Chapter 4.8.2: shared subscriptions.

use std::time::Duration;

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, unique,
    wire::{self, property},
};

use super::scene::{
    client, leave, nothing_before_marker, refuses_filter, resume, resume_present, subscribe_id,
};

/// A topic and the filter of a new group on it.
fn group() -> (String, String) {
    let topic = unique("sh");
    (topic.clone(), format!("$share/{}/{topic}", unique("g")))
}

/// Two members of one group, with sessions, and their client ids.
#[track_caller]
fn pair(broker: &Broker, filter: &str, qos: u8) -> [(Client, String); 2] {
    [0, 1].map(|_| {
        let id = unique("member");
        let (mut member, _) = resume(broker, &id);
        member.subscribe(filter, qos);
        (member, id)
    })
}

/// Which of the two gets the next message, and the message.
#[track_caller]
fn chosen(mut members: [(Client, String); 2]) -> ((Client, String), (Client, String), Publish) {
    for turn in 0..200 {
        let member = &mut members[turn % 2].0;
        let Some(packet) = member.recv_within(Duration::from_millis(20)) else {
            continue;
        };
        if turn % 2 == 1 {
            members.reverse();
        }
        let [winner, loser] = members;
        return (winner, loser, packet.publish(5));
    }
    panic!("nobody got the message");
}

#[test]
fn mqtt_4_8_2_1_a_share_name_has_at_least_one_character() {
    let broker = Broker::shared();
    for filter in ["$share/", "$share//", "$share//t", "$share/g", "$share/g/"] {
        refuses_filter(&broker, filter, 0); // [MQTT-4.8.2-2]
    }
    // What only begins alike is a filter as any other.
    let topic = unique("$shared");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&format!("{topic}/+/x"), 0);
    client(&broker).publish(&format!("{topic}/g/x"), b"x", 0);
    assert_eq!(subscriber.receive().payload, b"x");
}

#[test]
fn mqtt_4_8_2_2_a_share_name_has_no_wildcards() {
    let broker = Broker::shared();
    for filter in [
        "$share/+/t",
        "$share/#",
        "$share/g#/t",
        "$share/a+b/t",
        "$share/g/a#",
    ] {
        refuses_filter(&broker, filter, 0);
    }
    let mut subscriber = client(&broker);
    for filter in [
        "$share/\u{e9} $x/t/#",
        "$share/g/+",
        "$share/g//",
        "$share/g/#",
    ] {
        let filter = filter.replacen("$share/", &format!("$share/{}", unique("g")), 1);
        subscriber.subscribe(&filter, 0);
        subscriber.unsubscribe(&[&filter]);
    }
}

#[test]
fn mqtt_4_8_2_each_message_goes_to_one_member() {
    let broker = Broker::shared();
    let (topic, filter) = group();
    let mut members: Vec<_> = (0..3).map(|_| client(&broker)).collect();
    for member in &mut members {
        member.subscribe(&filter, 2);
    }
    let mut publisher = client(&broker);
    for number in 0..30u8 {
        publisher.publish(&topic, [number], number % 3);
    }
    let mut seen = Vec::new();
    let mut shares = Vec::new();
    for member in &mut members {
        let before = seen.len();
        while let Some(packet) = member.recv_within(Duration::from_millis(600)) {
            let publish = packet.publish(5);
            member.acknowledge(&publish);
            seen.push(publish.payload[0]);
        }
        shares.push(seen.len() - before);
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..30).collect::<Vec<_>>(), "{shares:?}");
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
}

#[test]
fn mqtt_4_8_2_groups_and_other_subscriptions_are_apart() {
    let broker = Broker::shared();
    let (topic, one) = group();
    let two = format!("$share/{}/{topic}", unique("g"));
    let filters = [one.as_str(), &two, &topic];
    let mut subscribers = filters.map(|filter| {
        let mut subscriber = client(&broker);
        subscriber.subscribe(filter, 1);
        subscriber
    });
    client(&broker).publish(&topic, b"x", 1);
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.receive().payload, b"x");
    }
    // Also where all are one client's: a shared subscription is none of the overlapping ones.
    let mut all = client(&broker);
    let (topic, shared) = group();
    all.subscribe(&shared, 1);
    all.subscribe(&topic, 1);
    client(&broker).publish(&topic, b"y", 1);
    assert_eq!(all.receive().payload, b"y");
    assert_eq!(all.receive().payload, b"y");
}

#[test]
fn mqtt_4_8_2_3_a_member_gets_the_qos_that_it_was_granted() {
    let broker = Broker::shared();
    for granted in 0..3 {
        let (topic, filter) = group();
        let mut member = client(&broker);
        assert_eq!(member.subscribe(&filter, granted), granted);
        for published in 0..3 {
            client(&broker).publish(&topic, b"x", published);
            assert_eq!(member.receive().qos, granted.min(published));
        }
    }
}

#[test]
fn mqtt_4_8_2_4_a_qos_2_delivery_is_completed_with_the_same_member() {
    let broker = Broker::shared();
    for received in [false, true] {
        let (topic, filter) = group();
        let members = pair(&broker, &filter, 2);
        client(&broker).publish(&topic, b"x", 2);
        let ((mut member, id), (mut other, _), publish) = chosen(members);
        let packet = publish.id.expect("QoS 2 has an id");
        if received {
            member.send(&wire::ack(wire::PUBREC, packet));
            member.expect_ack(wire::PUBREL, packet);
        }
        member.cut();
        other.expect_silence(200);
        let mut member = resume_present(&broker, &id);
        if received {
            member.expect_ack(wire::PUBREL, packet);
            member.send(&wire::ack(wire::PUBCOMP, packet));
        } else {
            let again = member.receive();
            assert_eq!((again.id, again.dup), (publish.id, true));
        }
        other.expect_silence(100);
    }
}

#[test]
fn mqtt_4_8_2_5_a_qos_2_message_of_a_session_that_ended_goes_to_nobody_else() {
    let broker = Broker::shared();
    let (topic, filter) = group();
    let members = pair(&broker, &filter, 2);
    client(&broker).publish(&topic, b"x", 2);
    let ((member, id), (mut other, _), _) = chosen(members);
    member.cut();
    let mut clean = Client::v5(&broker, &id);
    clean.expect_silence(100);
    other.expect_silence(300);
}

#[test]
fn mqtt_4_8_2_a_qos_1_message_of_a_session_that_ended_goes_to_another_member() {
    if Broker::is_foreign() {
        return; // The standard only advises it; GateMQ promises it.
    }
    let broker = Broker::shared();
    let (topic, filter) = group();
    let members = pair(&broker, &filter, 1);
    client(&broker).publish(&topic, b"x", 1);
    let ((member, id), (mut other, _), _) = chosen(members);
    member.cut();
    let mut clean = Client::v5(&broker, &id);
    clean.ping();
    assert_eq!(other.receive().payload, b"x");
}

#[test]
fn mqtt_4_8_2_6_a_refused_message_goes_to_nobody_else() {
    let broker = Broker::shared();
    for (qos, kind) in [(1, wire::PUBACK), (2, wire::PUBREC)] {
        let (topic, filter) = group();
        let members = pair(&broker, &filter, 2);
        client(&broker).publish(&topic, b"x", qos);
        let ((mut member, id), (mut other, _), publish) = chosen(members);
        let packet = publish.id.expect("it has an id");
        member.send(&wire::ack_with(kind, packet, 0x83, &Properties::new()));
        other.expect_silence(200);
        leave(member);
        let mut member = resume_present(&broker, &id);
        member.expect_silence(100);
        other.expect_silence(100);
    }
}

#[test]
fn mqtt_4_8_2_messages_wait_for_a_group_whose_members_are_away() {
    let broker = Broker::shared();
    let (topic, filter) = group();
    let id = unique("member");
    let (mut member, _) = resume(&broker, &id);
    member.subscribe(&filter, 1);
    leave(member);
    client(&broker).publish(&topic, b"x", 1);
    assert_eq!(resume_present(&broker, &id).receive().payload, b"x");
}

#[test]
fn mqtt_4_8_2_members_leave_by_unsubscribe_and_by_the_end_of_their_session() {
    let broker = Broker::shared();
    let (topic, filter) = group();
    let mut stays = client(&broker);
    stays.subscribe(&filter, 1);
    let mut unsubscribes = client(&broker);
    unsubscribes.subscribe(&filter, 1);
    let mut goes = client(&broker);
    goes.subscribe(&filter, 1);
    assert_eq!(unsubscribes.unsubscribe(&[&topic]).codes, [0x11]);
    assert_eq!(unsubscribes.unsubscribe(&[&filter]).codes, [0]);
    assert_eq!(unsubscribes.unsubscribe(&[&filter]).codes, [0x11]);
    leave(goes);
    let mut publisher = client(&broker);
    for number in 0..10u8 {
        publisher.publish(&topic, [number], 1);
        assert_eq!(stays.receive().payload, [number]);
    }
    nothing_before_marker(&mut unsubscribes, &mut publisher);
}

#[test]
fn mqtt_4_8_2_a_shared_subscription_has_its_identifier() {
    let broker = Broker::shared();
    let (topic, filter) = group();
    let mut member = client(&broker);
    subscribe_id(&mut member, &filter, 1, 42);
    client(&broker).publish(&topic, b"x", 1);
    let got = member.receive().properties;
    assert_eq!(got.number(property::SUBSCRIPTION_IDENTIFIER), Some(42));
}

#[test]
fn mqtt_4_8_2_the_filter_of_a_group_matches_as_any_other() {
    let broker = Broker::shared();
    let root = unique("sh");
    let mut member = client(&broker);
    member.subscribe(&format!("$share/{}/{root}/+/x/#", unique("g")), 0);
    let mut wild = client(&broker);
    wild.subscribe(&format!("$share/{}/+/{root}", unique("g")), 0);
    let mut publisher = client(&broker);
    publisher.publish(&format!("{root}/a/y"), b"no", 0);
    publisher.publish(&format!("{root}/a/x/b"), b"yes", 0);
    assert_eq!(member.receive().payload, b"yes");
    // Nor does a wildcard in front match `$`. [MQTT-4.7.2-1]
    publisher.publish(&format!("$d/{root}"), b"no", 0);
    publisher.publish(&format!("d/{root}"), b"yes", 0);
    assert_eq!(wild.receive().payload, b"yes");
}

#[test]
fn mqtt_4_8_2_order_holds_for_a_group_of_one() {
    let broker = Broker::shared();
    let (topic, filter) = group();
    let connect = Connect::new(5, unique("member"));
    let (mut member, _) = Client::connect(&broker, &connect);
    member.subscribe(&filter, 1);
    let mut publisher = client(&broker);
    for number in 0..100u8 {
        publisher.publish(&topic, [number], 1);
    }
    for number in 0..100u8 {
        assert_eq!(member.receive().payload, [number]);
    }
}
