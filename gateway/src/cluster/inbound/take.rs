//! One message of another node: what is known of it already, who gets it, and what is answered.

use std::cell::{Cell, RefCell};

use gatemq_node::seeded_bug::{Bug, is_its_turn, is_seeded};
use gatemq_router::Plan;
use gatemq_router::peer::{First, Flags, Message, Pick, Verdict};

use super::super::Cluster;
use super::super::forward::{DENIED, Wanted};
use super::super::picked::Claim;
use crate::message::MessageRef;
use crate::proto::cluster::bridges;
use crate::proto::mqtt::{Qos, Reason};
use crate::proto::topic::MAX_LENGTH;
use crate::session::Subscription;
use crate::session::received::Origin;
use crate::trace;
use crate::turn::author::Author;
use crate::turn::{Published, Since, Turn};

/// Takes it from this node; it is safe with the batch of the turn.
pub(super) fn take(turn: &mut Turn<'_>, message: &Message, from: u64) -> Verdict {
    let (Some(flags), Ok(topic)) = (Flags::of(message), std::str::from_utf8(&message.topic)) else {
        return refused(Reason::MalformedPacket);
    };
    if topic.len() > MAX_LENGTH {
        return refused(Reason::MalformedPacket); // no client could be sent it
    }
    let broker = turn.broker;
    let Some(cluster) = &broker.cluster else {
        return refused(Reason::ServerUnavailable);
    };
    if flags.is_in_row() && is_behind_refused(cluster, message, from) {
        return refused(Reason::QuotaExceeded);
    }
    if let Some(reason) = refused_before(cluster, message) {
        return Verdict::Refused {
            reason,
            picks: Vec::new(),
        };
    }
    (turn.message_id, turn.source) = (message.id, message.source);
    (turn.is_repeat, turn.is_in_row) = (flags.is_repeat(), flags.is_in_row());
    turn.source_knows = match message.knows {
        0 => u64::MAX, // it does not say, or it is of QoS 0
        revision => revision,
    };
    let picks = note(turn, cluster, message, from);
    let is_kept = flags.qos() > Qos::AtMostOnce && !flags.is_ask();
    if is_kept && is_seeded(Bug::DropOneInN) && is_its_turn() {
        return Verdict::Accepted;
    }
    let parent = trace::follow(&broker.config.tracer, &message.trace);
    let passed = MessageRef {
        publisher: message.publisher,
        qos: flags.qos(),
        retain: flags.is_retained(),
        // By this node's clock: those of two nodes differ.
        expires_at: message
            .expires_in
            .map_or(u64::MAX, |left| turn.now.saturating_add(left)),
        topic,
        properties: &message.properties,
        payload: &message.payload,
        trace: parent.as_ref(),
    };
    let wanted = Wanted {
        is_direct: flags.is_direct(),
        picks: &picks.given,
        had: &picks.had,
        asks: flags.is_ask().then_some(from),
        refused: RefCell::default(),
        full: RefCell::default(),
        is_moving: Cell::new(false),
        n_denied: Cell::new(0),
    };
    let plan = broker.table.plan(topic);
    // A node that is known elsewhere may not be known here yet.
    let given = picks.given.iter();
    for pick in given.filter(|pick| !has_group(&plan, pick)) {
        wanted.refuse(&pick.group, &pick.filter);
    }
    for pick in &picks.others {
        wanted.refuse_moving(&pick.group, &pick.filter);
    }
    let author = Author::named(&message.client_id, "");
    let published = turn.route_here(passed, &plan, author, &wanted);
    (turn.since, turn.source_knows, turn.source) = (None, u64::MAX, 0);
    turn.is_in_row = false;
    let is_moved = std::mem::take(&mut turn.is_moved);
    conclude(cluster, (message, from), published, is_moved, wanted)
}

/// The groups that a message is for.
#[derive(Default)]
struct Picks {
    /// They get it now, or are asked after.
    given: Vec<Pick>,
    /// They had it before.
    had: Vec<Pick>,
    /// Another gateway sees to it that they get it: whoever sends it has to ask, too.
    others: Vec<Pick>,
}

/// Notes that it has come, and who of this node is to get it: of a repeat, sessions that came since.
fn note(turn: &mut Turn<'_>, cluster: &Cluster, message: &Message, from: u64) -> Picks {
    let mut picks = Picks::default();
    let flags = Flags::of(message).unwrap_or_default();
    if flags.qos() == Qos::AtMostOnce || flags.is_ask() {
        picks.given.clone_from(&message.picks);
        return picks;
    }
    let (source, id) = (message.source, message.id);
    turn.has_taken = true;
    if flags.is_direct() {
        let now = First {
            stamp: cluster.stamp(),
            knows: turn.source_knows,
        };
        let mut seen = cluster.seen.lock();
        turn.since = seen.note(source, id, now).map(Since::Seen);
    }
    let origin = Origin { source, id };
    for pick in &message.picks {
        let claim = cluster.picked.claim(origin, named(pick), from, turn.now);
        let picks = match claim {
            Claim::Given => &mut picks.given,
            Claim::Had => &mut picks.had,
            Claim::Others => &mut picks.others,
        };
        picks.push(pick.clone());
    }
    // Behind whatever the first time has put into the store.
    turn.must_commit |= turn.since.is_some() || !picks.had.is_empty();
    picks
}

/// What is answered; what comes again because of that is not taken for something that was had.
fn conclude(
    cluster: &Cluster,
    (message, from): (&Message, u64),
    published: Published,
    is_moved: bool,
    wanted: Wanted<'_>,
) -> Verdict {
    let (source, id) = (message.source, message.id);
    let (is_moving, n_denied) = (wanted.is_moving.get(), wanted.n_denied.get());
    let is_sent_back = is_moved || is_moving;
    let (mut nobody, full) = (wanted.refused.into_inner(), wanted.full.into_inner());
    let origin = Origin { source, id };
    if wanted.asks.is_none() {
        for pick in nobody.iter().chain(&full) {
            cluster.picked.forget(origin, named(pick), Some(from));
        }
    }
    if is_sent_back {
        nobody.extend(full); // they are tried again with the others, and refuse it again
    }
    let flags = Flags::of(message).unwrap_or_default();
    // Its publisher is told no in the end, so it is told now: if the message came again for the sake of
    // whoever has moved, it would come to those, too, who have had it, or behind later ones.
    let is_told = published.refused.is_some() && !is_tried_anew(flags);
    let (is_moved, is_moving) = (is_moved && !is_told, is_moving && !is_told);
    match verdict(published.refused, is_moved, is_moving, nobody) {
        // Of the others it may be known elsewhere in a moment that nobody is here any more.
        Verdict::Refused { picks, .. } if n_denied > 0 && n_denied == picks.len() => {
            Verdict::Refused {
                reason: DENIED as u8,
                picks,
            }
        }
        Verdict::Refused { reason, picks } if picks.is_empty() => {
            note_refusal(cluster, message, from, reason);
            Verdict::Refused { reason, picks }
        }
        verdict => {
            if published.refused.is_some() && flags.is_in_row() {
                // It comes again for the sake of another one that has moved, and for this one, too:
                // what is behind it would be there before it if there is room by then.
                cluster.seen.lock().strike(source, id);
                cluster.rows.break_off((from, message.publisher));
            }
            verdict
        }
    }
}

fn has_group(plan: &Plan<Subscription>, pick: &Pick) -> bool {
    plan.filters().iter().any(|filter| {
        *filter.text() == *pick.filter && filter.subscribers().groups.get(&*pick.group).is_some()
    })
}

/// Why a message was refused, if its source sends it again because it has not heard of that. What
/// was accepted behind it is here by now.
fn refused_before(cluster: &Cluster, message: &Message) -> Option<u8> {
    let flags = Flags::of(message).filter(|flags| flags.qos() > Qos::AtMostOnce)?;
    if !flags.is_repeat() || is_tried_anew(flags) {
        return None;
    }
    cluster.seen.lock().refusal(message.source, message.id)
}

/// Whether it is to be tried as often as it comes: nobody would publish it again, or whoever does has
/// held back what is behind it.
fn is_tried_anew(flags: Flags) -> bool {
    flags.is_orphan() || flags.is_in_row()
}

/// Whether a message was refused behind which this one was sent, and will be again. One that has been
/// taken is taken.
fn is_behind_refused(cluster: &Cluster, message: &Message, from: u64) -> bool {
    cluster.rows.is_broken((from, message.publisher))
        && !cluster.seen.lock().has(message.source, message.id)
}

/// Notes that nobody here has had a message, or not all, for this reason.
pub(super) fn note_refusal(cluster: &Cluster, message: &Message, from: u64, reason: u8) {
    let (source, id) = (message.source, message.id);
    let flags = Flags::of(message).unwrap_or_default();
    match is_tried_anew(flags) {
        true => cluster.seen.lock().strike(source, id),
        false => cluster.seen.lock().refuse(source, id, reason),
    }
    let comes_again = |reason| bridges::is_retried(reason, false);
    if flags.is_in_row() && Reason::from_u8(reason).is_none_or(comes_again) {
        cluster.rows.break_off((from, message.publisher));
    }
}

/// The answer where somebody has not taken the message: one of those who get every copy was full, or
/// has moved, or groups found nobody, or nobody who is not just moving.
fn verdict(full: Option<Reason>, is_moved: bool, is_moving: bool, picks: Vec<Pick>) -> Verdict {
    match full {
        _ if is_moved || is_moving => Verdict::Moving {
            is_direct: is_moved || full.is_some(),
            picks,
        },
        Some(reason) => refused(reason),
        None if picks.is_empty() => Verdict::Accepted,
        None => Verdict::Refused {
            reason: Reason::NoMatchingSubscribers as u8,
            picks,
        },
    }
}

pub(super) fn named(pick: &Pick) -> (&str, &str) {
    (&pick.group, &pick.filter)
}

/// Refuses it for all whom it was for.
pub(super) fn refused(reason: Reason) -> Verdict {
    Verdict::Refused {
        reason: reason as u8,
        picks: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
