//! What a queue drops because it was told to (`session.on-full: drop-oldest`) and the broker counts
//! (`gateway_messages_dropped_total`) is not lost: it is known to be gone. So of the subscribers whose
//! queues these are exactly as many messages have to be missing as were counted. Fewer, and the counter
//! cries wolf; more, and some were lost without a word. Source: the project's promise 8, "overload
//! sheds, never swells", and what the sample configuration says of `on-full`.
//!
//! A message that was not acknowledged is counted where a queue dropped it, and nobody can say whether
//! it should have come: those may be among the counted ones, or not. For everybody else I1 and I7 hold
//! as ever; the books of these subscribers (I7) cannot balance.

use std::collections::HashSet;

use super::{Picture, Verdict, Violation, verdict::Dropped};

pub(super) fn excuse(picture: &Picture<'_>, dropped: &Dropped, verdict: &mut Verdict) {
    if dropped.clients.is_empty() {
        return;
    }
    let missing = verdict.violations.iter().filter(|it| match it {
        Violation::Lost { client, .. } => dropped.clients.contains(client),
        _ => false,
    });
    let (missing, counted) = (missing.count(), dropped.n_messages);
    let unknown = n_unknown(picture, dropped);
    // Which of them were lost, if too many are missing, nobody knows: all of them are told.
    if missing <= counted {
        verdict.violations.retain(|it| match it {
            Violation::Lost { client, .. } | Violation::Unbalanced { client, .. } => {
                !dropped.clients.contains(client)
            }
            _ => true,
        });
        verdict.n_dropped = missing;
    }
    if !(missing..=missing + unknown).contains(&counted) {
        let found = Violation::Miscounted {
            missing,
            unknown,
            counted,
        };
        verdict.violations.insert(0, found); // what comes first is read
    }
}

/// Messages that were never acknowledged, for each of these subscribers that was there and did not
/// receive them.
fn n_unknown(picture: &Picture<'_>, dropped: &Dropped) -> usize {
    let clients: HashSet<&str> = dropped.clients.iter().map(|name| &**name).collect();
    let mut n_unknown = 0;
    let open = picture.messages.iter().enumerate();
    for (number, message) in open.filter(|(_, it)| it.accepted.is_none() && !it.is_will) {
        for (client, _) in picture.matching(&message.uid.topic) {
            let mut subscriptions = picture.subscriptions_to(&message.uid.topic, client);
            let is_there = subscriptions.any(|it| it.asked < message.first_sent);
            let is_one = clients.contains(&**picture.clients[client].name);
            let has_it = picture.first_receipt(client, number).is_some();
            n_unknown += usize::from(is_there && is_one && !has_it);
        }
    }
    n_unknown
}
