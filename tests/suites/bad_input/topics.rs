//! A13 and A14: topics that are too deep or too long, and filters that are none.

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, Will, unique,
    wire::{self, property},
};

use super::{
    oracle::{Oracle, scaled},
    verdict::{PROTOCOL_ERROR, WRONG, connected, refuses, refuses_connect},
};

/// SUBACK of this code, or a DISCONNECT of it (or, for all filters, of a malformed packet).
#[track_caller]
fn no_filter(broker: &Broker, filter: &str) {
    let subscribe = |level| wire::subscribe(level, 7, &Properties::new(), &[(filter, 0)]);
    let unsubscribe = |level| wire::unsubscribe(level, 8, &Properties::new(), &[filter]);
    let shown: String = filter.chars().take(40).collect();

    let mut client = connected(broker, 5);
    client.send(&subscribe(5));
    let answer = client.recv();
    let code = match answer.kind {
        wire::DISCONNECT => answer.disconnect(wire::DISCONNECT).reason,
        _ => answer.suback(wire::SUBACK, 5).codes[0],
    };
    assert_eq!(code, 0x8F, "SUBSCRIBE {shown}: {code:#04x}");

    let mut client = connected(broker, 5);
    client.send(&unsubscribe(5));
    let answer = client.recv();
    let code = match answer.kind {
        wire::DISCONNECT => answer.disconnect(wire::DISCONNECT).reason,
        _ => answer.suback(wire::UNSUBACK, 5).codes[0],
    };
    assert_eq!(code, 0x8F, "UNSUBSCRIBE {shown}: {code:#04x}");

    // Before 5 the connection ends, which [MQTT-4.8.0-1] has for a violation.
    for (name, packet) in [("SUBSCRIBE", subscribe(4)), ("UNSUBSCRIBE", unsubscribe(4))] {
        let what = format!("{name} {shown} in 3.1.1");
        refuses(broker, 4, &packet, WRONG, &what);
    }
}

/// Refused as a topic name: by a DISCONNECT, or by the PUBACK of the QoS 1 one.
#[track_caller]
fn no_topic(broker: &Broker, topic: &str, codes: &[u8]) {
    let shown: String = topic.chars().take(40).collect();
    let publish = |retain| {
        let publish = Publish::new(topic, b"x");
        if retain { publish.retain() } else { publish }
    };
    for retain in [false, true] {
        refuses(broker, 4, &publish(retain).bytes(4), codes, &shown);
        let mut client = connected(broker, 5);
        client.send(&publish(retain).qos(1, 7).bytes(5));
        let answer = client.recv();
        let code = match answer.kind {
            wire::PUBACK => answer.ack(wire::PUBACK, 5).reason,
            _ => answer.disconnect(wire::DISCONNECT).reason,
        };
        assert!(codes.contains(&code), "PUBLISH {shown}: {code:#04x}");
    }
    for level in [4, 5] {
        // A will's topic is also bound by the largest CONNECT, which the longest would exceed.
        let topic = &topic[..topic.len().min(60_000)];
        let connect = Connect::new(level, unique("will")).will(Will::new(topic, b"x"));
        refuses_connect(
            broker,
            level,
            &connect.bytes(),
            codes,
            &format!("will {shown}"),
        );
    }
}

#[test]
fn a13_the_deepest_and_longest_topics_are_refused() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let deep = [
        "/".repeat(65_535),
        "a/".repeat(32_767),
        format!("{}a", "a/".repeat(128)),
    ];
    for topic in &deep {
        no_topic(&broker, topic, &[0x90]);
        no_filter(&broker, topic);
        let shared = format!("$share/g/{topic}");
        no_filter(&broker, &shared[..shared.len().min(65_535)]);
    }
    for filter in ["+/".repeat(32_767), format!("{}#", "+/".repeat(32_700))] {
        no_filter(&broker, &filter);
    }
    oracle.judge(32 * 1024);
}

/// A response topic is bound by the packet alone: how deep and long it may be is settled when
/// somebody publishes to it.
#[test]
fn a13_a_response_topic_may_be_long_but_nobody_publishes_to_it() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let topic = unique("asked");
    let mut watcher = connected(&broker, 5);
    watcher.subscribe(&topic, 1);
    for response in ["/".repeat(65_535), "a/".repeat(32_767)] {
        let properties = Properties::new().text(property::RESPONSE_TOPIC, &response);
        let mut client = connected(&broker, 5);
        let publish = Publish::new(&topic, b"x").properties(properties);
        client.publish_packet(Publish { qos: 1, ..publish });
        let received = watcher.receive();
        let came = received.properties.string(property::RESPONSE_TOPIC);
        assert!(came == Some(response.as_str()), "it comes as it was sent");
        refuses(
            &broker,
            5,
            &Publish::new(&response, b"x").bytes(5),
            &[0x90],
            "the answer",
        );
    }
    drop(watcher);
    oracle.judge(32 * 1024);
}

#[test]
fn a13_topics_within_the_limits_work() {
    let broker = Broker::builder()
        .config("limits: {max-topic-length: 65500}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    let topics = [
        format!("{}a", "a/".repeat(127)),
        "/".repeat(127),
        "x".repeat(65_500),
        format!("{}/y", "x".repeat(65_498)),
        "//".to_owned(),
        "/".to_owned(),
        " ".to_owned(),
    ];
    for level in [4, 5] {
        for topic in &topics {
            let mut client = connected(&broker, level);
            client.subscribe(topic, 1);
            client.publish(topic, b"x", 1);
            assert!(client.recv_kind(wire::PUBLISH).publish(level).topic == *topic);
            client.disconnect();
        }
    }
    oracle.judge(32 * 1024);
}

/// Scale 1: 2,000 filters of 127 wildcards, which a naive matcher walks in exponential time.
#[test]
fn a13_many_wildcards_do_not_slow_the_match() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let mut client = connected(&broker, 5);
    for number in 0..scaled(2_000) {
        let levels: Vec<_> = (0..126)
            .map(|level| {
                if number >> (level % 11) & 1 == 1 {
                    "+"
                } else {
                    "a"
                }
            })
            .collect();
        client.subscribe(&format!("{}/{number}", levels.join("/")), 0);
    }
    let topic = format!("{}b", "a/".repeat(126));
    for _ in 0..100 {
        client.publish(&topic, b"x", 1);
    }
    let silent = client.recv_within(std::time::Duration::from_millis(100));
    assert!(silent.is_none(), "no filter matches: {silent:?}");
    drop(client);
    oracle.judge(512 * 1024);
}

/// Scale 1: 60,000 filters in one packet of a megabyte, of which 10,000 fit the quota.
#[test]
fn a13_a_subscribe_of_very_many_filters() {
    let broker = Broker::builder()
        .config("limits: {max-subscriptions: 10000}\n")
        .start();
    let oracle = Oracle::watch(&broker);
    let filters: Vec<_> = (0..60_000).map(|number| format!("many/{number}")).collect();
    for level in [4, 5] {
        let mut client = connected(&broker, level);
        let list: Vec<_> = filters.iter().map(|filter| (filter.as_str(), 1)).collect();
        let suback = client.subscribe_with(&Properties::new(), &list);
        assert_eq!(suback.codes.len(), list.len());
        let refusal = if level == 5 { 0x97 } else { 0x80 };
        let (taken, refused) = suback.codes.split_at(10_000);
        assert!(taken.iter().all(|code| *code == 1) && refused.iter().all(|code| *code == refusal));
        let list: Vec<_> = filters.iter().map(String::as_str).collect();
        let unsuback = client.unsubscribe(&list);
        assert_eq!(
            unsuback.codes.len(),
            if level == 5 { list.len() } else { 0 }
        );
        client.disconnect();
    }
    oracle.judge(64 * 1024);
}

// [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.8.2-1] [MQTT-4.8.2-2]
#[test]
fn a14_filters_that_are_none() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let filters = [
        "a#",
        "#/a",
        "a/#/b",
        "##",
        "#a",
        "a/b#",
        "a/#b",
        "+#",
        "a+",
        "+a",
        "a/+b",
        "a/b+/c",
        "++",
        "$share//t",
        "$share/+/t",
        "$share/#/t",
        "$share/g+/t",
        "$share/g/",
        "$share/g",
        "$share/g/a#",
        "$share/g/#/a",
        "$share/g/a+",
    ];
    for filter in filters {
        no_filter(&broker, filter);
    }
    oracle.judge(16 * 1024);
}

// [MQTT-3.8.4-6]: each filter has its own code.
#[test]
fn a14_a_bad_filter_does_not_spoil_the_good_ones() {
    let broker = Broker::shared();
    let mut client = connected(&broker, 5);
    let (one, two) = (unique("good"), unique("good"));
    let suback = client.subscribe_with(
        &Properties::new(),
        &[(&one, 1), ("a#", 1), ("", 0), ("$share//x", 0), (&two, 2)],
    );
    assert_eq!(suback.codes, [1, 0x8F, 0x8F, 0x8F, 2]);
    client.publish(&two, b"x", 1);
    assert_eq!(client.recv_kind(wire::PUBLISH).publish(5).topic, two);
}

// [MQTT-3.3.2-2] [MQTT-3.3.2-14]
#[test]
fn a14_wildcards_are_not_for_topic_names() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    for topic in ["a/#", "#", "+", "a/+/b", "a+b", "a#b"] {
        no_topic(&broker, topic, &[0x90]);
        let response = Properties::new().text(property::RESPONSE_TOPIC, topic);
        let publish = Publish::new("a", b"x")
            .properties(response.clone())
            .bytes(5);
        refuses(
            &broker,
            5,
            &publish,
            PROTOCOL_ERROR,
            &format!("response topic {topic}"),
        );
        let will = Will::new("w", b"x").properties(response);
        let connect = Connect::new(5, unique("will")).will(will).bytes();
        refuses_connect(
            &broker,
            5,
            &connect,
            PROTOCOL_ERROR,
            &format!("will's {topic}"),
        );
    }
    oracle.judge(16 * 1024);
}

/// Clients do not publish to the broker's own topics.
#[test]
fn a14_system_topics_are_the_brokers() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let mut watcher = Client::v5(&broker, &unique("watcher"));
    watcher.subscribe("$SYS/fake", 0);
    watcher.subscribe("#", 0);
    for topic in ["$SYS/fake", "$SYS"] {
        for level in [4, 5] {
            let mut client = connected(&broker, level);
            client.send(&Publish::new(topic, b"fake").retain().bytes(level));
            // Dropped, or refused: both are an answer.
            super::verdict::probe(&mut client, level, topic);
        }
    }
    while let Some(packet) = watcher.recv_within(std::time::Duration::from_millis(300)) {
        // The canary's messages come too.
        assert_ne!(packet.publish(5).payload, b"fake");
        if packet.publish(5).topic.starts_with("canary") {
            break;
        }
    }
    drop(watcher);
    oracle.judge(16 * 1024);
}

// [MQTT-3.8.3-4]
#[test]
fn a14_no_local_on_a_shared_subscription() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let packet = wire::subscribe(5, 1, &Properties::new(), &[("$share/g/t", 0b100)]);
    refuses(&broker, 5, &packet, PROTOCOL_ERROR, "no local on $share");
    let id = Properties::new().var(property::SUBSCRIPTION_IDENTIFIER, 0);
    let packet = wire::subscribe(5, 1, &id, &[("t", 0)]);
    refuses(
        &broker,
        5,
        &packet,
        PROTOCOL_ERROR,
        "subscription identifier 0",
    );
    for kind in [wire::SUBSCRIBE, wire::UNSUBSCRIBE] {
        let empty = wire::frame(kind << 4 | 2, &[0, 1, 0]);
        refuses(&broker, 5, &empty, WRONG, "no filter at all");
        let nameless = wire::frame(kind << 4 | 2, &[0, 0, 0, 0, 1, b'a', 0]);
        refuses(&broker, 5, &nameless, WRONG, "packet id 0");
    }
    oracle.judge(16 * 1024);
}
