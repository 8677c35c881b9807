//! I3, QoS 2 once: a message that comes with QoS 2 comes to the application once; with QoS 0, at
//! most once. Source: `[MQTT-4.3.3-2]`, P5. That it comes at all when it was accepted is I1.
//!
//! The QoS of the receipt counts: a message of QoS 2 that comes with QoS 1 may come again (I4). A
//! client's own overlapping subscriptions bring one copy, each shared one brings its own.
//!
//! Excluded: wills (I8), replays of retained messages.

use super::{Picture, Verdict, Violation};

pub(super) fn judge(picture: &Picture<'_>, verdict: &mut Verdict) {
    for (receipt, message) in picture.live_receipts() {
        if picture.is_surplus(receipt) && receipt.qos != 1 && !message.is_will {
            verdict.violations.push(Violation::Twice {
                uid: message.uid.clone(),
                client: picture.clients[receipt.client].name.clone(),
            });
        }
    }
}
