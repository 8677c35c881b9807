//! Power cuts on a simulated disk: a commit that returned is there, whatever the disk did with
//! writes that were not synced.
//!
//! The disk records all it is told to do. A cut at any point leaves what was synced before, and of
//! each later write a random part of its sectors. Some of the cuts are amid a compaction.

mod disk;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;

use self::disk::{Disk, Random};
use super::{Options, Redb, initialize};
use crate::{Batch, Engine};

const COMMITS: u64 = 30;
const CUTS: u64 = 300;
const RECORDS: u64 = 30;

#[test]
fn a_commit_that_returned_survives_a_power_cut() {
    let disk = Disk::default();
    let store = open(&disk);
    initialize(&store.database.read()).expect("an empty store");
    // After how many steps of the disk each commit had returned.
    let mut returned = vec![disk.steps()];
    for number in 1..=COMMITS {
        store.commit(&[batch(number)]).expect("a commit succeeds");
        assert!(
            disk.is_synced(),
            "the commit returned with writes that were not synced"
        );
        returned.push(disk.steps());
        if number % 7 == 0 {
            let compacted = store.database.write().compact();
            compacted.expect("nobody reads");
        }
    }
    let mut random = Random(7);
    let (first, last) = (returned[0], disk.steps());
    for _ in 0..CUTS {
        let cut = first + random.below((last - first + 1) as u64) as usize;
        let confirmed = returned.iter().rposition(|steps| *steps <= cut);
        let confirmed = confirmed.expect("the first one is before all cuts") as u64;
        let store = open(&disk.after_cut(cut, &mut random));
        check(&store, confirmed, cut);
        store.commit(&[batch(100)]).expect("the store goes on");
    }
}

fn open(disk: &Disk) -> Redb {
    let database = Options::default()
        .builder()
        .create_with_backend(disk.clone());
    Redb {
        database: RwLock::new(database.expect("the store opens")),
        path: Path::new("simulated").to_path_buf(),
        _directory: None,
    }
}

/// Commit `n` replaces all that `n - 1` wrote, by as many records.
fn batch(number: u64) -> Batch {
    let mut batch = Batch::new();
    batch.delete_range(b"", b"\xff");
    for record in 0..RECORDS {
        let value = vec![number as u8; 1 + (number * record * 37 % 2_000) as usize];
        batch.put(&[number as u8, record as u8], &value);
    }
    batch
}

fn check(store: &Redb, confirmed: u64, cut: usize) {
    let mut numbers = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        assert!(value.iter().all(|byte| *byte == key[0]));
        numbers.push(u64::from(key[0]));
        ControlFlow::Continue(())
    };
    store
        .scan(b"", b"\xff", &mut visit)
        .expect("a scan succeeds");
    let found = numbers.first().copied().unwrap_or(0);
    let expected = if found == 0 { 0 } else { RECORDS };
    assert_eq!(
        numbers.len() as u64,
        expected,
        "cut at {cut}: a commit in part"
    );
    assert!(numbers.iter().all(|number| *number == found));
    assert!(
        found == confirmed || found == confirmed + 1,
        "cut at {cut}: found {found}, {confirmed} had returned"
    );
}

#[test]
fn the_disk_loses_what_was_not_synced() {
    use redb::StorageBackend;
    let disk = Disk::default();
    disk.set_len(8_192).expect("it grows");
    disk.write(0, &[1; 4_096]).expect("it writes");
    disk.sync_data().expect("it syncs");
    disk.write(4_096, &[2; 4_096]).expect("it writes");
    let after = Arc::new(disk.after_cut(disk.steps(), &mut Random(1)));
    let mut found = vec![0; 8_192];
    after.read(0, &mut found).expect("it reads");
    assert!(found[..4_096].iter().all(|byte| *byte == 1));
    assert!(found[4_096..].contains(&0) && found[4_096..].contains(&2));
}
