//! Which faults are a reason for a message of QoS 1 to come again to a subscriber (I4). Only those that
//! end or stop a gateway or Redis, or that cut a gateway off from another, from Redis or from the
//! control plane, for then it may be fenced: what it had under way may be routed again by somebody
//! else. A clock that is wrong, a disk that is slow, much to do and little bandwidth are none.
//!
//! Every kind of fault that a scenario makes is in one of these lists, or it cannot be made.

/// What a kind of fault does to messages that are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Whoever it hits, they may be routed again.
    Again,
    /// It ends or stops its target: that depends on who that is.
    OfTarget,
    /// None of them has a reason to be routed again.
    Nothing,
}

/// End or stop their target.
const ENDS: &[&str] = &["drain", "kill", "power", "restart", "stop", "terminate"];

/// Cut nodes off from one another, or make leases run out, or take away what Redis had.
const CUTS: &[&str] = &[
    "cut off",
    "cut off one way",
    "delay",
    "fail over",
    "flapping",
    "gateways apart",
    "loss",
    "minority",
    "not heard",
    "not told",
];

/// Neither.
const SPARES: &[&str] = &[
    // Of the control plane, one node at a time.
    "EIO",
    "begun again",
    "damage",
    "full disk",
    "membership",
    "second bootstrap",
    "slow disk",
    "told of another",
    // Too much, too little, or too late.
    "bandwidth",
    "bomb",
    "churn",
    "clock",
    "descriptors",
    "fan-out",
    "flood",
    "slow",
    "steal",
    "storm",
    // Of Kafka, and of back ends of logins.
    "CutShort",
    "Garbled",
    "Killed",
    "Late",
    "Refused",
    "Silent",
    "Slow",
    "Stalled",
    "Stopped",
    "Torn",
];

/// What this kind of fault does; `None` where nobody has said so yet.
pub(super) fn reach(op: &str) -> Option<Reach> {
    let lists = [
        (ENDS, Reach::OfTarget),
        (CUTS, Reach::Again),
        (SPARES, Reach::Nothing),
    ];
    let mut found = lists.into_iter().filter(|(ops, _)| ops.contains(&op));
    found.next().map(|(_, reach)| reach)
}

/// Whether it is said of this kind of fault if it is a reason for messages to come again.
pub fn is_known(op: &str) -> bool {
    reach(op).is_some()
}

/// Whether this kind of fault ends or stops its target.
pub fn ends(op: &str) -> bool {
    reach(op) == Some(Reach::OfTarget)
}

/// Whether nodes that are called so are of the control plane alone. One of them that is gone is no
/// reason for anything; without two there may be no quorum, and then gateways are fenced.
pub(super) fn is_control(target: &str) -> bool {
    is_numbered(target, 'c')
}

/// Whether a target that has ended or stands still has messages of subscribers under way.
pub(super) fn has_messages(target: &str) -> bool {
    !is_control(target) && !is_numbered(target, 'b')
}

/// `c1`, of `c`.
fn is_numbered(target: &str, letter: char) -> bool {
    let digits = target.strip_prefix(letter);
    digits.is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()))
}
