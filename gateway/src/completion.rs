//! What follows a commit: messages that are safe are sent, and publishers are acknowledged.
//!
//! This is where the rule for PUBACK and PUBREC is kept: they wait on the ticket of the batch
//! that made their message safe, and leave here, after it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gatemq_storage::Batch;

use crate::broker::Broker;
use crate::proto::mqtt::{PacketId, Reason, Version};
use crate::receipt::{Mark, Owed, Subject};
use crate::rounds::Unwritten;
use crate::session::End;
use crate::session::Session;
use crate::session::acks::{self, Kind};
use crate::session::link::Link;
use crate::session::received::Print;
use crate::store::{Stored, Ticket, keys};
use crate::turn::Turn;

/// Handles commits, in their order, until the gateway stops.
pub(crate) async fn run(broker: Arc<Broker>) {
    let mut unwritten: Option<Unwritten> = None;
    loop {
        let groups = tokio::select! {
            biased;
            groups = broker.store.completed().take() => groups,
            () = write_rest(&mut unwritten), if unwritten.is_some() => continue,
            () = broker.tasks_end.cancelled() => return,
        };
        for group in groups {
            let next = handle(&broker, group);
            Unwritten::advance(&mut unwritten);
            // Two with very many subscribers are not on their way at once: nothing else holds them back.
            if next.is_some()
                && let Some(before) = std::mem::replace(&mut unwritten, next)
            {
                before.write().await;
            }
            tokio::task::consume_budget().await;
        }
    }
}

/// Writes the links that got messages with very many subscribers.
async fn write_rest(unwritten: &mut Option<Unwritten>) {
    while unwritten.is_some() {
        Unwritten::advance(unwritten);
        tokio::task::yield_now().await;
    }
}

fn handle(broker: &Arc<Broker>, group: Vec<Ticket>) -> Option<Unwritten> {
    let mut turn = Turn::new(broker);
    let mut ready: Vec<Arc<Session>> = Vec::new();
    let mut owed = Vec::new();
    for mut ticket in group {
        if let Some(verdict) = ticket.verdict.take() {
            owed.extend(broker.judge(&mut ticket, &verdict));
        }
        owed.extend(broker.judge_repeats(&mut ticket));
        for Stored {
            session,
            seq,
            again,
        } in ticket.deliveries
        {
            let leg = again.and_then(|again| {
                session.recent.lock().note(again.key, again.qos);
                again.leg
            });
            owed.extend(leg.and_then(|leg| leg.done(None)));
            if session.outbound.lock().commit(seq) {
                broker.end_settled(&session);
                continue;
            }
            if ready
                .last()
                .is_none_or(|last| last.number != session.number)
            {
                ready.push(session);
            }
        }
        for (session, edge) in ticket.edges {
            session.outbound.lock().commit_edge(edge);
            ready.push(session);
        }
        for (topic, number) in ticket.retained {
            if broker.retained.commit(&topic, number, &mut turn.batch) {
                turn.retained.push((topic, number));
            }
        }
        drop(ticket.spans); // they end here
        owed.extend(ticket.owed);
        owed.extend(ticket.receipt.and_then(|receipt| receipt.commit()));
        owed.extend(ticket.legs.into_iter().filter_map(|leg| leg.done(None)));
        for published in ticket.published {
            turn.route_stored(published);
        }
        if let Some(accepted) = ticket.accepted {
            accepted.settle();
        }
        if let Some(waiter) = ticket.waiter {
            let _ = waiter.send(true); // whoever waited may have gone
        }
    }
    ready.sort_unstable_by_key(|session| session.number);
    ready.dedup_by_key(|session| session.number);
    let mut owed = VecDeque::from(owed);
    while let Some(next) = owed.pop_front() {
        // A SUBACK before the messages of its subscription.
        owed.extend(send(&mut turn, next));
    }
    for session in ready {
        turn.pump(&session);
    }
    turn.finish_in_parts(None)
}

impl Broker {
    /// Sends what is owed, outside of a turn: from wherever the last thing that it waited for was
    /// done.
    pub(crate) fn settle(&self, owed: Option<Owed>) {
        if owed.is_some() {
            self.settle_all(owed);
        }
    }

    /// As [`Self::settle`], for many at once.
    pub(crate) fn settle_all(&self, owed: impl IntoIterator<Item = Owed>) {
        let tickets = owed.into_iter().map(|owed| Ticket {
            owed: Some(owed),
            ..Ticket::default()
        });
        let tickets: Vec<Ticket> = tickets.collect();
        if !tickets.is_empty() {
            self.store.completed().push(tickets);
        }
    }
}

/// Gives a connection what it is owed, if it is still there, in the order of its turns. Returns
/// what may leave after it.
fn send(turn: &mut Turn<'_>, mut owed: Owed) -> Option<Owed> {
    let session = owed.session.clone();
    if owed.is_void {
        // Its connection ends. The number is never settled, so nothing behind it leaves either.
        let exchanges = owed.marks.iter().filter_map(|mark| match mark.subject {
            Subject::Publish {
                kind: Kind::Rec,
                packet_id,
                ..
            } => Some(packet_id),
            _ => None,
        });
        for packet_id in exchanges {
            // What waits for it is held back behind it.
            drop(session.received.lock().remove(packet_id));
        }
        return None;
    }
    if !std::mem::replace(&mut owed.is_taken_back, true)
        && let Some(batch) = take_back(&owed)
    {
        // A client that hears of it takes the identifier for another message. A gateway that went on
        // with the exchange would take that one for this.
        let ticket = Ticket {
            owed: Some(owed),
            ..Ticket::default()
        };
        turn.broker.store.submit(batch, ticket);
        return None;
    }
    // In the order of its marks: there may be very many of both.
    owed.failures.sort_by_key(|(at, _)| *at);
    conclude(turn, &owed);
    if owed.number == 0 {
        let failure = owed.failures.first().map(|(_, reason)| *reason);
        if let Some(waiter) = owed.waiter.take() {
            let _ = waiter.send(failure); // whoever waited may have gone
        }
        return owed.parent.take()?.done(failure);
    }
    let mut outbound = session.outbound.lock();
    let link = outbound.link.as_mut();
    let epoch = owed.epoch;
    let link = link.filter(|link| link.epoch == epoch)?;
    let expected = || session.settled.load(Ordering::Acquire) + 1;
    let mut next = Some(owed);
    if let Some(early) = next.take_if(|owed| owed.number != expected()) {
        link.held.push(early);
    }
    let mut refused = None;
    while let Some(owed) = next {
        session
            .released
            .fetch_add(owed.n_released, Ordering::AcqRel);
        session.settled.fetch_add(1, Ordering::AcqRel);
        if refused.is_none() {
            refused = append(link, &owed).err();
        }
        next = link.take_held(expected());
    }
    let waker = link.resume();
    turn.mark(&session, &mut outbound);
    drop(outbound);
    if let Some(end) = refused {
        session.request_end_of(epoch, end);
    } else if let Some(waker) = waker {
        waker.wake();
    }
    None
}

/// What it acknowledges, with why that failed: the first reason, if there are several.
fn with_failures(owed: &Owed) -> impl Iterator<Item = (&Mark, Option<&Reason>)> {
    let mut failures = owed.failures.iter().peekable();
    owed.marks.iter().enumerate().map(move |(at, mark)| {
        while failures.next_if(|(failed, _)| *failed < at).is_some() {}
        let failure = failures.peek().filter(|(failed, _)| *failed == at);
        (mark, failure.map(|(_, reason)| reason))
    })
}

/// Puts what is owed into the outbox; where a leg failed, what says so. Before 5.0 a publish can
/// only be refused by the end of the connection `[MQTT-3.3.5-2]`.
fn append(link: &mut Link, owed: &Owed) -> Result<(), End> {
    let mut written = 0;
    for (mark, failure) in with_failures(owed) {
        let Some(reason) = failure else {
            continue;
        };
        link.outbox.append_slice(&owed.packets[written..mark.start]);
        written = mark.end;
        let version = link.version;
        match &mark.subject {
            Subject::Publish { .. } if version < Version::V5 => {
                return Err(End::refused(*reason, "a publish could not be taken"));
            }
            Subject::Publish {
                kind, packet_id, ..
            } => {
                let write = |out: &mut Vec<u8>| {
                    acks::write(out, *kind, *packet_id, *reason, version);
                };
                link.outbox.append(acks::LONGEST, write);
            }
            Subject::Subscribe { .. } => {
                // Before 5.0 there is one way to say no.
                let code = match version {
                    Version::V5 => *reason as u8,
                    _ => Reason::UnspecifiedError as u8,
                };
                link.outbox.append_slice(&[code]);
            }
            Subject::Retained => {} // in no packet
        }
    }
    link.outbox.append_slice(&owed.packets[written..]);
    Ok(())
}

/// A client that may not hear of a refusal is told again, from 5.0 on: before there is no way to say
/// no, and it may come once more. Unless it has come once more already: what waits for an exchange
/// hears of it.
fn note_refusal(owed: &Owed, packet_id: PacketId, print: Print, reason: Reason) {
    let session = &owed.session;
    if session.life.lock().version != Some(Version::V5) {
        return;
    }
    let is_later = owed.number > 0 && {
        let outbound = session.outbound.lock();
        let link = outbound.link.as_ref();
        link.is_some_and(|link| link.epoch != owed.epoch)
    };
    if !is_later {
        session.refuse(packet_id, print, reason);
    }
}

/// What removes the identifiers of exchanges that are refused; `None` if none are stored.
fn take_back(owed: &Owed) -> Option<Batch> {
    let session = &owed.session;
    if owed.failures.is_empty() || !session.outbound.lock().is_stored() {
        return None;
    }
    let mut batch = Batch::default();
    for (at, _) in &owed.failures {
        if let Some(Mark { subject, .. }) = owed.marks.get(*at)
            && let Subject::Publish {
                kind: Kind::Rec,
                packet_id,
                print: Some(_),
            } = subject
        {
            batch.delete(&keys::received(session.number, *packet_id));
        }
    }
    (!batch.is_empty()).then_some(batch)
}

/// Does what follows for what is acknowledged, whether or not its connection is still there: what
/// a packet that failed was about to confirm is taken back, and what is safe is noted as such.
fn conclude(turn: &mut Turn<'_>, owed: &Owed) {
    for (mark, failure) in with_failures(owed) {
        if let Subject::Publish {
            packet_id,
            print: Some(print),
            ..
        } = &mark.subject
            && let Some(reason) = failure
        {
            note_refusal(owed, *packet_id, *print, *reason);
        }
        match (&mark.subject, failure) {
            (
                Subject::Publish {
                    kind: Kind::Rec,
                    packet_id,
                    print: Some(_),
                },
                None,
            ) => {
                let waiting = owed.session.received.lock().conclude(*packet_id);
                let done = waiting.into_iter().filter_map(|leg| leg.done(None));
                turn.broker.settle_all(done);
            }
            // The exchange never began: the client may use the identifier for another.
            (
                Subject::Publish {
                    kind: Kind::Rec,
                    packet_id,
                    print: Some(_),
                },
                Some(reason),
            ) => {
                let (_, waiting) = owed.session.received.lock().remove(*packet_id);
                let done = waiting
                    .into_iter()
                    .filter_map(|leg| leg.done(Some(*reason)));
                turn.broker.settle_all(done);
            }
            (Subject::Retained, _) => owed.session.received.lock().conclude_retained(),
            (
                Subject::Subscribe {
                    filter,
                    asked: Some(asked),
                },
                failure,
            ) => match failure {
                None => owed.session.confirm(filter, *asked),
                Some(_) => turn.take_back(&owed.session, filter, *asked),
            },
            _ => {}
        }
    }
    let put_off = owed.session.received.lock().take_put_off();
    for published in put_off {
        turn.route_stored(published);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Life;
    use crate::session::outbound::Outbound;
    use tokio::sync::oneshot;

    /// Its client, once told, takes the identifier for another message.
    #[tokio::test]
    async fn who_is_refused_a_qos_2_publish_is_told_when_its_identifier_is_gone() {
        let broker = Broker::in_memory();
        let session = Session::new(7, "c", Outbound::new(true), Life::default());
        let key = keys::received(7, PacketId::MIN);
        let mut batch = Batch::new();
        batch.put(&key, &[]);
        let safe = broker.store.make_safe(batch);
        let (sender, mut told) = oneshot::channel();
        let mut owed = Owed::of_exchange(Arc::new(session), (PacketId::MIN, Print::any()), None);
        owed.waiter = Some(sender);
        owed.failures.push((0, Reason::QuotaExceeded));
        let ticket = Ticket {
            owed: Some(owed),
            ..Ticket::default()
        };
        let group = broker.store.completed().take().await;
        group
            .into_iter()
            .for_each(|group| drop(handle(&broker, group)));
        assert_eq!(safe.await, Ok(true));
        assert!(broker.store.get(&key).is_some());
        drop(handle(&broker, vec![ticket]));
        assert!(told.try_recv().is_err(), "not yet");
        while told.is_empty() {
            let groups = broker.store.completed().take().await;
            assert!(broker.store.get(&key).is_none());
            groups
                .into_iter()
                .for_each(|group| drop(handle(&broker, group)));
        }
        assert_eq!(told.try_recv(), Ok(Some(Reason::QuotaExceeded)));
    }

    #[test]
    fn each_thing_that_is_acknowledged_has_its_own_failure() {
        let session = Session::new(7, "c", Outbound::new(false), Life::default());
        let mut owed = Owed::of_exchange(Arc::new(session), (PacketId::MIN, Print::any()), None);
        let mark = |start| Mark {
            start,
            end: start,
            subject: Subject::Retained,
        };
        owed.marks = (0..5).map(mark).collect();
        owed.failures = vec![
            (1, Reason::QuotaExceeded),
            (1, Reason::ServerBusy),
            (3, Reason::NotAuthorized),
        ];
        let found: Vec<_> = with_failures(&owed)
            .map(|(mark, failure)| (mark.start, failure.copied()))
            .collect();
        let expected = [
            None,
            Some(Reason::QuotaExceeded),
            None,
            Some(Reason::NotAuthorized),
            None,
        ];
        assert!(found.into_iter().eq(expected.into_iter().enumerate()));
    }
}
