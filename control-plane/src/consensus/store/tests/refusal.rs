//! What is damaged is refused at the start.

use gatemq_storage::Memory;
use openraft::RaftSnapshotBuilder;
use openraft::storage::RaftLogStorageExt;
use openraft::storage::RaftStateMachine;

use super::*;

/// A store with ten entries, a snapshot at 5 and the log purged to 3, closed again.
async fn filled() -> Arc<Memory> {
    let engine = Arc::new(Memory::new());
    let opened = Store::open(engine.clone(), no_failure).unwrap();
    let mut store = opened.store;
    store.save_identity(&identity()).await.unwrap();
    store.save_vote(Vote::new_committed(1, 1)).await.unwrap();
    store
        .blocking_append((0..10).map(|index| entry(1, index)))
        .await
        .unwrap();
    let mut machine = Machine::new(store.clone(), None, Listener::default());
    machine
        .apply((0..=5).map(|index| entry(1, index)))
        .await
        .unwrap();
    machine
        .get_snapshot_builder()
        .await
        .build_snapshot()
        .await
        .unwrap();
    store.set_committed(Some(id(1, 9)));
    store.blocking_append([entry(1, 10)]).await.unwrap();
    store.purge(id(1, 3));
    store.close();
    engine
}

/// What opening says after a change of what is stored.
async fn refused(change: impl FnOnce(&mut Batch)) -> String {
    let engine = filled().await;
    Store::open(engine.clone(), no_failure).expect("nothing is damaged yet");
    let mut batch = Batch::new();
    change(&mut batch);
    engine.commit(&[batch]).unwrap();
    let error = Store::open(engine, no_failure).err().expect("damaged");
    error.to_string()
}

#[tokio::test]
async fn a_hole_in_the_log_is_refused() {
    let error = refused(|batch| batch.delete(&keys::log(7))).await;
    assert!(error.contains("entry 7 is missing before 8"), "{error}");
    let error = refused(|batch| batch.delete(&keys::log(4))).await;
    assert!(error.contains("entry 4 is missing before 5"), "{error}");
}

#[tokio::test]
async fn committed_entries_that_are_gone_are_refused() {
    let error = refused(|batch| batch.delete_range(&keys::log(8), &keys::log(11))).await;
    assert!(
        error.contains("entries are missing that were committed"),
        "{error}"
    );
}

#[tokio::test]
async fn a_damaged_entry_is_refused() {
    let error = refused(|batch| batch.put(&keys::log(8), b"\xFF\xFF")).await;
    assert!(
        error.contains("entry 8 of the log cannot be read"),
        "{error}"
    );
    let other = wire::entry(&entry(1, 9)).encode_to_vec();
    let error = refused(|batch| batch.put(&keys::log(8), &other)).await;
    assert!(error.contains("it is entry 9"), "{error}");
    let older = wire::entry(&entry(0, 8)).encode_to_vec();
    let error = refused(|batch| batch.put(&keys::log(8), &older)).await;
    assert!(error.contains("entry 8 is of an earlier term"), "{error}");
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused() {
    let error = refused(|batch| batch.delete(&keys::part(0, 1))).await;
    assert!(error.contains("of its snapshot"), "{error}");
    let error = refused(|batch| batch.put(&keys::part(0, 1), b"\x0F")).await;
    assert!(error.contains("part 2 of its snapshot"), "{error}");
    let error = refused(|batch| batch.delete(keys::SNAPSHOT)).await;
    assert!(
        error.contains("the log begins after the snapshot"),
        "{error}"
    );
    let error = refused(|batch| batch.put(keys::SNAPSHOT, b"x")).await;
    assert!(error.contains("its snapshot"), "{error}");
}

#[tokio::test]
async fn damaged_records_are_refused() {
    for (key, what) in [
        (keys::IDENTITY, "its identity"),
        (keys::VOTE, "its vote"),
        (keys::COMMITTED, "what is committed"),
        (keys::PURGED, "what is purged"),
    ] {
        let error = refused(|batch| batch.put(key, b"\xFF")).await;
        assert!(error.contains(what), "{error}");
    }
    let error = refused(|batch| batch.delete(keys::IDENTITY)).await;
    assert!(error.contains("its identity is missing"), "{error}");
}
