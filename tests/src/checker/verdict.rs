//! The judgement of a history: what was wrong, what is open, and how much there was.

use std::{fmt, time::Duration};

use super::Violation;
use crate::history::Name;

/// What a run had to show, or else nothing is shown.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Somebody must have written and read as soon as the last fault was healed.
    pub needs_probe: bool,
    /// Some fault must have been in force, whichever.
    pub needs_fault: bool,
    /// Messages that must have been accepted.
    pub least_accepted: usize,
    /// Faults that must have been in force, by their `op`.
    pub faults: Vec<Name>,
    /// What queues dropped because they were told to.
    pub dropped: Dropped,
}

/// What the queues of some subscribers dropped for want of room, by a policy that was chosen
/// (`session.on-full: drop-oldest`), as the broker counts it.
#[derive(Clone, Debug, Default)]
pub struct Dropped {
    /// Whose queues these are; nobody else may miss anything.
    pub clients: Vec<Name>,
    /// How many messages, of all these together: one that two of them lack counts twice.
    pub n_messages: usize,
}

/// What may be said of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conclusion {
    /// It showed what it had to, and every promise was kept.
    Valid,
    /// No promise is known to be broken, and the run does not show that all were kept.
    Unknown,
    /// A promise was broken.
    Invalid,
}

/// The judgement of one history.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Everything that was wrong.
    pub violations: Vec<Violation>,
    /// Why the run shows less than it should.
    pub doubts: Vec<String>,
    /// Messages that were sent, each counted once.
    pub n_sent: usize,
    /// Messages that the broker accepted.
    pub n_accepted: usize,
    /// Messages that it refused and did not accept.
    pub n_refused: usize,
    /// Messages above QoS 0 that it did not answer: they may arrive.
    pub n_unknown: usize,
    /// Accepted messages that subscribers lack because their queues dropped them, and that the broker
    /// has counted ([`Dropped`]): none of them is lost.
    pub n_dropped: usize,
    /// Receipts, repeated ones included.
    pub n_received: usize,
    /// Receipts of QoS 1 messages that had come before, each of them justified.
    pub n_repeated: usize,
    /// The same, where nothing but a fault justifies it.
    pub n_repeated_by_fault: usize,
    /// The most messages of QoS 1 that came again to one client on one connection after they had come
    /// on an earlier one, and had not been sent again.
    pub most_resumed: usize,
    /// The longest time from a fault until a message was accepted.
    pub standstill: Option<Duration>,
    /// The longest time from a heal until a message that was first sent after it was accepted.
    pub recovery: Option<Duration>,
    /// The longest time from a heal until a probe succeeded.
    pub slowest_probe: Option<Duration>,
}

// === impl Verdict ===

impl Verdict {
    /// What may be said of the run.
    pub fn conclusion(&self) -> Conclusion {
        match (self.violations.is_empty(), self.doubts.is_empty()) {
            (false, _) => Conclusion::Invalid,
            (true, false) => Conclusion::Unknown,
            (true, true) => Conclusion::Valid,
        }
    }

    /// Whether nothing was wrong.
    pub fn is_green(&self) -> bool {
        self.violations.is_empty()
    }

    /// How many accepted messages were lost, for each subscriber that they were lost for.
    pub fn n_lost(&self) -> usize {
        self.count(|it| matches!(it, Violation::Lost { .. } | Violation::GroupLost { .. }))
    }

    /// How often a message of QoS 2 (or 0) came again.
    pub fn n_duplicated(&self) -> usize {
        let is_it = |it: &Violation| {
            use Violation::{GroupTwice, Twice, WillTwice};
            matches!(it, Twice { .. } | WillTwice { .. } | GroupTwice { .. })
        };
        self.count(is_it)
    }

    /// How often a message of QoS 1 came again, and nothing justifies it.
    pub fn n_repeated_without_reason(&self) -> usize {
        self.count(|it| matches!(it, Violation::Repeated { .. }))
    }

    /// How many messages came after a later one.
    pub fn n_out_of_order(&self) -> usize {
        self.count(|it| matches!(it, Violation::OutOfOrder { .. }))
    }

    /// How often this rule was broken: `I1` to `I12`.
    pub fn n_broken(&self, invariant: &str) -> usize {
        self.count(|it| it.invariant() == invariant)
    }

    fn count(&self, is_it: impl Fn(&Violation) -> bool) -> usize {
        self.violations.iter().filter(|it| is_it(it)).count()
    }

    /// Fails the test unless all is green, nothing is open, and at least so many messages were
    /// accepted.
    #[track_caller]
    pub fn assert_green(&self, least_accepted: usize, context: &str) {
        assert_eq!(self.conclusion(), Conclusion::Valid, "{context}\n{self}");
        assert!(
            self.n_accepted >= least_accepted,
            "{context}: only {} messages were accepted, {least_accepted} are needed",
            self.n_accepted
        );
    }
}

impl fmt::Display for Conclusion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Valid => "valid",
            Self::Unknown => "unknown",
            Self::Invalid => "INVALID",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{}: {} sent, {} accepted, {} refused, {} unknown, {} receipts ({} repeated, {} more \
             by faults), {} violations",
            self.conclusion(),
            self.n_sent,
            self.n_accepted,
            self.n_refused,
            self.n_unknown,
            self.n_received,
            self.n_repeated,
            self.n_repeated_by_fault,
            self.violations.len()
        )?;
        for violation in self.violations.iter().take(20) {
            writeln!(out, "  {violation}")?;
        }
        for doubt in self.doubts.iter().take(20) {
            writeln!(out, "  unknown: {doubt}")?;
        }
        Ok(())
    }
}
