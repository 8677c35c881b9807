//! What the other voters have confirmed to this leader, and which of them know less by now. Pure.
//!
//! A node whose files went back in time (a backup that was put back, a disk that lost what it had
//! synced) has forgotten entries that count as safe. openraft takes that for a mistake of its own and
//! ends the leader, and then the next one. So a reply that takes back what was confirmed is no reply
//! here: the node is out of reach until it joins anew. A leader that has just been elected, or started
//! again, knows of no confirmation, and takes the node as it is.

use std::collections::BTreeMap;

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use parking_lot::Mutex;

use super::raft::{LogId, TypeConfig, Vote};

/// The last entry that each node has confirmed in this node's present term as leader.
#[derive(Debug, Default)]
pub(super) struct Confirmed(Mutex<BTreeMap<u64, Confirmation>>);

#[derive(Debug)]
struct Confirmation {
    /// Of the leader that it was confirmed to: another term begins anew, as openraft does.
    vote: Vote,
    last: Option<LogId>,
    is_told: bool,
}

/// A node has confirmed more than it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it does not have what it has confirmed (entry {last}): its files are from before that, as of a \
     backup. Remove it from the cluster, and let it join again with an empty data directory"
)]
pub(super) struct Reverted {
    /// The index of the last entry that it confirmed.
    last: u64,
    /// Whether nobody was told of it yet.
    pub(super) is_new: bool,
}

// === impl Confirmed ===

impl Confirmed {
    /// Notes what a node answers to a request.
    ///
    /// # Errors
    ///
    /// It takes back what it has confirmed.
    pub(super) fn note(
        &self,
        node: u64,
        request: &AppendEntriesRequest<TypeConfig>,
        reply: &AppendEntriesResponse<u64>,
    ) -> Result<(), Reverted> {
        let mut known = self.0.lock();
        let confirmation = of(&mut known, node, request.vote);
        let (is_taken_back, last) = match reply {
            AppendEntriesResponse::Success => {
                let last = request.entries.last().map(|entry| entry.log_id);
                (false, last.or(request.prev_log_id))
            }
            AppendEntriesResponse::PartialSuccess(last) => (*last < confirmation.last, *last),
            AppendEntriesResponse::Conflict => (request.prev_log_id <= confirmation.last, None),
            AppendEntriesResponse::HigherVote(_) => return Ok(()),
        };
        match confirmation.last {
            Some(confirmed) if is_taken_back => Err(Reverted {
                last: confirmed.index,
                is_new: !std::mem::replace(&mut confirmation.is_told, true),
            }),
            confirmed => {
                confirmation.last = confirmed.max(last);
                Ok(())
            }
        }
    }

    /// A node has taken a snapshot.
    pub(super) fn note_snapshot(&self, node: u64, vote: Vote, last: Option<LogId>) {
        let mut known = self.0.lock();
        let confirmation = of(&mut known, node, vote);
        confirmation.last = confirmation.last.max(last);
    }
}

fn of(known: &mut BTreeMap<u64, Confirmation>, node: u64, vote: Vote) -> &mut Confirmation {
    let new = || Confirmation {
        vote,
        last: None,
        is_told: false,
    };
    let confirmation = known.entry(node).or_insert_with(new);
    if confirmation.vote != vote {
        *confirmation = new();
    }
    confirmation
}

#[cfg(test)]
mod tests;
