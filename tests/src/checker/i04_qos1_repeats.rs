//! I4, QoS 1 repeats have a reason: a message of QoS 1 comes again with DUP, or on a new
//! connection, or when its publisher sent it again. Source: `[MQTT-4.3.2-1]`, `[MQTT-3.3.1-1]`.
//!
//! A fault is a reason too, counted apart, if it was in force, or may have been, at some time from
//! the first sending to the repeat: at least once is what QoS 1 promises through a crash. Not every
//! fault is (`excuse.rs`).
//!
//! How many came again to one client because it connected anew is counted, and not judged: its Receive
//! Maximum bounds what it has not acknowledged, and what it has may come again, too, if its gateway
//! died before the store knew that.
//!
//! Excluded: replays of retained messages.

use std::collections::HashMap;

use super::{Picture, Verdict, Violation, picture::Again};

pub(super) fn judge(picture: &Picture<'_>, verdict: &mut Verdict) {
    // What came again to a client on a new connection, though nobody had sent it again.
    let mut resumed: HashMap<(usize, u32), usize> = HashMap::new();
    for (receipt, message) in picture.live_receipts() {
        let first = receipt.message;
        let first = first.and_then(|message| picture.first_receipt(receipt.client, message));
        let is_new = first.is_some_and(|first| first.connection != receipt.connection);
        let was_sent_again = message.sent_again.is_some_and(|at| at < receipt.at);
        if receipt.qos == 1 && is_new && !was_sent_again {
            let connection = (receipt.client, receipt.connection);
            *resumed.entry(connection).or_default() += 1;
        }
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
    verdict.most_resumed = resumed.into_values().max().unwrap_or_default();
}
