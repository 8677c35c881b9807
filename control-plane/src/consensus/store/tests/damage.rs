//! What a disk, or a node of another version, has changed: an error or another value, but no panic.

use gatemq_proto::cluster::state::Part;
use gatemq_storage::suite::damage::each;

use super::super::snapshot::Head;
use super::*;
use crate::consensus::raft::SnapshotMeta;

/// Damaged forms of each kind of record.
const ROUNDS: usize = 20_000;

/// The state that a history ends in.
fn state() -> State {
    let mut state = State::default();
    for index in 0..200 {
        match entry(1, index).payload {
            EntryPayload::Normal(command) => drop(state.apply(index, &command)),
            _ => state.pass(index),
        }
    }
    state
}

#[test]
fn damaged_entries_of_the_log() {
    let entries = (0..6).map(|index| wire::entry(&entry(1, index)).encode_to_vec());
    let valid: Vec<Vec<u8>> = entries.collect();
    let mut n_read = 0;
    each(&valid, ROUNDS, |bytes| {
        for index in 0..6 {
            if let Ok(entry) = decode_entry(&keys::log(index), bytes) {
                n_read += 1;
                assert_eq!(entry.log_id.index, index);
                // Whatever it says now, a state takes it or refuses it.
                if let EntryPayload::Normal(command) = entry.payload {
                    state_after(3).apply(index.max(4), &command);
                }
            }
        }
    });
    assert!(n_read > 0);
}

fn state_after(n_entries: u64) -> State {
    let mut state = State::default();
    for index in 0..=n_entries {
        match entry(1, index).payload {
            EntryPayload::Normal(command) => drop(state.apply(index, &command)),
            _ => state.pass(index),
        }
    }
    state
}

#[test]
fn damaged_snapshots() {
    let state = state();
    let parts: Vec<Vec<u8>> = state.parts().map(|part| part.encode_to_vec()).collect();
    assert!(parts.len() > 1);
    let whole = |changed: &[u8], at: usize| {
        let parts = parts.iter().enumerate();
        let parts = parts.map(|(index, part)| match index == at {
            true => Part::decode(changed),
            false => Part::decode(&**part),
        });
        let parts: Result<Vec<Part>, _> = parts.collect();
        parts.ok()
    };
    let (mut n_refused, mut n_taken, mut at) = (0, 0, 0);
    each(&parts, ROUNDS / 10, |bytes| {
        at = (at + 1) % parts.len();
        match whole(bytes, at).map(|parts| State::restore(200, parts)) {
            Some(Ok(other)) => {
                n_taken += 1;
                // It can be written down again.
                assert!(other.parts().count() > 0);
            }
            Some(Err(_)) | None => n_refused += 1,
        }
    });
    assert!(n_refused > 0 && n_taken > 0, "{n_refused} {n_taken}");
    let meta = SnapshotMeta {
        last_log_id: Some(id(1, 199)),
        ..SnapshotMeta::default()
    };
    let head = Head {
        generation: 3,
        n_parts: 2,
        meta,
    };
    each(&[head.encode()], ROUNDS, |bytes| {
        Head::decode(bytes);
    });
}

#[test]
fn damaged_identities_and_votes() {
    let vote = wire::vote(&Vote::new(3, 1)).encode_to_vec();
    let purged = wire::log_id(&id(2, 9)).encode_to_vec();
    let valid = [identity().encode(), vote, purged];
    each(&valid, ROUNDS, |bytes| {
        if let Some(identity) = Identity::decode(bytes) {
            assert_eq!(Identity::decode(&identity.encode()), Some(identity));
        }
        if let Ok(vote) = proto::VoteRecord::decode(bytes) {
            wire::to_vote(vote);
        }
        if let Ok(log_id) = proto::LogId::decode(bytes) {
            wire::to_log_id(log_id);
        }
        if let Ok(request) = proto::AppendRequest::decode(bytes) {
            let _malformed = wire::to_append_request(request);
        }
    });
}
