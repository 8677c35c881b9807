//! A disk that the store has filled has room again when what was stored is deleted.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use gatemq_storage::{Batch, Engine, Way, open};

/// Messages, each beside a record that stays.
const MESSAGES: u32 = 2_000;
const BYTES: usize = 100_000;
/// So many are stored and deleted together.
const TOGETHER: usize = 20;
/// What may be left of those, in bytes: fjall keeps a journal.
const LEFT: [(Way, u64); 2] = [(Way::Redb, 8 << 20), (Way::Fjall, 96 << 20)];

#[test]
fn what_was_deleted_is_given_back() {
    for (way, left) in LEFT {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path();
        let engine = open(way, path).expect("it opens");
        fill(&*engine);
        engine.compact().expect("it compacts");
        let full = on_disk(path);
        assert!(full > u64::from(MESSAGES) * BYTES as u64, "{way}: {full}");
        drain(&*engine);
        let drained = on_disk(path);
        assert!(drained > left, "{way}: {drained}, no compaction is needed");
        // A reader that is not done is not waited for.
        let mut has_tried = false;
        let mut visit = |_: &[u8], _: &[u8]| {
            engine.compact().expect("it compacts, or not");
            has_tried = true;
            ControlFlow::Break(())
        };
        engine.scan(b"k", b"l", &mut visit).expect("it scans");
        assert!(has_tried);
        engine.compact().expect("it compacts");
        check(&*engine);
        // fjall removes old table files with later changes, or when it is opened.
        drop(engine);
        let engine = open(way, path).expect("it opens again");
        let compacted = on_disk(path);
        assert!(compacted < left, "{way}: {compacted} of {drained}");
        check(&*engine);
        engine.compact().expect("it compacts");
        check(&*engine);
    }
}

fn fill(engine: &dyn Engine) {
    commit(engine, |batch, number| {
        batch.put(&key(b'm', number), &vec![number as u8; BYTES]);
        batch.put(&key(b'k', number), &number.to_be_bytes());
    });
}

fn drain(engine: &dyn Engine) {
    commit(engine, |batch, number| batch.delete(&key(b'm', number)));
}

fn commit(engine: &dyn Engine, change: impl Fn(&mut Batch, u32)) {
    for first in (0..MESSAGES).step_by(TOGETHER) {
        let mut batch = Batch::new();
        for number in (first..MESSAGES).take(TOGETHER) {
            change(&mut batch, number);
        }
        engine.commit(&[batch]).expect("a commit succeeds");
    }
}

/// What stays is there, and nothing else.
fn check(engine: &dyn Engine) {
    let mut found = 0;
    let mut visit = |found_key: &[u8], value: &[u8]| {
        assert_eq!(found_key, key(b'k', found));
        assert_eq!(value, found.to_be_bytes());
        found += 1;
        ControlFlow::Continue(())
    };
    engine.scan(b"", b"\xff\xff", &mut visit).expect("it scans");
    assert_eq!(found, MESSAGES);
}

fn key(kind: u8, number: u32) -> Vec<u8> {
    [&[kind][..], &number.to_be_bytes()].concat()
}

/// Bytes that the files of a directory take.
fn on_disk(path: &Path) -> u64 {
    let metadata = fs::symlink_metadata(path);
    let Ok(metadata) = metadata else {
        return 0; // an engine removes files meanwhile
    };
    if !metadata.is_dir() {
        return metadata.blocks() * 512;
    }
    let entries = fs::read_dir(path).expect("it lists");
    let sizes = entries.map(|entry| on_disk(&entry.expect("it lists").path()));
    sizes.sum()
}
