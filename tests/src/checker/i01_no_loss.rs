//! I1, no loss: an accepted message that was first sent after SUBACK to a subscription above QoS 0
//! is received by the drain. Source: P1 and P2 of the project's promises, `[MQTT-4.3.2-4]`.
//!
//! Excluded: `$share` filters (I11 has them), wills (I8), messages without payload, which nobody
//! can name, sessions that ended by their clients' choice or by an expiry, subscriptions that were
//! taken back, but for what had been accepted before the UNSUBSCRIBE. A session that the broker
//! lost is not excluded. Who did not drain shows nothing; what was accepted after a drain is not
//! shown either.

use super::{Picture, Verdict, Violation};

pub(super) fn judge(picture: &Picture<'_>, verdict: &mut Verdict) {
    let mut n_after_drain = vec![0_usize; picture.clients.len()];
    for (number, message) in picture.messages.iter().enumerate() {
        let Some(accepted) = message.accepted.filter(|_| !message.is_will) else {
            continue;
        };
        for (client, _) in picture.matching(&message.uid.topic) {
            let mut subscriptions = picture.subscriptions_to(&message.uid.topic, client);
            let is_owed = subscriptions.any(|it| !it.is_shared && it.owes(message));
            if !is_owed || picture.first_receipt(client, number).is_some() {
                continue;
            }
            match picture.clients[client].drained {
                Some(drained) if drained > accepted => verdict.violations.push(Violation::Lost {
                    uid: message.uid.clone(),
                    client: picture.clients[client].name.clone(),
                }),
                Some(_) => n_after_drain[client] += 1,
                None => {}
            }
        }
    }
    for (client, n_after_drain) in picture.clients.iter().zip(n_after_drain) {
        if client.has_to_drain() && client.drained.is_none() {
            let doubt = format!("{} did not drain", client.name);
            verdict.doubts.push(doubt);
        }
        if n_after_drain > 0 {
            let name = client.name;
            let doubt = format!("{name} had drained when {n_after_drain} more were accepted");
            verdict.doubts.push(doubt);
        }
    }
}
