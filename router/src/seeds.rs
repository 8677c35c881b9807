//! The seeds of simulations, and the numbers that follow from one.
//!
//! A simulation tries many seeds in an ordinary run. `GATEMQ_SEEDS=100000` tries so many,
//! `GATEMQ_SEED=7` that one only: where one fails, the command that repeats it is printed.
//!
//! The tests of the crates above this one have this file as a module of theirs, so that it is no part
//! of what the router offers, and each names its own package.

use std::env;

/// Small numbers that look random (SplitMix64); the same ones for the same seed.
pub(crate) struct Dice(u64);

/// Tells how a seed is tried again if it fails.
struct Trying<'a> {
    test: &'a str,
    seed: u64,
}

/// Runs a simulation with each seed: `GATEMQ_SEED` alone, or so many from 0 on. `test` is the path
/// of the test in its crate.
pub(crate) fn try_each(test: &str, n_seeds: u64, mut run: impl FnMut(u64)) {
    let seeds = match number("GATEMQ_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("GATEMQ_SEEDS").unwrap_or(n_seeds),
    };
    for seed in seeds {
        let trying = Trying { test, seed };
        run(seed);
        drop(trying);
    }
}

/// A number of the environment.
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().expect("seeds are numbers"))
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        // Mixed, or the numbers of one seed would be those of the one before it from the second on.
        Self(mix(seed.wrapping_add(GOLDEN)))
    }

    /// A number from 0 up to, but not including, `sides`, which is above 0.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0) % sides
    }

    /// Whether something happens that does so once in so many times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }

    /// One of some; `None` of none.
    pub(crate) fn pick<T: Clone>(&mut self, some: &[T]) -> Option<T> {
        let at = self.roll(some.len().max(1) as u64);
        some.get(at as usize).cloned()
    }
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { test, seed } = self;
            let package = env!("CARGO_PKG_NAME");
            eprintln!(
                "seed {seed} failed; again with: GATEMQ_SEED={seed} cargo test -p {package} --lib {test}"
            );
        }
    }
}

/// 2^64 over the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of SplitMix64.
fn mix(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
