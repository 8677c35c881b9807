//! I4, QoS 1 repeats have a reason: a message of QoS 1 comes again with DUP, or on a new
//! connection, or when its publisher sent it again. Source: `[MQTT-4.3.2-1]`, `[MQTT-3.3.1-1]`.
//!
//! A fault is a reason too, counted apart, if it was in force, or may have been, at some time from
//! the first sending to the repeat: at least once is what QoS 1 promises through a crash. Not every
//! fault is (`excuse.rs`).
//!
//! Excluded: replays of retained messages.

use super::{Picture, Verdict, Violation, picture::Again};

pub(super) fn judge(picture: &Picture<'_>, verdict: &mut Verdict) {
    for (receipt, message) in picture.live_receipts() {
        if receipt.again == Some(Again::WithReason) {
            verdict.n_repeated += 1;
        } else if receipt.qos != 1 || !picture.is_surplus(receipt) {
            // It is the first, or I3 looks at it.
        } else if picture.has_excuse_between(message.first_sent, receipt.at) {
            verdict.n_repeated_by_fault += 1;
        } else {
            verdict.violations.push(Violation::Repeated {
                uid: message.uid.clone(),
                client: picture.clients[receipt.client].name.clone(),
            });
        }
    }
}
