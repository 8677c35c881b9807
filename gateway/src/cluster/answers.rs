//! What the messages of other nodes are answered, and when: behind the batch that makes them safe.

use std::sync::Arc;

use gatemq_router::peer::{Inlet, Message, Verdict};

use super::targets::pick;

use crate::proto::mqtt::Reason;
use crate::session::queued::Share;

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

    /// The message at this place is refused: one of those whom it is for had no room.
    pub(crate) fn refuse(&mut self, at: usize, reason: Reason) {
        if let Some((_, known)) = self.verdicts.get_mut(at) {
            *known = Verdict::Refused {
                reason: reason as u8,
                picks: Vec::new(),
            };
        }
    }

    /// The message at this place is to be tried again by who sent it: for one of the group, or for
    /// those outside of groups, who had it and is another gateway's now.
    pub(crate) fn send_back(&mut self, at: usize, share: Option<&Share>) {
        if let Some((_, known)) = self.verdicts.get_mut(at) {
            let verdict = std::mem::replace(known, Verdict::Moved);
            *known = sent_back(verdict, share);
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

/// What is answered where one more has to be tried again.
fn sent_back(verdict: Verdict, share: Option<&Share>) -> Verdict {
    let (mut is_direct, mut picks) = match verdict {
        Verdict::Accepted => (false, Vec::new()),
        Verdict::Moving { is_direct, picks } => (is_direct, picks),
        // One of those outside of groups was full: it is asked again, too, and says so again.
        Verdict::Refused { picks, .. } => (picks.is_empty(), picks),
        Verdict::Moved => return Verdict::Moved,
    };
    match share {
        None => is_direct = true,
        Some(share) => picks.push(pick(share.pick())),
    }
    Verdict::Moving { is_direct, picks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_a_group_that_has_moved_sends_back_its_group_only() {
        let share = |group: &str| Share {
            group: group.into(),
            filter: "a/#".into(),
        };
        let pick = |group| pick(share(group).pick());
        let moving = |is_direct, picks| Verdict::Moving { is_direct, picks };
        let one = sent_back(Verdict::Accepted, Some(&share("g")));
        assert_eq!(one, moving(false, vec![pick("g")]));
        let two = sent_back(one, Some(&share("h")));
        assert_eq!(two, moving(false, vec![pick("g"), pick("h")]));
        let both = sent_back(two, None);
        assert_eq!(both, moving(true, vec![pick("g"), pick("h")]));
        let full = Verdict::Refused {
            reason: Reason::QuotaExceeded as u8,
            picks: Vec::new(),
        };
        let again = sent_back(full, Some(&share("g")));
        assert_eq!(again, moving(true, vec![pick("g")]));
        let nobody = Verdict::Refused {
            reason: Reason::NoMatchingSubscribers as u8,
            picks: vec![pick("h")],
        };
        let again = sent_back(nobody, None);
        assert_eq!(again, moving(true, vec![pick("h")]));
        assert_eq!(sent_back(Verdict::Moved, Some(&share("g"))), Verdict::Moved);
    }
}
