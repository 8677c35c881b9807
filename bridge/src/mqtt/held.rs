//! What waits for room, in order, within a bound: pure. Who reads into it stops while it is full.

use std::collections::VecDeque;

/// Messages, or what there is of them.
#[derive(Debug)]
pub(super) struct Held<T> {
    entries: VecDeque<(T, usize)>,
    n_bytes: usize,
}

/// How many may wait.
const MOST: usize = 2_000;
/// Their bytes, but for the last one.
const MOST_BYTES: usize = 16 << 20;

// === impl Held ===

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            n_bytes: 0,
        }
    }
}

impl<T> Held<T> {
    /// Whether another may come.
    pub(super) fn has_room(&self) -> bool {
        self.entries.len() < MOST && self.n_bytes < MOST_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn push(&mut self, entry: T, n_bytes: usize) {
        self.n_bytes += n_bytes;
        self.entries.push_back((entry, n_bytes));
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.entries.front().map(|(entry, _)| entry)
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let (entry, n_bytes) = self.entries.pop_front()?;
        self.n_bytes -= n_bytes;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_a_bound_in_number_and_in_bytes_and_gives_back_what_it_took() {
        for (n_bytes, most) in [(0, MOST), (MOST_BYTES / 4, 4), (MOST_BYTES * 9, 1)] {
            let mut held = Held::default();
            for number in 0..most {
                assert!(held.has_room(), "{number} of {n_bytes}");
                held.push(number, n_bytes);
            }
            assert!(!held.has_room());
            assert_eq!(held.front(), Some(&0));
            assert_eq!(held.pop(), Some(0));
            assert!(held.has_room());
            while held.pop().is_some() {}
            assert!(held.is_empty());
            assert_eq!(held.n_bytes, 0);
        }
    }
}
