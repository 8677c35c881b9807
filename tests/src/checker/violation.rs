//! What a broker did wrong, and which rule says so.

use std::{fmt, time::Duration};

use crate::history::{Name, Uid};

/// What a broker did wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each field is the client or message that it names"
)]
pub enum Violation {
    /// I1.
    Lost { uid: Uid, client: Name },
    /// I1: what queues dropped by their policy is not what the broker counted: so many accepted
    /// messages are missing, and of so many more nobody knows whether they should have come.
    Miscounted {
        missing: usize,
        unknown: usize,
        counted: usize,
    },
    /// I2: a receipt that no PUBLISH explains.
    Phantom { uid: Uid, client: Name },
    /// I2: a payload that is not what was sent.
    Corrupt { topic: Name, client: Name },
    /// I2: it came on another topic than it was sent to.
    Misrouted { uid: Uid, client: Name },
    /// I2: no subscription of the client matches.
    Unsubscribed { uid: Uid, client: Name },
    /// I2: the broker had refused it.
    RefusedButDelivered { uid: Uid, client: Name },
    /// I2: it came with a QoS that is not the lower one of the message's and a subscription's.
    Regraded { uid: Uid, qos: u8, client: Name },
    /// I3.
    Twice { uid: Uid, client: Name },
    /// I4.
    Repeated { uid: Uid, client: Name },
    /// I5: it came after a later one.
    OutOfOrder { uid: Uid, after: u64, client: Name },
    /// I6: Session Present 0, and the session was there.
    SessionLost { client: Name },
    /// I6: Session Present 1, and there was none.
    SessionInvented { client: Name },
    /// I6: it had answered PUBREC, and did not know the exchange when PUBREL came for the first time.
    ExchangeForgotten { uid: Uid },
    /// I6: it was first sent after UNSUBACK.
    AfterUnsubscribe { uid: Uid, client: Name },
    /// I7: what the account got is not what was sent to it.
    Unbalanced {
        account: usize,
        ledger: u64,
        least: u64,
        most: u64,
        client: Name,
    },
    /// I8: something came on a connection so long after a later one was accepted.
    Zombie {
        connection: u32,
        late: Duration,
        client: Name,
    },
    /// I8: the will of a connection that ended without DISCONNECT did not come.
    WillLost { uid: Uid, client: Name },
    /// I8: a will came again.
    WillTwice { uid: Uid, client: Name },
    /// I8: a will came, and its client had left in order, come back in time, or not gone.
    WillUnasked { uid: Uid, client: Name },
    /// I9: two states at one applied index.
    Diverged {
        applied: u64,
        node: Name,
        other: Name,
    },
    /// I9: a node's applied index fell while it ran.
    WentBack {
        applied: u64,
        before: u64,
        node: Name,
    },
    /// I10: a retained message was read that no order of the writes explains.
    NotLinearizable {
        topic: Name,
        value: Option<Uid>,
        client: Name,
    },
    /// I11: no member of the group received it.
    GroupLost { uid: Uid, group: Name },
    /// I11: another member had received it.
    GroupTwice { uid: Uid, group: Name, client: Name },
    /// I12: writing and reading did not work in time after the last fault was healed.
    Stuck { after: Duration, client: Name },
}

impl Violation {
    /// The rule that was broken: `I1` to `I12`.
    pub fn invariant(&self) -> &'static str {
        match self {
            Self::Lost { .. } | Self::Miscounted { .. } => "I1",
            Self::Phantom { .. }
            | Self::Corrupt { .. }
            | Self::Misrouted { .. }
            | Self::Unsubscribed { .. }
            | Self::RefusedButDelivered { .. }
            | Self::Regraded { .. } => "I2",
            Self::Twice { .. } => "I3",
            Self::Repeated { .. } => "I4",
            Self::OutOfOrder { .. } => "I5",
            Self::SessionLost { .. }
            | Self::SessionInvented { .. }
            | Self::ExchangeForgotten { .. }
            | Self::AfterUnsubscribe { .. } => "I6",
            Self::Unbalanced { .. } => "I7",
            Self::Zombie { .. }
            | Self::WillLost { .. }
            | Self::WillTwice { .. }
            | Self::WillUnasked { .. } => "I8",
            Self::Diverged { .. } | Self::WentBack { .. } => "I9",
            Self::NotLinearizable { .. } => "I10",
            Self::GroupLost { .. } | Self::GroupTwice { .. } => "I11",
            Self::Stuck { .. } => "I12",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.invariant())?;
        match self {
            Self::Lost { uid, client } => write!(out, "{uid} was accepted, and lost for {client}"),
            Self::Miscounted {
                missing,
                unknown,
                counted,
            } => write!(
                out,
                "{missing} accepted messages are missing where queues drop, {unknown} more may be, \
                 and {counted} were counted"
            ),
            Self::Phantom { uid, client } => {
                write!(out, "{client} received {uid}, which was not sent before")
            }
            Self::Corrupt { topic, client } => {
                write!(out, "{client} received on {topic} what nobody sent")
            }
            Self::Misrouted { uid, client } => {
                write!(out, "{client} received {uid} on another topic")
            }
            Self::Unsubscribed { uid, client } => {
                write!(out, "{client} received {uid} without a subscription to it")
            }
            Self::RefusedButDelivered { uid, client } => {
                write!(out, "{client} received {uid}, which was refused")
            }
            Self::Regraded { uid, qos, client } => {
                write!(out, "{client} received {uid} with the wrong QoS {qos}")
            }
            Self::Twice { uid, client } => write!(out, "{client} received {uid} again"),
            Self::Repeated { uid, client } => {
                write!(out, "{client} received {uid} again, for no reason")
            }
            Self::OutOfOrder { uid, after, client } => {
                write!(out, "{client} received {uid} after number {after}")
            }
            Self::SessionLost { client } => write!(out, "the session of {client} is lost"),
            Self::SessionInvented { client } => {
                write!(out, "{client} was told of a session that there was not")
            }
            Self::ExchangeForgotten { uid } => {
                write!(out, "the exchange of {uid} was open, and is not known")
            }
            Self::AfterUnsubscribe { uid, client } => {
                write!(
                    out,
                    "{client} received {uid}, first sent after its UNSUBACK"
                )
            }
            Self::Unbalanced {
                account,
                ledger,
                least,
                most,
                client,
            } => write!(
                out,
                "account {account} of {client} moved {ledger}, where {least} to {most} were sent"
            ),
            Self::Zombie {
                connection,
                late,
                client,
            } => write!(
                out,
                "connection {connection} of {client} went on {late:?} after a later one"
            ),
            Self::WillLost { uid, client } => write!(out, "{client} missed the will {uid}"),
            Self::WillTwice { uid, client } => {
                write!(out, "{client} received the will {uid} again")
            }
            Self::WillUnasked { uid, client } => {
                write!(out, "{client} received the will {uid}, which was not due")
            }
            Self::Diverged {
                applied,
                node,
                other,
            } => write!(out, "{node} and {other} differ at applied index {applied}"),
            Self::WentBack {
                applied,
                before,
                node,
            } => write!(out, "{node} went back from {before} to {applied}"),
            Self::NotLinearizable {
                topic,
                value,
                client,
            } => {
                write!(out, "{client} found retained on {topic} ")?;
                match value {
                    Some(uid) => write!(out, "{uid}, which no order explains"),
                    None => write!(out, "nothing, which no order explains"),
                }
            }
            Self::GroupLost { uid, group } => {
                write!(out, "{uid} was accepted, and lost for the group {group}")
            }
            Self::GroupTwice { uid, group, client } => {
                write!(out, "{client} received {uid}, as another of {group} did")
            }
            Self::Stuck { after, client } => {
                write!(
                    out,
                    "{client} could not write and read {after:?} after the heal"
                )
            }
        }
    }
}
