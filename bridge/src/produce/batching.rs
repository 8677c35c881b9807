//! Whether records go in batches, or one by one for a while since Kafka has not taken a batch: one
//! of its records may be why, or only all of them together are more than their topic takes. Pure.
//!
//! Which it is, is known when a record is refused that was alone: only then it is that record.
//!
//! The while ends by time, however much there is to send: nothing more is handed over for a moment, so
//! that what is under way is answered, and then there is another client. That is little: one by one, few
//! are handed over at a time. If it is not answered, they go one by one for another while: a client that
//! is replaced then would leave its records to be sent twice. Each time the while is three times as long,
//! and the moment twice: a Kafka that is slow is waited for some time, and one that does not answer, for
//! some of what is under way, costs the rest ever less.

use std::time::{Duration, Instant};

use super::window::Answer;

/// How the records of one way go.
#[derive(Debug)]
pub(super) struct Batching {
    is_single: bool,
    /// How long at least.
    single_until: Instant,
    /// How long the next while is, if this one does not end, and the moment at the end of this one.
    pace: Pace,
}

#[derive(Debug)]
struct Pace {
    single: Duration,
    answers: Duration,
}

// === impl Batching ===

impl Batching {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            is_single: false,
            single_until: now,
            pace: FIRST,
        }
    }

    /// How many records of a flow may be under way; `None` for any number.
    pub(super) fn most_open(&self) -> Option<usize> {
        self.is_single.then_some(MOST_SINGLE)
    }

    /// Whether each record is a batch of its own.
    pub(super) fn is_single(&self) -> bool {
        self.is_single
    }

    /// Whether nothing more is to be handed over: answers are waited for, before records go in batches
    /// again.
    pub(super) fn is_ending(&self, now: Instant) -> bool {
        self.is_single && now > self.single_until
    }

    /// Looks at how it goes: what was said of a batch that was not taken, if one was not, and whether
    /// all that was handed over is answered. Returns why there must be another client, if records go otherwise now.
    pub(super) fn look(
        &mut self,
        not_taken: Option<Answer>,
        is_answered: bool,
        now: Instant,
    ) -> Option<&'static str> {
        if let Some(answer) = not_taken {
            self.single_until = self.single_until.max(now + FIRST.single);
            let was_single = std::mem::replace(&mut self.is_single, true);
            return (!was_single).then_some(match answer {
                Answer::TooLarge => {
                    "a batch is larger than its topic takes: records go one by one for a while"
                }
                _ => "a batch is not as its topic wants it: records go one by one for a while",
            });
        }
        if !self.is_ending(now) {
            return None;
        }
        if is_answered {
            (self.is_single, self.pace) = (false, FIRST);
            return Some("records go in batches again");
        }
        let Pace { single, answers } = self.pace;
        if now > self.single_until + answers {
            self.pace = Pace {
                single: (single * 3).min(LAST.single),
                answers: (answers * 2).min(LAST.answers),
            };
            self.single_until = now + self.pace.single;
        }
        None
    }
}

/// How long records go one by one after a batch was not taken, and how long their answers are waited for
/// then.
const FIRST: Pace = Pace {
    single: Duration::from_secs(10),
    answers: Duration::from_secs(1),
};
/// The same after many times.
const LAST: Pace = Pace {
    single: Duration::from_secs(300),
    answers: Duration::from_secs(10),
};
/// How many records of a flow are under way while they go one by one: more than a client has in flight to
/// its brokers, and few enough to be answered soon.
const MOST_SINGLE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const SINGLE: Duration = FIRST.single;
    const ANSWERS: Duration = FIRST.answers;

    #[test]
    fn records_go_by_themselves_until_none_was_refused_for_a_while() {
        let begin = Instant::now();
        let mut batching = Batching::new(begin);
        assert_eq!(batching.look(None, true, begin + SINGLE), None);
        let not_taken = Some(Answer::Unfit);
        assert!(batching.look(not_taken, false, begin).is_some());
        assert!(batching.is_single());
        let later = begin + SINGLE / 2;
        assert_eq!(batching.look(not_taken, false, later), None, "it is known");
        let last = later + SINGLE;
        assert_eq!(batching.look(None, true, last), None);
        let over = last + Duration::from_millis(1);
        assert!(batching.look(None, true, over).is_some());
        assert!(!batching.is_single());
    }

    #[test]
    fn they_go_in_batches_again_however_much_there_is_to_send() {
        let begin = Instant::now();
        let mut batching = Batching::new(begin);
        batching.look(Some(Answer::TooLarge), false, begin);
        assert!(!batching.is_ending(begin + SINGLE));
        let over = begin + SINGLE + Duration::from_millis(1);
        assert!(batching.is_ending(over), "nothing more is handed over");
        assert_eq!(batching.look(None, false, over), None);
        assert!(batching.look(None, true, over + ANSWERS / 2).is_some());
        assert!(!batching.is_single() && !batching.is_ending(over + ANSWERS));
    }

    /// The time when a while begins that does not end the one before it.
    fn go_on(batching: &mut Batching, mut now: Instant) -> Instant {
        let step = Duration::from_millis(100);
        while !batching.is_ending(now) {
            now += step;
        }
        while batching.is_ending(now) {
            assert_eq!(batching.look(None, false, now), None);
            now += step;
        }
        now
    }

    #[test]
    fn they_go_on_by_themselves_for_a_longer_while_if_they_are_not_answered() {
        let begin = Instant::now();
        let mut batching = Batching::new(begin);
        batching.look(Some(Answer::TooLarge), false, begin);
        assert_eq!(batching.most_open(), Some(MOST_SINGLE));
        let late = go_on(&mut batching, begin);
        assert!(batching.is_single() && !batching.is_ending(late + 2 * SINGLE));
        let over = late + 3 * SINGLE;
        assert!(batching.is_ending(over));
        assert!(batching.look(None, true, over).is_some());
        assert_eq!(batching.most_open(), None);
        // The next time is a first one.
        batching.look(Some(Answer::TooLarge), false, over);
        assert!(batching.is_ending(over + SINGLE + Duration::from_millis(1)));
    }

    #[test]
    fn a_kafka_that_is_slow_is_waited_for_and_one_that_does_not_answer_costs_little() {
        let begin = Instant::now();
        let mut batching = Batching::new(begin);
        batching.look(Some(Answer::TooLarge), false, begin);
        let mut now = begin;
        for _ in 0..3 {
            now = go_on(&mut batching, now);
        }
        while !batching.is_ending(now) {
            now += Duration::from_millis(100);
        }
        let slow = now + Duration::from_secs(7);
        assert_eq!(batching.look(None, false, slow), None);
        assert!(batching.is_ending(slow), "it is waited for");
        for _ in 0..3 {
            now = go_on(&mut batching, now);
        }
        let before = now;
        while !batching.is_ending(now) {
            now += Duration::from_millis(100);
        }
        let waits = go_on(&mut batching, now) - now;
        assert!(waits * 29 < now - before, "{waits:?} in {:?}", now - before);
    }
}
