//! I2, no phantom: whatever is received was sent before, to that topic, unaltered, was not refused,
//! matches a subscription of its receiver, and has the lower QoS of the message's and such a
//! subscription's. A subscription that ended with its session explains nothing on a connection of a
//! later one: the queue ended, too `[MQTT-3.1.2-4]`. Source: `[MQTT-3.3.5-1]`, `[MQTT-3.8.4-8]`; a
//! reason of 0x80 and above says that the message was not taken over.
//!
//! Excluded: a refused message that was sent more than once, because an earlier sending may have
//! been taken over; one refused with 0x97, which says that somebody has no room for it, when others
//! may have it; the QoS where SUBACK is not known. The empty message that a clear is must have
//! been sent to that topic by somebody, more cannot be said of it.

use super::{Picture, Verdict, Violation, picture::Flaw, picture::Receipt};

/// Finds what nothing explains, for all other rules.
pub(super) fn examine(picture: &mut Picture<'_>) {
    let all = picture.receipts.iter();
    let flaws: Vec<_> = all.map(|receipt| flaw(picture, receipt)).collect();
    for (receipt, flaw) in picture.receipts.iter_mut().zip(flaws) {
        receipt.flaw = flaw;
    }
    picture.find_repeats();
}

fn flaw(picture: &Picture<'_>, receipt: &Receipt<'_>) -> Option<Flaw> {
    let Some(uid) = receipt.uid else {
        return Some(Flaw::Corrupt);
    };
    let known = receipt.message.map(|number| &picture.messages[number]);
    let Some(message) = known.filter(|it| it.first_sent < receipt.at) else {
        return Some(Flaw::Phantom);
    };
    if *receipt.topic != uid.topic {
        return Some(Flaw::Misrouted);
    }
    if message.was_refused() {
        return Some(Flaw::Refused);
    }
    let connections = &picture.clients[receipt.client].connections;
    let opened = connections.get(&receipt.connection);
    let opened = opened.and_then(|it| it.connected);
    let (mut was_unsubscribed, mut is_explained, mut is_regraded) = (false, false, true);
    for subscription in picture.subscriptions_to(receipt.topic, receipt.client) {
        if !subscription.explains(message, receipt, opened) {
            was_unsubscribed |= subscription.is_unsubscribed;
            continue;
        }
        is_explained = true;
        let granted = subscription.granted.map(|(_, qos)| qos);
        is_regraded &= granted.is_some_and(|qos| qos.min(message.qos) != receipt.qos);
    }
    match (is_explained, was_unsubscribed) {
        (false, true) => Some(Flaw::AfterUnsubscribe),
        (false, false) => Some(Flaw::Unsubscribed),
        (true, _) => is_regraded.then_some(Flaw::Regraded),
    }
}

pub(super) fn judge(picture: &Picture<'_>, verdict: &mut Verdict) {
    for receipt in &picture.receipts {
        let client = picture.clients[receipt.client].name.clone();
        let uid = receipt.uid.cloned();
        let found = match (receipt.flaw, uid) {
            (Some(Flaw::Corrupt), _) => Violation::Corrupt {
                topic: receipt.topic.clone(),
                client,
            },
            (Some(Flaw::Phantom), Some(uid)) => Violation::Phantom { uid, client },
            (Some(Flaw::Misrouted), Some(uid)) => Violation::Misrouted { uid, client },
            (Some(Flaw::Refused), Some(uid)) => Violation::RefusedButDelivered { uid, client },
            (Some(Flaw::Unsubscribed), Some(uid)) => Violation::Unsubscribed { uid, client },
            (Some(Flaw::AfterUnsubscribe), Some(uid)) => {
                Violation::AfterUnsubscribe { uid, client }
            }
            (Some(Flaw::Regraded), Some(uid)) => Violation::Regraded {
                uid,
                qos: receipt.qos,
                client,
            },
            (_, _) => continue,
        };
        verdict.violations.push(found);
    }
}
