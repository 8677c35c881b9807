//! openraft's own suite, on each engine.

use std::sync::Arc;

use gatemq_storage::{Memory, Redb};
use openraft::testing::{StoreBuilder, Suite};

use super::*;
use crate::consensus::raft::StorageError;

struct OnMemory;
struct OnRedb;

impl StoreBuilder<TypeConfig, Store, Machine<Listener>> for OnMemory {
    async fn build(&self) -> Result<((), Store, Machine<Listener>), StorageError> {
        let (store, machine) = open(Arc::new(Memory::new()));
        Ok(((), store, machine))
    }
}

impl StoreBuilder<TypeConfig, Store, Machine<Listener>, tempfile::TempDir> for OnRedb {
    async fn build(&self) -> Result<(tempfile::TempDir, Store, Machine<Listener>), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let (store, machine) = open(Arc::new(Redb::open(dir.path()).unwrap()));
        Ok((dir, store, machine))
    }
}

fn open(engine: Arc<dyn Engine>) -> (Store, Machine<Listener>) {
    let opened = Store::open(engine, no_failure).unwrap();
    let machine = Machine::new(opened.store.clone(), opened.snapshot, Listener::default());
    (opened.store, machine)
}

#[test]
fn the_suite_passes_on_memory() {
    Suite::test_all(OnMemory).unwrap();
}

#[test]
fn the_suite_passes_on_redb() {
    Suite::test_all(OnRedb).unwrap();
}
