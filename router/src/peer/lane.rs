//! One lane to one destination: its outbox under a lock, and the task that keeps a stream open.
//!
//! ```text
//!  forward ──> outbox ──> Outlet (polled by the HTTP/2 connection when it can write) ══>
//!  settle  <── outbox <── carry (reads replies; opens a new stream when one breaks)  <══
//! ```
//!
//! The outlet is polled again when the connection has room, and takes all that came meanwhile in
//! one batch: under load batches grow by themselves, and an idle stream sends at once. At once
//! means after the tasks that are ready to run: whoever wakes an outlet is often not the last to
//! have something for it, and tokio would run it before the others.
//!
//! Receipts are settled with no lock held, by one thread at a time: whoever finds another one at
//! it leaves what it has to that one, so the order holds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use gatemq_proto::cluster::peer::{ForwardReply, Open};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::backoff::Backoff;
use super::congestion::Congestion;
use super::frame::{Clock, Frame, FrameCodec};
use super::outbox::{Limits, Outbox, Push, Settled, StreamId, Violation};
use super::parcel::Parcel;
use super::receipt::{Receipt, Verdict};
use super::service::STOPPING;
use super::transport::{Dial, endpoint};
use super::{Identity, MAX_FRAME, Metrics};

/// What all lanes share.
pub(super) struct Road {
    pub(super) identity: Identity,
    pub(super) dial: Arc<dyn Dial>,
    pub(super) limits: Limits,
    /// How long a destination may be silent before its stream counts as broken.
    pub(super) silence: Duration,
    pub(super) clock: Clock,
    pub(super) congestion: Congestion,
    pub(super) metrics: Metrics,
    /// Told when a lane has nothing left to send, nothing unanswered and nothing to settle.
    pub(super) emptied: Notify,
    /// Told of what has panicked.
    pub(super) on_panic: fn(&str),
}

/// One lane.
pub(super) struct Lane<R> {
    road: Arc<Road>,
    destination: u64,
    number: u32,
    state: Mutex<State<R>>,
}

struct State<R> {
    outbox: Outbox<R>,
    settled: Settled<R>,
    is_settling: bool,
    /// Whether the task that keeps a stream is there.
    is_started: bool,
    /// The outlet that has nothing to send.
    outlet: Option<Waker>,
}

/// What one stream sends.
struct Outlet<R> {
    lane: Arc<Lane<R>>,
    stream: StreamId,
    open: Option<Open>,
    /// Whether it had nothing to send when it was last asked.
    was_idle: bool,
}

/// How a stream did.
#[derive(Debug, Default)]
struct Life {
    opened_at: Option<Instant>,
    is_answered: bool,
}

/// Why there is no stream, or no longer one.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("no address of a node: {0}")]
    Address(String),
    #[error("cannot connect: {}", deepest(.0))]
    Connect(tonic::transport::Error),
    #[error("no answer in time")]
    Unanswered,
    #[error("refused: {0}")]
    Refused(String),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the other node ended it")]
    Ended,
    #[error("the other node broke the contract: {0}")]
    Violation(#[from] Violation),
    #[error("the address changed")]
    Readdressed,
}

// === impl Lane ===

impl<R: Receipt> Lane<R> {
    pub(super) fn new(road: Arc<Road>, destination: u64, number: u32) -> Self {
        Self {
            state: Mutex::new(State {
                outbox: Outbox::new(road.limits),
                settled: Settled::new(),
                is_settling: false,
                is_started: false,
                outlet: None,
            }),
            road,
            destination,
            number,
        }
    }

    /// Takes a message; `start` is called if it is the first one. Returns whether it was taken.
    pub(super) fn forward(&self, parcel: Parcel, receipt: Option<R>, start: impl FnOnce()) -> bool {
        let weight = parcel.weight();
        let is_kept = parcel.is_kept();
        let is_full = self.road.congestion.is_congested();
        let mut state = self.state.lock();
        let left = match state.outbox.push(parcel, receipt, is_full) {
            Push::Taken => {
                self.road.congestion.add(weight); // under the lock: nobody can have sent it
                let outlet = state.outlet.take();
                let is_first = !std::mem::replace(&mut state.is_started, true);
                drop(state);
                if is_first {
                    start();
                }
                if let Some(outlet) = outlet {
                    outlet.wake();
                }
                return true;
            }
            Push::Dropped(receipt) | Push::Closed(receipt) => receipt,
        };
        if !is_kept {
            self.road.metrics.messages_dropped.inc();
        }
        state
            .settled
            .extend(left.map(|receipt| (receipt, Verdict::Moved)));
        self.settle(&mut state);
        false
    }

    /// The destination is gone for good.
    pub(super) fn close(&self) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let n_unsettled = state.outbox.n_unsettled();
        let (bytes, n_dropped) = state.outbox.close(&mut state.settled);
        self.road.congestion.release(bytes);
        self.road.metrics.messages_dropped.inc_by(n_dropped);
        self.count_settled(n_unsettled);
        let outlet = state.outlet.take();
        self.settle(&mut guard);
        drop(guard);
        if let Some(outlet) = outlet {
            outlet.wake();
        }
    }

    /// Whether no receipt is about to be settled.
    pub(super) fn is_quiet(&self) -> bool {
        self.state.lock().is_quiet()
    }

    /// Whether nothing waits, nothing is unanswered, and every receipt has been settled.
    pub(super) fn is_done(&self) -> bool {
        let state = self.state.lock();
        state.outbox.is_empty() && state.is_quiet()
    }

    /// Keeps a stream open until told to stop.
    pub(super) async fn run(
        self: Arc<Self>,
        addresses: watch::Receiver<String>,
        stop: CancellationToken,
    ) {
        stop.run_until_cancelled(self.keep_open(addresses)).await;
        // The outlet ends, and the connection with it; what is unanswered stays so.
        self.end_stream();
    }

    async fn keep_open(self: &Arc<Self>, mut addresses: watch::Receiver<String>) {
        let mut backoff = Backoff::new();
        let mut is_known = false;
        loop {
            let address = addresses.borrow_and_update().clone();
            let mut life = Life::default();
            let lost = tokio::select! {
                lost = self.carry(&address, &mut life) => lost,
                changed = addresses.changed() => match changed {
                    Ok(()) => Lost::Readdressed,
                    Err(_) => return,
                },
            };
            self.end_stream();
            if life.opened_at.is_some() {
                self.road.metrics.reconnects.inc();
            }
            if life.was_good() {
                backoff.reset();
                is_known = false;
            }
            self.log(&address, &lost, is_known);
            is_known = true;
            let wait = match lost {
                Lost::Readdressed => continue,
                Lost::Refused(_) => backoff.longest(chance()),
                _ => backoff.next(chance()),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = addresses.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Opens a stream and reads its replies until it is lost.
    async fn carry(self: &Arc<Self>, address: &str, life: &mut Life) -> Lost {
        match self.try_carry(address, life).await {
            Ok(()) => Lost::Ended,
            Err(lost) => lost,
        }
    }

    async fn try_carry(self: &Arc<Self>, address: &str, life: &mut Life) -> Result<(), Lost> {
        let endpoint =
            endpoint(address, self.road.silence).map_err(|error| Lost::Address(deepest(&error)))?;
        let channel = self.road.dial.connect(&endpoint).await;
        let channel = channel.map_err(Lost::Connect)?;
        let mut client = tonic::client::Grpc::new(channel)
            .max_encoding_message_size(MAX_FRAME)
            .max_decoding_message_size(MAX_FRAME);
        client.ready().await.map_err(Lost::Connect)?;
        let stream = self.state.lock().outbox.open_stream();
        let outlet = Outlet {
            lane: self.clone(),
            stream,
            was_idle: false,
            open: Some(Open {
                cluster_id: self.road.identity.cluster_id.clone(),
                source: (self.road.identity.incarnation)(),
                destination: self.destination,
                lane: self.number,
            }),
        };
        let clock = self.road.clock.clone();
        let path = http_path();
        let asked = client.streaming(tonic::Request::new(outlet), path, FrameCodec { clock });
        let answered = tokio::time::timeout(self.road.silence * 2, asked).await;
        let mut replies = answered.map_err(|_| Lost::Unanswered)??.into_inner();
        life.opened_at = Some(Instant::now());
        let address = address.to_owned();
        tracing::info!(
            destination = self.destination,
            lane = self.number,
            address,
            "stream open"
        );
        self.handle_accepted(stream);
        while let Some(reply) = replies.message().await? {
            self.handle_reply(stream, reply)?;
            life.is_answered = true;
        }
        Ok(())
    }

    fn handle_accepted(&self, stream: StreamId) {
        let mut state = self.state.lock();
        state.outbox.handle_accepted(stream);
        let outlet = state.outlet.take();
        drop(state);
        if let Some(outlet) = outlet {
            outlet.wake();
        }
    }

    fn handle_reply(&self, stream: StreamId, reply: ForwardReply) -> Result<(), Violation> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let before = state.outbox.n_unsettled();
        state
            .outbox
            .handle_reply(stream, reply, &mut state.settled)?;
        self.count_settled(before - state.outbox.n_unsettled());
        let outlet = if state.outbox.has_waiting() {
            state.outlet.take() // there is credit again
        } else {
            None
        };
        self.settle(&mut guard);
        drop(guard);
        if let Some(outlet) = outlet {
            outlet.wake();
        }
        Ok(())
    }

    fn end_stream(&self) {
        let mut state = self.state.lock();
        state.outbox.end_stream();
        let outlet = state.outlet.take();
        drop(state);
        if let Some(outlet) = outlet {
            outlet.wake();
        }
    }

    /// Settles what there is, with the lock let go for each round. Called after every change, so
    /// that who waits for the lane to be done is told, too.
    fn settle(&self, state: &mut MutexGuard<'_, State<R>>) {
        if state.is_settling {
            return;
        }
        while !state.settled.is_empty() {
            state.is_settling = true;
            let settled = std::mem::take(&mut state.settled);
            MutexGuard::unlocked(state, || {
                settled.into_iter().for_each(|it| self.settle_one(it))
            });
        }
        state.is_settling = false;
        if state.outbox.is_empty() {
            self.road.emptied.notify_waiters();
        }
    }

    /// A panic in one receipt must not keep the others from being settled.
    fn settle_one(&self, (receipt, verdict): (R, Verdict)) {
        if catch_unwind(AssertUnwindSafe(|| receipt.settle(verdict))).is_err() {
            (self.road.on_panic)("receipt");
        }
    }

    fn count_settled(&self, n: usize) {
        self.road.metrics.unsettled.dec_by(n as i64);
    }

    fn log(&self, address: &str, lost: &Lost, is_known: bool) {
        let (destination, lane) = (self.destination, self.number);
        match lost {
            Lost::Readdressed => tracing::info!(destination, lane, "address changed"),
            _ if is_known => {
                tracing::debug!(destination, lane, address, why = %lost, "no connection to a node");
            }
            // It stops in order.
            Lost::Ended => tracing::info!(destination, lane, address, "connection to a node ended"),
            _ => {
                tracing::warn!(destination, lane, address, why = %lost, "connection to a node lost");
            }
        }
    }
}

// === impl State ===

impl<R> State<R> {
    fn is_quiet(&self) -> bool {
        self.settled.is_empty() && !self.is_settling
    }
}

// === impl Outlet ===

impl<R: Receipt> Stream for Outlet<R> {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Frame>> {
        if let Some(open) = self.open.take() {
            return Poll::Ready(Some(Frame::Open(open)));
        }
        let Self {
            lane,
            stream,
            was_idle,
            ..
        } = &mut *self;
        let mut guard = lane.state.lock();
        let state = &mut *guard;
        if !state.outbox.is_current(*stream) {
            return Poll::Ready(None);
        }
        if std::mem::take(was_idle) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = state.outbox.n_unsettled();
        let Some(batch) = state.outbox.take_batch(*stream, &mut state.settled) else {
            *was_idle = true;
            match &mut state.outlet {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            return Poll::Pending;
        };
        let n_kept = state.outbox.n_unsettled() - before;
        lane.settle(&mut guard);
        drop(guard);
        lane.road.congestion.release(batch.released);
        let metrics = &lane.road.metrics;
        metrics.unsettled.inc_by(n_kept as i64);
        metrics.batches_sent.inc();
        metrics.messages_sent.inc_by(batch.parcels.len() as u64);
        metrics.bytes_sent.inc_by(batch.bytes as u64);
        metrics.messages_resent.inc_by(batch.n_repeats as u64);
        Poll::Ready(Some(Frame::Batch {
            first: batch.first,
            parcels: batch.parcels,
        }))
    }
}

// === impl Life ===

impl Life {
    /// Whether the destination was well: one that takes a stream and breaks it at once is tried
    /// as seldom as one that is not there.
    fn was_good(&self) -> bool {
        let lasted = |opened: Instant| opened.elapsed() >= GOOD;
        self.is_answered || self.opened_at.is_some_and(lasted)
    }
}

// === impl Lost ===

impl From<Status> for Lost {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::FailedPrecondition => Self::Refused(status.message().to_owned()),
            Code::Unavailable if status.message() == STOPPING => Self::Ended,
            _ => Self::Broken(in_words(&status)),
        }
    }
}

// === private ===

/// A stream that lasted this long was good, though nothing was answered on it.
const GOOD: Duration = Duration::from_secs(2);

fn http_path() -> tonic::codegen::http::uri::PathAndQuery {
    tonic::codegen::http::uri::PathAndQuery::from_static("/gatemq.peer.v1.Peer/Forward")
}

/// What a status says, without how the libraries below name it.
fn in_words(status: &Status) -> String {
    let source = std::error::Error::source(status);
    source.map_or_else(|| status.message().to_owned(), deepest)
}

/// What an error is at its root: tonic's own say "transport error".
pub fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Chance, for waits: not for anything that must not be guessed.
fn chance() -> u32 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_breaks_is_told_of_in_words() {
        let broken = std::io::Error::new(std::io::ErrorKind::BrokenPipe, "broken pipe");
        let lost = Lost::from(Status::from_error(Box::new(broken)));
        assert_eq!(lost.to_string(), "the connection broke: broken pipe");
        let stops = Lost::from(Status::unavailable(STOPPING));
        assert!(matches!(stops, Lost::Ended), "{stops}");
        let lost = Lost::from(Status::unavailable("too busy"));
        assert_eq!(lost.to_string(), "the connection broke: too busy");
    }
}
