//! The data directory: who may open it, and what is said if it is not as it should be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use gatemq_storage::{Batch, Engine, Error, Fjall, Redb, Way, open};
use tempfile::TempDir;

const DURABLE: [Way; 2] = [Way::Redb, Way::Fjall];

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn error(way: Way, path: &Path) -> Error {
    match open(way, path) {
        Ok(_) => panic!("{way} opened"),
        Err(error) => error,
    }
}

#[test]
fn is_created_for_this_user_only() {
    for way in DURABLE {
        let directory = directory();
        let path = directory.path().join("a/b");
        drop(open(way, &path).expect("it opens"));
        for path in [directory.path().join("a"), path.clone()] {
            let mode = fs::metadata(&path)
                .expect("it is there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o700);
        }
        let marker = fs::read_to_string(path.join("gatemq.engine")).expect("it is there");
        assert_eq!(marker, format!("{way}\n"));
    }
}

#[test]
fn is_open_once() {
    for way in DURABLE {
        let directory = directory();
        let engine = open(way, directory.path()).expect("it opens");
        for other in DURABLE {
            let text = error(other, directory.path()).to_string();
            assert!(text.contains("is in use by another process"), "{text}");
        }
        drop(engine);
        assert!(open(way, directory.path()).is_ok());
    }
}

#[test]
fn belongs_to_one_engine() {
    for (way, other) in [(Way::Redb, Way::Fjall), (Way::Fjall, Way::Redb)] {
        let directory = directory();
        drop(open(way, directory.path()).expect("it opens"));
        let expected = format!("holds data of the engine {way}, not {other}");
        let text = error(other, directory.path()).to_string();
        assert!(text.contains(&expected), "{text}");
        fs::remove_file(directory.path().join("gatemq.engine")).expect("it was there");
        let text = error(other, directory.path()).to_string();
        assert!(text.contains(&expected), "{text}");
        assert!(open(way, directory.path()).is_ok());
    }
}

#[test]
fn memory_leaves_it_alone() {
    let directory = directory();
    let path = directory.path().join("none");
    assert!(open(Way::Memory, &path).expect("it opens").is_volatile());
    assert!(!path.exists());
}

#[test]
fn missing_data_is_not_replaced() {
    let directory = directory();
    drop(Redb::open(directory.path()).expect("it opens"));
    fs::remove_file(directory.path().join("gatemq.redb")).expect("it was there");
    let error = error(Way::Redb, directory.path());
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}

#[test]
fn a_half_created_store_is_created_again() {
    let directory = directory();
    fs::write(directory.path().join("gatemq.redb.new"), b"half").expect("it writes");
    assert!(Redb::open(directory.path()).is_ok());
    let directory = self::directory();
    let half = directory.path().join("gatemq.fjall.new");
    fs::create_dir(&half).expect("it creates");
    fs::write(half.join("0.jnl"), b"half").expect("it writes");
    assert!(Fjall::open(directory.path()).is_ok());
    assert!(!half.exists());
}

#[test]
fn an_unreadable_file_is_named() {
    let directory = directory();
    drop(Redb::open(directory.path()).expect("it opens"));
    let file = directory.path().join("gatemq.redb");
    fs::write(&file, b"no database").expect("it writes");
    let error = error(Way::Redb, directory.path());
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(
        error.to_string().contains("gatemq.redb is damaged"),
        "{error}"
    );
}

#[test]
fn a_full_disk_is_told_apart() {
    // A device that is always full; not everywhere.
    if !Path::new("/dev/full").exists() {
        return;
    }
    let directory = directory();
    std::os::unix::fs::symlink("/dev/full", directory.path().join("gatemq.engine.new"))
        .expect("it links");
    let error = error(Way::Redb, directory.path());
    assert!(matches!(error, Error::Full { .. }), "{error}");
}

#[test]
fn a_store_stays_usable_while_others_fail_to_open_it() {
    let directory = directory();
    let engine = Redb::open(directory.path()).expect("it opens");
    assert!(Redb::open(directory.path()).is_err());
    let mut batch = Batch::new();
    batch.put(b"a", b"1");
    engine.commit(&[batch]).expect("a commit succeeds");
    assert!(engine.get(b"a").expect("a read succeeds").is_some());
}
