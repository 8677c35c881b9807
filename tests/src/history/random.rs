//! Seeded choices (xorshift*): a seed is all that a run needs to be the same again.

use std::{
    env,
    time::{SystemTime, UNIX_EPOCH},
};

/// A generator of numbers that depend on nothing but its seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The seed of `GATEMQ_SEED`, or one of the clock's; it is printed, for the replay.
    pub fn from_env(what: &str) -> Self {
        let given = env::var("GATEMQ_SEED").ok().map(|text| {
            text.parse()
                .unwrap_or_else(|_| panic!("GATEMQ_SEED={text}: a number is expected"))
        });
        let seed = given.unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            u64::from(since.expect("the clock is past 1970").subsec_nanos())
        });
        eprintln!("{what}: seed {seed}; again with GATEMQ_SEED={seed}");
        Self::new(seed)
    }

    /// Another generator, whose numbers do not depend on how often this one is asked later.
    pub fn fork(&mut self) -> Self {
        Self::new(u64::try_from(self.below(usize::MAX)).expect("64-bit machine"))
    }

    /// A number below the limit, which must be above 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 1;
        usize::try_from(number).expect("63 bits") % limit
    }

    /// Yes once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}
