//! Random operations on an engine and on a map of the standard library: both must agree.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{Open, get, scan};
use crate::{Batch, Op};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Few enough keys that operations often meet the same ones.
const KEYS: u64 = 60;
const COMMITS: usize = 150;

pub(super) fn random_operations(open: Open<'_>, seed: u64) {
    let name = format!("random_operations_{seed}");
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut model = Model::new();
    let mut engine = open(&name);
    for commit in 0..COMMITS {
        let batches: Vec<_> = (0..random.below(4)).map(|_| random.batch()).collect();
        for op in batches.iter().flat_map(Batch::iter) {
            apply(&mut model, op);
        }
        engine.commit(&batches).expect("a commit succeeds");
        if random.below(20) == 0 && !engine.is_volatile() {
            drop(engine);
            engine = open(&name);
        }
        let context = format!("seed {seed}, commit {commit}");
        let (start, end) = (random.key(), random.key());
        let inside = |key: &[u8]| *key >= *start && *key < *end;
        let expected: Vec<_> = model
            .clone()
            .into_iter()
            .filter(|(key, _)| inside(key))
            .collect();
        assert_eq!(scan(&*engine, &start, &end), expected, "{context}");
        let last = engine.last(&start, &end).expect("a read succeeds");
        let last = last.map(|(key, value)| (key.to_vec(), value.to_vec()));
        assert_eq!(last.as_ref(), expected.last(), "{context}");
        assert_eq!(
            get(&*engine, &start),
            model.get(&start).cloned(),
            "{context}"
        );
    }
    let mut left = model.into_iter();
    let mut visit = |key: &[u8], value: &[u8]| {
        assert_eq!(
            left.next(),
            Some((key.to_vec(), value.to_vec())),
            "seed {seed}"
        );
        ControlFlow::Continue(())
    };
    engine
        .scan(b"", b"\xff", &mut visit)
        .expect("a scan succeeds");
    assert_eq!(left.next(), None, "seed {seed}");
}

fn apply(model: &mut Model, op: Op<'_>) {
    match op {
        Op::Put { key, value } => drop(model.insert(key.to_vec(), value.to_vec())),
        Op::Delete { key } => drop(model.remove(key)),
        Op::DeleteRange { start, end } => model.retain(|key, _| **key < *start || **key >= *end),
        Op::DeleteUnlessAny { key, start, end } => {
            if !model.keys().any(|key| **key >= *start && **key < *end) {
                model.remove(key);
            }
        }
    }
}

/// A small generator (xorshift), so that a seed gives the same operations for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.below(KEYS);
        // Keys of several lengths, some of them prefixes of others.
        match number % 3 {
            0 => vec![number as u8],
            1 => vec![number as u8 - 1, 0],
            _ => vec![number as u8 - 2, 1, 1],
        }
    }

    fn batch(&mut self) -> Batch {
        let mut batch = Batch::new();
        for _ in 0..self.below(12) {
            let key = self.key();
            let (start, end) = (self.key(), self.key());
            match self.below(10) {
                0..=5 => batch.put(&key, &self.next().to_be_bytes()[..self.below(9) as usize]),
                6 => batch.delete(&key),
                7 => batch.delete_range(&start, &end),
                _ => batch.delete_unless_any(&key, &start, &end),
            }
        }
        batch
    }
}
