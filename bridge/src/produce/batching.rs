//! Whether records go in batches, or one by one for a while since Kafka has not taken a batch: one
//! of its records may be why, or only all of them together are more than their topic takes. Pure.
//!
//! Which it is, is known when a record is refused that was alone: only then it is that record.
//!
//! The while ends by time, however much there is to send: nothing more is handed over for a moment, so
//! that what is under way is answered, and then there is another client. If that is slow, they go one
//! by one for another while: a client that is not answered yet would leave its records to be sent twice.

use std::time::{Duration, Instant};

use super::window::Answer;

/// How the records of one way go.
#[derive(Debug)]
pub(super) struct Batching {
    is_single: bool,
    /// How long at least.
    single_until: Instant,
}

// === impl Batching ===

impl Batching {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            is_single: false,
            single_until: now,
        }
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
            self.single_until = now + SINGLE;
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
            self.is_single = false;
            return Some("records go in batches again");
        }
        if now > self.single_until + ANSWERS {
            self.single_until = now + SINGLE;
        }
        None
    }
}

/// How long records go one by one after a batch was not taken.
const SINGLE: Duration = Duration::from_secs(10);
/// How long their answers are waited for then.
const ANSWERS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn they_go_on_by_themselves_for_another_while_if_they_are_not_answered() {
        let begin = Instant::now();
        let mut batching = Batching::new(begin);
        batching.look(Some(Answer::TooLarge), false, begin);
        let late = begin + SINGLE + ANSWERS + Duration::from_millis(1);
        assert_eq!(batching.look(None, false, late), None);
        assert!(batching.is_single() && !batching.is_ending(late + SINGLE));
        let over = late + SINGLE + Duration::from_millis(1);
        assert!(batching.is_ending(over));
        assert!(batching.look(None, true, over).is_some());
    }
}
