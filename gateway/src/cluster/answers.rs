//! What the messages of other nodes are answered, and when: behind the batch that makes them safe.

use std::sync::Arc;

use gatemq_router::peer::{Inlet, Message, Verdict};

/// Messages of a stream that a turn has taken.
#[derive(Debug)]
pub(crate) struct Accepted {
    inlet: Arc<Inlet>,
    verdicts: Vec<(u64, Verdict)>,
}

impl Accepted {
    pub(super) fn new(inlet: &Arc<Inlet>, verdicts: Vec<(u64, Verdict)>) -> Self {
        Self {
            inlet: inlet.clone(),
            verdicts,
        }
    }

    /// Answers messages that are not taken: their source routes them again.
    pub(super) fn give_back(inlet: &Inlet, messages: impl Iterator<Item = (u64, Message)>) {
        for (number, message) in messages {
            if message.flags & 0b11 != 0 {
                inlet.settle(number, Verdict::Moved);
            }
        }
    }

    /// Changes what the message at this place is answered.
    pub(crate) fn answer(&mut self, at: usize, verdict: Verdict) {
        if let Some((_, known)) = self.verdicts.get_mut(at) {
            *known = verdict;
        }
    }

    /// Changes what all of them are answered.
    pub(super) fn answer_all(&mut self, verdict: &Verdict) {
        for (_, known) in &mut self.verdicts {
            *known = verdict.clone();
        }
    }

    /// They are safe.
    pub(crate) fn settle(self) {
        for (number, verdict) in self.verdicts {
            self.inlet.settle(number, verdict);
        }
    }
}
