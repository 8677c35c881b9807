//! Retained messages are the same on every node.

use std::{sync::Arc, thread, time::Duration};

use gatemq_tests::{
    Client, Cluster, Connect, Properties, Publish,
    history::{Event, History, Random, Record},
    patience::{becomes_true, pause},
    traffic::{Act, Register, Route, Write},
    unique, wire,
    wire::property,
};

use super::PAIRS;

/// What a new subscriber of a filter gets at once, by topic.
fn retained(client: &mut Client, filter: &str) -> Vec<(String, Vec<u8>)> {
    client.subscribe(filter, 1);
    let mut found = Vec::new();
    while let Some(packet) = client.recv_within(Duration::from_millis(100)) {
        let publish = packet.publish(5);
        client.acknowledge(&publish);
        assert!(publish.retain, "{publish:?}");
        found.push((publish.topic, publish.payload));
    }
    client.unsubscribe(&[filter]);
    found.sort();
    found
}

#[test]
fn what_is_set_on_one_node_is_there_on_all() {
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    let root = unique("set");
    let mut expected = Vec::new();
    for number in 0..12_u8 {
        let topic = format!("{root}/{}/{number}", number % 4);
        let node = nodes[usize::from(number) % 3];
        node.v4(&unique("pub"))
            .publish_retained(&topic, [number], number % 3);
        expected.push((topic, vec![number]));
    }
    expected.sort();
    // A publish of QoS 0 has no acknowledgement, so it may still be on its way.
    let is_there = becomes_true(Duration::from_secs(5), || {
        let mut client = nodes[0].v5(&unique("sub"));
        retained(&mut client, &format!("{root}/#")) == expected
    });
    assert!(is_there);
    for node in nodes {
        let mut client = node.v5(&unique("sub"));
        assert_eq!(retained(&mut client, &format!("{root}/#")), expected);
        let one = retained(&mut client, &format!("{root}/+/7"));
        assert_eq!(one, [(format!("{root}/3/7"), vec![7])]);
        assert_eq!(retained(&mut client, &format!("{root}/+")), []);
    }
}

#[test]
fn a_later_value_replaces_the_earlier_one_whatever_node_it_came_from() {
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    let topic = unique("replace");
    let mut publishers = nodes.map(|node| node.v5(&unique("pub")));
    let mut clients = nodes.map(|node| node.v5(&unique("sub")));
    for round in 0..12_u8 {
        publishers[usize::from(round) % 3].publish_retained(&topic, [round], 1);
        let client = &mut clients[usize::from(round + 1) % 3];
        assert_eq!(retained(client, &topic), [(topic.clone(), vec![round])]);
    }
}

#[test]
fn what_is_cleared_stays_cleared_on_all_nodes() {
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    for (setting, clearing) in PAIRS {
        let topic = unique("clear");
        nodes[setting]
            .v4(&unique("pub"))
            .publish_retained(&topic, b"set", 1);
        let mut client = nodes[clearing].v5(&unique("sub"));
        let set = [(topic.clone(), b"set".to_vec())];
        assert_eq!(retained(&mut client, &topic), set);
        nodes[clearing]
            .v4(&unique("pub"))
            .publish_retained(&topic, b"", 1);
        for node in nodes {
            let mut client = node.v5(&unique("sub"));
            assert_eq!(retained(&mut client, &topic), [], "{}", node.name());
        }
    }
}

/// [MQTT-3.3.2-5], [MQTT-3.3.2-6]
#[test]
fn a_retained_message_expires_on_all_nodes() {
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    let root = unique("expires");
    let set = |name: &str, seconds| {
        let expiry = Properties::new().four(property::MESSAGE_EXPIRY_INTERVAL, seconds);
        let topic = format!("{root}/{name}");
        let publish = Publish::new(&topic, name).retain().properties(expiry);
        let publish = Publish { qos: 1, ..publish };
        nodes[0].v5(&unique("pub")).publish_packet(publish);
    };
    set("short", 1);
    set("long", 100);
    let mut client = nodes[1].v5(&unique("sub"));
    assert_eq!(retained(&mut client, &format!("{root}/#")).len(), 2);
    pause(Duration::from_millis(2_100));
    for node in nodes {
        let mut client = node.v5(&unique("sub"));
        client.subscribe(&format!("{root}/#"), 1);
        let publish = client.receive();
        assert_eq!(publish.payload, b"long", "{}", node.name());
        let left = publish.properties.number(property::MESSAGE_EXPIRY_INTERVAL);
        assert!((90..=98).contains(&left.expect("an expiry")), "{left:?}");
        client.expect_silence(50);
    }
}

#[test]
fn a_node_that_was_away_has_what_was_set_and_cleared_meanwhile() {
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let [one, two, three] = cluster.three();
    let (kept, cleared, new) = (unique("kept"), unique("cleared"), unique("new"));
    let mut publisher = one.v4(&unique("pub"));
    publisher.publish_retained(&kept, b"kept", 1);
    publisher.publish_retained(&cleared, b"cleared", 1);
    for node in [two, three] {
        let mut client = node.v5(&unique("sub"));
        let found = retained(&mut client, &cleared);
        assert_eq!(found, [(cleared.clone(), b"cleared".to_vec())]);
    }
    three.kill();
    publisher.publish_retained(&cleared, b"", 1);
    publisher.publish_retained(&new, b"new", 1);
    three.restart();
    // Every node is started anew, one after the other.
    for node in [one, two] {
        node.terminate();
        node.restart();
    }
    for node in [one, two, three] {
        let mut client = node.v5(&unique("sub"));
        assert_eq!(
            retained(&mut client, &kept),
            [(kept.clone(), b"kept".to_vec())]
        );
        assert_eq!(retained(&mut client, &cleared), [], "{}", node.name());
        assert_eq!(
            retained(&mut client, &new),
            [(new.clone(), b"new".to_vec())]
        );
    }
}

/// Publishers on two nodes set the same topic, subscribers come on all three: each ends with the
/// value that stays, the ones that were there before included.
#[test]
fn whoever_subscribes_while_values_are_set_ends_with_the_last_one() {
    const ROUNDS: u8 = 100;
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    let mut publishers = [0, 1].map(|number| nodes[number].v5(&unique("pub")));
    for round in 0..ROUNDS {
        let topic = unique("race");
        let mut subscribers = nodes.map(|node| node.v5(&unique("sub")));
        thread::scope(|scope| {
            // One publisher sets values 1 to 4; every fifth round the other one clears at its end.
            let (topic, [first, second]) = (&topic, &mut publishers);
            scope.spawn(move || {
                for value in 1..5_u8 {
                    first.publish_retained(topic, [value], 1);
                }
                match round % 5 {
                    0 => second.publish_retained(topic, b"", 1),
                    _ => second.publish_retained(topic, [9], 1),
                }
            });
            for subscriber in &mut subscribers {
                scope.spawn(move || subscriber.subscribe(topic, 1));
            }
        });
        let last: &[u8] = if round % 5 == 0 { &[] } else { &[9] };
        for (subscriber, node) in subscribers.iter_mut().zip(nodes) {
            let mut received = Vec::new();
            // The last one comes; after it nothing older.
            let patience = |received: &Vec<Vec<u8>>| match received.last() {
                Some(value) if value == last => Duration::from_millis(10),
                // A subscriber that came when it was cleared has nothing.
                None if last.is_empty() => Duration::from_millis(200),
                _ => Duration::from_secs(3),
            };
            while let Some(packet) = subscriber.recv_within(patience(&received)) {
                let publish = packet.publish(5);
                subscriber.acknowledge(&publish);
                received.push(publish.payload);
            }
            let what = format!("round {round}, {}: {received:?}", node.name());
            // Of a topic that is cleared while the SUBSCRIBE is on its way there may be a value
            // that the clear does not follow: SUBACK says from when on everything comes.
            assert!(
                received.is_empty()
                    || last.is_empty()
                    || received.last().is_some_and(|it| it == last),
                "{what}"
            );
            assert!(!received.is_empty() || last.is_empty(), "{what}");
            // Live ones come in order, and a stored one is before those that are newer.
            let mut sorted = received.clone();
            sorted.retain(|value| !value.is_empty());
            assert!(sorted.is_sorted(), "{what}");
        }
        // Everywhere the same stays.
        if round % 10 < 2 {
            for node in nodes {
                let mut client = node.v5(&unique("sub"));
                let found = retained(&mut client, &topic);
                let found: Vec<_> = found.into_iter().map(|(_, value)| value).collect();
                let expected: Vec<_> = (!last.is_empty())
                    .then(|| last.to_vec())
                    .into_iter()
                    .collect();
                assert_eq!(found, expected, "round {round}, {}", node.name());
            }
        }
    }
}

/// [MQTT-3.3.1-10] and its like: the options of SUBSCRIBE are known to the subscriber's node.
#[test]
fn retain_handling_holds_for_messages_of_other_nodes() {
    const ONLY_IF_NEW: u8 = 1 << 4;
    const NEVER: u8 = 2 << 4;
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let topic = unique("handling");
    one.v4(&unique("pub")).publish_retained(&topic, b"kept", 1);
    let connect = Connect::persistent(5, unique("sub"));
    let mut client = two.connect(&connect).0;
    client.subscribe(&topic, 1 | ONLY_IF_NEW);
    assert_eq!(client.receive().payload, b"kept");
    client.subscribe(&topic, 1 | ONLY_IF_NEW);
    client.subscribe(&topic, 1 | NEVER);
    client.expect_silence(50);
    client.disconnect();
    // On another node the subscription is not new either.
    let mut client = three.connect(&connect).0;
    client.subscribe(&topic, 1 | ONLY_IF_NEW);
    client.expect_silence(50);
    client.send(&wire::pingreq());
    assert_eq!(client.recv().kind, wire::PINGRESP);
}

#[test]
fn who_subscribes_again_gets_what_it_has_had_live_meanwhile() {
    let cluster = Cluster::shared();
    let [here, there, _] = cluster.three();
    let topic = unique("again");
    let mut publisher = there.v4(&unique("pub"));
    let mut client = here.v5(&unique("sub"));
    for number in 0..4_u8 {
        publisher.publish_retained(&topic, [number], 1);
        if number > 0 {
            assert_eq!(client.receive().payload, [number], "live");
        }
        client.subscribe(&topic, 1);
        let publish = client.receive();
        assert_eq!(
            (publish.retain, &publish.payload[..]),
            (true, &[number][..])
        );
    }
    // A reading that does not come to its end makes no difference either.
    for number in 4..8_u8 {
        client.subscribe(&topic, 1);
        client.unsubscribe(&[&topic]);
        publisher.publish_retained(&topic, [number], 1);
        let found = retained(&mut client, &topic);
        assert!(found.contains(&(topic.clone(), vec![number])), "{found:?}");
    }
}

/// Set, cleared and read on all nodes at a time: some order explains what was found.
#[test]
fn a_retained_message_is_a_linearizable_register() {
    const STEPS: usize = 80;
    let what = "a register on three nodes";
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    let (history, topic) = (Arc::<History>::default(), unique("register"));
    let mut random = Random::from_env(what);
    let client = |number: usize| {
        let route = Route::new([nodes[number % 3].tcp()]);
        Register::new(&unique("client"), &topic, route, &history)
    };
    client(0).set_sentinel().expect("it is retained");
    thread::scope(|scope| {
        for number in 0..4 {
            let (mut client, mut random) = (client(number), random.fork());
            scope.spawn(move || {
                for _ in 0..STEPS {
                    let qos = if random.once_in(2) { 1 } else { 2 };
                    let write = |act| [Write { act, qos }];
                    let done = match random.below(6) {
                        0 => client.write(&write(Act::Clear)),
                        1 | 2 => client.write(&write(Act::Set)),
                        _ => client.read().map(|_| ()),
                    };
                    done.expect("no node fails");
                }
            });
        }
    });
    let is_read = |it: &Record| matches!(it.event, Event::RetainedRead { .. });
    let n_reads = history.records().iter().filter(|it| is_read(it)).count();
    assert!(n_reads > STEPS / 4, "only {n_reads} reads tell something");
    history.judge().assert_green(STEPS, what);
}
