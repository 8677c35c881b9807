//! Shared subscriptions: who gets a message, by each strategy.

use std::{collections::HashSet, time::Duration};

use gatemq_tests::{Broker, Client, Connect, Publish, Shared, unique, wire};

fn broker(strategy: &str) -> Shared {
    Broker::builder()
        .config(format!("share-strategy: {strategy}\n"))
        .shared()
}

/// So many clean members of one group.
fn members(broker: &Broker, topic: &str, count: usize) -> Vec<Client> {
    let member = |_| {
        let mut client = Client::v5(broker, &unique("member"));
        client.subscribe(&format!("$share/group/{topic}"), 1);
        client
    };
    (0..count).map(member).collect()
}

/// What each member has received, as (topic, payload).
fn drain(members: &mut [Client]) -> Vec<Vec<(String, Vec<u8>)>> {
    let drain = |member: &mut Client| {
        // The answer to a ping comes behind all that was sent before it.
        let mut received = Vec::new();
        member.send(&wire::pingreq());
        loop {
            let packet = member.recv();
            if packet.kind == wire::PINGRESP {
                return received;
            }
            let publish = packet.publish(5);
            member.acknowledge(&publish);
            received.push((publish.topic, publish.payload));
        }
    };
    members.iter_mut().map(drain).collect()
}

fn counts(received: &[Vec<(String, Vec<u8>)>]) -> Vec<usize> {
    received.iter().map(Vec::len).collect()
}

fn publish_numbers(client: &mut Client, topic: &str, count: u8) {
    for number in 0..count {
        client.publish(topic, [number], 1);
    }
}

#[test]
fn round_robin_gives_each_its_turn() {
    let broker = broker("round-robin");
    let topic = unique("turns");
    let mut members = members(&broker, &topic, 3);
    publish_numbers(&mut Client::v5(&broker, &unique("pub")), &topic, 30);
    let received = drain(&mut members);
    assert_eq!(counts(&received), [10, 10, 10]);
    for messages in received {
        let numbers: Vec<_> = messages.iter().map(|(_, payload)| payload[0]).collect();
        assert!(
            numbers.windows(2).all(|pair| pair[1] == pair[0] + 3),
            "{numbers:?}"
        );
    }
}

#[test]
fn random_leaves_nobody_out() {
    let broker = broker("random");
    let topic = unique("random");
    let mut members = members(&broker, &topic, 3);
    publish_numbers(&mut Client::v5(&broker, &unique("pub")), &topic, 120);
    let counts = counts(&drain(&mut members));
    assert_eq!(counts.iter().sum::<usize>(), 120);
    // With 40 on average, fewer than 10 has a chance of less than 10^-10.
    assert!(counts.iter().all(|count| *count >= 10), "{counts:?}");
}

#[test]
fn sticky_stays_until_the_member_leaves() {
    let broker = broker("sticky");
    let topic = unique("sticky");
    let mut members = members(&broker, &topic, 3);
    let mut publisher = Client::v5(&broker, &unique("pub"));
    publish_numbers(&mut publisher, &topic, 20);
    let first = counts(&drain(&mut members));
    let chosen = first.iter().position(|count| *count == 20);
    let chosen = chosen.unwrap_or_else(|| panic!("20 for one was expected: {first:?}"));
    members.remove(chosen).disconnect();
    publish_numbers(&mut publisher, &topic, 20);
    let second = counts(&drain(&mut members));
    assert!(second == [20, 0] || second == [0, 20], "{second:?}");
    // A new member changes nothing.
    let mut more = self::members(&broker, &topic, 1);
    publish_numbers(&mut publisher, &topic, 10);
    assert_eq!(counts(&drain(&mut more)), [0]);
}

#[test]
fn hash_client_keeps_a_publisher_with_a_member() {
    let broker = broker("hash-client");
    let topic = unique("hash");
    let mut members = members(&broker, &topic, 3);
    let mut used = HashSet::new();
    for _ in 0..20 {
        let mut publisher = Client::v5(&broker, &unique("pub"));
        publish_numbers(&mut publisher, &topic, 5);
        let counts = counts(&drain(&mut members));
        assert!(
            counts.contains(&5),
            "one publisher's went to several: {counts:?}"
        );
        used.extend(counts.iter().position(|count| *count == 5));
    }
    assert!(used.len() > 1, "20 publishers, one member");
}

#[test]
fn hash_topic_keeps_a_topic_with_a_member() {
    let broker = broker("hash-topic");
    let prefix = unique("hash");
    let mut members = members(&broker, &format!("{prefix}/#"), 3);
    for _ in 0..3 {
        let mut publisher = Client::v5(&broker, &unique("pub"));
        for number in 0..40 {
            publisher.publish(&format!("{prefix}/{number}"), b"x", 1);
        }
    }
    let received = drain(&mut members);
    let topics: Vec<HashSet<_>> = received
        .iter()
        .map(|messages| messages.iter().map(|(topic, _)| topic.clone()).collect())
        .collect();
    assert_eq!(
        topics.iter().map(HashSet::len).sum::<usize>(),
        40,
        "a topic went to several"
    );
    assert!(
        topics.iter().filter(|topics| !topics.is_empty()).count() > 1,
        "one member for all"
    );
}

#[test]
fn local_serves_the_members_of_this_node() {
    let broker = broker("local");
    let topic = unique("local");
    let mut members = members(&broker, &topic, 2);
    publish_numbers(&mut Client::v5(&broker, &unique("pub")), &topic, 20);
    let counts = counts(&drain(&mut members));
    assert_eq!(counts.iter().sum::<usize>(), 20, "{counts:?}");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

/// Groups of a filter are served each; so are those who do not share.
#[test]
fn every_group_gets_the_message_once() {
    let broker = Broker::shared();
    let topic = unique("groups");
    let mut members = Vec::new();
    for filter in [
        format!("$share/one/{topic}"),
        format!("$share/one/{topic}"),
        format!("$share/two/{topic}"),
        "$share/two/+/x".to_owned(),
        topic.clone(),
    ] {
        let mut client = Client::v5(&broker, &unique("member"));
        client.subscribe(&filter, 1);
        members.push(client);
    }
    publish_numbers(&mut Client::v5(&broker, &unique("pub")), &topic, 10);
    let counts = counts(&drain(&mut members));
    assert_eq!(counts[0] + counts[1], 10, "group one: {counts:?}");
    assert_eq!(counts[2..], [10, 0, 10], "{counts:?}");
}

#[test]
fn those_who_are_there_come_before_those_who_are_away() {
    for strategy in [
        "round-robin",
        "random",
        "sticky",
        "hash-client",
        "hash-topic",
        "local",
    ] {
        let broker = broker(strategy);
        let topic = unique("online");
        let away: Vec<_> = (0..3)
            .map(|_| Connect::persistent(5, unique("away")))
            .collect();
        for connect in &away {
            let mut client = Client::connect(&broker, connect).0;
            client.subscribe(&format!("$share/group/{topic}"), 1);
            client.disconnect();
        }
        let mut present = members(&broker, &topic, 1);
        publish_numbers(&mut Client::v5(&broker, &unique("pub")), &topic, 20);
        assert_eq!(counts(&drain(&mut present)), [20], "{strategy}");
        for connect in &away {
            let mut client = Client::connect(&broker, connect).0;
            client.expect_silence(20);
        }
    }
}

/// With nobody there a message waits for one of those who are away, once.
#[test]
fn messages_wait_when_all_are_away() {
    let broker = broker("round-robin");
    let topic = unique("alone");
    let away: Vec<_> = (0..2)
        .map(|_| Connect::persistent(5, unique("away")))
        .collect();
    for connect in &away {
        let mut client = Client::connect(&broker, connect).0;
        client.subscribe(&format!("$share/group/{topic}"), 1);
        client.disconnect();
    }
    publish_numbers(&mut Client::v5(&broker, &unique("pub")), &topic, 10);
    let mut numbers = Vec::new();
    for connect in &away {
        let mut client = Client::connect(&broker, connect).0;
        while let Some(packet) = client.recv_within(Duration::from_millis(600)) {
            let publish = packet.publish(5);
            client.acknowledge(&publish);
            numbers.extend(publish.payload);
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
}

/// Section 4.8.2: no retained messages for a new shared subscription.
#[test]
fn retained_messages_are_not_sent_to_new_members() {
    let broker = Broker::shared();
    let topic = unique("kept");
    let mut publisher = Client::v5(&broker, &unique("pub"));
    publisher.publish_retained(&topic, b"old", 1);
    let mut member = members(&broker, &topic, 1).remove(0);
    member.expect_silence(200);
    publisher.publish_packet(Publish {
        qos: 1,
        ..Publish::new(&topic, b"new").retain()
    });
    assert_eq!(member.receive().payload, b"new");
}
