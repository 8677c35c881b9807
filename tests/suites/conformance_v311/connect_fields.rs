//! Chapter 3.1.2 and 3.1.3: the flags of CONNECT and the fields that they announce.

use gatemq_tests::{Broker, Client, Connect, Will, unique, wire};

use super::{client, is_no_connect};

const CLEAN: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

fn plain() -> Connect {
    Connect::new(4, unique("fields"))
}

#[test]
fn mqtt311_3_1_2_9_a_will_flag_announces_topic_and_message() {
    is_no_connect("neither", &plain().flags(CLEAN | WILL).bytes()); // [MQTT-3.1.2-9]
    let mut body = plain().flags(CLEAN | WILL).body();
    body.extend(wire::text("only/topic"));
    is_no_connect("no message", &wire::frame(0x10, &body));
}

#[test]
fn mqtt311_3_1_2_11_without_will_flag_there_is_no_will_field() {
    let connect = plain().will(Will::new("will/topic", "will")).flags(CLEAN);
    is_no_connect("will fields", &connect.bytes()); // [MQTT-3.1.2-11]
}

#[test]
fn mqtt311_3_1_2_13_without_will_flag_will_qos_is_0() {
    for qos in 1..4 {
        is_no_connect("will QoS", &plain().flags(CLEAN | qos << 3).bytes()); // [MQTT-3.1.2-13]
    }
}

#[test]
fn mqtt311_3_1_2_14_will_qos_3_closes() {
    is_no_connect(
        "will QoS 3",
        &plain().will(Will::new("a", "x").qos(3)).bytes(),
    );
}

#[test]
fn mqtt311_3_1_2_15_without_will_flag_will_retain_is_0() {
    is_no_connect("will retain", &plain().flags(CLEAN | WILL_RETAIN).bytes()); // [MQTT-3.1.2-15]
}

#[test]
fn mqtt311_3_1_2_18_without_flag_there_is_no_user_name() {
    is_no_connect("user name", &plain().username("user").flags(CLEAN).bytes());
}

#[test]
fn mqtt311_3_1_2_19_a_user_name_flag_announces_a_user_name() {
    is_no_connect("no user name", &plain().flags(CLEAN | USER_NAME).bytes());
}

#[test]
fn mqtt311_3_1_2_20_without_flag_there_is_no_password() {
    let connect = plain()
        .username("user")
        .password("pass")
        .flags(CLEAN | USER_NAME);
    is_no_connect("password", &connect.bytes()); // [MQTT-3.1.2-20]
}

#[test]
fn mqtt311_3_1_2_21_a_password_flag_announces_a_password() {
    let connect = plain().username("user").flags(CLEAN | USER_NAME | PASSWORD);
    is_no_connect("no password", &connect.bytes()); // [MQTT-3.1.2-21]
}

#[test]
fn mqtt311_3_1_2_22_a_password_needs_a_user_name() {
    is_no_connect("password alone", &plain().password("pass").bytes()); // [MQTT-3.1.2-22]
}

#[test]
fn mqtt311_3_1_3_1_fields_come_in_their_order() {
    let broker = Broker::shared();
    let topic = unique("order");
    let mut watcher = client(&broker);
    watcher.subscribe(&topic, 0);
    let connect = plain()
        .will(Will::new(&topic, "message"))
        .username("user")
        .password([0, 255]);
    let (client, _) = Client::connect(&broker, &connect);
    client.cut();
    assert_eq!(watcher.receive().payload, b"message"); // [MQTT-3.1.3-1]
}

#[test]
fn mqtt311_3_1_3_3_a_connect_without_client_id_closes() {
    let body = [&wire::text("MQTT")[..], &[4, CLEAN, 0, 0]].concat();
    is_no_connect("no client id", &wire::frame(0x10, &body)); // [MQTT-3.1.3-3]
}

#[test]
fn empty_optional_fields_are_taken() {
    let broker = Broker::shared();
    let topic = unique("empty");
    let mut watcher = client(&broker);
    watcher.subscribe(&topic, 0);
    let connect = plain()
        .will(Will::new(&topic, ""))
        .username("")
        .password("");
    Client::connect(&broker, &connect).0.cut();
    assert_eq!(watcher.receive().payload, b"");
}
