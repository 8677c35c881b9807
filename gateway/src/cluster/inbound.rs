//! Messages that other nodes send: to subscribers of this node, and never on to a third.
//!
//! A message is answered when it is safe here, with its batch; one that came before is answered
//! behind the batch of the first time.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use gatemq_node::seeded_bug::{Bug, is_its_turn, is_seeded};
use gatemq_router::peer::{
    Deliver, First, Flags, Inlet, Message, Pick, Release, ReleaseReply, ReleaseRequest, Verdict,
};

use super::Cluster;
use super::answers::{Accepted, pick_id};
use super::forward::{DENIED, Wanted};
use crate::broker::Broker;
use crate::memory::Level;
use crate::message::MessageRef;
use crate::metrics::Limit;
use crate::proto::mqtt::{Qos, Reason};
use crate::session::received::Origin;
use crate::store::redis::Fenced;
use crate::trace;
use crate::turn::author::Author;
use crate::turn::{Since, Turn};

/// How long the last write of a session that is let go may take.
const WRITTEN: Duration = Duration::from_secs(2);

/// Takes what other nodes send.
#[derive(Clone, Debug)]
pub(crate) struct Inbound(pub(crate) Arc<Broker>);

/// Lets go of clients whose sessions other nodes have, or want.
#[derive(Clone, Debug)]
pub(crate) struct Releasing(pub(crate) Arc<Broker>);

impl Deliver for Inbound {
    const TELLS_EARLY: bool = false;

    async fn deliver(&self, inlet: &Arc<Inlet>, first: u64, messages: Vec<Message>) {
        let broker = &self.0;
        let mut messages = (first..).zip(messages).peekable();
        let Some(cluster) = &broker.cluster else {
            return;
        };
        // A source that is gone and does not know it yet does not know either where anybody is now:
        // it is not to acknowledge anything any more. And if it is this gateway that is gone, nobody
        // is here any more.
        let is_current = || cluster.serves(inlet.destination());
        while messages.peek().is_some() {
            let has_room = tokio::select! {
                has_room = self.room() => has_room,
                () = broker.tasks_end.cancelled() => return, // unanswered: it goes elsewhere
            };
            if cluster.is_fenced(inlet.source()) || !is_current() {
                return Accepted::give_back(inlet, messages);
            }
            let mut turn = Turn::new(broker);
            let mut verdicts = Vec::new();
            while !turn.is_heavy()
                && let Some((number, message)) = messages.next()
            {
                let is_answered = message.flags & 0b11 != 0;
                if !has_room && !must_take(cluster, &message) {
                    match is_answered {
                        true => verdicts.push((number, refuse(cluster, &message))),
                        false => turn.tally.dropped += 1,
                    }
                    continue;
                }
                turn.inbound = Some(verdicts.len());
                let verdict = take(&mut turn, &message);
                turn.inbound = None;
                if is_answered {
                    verdicts.push((number, verdict));
                }
            }
            let mut accepted = Accepted::new(inlet, verdicts);
            if !is_current() {
                // Whoever was here may be elsewhere by now: that nobody wanted it says nothing.
                accepted.answer_all(&Verdict::Moved);
            }
            turn.finish_forwarded(accepted);
            tokio::task::consume_budget().await;
        }
    }
}

impl Inbound {
    /// Waits until there is room for messages: meanwhile the stream is not read, and whoever publishes
    /// elsewhere waits for an answer. Not for ever, or one gateway without memory stops all the others;
    /// returns whether there is. Where there is none, publishers are told, as where a queue is full.
    async fn room(&self) -> bool {
        let broker = &self.0;
        if broker.store.is_congested() {
            broker.store.relieved().await;
        }
        if broker.memory.level() < Level::Short {
            return true;
        }
        broker.metrics.limits_hit.inc(Limit::Memory);
        let longest = broker.config.limits.stuck_timeout;
        broker.memory.room_for_messages(longest).await
    }
}

impl Release for Releasing {
    async fn release(&self, request: ReleaseRequest) -> ReleaseReply {
        let broker = &self.0;
        if !request.is_moved {
            // Its will goes out from here, and not from there once more at the same time.
            let out = broker.wills.out(request.number);
            let _ = tokio::time::timeout(WRITTEN, out).await;
        }
        let session = broker
            .registry
            .lock(&request.client_id)
            .find(&request.client_id)
            .cloned();
        let Some(session) = session else {
            return ReleaseReply {
                is_released: true,
                ..ReleaseReply::default()
            };
        };
        if request.is_moved {
            // Unless it has come back meanwhile.
            let epoch = session
                .claim_epoch
                .load(std::sync::atomic::Ordering::Acquire);
            if session.number == request.number && epoch <= request.epoch {
                broker.drop_moved(&session);
            }
            return ReleaseReply {
                is_released: true,
                ..ReleaseReply::default()
            };
        }
        let epoch = session
            .claim_epoch
            .load(std::sync::atomic::Ordering::Acquire);
        let is_gone = request.has_claimed && session.number == request.number;
        if is_gone && epoch <= request.epoch {
            broker.lose(&session, Fenced::Taken);
        }
        let is_released = broker.wait_until_free(&session).await;
        let out = broker.wills.out(session.number);
        let _ = tokio::time::timeout(WRITTEN, out).await;
        // Behind what it wrote last: whoever asked can claim it now, and has all that it has had.
        let written = broker.store.make_safe(gatemq_storage::Batch::default());
        let _ = tokio::time::timeout(WRITTEN, written).await;
        let recent = session.recent.lock().loose();
        ReleaseReply {
            is_released,
            recent,
        }
    }
}

/// Whether a message is taken though there is no room.
///
/// One that has been here before, if only for some of those whom it is for, is theirs already: its
/// publisher would send it as another one if it were refused. And one that nobody would publish again
/// would be lost, although it is acknowledged; what there is of those does not grow by waiting.
fn must_take(cluster: &Cluster, message: &Message) -> bool {
    let Some(flags) = Flags::of(message).filter(|flags| flags.qos() > Qos::AtMostOnce) else {
        return false;
    };
    let (source, id) = (message.source, message.id);
    let origin = Origin { source, id };
    let has_had = |pick| cluster.has_picked(origin, named(pick));
    flags.is_orphan()
        || flags.is_ask()
        || cluster.seen.lock().has(source, id)
        || message.picks.iter().any(has_had)
}

fn take(turn: &mut Turn<'_>, message: &Message) -> Verdict {
    let flags = message.flags as u8;
    let (Some(qos), Ok(topic)) = (
        Qos::from_bits(flags & 0b11),
        std::str::from_utf8(&message.topic),
    ) else {
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
    let source = message.source;
    (turn.message_id, turn.source) = (message.id, source);
    let is_ask = Flags::of(message).is_some_and(Flags::is_ask);
    turn.is_repeat = Flags::of(message).is_some_and(Flags::is_repeat);
    turn.source_knows = match message.knows {
        0 => u64::MAX, // it does not say, or it is of QoS 0
        revision => revision,
    };
    let is_direct = flags & 0b1000 != 0;
    let mut picks = message.picks.clone();
    if qos > Qos::AtMostOnce {
        let now = First {
            stamp: cluster.stamp(),
            knows: turn.source_knows,
        };
        let mut seen = cluster.seen.lock();
        if is_direct {
            turn.since = seen.note(source, message.id, now).map(Since::Seen);
        }
        drop(seen);
        let n_picks = picks.len();
        let mut seen = cluster.seen_picks.lock();
        picks.retain(|pick| {
            let id = pick_id(message.id, named(pick));
            match is_ask {
                true => !seen.has(source, id),
                // Somebody who goes on with it was told no, and sees to it.
                false if !turn.is_repeat && seen.refusal(source, id).is_some() => false,
                false => seen.note(source, id, now).is_none(),
            }
        });
        // Behind whatever the first time has put into the store.
        turn.must_commit |= turn.since.is_some() || picks.len() < n_picks;
    }
    if qos > Qos::AtMostOnce && !is_ask && is_seeded(Bug::DropOneInN) && is_its_turn() {
        return Verdict::Accepted;
    }
    let parent = trace::follow(&broker.config.tracer, &message.trace);
    let passed = MessageRef {
        publisher: message.publisher,
        qos,
        retain: flags & 0b100 != 0,
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
        is_direct,
        picks: &picks,
        is_ask,
        refused: RefCell::default(),
        is_moving: Cell::new(false),
        is_denied: Cell::new(false),
    };
    let plan = broker.table.plan(topic);
    for pick in wanted.picks {
        // A node that is known elsewhere may not be known here yet.
        let mut filters = plan
            .filters()
            .iter()
            .filter(|it| *it.text() == *pick.filter);
        if !filters.any(|filter| filter.subscribers().groups.get(&*pick.group).is_some()) {
            wanted.refuse(&pick.group, &pick.filter);
        }
    }
    let published = turn.route_here(
        passed,
        &plan,
        Author::named(&message.client_id, ""),
        &wanted,
    );
    (turn.since, turn.source_knows) = (None, u64::MAX);
    let (is_moving, is_denied) = (wanted.is_moving.get(), wanted.is_denied.get());
    let nobody = wanted.refused.into_inner();
    if !nobody.is_empty() {
        let mut seen = cluster.seen_picks.lock();
        for pick in &nobody {
            let id = pick_id(message.id, named(pick));
            match is_ask {
                true => seen.refuse(source, id, Reason::NoMatchingSubscribers as u8),
                false => seen.strike(source, id),
            }
        }
    }
    turn.source = 0;
    let is_moved = std::mem::take(&mut turn.is_moved);
    match verdict(published.refused, is_moved, is_moving, nobody) {
        Verdict::Refused { picks, .. } if is_denied && !picks.is_empty() => Verdict::Refused {
            reason: DENIED as u8,
            picks,
        },
        Verdict::Refused { reason, picks } if picks.is_empty() => {
            let mut seen = cluster.seen.lock();
            match is_orphan(message) {
                true => seen.strike(source, message.id),
                false => seen.refuse(source, message.id, reason),
            }
            Verdict::Refused { reason, picks }
        }
        verdict => {
            if published.refused.is_some() {
                // It comes again for the sake of another one that has moved, and for this one, too.
                cluster.seen.lock().strike(source, message.id);
            }
            verdict
        }
    }
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

/// Refuses a message for want of room.
fn refuse(cluster: &Cluster, message: &Message) -> Verdict {
    let reason = Reason::QuotaExceeded;
    let mut seen = cluster.seen.lock();
    seen.refuse(message.source, message.id, reason as u8);
    refused(reason)
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

fn named(pick: &Pick) -> (&str, &str) {
    (&pick.group, &pick.filter)
}

fn refused(reason: Reason) -> Verdict {
    Verdict::Refused {
        reason: reason as u8,
        picks: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
