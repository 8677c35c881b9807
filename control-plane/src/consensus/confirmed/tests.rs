//! Who takes back what.

use openraft::{CommittedLeaderId, EntryPayload};

use super::*;
use crate::consensus::raft::Entry;

const NODE: u64 = 2;

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(1, 1), index)
}

/// A request of the leader of a term, with the entries behind one.
fn request(term: u64, before: Option<u64>, n_entries: u64) -> AppendEntriesRequest<TypeConfig> {
    let first = before.map_or(0, |before| before + 1);
    let entries = (first..first + n_entries).map(|index| Entry {
        log_id: log_id(index),
        payload: EntryPayload::Blank,
    });
    AppendEntriesRequest {
        vote: Vote::new_committed(term, 1),
        prev_log_id: before.map(log_id),
        entries: entries.collect(),
        leader_commit: None,
    }
}

const OK: AppendEntriesResponse<u64> = AppendEntriesResponse::Success;
const CONFLICT: AppendEntriesResponse<u64> = AppendEntriesResponse::Conflict;

#[test]
fn whoever_was_never_so_far_takes_nothing_back() {
    let confirmed = Confirmed::default();
    let note = |request, reply| confirmed.note(NODE, &request, &reply);
    // The leader looks for what they have in common.
    for before in [100, 50, 25] {
        assert_eq!(note(request(1, Some(before), 0), CONFLICT), Ok(()));
    }
    assert_eq!(note(request(1, Some(12), 3), OK), Ok(()));
    assert_eq!(note(request(1, Some(20), 1), CONFLICT), Ok(()));
    assert_eq!(note(request(1, Some(15), 5), OK), Ok(()));
}

#[test]
fn who_has_confirmed_an_entry_and_does_not_have_it_is_noticed_once() {
    let confirmed = Confirmed::default();
    let note = |node, request, reply| confirmed.note(node, &request, &reply);
    assert_eq!(note(NODE, request(1, None, 11), OK), Ok(()));
    let took_back = note(NODE, request(1, Some(10), 1), CONFLICT).unwrap_err();
    assert_eq!((took_back.last, took_back.is_new), (10, true));
    let again = note(NODE, request(1, Some(4), 1), CONFLICT).unwrap_err();
    assert!(!again.is_new);
    // It stays noticed, whatever it says to a request that tells nothing.
    assert_eq!(note(NODE, request(1, Some(11), 1), CONFLICT), Ok(()));
    let less = AppendEntriesResponse::PartialSuccess(Some(log_id(3)));
    assert!(note(NODE, request(1, Some(2), 8), less).is_err());
    // Another node has nothing to do with it.
    assert_eq!(note(3, request(1, Some(10), 1), CONFLICT), Ok(()));
}

#[test]
fn a_snapshot_that_was_taken_is_confirmed() {
    let confirmed = Confirmed::default();
    confirmed.note_snapshot(NODE, Vote::new_committed(1, 1), Some(log_id(40)));
    let request = request(1, Some(40), 0);
    assert!(confirmed.note(NODE, &request, &CONFLICT).is_err());
}

#[test]
fn another_term_begins_anew() {
    let confirmed = Confirmed::default();
    let note = |request, reply| confirmed.note(NODE, &request, &reply);
    assert_eq!(note(request(1, None, 11), OK), Ok(()));
    assert_eq!(note(request(2, Some(10), 0), CONFLICT), Ok(()));
}
