//! One case for each rule that a packet can break, with the reason code that goes with it.

use super::*;

use Reason::{MalformedPacket, ProtocolError};

/// `body` is framed behind `first`.
fn check(version: Version, first: u8, body: &[u8], reason: Reason, text: &str) {
    let mut frame = vec![first, body.len() as u8];
    frame.extend_from_slice(body);
    let error = decode(version, &frame, &Limits::default()).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.reason()),
        (text, reason),
        "{frame:02x?}"
    );
}

fn accept(version: Version, first: u8, body: &[u8]) {
    let mut frame = vec![first, body.len() as u8];
    frame.extend_from_slice(body);
    if let Err(error) = decode(version, &frame, &Limits::default()) {
        panic!("{error}: {frame:02x?}");
    }
}

fn connect(body: &[u8], reason: Reason, text: &str) {
    check(Version::V5, 0x10, body, reason, &format!("CONNECT: {text}"));
}

fn connect_property(property: &[u8], reason: Reason, text: &str) {
    let mut body = b"\0\x04MQTT\x05\x02\0\0".to_vec();
    body.push(property.len() as u8);
    body.extend_from_slice(property);
    body.extend_from_slice(b"\0\x01c");
    connect(&body, reason, text);
}

#[test]
fn mqtt_3_1_2_1_protocol_name_and_version() {
    let unsupported = Reason::UnsupportedProtocolVersion;
    for body in [
        &b"\0\x04mqtt\x05"[..],
        b"\0\x06MQISDP\x03",
        b"\0\x00\x05",
        b"\0\x02\xC0\x80\x05",
    ] {
        connect(body, unsupported, "protocol name is unknown");
    }
    for (body, level) in [
        (&b"\0\x04MQTT\x03"[..], "0x03"),
        (b"\0\x04MQTT\x06", "0x06"),
        (b"\0\x04MQTT\x84", "0x84"),
        (b"\0\x06MQIsdp\x83", "0x83"),
        (b"\0\x06MQIsdp\x04", "0x04"),
        (b"\0\x06MQIsdp\x05", "0x05"),
    ] {
        connect(
            body,
            unsupported,
            &format!("protocol version is {level}, which is not allowed"),
        );
    }
    connect(
        b"\0\x04MQT",
        MalformedPacket,
        "the packet ends within the protocol name",
    );
    connect(
        b"\0\x04MQTT",
        MalformedPacket,
        "the packet ends within the protocol version",
    );
}

#[test]
fn mqtt_3_1_2_3_connect_flags() {
    for version in [&b"\0\x04MQTT\x04"[..], b"\0\x04MQTT\x05"] {
        let check = |flags: u8, text| {
            let mut body = version.to_vec();
            body.extend_from_slice(&[flags, 0, 0, 0, 0, 0, 0]);
            connect(&body, MalformedPacket, text);
        };
        check(0b0000_0001, "reserved connect flag is set");
        check(0b0001_1100, "will QoS is 3");
        check(0b0000_1000, "will QoS is set and will flag is not");
        check(0b0001_0000, "will QoS is set and will flag is not");
        check(0b0010_0000, "will retain is set and will flag is not");
    }
}

/// 3.1 section 3.1: what is not used is not looked at.
#[test]
fn connect_flags_of_3_1() {
    for flags in [0b0000_0001, 0b0001_1000, 0b0011_1000, 0b0010_0010] {
        let body = [&b"\0\x06MQIsdp\x03"[..], &[flags], b"\0\0\0\x01c"].concat();
        accept(Version::V31, 0x10, &body);
    }
    let body = b"\0\x06MQIsdp\x03\x1C\0\0\0\x01c\0\x01w\0\0";
    connect(body, MalformedPacket, "will QoS is 3");
}

#[test]
fn mqtt311_3_1_2_22_password_needs_a_user_name() {
    let text = "password flag is set and user name flag is not";
    connect(
        b"\0\x04MQTT\x04\x42\0\0\0\x01c\0\x01p",
        MalformedPacket,
        text,
    );
    accept(Version::V5, 0x10, b"\0\x04MQTT\x05\x42\0\0\0\0\x01c\0\x01p");
}

#[test]
fn mqtt_3_1_3_1_payload_of_connect() {
    let flags = |flags: u8, payload: &[u8], reason, text| {
        let mut body = b"\0\x04MQTT\x04\0\0\0".to_vec();
        body[7] = flags;
        body.extend_from_slice(payload);
        connect(&body, reason, text);
    };
    flags(
        2,
        b"",
        MalformedPacket,
        "the packet ends within the client identifier",
    );
    flags(
        2,
        b"\0\x01c\0",
        MalformedPacket,
        "bytes follow the last field of the payload",
    );
    flags(
        2,
        b"\0\x01\n",
        MalformedPacket,
        "client identifier contains a control character",
    );
    flags(
        2,
        b"\0\x03\xEF\xBF\xBF",
        MalformedPacket,
        "client identifier contains a Unicode non-character",
    );
    flags(
        0x82,
        b"\0\x01c",
        MalformedPacket,
        "the packet ends within the user name",
    );
    flags(
        0x82,
        b"\0\x01c\0\x01\x1B",
        MalformedPacket,
        "user name contains a control character",
    );
    flags(
        0xC2,
        b"\0\x01c\0\x01u",
        MalformedPacket,
        "the packet ends within the password",
    );
    flags(
        6,
        b"\0\x01c\0\0\0\0",
        MalformedPacket,
        "will topic is empty",
    );
    flags(
        6,
        b"\0\x01c\0\x01#\0\0",
        Reason::TopicNameInvalid,
        "will topic contains a wildcard",
    );
    flags(
        6,
        b"\0\x01c\0\x01t",
        MalformedPacket,
        "the packet ends within the will payload",
    );
    flags(
        6,
        b"\0\x01c\0\x01\0\0\0",
        MalformedPacket,
        "will topic contains a control character",
    );
    accept(Version::V311, 0x10, b"\0\x04MQTT\x04\x02\0\0\0\0");
}

#[test]
fn mqtt_3_1_2_11_properties_of_connect() {
    let zero = |name| format!("{name} is 0");
    connect_property(b"\x21\0\0", ProtocolError, &zero("Receive Maximum"));
    connect_property(b"\x27\0\0\0\0", ProtocolError, &zero("Maximum Packet Size"));
    let not_flag = |name| format!("{name} is 0x02, which is not allowed");
    connect_property(
        b"\x19\x02",
        ProtocolError,
        &not_flag("Request Response Information"),
    );
    connect_property(
        b"\x17\x02",
        ProtocolError,
        &not_flag("Request Problem Information"),
    );
    connect_property(
        b"\x16\0\0",
        ProtocolError,
        "Authentication Data is there without Authentication Method",
    );
    connect_property(
        b"\x7F\0",
        MalformedPacket,
        "property identifier is 0x7f, which is not allowed",
    );
    connect_property(
        b"\x00",
        MalformedPacket,
        "property identifier is 0x00, which is not allowed",
    );
    connect_property(
        b"\x91\0\0\0\0\0",
        MalformedPacket,
        "property identifier is 0x91, which is not allowed",
    );
    connect_property(
        b"\x26\0\x01k\0\x01\0",
        MalformedPacket,
        "User Property contains U+0000",
    );
    connect_property(
        b"\x26\0\x01k\0\x05v",
        MalformedPacket,
        "the packet ends within the User Property",
    );
    connect_property(
        b"\x11\0\0\0",
        MalformedPacket,
        "the packet ends within the Session Expiry Interval",
    );
    connect_property(
        b"\x15\0\x02\xED\xA0",
        MalformedPacket,
        "Authentication Method is not valid UTF-8",
    );
}

/// A valid encoding of each property.
const PROPERTIES: [&[u8]; 27] = [
    b"\x01\0",
    b"\x02\0\0\0\x01",
    b"\x03\0\x01x",
    b"\x08\0\x01x",
    b"\x09\0\x01x",
    b"\x0B\x01",
    b"\x11\0\0\0\x01",
    b"\x12\0\x01x",
    b"\x13\0\x01",
    b"\x15\0\x01x",
    b"\x16\0\x01x",
    b"\x17\0",
    b"\x18\0\0\0\x01",
    b"\x19\0",
    b"\x1A\0\x01x",
    b"\x1C\0\x01x",
    b"\x1F\0\x01x",
    b"\x21\0\x01",
    b"\x22\0\x01",
    b"\x23\0\x01",
    b"\x24\0",
    b"\x25\0",
    b"\x26\0\x01x\0\x01x",
    b"\x27\0\0\0\x01",
    b"\x28\0",
    b"\x29\0",
    b"\x2A\0",
];

/// Table 2-4: first byte, what is before the property list, what is behind it, and who may be in.
type Place = (u8, &'static [u8], &'static [u8], &'static [u8]);

const PLACES: [Place; 14] = [
    // 0x16 needs 0x15, and is tried with it below.
    (
        0x10,
        b"\0\x04MQTT\x05\x02\0\0",
        b"\0\0",
        b"\x11\x15\x17\x19\x21\x22\x26\x27",
    ),
    // The will of a CONNECT.
    (
        0x10,
        b"\0\x04MQTT\x05\x06\0\0\0\0\0",
        b"\0\x01t\0\0",
        b"\x01\x02\x03\x08\x09\x18\x26",
    ),
    (
        0x20,
        b"\0\0",
        b"",
        b"\x11\x12\x13\x15\x16\x1A\x1C\x1F\x21\x22\x24\x25\x26\x27\x28\x29\x2A",
    ),
    (0x30, b"\0\x01t", b"", b"\x01\x02\x03\x08\x09\x0B\x23\x26"),
    (0x40, b"\0\x01\0", b"", b"\x1F\x26"),
    (0x50, b"\0\x01\0", b"", b"\x1F\x26"),
    (0x62, b"\0\x01\0", b"", b"\x1F\x26"),
    (0x70, b"\0\x01\0", b"", b"\x1F\x26"),
    (0x82, b"\0\x01", b"\0\x01f\0", b"\x0B\x26"),
    (0x90, b"\0\x01", b"\0", b"\x1F\x26"),
    (0xA2, b"\0\x01", b"\0\x01f", b"\x26"),
    (0xB0, b"\0\x01", b"\0", b"\x1F\x26"),
    (0xE0, b"\0", b"", b"\x11\x1C\x1F\x26"),
    // Has 0x15 always; so 0x15 once more is a repetition.
    (0xF0, b"\0", b"", b"\x16\x1F\x26"),
];

fn with_properties(place: Place, properties: &[&[u8]]) -> Vec<u8> {
    let (first, before, behind, _) = place;
    let method: &[u8] = if first == 0xF0 { b"\x15\0\x01m" } else { b"" };
    let list = [method, &properties.concat()].concat();
    let body = [before, &[list.len() as u8], &list, behind].concat();
    [&[first, body.len() as u8], &body[..]].concat()
}

#[test]
fn mqtt_2_2_2_properties_have_their_places_and_most_are_there_once() {
    for place in PLACES {
        let (first, .., allowed) = place;
        for property in PROPERTIES {
            let result = |properties: &[&[u8]]| {
                let frame = with_properties(place, properties);
                decode(Version::V5, &frame, &Limits::default())
                    .map(|_| ())
                    .map_err(|error| error.reason())
            };
            let id = property[0];
            if !allowed.contains(&id) {
                let expected = match (first, id) {
                    (0xF0, 0x15) => ProtocolError,
                    _ if is_data_of_connect(place, id) => ProtocolError,
                    _ => MalformedPacket,
                };
                assert_eq!(
                    result(&[property]),
                    Err(expected),
                    "{id:#04x} in {first:#04x}"
                );
                continue;
            }
            assert_eq!(result(&[property]), Ok(()), "{id:#04x} in {first:#04x}");
            let twice = match (first, id) {
                (_, 0x26) | (0x30, 0x0B) => Ok(()),
                _ => Err(ProtocolError),
            };
            assert_eq!(
                result(&[property, property]),
                twice,
                "{id:#04x} in {first:#04x}"
            );
        }
    }
}

/// Authentication Data is allowed in CONNECT, together with the method only.
fn is_data_of_connect(place: Place, id: u8) -> bool {
    let is_connect = place.3.contains(&0x15);
    if is_connect && id == 0x16 {
        let frame = with_properties(place, &[b"\x15\0\x01m", b"\x16\0\x01d"]);
        assert!(decode(Version::V5, &frame, &Limits::default()).is_ok());
    }
    is_connect && id == 0x16
}

#[test]
fn mqtt_1_5_5_1_property_length() {
    let publish = |body: &[u8], text| {
        check(
            Version::V5,
            0x30,
            body,
            MalformedPacket,
            &format!("PUBLISH: {text}"),
        );
    };
    publish(b"\0\x01t", "the packet ends within the property length");
    publish(
        b"\0\x01t\x80\0",
        "property length is not in its shortest form",
    );
    publish(
        b"\0\x01t\xFF\xFF\xFF\xFF\x01",
        "property length is longer than four bytes",
    );
    publish(
        b"\0\x01t\x05\x01\0",
        "the packet ends within the property list",
    );
    // The list ends within a property, and the packet goes on.
    publish(
        b"\0\x01t\x01\x01\0",
        "the packet ends within the Payload Format Indicator",
    );
}

#[test]
fn mqtt_3_3_2_topic_of_publish() {
    let publish = |version, body: &[u8], reason, text| {
        check(version, 0x30, body, reason, &format!("PUBLISH: {text}"));
    };
    let invalid = Reason::TopicNameInvalid;
    for version in VERSIONS {
        for body in [b"\0\x01#\0", b"\0\x01+\0"] {
            publish(version, body, invalid, "topic name contains a wildcard");
        }
        let text = "topic name contains a control character";
        publish(version, b"\0\x01\0\0", MalformedPacket, text);
        publish(
            version,
            b"\0\x02\xC0\x80\0",
            MalformedPacket,
            "topic name is not valid UTF-8",
        );
        publish(
            version,
            b"\0\x03\xED\xA0\x80\0",
            MalformedPacket,
            "topic name is not valid UTF-8",
        );
        publish(
            version,
            b"\0\x05t\0",
            MalformedPacket,
            "the packet ends within the topic name",
        );
    }
    publish(
        Version::V311,
        b"\0\0x",
        MalformedPacket,
        "topic name is empty",
    );
    publish(
        Version::V31,
        b"\0\0x",
        MalformedPacket,
        "topic name is empty",
    );
    let text = "topic name is empty and there is no alias";
    publish(Version::V5, b"\0\0\0", ProtocolError, text);
    accept(Version::V5, 0x30, b"\0\0\x03\x23\0\x01");
}

#[test]
fn mqtt_3_3_2_properties_of_publish() {
    let publish = |property: &[u8], reason, text| {
        let mut body = b"\0\x01t".to_vec();
        body.push(property.len() as u8);
        body.extend_from_slice(property);
        check(
            Version::V5,
            0x30,
            &body,
            reason,
            &format!("PUBLISH: {text}"),
        );
    };
    publish(b"\x23\0\0", Reason::TopicAliasInvalid, "Topic Alias is 0"); // [MQTT-3.3.2-8]
    publish(b"\x0B\0", ProtocolError, "Subscription Identifier is 0");
    publish(
        b"\x0B\x80\0",
        MalformedPacket,
        "Subscription Identifier is not in its shortest form",
    );
    publish(
        b"\x0B\xFF\xFF\xFF\xFF\x01",
        MalformedPacket,
        "Subscription Identifier is longer than four bytes",
    );
    publish(
        b"\x08\0\x01#",
        ProtocolError,
        "Response Topic contains a wildcard",
    ); // [MQTT-3.3.2-14]
    publish(b"\x08\0\0", MalformedPacket, "Response Topic is empty");
    publish(
        b"\x01\x02",
        ProtocolError,
        "Payload Format Indicator is 0x02, which is not allowed",
    );
    publish(
        b"\x03\0\x01\0",
        MalformedPacket,
        "Content Type contains U+0000",
    );
}

#[test]
fn mqtt_2_2_1_3_packet_identifier_is_not_0() {
    for (first, name, body) in [
        (0x32, "PUBLISH", &b"\0\x01t\0\0\0"[..]),
        (0x40, "PUBACK", b"\0\0"),
        (0x50, "PUBREC", b"\0\0"),
        (0x62, "PUBREL", b"\0\0"),
        (0x70, "PUBCOMP", b"\0\0"),
        (0x82, "SUBSCRIBE", b"\0\0\0\0\x01f\0"),
        (0x90, "SUBACK", b"\0\0\0\0"),
        (0xA2, "UNSUBSCRIBE", b"\0\0\0\0\x01f"),
        (0xB0, "UNSUBACK", b"\0\0\0\0"),
    ] {
        let text = format!("{name}: packet identifier is 0");
        for version in VERSIONS {
            check(version, first, body, ProtocolError, &text);
        }
        check(
            Version::V5,
            first,
            b"",
            MalformedPacket,
            &match name {
                "PUBLISH" => "PUBLISH: the packet ends within the topic name".to_owned(),
                _ => format!("{name}: the packet ends within the packet identifier"),
            },
        );
    }
}

#[test]
fn mqtt_3_8_3_subscriptions() {
    let subscribe = |version, body: &[u8], reason, text| {
        check(version, 0x82, body, reason, &format!("SUBSCRIBE: {text}"));
    };
    let options = |version, options: u8, reason, text| {
        let body = match version {
            Version::V5 => [&b"\0\x01\0\0\x01f"[..], &[options]].concat(),
            _ => [&b"\0\x01\0\x01f"[..], &[options]].concat(),
        };
        subscribe(version, &body, reason, text);
    };
    let reserved = "reserved bits of the subscription options are set";
    let qos = "QoS of the subscription options is 3";
    for bit in 2..8 {
        options(Version::V311, 1 << bit, MalformedPacket, reserved); // 3.1.1: [MQTT-3-8.3-4]
    }
    options(Version::V311, 3, MalformedPacket, qos);
    options(Version::V5, 0x40, MalformedPacket, reserved); // [MQTT-3.8.3-5]
    options(Version::V5, 0x80, MalformedPacket, reserved);
    options(Version::V5, 3, ProtocolError, qos);
    options(Version::V5, 0x30, ProtocolError, "Retain Handling is 3");
    let none = "list of topic filters is empty"; // [MQTT-3.8.3-2]
    subscribe(Version::V311, b"\0\x01", ProtocolError, none);
    subscribe(Version::V5, b"\0\x01\0", ProtocolError, none);
    let cut = "the packet ends within the subscription options";
    subscribe(Version::V311, b"\0\x01\0\x01f", MalformedPacket, cut);
    subscribe(
        Version::V311,
        b"\0\x01\0\x01\0\0",
        MalformedPacket,
        "topic filter contains U+0000",
    );
    subscribe(
        Version::V5,
        b"\0\x01\x02\x0B\0\0\x01f\0",
        ProtocolError,
        "Subscription Identifier is 0",
    );
    // What is for the topic filter's own reason code in the SUBACK.
    accept(Version::V311, 0x82, b"\0\x01\0\0\0\0\x02a#\0");
}

#[test]
fn mqtt_3_10_3_2_unsubscribe_has_a_filter() {
    let none = "UNSUBSCRIBE: list of topic filters is empty";
    check(Version::V311, 0xA2, b"\0\x01", ProtocolError, none);
    check(Version::V5, 0xA2, b"\0\x01\0", ProtocolError, none);
}

/// Tries every code behind `before`; `allowed` is what the standard lists.
fn reason_codes(version: Version, first: u8, before: &[u8], behind: &[u8], allowed: &[u8]) {
    for code in 0..=u8::MAX {
        let body = [before, &[code], behind].concat();
        let mut frame = vec![first, body.len() as u8];
        frame.extend_from_slice(&body);
        match decode(version, &frame, &Limits::NONE) {
            Ok(_) => assert!(allowed.contains(&code), "{code:#04x} in {first:#04x}"),
            Err(error) => {
                assert!(
                    !allowed.contains(&code),
                    "{code:#04x} in {first:#04x}: {error}"
                );
                assert_eq!(error.reason(), ProtocolError);
            }
        }
    }
}

#[test]
fn mqtt_2_4_reason_codes_are_those_of_the_packet() {
    let received = b"\x00\x10\x80\x83\x87\x90\x91\x97\x99";
    let released = b"\x00\x92";
    let v5 = |first, before: &[u8], behind: &[u8], allowed: &[u8]| {
        reason_codes(Version::V5, first, before, behind, allowed);
    };
    v5(
        0x20,
        b"\0",
        b"\0",
        b"\0\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8A\x8C\x90\x95\x97\x99\x9A\x9B\x9C\x9D\x9F",
    );
    v5(0x40, b"\0\x01", b"", received);
    v5(0x50, b"\0\x01", b"\0", received);
    v5(0x62, b"\0\x01", b"", released);
    v5(0x70, b"\0\x01", b"\0", released);
    v5(
        0x90,
        b"\0\x01\0",
        b"",
        b"\0\x01\x02\x80\x83\x87\x8F\x91\x97\x9E\xA1\xA2",
    );
    v5(0xB0, b"\0\x01\0", b"", b"\0\x11\x80\x83\x87\x8F\x91");
    v5(
        0xE0,
        b"",
        b"",
        b"\0\x04\x80\x81\x82\x83\x87\x89\x8B\x8D\x8E\x8F\x90\x93\x94\x95\x96\x97\x98\x99\x9A\x9B\
          \x9C\x9D\x9E\x9F\xA0\xA1\xA2",
    );
    v5(0xF0, b"", b"\x04\x15\0\x01m", b"\0\x18\x19");
    for version in [Version::V31, Version::V311] {
        reason_codes(version, 0x20, b"\0", b"", b"\0\x01\x02\x03\x04\x05");
        reason_codes(version, 0x90, b"\0\x01", b"", b"\0\x01\x02\x80");
    }
}

#[test]
fn mqtt_3_2_2_connack() {
    let flags = "CONNACK: acknowledge flags is 0x02, which is not allowed";
    check(Version::V311, 0x20, b"\x02\0", MalformedPacket, flags);
    check(Version::V5, 0x20, b"\x02\0\0", MalformedPacket, flags);
    let present = "CONNACK: session present is set in a refusal";
    check(Version::V311, 0x20, b"\x01\x05", ProtocolError, present); // [MQTT-3.2.2-6]
    check(Version::V5, 0x20, b"\x01\x87\0", ProtocolError, present);
    check(
        Version::V5,
        0x20,
        b"\0\0\x02\x24\x02",
        ProtocolError,
        "CONNACK: Maximum QoS is 0x02, which is not allowed",
    );
    check(
        Version::V311,
        0x20,
        b"\0\0\0",
        MalformedPacket,
        "CONNACK: bytes follow the last field",
    );
    accept(Version::V31, 0x20, b"\x7F\0");
}

#[test]
fn answers_in_the_form_of_their_version() {
    let trailing = "PUBACK: bytes follow the packet identifier";
    check(Version::V311, 0x40, b"\0\x01\0", MalformedPacket, trailing);
    check(
        Version::V5,
        0x40,
        b"\0\x01\0\0\0",
        MalformedPacket,
        "PUBACK: bytes follow the property list",
    );
    check(
        Version::V5,
        0x90,
        b"\0\x01\0",
        ProtocolError,
        "SUBACK: list of reason codes is empty",
    );
    check(
        Version::V311,
        0xB0,
        b"\0\x01\0",
        MalformedPacket,
        "UNSUBACK: bytes follow the packet identifier",
    );
    check(
        Version::V311,
        0xE0,
        b"\0",
        MalformedPacket,
        "DISCONNECT: bytes follow the fixed header",
    );
    check(
        Version::V5,
        0xC0,
        b"\0",
        MalformedPacket,
        "PINGREQ: bytes follow the fixed header",
    );
    check(
        Version::V5,
        0xD0,
        b"\0",
        MalformedPacket,
        "PINGRESP: bytes follow the fixed header",
    );
    accept(Version::V5, 0x40, b"\0\x01\x10");
    accept(Version::V5, 0x40, b"\0\x01\x10\0");
    accept(Version::V5, 0xE0, b"\x04\0");
    accept(Version::V5, 0xE0, b"\x04"); // section 3.14.2.2.1
}

#[test]
fn mqtt_3_15_auth_is_of_version_5_and_names_its_method() {
    for version in [Version::V31, Version::V311] {
        check(
            version,
            0xF0,
            b"",
            MalformedPacket,
            "AUTH: packet type 15 is reserved before 5.0",
        );
    }
    let method = "AUTH: there is no Authentication Method";
    check(Version::V5, 0xF0, b"\0\0", ProtocolError, method);
    check(
        Version::V5,
        0xF0,
        b"\x18\x03\x16\0\0",
        ProtocolError,
        method,
    );
    check(
        Version::V5,
        0xF0,
        b"\x18",
        MalformedPacket,
        "AUTH: the packet ends within the property length",
    );
}
