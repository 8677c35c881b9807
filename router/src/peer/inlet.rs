//! One stream as its destination has it: messages come through it, and it tells the source what
//! became of them.
//!
//! After `service`, which reads the stream; before [`super::Deliver`]. Settlements come back
//! from any thread in any order; what was settled when the last reply was written goes in one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use gatemq_proto::cluster::peer::{ForwardReply, Message, Open};
use parking_lot::Mutex;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::ledger::{Ledger, Violation};
use super::parcel::Flags;
use super::receipt::Verdict;

/// The destination's end of one stream.
#[derive(Debug)]
pub struct Inlet {
    source: u64,
    destination: u64,
    lane: u32,
    state: Mutex<State>,
    /// Cancelled when the stream should end, whoever says so.
    end: CancellationToken,
}

/// What goes back on the stream.
#[derive(Debug)]
pub struct Replies {
    inlet: Arc<Inlet>,
    /// Whether it had nothing to say when it was last asked.
    was_idle: bool,
}

#[derive(Debug, Default)]
struct State {
    ledger: Ledger,
    replies: Option<Waker>,
    /// How the stream ends, once it does.
    end: Option<Result<(), Status>>,
}

// === impl Inlet ===

impl Inlet {
    pub(super) fn new(open: &Open, tells_early: bool, end: CancellationToken) -> Self {
        let ledger = match tells_early {
            true => Ledger::telling_early(),
            false => Ledger::default(),
        };
        Self {
            source: open.source,
            destination: open.destination,
            lane: open.lane,
            state: Mutex::new(State {
                ledger,
                ..State::default()
            }),
            end,
        }
    }

    /// The incarnation of the node that sends.
    #[must_use]
    pub fn source(&self) -> u64 {
        self.source
    }

    /// The incarnation of this node that it was opened to; the node may have another by now.
    #[must_use]
    pub fn destination(&self) -> u64 {
        self.destination
    }

    /// The source's lane.
    #[must_use]
    pub fn lane(&self) -> u32 {
        self.lane
    }

    /// Says what became of a message of QoS 1 or 2. Once for each; anything else changes nothing.
    /// After the stream is over it does nothing: the source sends the message again.
    pub fn settle(&self, number: u64, verdict: Verdict) {
        let mut state = self.state.lock();
        state.ledger.settle(number, verdict);
        let waker = state.take_waker();
        drop(state);
        wake(waker);
    }

    /// The same for many that were accepted, under one lock.
    pub fn accept_all(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut state = self.state.lock();
        for number in numbers {
            state.ledger.settle(number, Verdict::Accepted);
        }
        let waker = state.take_waker();
        drop(state);
        wake(waker);
    }

    /// How many messages of QoS 1 and 2 have come and are not settled.
    #[must_use]
    pub fn n_open(&self) -> usize {
        self.state.lock().ledger.n_open()
    }

    /// Whether the stream is over, so that nobody hears what is settled.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.end.is_cancelled()
    }

    pub(super) fn enter(&self, first: u64, messages: &[Message]) -> Result<(), Violation> {
        let is_answered = |message: &Message| message.flags & u32::from(Flags::QOS) != 0;
        let mut state = self.state.lock();
        state
            .ledger
            .enter(first, messages.iter().map(is_answered))?;
        let waker = state.take_waker();
        drop(state);
        wake(waker);
        Ok(())
    }

    /// Ends the stream. The first word counts; returns whether this was it.
    pub(super) fn finish(&self, end: Result<(), Status>) -> bool {
        let mut state = self.state.lock();
        let is_first = state.end.is_none();
        state.end.get_or_insert(end);
        let waker = state.replies.take();
        drop(state);
        self.end.cancel();
        wake(waker);
        is_first
    }

    /// Waits until the stream should end.
    pub(super) async fn ended(&self) {
        self.end.cancelled().await;
    }

    /// What goes back.
    pub(super) fn replies(self: &Arc<Self>) -> Replies {
        Replies {
            inlet: self.clone(),
            was_idle: false,
        }
    }
}

// === impl Replies ===

impl Stream for Replies {
    type Item = Result<ForwardReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { inlet, was_idle } = &mut *self;
        let mut state = inlet.state.lock();
        if std::mem::take(was_idle) && state.end.is_none() {
            // After the tasks that are ready to run: they may have more to settle.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(reply) = state.ledger.take_reply() {
            return Poll::Ready(Some(Ok(reply)));
        }
        match &state.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(status)) => {
                let status = status.clone();
                state.end = Some(Ok(()));
                Poll::Ready(Some(Err(status)))
            }
            None => {
                *was_idle = true;
                match &mut state.replies {
                    Some(waker) => waker.clone_from(context.waker()),
                    none => *none = Some(context.waker().clone()),
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Replies {
    /// The connection is gone, or the source has given the stream up.
    fn drop(&mut self) {
        self.inlet.finish(Ok(()));
    }
}

// === impl State ===

impl State {
    /// Who is to be woken because there is news.
    fn take_waker(&mut self) -> Option<Waker> {
        if self.replies.is_some() && self.ledger.has_news() {
            self.replies.take()
        } else {
            None
        }
    }
}

// === private ===

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
