//! What becomes of a message of QoS 1 or 2 that was forwarded.

use super::Pick;
use gatemq_proto::cluster::peer::Refusal;

/// What the source wants back with each message of QoS 1 or 2.
pub trait Receipt: Send + 'static {
    /// Called exactly once, unless the process stops before there is an answer. It may be called
    /// on any thread, so it must be cheap and must not block; no lock of this crate is held. The
    /// calls of one lane come in the order of its messages.
    fn settle(self, verdict: Verdict);
}

/// What a destination made of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is safe there.
    Accepted,
    /// It was not accepted, in full or by some of its groups.
    Refused {
        /// The MQTT reason code.
        reason: u8,
        /// The groups that found nobody; empty if it was refused for another reason.
        picks: Vec<Pick>,
    },
    /// Somebody whom it was for is with another node now, or the destination is gone for good:
    /// route it again, by the table that holds now, marked with [`super::Outgoing::again`].
    Moved,
}

// === impl Verdict ===

impl Verdict {
    /// What a refusal on the wire says.
    pub(super) fn of(refusal: Refusal) -> Self {
        if refusal.is_moved {
            return Self::Moved;
        }
        Self::Refused {
            reason: u8::try_from(refusal.reason).unwrap_or(UNSPECIFIED),
            picks: refusal.picks,
        }
    }

    /// The refusal to send for it; `None` if it is none.
    pub(super) fn into_refusal(self, number: u64) -> Option<Refusal> {
        let (reason, picks, is_moved) = match self {
            Self::Accepted => return None,
            Self::Refused { reason, picks } => (u32::from(reason), picks, false),
            Self::Moved => (0, Vec::new(), true),
        };
        Some(Refusal {
            number,
            reason,
            picks,
            is_moved,
        })
    }
}

/// "Unspecified error" of MQTT 5.0.
const UNSPECIFIED: u8 = 0x80;
