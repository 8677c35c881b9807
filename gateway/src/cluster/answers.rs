//! What the messages of other nodes are answered, and when: behind the batch that makes them safe.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use gatemq_router::peer::{First, Inlet, Message, Pick, Verdict};

use super::Cluster;
use crate::proto::mqtt::Reason;
use crate::session::queued::Share;
use crate::session::received::{Origin, spread};

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

impl Cluster {
    /// Notes that a member of a group here is to have a message; whether one has had it before.
    pub(crate) fn note_pick(&self, origin: Origin, pick: (&str, &str)) -> bool {
        let now = First {
            stamp: self.stamp(),
            knows: u64::MAX,
        };
        let mut seen = self.seen_picks.lock();
        seen.note(origin.source, pick_id(origin.id, pick), now)
            .is_some()
    }

    /// Whether a member of a group here has had a message.
    pub(crate) fn has_picked(&self, origin: Origin, pick: (&str, &str)) -> bool {
        let seen = self.seen_picks.lock();
        seen.has(origin.source, pick_id(origin.id, pick))
    }

    /// A group has not had a message after all: it is taken when it comes again.
    pub(crate) fn forget_pick(&self, origin: Origin, pick: (&str, &str)) {
        let id = pick_id(origin.id, pick);
        self.seen_picks.lock().strike(origin.source, id);
    }
}

/// The number under which it is known that a group has had a message.
pub(super) fn pick_id(id: u64, pick: (&str, &str)) -> u64 {
    FixedState::with_seed(spread(id)).hash_one(pick)
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
        Some(share) => picks.push(pick_of(share)),
    }
    Verdict::Moving { is_direct, picks }
}

fn pick_of(share: &Share) -> Pick {
    Pick {
        group: (*share.group).to_owned(),
        filter: (*share.filter).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_member_of_a_group_that_has_moved_sends_back_its_group_only() {
        let share = |group: &str| Share {
            group: group.into(),
            filter: "a/#".into(),
        };
        let pick = |group| pick_of(&share(group));
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

    #[test]
    fn what_a_group_has_had_is_not_taken_for_what_another_one_had() {
        let ids = |group| (0..20_000).map(move |id| pick_id(id, (group, "a/#")));
        let all: HashSet<_> = ["g1", "g2", "g3"].into_iter().flat_map(ids).collect();
        assert_eq!(all.len(), 3 * 20_000);
    }
}
