//! Any bytes as a packet of each version: what decodes, decodes to the same again once encoded.

use gatemq_proto::mqtt::{Frame, Limits, Packet, PublishProperties, Version, decode, encode};
use gatemq_proto::mqtt::{forwardable, frame};

/// Panics where a packet does not come back.
pub(crate) fn decode_any(bytes: &[u8]) {
    let Ok(Frame::Complete { total, .. }) = frame(Version::V31, bytes, u32::MAX) else {
        return;
    };
    for version in [Version::V31, Version::V311, Version::V5] {
        for limits in [Limits::default(), Limits::NONE] {
            check(version, &bytes[..total], &limits);
        }
    }
}

fn check(version: Version, frame: &[u8], limits: &Limits) {
    let Ok(packet) = decode(version, frame, limits) else {
        return;
    };
    let version = match &packet {
        Packet::Connect(connect) => connect.version,
        _ => version,
    };
    if let Packet::Publish(publish) = &packet {
        let mut scratch = Vec::new();
        let forwarded = forwardable(publish.properties.block, &mut scratch);
        PublishProperties::from_block(forwarded).expect("part of a valid list");
    }
    let mut encoded = Vec::new();
    encode(&packet, version, &mut encoded);
    let mut again = decode(version, &encoded, limits).expect("what was encoded is valid");
    let mut packet = packet;
    drop_blocks(&mut packet);
    drop_blocks(&mut again);
    assert_eq!(packet, again);
}

/// The encoded form of the properties, whose order encoding may change.
fn drop_blocks(packet: &mut Packet<'_>) {
    match packet {
        Packet::Publish(publish) => publish.properties.block = &[],
        Packet::Connect(connect) => {
            if let Some(will) = &mut connect.will {
                will.properties.block = &[];
            }
        }
        _ => {}
    }
}
