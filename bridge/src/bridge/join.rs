//! Several records for one message: it is as safe as the least of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::produce::{Done, Outcome};

/// Done when all are.
pub(super) struct Join {
    n_left: AtomicUsize,
    worst: AtomicU8,
    done: Mutex<Option<Done>>,
}

// === impl Join ===

impl Join {
    /// One for so many; `is_refused` if there is one already that is.
    pub(super) fn new(n_left: usize, is_refused: bool, done: Done) -> Arc<Self> {
        Arc::new(Self {
            n_left: AtomicUsize::new(n_left),
            worst: AtomicU8::new(u8::from(is_refused)),
            done: Mutex::new(Some(done)),
        })
    }

    pub(super) fn on_done(&self, outcome: Outcome) {
        let rank = match outcome {
            Outcome::Accepted => 0,
            Outcome::Refused => 1,
            Outcome::Unknown => 2,
        };
        self.worst.fetch_max(rank, Ordering::AcqRel);
        if self.n_left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let done = self.done.lock().take();
        if let Some(done) = done {
            done(match self.worst.load(Ordering::Acquire) {
                0 => Outcome::Accepted,
                1 => Outcome::Refused,
                _ => Outcome::Unknown,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn check(is_refused: bool, outcomes: &[Outcome], expected: Outcome) {
        let (tell, told) = mpsc::channel();
        let done = Box::new(move |outcome| tell.send(outcome).expect("the test waits"));
        let join = Join::new(outcomes.len(), is_refused, done);
        for outcome in outcomes {
            assert!(told.try_recv().is_err(), "too early");
            join.on_done(*outcome);
        }
        assert_eq!(told.try_recv(), Ok(expected));
    }

    #[test]
    fn a_message_of_several_rules_is_as_safe_as_the_least_of_them() {
        use Outcome::{Accepted, Refused, Unknown};
        check(false, &[Accepted, Accepted], Accepted);
        check(false, &[Accepted, Refused], Refused);
        check(false, &[Refused, Unknown, Accepted], Unknown);
        check(true, &[Accepted], Refused);
    }
}
