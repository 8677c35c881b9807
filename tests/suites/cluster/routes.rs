//! A message goes to whoever subscribes, on whatever node, and arrives as it was sent.

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use gatemq_tests::{
    Client, Cluster, Properties, Publish, eventually,
    patience::{becomes_true, pause},
    unique, wire,
    wire::property,
};

use super::PAIRS;

/// The option of SUBSCRIBE that keeps a client's own messages from it.
const NO_LOCAL: u8 = 4;

#[test]
fn a_message_of_each_qos_goes_from_each_node_to_each_other() {
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    for (from, to) in PAIRS {
        for level in [4, 5] {
            for qos in 0..3 {
                let topic = unique("road");
                let connect = wire::Connect::new(level, unique("sub"));
                let mut subscriber = nodes[to].connect(&connect).0;
                subscriber.subscribe(&topic, qos);
                let connect = wire::Connect::new(9 - level, unique("pub"));
                let mut publisher = nodes[from].connect(&connect).0;
                publisher.publish(&topic, b"hello", qos);
                let publish = subscriber.receive();
                let what = format!("from {from} to {to}, level {level}");
                assert_eq!(publish.topic, topic, "{what}");
                assert_eq!(publish.payload, b"hello", "{what}");
                assert_eq!((publish.qos, publish.dup), (qos, false), "{what}");
                assert!(!publish.retain, "{what}");
            }
        }
    }
}

#[test]
fn a_message_comes_with_the_lower_qos_of_the_two() {
    let cluster = Cluster::shared();
    let [one, two, _] = cluster.three();
    let topic = unique("lower");
    let mut subscribers: Vec<_> = (0..3).map(|_| two.v5(&unique("sub"))).collect();
    for (subscriber, qos) in subscribers.iter_mut().zip(0..) {
        subscriber.subscribe(&topic, qos);
    }
    let mut publisher = one.v4(&unique("pub"));
    for sent in 0..3 {
        publisher.publish(&topic, [sent], sent);
        for (subscriber, granted) in subscribers.iter_mut().zip(0..) {
            let publish = subscriber.receive();
            assert_eq!(
                (publish.payload, publish.qos),
                (vec![sent], sent.min(granted))
            );
        }
    }
}

#[test]
fn wildcards_match_topics_of_other_nodes() {
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let root = unique("wild");
    let cases = [
        ("+", vec!["a"]),
        ("+/b", vec!["a/b", "c/b"]),
        ("a/#", vec!["a", "a/b", "a/b/c"]),
        ("#", vec!["a", "a/b", "a/b/c", "c/b"]),
        ("a/+/c", vec!["a/b/c"]),
    ];
    let mut publisher = three.v5(&unique("pub"));
    let mut subscribers = Vec::new();
    for (number, (filter, expected)) in cases.into_iter().enumerate() {
        let node = [one, two][number % 2];
        let mut subscriber = node.v4(&unique("sub"));
        subscriber.subscribe(&format!("{root}/{filter}"), 1);
        subscribers.push((subscriber, filter, expected));
    }
    for topic in ["a", "a/b", "a/b/c", "c/b"] {
        publisher.publish(&format!("{root}/{topic}"), topic, 1);
    }
    for (mut subscriber, filter, expected) in subscribers {
        for topic in expected {
            let publish = subscriber.receive();
            assert_eq!(publish.topic, format!("{root}/{topic}"), "{filter}");
        }
        subscriber.expect_silence(20);
    }
}

#[test]
fn an_overlap_on_another_node_is_one_delivery() {
    let cluster = Cluster::shared();
    let [one, two, _] = cluster.three();
    let topic = unique("overlap");
    let mut subscriber = two.v4(&unique("sub"));
    subscriber.subscribe(&topic, 1);
    subscriber.subscribe(&format!("{topic}/#"), 2);
    one.v4(&unique("pub")).publish(&topic, b"once", 2);
    assert_eq!(subscriber.receive().qos, 2);
    subscriber.expect_silence(100);
}

#[test]
fn after_unsubscribe_nothing_comes_from_other_nodes() {
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let topic = unique("leaves");
    let mut stays = three.v4(&unique("stays"));
    let mut leaves = two.v4(&unique("leaves"));
    let mut publisher = one.v4(&unique("pub"));
    stays.subscribe(&topic, 1);
    for round in 0..20_u8 {
        leaves.subscribe(&topic, 1);
        publisher.publish(&topic, [round], 1);
        assert_eq!(leaves.receive().payload, [round]);
        leaves.unsubscribe(&[&topic]);
        publisher.publish(&topic, [round, 1], 1);
        // Who stays has had both, so the second one was on its way.
        assert_eq!(stays.receive().payload, [round]);
        assert_eq!(stays.receive().payload, [round, 1]);
    }
    leaves.expect_silence(100);
    leaves.ping();
}

#[test]
fn one_of_two_subscribers_of_a_node_may_leave() {
    let cluster = Cluster::shared();
    let [one, two, _] = cluster.three();
    let topic = unique("first");
    let mut first = two.v4(&unique("sub"));
    let mut second = two.v4(&unique("sub"));
    first.subscribe(&topic, 1);
    second.subscribe(&topic, 1);
    first.unsubscribe(&[&topic]);
    let mut publisher = one.v4(&unique("pub"));
    publisher.publish(&topic, b"second", 1);
    assert_eq!(second.receive().payload, b"second");
    // The last one goes without an UNSUBSCRIBE, and somebody comes at once.
    second.disconnect();
    first.subscribe(&topic, 1);
    publisher.publish(&topic, b"first", 1);
    assert_eq!(first.receive().payload, b"first");
}

#[test]
fn a_second_subscriber_of_a_filter_on_another_node_gets_its_own_copy() {
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    let topic = unique("second");
    let mut subscribers = Vec::new();
    let mut publisher = nodes[0].v5(&unique("pub"));
    for round in 0..6_u8 {
        let mut subscriber = nodes[usize::from(round) % 3].v5(&unique("sub"));
        subscriber.subscribe(&topic, 1);
        subscribers.push(subscriber);
        publisher.publish(&topic, [round], 1);
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.receive().payload, [round]);
        }
    }
    for subscriber in &mut subscribers {
        subscriber.expect_silence(20);
    }
}

/// [MQTT-3.8.3-3]
#[test]
fn no_local_holds_for_the_client_and_not_for_its_node() {
    let cluster = Cluster::shared();
    let [one, two, _] = cluster.three();
    let topic = unique("nolocal");
    let mut own = one.v5(&unique("own"));
    let mut neighbour = one.v5(&unique("neighbour"));
    let mut far = two.v5(&unique("far"));
    for client in [&mut own, &mut neighbour, &mut far] {
        client.subscribe(&topic, 1 | NO_LOCAL);
    }
    own.publish(&topic, b"mine", 1);
    assert_eq!(neighbour.receive().payload, b"mine");
    assert_eq!(far.receive().payload, b"mine");
    far.publish(&topic, b"far", 1);
    assert_eq!(own.receive().payload, b"far");
    assert_eq!(neighbour.receive().payload, b"far");
    for client in [&mut own, &mut neighbour, &mut far] {
        client.expect_silence(50);
    }
}

/// [MQTT-3.8.3-3]: a client that moves stays itself, though its messages may come from afar.
#[test]
fn no_local_holds_for_a_session_that_moves_with_its_messages_on_the_way() {
    let cluster = Cluster::shared();
    let [one, two, _] = cluster.three();
    let topic = unique("nolocal");
    let connect = wire::Connect::persistent(5, unique("own"));
    let mut own = one.connect(&connect).0;
    own.subscribe(&topic, 1 | NO_LOCAL);
    let mut own = two.connect(&connect).0;
    own.publish(&topic, b"mine", 1);
    one.v5(&unique("pub")).publish(&topic, b"other", 1);
    assert_eq!(own.receive().payload, b"other");
    own.expect_silence(50);
}

/// [MQTT-3.3.2-6]
#[test]
fn message_expiry_counts_down_across_nodes() {
    let cluster = Cluster::shared();
    let [one, two, _] = cluster.three();
    let topic = unique("expiry");
    let connect = wire::Connect::persistent(5, unique("sub"));
    let mut subscriber = two.connect(&connect).0;
    subscriber.subscribe(&topic, 1);
    let mut publisher = one.v5(&unique("pub"));
    let send = |publisher: &mut Client, payload: &str, seconds| {
        let properties = Properties::new().four(property::MESSAGE_EXPIRY_INTERVAL, seconds);
        publisher.publish_packet(Publish {
            qos: 1,
            ..Publish::new(&topic, payload).properties(properties)
        });
    };
    send(&mut publisher, "at once", 100);
    let publish = subscriber.receive();
    let left = publish.properties.number(property::MESSAGE_EXPIRY_INTERVAL);
    assert!((98..=100).contains(&left.expect("an expiry")), "{left:?}");
    subscriber.disconnect();
    send(&mut publisher, "late", 100);
    send(&mut publisher, "too late", 1);
    pause(Duration::from_millis(2_100));
    let (mut subscriber, connack) = two.connect(&connect);
    assert!(connack.session_present);
    let publish = subscriber.receive();
    assert_eq!(publish.payload, b"late");
    let left = publish.properties.number(property::MESSAGE_EXPIRY_INTERVAL);
    assert!((95..=98).contains(&left.expect("an expiry")), "{left:?}");
    subscriber.expect_silence(100);
}

/// The requester subscribes to a response topic of its own on one node and asks at once through
/// it; the responder on another answers at once. The answer finds its way, the first one too.
#[test]
fn the_first_reply_to_a_request_is_never_lost() {
    const ROUNDS: usize = 200;
    let cluster = Cluster::shared();
    let [one, two, _] = cluster.three();
    let requests = unique("request");
    let mut responder = two.v5(&unique("responder"));
    responder.subscribe(&requests, 0);
    let answering = thread::spawn(move || {
        for _ in 0..ROUNDS {
            let request = responder.receive();
            let reply_to = request.properties.string(property::RESPONSE_TOPIC);
            let correlation = request.properties.data(property::CORRELATION_DATA);
            let correlation = correlation.expect("correlation data");
            responder.send(
                &Publish::new(reply_to.expect("a response topic"), &request.payload)
                    .properties(Properties::new().binary(property::CORRELATION_DATA, correlation))
                    .bytes(5),
            );
        }
        responder
    });
    let mut requester = one.v5(&unique("requester"));
    for round in 0..ROUNDS {
        let reply_to = unique("reply");
        let mark = round.to_string();
        requester.subscribe(&reply_to, 0);
        let properties = Properties::new()
            .text(property::RESPONSE_TOPIC, &reply_to)
            .binary(property::CORRELATION_DATA, mark.as_bytes());
        let request = Publish::new(&requests, b"question").properties(properties);
        requester.send(&request.bytes(5));
        let reply = requester.expect_publish();
        assert_eq!(reply.topic, reply_to, "round {round}");
        let correlation = reply.properties.data(property::CORRELATION_DATA);
        assert_eq!(correlation, Some(mark.as_bytes()), "round {round}");
        if round % 2 == 0 {
            requester.unsubscribe(&[&reply_to]);
        }
    }
    answering.join().expect("the responder got every request");
}

/// Several publishers on two nodes and several topics each, subscribers on three: of each publisher
/// and topic the messages come in order, each once.
#[test]
fn order_is_kept_for_each_publisher_and_topic_under_load() {
    const N_MESSAGES: u16 = 400;
    const WINDOW: usize = 32;
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    let root = unique("order");
    let mut receivers = Vec::new();
    for (number, qos) in [(0, 1), (1, 2), (2, 1), (2, 2)] {
        let mut subscriber = nodes[number].v5(&unique("sub"));
        subscriber.set_limit(Duration::from_secs(30));
        subscriber.subscribe(&format!("{root}/#"), qos);
        receivers.push((subscriber, format!("node {number}, qos {qos}")));
    }
    // Publishers 0 and 1 send QoS 1, publishers 2 and 3 QoS 2.
    thread::scope(|scope| {
        for number in 0..4_u8 {
            let node = nodes[usize::from(number) % 2];
            let root = &root;
            scope.spawn(move || {
                let mut publisher = node.v5(&unique("pub"));
                publisher.set_limit(Duration::from_secs(30));
                let qos = 1 + number / 2;
                let mut n_waiting = 0;
                for seq in 0..N_MESSAGES {
                    let topic = format!("{root}/{number}/{}", seq % 3);
                    let publish = Publish::new(&topic, seq.to_be_bytes());
                    publisher.send(&publish.qos(qos, seq + 1).bytes(5));
                    n_waiting += 1;
                    while n_waiting >= WINDOW {
                        finish_one(&mut publisher, qos);
                        n_waiting -= 1;
                    }
                }
                for _ in 0..n_waiting {
                    finish_one(&mut publisher, qos);
                }
            });
        }
        for (subscriber, what) in &mut receivers {
            scope.spawn(move || {
                let mut last: HashMap<String, u16> = HashMap::new();
                for _ in 0..4 * N_MESSAGES {
                    let publish = subscriber.receive();
                    let seq = publish.payload.try_into().expect("two bytes");
                    let seq = u16::from_be_bytes(seq);
                    let before = last.insert(publish.topic.clone(), seq);
                    let expected = before.map_or(seq % 3, |before| before + 3);
                    assert_eq!(seq, expected, "{what}, {}", publish.topic);
                }
                subscriber.expect_silence(50);
            });
        }
    });
}

/// Goes through what is left of the oldest exchange.
fn finish_one(publisher: &mut Client, qos: u8) {
    let kind = if qos == 1 { wire::PUBACK } else { wire::PUBREC };
    let ack = publisher.recv_kind(kind).ack(kind, 5);
    assert!(ack.reason < 0x80, "{ack:02x?}");
    if qos == 2 {
        publisher.send(&wire::ack(wire::PUBREL, ack.id));
        publisher.expect_ack(wire::PUBCOMP, ack.id);
    }
}

/// [MQTT-3.3.2-17], [MQTT-3.3.2-18], [MQTT-3.3.2-20]
#[test]
fn properties_survive_the_hop() {
    let cluster = Cluster::shared();
    let [one, two, _] = cluster.three();
    let topic = unique("props");
    let mut subscriber = two.v5(&unique("sub"));
    let number = Properties::new().var(property::SUBSCRIPTION_IDENTIFIER, 77_777);
    let suback = subscriber.subscribe_with(&number, &[(&topic, 2)]);
    assert_eq!(suback.codes, [2]);
    let wide = Properties::new().var(property::SUBSCRIPTION_IDENTIFIER, 5);
    subscriber.subscribe_with(&wide, &[(&format!("{topic}/#"), 2)]);
    let properties = Properties::new()
        .byte(property::PAYLOAD_FORMAT_INDICATOR, 1)
        .text(property::CONTENT_TYPE, "text/plain; charset=utf-8")
        .text(property::RESPONSE_TOPIC, "answers/here")
        .binary(property::CORRELATION_DATA, &[0, 255, 1, 254])
        .user("first", "1")
        .user("second", "ä€𝄞")
        .user("first", "again");
    for qos in 0..3 {
        let sent = Publish::new(&topic, "grüße").properties(properties.clone());
        one.v5(&unique("pub"))
            .publish_packet(Publish { qos, ..sent });
        let got = subscriber.receive();
        assert_eq!(got.payload, "grüße".as_bytes());
        let properties = &got.properties;
        assert_eq!(
            properties.users(),
            [("first", "1"), ("second", "ä€𝄞"), ("first", "again")],
            "qos {qos}"
        );
        assert_eq!(
            properties.string(property::CONTENT_TYPE),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(
            properties.string(property::RESPONSE_TOPIC),
            Some("answers/here")
        );
        let correlation = properties.data(property::CORRELATION_DATA);
        assert_eq!(correlation, Some(&[0, 255, 1, 254][..]));
        assert_eq!(
            properties.number(property::PAYLOAD_FORMAT_INDICATOR),
            Some(1)
        );
        let mut numbers: Vec<_> = properties
            .all(property::SUBSCRIPTION_IDENTIFIER)
            .into_iter()
            .cloned()
            .collect();
        numbers.sort_by_key(|value| format!("{value:?}").len());
        assert_eq!(
            numbers,
            [wire::Value::Var(5), wire::Value::Var(77_777)],
            "qos {qos}"
        );
    }
}

/// [MQTT-3.8.3-4]: Retain As Published is a matter of the subscriber's node.
#[test]
fn retain_as_published_is_known_to_the_subscribers_node() {
    const RETAIN_AS_PUBLISHED: u8 = 8;
    let cluster = Cluster::shared();
    let [one, two, _] = cluster.three();
    let topic = unique("rap");
    let mut plain = two.v5(&unique("plain"));
    let mut keeps = two.v5(&unique("keeps"));
    plain.subscribe(&topic, 1);
    keeps.subscribe(&topic, 1 | RETAIN_AS_PUBLISHED);
    let mut publisher = one.v5(&unique("pub"));
    publisher.publish_retained(&topic, b"kept", 1);
    publisher.publish(&topic, b"not kept", 1);
    let received = [(); 2].map(|()| (plain.receive().retain, keeps.receive().retain));
    assert_eq!(received, [(false, true), (false, false)]);
    publisher.publish_retained(&topic, b"", 1);
}

#[test]
fn a_large_message_crosses() {
    // The largest packet that clients may send by default is 1 MiB with its header.
    let payload: Vec<u8> = (0..(1_u32 << 20) - 100)
        .map(|index| u8::try_from(index * 31 % 251).expect("below 251"))
        .collect();
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let topic = unique("large");
    let mut near = two.v4(&unique("sub"));
    let mut far = three.v5(&unique("sub"));
    near.subscribe(&topic, 2);
    far.subscribe(&topic, 2);
    let mut publisher = one.v4(&unique("pub"));
    for qos in 0..3 {
        publisher.publish(&topic, &payload, qos);
        for subscriber in [&mut near, &mut far] {
            let received = subscriber.receive().payload;
            assert_eq!(received.len(), payload.len(), "qos {qos}");
            assert!(received == payload, "qos {qos}: the bytes differ");
        }
    }
    // Small ones around it keep their places.
    for number in 0..10_u8 {
        publisher.publish(
            &topic,
            if number == 5 {
                &payload
            } else {
                &payload[..10]
            },
            1,
        );
    }
    for number in 0..10_u8 {
        let length = far.receive().payload.len();
        assert_eq!(length > 10, number == 5, "message {number}");
    }
}

/// A client that reads nothing costs its node no more than its queue, and others go on.
#[test]
fn a_stuck_subscriber_does_not_hold_up_others_on_its_node() {
    let cluster = Cluster::shared();
    let [one, two, _] = cluster.three();
    let topic = unique("stuck");
    let mut stuck = two.v4(&unique("stuck"));
    let mut reads = two.v4(&unique("reads"));
    stuck.subscribe(&topic, 0);
    reads.subscribe(&topic, 0);
    let mut publisher = one.v4(&unique("pub"));
    let payload = vec![b'x'; 64 << 10];
    for number in 0..200 {
        publisher.publish(&topic, &payload, 0);
        assert_eq!(reads.receive().payload.len(), payload.len(), "{number}");
    }
    assert!(becomes_true(Duration::from_secs(1), || stuck.is_open()));
    eventually!(two.rss_kib() < 400_000);
}

/// One node that has no memory does not take what others send, and does not stop them for ever.
#[test]
fn what_is_for_a_node_without_memory_waits_and_is_refused_at_last() {
    const QUOTA_EXCEEDED: u8 = 0x97;
    let limits = "limits: {memory: 220MiB, max-queued-bytes: 4GiB, stuck-timeout: 3s}";
    let cluster = Cluster::builder().whole(1).gateways(1).setting(limits);
    let cluster = cluster.start();
    let (full, other) = (cluster.node("n1"), cluster.node("g1"));
    // It takes one message, and never says so: all others wait for it.
    let properties = Properties::new().two(property::RECEIVE_MAXIMUM, 1);
    let connect = wire::Connect::new(5, unique("greedy")).properties(properties);
    let mut greedy = full.connect(&connect).0;
    greedy.subscribe("m", 1);
    let mut witness = full.v5(&unique("witness"));
    witness.subscribe("gone", 1);
    let leaving = {
        let will = wire::Will::new("gone", "will").qos(1);
        let connect = wire::Connect::new(5, unique("leaving")).will(will);
        other.connect(&connect).0
    };
    let mut publisher = other.v5(&unique("pub"));
    publisher.set_limit(Duration::from_secs(20));
    let mut publish = |payload: Vec<u8>| {
        let id = publisher.next_id();
        publisher.send(&Publish::new("m", payload).qos(1, id).bytes(5));
        let begin = Instant::now();
        let reason = publisher.expect_ack(wire::PUBACK, id).reason;
        (reason, begin.elapsed())
    };
    let refused = (0..5_000).find_map(|_| {
        let (reason, waited) = publish(vec![b'x'; 200_000]);
        (reason >= 0x80).then_some((reason, waited))
    });
    let (reason, waited) = refused.expect("it takes no more at last");
    assert_eq!(reason, QUOTA_EXCEEDED);
    assert!(waited > Duration::from_secs(1), "refused after {waited:?}");
    assert_eq!(full.metric("gateway_memory_level"), Some(2.0));
    assert_eq!(publish(b"small".to_vec()).0, QUOTA_EXCEEDED);
    // Nobody would publish a will again.
    leaving.cut();
    assert_eq!(witness.receive().topic, "gone");
    assert_eq!(full.metric("gateway_memory_level"), Some(2.0));
    assert!(full.rss_kib() < 220 << 10, "{} KiB", full.rss_kib());
    // What was kept for it is free again, and everything goes on.
    greedy.cut();
    let is_open = becomes_true(Duration::from_secs(20), || {
        let connect = wire::Connect::new(5, unique("knock"));
        full.attempt(&connect).1.code == 0
    });
    assert!(is_open, "it has memory again");
    let mut late = full.v5(&unique("late"));
    late.subscribe("m", 1);
    assert_eq!(publish(b"late".to_vec()).0, 0);
    assert_eq!(late.receive().payload, b"late");
}
