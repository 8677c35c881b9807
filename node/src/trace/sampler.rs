//! Which messages are traced: those whose publisher says so, as far as there is room for such ones, and
//! of the others a part, by the random bits of the trace's number.

use super::context::Context;
use super::random;

/// Decides at the place where a message comes in; behind it everybody follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Numbers of 56 bits below this are sampled.
    below: u64,
}

/// The random bits of a trace's number (W3C Trace Context, level 2): the last 56.
const BITS: u32 = 56;

// === impl Sampler ===

impl Sampler {
    /// One for this part of the messages, from 0 to 1.
    #[must_use]
    pub fn new(ratio: f64) -> Self {
        let all = (1u64 << BITS) as f64;
        Self {
            below: (ratio.clamp(0.0, 1.0) * all) as u64,
        }
    }

    /// Whether a message is traced: the number of its trace, and the span that it comes from if it
    /// has one. `has_room` is asked where that is to be because its publisher says so: without room it
    /// is one of the others. Of those without a word none costs more than a number.
    #[inline]
    #[must_use]
    pub fn sample(
        &self,
        parent: Option<Context>,
        has_room: impl FnOnce() -> bool,
    ) -> Option<([u8; 16], Option<[u8; 8]>)> {
        match parent {
            Some(parent) => {
                // The bits of its own number are whatever its publisher likes.
                let is_traced = parent.is_sampled() && (has_room() || self.takes(random::next()));
                is_traced.then_some((parent.trace_id, Some(parent.span_id)))
            }
            None => {
                let low = random::next();
                self.takes(low).then(|| (trace_id(low), None))
            }
        }
    }

    fn takes(self, low: u64) -> bool {
        low & ((1 << BITS) - 1) < self.below
    }
}

fn trace_id(low: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&random::next_id());
    id[8..].copy_from_slice(&low.to_be_bytes());
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(flags: u8) -> Context {
        Context {
            trace_id: [7; 16],
            span_id: [8; 8],
            flags,
        }
    }

    #[test]
    fn who_has_a_parent_does_as_it_did() {
        for ratio in [0.0, 0.5, 1.0] {
            let sampler = Sampler::new(ratio);
            let followed = sampler.sample(Some(parent(1)), || true);
            assert_eq!(followed, Some(([7; 16], Some([8; 8]))));
            assert_eq!(sampler.sample(Some(parent(0)), || true), None);
        }
    }

    #[test]
    fn where_too_many_ask_the_ratio_decides() {
        let count = |ratio: f64| {
            let sampler = Sampler::new(ratio);
            (0..20_000)
                .filter(|_| sampler.sample(Some(parent(1)), || false).is_some())
                .count()
        };
        assert_eq!((count(0.0), count(1.0)), (0, 20_000));
        assert!((1_600..2_400).contains(&count(0.1)), "{}", count(0.1));
    }

    #[test]
    fn of_the_others_it_is_the_ratio() {
        let count = |ratio: f64| {
            let sampler = Sampler::new(ratio);
            (0..20_000)
                .filter(|_| sampler.sample(None, || false).is_some())
                .count()
        };
        assert_eq!((count(0.0), count(1.0)), (0, 20_000));
        assert!((1_600..2_400).contains(&count(0.1)), "{}", count(0.1));
    }

    #[test]
    fn the_decision_is_in_the_number_of_the_trace() {
        let sampler = Sampler::new(0.25);
        for _ in 0..1_000 {
            if let Some((trace_id, None)) = sampler.sample(None, || false) {
                let low: [u8; 8] = trace_id[8..].try_into().unwrap();
                assert!(sampler.takes(u64::from_be_bytes(low)));
                assert!(Sampler::new(0.5).takes(u64::from_be_bytes(low)));
            }
        }
    }
}
