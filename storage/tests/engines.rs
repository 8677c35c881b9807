//! Runs the conformance suite on each engine.

use std::path::Path;
use std::sync::Arc;

use gatemq_storage::{Memory, Way, open, suite};

#[test]
fn memory_conforms() {
    suite::run_all(&|_| Arc::new(Memory::new()));
}

#[test]
fn redb_conforms() {
    durable(Way::Redb);
}

#[test]
fn fjall_conforms() {
    durable(Way::Fjall);
}

fn durable(way: Way) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join("above").join(name);
    suite::run_all(&|name| open_at(way, &path(name)));
}

fn open_at(way: Way, path: &Path) -> Arc<dyn gatemq_storage::Engine> {
    open(way, path).unwrap_or_else(|error| panic!("{error}"))
}
