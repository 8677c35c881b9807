//! Changes: what each operation does, alone and after others of the same commit.

use std::ops::ControlFlow;

use super::{Open, commit, get, keys, scan};
use crate::{Batch, Engine, Error, MAX_KEY};

pub(super) fn put_get_delete(engine: &dyn Engine) {
    assert_eq!(get(engine, b"a"), None);
    commit(engine, |batch| batch.put(b"a", b"1"));
    assert_eq!(get(engine, b"a"), Some(b"1".to_vec()));
    commit(engine, |batch| batch.put(b"a", b""));
    assert_eq!(get(engine, b"a"), Some(Vec::new()));
    commit(engine, |batch| batch.delete(b"a"));
    commit(engine, |batch| batch.delete(b"a"));
    assert_eq!(get(engine, b"a"), None);
    commit(engine, |batch| batch.put(b"a\0", b"2"));
    assert_eq!(get(engine, b"a"), None);
}

pub(super) fn later_operations_win(engine: &dyn Engine) {
    let mut first = Batch::new();
    first.put(b"a", b"1");
    first.delete(b"a");
    first.put(b"b", b"1");
    first.put(b"b", b"2");
    first.put(b"c", b"1");
    let mut second = Batch::new();
    second.delete(b"c");
    second.put(b"a", b"3");
    second.delete(b"b");
    second.put(b"b", b"4");
    engine.commit(&[first, second]).expect("a commit succeeds");
    let expected = [(b"a", b"3"), (b"b", b"4")].map(|(k, v)| (k.to_vec(), v.to_vec()));
    assert_eq!(scan(engine, b"a", b"z"), expected);
}

pub(super) fn delete_range(engine: &dyn Engine) {
    commit(engine, |batch| {
        for key in [b"a", b"b", b"c", b"d"] {
            batch.put(key, b"");
        }
    });
    commit(engine, |batch| {
        batch.delete_range(b"d", b"a");
        batch.delete_range(b"b", b"b");
        batch.put(b"bb", b"");
        batch.delete_range(b"b", b"d");
        batch.put(b"c", b"new");
    });
    assert_eq!(keys(engine, b"a", b"z"), [b"a", b"c", b"d"]);
    assert_eq!(get(engine, b"c"), Some(b"new".to_vec()));
    assert_eq!(get(engine, b"b"), None);
}

/// A message at `m`, kept while a queue entry is in `q/..q0`.
pub(super) fn delete_unless_any(engine: &dyn Engine) {
    commit(engine, |batch| {
        batch.put(b"m", b"message");
        batch.put(b"q/1", b"");
        batch.put(b"q/2", b"");
    });
    for (gone, stays) in [(b"q/1", true), (b"q/2", false)] {
        commit(engine, |batch| {
            batch.delete(gone);
            batch.delete_unless_any(b"m", b"q/", b"q0");
        });
        assert_eq!(get(engine, b"m").is_some(), stays);
    }
    commit(engine, |batch| {
        batch.put(b"m", b"");
        batch.delete_unless_any(b"m", b"z", b"a");
    });
    assert_eq!(get(engine, b"m"), None, "an empty range has no keys");
}

pub(super) fn delete_unless_any_sees_its_commit(engine: &dyn Engine) {
    let mut first = Batch::new();
    first.put(b"m", b"message");
    first.put(b"q/1", b"");
    let mut second = Batch::new();
    second.delete_unless_any(b"m", b"q/", b"q0");
    engine.commit(&[first, second]).expect("a commit succeeds");
    assert!(get(engine, b"m").is_some(), "the key of the same commit");

    commit(engine, |batch| {
        batch.delete_range(b"q/", b"q0");
        batch.put(b"q/2", b"");
        batch.delete_unless_any(b"m", b"q/", b"q0");
        batch.delete(b"q/2");
    });
    assert!(get(engine, b"m").is_some(), "only what came before counts");

    commit(engine, |batch| {
        batch.put(b"q/3", b"");
        batch.delete_range(b"q/", b"q0");
        batch.delete_unless_any(b"m", b"q/", b"q0");
        batch.put(b"q/4", b"");
    });
    assert!(get(engine, b"m").is_none(), "what comes after does not");
}

pub(super) fn empty_commit(engine: &dyn Engine) {
    engine.commit(&[]).expect("no batch is fine");
    engine
        .commit(&[Batch::new(), Batch::new()])
        .expect("empty batches are fine");
    assert!(keys(engine, b"", b"\xff").is_empty());
}

pub(super) fn large_values(engine: &dyn Engine) {
    let value = |fill: u8| vec![fill; 1 << 20];
    commit(engine, |batch| {
        for fill in 0..8 {
            batch.put(&[fill], &value(fill));
        }
    });
    commit(engine, |batch| batch.put(&[3], b"small"));
    for (key, found) in scan(engine, &[0], &[9]) {
        match key[0] {
            3 => assert_eq!(found, b"small"),
            fill => assert!(found == value(fill)),
        }
    }
    assert!(get(engine, &[7]) == Some(value(7)));
}

pub(super) fn long_keys(engine: &dyn Engine) {
    let (longest, too_long) = (vec![7; MAX_KEY], vec![7; MAX_KEY + 1]);
    commit(engine, |batch| {
        batch.put(&longest, b"there");
        batch.put(&[8], b"after");
    });
    assert!(get(engine, &longest).is_some_and(|value| value == b"there"));
    assert_eq!(keys(engine, &longest, &[9]), [longest.clone(), vec![8]]);
    assert_eq!(keys(engine, &[6], &longest), Vec::<Vec<u8>>::new());
    let last = engine.last(&longest, &[8]).expect("a read succeeds");
    assert!(last.is_some_and(|(key, _)| key == longest));
    let is_refused = |result: Result<(), Error>| matches!(result, Err(Error::KeyTooLong { .. }));
    assert!(is_refused(engine.get(&too_long).map(drop)));
    assert!(is_refused(engine.last(&too_long, &[8]).map(drop)));
    let mut visit = |_: &[u8], _: &[u8]| ControlFlow::Continue(());
    assert!(is_refused(engine.scan(&[6], &too_long, &mut visit)));
    let mut batch = Batch::new();
    batch.put(&[8], b"changed");
    batch.delete(&too_long);
    assert!(is_refused(engine.commit(&[batch])));
    assert!(get(engine, &[8]).is_some_and(|value| value == b"after"));
}

pub(super) fn reopen_keeps_everything(open: Open<'_>) {
    let mut expected = Vec::new();
    for round in 0..5_u8 {
        let engine = open("reopen");
        assert_eq!(scan(&*engine, b"", b"\xff"), expected);
        commit(&*engine, |batch| {
            for key in 0..50 {
                batch.put(&[round, key], &[key; 100]);
            }
            batch.delete_range(&[round, 10], &[round, 20]);
        });
        expected.extend(
            (0..50)
                .filter(|key| !(10..20).contains(key))
                .map(|key| (vec![round, key], vec![key; 100])),
        );
    }
}
