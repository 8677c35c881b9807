//! Fuzzing without a fuzzer: valid inputs, changed at random from a seed, for a few seconds.
//!
//! `GATEMQ_FUZZ_SECONDS` is how long each target is fed, `GATEMQ_SEED` the seed. An input that makes
//! a target panic is printed.

use std::{
    env,
    panic::{self, AssertUnwindSafe},
    time::{Duration, Instant},
};

use crate::history::Random;

/// Seconds for each target where nothing else is said.
const SECONDS: u64 = 3;
/// Inputs grow no longer.
const LONGEST: usize = 64 << 10;
/// What bytes and lengths are set to.
const ODD: [u8; 8] = [0, 1, 0x7F, 0x80, 0xC0, 0xED, 0xFE, 0xFF];

/// Feeds a target with changed inputs; returns how many.
pub fn for_a_while(what: &str, valid: &[Vec<u8>], mut target: impl FnMut(&[u8])) -> usize {
    let seconds = env::var("GATEMQ_FUZZ_SECONDS").ok();
    let seconds = seconds
        .and_then(|text| text.parse().ok())
        .unwrap_or(SECONDS);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut random = Random::from_env(what);
    let mut n_inputs = 0;
    while Instant::now() < until {
        let input = changed(valid, &mut random);
        n_inputs += 1;
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| target(&input)));
        if let Err(panicked) = outcome {
            eprintln!("{what}: input {n_inputs}: {input:02x?}");
            panic::resume_unwind(panicked);
        }
    }
    eprintln!("{what}: {n_inputs} inputs");
    n_inputs
}

/// One of the inputs, changed in one to four places.
pub fn changed(valid: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = valid[random.below(valid.len())].clone();
    for _ in 0..=random.below(4) {
        change(&mut bytes, valid, random);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, valid: &[Vec<u8>], random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(ODD[random.below(ODD.len())]);
        return;
    }
    let at = random.below(bytes.len());
    let part = |random: &mut Random| at..at + 1 + random.below(bytes.len() - at);
    match random.below(9) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = ODD[random.below(ODD.len())],
        2 => bytes[at] = random.below(256).to_le_bytes()[0],
        3 => bytes.truncate(at),
        4 => {
            // Lengths have one, two or four bytes.
            let end = (at + (1 << random.below(3))).min(bytes.len());
            bytes[at..end].fill(ODD[random.below(ODD.len())]);
        }
        5 => {
            let again = bytes[part(random)].to_vec();
            bytes.splice(at..at, again);
        }
        6 => {
            let part = part(random);
            bytes.drain(part);
        }
        7 => {
            let other = &valid[random.below(valid.len())];
            let from = random.below(other.len().max(1)).min(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => {
            let noise = (0..random.below(8)).map(|_| random.below(256).to_le_bytes()[0]);
            let noise: Vec<u8> = noise.collect();
            bytes.splice(at..at, noise);
        }
    }
}
