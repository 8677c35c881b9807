//! Numbers for traces and spans: fast, of this thread, good enough not to meet, and no secret.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

thread_local! {
    static STATE: Cell<[u64; 4]> = Cell::new(seed());
}

/// The next one (xoshiro256++: Blackman and Vigna, 2019).
#[inline]
pub(super) fn next() -> u64 {
    STATE.with(|cell| {
        let [mut a, mut b, mut c, mut d] = cell.get();
        let number = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let shifted = b << 17;
        c ^= a;
        d ^= b;
        b ^= c;
        a ^= d;
        c ^= shifted;
        d = d.rotate_left(45);
        cell.set([a, b, c, d]);
        number
    })
}

/// Never zero, as the number of a span has to be.
pub(super) fn next_id() -> [u8; 8] {
    loop {
        match next() {
            0 => {}
            number => return number.to_be_bytes(),
        }
    }
}

/// From the system, by the keys of the standard library's maps.
fn seed() -> [u64; 4] {
    let keys = RandomState::new();
    [1u8, 2, 3, 4].map(|n| keys.hash_one(n) | 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn threads_have_numbers_of_their_own() {
        let make = || (0..1_000).map(|_| next_id()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(make)).collect();
        let made = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        assert_eq!(made.collect::<HashSet<_>>().len(), 4_000);
    }
}
