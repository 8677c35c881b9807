//! Raft's values as messages of `raft.proto`, for the network and for the disk, and back.
//!
//! What comes from outside may lack anything: the way back is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gatemq_proto::cluster::raft::{self as proto, append_reply, entry, membership};
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};

use super::raft::{
    Entry, LogId, Membership, Node, SnapshotMeta, StoredMembership, TypeConfig, Vote,
};

/// Why a message has no meaning here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("an entry of a kind that this version does not know: a newer one wrote it")]
    UnknownEntry,
    #[error("a command of a kind that this version does not know: a newer one wrote it")]
    UnknownCommand,
    #[error("a reply of a kind that this version does not know")]
    UnknownReply,
    #[error("a term or an index that no cluster has ever come to")]
    TooFar,
}

/// Raft reckons with terms and indexes and does not look: no peer is to make it reckon beyond the largest.
const MOST: u64 = 1 << 62;

// === log ids, votes ===

pub(crate) fn log_id(log_id: &LogId) -> proto::LogId {
    proto::LogId {
        term: log_id.leader_id.term,
        node: log_id.leader_id.node_id,
        index: log_id.index,
    }
}

pub(crate) fn to_log_id(log_id: proto::LogId) -> LogId {
    let leader = openraft::CommittedLeaderId::new(log_id.term, log_id.node);
    LogId::new(leader, log_id.index)
}

pub(crate) fn vote(vote: &Vote) -> proto::VoteRecord {
    proto::VoteRecord {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        is_committed: vote.committed,
    }
}

pub(crate) fn to_vote(vote: proto::VoteRecord) -> Vote {
    Vote {
        leader_id: openraft::LeaderId::new(vote.term, vote.node),
        committed: vote.is_committed,
    }
}

/// The vote of a peer.
pub(crate) fn need_vote(vote: Option<proto::VoteRecord>) -> Result<Vote, Malformed> {
    let vote = vote.ok_or(Malformed::Missing("the vote"))?;
    match vote.term < MOST {
        true => Ok(to_vote(vote)),
        false => Err(Malformed::TooFar),
    }
}

/// The log id of a peer.
fn check_log_id(log_id: proto::LogId) -> Result<LogId, Malformed> {
    match log_id.term < MOST && log_id.index < MOST {
        true => Ok(to_log_id(log_id)),
        false => Err(Malformed::TooFar),
    }
}

fn check_log_ids(log_id: Option<proto::LogId>) -> Result<Option<LogId>, Malformed> {
    log_id.map(check_log_id).transpose()
}

// === membership ===

pub(crate) fn membership(membership: &Membership) -> proto::Membership {
    let joint = membership.get_joint_config().iter();
    let nodes = membership.nodes().map(|(number, node)| membership::Node {
        number: *number,
        name: node.name.clone(),
        address: node.address.clone(),
    });
    proto::Membership {
        joint: joint
            .map(|voters| membership::Voters {
                nodes: voters.iter().copied().collect(),
            })
            .collect(),
        nodes: nodes.collect(),
    }
}

pub(crate) fn to_membership(membership: proto::Membership) -> Membership {
    let joint = membership.joint.into_iter();
    let joint: Vec<BTreeSet<u64>> = joint.map(|it| it.nodes.into_iter().collect()).collect();
    let nodes = membership.nodes.into_iter().map(|node| {
        let membership::Node {
            number,
            name,
            address,
        } = node;
        (number, Node { name, address })
    });
    Membership::new(joint, nodes.collect::<BTreeMap<_, _>>())
}

fn stored_membership(stored: &StoredMembership) -> proto::StoredMembership {
    proto::StoredMembership {
        log_id: stored.log_id().as_ref().map(log_id),
        membership: Some(membership(stored.membership())),
    }
}

fn to_stored_membership(stored: proto::StoredMembership) -> StoredMembership {
    let membership = stored.membership.map(to_membership).unwrap_or_default();
    StoredMembership::new(stored.log_id.map(to_log_id), membership)
}

// === entries ===

pub(crate) fn entry(entry: &Entry) -> proto::Entry {
    let payload = match &entry.payload {
        EntryPayload::Blank => entry::Payload::Blank(entry::Blank {}),
        EntryPayload::Normal(command) => entry::Payload::Command((**command).clone()),
        EntryPayload::Membership(it) => entry::Payload::Membership(membership(it)),
    };
    proto::Entry {
        log_id: Some(log_id(&entry.log_id)),
        payload: Some(payload),
    }
}

pub(crate) fn to_entry(entry: proto::Entry) -> Result<Entry, Malformed> {
    let log_id = entry.log_id.ok_or(Malformed::Missing("the log id"))?;
    let payload = match entry.payload.ok_or(Malformed::UnknownEntry)? {
        entry::Payload::Blank(_) => EntryPayload::Blank,
        entry::Payload::Command(command) if command.kind.is_none() => {
            return Err(Malformed::UnknownCommand);
        }
        entry::Payload::Command(command) => EntryPayload::Normal(Arc::new(command)),
        entry::Payload::Membership(it) => EntryPayload::Membership(to_membership(it)),
    };
    Ok(Entry {
        log_id: check_log_id(log_id)?,
        payload,
    })
}

// === snapshots ===

pub(crate) fn snapshot_meta(meta: &SnapshotMeta) -> proto::SnapshotMeta {
    proto::SnapshotMeta {
        last: meta.last_log_id.as_ref().map(log_id),
        membership: Some(stored_membership(&meta.last_membership)),
        id: meta.snapshot_id.clone(),
    }
}

/// The same of a peer.
pub(crate) fn check_snapshot_meta(meta: proto::SnapshotMeta) -> Result<SnapshotMeta, Malformed> {
    let membership = meta.membership.as_ref();
    check_log_ids(meta.last)?;
    check_log_ids(membership.and_then(|stored| stored.log_id))?;
    Ok(to_snapshot_meta(meta))
}

pub(crate) fn to_snapshot_meta(meta: proto::SnapshotMeta) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: meta.last.map(to_log_id),
        last_membership: meta
            .membership
            .map(to_stored_membership)
            .unwrap_or_default(),
        snapshot_id: meta.id,
    }
}

// === calls ===

pub(crate) fn append_request(
    to: proto::Addressee,
    request: &AppendEntriesRequest<TypeConfig>,
) -> proto::AppendRequest {
    proto::AppendRequest {
        to: Some(to),
        vote: Some(vote(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id),
        entries: request.entries.iter().map(entry).collect(),
        committed: request.leader_commit.as_ref().map(log_id),
    }
}

pub(crate) fn to_append_request(
    request: proto::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, Malformed> {
    Ok(AppendEntriesRequest {
        vote: need_vote(request.vote)?,
        prev_log_id: check_log_ids(request.previous)?,
        entries: request
            .entries
            .into_iter()
            .map(to_entry)
            .collect::<Result<_, _>>()?,
        leader_commit: check_log_ids(request.committed)?,
    })
}

pub(crate) fn append_reply(reply: &AppendEntriesResponse<u64>) -> proto::AppendReply {
    let done = append_reply::Done {};
    let kind = match reply {
        AppendEntriesResponse::Success => append_reply::Kind::Success(done),
        AppendEntriesResponse::PartialSuccess(up_to) => {
            append_reply::Kind::Partial(append_reply::Partial {
                up_to: up_to.as_ref().map(log_id),
            })
        }
        AppendEntriesResponse::Conflict => append_reply::Kind::Conflict(done),
        AppendEntriesResponse::HigherVote(higher) => append_reply::Kind::HigherVote(vote(higher)),
    };
    proto::AppendReply { kind: Some(kind) }
}

pub(crate) fn to_append_reply(
    reply: proto::AppendReply,
) -> Result<AppendEntriesResponse<u64>, Malformed> {
    Ok(match reply.kind.ok_or(Malformed::UnknownReply)? {
        append_reply::Kind::Success(_) => AppendEntriesResponse::Success,
        append_reply::Kind::Partial(partial) => {
            AppendEntriesResponse::PartialSuccess(check_log_ids(partial.up_to)?)
        }
        append_reply::Kind::Conflict(_) => AppendEntriesResponse::Conflict,
        append_reply::Kind::HigherVote(vote) => {
            AppendEntriesResponse::HigherVote(need_vote(Some(vote))?)
        }
    })
}

pub(crate) fn vote_request(to: proto::Addressee, request: &VoteRequest<u64>) -> proto::VoteRequest {
    proto::VoteRequest {
        to: Some(to),
        vote: Some(vote(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id),
    }
}

pub(crate) fn to_vote_request(request: &proto::VoteRequest) -> Result<VoteRequest<u64>, Malformed> {
    Ok(VoteRequest {
        vote: need_vote(request.vote)?,
        last_log_id: check_log_ids(request.last)?,
    })
}

pub(crate) fn vote_reply(reply: &VoteResponse<u64>) -> proto::VoteReply {
    proto::VoteReply {
        vote: Some(vote(&reply.vote)),
        is_granted: reply.vote_granted,
        last: reply.last_log_id.as_ref().map(log_id),
    }
}

pub(crate) fn to_vote_reply(reply: proto::VoteReply) -> Result<VoteResponse<u64>, Malformed> {
    Ok(VoteResponse {
        vote: need_vote(reply.vote)?,
        vote_granted: reply.is_granted,
        last_log_id: check_log_ids(reply.last)?,
    })
}

#[cfg(test)]
mod tests;
