//! Chapter 3.1.2.11: the properties of a CONNECT that are wrong, and the two Request ones.

use gatemq_tests::{
    Broker, Client, Connect, Properties, Will, unique,
    wire::{self, property},
};

use super::scene::{PROTOCOL_ERROR, client_with, refuses_connect};

#[test]
fn mqtt_3_1_2_values_and_repetitions_that_are_protocol_errors() {
    let broker = Broker::shared();
    let none = Properties::new;
    let twice = |properties: Properties| {
        let list = [properties.list.clone(), properties.list].concat();
        Properties { list, length: None }
    };
    let cases = [
        (
            "receive maximum 0",
            none().two(property::RECEIVE_MAXIMUM, 0),
        ),
        (
            "maximum packet size 0",
            none().four(property::MAXIMUM_PACKET_SIZE, 0),
        ),
        (
            "request problem 2",
            none().byte(property::REQUEST_PROBLEM_INFORMATION, 2),
        ),
        (
            "request response 2",
            none().byte(property::REQUEST_RESPONSE_INFORMATION, 2),
        ),
        (
            "data without method",
            none().binary(property::AUTHENTICATION_DATA, b"x"),
        ),
        (
            "session expiry",
            twice(none().four(property::SESSION_EXPIRY_INTERVAL, 1)),
        ),
        (
            "receive maximum",
            twice(none().two(property::RECEIVE_MAXIMUM, 1)),
        ),
        (
            "maximum packet size",
            twice(none().four(property::MAXIMUM_PACKET_SIZE, 100)),
        ),
        (
            "topic alias maximum",
            twice(none().two(property::TOPIC_ALIAS_MAXIMUM, 1)),
        ),
        (
            "request problem",
            twice(none().byte(property::REQUEST_PROBLEM_INFORMATION, 1)),
        ),
        (
            "request response",
            twice(none().byte(property::REQUEST_RESPONSE_INFORMATION, 1)),
        ),
        (
            "method",
            twice(none().text(property::AUTHENTICATION_METHOD, "m")),
        ),
    ];
    for (case, properties) in cases {
        eprintln!("{case}");
        let connect = Connect::new(5, unique("c")).properties(properties);
        refuses_connect(&broker, &connect.bytes(), &[PROTOCOL_ERROR]);
    }
}

#[test]
fn mqtt_3_1_3_will_properties_that_repeat_are_protocol_errors() {
    let broker = Broker::shared();
    let none = Properties::new;
    let cases = [
        none().four(property::WILL_DELAY_INTERVAL, 1),
        none().byte(property::PAYLOAD_FORMAT_INDICATOR, 0),
        none().four(property::MESSAGE_EXPIRY_INTERVAL, 1),
        none().text(property::CONTENT_TYPE, "x"),
        none().text(property::RESPONSE_TOPIC, "x"),
        none().binary(property::CORRELATION_DATA, b"x"),
    ];
    for once in cases {
        let list = [once.list.clone(), once.list].concat();
        let will = Will::new("t", "x").properties(Properties { list, length: None });
        let connect = Connect::new(5, unique("c")).will(will);
        refuses_connect(&broker, &connect.bytes(), &[PROTOCOL_ERROR]);
    }
}

#[test]
fn mqtt_3_1_2_11_8_user_properties_may_repeat() {
    let broker = Broker::shared();
    let properties = Properties::new().user("a", "1").user("a", "1").user("", "");
    let (_, connack) = Client::connect(
        &broker,
        &Connect::new(5, unique("c")).properties(properties),
    );
    assert_eq!(connack.code, 0);
}

#[test]
fn mqtt_3_1_2_28_no_response_information_unless_asked_for() {
    let broker = Broker::shared();
    let no = Properties::new().byte(property::REQUEST_RESPONSE_INFORMATION, 0);
    for properties in [Properties::new(), no] {
        let connect = Connect::new(5, unique("c")).properties(properties);
        let (_, connack) = Client::connect(&broker, &connect);
        assert!(!connack.properties.has(property::RESPONSE_INFORMATION));
    }
    let yes = Properties::new().byte(property::REQUEST_RESPONSE_INFORMATION, 1);
    let connect = Connect::new(5, unique("c")).properties(yes);
    Client::connect(&broker, &connect);
}

#[test]
fn mqtt_3_1_2_29_no_problem_information_unless_wanted() {
    let broker = Broker::shared();
    let no = Properties::new().byte(property::REQUEST_PROBLEM_INFORMATION, 0);
    let mut client = client_with(&broker, no);
    let silent = |properties: &Properties| {
        let told =
            properties.has(property::REASON_STRING) || properties.has(property::USER_PROPERTY);
        assert!(!told, "{properties:?}");
    };
    // Everything that fails or is odd, on each acknowledgement.
    let none = Properties::new();
    let suback = client.subscribe_with(&none, &[("t", 0), ("$share//t", 0)]);
    silent(&suback.properties);
    silent(&client.unsubscribe(&["never/subscribed"]).properties);
    client.send(&wire::ack(wire::PUBREL, 7));
    silent(&client.expect_ack(wire::PUBCOMP, 7).properties);
    client.send(&wire::ack(wire::PUBREC, 9));
    silent(&client.expect_ack(wire::PUBREL, 9).properties);
    for (qos, kind) in [(1, wire::PUBACK), (2, wire::PUBREC)] {
        // Nobody hears the one; the other is the broker's own topic.
        for (id, topic) in [(11, unique("none")), (12, "$SYS/mine".to_owned())] {
            super::scene::send_publish(&mut client, &topic, b"x", qos, id);
            silent(&client.expect_ack(kind, id).properties);
        }
    }
}
