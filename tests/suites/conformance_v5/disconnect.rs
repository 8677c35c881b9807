//! Chapter 3.14: DISCONNECT, from the client and from the broker.

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, unique,
    wire::{self, property},
};

use super::scene::{
    EITHER, MALFORMED, PROTOCOL_ERROR, client, client_with, ends, nothing_before_marker, refuses,
    size,
};

#[test]
fn mqtt_3_14_0_1_no_disconnect_before_a_connack_that_accepts() {
    let broker = Broker::shared();
    for bad in [
        Connect::new(5, unique("c")).flags(0x03).bytes(),
        Connect::new(5, b"\xff").bytes(),
        wire::pingreq(),
        vec![0x00, 0x00],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        let mut client = Client::connect_tcp(broker.tcp());
        client.send(&bad);
        for packet in client.until_closed() {
            assert_eq!(packet.kind, wire::CONNACK, "{packet:?}");
        }
    }
}

#[test]
fn mqtt_3_14_1_1_reserved_flags_are_malformed() {
    let broker = Broker::shared();
    for flags in [0x1, 0x2, 0x4, 0x8, 0xF] {
        refuses(&broker, &[0xE0 | flags, 0], &[MALFORMED]);
    }
}

#[test]
fn mqtt_3_14_2_disconnect_with_a_code_of_the_table_is_taken() {
    let broker = Broker::shared();
    for code in [
        0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
    ] {
        let properties = Properties::new()
            .text(property::REASON_STRING, "because")
            .user("a", "b");
        let mut client = client(&broker);
        client.send(&wire::disconnect_with(code, &properties));
        client.expect_closed();
    }
    // Every short form.
    for body in [&b""[..], b"\0", b"\0\0"] {
        let mut client = client(&broker);
        client.send(&wire::frame(0xE0, body));
        client.expect_closed();
    }
}

#[test]
fn mqtt_3_14_2_disconnect_with_another_code_is_refused() {
    let broker = Broker::shared();
    for code in [0x01, 0x10, 0x7F, 0x84, 0xFF] {
        let packet = wire::disconnect_with(code, &Properties::new());
        refuses(&broker, &packet, EITHER);
    }
    let expiry = property::SESSION_EXPIRY_INTERVAL;
    let twice = Properties::new().four(expiry, 0).four(expiry, 0);
    refuses(
        &broker,
        &wire::disconnect_with(0, &twice),
        &[PROTOCOL_ERROR],
    );
    refuses(&broker, &wire::frame(0xE0, b"\0\x05"), &[MALFORMED]);
}

/// What the broker says at the end of a connection is asserted by `ends`, wherever it is used:
/// a code of the table, no expiry, nothing after it.
#[test]
fn mqtt_3_14_2_1_the_brokers_code_is_one_of_the_table() {
    let broker = Broker::shared();
    refuses(&broker, &[0xF0, 0x00], EITHER); // [MQTT-3.14.2-2]
    refuses(&broker, &Publish::new("", "x").bytes(5), &[PROTOCOL_ERROR]);
}

#[test]
fn mqtt_3_14_2_3_disconnect_keeps_to_the_clients_maximum_packet_size() {
    let broker = Broker::shared();
    for limit in [30, 8, 4, 3] {
        let maximum = Properties::new().four(property::MAXIMUM_PACKET_SIZE, limit);
        let connect = Connect::new(5, unique("c")).properties(maximum);
        let mut client = Client::connect_tcp(broker.tcp());
        // Where CONNACK does not fit, there is no connection to end.
        client.send(&[connect.bytes(), Publish::new("", "x").bytes(5)].concat());
        for packet in client.until_closed() {
            // [MQTT-3.14.2-4]
            assert!(size(&packet) <= limit as usize, "{limit}: {packet:?}");
        }
    }
}

#[test]
fn mqtt_3_14_4_1_nothing_follows_the_brokers_disconnect() {
    let broker = Broker::shared();
    let topic = unique("d");
    let mut client = client(&broker);
    client.subscribe(&topic, 0);
    // After the error come requests that would be answered.
    let more = [wire::pingreq(), Publish::new(&topic, "x").bytes(5)].concat();
    let error = Publish::new("", "x").bytes(5);
    client.send(&[error, more].concat());
    ends(&mut client, &[PROTOCOL_ERROR]); // [MQTT-3.14.4-2]
}

#[test]
fn mqtt_3_14_4_2_the_broker_closes_after_the_clients_disconnect() {
    let broker = Broker::shared();
    let topic = unique("d");
    let mut watcher = client(&broker);
    watcher.subscribe(&topic, 0);
    let mut leaver = client(&broker);
    // What follows is not looked at.
    let late = Publish::new(&topic, "late").bytes(5);
    leaver.send(&[wire::disconnect(), late, wire::pingreq()].concat());
    leaver.expect_closed();
    nothing_before_marker(&mut watcher, &mut client(&broker));
}

#[test]
fn mqtt_3_14_4_what_came_before_disconnect_is_processed() {
    let broker = Broker::shared();
    let topic = unique("d");
    let mut watcher = client(&broker);
    watcher.subscribe(&topic, 1);
    let mut leaver = client_with(&broker, Properties::new());
    let publish = Publish::new(&topic, "early").qos(1, 1).bytes(5);
    leaver.send(&[publish, wire::disconnect()].concat());
    assert_eq!(watcher.receive().payload, b"early");
}

#[test]
fn mqtt_3_14_2_a_broker_that_stops_says_so() {
    if Broker::is_foreign() {
        return; // Others just close.
    }
    let broker = Broker::builder().start();
    let mut client = client(&broker);
    broker.signal("TERM");
    ends(&mut client, &[0x8B]);
}
