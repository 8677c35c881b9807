//! What is in one queue of the spool, by numbers: what is on disk, what has been taken to be
//! produced, what is confirmed, and whether there is room. Pure.
//!
//! ```text
//!  confirmed, gone │ taken, on its way │ on disk │ being written
//!                 head               taken    committed       next
//! ```
//!
//! Sizes are kept by segments of consecutive numbers, not by records, so that a long queue costs
//! little memory; room comes back a segment at a time.

use std::collections::VecDeque;
use std::ops::Range;

/// What a full queue does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFull {
    /// Whoever brings something waits, and so do publishers.
    #[default]
    Wait,
    /// The oldest that are not on their way to Kafka go, and are counted.
    DropOldest,
}

/// The numbers of one queue.
#[derive(Debug)]
pub(super) struct Ledger {
    head: u64,
    taken: u64,
    committed: u64,
    next: u64,
    /// All below are removed from the disk, or about to be.
    removed: u64,
    segments: VecDeque<Segment>,
    bytes: u64,
    bound: u64,
    on_full: OnFull,
}

/// Consecutive numbers, and what they weigh.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    numbers: Range<u64>,
    bytes: u64,
}

/// Whether a record may come in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Under this number; and these have to go for it.
    Number(u64, Vec<Range<u64>>),
    /// There is no room.
    Full,
}

// === impl Ledger ===

impl Ledger {
    /// An empty queue.
    pub(super) fn new(bound: u64, on_full: OnFull) -> Self {
        Self {
            head: 0,
            taken: 0,
            committed: 0,
            next: 0,
            removed: 0,
            segments: VecDeque::new(),
            bytes: 0,
            bound,
            on_full,
        }
    }

    /// A record that was on the disk at the start; in order.
    pub(super) fn restore(&mut self, number: u64, bytes: u64) {
        if self.segments.is_empty() {
            (self.head, self.taken, self.removed) = (number, number, number);
        }
        self.add(number, bytes);
        self.next = number + 1;
        self.committed = self.next;
    }

    /// Asks for room. One record always finds some in an empty queue, however large it is.
    pub(super) fn admit(&mut self, bytes: u64) -> Admission {
        let mut dropped: Vec<Range<u64>> = Vec::new();
        if !self.has_room(bytes) {
            if self.on_full == OnFull::Wait || !self.could_make_room(bytes) {
                return Admission::Full;
            }
            while !self.has_room(bytes) {
                dropped.extend(self.drop_oldest());
            }
        }
        Admission::Number(self.admit_all_the_same(bytes), dropped)
    }

    /// Takes a record in, whether there is room or not.
    pub(super) fn admit_all_the_same(&mut self, bytes: u64) -> u64 {
        let number = self.next;
        self.next += 1;
        self.add(number, bytes);
        number
    }

    /// All up to this number are on the disk.
    pub(super) fn on_committed(&mut self, number: u64) {
        self.committed = self.committed.max(number + 1);
    }

    /// The numbers that are on the disk and were not taken.
    pub(super) fn to_take(&self) -> Range<u64> {
        self.taken..self.committed
    }

    /// All below this number are taken now.
    pub(super) fn on_taken(&mut self, through: u64) {
        self.taken = self.taken.max(through);
    }

    /// All that were taken and are not confirmed are to be taken again.
    pub(super) fn give_back(&mut self) {
        self.taken = self.head;
    }

    /// All that were taken and are below this number are confirmed. Returns what is to be removed
    /// from the disk, once that is worth a change of it, and whether there is more room.
    pub(super) fn on_confirmed(&mut self, through: u64) -> (Option<Range<u64>>, bool) {
        self.head = self.head.max(through.min(self.taken));
        let mut is_freed = false;
        while let Some(segment) = self.segments.front() {
            if segment.numbers.end > self.head {
                break;
            }
            self.bytes -= segment.bytes;
            self.segments.pop_front();
            is_freed = true;
        }
        let is_drained = self.head == self.next;
        let is_worth_it = is_drained || is_freed || self.head - self.removed >= A_CHANGE;
        let gone = self.removed..self.head;
        if !is_worth_it || gone.is_empty() {
            return (None, is_freed);
        }
        self.removed = self.head;
        (Some(gone), is_freed)
    }

    /// What it may weigh.
    pub(super) fn bound(&self) -> u64 {
        self.bound
    }

    /// What the queue weighs.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether everything is confirmed.
    pub(super) fn is_drained(&self) -> bool {
        self.segments
            .iter()
            .all(|segment| segment.numbers.end <= self.head)
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.bytes == 0 || self.bytes + bytes <= self.bound
    }

    /// Whether there would be room if all that may be dropped were.
    fn could_make_room(&self, bytes: u64) -> bool {
        let droppable = self.segments.iter().filter(|it| self.is_droppable(it));
        let left = self.bytes - droppable.map(|segment| segment.bytes).sum::<u64>();
        left == 0 || left + bytes <= self.bound
    }

    /// Whether a segment is on the disk, and nothing of it on its way.
    fn is_droppable(&self, segment: &Segment) -> bool {
        segment.numbers.start >= self.taken && segment.numbers.end <= self.committed
    }

    /// Gives up the oldest segment that may be dropped, and what is left to take before it.
    fn drop_oldest(&mut self) -> impl Iterator<Item = Range<u64>> + use<> {
        let index = self.segments.iter().position(|it| self.is_droppable(it));
        let segment = index.and_then(|index| self.segments.remove(index));
        let segment = segment.unwrap_or(Segment {
            numbers: self.taken..self.taken,
            bytes: 0,
        });
        self.bytes -= segment.bytes;
        // Between the two there may be some that have been dropped before.
        let last = index.and_then(|index| self.segments.get(index.checked_sub(1)?));
        let before = self.taken..last.map_or(0, |last| last.numbers.end);
        if self.head == self.taken {
            self.head = segment.numbers.end;
        }
        self.taken = segment.numbers.end;
        let dropped = [before, segment.numbers];
        dropped.into_iter().filter(|numbers| !numbers.is_empty())
    }

    fn add(&mut self, number: u64, bytes: u64) {
        self.bytes += bytes;
        let most = (self.bound / PARTS).min(A_SEGMENT);
        match self.segments.back_mut() {
            // One that is being taken is not made longer: it could not be dropped.
            Some(segment)
                if segment.bytes + bytes <= most
                    && segment.numbers.end == number
                    && segment.numbers.start >= self.taken =>
            {
                segment.bytes += bytes;
                segment.numbers.end = number + 1;
            }
            _ => self.segments.push_back(Segment {
                numbers: number..number + 1,
                bytes,
            }),
        }
    }
}

// === private ===

/// The most bytes of a segment.
const A_SEGMENT: u64 = 1 << 20;
/// At least so many segments are in a full queue.
const PARTS: u64 = 16;
/// So many confirmed records are removed from the disk together.
const A_CHANGE: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(ledger: &mut Ledger, bytes: u64) -> u64 {
        match ledger.admit(bytes) {
            Admission::Number(number, dropped) if dropped.is_empty() => number,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_full_queue_waits_until_something_is_confirmed() {
        let mut ledger = Ledger::new(100, OnFull::Wait);
        for expected in 0..10 {
            assert_eq!(number(&mut ledger, 10), expected);
        }
        assert_eq!(ledger.admit(10), Admission::Full);
        ledger.on_committed(9);
        ledger.on_taken(3);
        assert_eq!(ledger.admit(10), Admission::Full);
        let (removed, is_freed) = ledger.on_confirmed(3);
        assert_eq!((removed, is_freed), (Some(0..3), true));
        assert_eq!(number(&mut ledger, 10), 10);
    }

    #[test]
    fn a_full_queue_drops_the_oldest_that_is_not_on_its_way() {
        let mut ledger = Ledger::new(100, OnFull::DropOldest);
        for _ in 0..10 {
            number(&mut ledger, 10);
        }
        assert_eq!(
            ledger.admit(10),
            Admission::Full,
            "nothing is on the disk yet"
        );
        ledger.on_committed(9);
        ledger.on_taken(2);
        assert_eq!(ledger.admit(15), Admission::Number(10, vec![2..3, 3..4]));
        assert_eq!(ledger.to_take(), 4..10);
        assert_eq!(ledger.on_confirmed(2).0, Some(0..2));
    }

    #[test]
    fn a_record_that_is_larger_than_the_bound_goes_in_alone() {
        let mut ledger = Ledger::new(100, OnFull::Wait);
        assert_eq!(number(&mut ledger, 1000), 0);
        assert_eq!(ledger.admit(1), Admission::Full);
        ledger.on_committed(0);
        ledger.on_taken(1);
        ledger.on_confirmed(1);
        assert!(ledger.is_drained());
        assert_eq!(ledger.bytes(), 0);
    }

    #[test]
    fn what_was_on_the_disk_is_taken_first() {
        let mut ledger = Ledger::new(100, OnFull::Wait);
        ledger.restore(7, 10);
        ledger.restore(9, 10);
        assert_eq!(ledger.to_take(), 7..10);
        assert_eq!(number(&mut ledger, 10), 10);
        assert_eq!(ledger.to_take(), 7..10);
        ledger.on_committed(10);
        assert_eq!(ledger.to_take(), 7..11);
    }

    proptest! {
        /// Whatever happens: the bound holds, each number is confirmed or dropped or still there,
        /// and never two of these.
        #[test]
        fn nothing_is_lost_or_counted_twice(
            steps in proptest::collection::vec((0..9_u8, 1..30_u64), 0..300),
            drops in any::<bool>(),
        ) {
            let on_full = if drops { OnFull::DropOldest } else { OnFull::Wait };
            let mut ledger = Ledger::new(200, on_full);
            let mut gone = std::collections::BTreeSet::new();
            let mut next = 0;
            let (mut taken_through, mut confirmed) = (0, 0);
            for (kind, amount) in steps {
                match kind {
                    0 | 6 => {
                        if let Admission::Number(number, dropped) = ledger.admit(amount) {
                            prop_assert_eq!(number, next);
                            next += 1;
                            for number in dropped.into_iter().flatten() {
                                prop_assert!(number >= taken_through, "it was on its way");
                                prop_assert!(gone.insert(number));
                            }
                        }
                    }
                    1 | 2 if next > 0 => ledger.on_committed(next - 1),
                    3 => {
                        ledger.give_back();
                        taken_through = confirmed;
                    }
                    4 | 5 => {
                        let range = ledger.to_take();
                        let through = range.end.min(range.start + amount);
                        ledger.on_taken(through);
                        taken_through = taken_through.max(through);
                    }
                    _ => {
                        let through = (confirmed + amount).min(taken_through);
                        confirmed = confirmed.max(through);
                        ledger.on_confirmed(through);
                    }
                }
                prop_assert!(ledger.bytes() <= 200);
            }
            if next > 0 {
                ledger.on_committed(next - 1);
            }
            ledger.on_taken(next);
            ledger.on_confirmed(next);
            prop_assert_eq!(ledger.bytes(), 0);
            prop_assert!(ledger.is_drained());
        }
    }
}
