//! Publishers at other gateways of which a message was refused that comes again, before whatever they
//! have behind it. What was on its way behind it is refused as well: it would overtake it.
//!
//! Each stream of a bridge is such a publisher: it ends with that refusal, and the next one has another
//! number. So nothing has to be known of a publisher but that it has ended, for as long as something of
//! it may be on its way.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// So many publishers are remembered. One of a rule ends once in 50 ms at most, and then its gateway
/// sends nothing more for it.
const MOST: usize = 1_024;

/// Those that have ended; see the module.
#[derive(Debug, Default)]
pub(crate) struct Rows(Mutex<VecDeque<Publisher>>);

/// A publisher's gateway and its number there.
pub(crate) type Publisher = (u64, u64);

// === impl Rows ===

impl Rows {
    /// A message of this publisher is refused, and comes again as another one's.
    pub(crate) fn break_off(&self, publisher: Publisher) {
        let mut broken = self.0.lock();
        if broken.contains(&publisher) {
            return;
        }
        if broken.len() >= MOST {
            broken.pop_front();
        }
        broken.push_back(publisher);
    }

    /// Whether one of its messages was refused.
    pub(crate) fn is_broken(&self, publisher: Publisher) -> bool {
        self.0.lock().contains(&publisher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered() {
        let rows = Rows::default();
        for number in 0..=MOST as u64 {
            rows.break_off((1, number));
            rows.break_off((1, number));
        }
        assert!(!rows.is_broken((1, 0)) && !rows.is_broken((2, 1)));
        assert!((1..=MOST as u64).all(|number| rows.is_broken((1, number))));
    }
}
