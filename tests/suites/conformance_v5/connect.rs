//! Chapter 3.1: the form of a CONNECT, client identifiers, and what is done with a bad one.

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, Will, unique,
    wire::{self, property},
};

use super::scene::{
    EITHER, MALFORMED, PROTOCOL_ERROR, client, drops_connect, ends, nothing_before_marker,
    refuses_connect,
};

#[test]
fn mqtt_3_1_0_1_first_packet_must_be_connect() {
    let broker = Broker::shared();
    let none = Properties::new();
    let topic = unique("first");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 0);
    let publish = Publish::new(&topic, b"x").bytes(5);
    let others = [
        publish.clone(),
        wire::subscribe(5, 1, &none, &[(&topic, 0)]),
        wire::pingreq(),
        wire::disconnect(),
        wire::auth(
            0x18,
            &Properties::new().text(property::AUTHENTICATION_METHOD, "m"),
        ),
        wire::ack(wire::PUBACK, 1),
    ];
    for first in others {
        let mut client = Client::connect_tcp(broker.tcp());
        client.set_level(5);
        client.send(&[first, publish.clone()].concat());
        for packet in client.until_closed() {
            // No DISCONNECT before a CONNACK that accepts. [MQTT-3.14.0-1]
            assert_eq!(packet.kind, wire::CONNACK, "{packet:?}");
            assert!(packet.connack(5).code >= 0x80, "{packet:?}");
        }
    }
    nothing_before_marker(&mut subscriber, &mut client(&broker));
}

#[test]
fn mqtt_3_1_0_2_second_connect_is_a_protocol_error() {
    let broker = Broker::shared();
    let connect = Connect::new(5, unique("twice"));
    let (mut client, _) = Client::connect(&broker, &connect);
    client.send(&connect.bytes());
    ends(&mut client, &[PROTOCOL_ERROR]);
}

#[test]
fn mqtt_3_1_2_1_other_protocol_names_are_refused() {
    let broker = Broker::shared();
    for name in ["mqtt", "MQTQ", "", "MQTTT", "MQIsdp"] {
        let connect = Connect::new(5, unique("c")).protocol(name);
        drops_connect(&broker, &connect.bytes());
    }
}

#[test]
fn mqtt_3_1_2_2_other_versions_are_refused() {
    let broker = Broker::shared();
    for level in [0, 2, 6, 127, 255] {
        let mut bytes = Connect::new(5, unique("c")).bytes();
        bytes[8] = level;
        let mut client = Client::connect_tcp(broker.tcp());
        client.send(&bytes);
        let packets = client.until_closed();
        assert!(packets.len() <= 1, "{packets:?}");
        for packet in packets {
            let code = packet.expect(wire::CONNACK).body[1];
            // Unsupported Protocol Version, in the words of 5 or of 3.1.1.
            assert!([0x84, 0x01].contains(&code), "{level}: {code:#04x}");
        }
    }
}

#[test]
fn mqtt_3_1_2_3_reserved_connect_flag_is_malformed() {
    let broker = Broker::shared();
    let connect = Connect::new(5, unique("c")).flags(0b11);
    refuses_connect(&broker, &connect.bytes(), &[MALFORMED]);
}

/// The flags that a CONNECT has, and whether each is right for what the payload has.
#[test]
fn mqtt_3_1_2_16_user_name_and_password_are_where_the_flags_say() {
    let broker = Broker::shared();
    let plain = || Connect::new(5, unique("c"));
    let cases = [
        (
            "3.1.2-16 user name without flag",
            plain().username("u").flags(0x02),
        ),
        ("3.1.2-17 flag without user name", plain().flags(0x82)),
        (
            "3.1.2-18 password without flag",
            plain().username("u").password("p").flags(0x82),
        ),
        (
            "3.1.2-19 flag without password",
            plain().username("u").flags(0xC2),
        ),
        ("3.1.2-9 will flag without will", plain().flags(0x06)),
        (
            "3.1.2-9 will without will flag",
            plain().will(Will::new("t", "x")).flags(0x02),
        ),
    ];
    for (case, connect) in cases {
        eprintln!("[MQTT-{case}]"); // [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19]
        refuses_connect(&broker, &connect.bytes(), EITHER); // [MQTT-3.1.4-1]
    }
    // 5.0 allows a password without a user name.
    let alone = plain().password("p");
    let (_, connack) = Client::attempt(&broker, &alone);
    assert!([0, 0x86, 0x87].contains(&connack.code), "{connack:02x?}");
}

#[test]
fn mqtt_3_1_2_11_will_qos_and_retain_need_a_will() {
    let broker = Broker::shared();
    for flags in [0x0A, 0x12, 0x1A, 0x22] {
        // [MQTT-3.1.2-13]
        let connect = Connect::new(5, unique("c")).flags(flags);
        refuses_connect(&broker, &connect.bytes(), EITHER);
    }
}

#[test]
fn mqtt_3_1_2_12_will_qos_of_3_is_malformed() {
    let broker = Broker::shared();
    for qos in 0..3 {
        let connect = Connect::new(5, unique("c")).will(Will::new(unique("w"), "x").qos(qos));
        let (client, _) = Client::connect(&broker, &connect);
        client.disconnect();
    }
    let connect = Connect::new(5, unique("c")).will(Will::new("t", "x").qos(3));
    refuses_connect(&broker, &connect.bytes(), &[MALFORMED]);
}

#[test]
fn mqtt_3_1_3_1_payload_fields_have_one_order() {
    let broker = Broker::shared();
    let topic = unique("w");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 0);
    // Every field, each with a content of its own: were two swapped, the will would show it.
    let connect = Connect::new(5, unique("c"))
        .will(Will::new(&topic, "will payload").properties(Properties::new().user("a", "b")))
        .username("user")
        .password("pass");
    let (client, connack) = Client::attempt(&broker, &connect);
    assert_eq!(connack.code, 0, "{connack:02x?}");
    client.cut();
    let will = subscriber.receive();
    assert_eq!(
        (will.payload, will.topic),
        (b"will payload".to_vec(), topic)
    );
}

#[test]
fn mqtt_3_1_3_2_client_id_identifies_the_session() {
    let broker = Broker::shared();
    let (one, two) = (unique("a"), unique("b"));
    let topic = unique("t");
    let (mut first, _) = super::scene::resume(&broker, &one);
    first.subscribe(&topic, 1);
    first.disconnect();
    // Another id, and the same in another case, are other sessions.
    for other in [two, one.to_uppercase()] {
        let (client, connack) = super::scene::resume(&broker, &other);
        assert!(!connack.session_present, "{other} has the session of {one}");
        client.disconnect();
    }
    super::scene::resume_present(&broker, &one);
}

#[test]
fn mqtt_3_1_3_3_client_id_must_be_there() {
    let broker = Broker::shared();
    let mut body = Connect::new(5, "").body();
    body.truncate(body.len() - 2);
    refuses_connect(&broker, &wire::frame(0x10, &body), EITHER);
}

#[test]
fn mqtt_3_1_3_5_ids_of_1_to_23_letters_and_digits_are_allowed() {
    let broker = Broker::shared();
    let tail = unique("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    let chunks: Vec<_> = tail.as_bytes().chunks(23).collect();
    for id in chunks.into_iter().chain([&b"Z"[..]]) {
        let (client, _) = Client::connect(&broker, &Connect::new(5, id));
        client.disconnect();
    }
}

#[test]
fn mqtt_3_1_3_6_an_empty_id_gets_a_unique_one() {
    let broker = Broker::shared();
    let connect = Connect::new(5, "").properties(super::scene::session_expiry(60));
    let (mut first, one) = Client::connect(&broker, &connect);
    let (second, two) = Client::connect(&broker, &connect.clean(false));
    let name = |connack: &wire::Connack| {
        let name = connack
            .properties
            .string(property::ASSIGNED_CLIENT_IDENTIFIER);
        name.expect("the id is told").to_owned() // [MQTT-3.1.3-7] [MQTT-3.2.2-16]
    };
    let (one, two) = (name(&one), name(&two));
    assert!(!one.is_empty() && one != two, "{one} and {two}");
    // It is the session's real id: the session can be resumed by it.
    first.subscribe(&unique("t"), 0);
    first.disconnect();
    super::scene::resume_present(&broker, &one).disconnect();
    second.disconnect();
}

#[test]
fn mqtt_3_1_3_7_no_id_is_assigned_to_who_has_one() {
    let broker = Broker::shared();
    let (_, connack) = Client::connect(&broker, &Connect::new(5, unique("c")));
    assert!(!connack.properties.has(property::ASSIGNED_CLIENT_IDENTIFIER));
}

#[test]
fn mqtt_3_1_3_8_a_refused_id_ends_the_connection() {
    let broker = Broker::shared();
    // U+0000 is no text at all; the longest text that there is may be refused, or taken.
    refuses_connect(&broker, &Connect::new(5, "\0").bytes(), &[MALFORMED, 0x85]);
    let long = Connect::new(5, "x".repeat(65_535));
    let mut client = Client::connect_tcp(broker.tcp());
    let connack = client.handshake(&long);
    if connack.code != 0 {
        assert!([0x85, 0x95].contains(&connack.code), "{connack:02x?}");
        client.expect_closed();
    }
}

#[test]
fn mqtt_3_1_4_1_a_connect_of_the_wrong_form_is_refused() {
    let broker = Broker::shared();
    let whole = Connect::new(5, unique("c")).username("u").body();
    // Cut in the properties, in the client id, in the user name; and with bytes left over.
    for end in [11, 12, whole.len() - 4, whole.len() - 1] {
        let cut = &whole[..end.min(whole.len() - 1)];
        refuses_connect(&broker, &wire::frame(0x10, cut), EITHER);
    }
    let more = [whole, b"more".to_vec()].concat();
    refuses_connect(&broker, &wire::frame(0x10, &more), EITHER);
    // So short that not even the version is there.
    drops_connect(&broker, &wire::frame(0x10, b""));
    drops_connect(&broker, &wire::frame(0x10, b"\x00\x04MQ"));
}

#[test]
fn mqtt_3_1_4_2_a_will_topic_that_is_no_topic_is_refused() {
    let broker = Broker::shared();
    for topic in ["a/#", "+", ""] {
        // [MQTT-4.7.0-1] [MQTT-4.7.3-1]
        let connect = Connect::new(5, unique("c")).will(Will::new(topic, "x"));
        let codes = &[MALFORMED, PROTOCOL_ERROR, 0x90];
        refuses_connect(&broker, &connect.bytes(), codes);
    }
}

#[test]
fn mqtt_3_1_4_3_the_older_connection_is_taken_over() {
    let broker = Broker::shared();
    let id = unique("taken");
    let mut old = Client::v5(&broker, &id);
    let mut new = Client::v5(&broker, &id);
    ends(&mut old, &[0x8E]);
    new.ping();
}

#[test]
fn mqtt_3_1_4_4_clean_start_is_processed_before_the_answer() {
    let broker = Broker::shared();
    let (id, topic) = (unique("c"), unique("t"));
    let (mut old, _) = super::scene::resume(&broker, &id);
    old.subscribe(&topic, 1);
    let (mut new, connack) = Client::connect(&broker, &Connect::new(5, &id));
    assert!(!connack.session_present);
    client(&broker).publish(&topic, b"x", 1);
    nothing_before_marker(&mut new, &mut client(&broker));
}

#[test]
fn mqtt_3_1_4_5_a_good_connect_is_acknowledged() {
    let broker = Broker::shared();
    // Nothing but what the standard has is needed for it. [MQTT-7.0.0-2]
    let (_, connack) = Client::connect(&broker, &Connect::new(5, unique("c")));
    assert_eq!((connack.code, connack.flags), (0, 0));
}

#[test]
fn mqtt_3_1_4_6_nothing_after_a_refused_connect_is_processed() {
    let broker = Broker::shared();
    let topic = unique("after");
    let mut subscriber = client(&broker);
    subscriber.subscribe(&topic, 0);
    let connect = Connect::new(5, unique("c")).flags(0b11).bytes();
    let publish = Publish::new(&topic, b"x").bytes(5);
    refuses_connect(&broker, &[connect, publish].concat(), &[MALFORMED]);
    nothing_before_marker(&mut subscriber, &mut client(&broker));
}
