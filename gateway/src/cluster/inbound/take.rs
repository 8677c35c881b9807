//! One message of another node: what is known of it already, who gets it, and what is answered.

use std::cell::{Cell, RefCell};

use gatemq_node::seeded_bug::{Bug, is_its_turn, is_seeded};
use gatemq_router::Plan;
use gatemq_router::peer::{First, Flags, Message, Pick, Verdict};

use super::super::Cluster;
use super::super::answers::pick_id;
use super::super::forward::{DENIED, Wanted};
use crate::message::MessageRef;
use crate::proto::mqtt::{Qos, Reason};
use crate::session::Subscription;
use crate::trace;
use crate::turn::author::Author;
use crate::turn::{Published, Since, Turn};

/// Takes it from this node; it is safe with the batch of the turn.
pub(super) fn take(turn: &mut Turn<'_>, message: &Message, from: u64) -> Verdict {
    let (Some(flags), Ok(topic)) = (Flags::of(message), std::str::from_utf8(&message.topic)) else {
        return refused(Reason::MalformedPacket);
    };
    let broker = turn.broker;
    let Some(cluster) = &broker.cluster else {
        return refused(Reason::ServerUnavailable);
    };
    if let Some(reason) = refused_before(cluster, message) {
        return Verdict::Refused {
            reason,
            picks: Vec::new(),
        };
    }
    (turn.message_id, turn.source) = (message.id, message.source);
    turn.is_repeat = flags.is_repeat();
    turn.source_knows = match message.knows {
        0 => u64::MAX, // it does not say, or it is of QoS 0
        revision => revision,
    };
    let (picks, others) = note(turn, cluster, message, from);
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
        picks: &picks,
        is_ask: flags.is_ask(),
        refused: RefCell::default(),
        is_moving: Cell::new(false),
        is_denied: Cell::new(false),
    };
    let plan = broker.table.plan(topic);
    // A node that is known elsewhere may not be known here yet.
    for pick in picks.iter().filter(|pick| !has_group(&plan, pick)) {
        wanted.refuse(&pick.group, &pick.filter);
    }
    for pick in &others {
        wanted.refuse_moving(&pick.group, &pick.filter);
    }
    let author = Author::named(&message.client_id, "");
    let published = turn.route_here(passed, &plan, author, &wanted);
    (turn.since, turn.source_knows, turn.source) = (None, u64::MAX, 0);
    let is_moved = std::mem::take(&mut turn.is_moved);
    conclude(cluster, (message, from), published, is_moved, wanted)
}

/// Notes that it has come, and who of this node is to get it: of a repeat, sessions that came since,
/// and the groups that are returned first. The others are those that another node has been told have
/// not had it: that one sees to it now, so whoever sends it has to ask, too.
fn note(
    turn: &mut Turn<'_>,
    cluster: &Cluster,
    message: &Message,
    from: u64,
) -> (Vec<Pick>, Vec<Pick>) {
    let (mut picks, mut others) = (message.picks.clone(), Vec::new());
    let flags = Flags::of(message).unwrap_or_default();
    if flags.qos() == Qos::AtMostOnce {
        return (picks, others);
    }
    let source = message.source;
    let now = First {
        stamp: cluster.stamp(),
        knows: turn.source_knows,
    };
    if flags.is_direct() {
        let mut seen = cluster.seen.lock();
        turn.since = seen.note(source, message.id, now).map(Since::Seen);
    }
    let n_picks = picks.len();
    let mut seen = cluster.seen_picks.lock();
    picks.retain(|pick| {
        let id = pick_id(message.id, named(pick));
        if flags.is_ask() {
            return !seen.has(source, id);
        }
        if seen.refusal(source, id).is_some_and(|by| by != brief(from)) {
            others.push(pick.clone());
            return false;
        }
        seen.note(source, id, now).is_none()
    });
    // Behind whatever the first time has put into the store.
    turn.must_commit |= turn.since.is_some() || picks.len() < n_picks;
    (picks, others)
}

/// Who has asked whether a group has had it, as that is noted where a refusal is: in a byte. Of
/// incarnations that are alive at a time, two have hardly ever the same.
fn brief(node: u64) -> u8 {
    node as u8
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
    let (is_moving, is_denied) = (wanted.is_moving.get(), wanted.is_denied.get());
    let nobody = wanted.refused.into_inner();
    if !nobody.is_empty() {
        let mut seen = cluster.seen_picks.lock();
        for pick in &nobody {
            let id = pick_id(id, named(pick));
            match wanted.is_ask {
                true => seen.refuse(source, id, brief(from)),
                false if seen.refusal(source, id).is_some() => {}
                false => seen.strike(source, id),
            }
        }
    }
    match verdict(published.refused, is_moved, is_moving, nobody) {
        Verdict::Refused { picks, .. } if is_denied && !picks.is_empty() => Verdict::Refused {
            reason: DENIED as u8,
            picks,
        },
        Verdict::Refused { reason, picks } if picks.is_empty() => {
            let mut seen = cluster.seen.lock();
            match is_orphan(message) {
                true => seen.strike(source, id),
                false => seen.refuse(source, id, reason),
            }
            Verdict::Refused { reason, picks }
        }
        verdict => {
            if published.refused.is_some() {
                // It comes again for the sake of another one that has moved, and for this one, too.
                cluster.seen.lock().strike(source, id);
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
    if !flags.is_repeat() || flags.is_orphan() {
        return None;
    }
    cluster.seen.lock().refusal(message.source, message.id)
}

/// Whether nobody would publish it again: then it is to be tried as often as it comes.
fn is_orphan(message: &Message) -> bool {
    Flags::of(message).is_some_and(Flags::is_orphan)
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
