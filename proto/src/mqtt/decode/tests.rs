//! What is accepted and, mostly, what is refused and why.

mod damage;
mod refusal;
mod text;

use super::*;
use crate::mqtt::{
    Reason,
    samples::{self, without_blocks},
};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

#[test]
fn samples_are_decoded_from_their_exact_bytes() {
    for sample in samples::all() {
        let packet = decode(sample.version, sample.bytes, &Limits::default());
        assert_eq!(packet.map(without_blocks), Ok(sample.packet));
    }
}

#[test]
fn a_publish_keeps_its_encoded_properties() {
    let frame = b"\x30\x0C\0\x01t\x07\x02\0\0\0\x09\x01\x01\xFF";
    let Ok(Packet::Publish(publish)) = decode(Version::V5, frame, &Limits::NONE) else {
        panic!("valid");
    };
    assert_eq!(publish.properties.block, b"\x02\0\0\0\x09\x01\x01");
    assert_eq!(publish.payload, b"\xFF");
}

#[test]
fn a_connect_tells_its_version_even_if_it_is_refused() {
    for sample in samples::all() {
        let expected = match &sample.packet {
            Packet::Connect(connect) => Some(connect.version),
            _ => None,
        };
        assert_eq!(Version::of_connect(sample.bytes), expected);
    }
    let reserved_flag = b"\x10\x0E\0\x04MQTT\x05\x03\0\x3C\0\0\x01c";
    assert!(decode(Version::V311, reserved_flag, &Limits::NONE).is_err());
    assert_eq!(Version::of_connect(reserved_flag), Some(Version::V5));
    assert_eq!(Version::of_connect(b"\x10\x07\0\x04MQTT\x06"), None);
    assert_eq!(Version::of_connect(b"\x10\x01\0"), None);
    assert_eq!(Version::of_connect(b""), None);
}

#[test]
fn version_3_1_lets_the_end_of_a_connect_take_precedence_over_its_flags() {
    let frame = b"\x10\x0F\0\x06MQIsdp\x03\xC2\0\x3C\0\x01c";
    let Ok(Packet::Connect(connect)) = decode(Version::V31, frame, &Limits::NONE) else {
        panic!("valid");
    };
    assert_eq!(
        (connect.login.username, connect.login.password),
        (None, None)
    );
    let frame = b"\x10\x12\0\x06MQIsdp\x03\xC2\0\x3C\0\x01c\0\x01u";
    let Ok(Packet::Connect(connect)) = decode(Version::V31, frame, &Limits::NONE) else {
        panic!("valid");
    };
    assert_eq!(
        (connect.login.username, connect.login.password),
        (Some("u"), None)
    );
}

#[test]
fn limits_are_counted_exactly() {
    let limits = Limits {
        max_user_properties: 1,
        topics: Bounds {
            levels: 2,
            length: 4,
        },
    };
    let reason = |frame: &[u8]| {
        decode(Version::V5, frame, &limits)
            .map(|_| ())
            .map_err(|error| error.reason())
    };
    assert!(reason(b"\x30\x06\0\x03a/b\0").is_ok());
    assert_eq!(
        reason(b"\x30\x07\0\x04a/b/\0"),
        Err(Reason::TopicNameInvalid)
    );
    assert_eq!(
        reason(b"\x30\x08\0\x05a/bcd\0"),
        Err(Reason::TopicNameInvalid)
    );
    assert!(reason(b"\x30\x0B\0\x01t\x07\x26\0\x01k\0\x01v").is_ok());
    assert_eq!(
        reason(b"\x30\x12\0\x01t\x0E\x26\0\x01k\0\x01v\x26\0\x01k\0\x01v"),
        Err(Reason::QuotaExceeded)
    );
}
