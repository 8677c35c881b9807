//! How this node calls Raft on the others.
//!
//! Every call says for whom it is: an address may have passed to another node, or to another
//! cluster.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatemq_proto::cluster::prost::Message;
use gatemq_proto::cluster::raft::raft_client::RaftClient;
use gatemq_proto::cluster::raft::{Addressee, SnapshotHead, SnapshotPiece};
use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, RaftNetwork, RaftNetworkFactory};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::channels::Channels;
use super::confirmed::{Confirmed, Reverted};
use super::places::Ways;
use super::raft::{Node, Snapshot, TypeConfig, Vote};
use super::silence::Silence;
use super::wire::{self, Malformed};

/// Makes a link to each node that Raft wants to call.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) cluster_id: Bytes,
    pub(crate) channels: Arc<Channels>,
    /// Where nodes are.
    pub(crate) ways: Arc<Ways>,
    pub(crate) tracker: TaskTracker,
    /// Set when another node has told this one that it is no member any more.
    pub(crate) is_removed: watch::Sender<bool>,
    /// Who does not answer.
    pub(crate) silence: Arc<Silence>,
    /// What the others have confirmed.
    pub(crate) confirmed: Arc<Confirmed>,
}

/// The way to one node.
pub(crate) struct Link {
    network: Network,
    target: u64,
    /// The node, as the membership has it.
    node: Node,
    /// What the last failed call said: told once, not with every call.
    last_refusal: Mutex<Option<String>>,
}

/// Why a call to another node failed.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("{address}: {source}")]
    Address {
        address: String,
        source: tonic::transport::Error,
    },
    #[error("number {target} at {address}: {status}")]
    Status {
        target: u64,
        address: String,
        status: Status,
    },
    #[error("number {target} at {address}: no answer in {after:?}")]
    Timeout {
        target: u64,
        address: String,
        after: Duration,
    },
    #[error("a reply without meaning: {0}")]
    Malformed(#[from] Malformed),
    #[error("number {target} at {address}: {reverted}")]
    Reverted {
        target: u64,
        address: String,
        reverted: Reverted,
    },
}

/// How long a whole snapshot may take, over a slow link too.
const SNAPSHOT: Duration = Duration::from_secs(600);
/// Parts that wait to be sent.
const PARTS: usize = 16;
/// How long a node that could not be reached is left alone.
const RETRY: Duration = Duration::from_millis(250);

type CallResult<T> = Result<T, RPCError<u64, Node, RaftError<u64>>>;

// === impl Network ===

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &Node) -> Link {
        Link {
            network: self.clone(),
            target,
            node: node.clone(),
            last_refusal: Mutex::new(None),
        }
    }
}

// === impl Link ===

impl RaftNetwork<TypeConfig> for Link {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> CallResult<AppendEntriesResponse<u64>> {
        let wired = wire::append_request(self.addressee(), &request);
        let reply = self
            .call(option.hard_ttl(), async |mut client| {
                client.append(wired).await
            })
            .await;
        let reply = reply.and_then(|reply| Ok(wire::to_append_reply(reply)?));
        let reply = reply.and_then(|reply| {
            let noted = self.network.confirmed.note(self.target, &request, &reply);
            noted.map_err(|reverted| self.reverted(reverted))?;
            Ok(reply)
        });
        reply.map_err(|error| unreachable(&error))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> CallResult<VoteResponse<u64>> {
        let request = wire::vote_request(self.addressee(), &request);
        let reply = self
            .call(option.hard_ttl(), async |mut client| {
                client.vote(request).await
            })
            .await;
        let reply = reply.and_then(|reply| Ok(wire::to_vote_reply(reply)?));
        reply.map_err(|error| unreachable(&error))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        let last = snapshot.meta.last_log_id;
        let pieces = self.pieces(vote, snapshot);
        let call = self.call(SNAPSHOT, async |mut client| client.snapshot(pieces).await);
        let reply = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            reply = call => reply,
        };
        let reply = reply.and_then(|reply| Ok(wire::need_vote(reply.vote)?));
        match reply {
            Ok(reply) => {
                if reply == vote {
                    self.network
                        .confirmed
                        .note_snapshot(self.target, vote, last);
                }
                Ok(SnapshotResponse::new(reply))
            }
            Err(error) => Err(Unreachable::new(&error).into()),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(RETRY))
    }
}

impl Link {
    fn addressee(&self) -> Addressee {
        Addressee {
            cluster_id: self.network.cluster_id.clone(),
            node: self.target,
        }
    }

    fn address(&self) -> String {
        self.network.ways.to(self.target, &self.node)
    }

    async fn call<T>(
        &self,
        deadline: Duration,
        call: impl AsyncFnOnce(RaftClient<Channel>) -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, CallError> {
        let address = self.address();
        let called = self.call_at(&address, deadline, call).await;
        if called.is_err() {
            let ways = &self.network.ways;
            ways.failed(self.target, &self.node, &address);
        }
        called
    }

    async fn call_at<T>(
        &self,
        address: &str,
        deadline: Duration,
        call: impl AsyncFnOnce(RaftClient<Channel>) -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, CallError> {
        let client = self.network.channels.raft(address, &self.node.name);
        let client = client.map_err(|source| CallError::Address {
            address: address.to_owned(),
            source,
        })?;
        let answer = tokio::time::timeout(deadline, call(client)).await;
        let silence = &self.network.silence;
        match answer {
            Ok(Ok(reply)) => {
                silence.broken(self.target, address);
                self.last_refusal.lock().take();
                Ok(reply.into_inner())
            }
            Ok(Err(status)) => {
                silence.begun(self.target, address, &status);
                Err(self.failed(address, status))
            }
            Err(_) => {
                let late = Status::deadline_exceeded("no answer in time");
                silence.begun(self.target, address, &late);
                Err(CallError::Timeout {
                    target: self.target,
                    address: address.to_owned(),
                    after: deadline,
                })
            }
        }
    }

    fn failed(&self, address: &str, status: Status) -> CallError {
        let is_refusal = matches!(
            status.code(),
            Code::FailedPrecondition | Code::PermissionDenied | Code::InvalidArgument
        );
        if is_refusal {
            let said = status.message().to_owned();
            let before = self.last_refusal.lock().replace(said.clone());
            if before.as_ref() != Some(&said) {
                let number = self.target;
                tracing::warn!(number, address, said, "a node refuses raft");
            }
        }
        if status.code() == Code::PermissionDenied {
            self.network.is_removed.send_replace(true);
        }
        CallError::Status {
            target: self.target,
            address: address.to_owned(),
            status,
        }
    }

    fn reverted(&self, reverted: Reverted) -> CallError {
        if reverted.is_new {
            let (number, name, address) = (self.target, &self.node.name, self.address());
            let why = tracing::field::display(&reverted);
            tracing::error!(number, name, address, why, "a control node is left out");
        }
        CallError::Reverted {
            target: self.target,
            address: self.address(),
            reverted,
        }
    }

    /// The pieces of a snapshot, made as fast as they are sent.
    fn pieces(&self, vote: Vote, snapshot: Snapshot) -> ReceiverStream<SnapshotPiece> {
        let (sender, receiver) = mpsc::channel(PARTS);
        let head = SnapshotHead {
            to: Some(self.addressee()),
            vote: Some(wire::vote(&vote)),
            meta: Some(wire::snapshot_meta(&snapshot.meta)),
        };
        // Ends with the state, or when nobody receives any more.
        self.network.tracker.spawn_blocking(move || {
            let mut piece = SnapshotPiece {
                head: Some(head),
                data: Bytes::new(),
                is_last: false,
            };
            for part in snapshot.snapshot.parts() {
                piece.data = part.encode_length_delimited_to_vec().into();
                if sender.blocking_send(std::mem::take(&mut piece)).is_err() {
                    return;
                }
            }
            piece.is_last = true;
            let _ = sender.blocking_send(piece); // nobody may wait for it any more
        });
        ReceiverStream::new(receiver)
    }
}

fn unreachable(error: &CallError) -> RPCError<u64, Node, RaftError<u64>> {
    RPCError::Unreachable(Unreachable::from(AnyError::error(error)))
}
