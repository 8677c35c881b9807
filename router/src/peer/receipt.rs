//! What becomes of a message of QoS 1 or 2 that was forwarded.

use super::Pick;
use gatemq_proto::cluster::peer::Refusal;

/// What the source wants back with each message of QoS 1 or 2.
pub trait Receipt: Send + 'static {
    /// Called exactly once, unless the process stops before there is an answer. It may be called
    /// on any thread, so it must be cheap and must not block; no lock of this crate is held. The
    /// calls of one lane come in the order of its messages, but for what is refused for good, and
    /// where the destination answers in any order.
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
    /// Some of those whom it was for are with another node now, everybody else there has it: route
    /// it again for them, by the table that holds now, marked with [`super::Outgoing::again`].
    Moving {
        /// Somebody outside of the groups.
        is_direct: bool,
        /// Groups whose members have moved.
        picks: Vec<Pick>,
    },
    /// Nobody there counts as having it, such as where the destination is gone for good: route it
    /// again for all whom it was for.
    Moved,
}

// === impl Verdict ===

impl Verdict {
    /// What a refusal on the wire says.
    pub(super) fn of(refusal: Refusal) -> Self {
        let (is_moved, picks) = (refusal.is_moved, refusal.picks);
        match u8::try_from(refusal.reason).unwrap_or(UNSPECIFIED) {
            ELSEWHERE => Self::Moving {
                is_direct: is_moved,
                picks,
            },
            _ if is_moved => Self::Moved,
            reason => Self::Refused { reason, picks },
        }
    }

    /// Whether nobody there will have the message, and nobody is to be found for it either.
    pub(super) fn is_for_good(&self) -> bool {
        matches!(self, Self::Refused { picks, .. } if picks.is_empty())
    }

    /// The refusal to send for it; `None` if it is none.
    pub(super) fn into_refusal(self, number: u64) -> Option<Refusal> {
        let (reason, picks, is_moved) = match self {
            Self::Accepted => return None,
            Self::Refused { reason, picks } => (u32::from(reason), picks, false),
            Self::Moving { is_direct, picks } => (u32::from(ELSEWHERE), picks, is_direct),
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
/// "Use another server" of MQTT 5.0.
const ELSEWHERE: u8 = 0x9C;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_on_the_wire_what_it_was() {
        let picks = |n: usize| {
            let pick = |n| Pick {
                group: format!("g{n}"),
                filter: "a/#".to_owned(),
            };
            (0..n).map(pick).collect::<Vec<_>>()
        };
        let moving = |is_direct, n| Verdict::Moving {
            is_direct,
            picks: picks(n),
        };
        let refused = |reason, n| Verdict::Refused {
            reason,
            picks: picks(n),
        };
        for verdict in [
            Verdict::Moved,
            moving(true, 0),
            moving(true, 2),
            moving(false, 1),
            refused(0x97, 0),
            refused(0x10, 2),
        ] {
            let refusal = verdict.clone().into_refusal(7).expect("not accepted");
            assert_eq!(refusal.number, 7);
            assert_eq!(Verdict::of(refusal), verdict);
        }
        assert_eq!(Verdict::Accepted.into_refusal(7), None);
    }
}
