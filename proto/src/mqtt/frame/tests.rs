//! Fixed headers, legal and not.

use super::*;

const NO_LIMIT: u32 = u32::MAX;

fn frame(buffer: &[u8], maximum_packet_size: u32) -> Result<Frame, Error> {
    super::frame(Version::V5, buffer, maximum_packet_size)
}

#[test]
fn what_3_1_sends_again_has_dup() {
    for first in [0x6A, 0x8A, 0xAA] {
        assert!(super::frame(Version::V31, &[first, 2], NO_LIMIT).is_ok());
        for version in [Version::V311, Version::V5] {
            assert!(super::frame(version, &[first, 2], NO_LIMIT).is_err());
        }
    }
    for first in [0x68, 0x8B, 0xA8, 0xC8, 0x38, 0xEA] {
        assert!(super::frame(Version::V31, &[first, 2], NO_LIMIT).is_err());
    }
}

#[test]
fn mqtt_2_1_3_1_reserved_flags_are_refused_at_once() {
    for packet in 0..16 {
        for flags in 0..16 {
            let first = packet << 4 | flags;
            let legal = match packet {
                0 => false,
                3 => [0, 1, 2, 3, 4, 5, 10, 11, 12, 13].contains(&flags),
                6 | 8 | 10 => flags == 2,
                _ => flags == 0,
            };
            match frame(&[first], NO_LIMIT) {
                Ok(frame) => {
                    assert!(legal, "{first:#010b}");
                    assert_eq!(frame, Frame::Incomplete { at_least: 2 });
                }
                Err(error) => {
                    assert!(!legal, "{first:#010b}: {error}");
                    assert_eq!(error.reason(), Reason::MalformedPacket);
                }
            }
        }
    }
}

#[test]
fn mqtt_3_3_1_4_and_3_3_1_2_say_what_is_wrong_with_publish_flags() {
    let text = |first| frame(&[first], NO_LIMIT).unwrap_err().to_string();
    assert_eq!(text(0x36), "PUBLISH: QoS is 3");
    assert_eq!(text(0x38), "PUBLISH: DUP is set and QoS is 0");
    assert_eq!(
        text(0x80),
        "SUBSCRIBE: reserved flag bits are 0b0000, must be 0b0010"
    );
    assert_eq!(text(0x0F), "packet type 0 is reserved");
}

fn check(buffer: &[u8], expected: Frame) {
    assert_eq!(frame(buffer, NO_LIMIT), Ok(expected), "{buffer:02x?}");
}

#[test]
fn tells_how_much_is_needed() {
    check(&[], Frame::Incomplete { at_least: 2 });
    check(&[0x30], Frame::Incomplete { at_least: 2 });
    check(&[0x30, 0x80], Frame::Incomplete { at_least: 3 });
    check(&[0x30, 0x80, 0x80], Frame::Incomplete { at_least: 4 });
    check(&[0x30, 0x80, 0x80, 0x80], Frame::Incomplete { at_least: 5 });
    check(&[0x30, 0x05, 0], Frame::Incomplete { at_least: 7 });
    check(&[0x30, 0x80, 0x01], Frame::Incomplete { at_least: 131 });
    check(
        &[0x30, 0xFF, 0xFF, 0xFF, 0x7F],
        Frame::Incomplete {
            at_least: MAX_REMAINING_LENGTH as usize + 5,
        },
    );
}

#[test]
fn finds_the_end_and_leaves_the_rest() {
    check(
        &[0xC0, 0],
        Frame::Complete {
            header: 2,
            total: 2,
        },
    );
    check(
        &[0xC0, 0, 0xC0],
        Frame::Complete {
            header: 2,
            total: 2,
        },
    );
    check(
        &[0x40, 2, 0, 1, 9, 9],
        Frame::Complete {
            header: 2,
            total: 4,
        },
    );
    let mut long = vec![0x30, 0x80, 0x01];
    long.resize(131, 0);
    check(
        &long,
        Frame::Complete {
            header: 3,
            total: 131,
        },
    );
}

#[test]
fn mqtt_1_5_5_1_remaining_length_is_in_its_shortest_form() {
    for buffer in [
        &[0x30, 0x80, 0x00][..],
        &[0x30, 0xFF, 0x00],
        &[0x30, 0x80, 0x80, 0x00],
        &[0x30, 0x80, 0x80, 0x80, 0x00],
    ] {
        let error = frame(buffer, NO_LIMIT).unwrap_err();
        assert_eq!(
            error.to_string(),
            "PUBLISH: Remaining Length is not in its shortest form"
        );
        assert_eq!(error.reason(), Reason::MalformedPacket);
    }
}

#[test]
fn mqtt_2_1_4_remaining_length_has_at_most_four_bytes() {
    for fifth in [&[][..], &[0x01], &[0x80]] {
        let mut buffer = vec![0x10, 0xFF, 0xFF, 0xFF, 0xFF];
        buffer.extend_from_slice(fifth);
        let error = frame(&buffer, NO_LIMIT).unwrap_err();
        assert_eq!(
            error.to_string(),
            "CONNECT: Remaining Length is longer than four bytes"
        );
    }
}

#[test]
fn mqtt_3_1_2_24_too_large_a_packet_is_refused_before_its_body_is_there() {
    let error = frame(&[0x10, 0xFF, 0xFF, 0xFF, 0x7F], 65_536).unwrap_err();
    assert_eq!(error.reason(), Reason::PacketTooLarge);
    assert_eq!(
        error.to_string(),
        "CONNECT: packet size is above the limit of 65536 bytes"
    );

    assert_eq!(
        frame(&[0x30, 8], 10),
        Ok(Frame::Incomplete { at_least: 10 })
    );
    assert_eq!(
        frame(&[0x30, 9], 10).unwrap_err().reason(),
        Reason::PacketTooLarge
    );
}
