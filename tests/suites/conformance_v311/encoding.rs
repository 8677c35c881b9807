//! Chapter 1.5: text is well-formed UTF-8 without U+0000, and is never altered.

use gatemq_tests::{Broker, Connect, Will, unique, wire};

use super::{client, is_no_connect, publish_raw, subscribe_raw, violates};

/// What is not UTF-8, and why.
const ILL_FORMED: [(&str, &[u8]); 9] = [
    ("high surrogate", b"a\xED\xA0\x80"),
    ("low surrogate", b"a\xED\xBF\xBF"),
    ("surrogate pair", b"a\xED\xA0\x80\xED\xB0\x80"),
    ("overlong slash", b"a\xC0\xAFb"),
    ("overlong null", b"a\xC0\x80"),
    ("stray continuation byte", b"a\x80"),
    ("cut sequence", b"a\xE2\x82"),
    ("beyond U+10FFFF", b"a\xF4\x90\x80\x80"),
    ("byte 0xFF", b"a\xFF"),
];

const NULL: &[u8] = b"a\0b";

#[test]
fn mqtt311_1_5_3_1_ill_formed_utf8_closes() {
    for (case, text) in ILL_FORMED {
        violates(case, &publish_raw(text)); // [MQTT-1.5.3-1]
    }
}

#[test]
fn mqtt311_1_5_3_2_null_character_closes() {
    violates("topic", &publish_raw(NULL)); // [MQTT-1.5.3-2] [MQTT-4.7.3-2]
    violates("filter", &subscribe_raw(NULL, 0)); // [MQTT-4.7.3-2]
    violates(
        "unsubscribe",
        &wire::frame(0xA2, &[&[0, 9], &wire::text(NULL)[..]].concat()),
    );
    is_no_connect("client id", &Connect::new(4, NULL).bytes());
    is_no_connect("user name", &Connect::new(4, "id").username(NULL).bytes());
    is_no_connect(
        "will topic",
        &Connect::new(4, "id").will(Will::new(NULL, "x")).bytes(),
    );
}

#[test]
fn mqtt311_1_5_3_3_byte_order_mark_is_kept() {
    let broker = Broker::shared();
    let (mut with, mut without) = (client(&broker), client(&broker));
    let plain = unique("bom");
    let marked = format!("\u{FEFF}{plain}");
    with.subscribe(&marked, 0);
    without.subscribe(&plain, 0);
    let mut publisher = client(&broker);
    publisher.publish(&marked, "marked", 0);
    publisher.publish(&plain, "plain", 0);
    assert_eq!(with.receive().topic, marked); // [MQTT-1.5.3-3]
    assert_eq!(without.receive().payload, b"plain");
}

#[test]
fn mqtt311_3_1_3_4_client_id_is_utf8() {
    for (case, text) in ILL_FORMED {
        is_no_connect(case, &Connect::new(4, text).bytes()); // [MQTT-3.1.3-4]
    }
}

#[test]
fn mqtt311_3_1_3_10_will_topic_is_utf8() {
    for (case, text) in ILL_FORMED {
        let connect = Connect::new(4, unique("w")).will(Will::new(text, "x"));
        is_no_connect(case, &connect.bytes()); // [MQTT-3.1.3-10]
    }
}

#[test]
fn mqtt311_3_1_3_11_user_name_is_utf8() {
    for (case, text) in ILL_FORMED {
        let connect = Connect::new(4, unique("u")).username(text);
        is_no_connect(case, &connect.bytes()); // [MQTT-3.1.3-11]
    }
}

#[test]
fn mqtt311_3_8_3_1_filters_are_utf8() {
    for (case, text) in ILL_FORMED {
        violates(case, &subscribe_raw(text, 0)); // [MQTT-3.8.3-1]
    }
}

#[test]
fn mqtt311_3_10_3_1_unsubscribed_filters_are_utf8() {
    for (case, text) in ILL_FORMED {
        let body = [&[0, 9], &wire::text(text)[..]].concat();
        violates(case, &wire::frame(0xA2, &body)); // [MQTT-3.10.3-1]
    }
}
