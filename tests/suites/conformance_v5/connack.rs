//! Chapter 3.2: the CONNACK, its flags, its codes and what it says of the server.

use gatemq_tests::{
    Broker, Client, Connect, Properties, unique,
    wire::{self, Connack, property},
};

use super::scene::{
    MALFORMED, client, client_with, leave, receive_maximum, refuses_connect, resume, size,
};

#[test]
fn mqtt_3_2_0_1_connack_comes_first() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("t"));
    let (mut before, _) = resume(&broker, &id);
    before.subscribe(&topic, 1);
    leave(before);
    client(&broker).publish(&topic, b"waiting", 1);
    // A message waits, and requests follow in the same segment.
    let connect = Connect::persistent(5, &id).bytes();
    let subscribe = wire::subscribe(5, 1, &Properties::new(), &[(&topic, 1)]);
    let mut client = Client::connect_tcp(broker.tcp());
    client.set_level(5);
    client.send(&[connect, subscribe, wire::pingreq()].concat());
    let connack = client.recv().expect(wire::CONNACK).connack(5);
    assert!(connack.code == 0 && connack.session_present);
    client.recv_kind(wire::SUBACK);
    client.recv_kind(wire::PINGRESP);
    assert_eq!(client.receive().payload, b"waiting");
}

#[test]
fn mqtt_3_2_0_2_there_is_one_connack() {
    let broker = Broker::shared();
    let mut client = client(&broker);
    client.send(&Connect::new(5, unique("c")).bytes());
    for packet in client.until_closed() {
        assert_eq!(packet.kind, wire::DISCONNECT, "{packet:?}");
    }
}

#[test]
fn mqtt_3_2_2_1_reserved_flags_are_zero() {
    let broker = Broker::shared();
    let id = unique("c");
    let (first, connack) = resume(&broker, &id);
    assert_eq!(connack.flags, 0);
    leave(first);
    let (_, connack) = resume(&broker, &id);
    assert_eq!(connack.flags, 1);
}

#[test]
fn mqtt_3_2_2_2_session_present_is_0_after_a_clean_start() {
    let broker = Broker::shared();
    let id = unique("c");
    leave(resume(&broker, &id).0);
    let connect = Connect::persistent(5, &id).clean(true);
    let (_, connack) = Client::connect(&broker, &connect);
    assert_eq!((connack.code, connack.session_present), (0, false));
}

#[test]
fn mqtt_3_2_2_3_session_present_says_whether_there_was_a_session() {
    let broker = Broker::shared();
    let id = unique("c");
    for expected in [false, true, true] {
        let (client, connack) = resume(&broker, &id);
        assert_eq!((connack.code, connack.session_present), (0, expected));
        leave(client);
    }
}

#[test]
fn mqtt_3_2_2_6_a_refusal_has_no_session_present() {
    let broker = Broker::shared();
    let id = unique("c");
    leave(resume(&broker, &id).0);
    // The same id, whose session is there, in a CONNECT with the reserved flag. The helper
    // asserts both. [MQTT-3.2.2-7]
    let connect = Connect::persistent(5, &id).flags(0b01);
    refuses_connect(&broker, &connect.bytes(), &[MALFORMED]);
    let (_, connack) = resume(&broker, &id);
    assert!(connack.session_present, "a refused CONNECT touches nothing");
}

#[test]
fn mqtt_3_2_2_8_refusals_use_codes_of_the_table() {
    const TABLE: [u8; 21] = [
        0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
        0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
    ];
    let broker = Broker::shared();
    let method = Properties::new().text(property::AUTHENTICATION_METHOD, "nonsense");
    let plain = || Connect::new(5, unique("c"));
    let bad = [
        plain().flags(0x03),
        plain().flags(0x1E),
        plain().properties(receive_maximum(0)),
        plain().properties(method),
        Connect::new(5, b"\xff"),
    ];
    for connect in bad {
        refuses_connect(&broker, &connect.bytes(), &TABLE);
    }
}

/// The capabilities of a broker with its default settings: none is missing, each is legal.
#[test]
fn mqtt_3_2_2_9_a_full_server_announces_no_lack() {
    let broker = Broker::shared();
    let (_, connack) = Client::connect(&broker, &Connect::new(5, unique("c")));
    let properties = &connack.properties;
    for lack in [
        property::RETAIN_AVAILABLE,
        property::WILDCARD_SUBSCRIPTION_AVAILABLE,
        property::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
        property::SHARED_SUBSCRIPTION_AVAILABLE,
    ] {
        assert!(
            matches!(properties.number(lack), None | Some(1)),
            "{connack:?}"
        );
    }
    // 2 is never sent: absence says it.
    assert!(!properties.has(property::MAXIMUM_QOS), "{connack:?}");
    assert_ne!(properties.number(property::RECEIVE_MAXIMUM), Some(0));
    assert_ne!(properties.number(property::MAXIMUM_PACKET_SIZE), Some(0));
    each_at_most_once(&connack);
}

#[track_caller]
fn each_at_most_once(connack: &Connack) {
    for (id, _) in &connack.properties.list {
        let once = *id == property::USER_PROPERTY || connack.properties.all(*id).len() == 1;
        assert!(once, "property {id:#x} twice: {connack:?}");
    }
}

#[test]
fn mqtt_3_2_2_10_any_qos_may_be_subscribed_to() {
    let broker = Broker::shared();
    let mut client = client(&broker);
    for qos in 0..3 {
        assert_eq!(client.subscribe(&unique("t"), qos), qos);
    }
}

#[test]
fn mqtt_3_2_2_16_assigned_ids_are_new() {
    let broker = Broker::shared();
    let mut names = Vec::new();
    for _ in 0..20 {
        let (_client, connack) = Client::connect(&broker, &Connect::new(5, ""));
        let name = connack
            .properties
            .string(property::ASSIGNED_CLIENT_IDENTIFIER);
        let name = name.expect("the id is told").to_owned();
        assert!(!names.contains(&name), "{name} again");
        names.push(name);
    }
}

#[test]
fn mqtt_3_2_2_19_connack_keeps_to_the_clients_maximum_packet_size() {
    let broker = Broker::shared();
    for limit in [60, 40, 20, 10, 5, 2] {
        let maximum = Properties::new().four(property::MAXIMUM_PACKET_SIZE, limit);
        let connect = Connect::new(5, unique("c")).properties(maximum);
        let mut client = Client::connect_tcp(broker.tcp());
        client.send(&connect.bytes());
        // Where not even the needed part fits, the connection ends.
        let Some(packet) = client.recv_within(std::time::Duration::from_secs(2)) else {
            assert!(!client.is_open(), "neither CONNACK nor end with {limit}");
            continue;
        };
        let packet = packet.expect(wire::CONNACK);
        let bytes = size(&packet);
        assert!(bytes <= limit as usize, "{bytes} for {limit}: {packet:?}"); // [MQTT-3.2.2-20]
    }
}

#[test]
fn mqtt_3_2_2_19_a_refusal_keeps_to_the_clients_maximum_packet_size() {
    let broker = Broker::shared();
    let maximum = Properties::new()
        .four(property::MAXIMUM_PACKET_SIZE, 8)
        .text(property::AUTHENTICATION_METHOD, "nonsense");
    let connect = Connect::new(5, unique("c")).properties(maximum);
    let mut client = Client::connect_tcp(broker.tcp());
    client.send(&connect.bytes());
    for packet in client.until_closed() {
        assert!(size(&packet) <= 8, "{packet:?}");
    }
}

#[test]
fn mqtt_3_2_2_22_without_server_keep_alive_the_clients_counts() {
    let broker = Broker::shared();
    let connect = Connect::new(5, unique("c")).keep_alive(1);
    let (mut client, connack) = Client::connect(&broker, &connect);
    assert!(!connack.properties.has(property::SERVER_KEEP_ALIVE));
    let start = std::time::Instant::now();
    super::scene::ends(&mut client, &[0x8D]); // [MQTT-3.1.2-22]
    let took = start.elapsed().as_millis();
    assert!((1300..5000).contains(&took), "after {took} ms");
}

#[test]
fn mqtt_3_2_2_3_3_receive_maximum_is_kept_to() {
    let broker = Broker::shared();
    let (mut client, connack) = Client::connect(&broker, &Connect::new(5, unique("c")));
    let maximum = connack.properties.number(property::RECEIVE_MAXIMUM);
    let maximum = u16::try_from(maximum.unwrap_or(65_535)).expect("two bytes");
    let count = maximum.min(100);
    let topic = unique("many");
    let burst: Vec<u8> = (1..=count)
        .flat_map(|id| gatemq_tests::Publish::new(&topic, "x").qos(2, id).bytes(5))
        .collect();
    client.send(&burst);
    for id in 1..=count {
        client.expect_ack(wire::PUBREC, id);
    }
    drop(client_with(&broker, receive_maximum(1)));
}
