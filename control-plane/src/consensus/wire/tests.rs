//! Messages there and back.

use gatemq_proto::cluster::prost::Message;
use gatemq_proto::cluster::state::{Command, Dismiss, command};

use super::*;

fn id(term: u64, node: u64, index: u64) -> LogId {
    LogId::new(openraft::CommittedLeaderId::new(term, node), index)
}

fn a_membership() -> Membership {
    let node = |name: &str| Node {
        name: name.to_owned(),
        address: format!("{name}:1"),
    };
    let nodes = BTreeMap::from([(1, node("a")), (2, node("b")), (3, node("c"))]);
    Membership::new(vec![BTreeSet::from([1]), BTreeSet::from([1, 2])], nodes)
}

fn a_command() -> Arc<Command> {
    let kind = command::Kind::Dismiss(Dismiss { number: 9 });
    Arc::new(Command { kind: Some(kind) })
}

/// Through bytes, as on a wire.
fn through<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).unwrap()
}

#[test]
fn entries_come_back() {
    for payload in [
        EntryPayload::Blank,
        EntryPayload::Normal(a_command()),
        EntryPayload::Membership(a_membership()),
    ] {
        let log_id = id(0, 0, 0);
        let entry = Entry { log_id, payload };
        assert_eq!(to_entry(through(&super::entry(&entry))).unwrap(), entry);
    }
}

#[test]
fn what_this_version_does_not_know_is_an_error() {
    let mut entry = entry(&Entry {
        log_id: id(1, 1, 1),
        payload: EntryPayload::Normal(a_command()),
    });
    entry.payload = Some(entry::Payload::Command(Command { kind: None }));
    assert_eq!(to_entry(entry.clone()), Err(Malformed::UnknownCommand));
    entry.payload = None;
    assert_eq!(to_entry(entry.clone()), Err(Malformed::UnknownEntry));
    entry.log_id = None;
    assert_eq!(to_entry(entry), Err(Malformed::Missing("the log id")));
    let empty = proto::AppendRequest::default();
    assert!(to_append_request(empty).is_err());
    assert!(to_vote_request(&proto::VoteRequest::default()).is_err());
    assert!(to_append_reply(proto::AppendReply::default()).is_err());
}

#[test]
fn a_term_or_an_index_that_no_cluster_comes_to_is_refused() {
    let (far, vote) = (MOST, Some(vote(&Vote::new(1, 1))));
    let far_vote = Some(super::vote(&Vote::new(far, 1)));
    let ids = [id(1, 1, far), id(far, 1, 1), id(1, 1, u64::MAX)].map(|far| log_id(&far));
    assert_eq!(need_vote(far_vote), Err(Malformed::TooFar));
    for far in ids.map(Some) {
        let previous = proto::AppendRequest {
            vote,
            previous: far,
            ..proto::AppendRequest::default()
        };
        let committed = proto::AppendRequest {
            committed: far,
            previous: None,
            ..previous.clone()
        };
        let entry = proto::Entry {
            log_id: far,
            payload: Some(entry::Payload::Blank(entry::Blank {})),
        };
        let entries = proto::AppendRequest {
            vote,
            entries: vec![entry],
            ..proto::AppendRequest::default()
        };
        for request in [previous, committed, entries] {
            assert_eq!(to_append_request(request).err(), Some(Malformed::TooFar));
        }
        let request = proto::VoteRequest {
            vote,
            last: far,
            ..proto::VoteRequest::default()
        };
        assert_eq!(to_vote_request(&request), Err(Malformed::TooFar));
        let meta = proto::SnapshotMeta {
            last: far,
            ..proto::SnapshotMeta::default()
        };
        assert_eq!(check_snapshot_meta(meta), Err(Malformed::TooFar));
    }
}

#[test]
fn snapshot_meta_comes_back() {
    let meta = SnapshotMeta {
        last_log_id: Some(id(3, 2, 100)),
        last_membership: StoredMembership::new(Some(id(0, 0, 0)), a_membership()),
        snapshot_id: "3-100".to_owned(),
    };
    assert_eq!(to_snapshot_meta(through(&snapshot_meta(&meta))), meta);
    let none = SnapshotMeta::default();
    assert_eq!(to_snapshot_meta(through(&snapshot_meta(&none))), none);
}

#[test]
fn calls_come_back() {
    let to = proto::Addressee::default();
    let request = AppendEntriesRequest {
        vote: Vote::new_committed(4, 2),
        prev_log_id: None,
        entries: vec![Entry {
            log_id: id(4, 2, 5),
            payload: EntryPayload::Blank,
        }],
        leader_commit: Some(id(0, 0, 0)),
    };
    let again = to_append_request(through(&append_request(to.clone(), &request))).unwrap();
    assert_eq!(again.vote, request.vote);
    assert_eq!(again.prev_log_id, None);
    assert_eq!(again.entries, request.entries);
    assert_eq!(again.leader_commit, request.leader_commit);
    for reply in [
        AppendEntriesResponse::Success,
        AppendEntriesResponse::PartialSuccess(None),
        AppendEntriesResponse::Conflict,
        AppendEntriesResponse::HigherVote(Vote::new(7, 3)),
    ] {
        let again = to_append_reply(through(&append_reply(&reply))).unwrap();
        assert_eq!(again, reply);
    }
    let request = VoteRequest::new(Vote::new(4, 2), Some(id(1, 1, 1)));
    assert_eq!(
        to_vote_request(&through(&vote_request(to, &request))).unwrap(),
        request
    );
    let reply = VoteResponse::new(Vote::new(4, 2), None, true);
    assert_eq!(to_vote_reply(through(&vote_reply(&reply))).unwrap(), reply);
}
