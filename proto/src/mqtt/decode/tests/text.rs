//! Every text there is, as topic name, client identifier and user property.

use super::*;

fn publish_to(topic: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x30, 2 + topic.len() as u8, 0, topic.len() as u8];
    frame.extend_from_slice(topic);
    frame
}

fn connect_as(client_id: &[u8]) -> Vec<u8> {
    let mut frame = b"\x10\0\0\x04MQTT\x04\x02\0\0\0".to_vec();
    frame.push(client_id.len() as u8);
    frame.extend_from_slice(client_id);
    frame[1] = frame.len() as u8 - 2;
    frame
}

fn publish_with_content_type(text: &[u8]) -> Vec<u8> {
    let mut frame = b"\x30\0\0\x01t\0\x03\0".to_vec();
    frame.push(text.len() as u8);
    frame.extend_from_slice(text);
    frame[1] = frame.len() as u8 - 2;
    frame[5] = text.len() as u8 + 3;
    frame
}

fn is_accepted(version: Version, frame: &[u8]) -> bool {
    match decode(version, frame, &Limits::NONE) {
        Ok(_) => true,
        Err(error) => {
            assert!(
                matches!(
                    error.reason(),
                    Reason::MalformedPacket | Reason::TopicNameInvalid
                ),
                "{error}"
            );
            false
        }
    }
}

fn check(text: &[u8], in_topic: bool, in_client_id: bool, elsewhere: bool) {
    assert_eq!(
        is_accepted(Version::V311, &publish_to(text)),
        in_topic,
        "{text:02x?}"
    );
    assert_eq!(
        is_accepted(Version::V311, &connect_as(text)),
        in_client_id,
        "{text:02x?}"
    );
    assert_eq!(
        is_accepted(Version::V5, &publish_with_content_type(text)),
        elsewhere,
        "{text:02x?}"
    );
}

#[test]
fn mqtt_1_5_4_2_every_character_is_taken_where_the_policy_says() {
    for character in (0..=0x10_FFFF).filter_map(char::from_u32) {
        let code = u32::from(character);
        let non_character = (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFF >= 0xFFFE;
        let plain = !character.is_control() && !non_character;
        let wildcard = matches!(character, '+' | '#');
        let mut buffer = [0; 4];
        let text = character.encode_utf8(&mut buffer).as_bytes();
        check(text, plain && !wildcard, plain, character != '\0');
    }
}

/// UTF-8 by its table of well-formed byte sequences (Unicode 3.9, table 3-7).
fn is_well_formed(bytes: &[u8]) -> bool {
    let tail = |bytes: &[u8]| bytes.iter().all(|byte| (0x80..=0xBF).contains(byte));
    match bytes {
        [0..=0x7F] => true,
        [0xC2..=0xDF, rest @ ..] if rest.len() == 1 => tail(rest),
        [0xE0, 0xA0..=0xBF, rest @ ..]
        | [0xE1..=0xEC | 0xEE..=0xEF, 0x80..=0xBF, rest @ ..]
        | [0xED, 0x80..=0x9F, rest @ ..]
            if rest.len() == 1 =>
        {
            tail(rest)
        }
        [0xF0, 0x90..=0xBF, rest @ ..]
        | [0xF1..=0xF3, 0x80..=0xBF, rest @ ..]
        | [0xF4, 0x80..=0x8F, rest @ ..]
            if rest.len() == 2 =>
        {
            tail(rest)
        }
        _ => false,
    }
}

#[test]
fn mqtt_1_5_4_1_ill_formed_utf_8_is_refused() {
    // All first and second bytes, and the bounds of those after them.
    let tails = [0x00, 0x7F, 0x80, 0xBF, 0xC0, 0xFF];
    for first in 0x80..=0xFF {
        check(&[first], false, false, false);
        for second in 0..=0xFF {
            check_if_ill_formed(&[first, second]);
            for third in tails {
                check_if_ill_formed(&[first, second, third]);
                for fourth in tails {
                    check_if_ill_formed(&[first, second, third, fourth]);
                }
            }
        }
    }
}

/// Sequences that begin with a well-formed one may be several characters: `from_utf8` is trusted
/// with what follows it, and the table with the first.
fn check_if_ill_formed(bytes: &[u8]) {
    let begins_well = (1..=bytes.len()).any(|length| is_well_formed(&bytes[..length]));
    if !begins_well {
        check(bytes, false, false, false);
    }
}

#[test]
fn mqtt_1_5_4_3_a_byte_order_mark_is_kept() {
    let frame = publish_to("\u{FEFF}a".as_bytes());
    let Ok(Packet::Publish(publish)) = decode(Version::V311, &frame, &Limits::NONE) else {
        panic!("valid");
    };
    assert_eq!(publish.topic, "\u{FEFF}a");
}
