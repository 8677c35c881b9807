//! Flips bits in a store that was closed, and cuts its files: what was stored is found, or the
//! store says that it is damaged. It never serves less or something else.

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use gatemq_storage::{Batch, Engine, Error, Way, open};

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Debug, PartialEq)]
enum Outcome {
    /// All that was stored.
    Intact,
    /// The damage was noticed.
    Refused,
    /// Something else.
    Wrong,
}

#[test]
fn redb_notices_flipped_bits() {
    let [_, refused, wrong] = damage(Way::Redb, 300, |data, random| flip(data, random));
    assert!(refused > 0);
    assert_eq!(wrong, 0);
}

#[test]
fn redb_notices_a_shorter_file() {
    let [_, refused, wrong] = damage(Way::Redb, 30, cut);
    assert!(refused > 0);
    assert_eq!(wrong, 0);
}

/// A flipped tag or length in fjall's journal looks like the end of the journal, so what follows it
/// is lost without a word: here only that no panic gets out.
#[test]
fn fjall_does_not_panic_over_flipped_bits() {
    damage(Way::Fjall, 100, |data, random| flip(data, random));
}

/// Damages one file of a store, again and again; counts the outcomes.
fn damage(way: Way, rounds: u64, change: impl Fn(&mut Vec<u8>, &mut u64)) -> [u64; 3] {
    let original = tempfile::tempdir().expect("a temporary directory");
    let stored = fill(way, original.path());
    let mut random = 11;
    let mut outcomes = [0; 3];
    for round in 0..rounds {
        let copy = tempfile::tempdir().expect("a temporary directory");
        copy_all(original.path(), copy.path());
        let files = data_files(copy.path());
        let file = &files[next(&mut random, files.len())];
        let mut data = fs::read(file).expect("it reads");
        if data.is_empty() {
            continue;
        }
        change(&mut data, &mut random);
        fs::write(file, data).expect("it writes");
        let outcome = outcome(way, copy.path(), &stored);
        if outcome == Outcome::Wrong {
            report(way, round, file);
        }
        outcomes[outcome as usize] += 1;
    }
    report(way, rounds, Path::new(&format!("{outcomes:?}")));
    outcomes
}

fn outcome(way: Way, path: &Path, stored: &Entries) -> Outcome {
    match open(way, path).and_then(|engine| entries(&*engine)) {
        Ok(found) if found == *stored => Outcome::Intact,
        Ok(_) => Outcome::Wrong,
        Err(Error::Corrupt { .. } | Error::Version { .. }) => Outcome::Refused,
        Err(error) => {
            report(way, 0, Path::new(&format!("{error:?}")));
            Outcome::Refused
        }
    }
}

fn fill(way: Way, path: &Path) -> Entries {
    let engine = open(way, path).expect("it opens");
    for part in 0..20_u8 {
        let mut batch = Batch::new();
        for number in 0..100_u8 {
            batch.put(&[part, number], &[number; 100]);
        }
        engine.commit(&[batch]).expect("a commit succeeds");
    }
    entries(&*engine).expect("a scan succeeds")
}

fn entries(engine: &dyn Engine) -> Result<Entries, Error> {
    let mut found = Vec::new();
    engine.scan(b"", b"\xff", &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn flip(data: &mut [u8], random: &mut u64) {
    // Most of a new file is unused: half of the flips go to its first part.
    let bound = [data.len(), data.len().min(16 << 10)][next(random, 2)];
    let position = next(random, bound);
    data[position] ^= 1 << next(random, 8);
}

fn cut(data: &mut Vec<u8>, random: &mut u64) {
    data.truncate(next(random, data.len()));
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("it lists") {
        let from = entry.expect("it lists").path();
        let to = to.join(from.file_name().expect("a name"));
        if from.is_dir() {
            fs::create_dir(&to).expect("it creates");
            copy_all(&from, &to);
        } else {
            fs::copy(&from, &to).expect("it copies");
        }
    }
}

/// The files that are not this crate's own small ones.
fn data_files(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![path.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("it lists") {
            let path = entry.expect("it lists").path();
            if path.is_dir() {
                directories.push(path);
            } else if !path.ends_with("gatemq.engine") && !path.ends_with("gatemq.lock") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn report(way: Way, round: u64, what: &Path) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{way}, round {round}: {}", what.display());
}

fn next(random: &mut u64, bound: usize) -> usize {
    *random = random
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*random >> 33) as usize % bound
}
