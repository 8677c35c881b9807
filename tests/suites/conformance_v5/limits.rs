//! Chapters 3.1.2.11.4 and 3.2.2.3: Maximum Packet Size in both directions, and a server that
//! lacks something, says so, and refuses what asks for it.

use std::time::{Duration, Instant};

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, Shared, Will, unique,
    wire::{self, property},
};

use super::scene::{
    client, client_with, ends, leave, nothing_before_marker, refuses, refuses_connect, resume,
    send_publish, session_expiry,
};

/// A broker with little to offer; `None` where the tests run against another one, whose settings
/// are not ours.
fn poor() -> Option<Shared> {
    const SETTINGS: &str = "
limits:
  maximum-packet-size: 200B
  receive-maximum: 3
  topic-alias-maximum: 0
  maximum-qos: 1
  retain-available: false
  wildcard-available: false
  subscription-ids-available: false
  shared-available: false
  server-keep-alive: 2s
  session-expiry: 60s
session:
  response-information: answers/here
";
    (!Broker::is_foreign()).then(|| Broker::builder().config(SETTINGS).shared())
}

fn maximum_packet_size(bytes: usize) -> Properties {
    let bytes = u32::try_from(bytes).expect("small");
    Properties::new().four(property::MAXIMUM_PACKET_SIZE, bytes)
}

#[test]
fn mqtt_3_1_2_24_no_packet_above_the_clients_maximum_is_sent() {
    let broker = Broker::shared();
    for qos in 0..3 {
        let topic = unique("m");
        let id = if qos > 0 { 2 } else { 0 };
        // First byte, length, topic, id, properties; then the payload up to the limit.
        let overhead = 2 + 2 + topic.len() + id + 1;
        let mut subscriber = client_with(&broker, maximum_packet_size(100));
        subscriber.subscribe(&topic, 2);
        let mut publisher = client(&broker);
        for length in [101, 100, 5000, 99] {
            publisher.publish(&topic, vec![b'x'; length - overhead], qos);
        }
        for length in [100, 99] {
            let packet = subscriber.recv();
            assert_eq!(super::scene::size(&packet), length);
        }
        subscriber.expect_silence(100);
    }
}

#[test]
fn mqtt_3_1_2_25_a_message_that_is_too_large_counts_as_delivered() {
    let broker = Broker::shared();
    for qos in [1, 2] {
        let (id, topic) = (unique("c"), unique("m"));
        let properties = session_expiry(60)
            .four(property::MAXIMUM_PACKET_SIZE, 100)
            .two(property::RECEIVE_MAXIMUM, 1);
        let connect = Connect::persistent(5, &id).properties(properties);
        let (mut subscriber, _) = Client::connect(&broker, &connect);
        subscriber.subscribe(&topic, 2);
        let mut publisher = client(&broker);
        for _ in 0..3 {
            // The publisher gets its acknowledgement, and the quota is not used up.
            publisher.publish(&topic, vec![b'x'; 200], qos);
        }
        publisher.publish(&topic, b"small", qos);
        assert_eq!(subscriber.receive().payload, b"small");
        leave(subscriber);
        // The same for what waits in the queue, and it does not come back later.
        publisher.publish(&topic, vec![b'x'; 200], qos);
        publisher.publish(&topic, b"small", qos);
        let (mut subscriber, _) = Client::connect(&broker, &connect);
        assert_eq!(subscriber.receive().payload, b"small");
        leave(subscriber);
        let (mut subscriber, _) = resume(&broker, &id);
        nothing_before_marker(&mut subscriber, &mut publisher);
    }
}

#[test]
fn mqtt_3_1_2_25_a_retained_message_that_is_too_large_is_left_out() {
    let broker = Broker::shared();
    let root = unique("m");
    let mut publisher = client(&broker);
    publisher.publish_retained(&format!("{root}/large"), vec![b'x'; 200], 1);
    publisher.publish_retained(&format!("{root}/small"), b"small", 1);
    let mut subscriber = client_with(&broker, maximum_packet_size(100));
    subscriber.subscribe(&format!("{root}/#"), 1);
    assert_eq!(subscriber.receive().payload, b"small");
    subscriber.expect_silence(100);
}

#[test]
fn mqtt_3_2_2_15_a_packet_above_the_servers_maximum_is_refused() {
    let broker = Broker::shared();
    let (_, connack) = Client::connect(&broker, &Connect::new(5, unique("c")));
    let Some(maximum) = connack.properties.number(property::MAXIMUM_PACKET_SIZE) else {
        assert!(Broker::is_foreign(), "GateMQ states its limit: {connack:?}");
        return;
    };
    let maximum = usize::try_from(maximum).expect("64-bit machine");
    let overhead = 1 + wire::var_int(maximum).len() + 3 + 1;
    let mut publisher = client(&broker);
    let publish = Publish::new("t", vec![0; maximum - overhead]).bytes(5);
    assert_eq!(publish.len(), maximum);
    publisher.send(&publish);
    publisher.ping();
    // One byte more: the header says it all.
    let header = &Publish::new("t", vec![0; maximum - overhead + 1]).bytes(5)[..9];
    refuses(&broker, header, &[0x95]);
    refuses(&broker, b"\x30\xff\xff\xff\x7f", &[0x95]);
}

#[test]
fn mqtt_3_2_2_9_a_poor_server_says_what_it_lacks() {
    let Some(broker) = poor() else { return };
    let connect = Connect::new(5, unique("c"))
        .properties(session_expiry(3600).byte(property::REQUEST_RESPONSE_INFORMATION, 1));
    let (_, connack) = Client::connect(&broker, &connect);
    let number = |id| connack.properties.number(id);
    assert_eq!(number(property::MAXIMUM_QOS), Some(1));
    assert_eq!(number(property::RETAIN_AVAILABLE), Some(0));
    assert_eq!(number(property::WILDCARD_SUBSCRIPTION_AVAILABLE), Some(0));
    assert_eq!(number(property::SUBSCRIPTION_IDENTIFIER_AVAILABLE), Some(0));
    assert_eq!(number(property::SHARED_SUBSCRIPTION_AVAILABLE), Some(0));
    assert_eq!(number(property::MAXIMUM_PACKET_SIZE), Some(200));
    assert_eq!(number(property::RECEIVE_MAXIMUM), Some(3));
    assert!(matches!(
        number(property::TOPIC_ALIAS_MAXIMUM),
        None | Some(0)
    ));
    assert_eq!(number(property::SESSION_EXPIRY_INTERVAL), Some(60));
    assert_eq!(number(property::SERVER_KEEP_ALIVE), Some(2));
    let answers = connack.properties.string(property::RESPONSE_INFORMATION);
    assert_eq!(answers, Some("answers/here"));
    // Not for who does not ask. [MQTT-3.1.2-28]
    let (_, connack) = Client::connect(&broker, &Connect::new(5, unique("c")));
    assert!(!connack.properties.has(property::RESPONSE_INFORMATION));
}

#[test]
fn mqtt_3_2_2_10_a_server_without_qos_2_takes_subscriptions_of_any_qos() {
    let Some(broker) = poor() else { return };
    let (topic, mut subscriber) = (unique("t"), client(&broker));
    for (asked, granted) in [(0, 0), (1, 1), (2, 1)] {
        assert_eq!(subscriber.subscribe(&topic, asked), granted); // [MQTT-3.8.4-7]
    }
    client(&broker).publish(&topic, b"x", 1);
    assert_eq!(subscriber.receive().qos, 1);
}

#[test]
fn mqtt_3_2_2_11_a_publish_above_maximum_qos_is_refused() {
    let Some(broker) = poor() else { return };
    refuses(
        &broker,
        &Publish::new("t", b"x").qos(2, 1).bytes(5),
        &[0x9B],
    );
}

#[test]
fn mqtt_3_2_2_12_a_will_above_maximum_qos_is_refused() {
    let Some(broker) = poor() else { return };
    let connect = Connect::new(5, unique("c")).will(Will::new("t", "x").qos(2));
    refuses_connect(&broker, &connect.bytes(), &[0x9B]);
}

#[test]
fn mqtt_3_2_2_13_a_retained_will_is_refused_without_retain() {
    let Some(broker) = poor() else { return };
    let connect = Connect::new(5, unique("c")).will(Will::new("t", "x").retain());
    refuses_connect(&broker, &connect.bytes(), &[0x9A]);
}

#[test]
fn mqtt_3_2_2_14_a_retained_publish_is_refused_without_retain() {
    let Some(broker) = poor() else { return };
    refuses(&broker, &Publish::new("t", b"x").retain().bytes(5), &[0x9A]);
}

#[test]
fn mqtt_3_2_2_subscriptions_that_are_not_available_are_refused() {
    let Some(broker) = poor() else { return };
    let none = Properties::new();
    let id = Properties::new().var(property::SUBSCRIPTION_IDENTIFIER, 1);
    let cases = [
        (&none, "a/+", 0xA2),
        (&none, "#", 0xA2),
        (&none, "$share/g/t", 0x9E),
        (&id, "t", 0xA1),
    ];
    for (properties, filter, code) in cases {
        let mut client = client(&broker);
        client.send(&wire::subscribe(5, 1, properties, &[(filter, 0)]));
        let packet = client.recv();
        // Either way is the standard's.
        if packet.kind == wire::SUBACK {
            assert_eq!(packet.suback(wire::SUBACK, 5).codes, [code], "{filter}");
        } else {
            assert_eq!(packet.disconnect(wire::DISCONNECT).reason, code, "{filter}");
        }
    }
}

#[test]
fn mqtt_3_2_2_17_aliases_are_refused_where_none_are_taken() {
    let Some(broker) = poor() else { return };
    let alias = Properties::new().two(property::TOPIC_ALIAS, 1);
    let publish = Publish::new("t", b"x").properties(alias);
    refuses(&broker, &publish.bytes(5), &[0x94]); // [MQTT-3.2.2-18]
}

#[test]
fn mqtt_3_3_4_7_a_small_receive_maximum_is_enforced() {
    let Some(broker) = poor() else { return };
    let mut publisher = client(&broker);
    for round in 0..10u16 {
        // QoS 1 is acknowledged by the broker in time; it can be used without end.
        publisher.publish(&unique("t"), round.to_be_bytes(), 1);
    }
    let burst: Vec<u8> = (1..=200u16)
        .flat_map(|id| Publish::new("t", b"x").qos(1, id).bytes(5))
        .collect();
    // Whether the broker sees four at once depends on its reads; what it may not do is to lose
    // one silently: each is acknowledged, or the connection ends with 0x93.
    publisher.send(&burst);
    for id in 1..=200 {
        let packet = publisher.recv();
        if packet.kind == wire::DISCONNECT {
            assert_eq!(packet.disconnect(wire::DISCONNECT).reason, 0x93);
            return;
        }
        assert_eq!(packet.ack(wire::PUBACK, 5).id, id);
    }
}

#[test]
fn mqtt_3_1_2_21_the_servers_keep_alive_is_the_one_that_counts() {
    let Some(broker) = poor() else { return };
    for asked in [0, 600] {
        let connect = Connect::new(5, unique("c")).keep_alive(asked);
        let (mut client, connack) = Client::connect(&broker, &connect);
        assert_eq!(
            connack.properties.number(property::SERVER_KEEP_ALIVE),
            Some(2)
        );
        let start = Instant::now();
        ends(&mut client, &[0x8D]); // [MQTT-3.2.2-21]
        let took = start.elapsed();
        let expected = Duration::from_millis(2700)..Duration::from_millis(6000);
        assert!(expected.contains(&took), "after {took:?}");
    }
    // One that is short enough stays the client's.
    let connect = Connect::new(5, unique("c")).keep_alive(1);
    let (_, connack) = Client::connect(&broker, &connect);
    assert!(!connack.properties.has(property::SERVER_KEEP_ALIVE));
}

#[test]
fn mqtt_3_2_2_15_a_small_maximum_packet_size_is_enforced() {
    let Some(broker) = poor() else { return };
    let mut publisher = client(&broker);
    send_publish(&mut publisher, "t", &[b'x'; 300], 1, 1);
    ends(&mut publisher, &[0x95]);
    let filters: Vec<_> = (0..50).map(|_| ("a/b/c/d", 0)).collect();
    refuses(
        &broker,
        &wire::subscribe(5, 1, &Properties::new(), &filters),
        &[0x95],
    );
}

/// A SUBACK that the client does not take cannot be sent: nothing is subscribed.
#[test]
fn mqtt_3_1_2_24_an_answer_that_is_too_large_is_refused_before_it_is_due() {
    let broker = Broker::shared();
    let limit = Properties::new().four(property::MAXIMUM_PACKET_SIZE, 40);
    let names: Vec<String> = (0..40).map(|_| unique("f")).collect();
    let filters: Vec<_> = names.iter().map(|name| (name.as_str(), 0)).collect();
    let mut subscriber = client_with(&broker, limit.clone());
    subscriber.send(&wire::subscribe(5, 1, &Properties::new(), &filters));
    subscriber.expect_disconnect(0x95);
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut subscriber = client_with(&broker, limit);
    subscriber.send(&wire::unsubscribe(5, 1, &Properties::new(), &names));
    subscriber.expect_disconnect(0x95);
}

/// A topic alias makes a packet longer at first: it is used only where that fits.
#[test]
fn mqtt_3_1_2_24_an_alias_never_makes_a_packet_too_large() {
    let broker = Broker::shared();
    for limit in 100..=140 {
        let properties = Properties::new()
            .four(property::MAXIMUM_PACKET_SIZE, limit)
            .two(property::TOPIC_ALIAS_MAXIMUM, 1);
        let mut subscriber = client_with(&broker, properties);
        let topic = unique("t");
        subscriber.subscribe(&topic, 0);
        let mut publisher = client(&broker);
        for length in 70..130 {
            publisher.publish(&topic, vec![b'x'; length], 0);
        }
        publisher.publish(&topic, b"end", 0);
        loop {
            let packet = subscriber.recv_kind(wire::PUBLISH);
            let size = 2 + packet.body.len(); // a length of one byte below 128
            let size = size + usize::from(packet.body.len() > 127);
            assert!(size <= limit as usize, "{size} bytes, {limit} are taken");
            if packet.publish(5).payload == b"end" {
                break;
            }
        }
        subscriber.ping();
    }
}

/// What cannot be answered changes nothing: the session that the client had is still there.
#[test]
fn a_connack_that_is_too_large_does_not_cost_the_session() {
    let broker = Broker::shared();
    let connect = Connect::persistent(5, unique("small"));
    let mut client = Client::connect(&broker, &connect).0;
    client.subscribe(&unique("kept"), 1);
    let tiny = Properties::new().four(property::MAXIMUM_PACKET_SIZE, 4);
    let mut refused = Client::connect_tcp(broker.tcp());
    let greedy = connect.clone().clean(true).properties(tiny);
    refused.send(&greedy.bytes());
    refused.expect_closed();
    client.ping();
    client.disconnect();
    assert!(Client::connect(&broker, &connect).1.session_present);
}
