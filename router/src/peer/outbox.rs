//! What one lane has to send, and what it waits for. Pure: no I/O, no clock, no waking.
//!
//! ```text
//!              cursor                        numbers of the stream grow to the left
//!                │
//!  ┌── kept ─────┴──────────────────┬── waiting ─────────────┐
//!  │ sent in     │ sent in a stream │ never sent             │ <── push
//!  │ this stream │ that broke       │                        │
//!  └─────────────┴──────────────────┴────────────────────────┘
//!    │ answered                                │ QoS 0: gone when sent
//!    v
//!  settled, in order but for those that are told of early
//! ```
//!
//! A stream numbers what it carries from 1, so a broken stream's numbers mean nothing to the next
//! one, and an answer that comes for an earlier stream is dropped. When a stream opens, the cursor
//! goes back to the front: all that is kept is sent again, marked, before anything that waits.
//! A message leaves `kept` at the front, when the answers of this stream reach it or when it
//! was refused; a refusal is final, so a refused one behind the front is not sent again. One that
//! the destination has accepted before others, or has refused so that nothing more is done for it, is
//! settled at once, and leaves some time later. What has moved waits for its turn, in which it is
//! routed again; but not where the destination answers in any order anyway.
//!
//! It ends: every open stream either answers the front or breaks, and `close` settles the rest.

use std::collections::VecDeque;

use super::parcel::Parcel;
use super::receipt::Verdict;
use gatemq_proto::cluster::peer::{ForwardReply, Refusal};

/// Bounds of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Messages of QoS 1 and 2 that may be unanswered.
    pub(super) credit_messages: usize,
    /// And what they weigh; one larger message may be alone.
    pub(super) credit_bytes: usize,
    /// Messages of one batch.
    pub(super) batch_messages: usize,
    /// And their bytes on the wire; one larger message may be alone.
    pub(super) batch_bytes: usize,
    /// What may wait, by weight, while there is no stream, before QoS 0 is dropped.
    pub(super) idle_bytes: usize,
}

/// Names a stream of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamId(u64);

/// The messages of one lane, each with the receipt of whoever wants to know.
#[derive(Debug)]
pub(super) struct Outbox<R> {
    limits: Limits,
    kept: VecDeque<Kept<R>>,
    /// Of those that are not settled.
    kept_bytes: usize,
    /// How many of them are settled.
    n_early: usize,
    /// Whether the destination has ever accepted one before others.
    is_any_order: bool,
    /// How many at the front of `kept` are in the current stream.
    cursor: usize,
    waiting: VecDeque<(Parcel, Option<R>)>,
    waiting_bytes: usize,
    stream: StreamId,
    phase: Phase,
    next_number: u64,
}

/// Messages with consecutive numbers, to be sent.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) first: u64,
    pub(super) parcels: Vec<Parcel>,
    /// What the parcels are on the wire.
    pub(super) bytes: usize,
    /// The weight that does not wait any more.
    pub(super) released: usize,
    /// How many of them were sent before.
    pub(super) n_repeats: usize,
}

/// What became of a message that was pushed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Push<R> {
    /// It waits.
    Taken,
    /// Of QoS 0, and there is no room for it or no stream; what a receipt is told is Moved.
    Dropped(Option<R>),
    /// The lane is closed, the destination gone.
    Closed(Option<R>),
}

/// What a destination may not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// A number that the stream has not had.
    #[error("answer for message {number} where {sent} were sent")]
    Ahead { number: u64, sent: u64 },
}

/// Receipts that are settled, with what to tell them, in order.
pub(super) type Settled<R> = VecDeque<(R, Verdict)>;

#[derive(Debug)]
struct Kept<R> {
    parcel: Parcel,
    receipt: Option<R>,
    /// In the current stream, if it is in it.
    number: u64,
    refusal: Option<Verdict>,
    /// It was done before one in front of it, and is settled.
    is_early: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No stream.
    Idle,
    /// Asked for, not accepted.
    Opening,
    Open,
    /// The destination is gone for good.
    Closed,
}

// === impl Outbox ===

impl<R> Outbox<R> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            kept: VecDeque::new(),
            kept_bytes: 0,
            n_early: 0,
            is_any_order: false,
            cursor: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            stream: StreamId(0),
            phase: Phase::Idle,
            next_number: 1,
        }
    }

    /// Takes a message. `is_full` says that there is no room for QoS 0 in the lanes together.
    pub(super) fn push(&mut self, parcel: Parcel, receipt: Option<R>, is_full: bool) -> Push<R> {
        if self.phase == Phase::Closed {
            return Push::Closed(receipt);
        }
        let is_long = self.phase != Phase::Open && self.waiting_bytes > self.limits.idle_bytes;
        if !parcel.is_kept() && (is_full || is_long) {
            return Push::Dropped(receipt);
        }
        self.waiting_bytes += parcel.weight();
        self.waiting.push_back((parcel, receipt));
        Push::Taken
    }

    /// Begins a stream; every earlier one is over.
    pub(super) fn open_stream(&mut self) -> StreamId {
        self.stream = StreamId(self.stream.0 + 1);
        if self.phase != Phase::Closed {
            self.phase = Phase::Opening;
        }
        self.cursor = 0;
        self.next_number = 1;
        for kept in &mut self.kept {
            kept.parcel.mark_as_repeat();
        }
        self.stream
    }

    /// The destination has accepted the stream.
    pub(super) fn handle_accepted(&mut self, stream: StreamId) {
        if stream == self.stream && self.phase == Phase::Opening {
            self.phase = Phase::Open;
        }
    }

    /// The stream is broken, or there should be none.
    pub(super) fn end_stream(&mut self) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Idle;
        }
    }

    /// Whether a stream is still the one of the lane.
    pub(super) fn is_current(&self, stream: StreamId) -> bool {
        stream == self.stream && matches!(self.phase, Phase::Opening | Phase::Open)
    }

    /// The next batch for a stream, if there is anything that it may send now. What waits of QoS 0
    /// with a receipt is settled as it goes, because nobody answers it.
    pub(super) fn take_batch(
        &mut self,
        stream: StreamId,
        settled: &mut Settled<R>,
    ) -> Option<Batch> {
        if stream != self.stream || self.phase != Phase::Open {
            return None;
        }
        let n_left = self.kept.len() - self.cursor + self.waiting.len();
        let mut batch = Batch {
            first: self.next_number,
            parcels: Vec::with_capacity(n_left.min(self.limits.batch_messages)),
            bytes: 0,
            released: 0,
            n_repeats: 0,
        };
        self.resend_into(&mut batch);
        if self.cursor == self.kept.len() {
            self.send_into(&mut batch, settled);
        }
        if self.waiting.is_empty() && self.waiting.capacity() > ROOM_FOR_BURSTS {
            self.waiting = VecDeque::new();
        }
        (!batch.parcels.is_empty()).then_some(batch)
    }

    /// An answer of a stream: all up to its `through` are done, and those that it names early or
    /// refuses for good; some have moved.
    ///
    /// # Errors
    ///
    /// If it is about messages that the stream has not had; nothing is settled then.
    pub(super) fn handle_reply(
        &mut self,
        stream: StreamId,
        reply: ForwardReply,
        settled: &mut Settled<R>,
    ) -> Result<(), Violation> {
        let ForwardReply {
            through,
            refusals,
            early,
        } = reply;
        if stream != self.stream || self.phase != Phase::Open {
            return Ok(());
        }
        let sent = self.next_number - 1;
        let refused = refusals.iter().map(|refusal| refusal.number);
        let highest = refused.chain(early.iter().copied()).fold(through, u64::max);
        if highest > sent {
            let number = highest;
            return Err(Violation::Ahead { number, sent });
        }
        let numbers: Vec<u64> = refusals.iter().map(|refusal| refusal.number).collect();
        for refusal in refusals {
            self.refuse(refusal);
        }
        while let Some(front) = self.kept.front() {
            let is_answered = self.cursor > 0 && front.number <= through;
            if !is_answered && !front.is_over() {
                break;
            }
            let verdict = if front.refusal.is_some() {
                None
            } else {
                Some(Verdict::Accepted)
            };
            self.settle_front(verdict, settled);
        }
        if !early.is_empty() && !std::mem::replace(&mut self.is_any_order, true) {
            (0..self.kept.len()).for_each(|at| self.settle_refused(at, settled));
        }
        for number in numbers {
            if let Some(at) = self.find(number) {
                self.settle_refused(at, settled);
            }
        }
        for number in early {
            if let Some(at) = self.find_open(number) {
                self.settle_early(at, Verdict::Accepted, settled);
            }
        }
        self.drop_early();
        Ok(())
    }

    /// The destination is gone for good: all that is unanswered has moved. Returns the weight
    /// that waited and the messages of QoS 0 that were dropped.
    pub(super) fn close(&mut self, settled: &mut Settled<R>) -> (usize, u64) {
        self.phase = Phase::Closed;
        while !self.kept.is_empty() {
            self.settle_front(None, settled);
        }
        let mut n_dropped = 0;
        for (parcel, receipt) in std::mem::take(&mut self.waiting) {
            n_dropped += u64::from(!parcel.is_kept());
            settled.extend(receipt.map(|receipt| (receipt, Verdict::Moved)));
        }
        (std::mem::take(&mut self.waiting_bytes), n_dropped)
    }

    /// How many messages of QoS 1 and 2 were sent and are unanswered.
    pub(super) fn n_unsettled(&self) -> usize {
        self.kept.len() - self.n_early
    }

    /// Whether there is something that was never sent.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether nothing waits and nothing is unanswered.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.waiting.is_empty()
    }

    /// Puts what was sent in a stream that broke into a batch.
    fn resend_into(&mut self, batch: &mut Batch) {
        while let Some(kept) = self.kept.get_mut(self.cursor) {
            if kept.is_over() {
                // It has the number of the one before it, which keeps the numbers sorted and is
                // found first by who looks that number up.
                kept.number = self.next_number - 1;
                self.cursor += 1;
                continue;
            }
            if !self
                .limits
                .has_room(batch.parcels.len(), batch.bytes, kept.parcel.len())
            {
                return;
            }
            kept.number = self.next_number;
            self.next_number += 1;
            self.cursor += 1;
            batch.bytes += kept.parcel.len();
            batch.n_repeats += 1;
            batch.parcels.push(kept.parcel.clone());
        }
    }

    /// Puts what waits into a batch.
    fn send_into(&mut self, batch: &mut Batch, settled: &mut Settled<R>) {
        while let Some((parcel, _)) = self.waiting.front() {
            let len = parcel.len();
            let weight = parcel.weight();
            let has_credit = !parcel.is_kept() || self.has_credit(weight);
            if !has_credit || !self.limits.has_room(batch.parcels.len(), batch.bytes, len) {
                return;
            }
            let (parcel, receipt) = self.waiting.pop_front().expect("there is a front");
            let number = self.next_number;
            self.next_number += 1;
            self.waiting_bytes -= weight;
            batch.released += weight;
            batch.bytes += len;
            if parcel.is_kept() {
                batch.parcels.push(parcel.clone());
                self.kept_bytes += weight;
                self.kept.push_back(Kept {
                    parcel,
                    receipt,
                    number,
                    refusal: None,
                    is_early: false,
                });
                self.cursor += 1;
            } else {
                batch.parcels.push(parcel);
                settled.extend(receipt.map(|receipt| (receipt, Verdict::Accepted)));
            }
        }
    }

    fn has_credit(&self, weight: usize) -> bool {
        let n_unsettled = self.n_unsettled();
        let has_bytes = n_unsettled == 0 || self.kept_bytes + weight <= self.limits.credit_bytes;
        n_unsettled < self.limits.credit_messages && has_bytes
    }

    /// Notes a refusal; of a message that is settled, or of QoS 0, it changes nothing.
    fn refuse(&mut self, refusal: Refusal) {
        if let Some(at) = self.find_open(refusal.number) {
            self.kept[at].refusal = Some(Verdict::of(refusal));
        }
    }

    /// Settles a message that was refused although one in front of it is open, if it need not wait
    /// for that.
    fn settle_refused(&mut self, at: usize, settled: &mut Settled<R>) {
        let is_any_order = self.is_any_order;
        let is_due = |verdict: &mut Verdict| is_any_order || verdict.is_for_good();
        if let Some(verdict) = self.kept[at].refusal.take_if(is_due) {
            self.settle_early(at, verdict, settled);
        }
    }

    /// Settles a message before one in front of it.
    fn settle_early(&mut self, at: usize, verdict: Verdict, settled: &mut Settled<R>) {
        let kept = &mut self.kept[at];
        kept.is_early = true;
        let (weight, receipt) = (kept.parcel.weight(), kept.receipt.take());
        self.kept_bytes -= weight;
        self.n_early += 1;
        settled.extend(receipt.map(|receipt| (receipt, verdict)));
    }

    /// Drops what was settled early once that is the greater part.
    fn drop_early(&mut self) {
        if self.n_early <= FEW_EARLY.max(self.kept.len() / 2) {
            return;
        }
        let (cursor, mut place) = (self.cursor, 0);
        self.kept.retain(|kept| {
            let is_sent = place < cursor;
            place += 1;
            self.cursor -= usize::from(is_sent && kept.is_early);
            !kept.is_early
        });
        self.n_early = 0;
    }

    /// Where the message with a number in this stream is, if nothing is known of it.
    fn find_open(&self, number: u64) -> Option<usize> {
        self.find(number).filter(|at| !self.kept[*at].is_over())
    }

    fn find(&self, number: u64) -> Option<usize> {
        // Only the part before the cursor is sorted.
        let (mut index, mut end) = (0, self.cursor);
        while index < end {
            let middle = index + (end - index) / 2;
            if self.kept[middle].number < number {
                index = middle + 1;
            } else {
                end = middle;
            }
        }
        let kept = self.kept.get(index).filter(|_| index < self.cursor)?;
        (kept.number == number).then_some(index)
    }

    /// Settles the front: as it was refused, else with a verdict, else as moved.
    fn settle_front(&mut self, verdict: Option<Verdict>, settled: &mut Settled<R>) {
        let Some(kept) = self.kept.pop_front() else {
            return;
        };
        self.cursor = self.cursor.saturating_sub(1);
        if kept.is_early {
            self.n_early -= 1;
            return;
        }
        self.kept_bytes -= kept.parcel.weight();
        let verdict = kept.refusal.or(verdict).unwrap_or(Verdict::Moved);
        settled.extend(kept.receipt.map(|receipt| (receipt, verdict)));
    }
}

/// How many messages that were settled early may stay before it is looked whether they are too
/// many.
const FEW_EARLY: usize = 16;
/// A queue that has grown beyond this many places is given back once it is empty.
const ROOM_FOR_BURSTS: usize = 8192;

// === impl Kept ===

impl<R> Kept<R> {
    /// Whether what became of it is known.
    fn is_over(&self) -> bool {
        self.refusal.is_some() || self.is_early
    }
}

// === impl Limits ===

impl Limits {
    fn has_room(&self, n_messages: usize, bytes: usize, len: usize) -> bool {
        n_messages == 0 || (n_messages < self.batch_messages && bytes + len <= self.batch_bytes)
    }
}

#[cfg(test)]
mod tests;
