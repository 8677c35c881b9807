//! What came of a run.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use crate::checker::{Conclusion, Violation};

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Name of the scenario.
    pub scenario: &'static str,
    /// What makes the run happen again.
    pub seed: u64,
    /// Messages that were acknowledged to their publishers.
    pub n_acknowledged: usize,
    /// Receipts, repeated ones included.
    pub n_delivered: usize,
    /// Acknowledged, and not received.
    pub n_lost: usize,
    /// Of QoS 2, received again.
    pub n_duplicated: usize,
    /// Of QoS 1, received again with a reason.
    pub n_repeated: usize,
    /// Came after a later one.
    pub n_out_of_order: usize,
    /// The longest time until every publisher was answered again for something that was sent since: from
    /// the end of a fault, or of the last of several; where a process is killed, stopped or ended and
    /// others are there that clients can go on with, from that moment. In F26 who waits for Kafka is a
    /// publisher, too; in F39 it is the longest time between two answers to one; in L8 and L9 the time
    /// until waits are as before.
    pub recovery: Option<Duration>,
    /// What was wrong, and how often.
    pub signs: BTreeMap<Sign, usize>,
    /// What may be said, of a run that came to its end.
    pub verdict: Conclusion,
    /// The run did not come to its end: its cluster did not start, or the scenario panicked. That is no
    /// want of this machine's, and whoever is tested may be why.
    pub is_broken_off: bool,
    /// What the run needs and this machine has not, whoever is tested: something that it cannot do, or
    /// processors that others leave to it. Then nothing is shown, and that fails nobody.
    pub lacks: Option<String>,
    /// Why, where it is not valid; and what was measured besides.
    pub notes: Vec<String>,
    /// Where the history was kept, of runs that are not valid.
    pub history: Option<PathBuf>,
}

// === impl Outcome ===

impl Outcome {
    /// Whether it came to this, and to its end.
    pub fn is(&self, verdict: Conclusion) -> bool {
        !self.is_broken_off && self.verdict == verdict
    }

    /// Whether a promise was broken, or the run broke off, or it shows nothing though this machine has
    /// what it needs, so that whoever is tested may be why: what must not be.
    pub fn is_bad(&self) -> bool {
        let is_excused = match self.verdict {
            Conclusion::Valid => true,
            Conclusion::Unknown => self.lacks.is_some(),
            Conclusion::Invalid => false,
        };
        self.is_broken_off || !is_excused
    }

    /// What it came to, in a word.
    pub fn word(&self) -> String {
        match self.is_broken_off {
            true => "BROKEN".to_owned(),
            false => self.verdict.to_string(),
        }
    }
}

/// What a broken promise looks like, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// An acknowledged message did not arrive.
    Lost,
    /// A message of QoS 2 arrived again.
    Twice,
    /// A will arrived again.
    WillTwice,
    /// A message arrived after a later one.
    OutOfOrder,
    /// Session Present was said of a session that there was not.
    SessionInvented,
    /// A gateway did not know of an exchange of QoS 2 that was open.
    ExchangeForgotten,
    /// Something came on a connection though its client was at another gateway.
    Zombie,
    /// A gateway acknowledged a message when its lease was over.
    LateAck,
    /// Somebody was let in of whom nobody could have said who it is.
    LetIn,
    /// Whatever is none of these.
    Other,
}

// === impl Sign ===

impl Sign {
    /// What this looks like.
    pub fn of(violation: &Violation) -> Self {
        match violation {
            Violation::Lost { .. } | Violation::GroupLost { .. } => Self::Lost,
            Violation::Twice { .. } | Violation::GroupTwice { .. } => Self::Twice,
            Violation::WillTwice { .. } => Self::WillTwice,
            Violation::OutOfOrder { .. } => Self::OutOfOrder,
            Violation::SessionInvented { .. } => Self::SessionInvented,
            Violation::ExchangeForgotten { .. } => Self::ExchangeForgotten,
            Violation::Zombie { .. } => Self::Zombie,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Sign {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Lost => "lost",
            Self::Twice => "twice",
            Self::WillTwice => "a will twice",
            Self::OutOfOrder => "out of order",
            Self::SessionInvented => "a session invented",
            Self::ExchangeForgotten => "an exchange forgotten",
            Self::Zombie => "a zombie",
            Self::LateAck => "acknowledged late",
            Self::LetIn => "let in",
            Self::Other => "something else",
        })
    }
}
