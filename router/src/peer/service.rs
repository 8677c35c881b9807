//! The destination: takes streams of other nodes and hands on what comes.
//!
//! A stream is read by a task of its own, so that a broken connection does not interrupt a
//! delivery halfway. A newer `Open` of the same source and lane takes the place of an older
//! stream, whose connection the source has given up: the older one reads no further, finishes the
//! delivery that it is in, and only when its task has ended does the newer one deliver its first
//! batch. So the messages of the old stream stay before those of the new.
//!
//! Before it the generated server; after it [`Deliver`], with an [`Inlet`] for the answers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use gatemq_proto::cluster::peer::peer_server::{Peer, PeerServer};
use gatemq_proto::cluster::peer::{
    Batch, ForwardRequest, Message, Open, ReleaseReply, ReleaseRequest, forward_request::Kind,
};
use gatemq_proto::mqtt::Qos;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Request, Response, Status, Streaming};

use super::inlet::{Inlet, Replies};
use super::parcel::Flags;
use super::{Identity, MAX_FRAME, Metrics};

/// What a node that stops in order says to those whose streams it ends.
pub(super) const STOPPING: &str = "the node is stopping";

/// Who delivers messages to the subscribers of this node.
pub trait Deliver: Send + Sync + 'static {
    /// Whether a source is told at once of a message that is done before another one that came
    /// first: for who may have to wait long for some of them. It costs a few bytes for each.
    const TELLS_EARLY: bool;

    /// Takes messages of one stream, in order; the first has the number `first`, the others
    /// follow. For each of QoS 1 and 2 [`Inlet::settle`] is called later, from anywhere, in any
    /// order; QoS 0 needs none. Not to return is back-pressure: the stream is not read meanwhile.
    /// It is never interrupted.
    ///
    /// Topics, properties and payloads are slices of the frame that they came in (up to 256 KiB):
    /// what is kept for long should be copied. Their QoS is valid, and those of QoS 1 and 2 have an
    /// id; nothing else is checked.
    fn deliver(
        &self,
        inlet: &Arc<Inlet>,
        first: u64,
        messages: Vec<Message>,
    ) -> impl Future<Output = ()> + Send;
}

/// Who lets go of a client's session because another node has it now, or wants it.
pub trait Release: Send + Sync + 'static {
    /// Disconnects the client, and writes down what is only in memory.
    fn release(&self, request: ReleaseRequest) -> impl Future<Output = ReleaseReply> + Send;
}

/// What answers other nodes.
#[derive(Debug)]
pub struct Service<D, L> {
    identity: Identity,
    deliver: Arc<D>,
    release: L,
    metrics: Metrics,
    tracker: TaskTracker,
    stop: CancellationToken,
    seats: Arc<Mutex<Seats>>,
}

/// The stream that each source and lane has.
type Seats = HashMap<(u64, u32), Seat>;

#[derive(Debug)]
struct Seat {
    inlet: Arc<Inlet>,
    /// Cancelled when its task has ended.
    vacated: CancellationToken,
}

/// The task that reads one stream.
struct Reader<D> {
    inlet: Arc<Inlet>,
    requests: Streaming<ForwardRequest>,
    deliver: Arc<D>,
    metrics: Metrics,
    /// The stream before it, if that was still there.
    before: Option<CancellationToken>,
    leaving: Leaving,
}

/// Vacates a seat when its task ends, also by a panic.
struct Leaving {
    seats: Arc<Mutex<Seats>>,
    inlet: Arc<Inlet>,
    vacated: CancellationToken,
}

/// Makes the service that answers other nodes, to be put on a server that was [`super::tune()`]d.
/// When `stop` is cancelled its streams end.
pub fn service<D: Deliver, L: Release>(
    identity: Identity,
    deliver: Arc<D>,
    release: L,
    metrics: Metrics,
    tracker: TaskTracker,
    stop: CancellationToken,
) -> PeerServer<Service<D, L>> {
    let service = Service {
        identity,
        deliver,
        release,
        metrics,
        tracker,
        stop,
        seats: Arc::default(),
    };
    PeerServer::new(service)
        .max_decoding_message_size(MAX_FRAME)
        .max_encoding_message_size(MAX_FRAME)
}

// === impl Service ===

#[tonic::async_trait]
impl<D: Deliver, L: Release> Peer for Service<D, L> {
    type ForwardStream = Replies;

    async fn forward(
        &self,
        request: Request<Streaming<ForwardRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let mut requests = request.into_inner();
        let first = tokio::time::timeout(OPEN_TIMEOUT, requests.message());
        let first = first
            .await
            .map_err(|_| Status::deadline_exceeded("no open came"))?;
        let Some(Kind::Open(open)) = first?.and_then(|request| request.kind) else {
            return Err(Status::invalid_argument(
                "the first message has to open the stream",
            ));
        };
        self.check(&open)?;
        let (inlet, vacated, before) = self.take_seat(&open);
        let reader = Reader {
            leaving: Leaving {
                seats: self.seats.clone(),
                inlet: inlet.clone(),
                vacated,
            },
            inlet: inlet.clone(),
            requests,
            deliver: self.deliver.clone(),
            metrics: self.metrics.clone(),
            before,
        };
        self.tracker.spawn(reader.run());
        Ok(Response::new(inlet.replies()))
    }

    async fn release(
        &self,
        request: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseReply>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster_id)?;
        Ok(Response::new(self.release.release(request).await))
    }
}

impl<D: Deliver, L: Release> Service<D, L> {
    fn check(&self, open: &Open) -> Result<(), Status> {
        if self.stop.is_cancelled() {
            return Err(Status::unavailable(STOPPING));
        }
        self.check_cluster(&open.cluster_id)?;
        let incarnation = (self.identity.incarnation)();
        if open.destination != incarnation {
            let wanted = open.destination;
            let text = format!("this is incarnation {incarnation}, not {wanted}");
            return Err(Status::failed_precondition(text));
        }
        if open.lane >= MOST_LANES {
            return Err(Status::invalid_argument("no such lane"));
        }
        Ok(())
    }

    fn check_cluster(&self, cluster_id: &[u8]) -> Result<(), Status> {
        if self.identity.cluster_id != cluster_id {
            return Err(Status::failed_precondition(
                "this node is of another cluster",
            ));
        }
        Ok(())
    }

    /// Gives a stream the seat of its source and lane, and ends the one that had it. Returns what
    /// tells that that one has ended.
    fn take_seat(&self, open: &Open) -> (Arc<Inlet>, CancellationToken, Option<CancellationToken>) {
        let end = self.stop.child_token();
        let inlet = Arc::new(Inlet::new(open, D::TELLS_EARLY, end));
        let vacated = CancellationToken::new();
        let seat = Seat {
            inlet: inlet.clone(),
            vacated: vacated.clone(),
        };
        let older = self.seats.lock().insert((open.source, open.lane), seat);
        let before = older.map(|seat| {
            let text = "a newer stream has taken the place of this one";
            seat.inlet.finish(Err(Status::aborted(text)));
            seat.vacated
        });
        (inlet, vacated, before)
    }
}

// === impl Reader ===

impl<D: Deliver> Reader<D> {
    async fn run(mut self) {
        if let Some(before) = self.before.take() {
            // Even if this one is to end already: a third one waits for this, and so for both.
            before.cancelled().await;
        }
        let (source, lane) = (self.inlet.source(), self.inlet.lane());
        let end = self.read().await;
        let status = end.clone().err();
        let is_news = self.inlet.finish(end);
        if let Some(status) = status.filter(|_| is_news) {
            // The source tells of streams that break; only what it did wrong is told here.
            match status.code() {
                Code::InvalidArgument => tracing::warn!(source, lane, %status, "stream refused"),
                _ => tracing::debug!(source, lane, %status, "stream broke"),
            }
        }
        drop(self.leaving);
    }

    async fn read(&mut self) -> Result<(), Status> {
        loop {
            let request = tokio::select! {
                biased;
                () = self.inlet.ended() => return Err(Status::unavailable(STOPPING)),
                request = self.requests.message() => request?,
            };
            let Some(request) = request else {
                return Ok(()); // the source has ended it
            };
            let Some(Kind::Batch(Batch { first, messages })) = request.kind else {
                return Err(Status::invalid_argument("only batches may follow the open"));
            };
            self.count(&messages)?;
            let entered = self.inlet.enter(first, &messages);
            entered.map_err(|violation| Status::invalid_argument(violation.to_string()))?;
            self.deliver.deliver(&self.inlet, first, messages).await;
        }
    }

    fn count(&self, messages: &[Message]) -> Result<(), Status> {
        let mut bytes = 0;
        for message in messages {
            let flags = Flags::of(message);
            let flags = flags.ok_or_else(|| Status::invalid_argument("no such QoS"))?;
            if flags.qos() > Qos::AtMostOnce && message.id == 0 {
                // All that have none would be taken for repeats of one.
                return Err(Status::invalid_argument(
                    "a message of QoS 1 or 2 has no id",
                ));
            }
            bytes += message.topic.len() + message.properties.len() + message.payload.len();
        }
        self.metrics.batches_received.inc();
        self.metrics.messages_received.inc_by(messages.len() as u64);
        self.metrics.bytes_received.inc_by(bytes as u64);
        Ok(())
    }
}

// === impl Leaving ===

impl Drop for Leaving {
    fn drop(&mut self) {
        // After a panic nothing has been said yet; otherwise the first word counts.
        self.inlet
            .finish(Err(Status::internal("the delivery failed")));
        let key = (self.inlet.source(), self.inlet.lane());
        let mut seats = self.seats.lock();
        if seats
            .get(&key)
            .is_some_and(|seat| Arc::ptr_eq(&seat.inlet, &self.inlet))
        {
            seats.remove(&key);
        }
        drop(seats);
        self.vacated.cancel();
    }
}

// === private ===

/// How long a stream may take to say what it is.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Far above what a source would use.
const MOST_LANES: u32 = 1024;
