//! Judges whether a topic of Kafka has what was published.

use std::collections::HashMap;

pub(crate) use gatemq_tests::kafka::reader::{Found, read_all};

/// Holds that each key has the values from 0 to `n_each`, in order, and that whatever is there again
/// has the id that it had. Returns how many are.
pub(super) fn judge(found: &[Found], n_keys: usize, n_each: u64) -> usize {
    let mut nexts: HashMap<&str, u64> = HashMap::new();
    let mut ids: HashMap<(&str, u64), &str> = HashMap::new();
    let mut n_repeats = 0;
    for Found { key, value, id, .. } in found {
        let number: u64 = value.parse().expect("a number");
        let next = nexts.entry(key).or_default();
        assert!(number <= *next, "{key}: {number} comes where {next} should");
        let known = *ids.entry((key, number)).or_insert(id);
        assert_eq!(known, id, "{key}: {number} is there under two ids");
        if number == *next {
            *next += 1;
        } else {
            n_repeats += 1;
        }
    }
    assert_eq!(nexts.len(), n_keys);
    assert!(nexts.values().all(|next| *next == n_each), "{nexts:?}");
    n_repeats
}
