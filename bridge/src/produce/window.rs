//! What one rule has on its way to Kafka, in order: what was handed to the client, what is to be, and
//! what Kafka has said. Pure.
//!
//! Numbers grow by one and are never used twice, so an answer is for one record, however often that
//! was sent. When a record was not taken, or the client is a new one, everything that is not
//! confirmed is sent again, in order: Kafka may then have a record twice, never two of them the wrong
//! way round for good. So what is confirmed behind a record of its topic that failed is sent again,
//! too: the last time they come they come in order.
//!
//! What is confirmed before an earlier record of its topic is said to have failed is done, and not sent
//! again. Within a partition that does not happen. With all acks it takes nothing behind a gap, so what
//! it has confirmed it has behind all that was sent before, and librdkafka says so of those, too, if
//! their own answer was lost; with fewer acks one request at a time is under way. So it is of two
//! partitions, and of two keys, or of records without one, which are in no order: but for a key that
//! goes to another partition since its topic has got more of them just then.

use std::collections::{HashMap, VecDeque};

/// Records on their way.
#[derive(Debug)]
pub(super) struct Window<R> {
    slots: VecDeque<Slot<R>>,
    /// The number of the first slot.
    first: u64,
    /// The next to be sent; those before it were sent, or are done.
    cursor: u64,
    /// How many were sent since the last rewind and are not answered.
    n_open: usize,
    /// Whether one of them is to be sent again.
    has_stumbled: bool,
    /// The topic of a record: those of two need no order.
    topic: fn(&R) -> &str,
    /// The first of each topic that failed since the last rewind.
    failed: Failed,
    /// The same of before: an earlier client may still say what became of those behind them.
    failed_before: Failed,
}

/// Numbers by topic.
type Failed = HashMap<Box<str>, u64>;

#[derive(Debug)]
struct Slot<R> {
    record: R,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Sent,
    Done,
}

/// What Kafka, or its client, made of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has it.
    Confirmed,
    /// It will never take it.
    Refused,
    /// It does not have it now.
    Failed,
    /// The batch that it was in is too large: it may be good by itself.
    TooLarge,
    /// Something in the batch that it was in is not as the topic wants it: it may be good by itself.
    Unfit,
    /// The same, and it is a time that is too far from now.
    Untimely,
    /// There is no such topic, or it may not be written.
    NoTopic,
}

// === impl Window ===

impl<R> Window<R> {
    /// An empty one; the first record gets this number. Those of one topic stay in order.
    pub(super) fn new(first: u64, topic: fn(&R) -> &str) -> Self {
        Self {
            slots: VecDeque::new(),
            first,
            cursor: first,
            n_open: 0,
            has_stumbled: false,
            topic,
            failed: Failed::new(),
            failed_before: Failed::new(),
        }
    }

    /// Adds a record after the others.
    pub(super) fn push(&mut self, record: R) {
        self.slots.push_back(Slot {
            record,
            state: State::Waiting,
        });
    }

    /// The next to be sent, with its number. None while there is something to wait for after a
    /// failure.
    pub(super) fn next(&mut self) -> Option<(u64, &R)> {
        if self.has_stumbled {
            return None;
        }
        while self.state(self.cursor) == Some(State::Done) {
            self.cursor += 1;
        }
        let slot = self.slots.get(self.index(self.cursor)?)?;
        Some((self.cursor, &slot.record))
    }

    /// That one was handed to the client.
    pub(super) fn on_sent(&mut self) {
        let slot = self
            .index(self.cursor)
            .and_then(|index| self.slots.get_mut(index));
        if let Some(slot) = slot {
            slot.state = State::Sent;
            self.cursor += 1;
            self.n_open += 1;
        }
    }

    /// What became of one that was sent; `is_current` unless it is an earlier client that says so,
    /// which counts only if it is good for ever. Returns the record if that is news of its end.
    pub(super) fn on_answer(
        &mut self,
        number: u64,
        answer: Answer,
        is_current: bool,
    ) -> Option<&R> {
        if is_current {
            self.n_open = self.n_open.saturating_sub(1);
        }
        let index = self.index(number)?;
        let slot = self.slots.get_mut(index)?;
        if slot.state == State::Done {
            return None;
        }
        let topic = (self.topic)(&slot.record);
        let failed = match is_current {
            true => &mut self.failed,
            false => &mut self.failed_before,
        };
        let first_failed = failed.get(topic).copied();
        match answer {
            Answer::Refused => {}
            // It comes again behind that one.
            Answer::Confirmed if first_failed.is_some_and(|first| first < number) => return None,
            Answer::Confirmed => {}
            _ => {
                if first_failed.is_none_or(|first| number < first) {
                    failed.insert(topic.into(), number);
                }
                self.has_stumbled |= is_current;
                return None;
            }
        }
        slot.state = State::Done;
        Some(&slot.record)
    }

    /// The next one is refused by the client itself. Returns it.
    pub(super) fn refuse_next(&mut self) -> Option<&R> {
        let index = self.index(self.cursor)?;
        let slot = self.slots.get_mut(index)?;
        slot.state = State::Done;
        self.cursor += 1;
        Some(&slot.record)
    }

    /// How many were sent and are not answered.
    pub(super) fn n_open(&self) -> usize {
        self.n_open
    }

    /// Whether something failed since the last rewind.
    pub(super) fn has_stumbled(&self) -> bool {
        self.has_stumbled
    }

    /// Whether something failed and all that was sent is answered: time to rewind.
    pub(super) fn is_ready_to_rewind(&self) -> bool {
        self.has_stumbled && self.n_open == 0
    }

    /// Everything that is not done will be sent again, from the first on; nothing that was sent
    /// before will be answered, but by a client that is replaced now.
    pub(super) fn rewind(&mut self) {
        self.cursor = self.first;
        self.n_open = 0;
        self.has_stumbled = false;
        self.failed_before = std::mem::take(&mut self.failed);
        for slot in &mut self.slots {
            if slot.state == State::Sent {
                slot.state = State::Waiting;
            }
        }
    }

    /// Takes out the records at the front that are done.
    pub(super) fn take_done(&mut self) -> Option<R> {
        if self.slots.front()?.state != State::Done {
            return None;
        }
        self.first += 1;
        self.cursor = self.cursor.max(self.first);
        self.slots.pop_front().map(|slot| slot.record)
    }

    /// A record that is in it.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut R> {
        let index = self.index(number)?;
        Some(&mut self.slots.get_mut(index)?.record)
    }

    /// How many records are in it.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The records that are not done.
    pub(super) fn into_open(self) -> impl Iterator<Item = R> {
        let slots = self.slots.into_iter();
        let open = slots.filter(|slot| slot.state != State::Done);
        open.map(|slot| slot.record)
    }

    fn state(&self, number: u64) -> Option<State> {
        Some(self.slots.get(self.index(number)?)?.state)
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(records: &[char]) -> Window<char> {
        let mut window = Window::new(5, |_| "t");
        records.iter().for_each(|&record| window.push(record));
        window
    }

    fn send_all(window: &mut Window<char>) -> String {
        let mut sent = String::new();
        while let Some((_, record)) = window.next() {
            sent.push(*record);
            window.on_sent();
        }
        sent
    }

    fn take_all(window: &mut Window<char>) -> String {
        std::iter::from_fn(|| window.take_done()).collect()
    }

    #[test]
    fn what_is_confirmed_leaves_in_order() {
        let mut window = window(&['a', 'b', 'c']);
        assert_eq!(send_all(&mut window), "abc");
        assert_eq!(window.on_answer(6, Answer::Confirmed, true), Some(&'b'));
        assert_eq!(take_all(&mut window), "");
        assert_eq!(window.on_answer(5, Answer::Confirmed, true), Some(&'a'));
        assert_eq!(take_all(&mut window), "ab");
        assert_eq!(window.on_answer(5, Answer::Confirmed, true), None);
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn after_a_failure_nothing_is_sent_until_all_are_answered() {
        let mut window = window(&['a', 'b', 'c']);
        send_all(&mut window);
        window.push('d');
        window.on_answer(5, Answer::Failed, true);
        assert_eq!(send_all(&mut window), "");
        assert!(!window.is_ready_to_rewind());
        window.on_answer(6, Answer::Refused, true);
        window.on_answer(7, Answer::Failed, true);
        assert!(window.is_ready_to_rewind());
        window.rewind();
        assert_eq!(send_all(&mut window), "acd");
    }

    #[test]
    fn what_is_confirmed_behind_one_of_its_topic_that_failed_is_sent_again_behind_it() {
        let topic = |record: &char| if *record < 'x' { "a" } else { "x" };
        for is_current in [true, false] {
            let mut window = Window::new(5, topic);
            "abxc".chars().for_each(|record| window.push(record));
            send_all(&mut window);
            let first = window.on_answer(5, Answer::Confirmed, true);
            assert_eq!(first, Some(&'a'), "before any failed");
            window.on_answer(6, Answer::Failed, true);
            if !is_current {
                window.rewind(); // for another client
            }
            let other = window.on_answer(7, Answer::Confirmed, is_current);
            assert_eq!(other, Some(&'x'), "of another topic");
            assert_eq!(window.on_answer(8, Answer::Confirmed, is_current), None);
            if is_current {
                assert!(window.is_ready_to_rewind());
                window.rewind();
            }
            assert_eq!(send_all(&mut window), "bc");
            for (number, record) in [(6, 'b'), (8, 'c')] {
                let answer = window.on_answer(number, Answer::Confirmed, true);
                assert_eq!(answer, Some(&record));
            }
            assert_eq!(take_all(&mut window), "abxc");
        }
    }

    #[test]
    fn what_an_earlier_client_says_counts_only_if_it_is_final() {
        let mut window = window(&['a', 'b']);
        send_all(&mut window);
        window.rewind();
        assert_eq!(window.on_answer(6, Answer::Confirmed, false), Some(&'b'));
        assert_eq!(window.on_answer(5, Answer::Failed, false), None);
        assert_eq!(send_all(&mut window), "a");
        assert!(!window.is_ready_to_rewind());
    }

    #[test]
    fn what_is_refused_leaves_without_being_sent() {
        let mut window = window(&['a', 'b']);
        assert_eq!(window.refuse_next(), Some(&'a'));
        assert_eq!(send_all(&mut window), "b");
        assert_eq!(take_all(&mut window), "a");
        assert_eq!(window.into_open().collect::<String>(), "b");
    }

    proptest! {
        /// A Kafka that takes what it likes, and a client that is replaced at any time: in the end it
        /// has everything, and the last time that each record came they came in order.
        #[test]
        fn everything_arrives_in_order(
            steps in proptest::collection::vec((0..4_u8, any::<prop::sample::Index>()), 0..200),
        ) {
            let mut window = Window::new(0, |_| "t");
            let mut pushed = 0_u64;
            let mut sent: Vec<u64> = Vec::new();
            let mut kafka: Vec<u64> = Vec::new();
            let mut taken: Vec<u64> = Vec::new();
            let mut step = |window: &mut Window<u64>, kind: u8, pick: usize| {
                match kind {
                    0 => {
                        window.push(pushed);
                        pushed += 1;
                    }
                    1 => {
                        if let Some((number, &record)) = window.next() {
                            assert_eq!(number, record);
                            sent.push(number);
                            window.on_sent();
                        }
                    }
                    // Kafka answers in the order in which it got them.
                    2 if !sent.is_empty() => {
                        let number = sent.remove(0);
                        kafka.push(number);
                        window.on_answer(number, Answer::Confirmed, true);
                    }
                    3 if !sent.is_empty() => {
                        // Fatal: what was sent is purged, from some place on.
                        for number in sent.drain(..).skip(pick % 3) {
                            window.on_answer(number, Answer::Failed, true);
                        }
                        window.rewind();
                    }
                    _ => {}
                }
                if window.is_ready_to_rewind() {
                    window.rewind();
                }
                while let Some(record) = window.take_done() {
                    taken.push(record);
                }
            };
            for (kind, index) in &steps {
                step(&mut window, *kind, index.index(7));
            }
            for _ in 0..500 {
                step(&mut window, 1, 0);
                step(&mut window, 2, 0);
            }
            let n_pushed = steps.iter().filter(|(kind, _)| *kind == 0).count() as u64;
            prop_assert_eq!(taken, (0..n_pushed).collect::<Vec<_>>());
            prop_assert!(kafka.is_sorted_by(|a, b| a < b), "{:?}", kafka);
        }
    }
}
