//! I8, wills: exactly once for each connection that ends without DISCONNECT, and never else.
//! Source: `[MQTT-3.1.2-8]`, `[MQTT-3.1.2-10]`, `[MQTT-3.1.3-9]`.
//!
//! It is not due when the connection ended in order, or did not end, or when its client came back
//! to the session within the delay. The client does not know when the broker saw the end: for some
//! time after the delay both are right, if it comes back then. Nor does the broker always see it
//! last: a gateway that stands still or is cut off is taken for gone, its sessions are adopted, and
//! the delay counts from then on, while its clients are connected to it until it hears of that. So
//! with a fault behind them both are right, too, if the delay may have passed. Both are right as well
//! where it is not known whether the CONNECT or the DISCONNECT arrived.
//!
//! A subscriber must have received it if it was granted a QoS above 0 before the connection can have
//! ended, and drained later than it was due; with QoS 1 it may come again (I4 tells why). Groups are not
//! looked at.

use crate::{
    checker::{
        Picture, Verdict, Violation,
        picture::{Moment, Will},
    },
    history::Ending,
};

/// How much later than the client the broker may see the end of a connection.
const LATE: u64 = 30_000_000_000;
/// How long after a fault a gateway may still have clients and not know that it was taken for gone.
const UNAWARE: u64 = 5_000_000_000;
/// How much the two may differ about when the client came back.
const SLACK: u64 = 500_000_000;

/// What becomes of a will.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    /// It is published. The connection ended between these moments, and the delay passes by this
    /// time.
    Once((Moment, Moment), u64),
    Perhaps,
    Never,
}

pub(super) fn judge(picture: &Picture<'_>, verdict: &mut Verdict) {
    for will in &picture.wills {
        let due = due(picture, will);
        let uid = picture.messages[will.message].uid;
        for (client, _) in picture.matching(&uid.topic) {
            let (uid, name) = (uid.clone(), picture.clients[client].name.clone());
            let is_received = picture.first_receipt(client, will.message).is_some();
            match due {
                Due::Never if is_received => {
                    let found = Violation::WillUnasked { uid, client: name };
                    verdict.violations.push(found);
                }
                Due::Once(ended, t) if !is_received && owes(picture, will, client, ended, t) => {
                    let found = Violation::WillLost { uid, client: name };
                    verdict.violations.push(found);
                }
                _ => {}
            }
        }
    }
    for (receipt, message) in picture.live_receipts() {
        if message.is_will && picture.is_surplus(receipt) && receipt.qos != 1 {
            verdict.violations.push(Violation::WillTwice {
                uid: message.uid.clone(),
                client: picture.clients[receipt.client].name.clone(),
            });
        }
    }
}

fn due(picture: &Picture<'_>, will: &Will) -> Due {
    let client = &picture.clients[will.client];
    let connection = client.connections.get(&will.connection);
    let Some((connection, connected)) = connection.and_then(|it| Some((it, it.connected?))) else {
        return Due::Perhaps;
    };
    let ended = match connection.ended {
        // Another connection may have taken over from it.
        None => None,
        Some((_, Ending::Orderly)) => return Due::Never,
        Some((_, Ending::Unclear)) => return Due::Perhaps,
        Some((at, Ending::Cut)) => Some(at),
    };
    let mut later = client.connections.range(will.connection + 1..);
    let back = later.find_map(|(_, it)| it.connected);
    // What is still open ended at the takeover, if there was one.
    let Some(ended) = ended.into_iter().chain(back).min() else {
        return Due::Never;
    };
    let earliest = earliest_end(picture, connected, ended);
    let [may_pass, passes] = [earliest, ended].map(|at| picture.t(at) + will.delay);
    let ended_at = (earliest, ended);
    let mut ends = client.session_ends.iter();
    let of_it = |end: &&(Moment, bool)| end.0 >= ended && back.is_none_or(|back| end.0 <= back);
    let may_end = ends.clone().any(|end| of_it(&end));
    let session_end = ends.find(|end| end.1 && of_it(end));
    match (session_end, back) {
        _ if will.delay == 0 => Due::Once(ended_at, passes),
        (Some((end, _)), _) => Due::Once(ended_at, passes.min(picture.t(*end))),
        (None, Some(_)) if may_end => Due::Perhaps,
        (None, Some(back)) if picture.t(back) + SLACK < may_pass => Due::Never,
        (None, Some(back)) if picture.t(back) < passes + LATE => Due::Perhaps,
        (None, _) => Due::Once(ended_at, passes),
    }
}

/// The first moment at which the broker may have taken a connection for ended, which ended for its
/// client at this one: when the first fault began that was in force then, or not long ago.
fn earliest_end(picture: &Picture<'_>, connected: Moment, ended: Moment) -> Moment {
    let since = picture.t(ended).saturating_sub(UNAWARE);
    let faults = picture.faults.iter().filter(|it| {
        let is_over = it.healed.is_some_and(|healed| picture.t(healed) < since);
        it.from < ended && !is_over
    });
    let began = faults.map(|it| it.from).min();
    began.map_or(ended, |from| from.max(connected))
}

/// Whether the client must have received the will.
fn owes(
    picture: &Picture<'_>,
    will: &Will,
    client: usize,
    (earliest, ended): (Moment, Moment),
    passes: u64,
) -> bool {
    let message = &picture.messages[will.message];
    let drained = picture.clients[client].drained;
    let is_drained = drained.is_some_and(|at| picture.t(at) > passes && at > ended);
    let mut subscriptions = picture.subscriptions_to(&message.uid.topic, client);
    let is_owed = subscriptions.any(|it| {
        let is_since = it.granted.is_some_and(|(at, qos)| qos > 0 && at < earliest);
        let ends = [it.session_end, it.gone, it.unsubscribing, it.degraded];
        is_since && !it.is_shared && ends.iter().all(Option::is_none)
    });
    is_drained && is_owed && message.qos > 0
}
