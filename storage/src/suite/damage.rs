//! Damage for those who read what was stored: values that are valid, changed in ways in which disks,
//! crashes and other versions change them. It follows from a seed.

use std::io::Write;

/// Calls `check` with so many damaged forms of these values. Where it panics, the form is printed.
pub fn each(valid: &[Vec<u8>], n_rounds: usize, mut check: impl FnMut(&[u8])) {
    let mut random = Random(0x5eed);
    for _ in 0..n_rounds {
        let mut bytes = valid[random.below(valid.len())].clone();
        for _ in 0..=random.below(3) {
            change(&mut bytes, valid, &mut random);
        }
        let shown = Shown(bytes);
        check(&shown.0);
    }
}

/// Says what it is when a check of it panics.
struct Shown(Vec<u8>);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut out = std::io::stderr().lock();
            let _ = writeln!(out, "the damaged value: {:02x?}", self.0);
        }
    }
}

fn change(bytes: &mut Vec<u8>, valid: &[Vec<u8>], random: &mut Random) {
    /// What lengths and numbers are wrong by.
    const ODD: [u8; 6] = [0, 1, 0x7F, 0x80, 0xFE, 0xFF];
    if bytes.is_empty() {
        bytes.push(ODD[random.below(ODD.len())]);
        return;
    }
    let at = random.below(bytes.len());
    match random.below(7) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = ODD[random.below(ODD.len())],
        2 => bytes.truncate(at),
        3 => {
            let end = (at + 4).min(bytes.len());
            bytes[at..end].fill(ODD[random.below(ODD.len())]);
        }
        4 => {
            let end = at + random.below(bytes.len() - at);
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part);
        }
        5 => {
            let end = at + random.below(bytes.len() - at);
            bytes.drain(at..end);
        }
        _ => {
            let other = &valid[random.below(valid.len())];
            bytes.truncate(at);
            bytes.extend_from_slice(&other[at.min(other.len())..]);
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_each_time_and_mostly_damage() {
        let valid = [b"0123456789".to_vec(), b"abcdef".to_vec()];
        let all = || {
            let mut all = Vec::new();
            each(&valid, 500, |bytes| all.push(bytes.to_vec()));
            all
        };
        let seen = all();
        assert_eq!(seen, all());
        let n_changed = seen.iter().filter(|bytes| !valid.contains(bytes)).count();
        assert!(n_changed > 400, "{n_changed}");
    }
}
