//! Whether records go in batches, or one by one for a while since Kafka has not taken a batch: one
//! of its records may be why, or only all of them together are more than their topic takes. Pure.
//!
//! Which it is, is known when a record is refused that was alone: only then it is that record.

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

    /// Looks at how it goes: what was said of a batch that was not taken, if one was not, and whether
    /// nothing is under way. Returns why there must be another client, if records go otherwise now.
    pub(super) fn look(
        &mut self,
        not_taken: Option<Answer>,
        is_quiet: bool,
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
        if self.is_single && now > self.single_until && is_quiet {
            self.is_single = false;
            return Some("records go in batches again");
        }
        None
    }
}

/// How long records go one by one after a batch was not taken.
const SINGLE: Duration = Duration::from_secs(10);
