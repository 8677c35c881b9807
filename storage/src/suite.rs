//! The conformance suite that every engine runs in its tests: it panics where an engine does not
//! keep the contract of [`Engine`]. And [`damage`], for those who read what they have stored in one.

pub mod damage;

mod model;
mod reading;
mod writing;

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::{Batch, Engine};

/// Opens the store of a name, which is empty the first time. A store is dropped before it is
/// opened again.
pub type Open<'a> = &'a dyn Fn(&str) -> Arc<dyn Engine>;

/// Runs all checks.
pub fn run_all(open: Open<'_>) {
    writing::put_get_delete(&*open("put_get_delete"));
    writing::later_operations_win(&*open("later_operations_win"));
    writing::delete_range(&*open("delete_range"));
    writing::delete_unless_any(&*open("delete_unless_any"));
    writing::delete_unless_any_sees_its_commit(&*open("delete_unless_any_sees_its_commit"));
    writing::empty_commit(&*open("empty_commit"));
    writing::large_values(&*open("large_values"));
    writing::long_keys(&*open("long_keys"));
    reading::order(&*open("order"));
    reading::empty_ranges(&*open("empty_ranges"));
    reading::last(&*open("last"));
    reading::scan_stops(&*open("scan_stops"));
    reading::scan_sees_one_snapshot(&*open("scan_sees_one_snapshot"));
    reading::nested_scans_see_their_own_snapshots(&*open("nested_scans"));
    reading::readers_see_whole_commits(&open("readers_see_whole_commits"));
    reading::many_keys(&*open("many_keys"));
    for seed in 1..=4 {
        model::random_operations(open, seed);
    }
    if !open("volatile").is_volatile() {
        writing::reopen_keeps_everything(open);
    }
}

fn commit(engine: &dyn Engine, change: impl FnOnce(&mut Batch)) {
    let mut batch = Batch::new();
    change(&mut batch);
    engine.commit(&[batch]).expect("a commit succeeds");
}

fn get(engine: &dyn Engine, key: &[u8]) -> Option<Vec<u8>> {
    let value = engine.get(key).expect("a read succeeds");
    value.map(|value| value.to_vec())
}

fn scan(engine: &dyn Engine, start: &[u8], end: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    engine
        .scan(start, end, &mut visit)
        .expect("a scan succeeds");
    found
}

fn keys(engine: &dyn Engine, start: &[u8], end: &[u8]) -> Vec<Vec<u8>> {
    let found = scan(engine, start, end);
    found.into_iter().map(|(key, _)| key).collect()
}
