//! Reads: order, ranges, and that each sees the result of whole commits only.

use std::ops::ControlFlow::{Break, Continue};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use super::{commit, get, keys, scan};
use crate::Engine;

pub(super) fn order(engine: &dyn Engine) {
    let sorted: [&[u8]; 7] = [b"", b"\0", b"a", b"a\0", b"aa", b"b", b"\xff\xff"];
    commit(engine, |batch| {
        for key in sorted.iter().rev().filter(|key| !key.is_empty()) {
            batch.put(key, key);
        }
    });
    assert_eq!(keys(engine, b"", b"\xff\xff\xff"), sorted[1..]);
    assert_eq!(keys(engine, b"a", b"b"), sorted[2..5]);
    assert_eq!(keys(engine, b"a\0", b"aa\0"), sorted[3..5]);
    assert_eq!(keys(engine, b"aab", b"b"), sorted[..0]);
}

pub(super) fn empty_ranges(engine: &dyn Engine) {
    commit(engine, |batch| batch.put(b"b", b""));
    for (start, end) in [(b"b", b"b"), (b"c", b"a")] {
        assert!(keys(engine, start, end).is_empty());
        assert_eq!(engine.last(start, end).expect("a read succeeds"), None);
    }
}

pub(super) fn last(engine: &dyn Engine) {
    let last = |start: &[u8], end: &[u8]| {
        let entry = engine.last(start, end).expect("a read succeeds");
        entry.map(|(key, value)| (key.to_vec(), value.to_vec()))
    };
    assert_eq!(last(b"a", b"z"), None);
    commit(engine, |batch| {
        batch.put(b"b", b"1");
        batch.put(b"c", b"2");
    });
    assert_eq!(last(b"a", b"z"), Some((b"c".to_vec(), b"2".to_vec())));
    assert_eq!(last(b"a", b"c"), Some((b"b".to_vec(), b"1".to_vec())));
    assert_eq!(last(b"a", b"b"), None);
    assert_eq!(last(b"d", b"z"), None);
}

pub(super) fn scan_stops(engine: &dyn Engine) {
    commit(engine, |batch| {
        (0..=255_u8).for_each(|key| batch.put(&[1, key], b""));
    });
    for stop in [0, 1, 127, 128, 129, 200] {
        let mut visited = 0;
        let mut visit = |_: &[u8], _: &[u8]| {
            visited += 1;
            if visited > stop {
                Break(())
            } else {
                Continue(())
            }
        };
        engine
            .scan(&[1], &[2], &mut visit)
            .expect("a scan succeeds");
        assert_eq!(visited, stop + 1);
    }
}

/// The visitor changes what is ahead of and behind the scan.
pub(super) fn scan_sees_one_snapshot(engine: &dyn Engine) {
    let before: Vec<_> = (0..1_000_u32)
        .map(|number| (number.to_be_bytes().to_vec(), vec![0; 10]))
        .collect();
    commit(engine, |batch| {
        before.iter().for_each(|(key, value)| batch.put(key, value));
    });
    let mut seen = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        seen.push((key.to_vec(), value.to_vec()));
        if seen.len() % 100 == 50 {
            let n = seen.len() as u32;
            commit(engine, |batch| {
                batch.put(&[&n.to_be_bytes()[..], b"new"].concat(), b"new");
                batch.put(&[&(n + 300).to_be_bytes()[..], b"new"].concat(), b"new");
                batch.put(&(n + 200).to_be_bytes(), &n.to_be_bytes());
                batch.delete_range(&(n + 210).to_be_bytes(), &(n + 280).to_be_bytes());
                batch.put(&(n + 211).to_be_bytes(), b"again");
                batch.delete(&(n - 1).to_be_bytes());
            });
        }
        Continue(())
    };
    engine
        .scan(b"", b"\xff", &mut visit)
        .expect("a scan succeeds");
    assert!(seen == before, "the scan saw a later commit");
    assert!(scan(engine, b"", b"\xff") != before);
}

/// Each of many scans, opened after each other's commits, sees the state that it began with.
pub(super) fn nested_scans_see_their_own_snapshots(engine: &dyn Engine) {
    fn nest(engine: &dyn Engine, depth: u8) {
        let mut seen = 0_u32;
        let mut visit = |_: &[u8], value: &[u8]| {
            seen += 1;
            assert_eq!(value, [depth], "entry {seen} is not of the scan's version");
            if seen == 150 && depth < 6 {
                fill(engine, depth + 1);
                nest(engine, depth + 1);
                fill(engine, depth + 2);
            }
            Continue(())
        };
        engine
            .scan(b"", b"\xff", &mut visit)
            .expect("a scan succeeds");
        assert_eq!(seen, 400 + u32::from(depth));
        // What the deeper scans left behind becomes the state for the next one.
        fill(engine, depth);
    }
    /// 400 keys, and one more for each step of `depth`.
    fn fill(engine: &dyn Engine, depth: u8) {
        commit(engine, |batch| {
            batch.delete_range(b"", b"\xff");
            for key in 0..400 + u32::from(depth) {
                batch.put(&key.to_be_bytes(), &[depth]);
            }
        });
    }
    fill(engine, 0);
    nest(engine, 0);
}

/// One thread moves a number between keys; others must always find it once.
pub(super) fn readers_see_whole_commits(engine: &Arc<dyn Engine>) {
    let is_done = AtomicBool::new(false);
    commit(&**engine, |batch| {
        (0..300_u32).for_each(|key| batch.put(&key.to_be_bytes(), b"0"));
    });
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_done.load(Relaxed) {
                    let found = scan(&**engine, b"", b"\xff");
                    assert_eq!(found.len(), 300, "keys appear and go together");
                    let first = &found[0].1;
                    assert!(found.iter().all(|(_, value)| value == first));
                    thread::yield_now();
                }
            });
        }
        for round in 1..50_u32 {
            commit(&**engine, |batch| {
                batch.delete_range(b"", b"\xff");
                for key in round * 100..round * 100 + 300 {
                    batch.put(&key.to_be_bytes(), &round.to_be_bytes());
                }
            });
        }
        is_done.store(true, Relaxed);
    });
}

pub(super) fn many_keys(engine: &dyn Engine) {
    const KEYS: u32 = 100_000;
    // Not in order: a stride that shares no factor with the number of keys.
    for part in 0..10 {
        commit(engine, |batch| {
            for number in part * (KEYS / 10)..(part + 1) * (KEYS / 10) {
                let key = (u64::from(number) * 38_567 % u64::from(KEYS)) as u32;
                batch.put(&key.to_be_bytes(), &(!key).to_be_bytes());
            }
        });
    }
    let mut next = 0_u32;
    let mut visit = |key: &[u8], value: &[u8]| {
        assert_eq!(key, next.to_be_bytes());
        assert_eq!(value, (!next).to_be_bytes());
        next += 1;
        Continue(())
    };
    engine
        .scan(b"", b"\xff", &mut visit)
        .expect("a scan succeeds");
    assert_eq!(next, KEYS);
    commit(engine, |batch| {
        batch.delete_range(&10_u32.to_be_bytes(), &(KEYS - 10).to_be_bytes());
    });
    assert_eq!(keys(engine, b"", b"\xff").len(), 20);
    assert_eq!(get(engine, &10_u32.to_be_bytes()), None);
    assert!(get(engine, &9_u32.to_be_bytes()).is_some());
}
