//! The gRPC service that gateways and other nodes of the control plane call.
//!
//! ```text
//!  gateway ──Watch──> any node ──Attend──> leader            beats go this way,
//!          <──────────         <──────────                   watermark and confirmations that
//! ```
//!
//! A gateway keeps one `Watch` stream to any node: the state and its changes come from that node's
//! own [`Feed`], in one order with the marks that say how far everybody is (`watch.rs`). The leader
//! enters beats in its book (`office.rs`); another node passes them on to it (`uplink.rs` there,
//! `attend.rs` here). Between streams and book is the desk (`desk.rs`), a lock and no task: a beat
//! that moves the watermark wakes the streams it has to go out on, and nothing waits for a timer.
//!
//! What the service needs of Raft and of the state is in [`replica`].

mod attend;
mod desk;
mod office;
mod permit;
mod propose;
pub mod replica;
mod roads;
mod uplink;
mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use gatemq_node::credentials::{Caller, Dialer};
use gatemq_proto::cluster::control::control_server::{Control, ControlServer};
use gatemq_proto::cluster::control::{
    AttendReply, AttendRequest, Attendant, JoinReply, JoinRequest, ProposeRequest, StatusReply,
    StatusRequest, WatchReply, WatchRequest,
};
use gatemq_proto::cluster::state::{Command, Outcome};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use self::desk::Desk;
use self::replica::{Replica, View};
use self::roads::Roads;
use crate::api::now;
use crate::feed::{Bounds, Feed};
use crate::hex::hex;
use crate::leases::Terms;

/// How the service behaves.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How long leases and what belongs to them are.
    pub terms: Terms,
    /// How much goes in one message of changes; one command may be longer alone.
    pub changes: Bounds,
    /// How many streams of gateways and nodes are taken; more are refused.
    pub max_streams: usize,
    /// How long a proposal may take before it is said that nobody knows what comes of it.
    pub propose_within: Duration,
    /// How long a node that is behind is waited for before a gateway is sent elsewhere.
    pub catch_up_within: Duration,
    /// How long a gateway may say nothing before its stream is ended.
    pub silent_for: Duration,
    /// How long a connection to another node may take to be made, or to answer.
    pub connect_within: Duration,
}

/// The service of one node; clones are the same service.
#[derive(Debug)]
pub struct Service<R: Replica> {
    shared: Arc<Shared<R>>,
}

#[derive(Debug)]
struct Shared<R: Replica> {
    config: Config,
    replica: Arc<R>,
    feed: Arc<Feed>,
    desk: Desk<R>,
    roads: Roads,
    /// Gateways of other versions, each told of once.
    strangers: Mutex<BTreeSet<u64>>,
    tracker: TaskTracker,
    token: CancellationToken,
}

/// The longest command that is taken, in bytes; it has to fit in a message with others.
pub const MAX_COMMAND: usize = 1 << 20;

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            terms: Terms::default(),
            changes: Bounds {
                n_commands: 1024,
                n_bytes: 256 << 10,
            },
            max_streams: 4096,
            propose_within: Duration::from_secs(5),
            catch_up_within: Duration::from_secs(5),
            silent_for: Duration::from_secs(10),
            connect_within: Duration::from_secs(1),
        }
    }
}

// === impl Service ===

impl<R: Replica> Service<R> {
    /// Starts it: its tasks are on the tracker and end with the token, and so do all streams. The
    /// dialer is the way to the leader.
    pub fn start(
        config: Config,
        dialer: Dialer,
        replica: Arc<R>,
        feed: Arc<Feed>,
        tracker: TaskTracker,
        token: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            config,
            desk: Desk::new(Arc::clone(&replica), Arc::clone(&feed), config.max_streams),
            roads: Roads::new(config.connect_within, dialer),
            strangers: Mutex::default(),
            replica,
            feed,
            tracker,
            token,
        });
        shared.tracker.spawn(office::run(Arc::clone(&shared)));
        Self { shared }
    }

    /// What a gRPC server serves.
    #[must_use]
    pub fn server(&self) -> ControlServer<Self> {
        ControlServer::new(self.clone()).max_decoding_message_size(MAX_COMMAND + (64 << 10))
    }

    /// Proposes a command, here or at the leader.
    ///
    /// # Errors
    ///
    /// As `Propose` of the service: nothing is known of the command unless the status says so.
    pub async fn propose(&self, command: Command) -> Result<Outcome, Status> {
        self.shared.propose(command, 0).await
    }

    /// The gateways that count for the watermark, if this node leads.
    #[must_use]
    pub fn attendants(&self) -> Vec<Attendant> {
        self.shared.desk.attendants()
    }

    /// What every gateway with a lease has applied, as far as this node was told.
    #[must_use]
    pub fn watermark(&self) -> u64 {
        self.shared.desk.watermark()
    }
}

impl<R: Replica> Clone for Service<R> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

#[tonic::async_trait]
impl<R: Replica> Control for Service<R> {
    type WatchStream = BoxStream<'static, Result<WatchReply, Status>>;
    type AttendStream = BoxStream<'static, Result<AttendReply, Status>>;

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        self.shared.check_cluster(&request.cluster_id)?;
        if let Some(caller) = caller {
            permit::join(&caller, &request)?;
        }
        self.shared.replica.join(request).await.map(Response::new)
    }

    async fn propose(&self, request: Request<ProposeRequest>) -> Result<Response<Outcome>, Status> {
        let caller = Caller::of(&request);
        let request = request.into_inner();
        self.shared.check_cluster(&request.cluster_id)?;
        let command = request
            .command
            .ok_or_else(|| Status::invalid_argument("no command"))?;
        if let Some(caller) = caller {
            permit::propose(&caller, &command, &self.shared.replica.view(), now())?;
        }
        self.shared
            .propose(command, request.n_hops)
            .await
            .map(Response::new)
    }

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = Caller::of(&request);
        watch::begin(Arc::clone(&self.shared), caller, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn attend(
        &self,
        request: Request<Streaming<AttendRequest>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        attend::begin(Arc::clone(&self.shared), request.into_inner())
            .await
            .map(Response::new)
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let mut reply = self.shared.replica.status();
        reply.watermark = self.shared.desk.watermark();
        reply.attendants = self.shared.desk.attendants();
        Ok(Response::new(reply))
    }
}

// === impl Shared ===

impl<R: Replica> Shared<R> {
    /// Whoever calls must be of this cluster, or say that it is of none yet.
    fn check_cluster(&self, theirs: &[u8]) -> Result<(), Status> {
        let ours = self.replica.view().cluster_id();
        if theirs.is_empty() || ours == theirs {
            return Ok(());
        }
        let theirs = hex(theirs);
        if ours.is_empty() {
            return Err(Status::unavailable(format!(
                "this node is in no cluster yet, and the caller in {theirs}: try another node"
            )));
        }
        Err(Status::failed_precondition(format!(
            "this node is in cluster {}, the caller in {theirs}: if it should be in this one, it \
             must begin with an empty data directory; if not, its list of members is wrong",
            hex(&ours)
        )))
    }
}

#[cfg(test)]
mod tests;
