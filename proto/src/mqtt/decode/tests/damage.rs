//! Valid packets, damaged in every place: whatever comes of it is an error or a valid packet.

use proptest::prelude::*;

use super::*;
use crate::mqtt::encode;

/// Decodes in each version; what decodes must survive encoding.
fn check(frame: &[u8]) {
    for version in VERSIONS {
        let Ok(packet) = decode(version, frame, &Limits::NONE) else {
            continue;
        };
        let version = match &packet {
            Packet::Connect(connect) => connect.version,
            _ => version,
        };
        let mut out = Vec::new();
        encode(&packet, version, &mut out);
        let back = decode(version, &out, &Limits::NONE).map(without_blocks);
        assert_eq!(back, Ok(without_blocks(packet)), "{frame:02x?}");
    }
}

/// The same body behind a fixed header that tells its length.
fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    let mut frame = vec![first, body.len() as u8];
    frame.extend_from_slice(body);
    frame
}

#[test]
fn truncated_at_each_byte() {
    for sample in samples::all() {
        let bytes = sample.bytes;
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            let error = decode(sample.version, cut, &Limits::NONE).unwrap_err();
            assert_eq!(error.reason(), Reason::MalformedPacket, "{cut:02x?}");
            if length >= 2 {
                check(&framed(bytes[0], &cut[2..]));
            }
        }
    }
}

#[test]
fn every_length_is_off_by_one_or_extreme() {
    for sample in samples::all() {
        for position in 2..sample.bytes.len().saturating_sub(1) {
            let length = u16::from_be_bytes([sample.bytes[position], sample.bytes[position + 1]]);
            for wrong in [length.wrapping_sub(1), length.wrapping_add(1), 0, u16::MAX] {
                let mut frame = sample.bytes.to_vec();
                frame[position..position + 2].copy_from_slice(&wrong.to_be_bytes());
                check(&frame);
            }
        }
    }
}

#[test]
fn every_byte_has_every_value() {
    for sample in samples::all() {
        for position in 0..sample.bytes.len() {
            let mut frame = sample.bytes.to_vec();
            for value in 0..=u8::MAX {
                frame[position] = value;
                check(&frame);
            }
        }
    }
}

#[test]
fn mqtt_2_1_4_bytes_behind_a_packet_are_refused() {
    for sample in samples::all() {
        let mut frame = sample.bytes.to_vec();
        frame.push(0);
        let error = decode(sample.version, &frame, &Limits::NONE).unwrap_err();
        assert_eq!(error.reason(), Reason::MalformedPacket);
        // Inside the packet: a longer payload or list, or an error.
        check(&framed(frame[0], &frame[2..]));
    }
}

proptest! {
    #[test]
    fn any_bytes(frame in prop::collection::vec(any::<u8>(), 0..64)) {
        check(&frame);
    }

    #[test]
    fn any_body_behind_a_valid_fixed_header(
        first in prop::sample::select(&[
            0x10_u8, 0x20, 0x30, 0x32, 0x3D, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xB0, 0xE0,
            0xF0,
        ][..]),
        body in prop::collection::vec(prop_oneof![0..0x2B_u8, any::<u8>()], 0..100),
    ) {
        check(&framed(first, &body));
    }
}
