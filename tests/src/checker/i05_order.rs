//! I5, order: the first receipts of one subscriber, of one publisher's messages to one topic that are
//! sent with one QoS and come with one QoS, are in the order of sending: one of QoS 1 may overtake one
//! of QoS 2, also where both come with QoS 1. Source: `[MQTT-4.6.0-6]`, P6.
//!
//! Excluded: wills; what only a shared subscription brings, whose members take over from one
//! another; replays of retained messages; repeats.

use std::collections::HashMap;

use super::{Picture, Verdict, Violation};

pub(super) fn judge(picture: &Picture<'_>, verdict: &mut Verdict) {
    let mut highest: HashMap<(usize, usize, u8, u8), u64> = HashMap::new();
    for (receipt, message) in picture.live_receipts() {
        let mut subscriptions = picture.subscriptions_to(receipt.topic, receipt.client);
        if receipt.again.is_some() || message.is_will || subscriptions.all(|it| it.is_shared) {
            continue;
        }
        let seq = message.uid.seq;
        let key = (receipt.client, message.stream, message.qos, receipt.qos);
        let highest = highest.entry(key).or_insert(seq);
        if *highest > seq {
            verdict.violations.push(Violation::OutOfOrder {
                uid: message.uid.clone(),
                after: *highest,
                client: picture.clients[receipt.client].name.clone(),
            });
        }
        *highest = seq.max(*highest);
    }
}
