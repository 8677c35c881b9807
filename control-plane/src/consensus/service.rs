//! The Raft service: what the other nodes of the control plane call.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatemq_proto::cluster::prost::Message;
use gatemq_proto::cluster::raft::raft_server;
use gatemq_proto::cluster::raft::{
    Addressee, AppendReply, AppendRequest, SnapshotHead, SnapshotPiece, SnapshotReply, VoteReply,
    VoteRequest,
};
use gatemq_proto::cluster::state::Part;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

use super::leadership::Heard;
use super::machine::Current;
use super::raft::{Raft, Snapshot, SnapshotMeta, Vote};
use super::wire;
use crate::hex::hex;
use crate::state::{Restoring, State};

/// Answers the calls of Raft.
pub struct RaftService {
    raft: Raft,
    cluster_id: Bytes,
    number: u64,
    current: Arc<Current>,
    heard: Arc<Heard>,
    /// One snapshot is received at a time.
    receiving: Semaphore,
    /// Calls that were not for this node, so that each is told of once.
    strays: Mutex<HashSet<Addressee>>,
    /// The last call that could not be followed; told of once, not with every heartbeat.
    last_malformed: Mutex<Option<wire::Malformed>>,
}

/// How long the next piece of a snapshot may take.
const PIECE: Duration = Duration::from_secs(30);
/// How many wrong addressees are remembered.
const STRAYS: usize = 64;

// === impl RaftService ===

impl RaftService {
    pub(super) fn new(
        raft: Raft,
        cluster_id: Bytes,
        number: u64,
        current: Arc<Current>,
        heard: Arc<Heard>,
    ) -> Self {
        Self {
            raft,
            cluster_id,
            number,
            current,
            heard,
            receiving: Semaphore::new(1),
            strays: Mutex::new(HashSet::new()),
            last_malformed: Mutex::new(None),
        }
    }

    /// Refuses a call that is meant for another node or another cluster.
    fn check(&self, to: Option<Addressee>) -> Result<(), Status> {
        let to = to.ok_or_else(|| Status::invalid_argument("the addressee is missing"))?;
        if to.cluster_id == self.cluster_id && to.node == self.number {
            return Ok(());
        }
        let refusal = format!(
            "this is number {} of the cluster {}, not number {} of the cluster {}",
            self.number,
            hex(&self.cluster_id),
            to.node,
            hex(&to.cluster_id),
        );
        let mut strays = self.strays.lock();
        if strays.len() < STRAYS && strays.insert(to) {
            tracing::warn!(refusal, "a call of raft for another node");
        }
        Err(Status::failed_precondition(refusal))
    }

    /// Refuses the candidacy of a node that was dismissed: it does not know yet.
    fn check_candidate(&self, candidate: u64) -> Result<(), Status> {
        if self.current.is_removed(candidate) {
            let text = format!("number {candidate} is no node of the control plane any more");
            return Err(Status::permission_denied(text));
        }
        Ok(())
    }

    fn malformed(&self, error: wire::Malformed) -> Status {
        if self.last_malformed.lock().replace(error) != Some(error) {
            tracing::error!(%error, "a call of raft that this node cannot follow");
        }
        Status::invalid_argument(error.to_string())
    }

    async fn receive(
        &self,
        mut pieces: Streaming<SnapshotPiece>,
    ) -> Result<(Vote, Snapshot), Status> {
        let first = next(&mut pieces).await?;
        let first = first.ok_or_else(|| Status::invalid_argument("an empty snapshot"))?;
        let (vote, meta) = self.read_head(first.head)?;
        self.heard.note();
        let mut restoring = Restoring::default();
        let mut is_whole = first.is_last;
        add(&mut restoring, first.data)?;
        while !is_whole {
            // The end of the stream says nothing: a sender that gave up ends it as well.
            let piece = next(&mut pieces).await?;
            let piece = piece.ok_or_else(|| Status::invalid_argument("half a snapshot"))?;
            is_whole = piece.is_last;
            add(&mut restoring, piece.data)?;
        }
        let last = meta.last_log_id;
        let last = last.ok_or_else(|| Status::invalid_argument("a snapshot of nothing"))?;
        let snapshot: Box<State> = Box::new(restoring.finish(last.index));
        Ok((vote, Snapshot { meta, snapshot }))
    }

    fn read_head(&self, head: Option<SnapshotHead>) -> Result<(Vote, SnapshotMeta), Status> {
        let head = head.ok_or_else(|| Status::invalid_argument("the head is missing"))?;
        self.check(head.to)?;
        let vote = wire::need_vote(head.vote).map_err(|error| self.malformed(error))?;
        let meta = head.meta.ok_or(wire::Malformed::Missing("the metadata"));
        let meta = meta.and_then(wire::check_snapshot_meta);
        Ok((vote, meta.map_err(|error| self.malformed(error))?))
    }
}

#[tonic::async_trait]
impl raft_server::Raft for RaftService {
    async fn append(
        &self,
        request: Request<AppendRequest>,
    ) -> Result<Response<AppendReply>, Status> {
        let mut request = request.into_inner();
        self.check(request.to.take())?;
        self.heard.note();
        let request = wire::to_append_request(request);
        let request = request.map_err(|error| self.malformed(error))?;
        let reply = self.raft.append_entries(request).await.map_err(stopped)?;
        Ok(Response::new(wire::append_reply(&reply)))
    }

    async fn vote(&self, request: Request<VoteRequest>) -> Result<Response<VoteReply>, Status> {
        let mut request = request.into_inner();
        self.check(request.to.take())?;
        let request = wire::to_vote_request(&request);
        let request = request.map_err(|error| self.malformed(error))?;
        self.check_candidate(request.vote.leader_id.node_id)?;
        let reply = self.raft.vote(request).await.map_err(stopped)?;
        Ok(Response::new(wire::vote_reply(&reply)))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<SnapshotPiece>>,
    ) -> Result<Response<SnapshotReply>, Status> {
        let busy = |_| Status::resource_exhausted("another snapshot is being received");
        let _permit = self.receiving.try_acquire().map_err(busy)?;
        let (vote, snapshot) = self.receive(request.into_inner()).await?;
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        let reply = installed.map_err(stopped)?;
        Ok(Response::new(SnapshotReply {
            vote: Some(wire::vote(&reply.vote)),
        }))
    }
}

// === private ===

async fn next(pieces: &mut Streaming<SnapshotPiece>) -> Result<Option<SnapshotPiece>, Status> {
    let piece = tokio::time::timeout(PIECE, pieces.message()).await;
    piece.unwrap_or_else(|_| Err(Status::deadline_exceeded("the next piece does not come")))
}

/// A piece has whole parts, each behind its length.
fn add(restoring: &mut Restoring, mut data: Bytes) -> Result<(), Status> {
    while !data.is_empty() {
        let part = Part::decode_length_delimited(&mut data);
        let part = part.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let added = restoring.add(part);
        added.map_err(|error| Status::invalid_argument(error.to_string()))?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn stopped(error: impl ToString) -> Status {
    Status::unavailable(error.to_string())
}
