//! Chapters 3.15 and 4.12: AUTH and enhanced authentication, where nobody is known and so no method is
//! either; where users are, `access::scram` has the rest.

use gatemq_tests::{
    Broker, Client, Connect, Properties, unique,
    wire::{self, property},
};

use super::scene::{
    EITHER, MALFORMED, PROTOCOL_ERROR, client, ends, nothing_before_marker, refuses,
    refuses_connect,
};

fn method(name: &str) -> Properties {
    Properties::new().text(property::AUTHENTICATION_METHOD, name)
}

#[test]
fn mqtt_4_12_0_1_an_unknown_method_is_refused() {
    let broker = Broker::shared();
    let with_data = method("SCRAM-SHA-1").binary(property::AUTHENTICATION_DATA, b"\0\xff");
    for properties in [method("nonsense"), method(""), with_data] {
        let connect = Connect::new(5, unique("c")).properties(properties);
        refuses_connect(&broker, &connect.bytes(), &[0x8C]); // [MQTT-4.12.0-4]
    }
}

#[test]
fn mqtt_3_15_1_1_reserved_flags_are_malformed() {
    let broker = Broker::shared();
    let body = &wire::auth(0x19, &method("m"))[2..];
    for flags in [0x1, 0x2, 0x4, 0x8, 0xF] {
        refuses(&broker, &wire::frame(0xF0 | flags, body), &[MALFORMED]);
    }
}

#[test]
fn mqtt_4_12_0_7_auth_without_a_method_in_connect_is_a_protocol_error() {
    let broker = Broker::shared();
    for code in [0x18, 0x19, 0x00] {
        refuses(&broker, &wire::auth(code, &method("m")), &[PROTOCOL_ERROR]); // [MQTT-4.12.1-1]
    }
    refuses(&broker, &wire::frame(0xF0, &[]), EITHER);
}

#[test]
fn mqtt_3_15_2_1_a_code_that_is_not_of_the_table_is_refused() {
    let broker = Broker::shared();
    for code in [0x01, 0x17, 0x1A, 0x80, 0x87] {
        refuses(&broker, &wire::auth(code, &method("m")), EITHER);
    }
}

#[test]
fn mqtt_4_12_0_6_no_auth_and_no_method_to_who_has_none() {
    let broker = Broker::shared();
    let (mut client, connack) = Client::connect(&broker, &Connect::new(5, unique("c")));
    assert!(!connack.properties.has(property::AUTHENTICATION_METHOD));
    assert!(!connack.properties.has(property::AUTHENTICATION_DATA));
    client.ping();
    client.expect_silence(50);
}

#[test]
fn mqtt_3_1_2_30_nothing_before_connack_is_processed_with_a_method() {
    let broker = Broker::shared();
    let topic = unique("a");
    let mut watcher = client(&broker);
    watcher.subscribe(&topic, 0);
    let connect = Connect::new(5, unique("c")).properties(method("nonsense"));
    let publish = gatemq_tests::Publish::new(&topic, "x").bytes(5);
    let auth = wire::auth(0x18, &method("nonsense"));
    let bytes = [connect.bytes(), publish, auth].concat();
    refuses_connect(&broker, &bytes, &[0x8C]);
    nothing_before_marker(&mut watcher, &mut client(&broker));
}

#[test]
fn mqtt_4_12_1_2_a_refused_re_authentication_ends_the_connection() {
    let broker = Broker::shared();
    let mut client = client(&broker);
    client.send(&[wire::auth(0x19, &method("m")), wire::pingreq()].concat());
    ends(&mut client, &[PROTOCOL_ERROR]);
}
