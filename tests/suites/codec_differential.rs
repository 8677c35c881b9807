//! The codec against those of another project: what `gatemq_proto` encodes, `rumqttd::protocol`
//! (4, 5) and `rumqttc` (4, 5) decode to the same fields, and what they make of it again, ours
//! decodes to the same packet. Over generated packets of every type.
//!
//! `excuses` lists what they cannot hold or get wrong, with what the standard says.

mod excuses;
mod fields;
mod generate;
mod ours;
mod rumqttc4;
mod rumqttc5;
mod rumqttd;

use std::{cell::Cell, collections::BTreeSet};

use bytes::BytesMut;
use gatemq_proto::mqtt::{Limits, Packet, Version, decode, encode};
use proptest::{prelude::*, test_runner::TestRunner};

use fields::Fields;

/// Larger than any packet here.
const ROOM: usize = 1 << 22;

/// Another project's codec of one version.
trait Codec {
    /// Its packets.
    type Packet;
    /// Its name in failures and excuses.
    const NAME: &'static str;
    /// The version that it speaks.
    const VERSION: Version;

    fn decode(bytes: &mut BytesMut) -> Result<Self::Packet, String>;
    fn fields(packet: &Self::Packet) -> Fields;
    fn encode(packet: Self::Packet) -> Result<BytesMut, String>;
}

/// Both directions, for packets of all types.
fn agree<C: Codec>() {
    let config = ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let (n_compared, n_excused) = (Cell::new(0), Cell::new(0));
    let outcome = TestRunner::new(config).run(&generate::packet(), |packet| {
        if excuses::of::<C>(&packet).is_some() {
            n_excused.set(n_excused.get() + 1);
            return Ok(());
        }
        n_compared.set(n_compared.get() + 1);
        agrees::<C>(packet).map_err(TestCaseError::fail)
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let (n_compared, n_excused) = (n_compared.get(), n_excused.get());
    eprintln!(
        "{}: {n_compared} packets compared, {n_excused} excused",
        C::NAME
    );
    assert!(n_compared > n_excused, "most packets are compared");
}

/// Whether both directions work for one packet.
fn agrees<C: Codec>(mut packet: Packet<'static>) -> Result<(), String> {
    if let Packet::Connect(connect) = &mut packet {
        connect.version = C::VERSION;
    }
    let mut bytes = Vec::new();
    encode(&packet, C::VERSION, &mut bytes);
    if bytes.is_empty() {
        return Ok(()); // AUTH, before 5
    }
    let decode = |bytes| decode(C::VERSION, bytes, &Limits::NONE);
    let ours = decode(&bytes).map_err(|error| format!("ours, of ours: {error}"))?;
    let expected = ours::fields(&ours);
    let theirs = C::decode(&mut BytesMut::from(&bytes[..]));
    let theirs = theirs.map_err(|error| format!("{}: {error}: {bytes:02x?}", C::NAME))?;
    same(&C::fields(&theirs), &expected).map_err(|trouble| format!("they decode {trouble}"))?;
    let again = C::encode(theirs).map_err(|error| format!("{} encodes: {error}", C::NAME))?;
    let back = decode(&again).map_err(|error| format!("ours: {error}: {again:02x?}"))?;
    same(&ours::fields(&back), &expected).map_err(|trouble| format!("they encode {trouble}"))
}

/// What differs.
fn same(found: &Fields, expected: &Fields) -> Result<(), String> {
    let names: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let differs = |name: &&String| found.get(*name) != expected.get(*name);
    let differences = names.into_iter().filter(differs);
    let differences: Vec<_> = differences
        .map(|name| {
            format!(
                "{name}: {:?}, not {:?}",
                found.get(name),
                expected.get(name)
            )
        })
        .collect();
    match differences.is_empty() {
        true => Ok(()),
        false => Err(differences.join("; ")),
    }
}

#[test]
fn rumqttc_agrees_on_3_1_1() {
    agree::<rumqttc4::V4>();
}

#[test]
fn rumqttc_agrees_on_5() {
    agree::<rumqttc5::V5>();
}

#[test]
fn every_excuse_of_rumqttc_is_needed() {
    excuses::check::<rumqttc4::V4>();
    excuses::check::<rumqttc5::V5>();
}
