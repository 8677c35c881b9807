//! Exact bytes, and that decoding gives back what was encoded.

use proptest::prelude::*;

use super::*;
use crate::mqtt::{
    Ack, Limits, MAX_REMAINING_LENGTH, PublishHeader, PublishProperties, Qos, Reason,
    SubscriptionIds, UserProperties, decode, forwardable,
    samples::{self, any, id, without_blocks},
};

fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    encode(packet, version, &mut out);
    out
}

#[test]
fn samples_are_encoded_to_their_exact_bytes() {
    for sample in samples::all() {
        let bytes = encoded(&sample.packet, sample.version);
        assert_eq!(bytes, sample.bytes, "{:?} {:02x?}", sample.packet, bytes);
    }
}

#[test]
fn appends_behind_what_is_there() {
    let mut out = b"before".to_vec();
    for sample in samples::all() {
        let start = out.len();
        encode(&sample.packet, sample.version, &mut out);
        assert_eq!(&out[start..], sample.bytes);
    }
}

#[test]
fn auth_appends_nothing_below_version_5() {
    for sample in samples::all() {
        if matches!(sample.packet, Packet::Auth(_)) {
            assert!(encoded(&sample.packet, Version::V311).is_empty());
        }
    }
}

#[test]
fn too_long_a_reason_string_is_cut_at_a_character() {
    let text = "x".to_owned() + &"\u{e4}".repeat(40_000);
    let ack = Ack {
        packet_id: id(1),
        reason: Reason::Success,
        reason_string: Some(&text),
        user_properties: UserProperties::default(),
    };
    let bytes = encoded(&Packet::PubAck(ack), Version::V5);
    let Ok(Packet::PubAck(back)) = decode(Version::V5, &bytes, &Limits::NONE) else {
        panic!("decodes");
    };
    assert_eq!(back.reason_string.map(str::len), Some(65_535));

    let text = "\u{e4}".repeat(40_000);
    let bytes = encoded(
        &Packet::PubAck(Ack {
            reason_string: Some(&text),
            ..ack
        }),
        Version::V5,
    );
    let Ok(Packet::PubAck(back)) = decode(Version::V5, &bytes, &Limits::NONE) else {
        panic!("decodes");
    };
    assert_eq!(back.reason_string.map(str::len), Some(65_534));
}

#[test]
fn lengths_on_both_sides_of_each_step() {
    for payload_len in [
        0, 120, 121, 122, 123, 124, 16_374, 16_380, 16_381, 2_097_148,
    ] {
        let payload = vec![7; payload_len];
        let header = header();
        let mut bytes = Vec::new();
        header.encode(payload_len, &mut bytes);
        bytes.extend_from_slice(&payload);
        assert_eq!(bytes.len(), header.encoded_len(payload_len));
        let publish = decode(Version::V5, &bytes, &Limits::NONE).expect("valid");
        assert_eq!(encoded(&publish, Version::V5), bytes);
    }
}

fn header() -> PublishHeader<'static> {
    PublishHeader {
        version: Version::V5,
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic: "t",
        packet_id: None,
        topic_alias: None,
        message_expiry: None,
        subscription_ids: &[],
        forwardable: &[],
    }
}

#[test]
fn says_when_a_publish_is_beyond_the_protocol() {
    let header = header();
    // Topic, property length and payload.
    let largest = MAX_REMAINING_LENGTH as usize - 3 - 1;
    assert_eq!(
        header.encoded_len(largest),
        MAX_REMAINING_LENGTH as usize + 5
    );
    assert!(header.encoded_len(largest + 1) > MAX_REMAINING_LENGTH as usize + 5);
}

#[test]
fn a_missing_packet_id_is_a_placeholder() {
    let mut out = vec![0; 3];
    let header = PublishHeader {
        qos: Qos::AtLeastOnce,
        version: Version::V311,
        ..header()
    };
    let position = header.encode(0, &mut out);
    assert_eq!(out, b"\0\0\0\x32\x05\0\x01t\0\x01");
    assert_eq!(position, 8);
}

fn check_round_trip(packet: &Packet<'_>, version: Version) {
    let bytes = encoded(packet, version);
    let back = decode(version, &bytes, &Limits::NONE).expect("what was encoded is valid");
    assert_eq!(encoded(&back, version), bytes);
    assert_eq!(&without_blocks(back), packet);
}

proptest! {
    #[test]
    fn decoding_gives_back_any_packet_of_version_5(packet in any::packet()) {
        check_round_trip(&packet, Version::V5);
    }

    #[test]
    fn earlier_versions_leave_out_what_they_do_not_have(packet in any::packet()) {
        for version in [Version::V31, Version::V311] {
            if let Some(lowered) = any::lowered(packet.clone(), version) {
                let is_connect = matches!(packet, Packet::Connect(_));
                if !is_connect {
                    assert_eq!(encoded(&packet, version), encoded(&lowered, version));
                }
                check_round_trip(&lowered, version);
            }
        }
    }

    #[test]
    fn a_header_and_its_payload_are_the_packet(publish in any::publish(), version in 3..=5_u8) {
        let version = [Version::V31, Version::V311, Version::V5][usize::from(version) - 3];
        prop_assume!(version == Version::V5 || !publish.topic.is_empty());
        let received = encoded(&Packet::Publish(publish), Version::V5);
        let Ok(Packet::Publish(received)) = decode(Version::V5, &received, &Limits::NONE) else {
            panic!("valid");
        };
        let mut scratch = Vec::new();
        let subscription_ids = received.properties.subscription_ids.iter().collect::<Vec<_>>();
        let header = PublishHeader {
            version,
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: publish.topic,
            packet_id: publish.packet_id,
            topic_alias: received.properties.topic_alias,
            message_expiry: received.properties.message_expiry,
            subscription_ids: &subscription_ids,
            forwardable: forwardable(received.properties.block, &mut scratch),
        };
        let mut bytes = Vec::new();
        let position = header.encode(publish.payload.len(), &mut bytes);
        if let Some(packet_id) = publish.packet_id {
            prop_assert_eq!(&bytes[position..position + 2], packet_id.get().to_be_bytes());
        }
        bytes.extend_from_slice(publish.payload);
        prop_assert_eq!(bytes.len(), header.encoded_len(publish.payload.len()));
        let back = decode(version, &bytes, &Limits::NONE).expect("valid");
        let expected = match version {
            Version::V5 => publish,
            _ => crate::mqtt::Publish { properties: PublishProperties::default(), ..publish },
        };
        prop_assert_eq!(without_blocks(back), Packet::Publish(expected));
    }

    #[test]
    fn subscription_ids_come_back(ids in prop::collection::vec(1..=MAX_REMAINING_LENGTH, 0..5)) {
        let mut buffer = Vec::new();
        let encoded = SubscriptionIds::encode(ids.iter().copied(), &mut buffer);
        prop_assert_eq!(encoded.iter().collect::<Vec<_>>(), ids);
    }
}
