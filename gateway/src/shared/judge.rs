//! What follows where a batch was not written as a whole: sessions that are another gateway's,
//! and what Redis has no room for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gatemq_storage::Batch;

use crate::broker::Broker;
use crate::proto::mqtt::Reason;
use crate::receipt::{Leg, Owed};
use crate::session::Session;
use crate::store::redis::{Fenced, Verdict};
use crate::store::{Again, Name, Published, Stored, Ticket};

impl Broker {
    /// Sees to what was refused of a ticket's batch, and takes that out of the ticket. Returns
    /// packets that may leave.
    pub(crate) fn judge(self: &Arc<Self>, ticket: &mut Ticket, verdict: &Verdict) -> Vec<Owed> {
        // What a turn stored for its own session is what its packets confirm.
        if let Some(owed) = &mut ticket.owed {
            owed.is_void |= verdict.is_lost(owed.session.number);
        }
        if let Some(receipt) = &ticket.receipt {
            receipt.void(|number| verdict.is_lost(number));
        }
        self.part_with_sessions(verdict);
        let mut owed = self.judge_deliveries(ticket, verdict);
        let is_written = |(session, _): &mut (Arc<Session>, u64)| !verdict.is_lost(session.number);
        ticket.edges.retain_mut(is_written);
        owed.extend(judge_exchanges(ticket, verdict));
        owed.extend(self.judge_retained(ticket, verdict));
        if !verdict.is_safe()
            && let Some(waiter) = ticket.waiter.take()
        {
            let _ = waiter.send(false); // whoever waited may have gone
        }
        owed
    }

    /// Sessions that are another gateway's are let go of; those that Redis has no room for end.
    fn part_with_sessions(self: &Arc<Self>, verdict: &Verdict) {
        for fence in &verdict.fenced {
            // Not if it has been claimed anew since: what was refused was the old claim's.
            let is_still =
                |session: &Arc<Session>| session.claim_epoch.load(Ordering::Acquire) == fence.epoch;
            if let Some(session) = self.owned.find(fence.number).filter(is_still) {
                self.lose(&session, fence.why);
            }
        }
        for (number, why) in &verdict.refused {
            if let Some(session) = self.owned.find(*number) {
                // What it should have got is not there: it ends, so that no loss is hidden.
                self.end_overfull(&session, (*why).into());
            }
        }
    }

    /// What was stored for a session that is another gateway's goes on to it; where there was no room
    /// its publisher is told.
    fn judge_deliveries(self: &Arc<Self>, ticket: &mut Ticket, verdict: &Verdict) -> Vec<Owed> {
        let mut owed = Vec::new();
        for stored in std::mem::take(&mut ticket.deliveries) {
            let number = stored.session.number;
            match verdict.fence_of(number).map(|fence| fence.why) {
                // It has ended, and whom it was for with it: unless that is a group.
                Some(Fenced::Missing) if !stored.is_of_group() => owed.extend(let_go(stored, None)),
                Some(_) => {
                    let again = stored.again;
                    owed.extend(again.and_then(|again| self.send_on(*again, ticket)));
                }
                None if verdict.is_refused(number) => {
                    if let Some(accepted) = &mut ticket.accepted
                        && let Some(at) = stored.again.as_ref().and_then(|again| again.inbound)
                    {
                        accepted.refuse(at, Reason::QuotaExceeded);
                    }
                    let is_last = stored.session.outbound.lock().refuse(stored.seq);
                    if is_last {
                        self.end_settled(&stored.session);
                    }
                    owed.extend(let_go(stored, Some(Reason::QuotaExceeded)));
                }
                None => ticket.deliveries.push(stored),
            }
        }
        owed
    }

    /// Who publishes what was to be retained is told that it is not.
    fn judge_retained(&self, ticket: &mut Ticket, verdict: &Verdict) -> Vec<Owed> {
        let mut owed = Vec::new();
        for (topic, change) in &verdict.retained {
            if let Some(limit) = change.limit() {
                self.metrics.limits_hit.inc(limit);
            }
            if change.is_kept() {
                continue;
            }
            let (is_late, reason) = match change.is_late() {
                true => (true, Reason::SessionTakenOver),
                false => (false, Reason::QuotaExceeded),
            };
            for published in &mut ticket.published {
                // At QoS 0, and of a will, nobody can be told: those who are subscribed get it all
                // the same, unless it comes behind what its client has published elsewhere.
                if published.message.as_ref().as_ref().topic != &**topic
                    || (matches!(published.name, Some(Name::Will(_))) && !is_late)
                {
                    continue;
                }
                published.is_refused |= is_late;
                if let Some(leg) = published.leg.take() {
                    published.is_refused = true;
                    owed.extend(refuse(published, leg, reason));
                }
            }
        }
        owed
    }

    /// Answers those who have routed what was on its way already: it is where the session is, or it
    /// is routed again. What is still not known is asked once more, behind what is written by now.
    pub(crate) fn judge_repeats(&self, ticket: &mut Ticket) -> Vec<Owed> {
        let (mut owed, mut waiting) = (Vec::new(), Vec::new());
        for mut repeat in std::mem::take(&mut ticket.repeats) {
            let session = &repeat.session;
            if session.outbound.lock().is_moved() {
                owed.extend(self.send_on(*repeat.again, ticket));
            } else if session.recent.lock().expects(repeat.again.key)
                && !session.life.lock().is_over
            {
                waiting.push(repeat);
            } else {
                let leg = repeat.again.leg.take();
                owed.extend(leg.and_then(|leg| leg.done(None)));
            }
        }
        if !waiting.is_empty() {
            let ticket = Ticket {
                accepted: ticket.accepted.take(),
                repeats: waiting,
                ..Ticket::default()
            };
            self.store.submit(Batch::default(), ticket);
        }
        owed
    }

    /// A message whose session is another gateway's is routed again, by the gateway that it came
    /// from.
    fn send_on(&self, mut again: Again, ticket: &mut Ticket) -> Option<Owed> {
        if let (Some(cluster), Some(share)) = (&self.cluster, &again.share) {
            cluster.picked.forget(again.origin, share.pick(), None);
        }
        if let Some(at) = again.inbound {
            if let Some(accepted) = &mut ticket.accepted {
                accepted.send_back(at, again.share.as_deref());
            }
            return None;
        }
        let leg = again.leg.take();
        match &self.cluster {
            Some(cluster) => {
                cluster.route_again(again, leg);
                None
            }
            None => leg.and_then(|leg| leg.done(Some(Reason::UnspecifiedError))),
        }
    }
}

/// Exchanges of publishers whose sessions are elsewhere: the identifiers were not stored, and whoever
/// publishes sends it again, to the gateway that has the session now, under another number.
fn judge_exchanges(ticket: &mut Ticket, verdict: &Verdict) -> Vec<Owed> {
    let mut owed = Vec::new();
    for published in &mut ticket.published {
        let publisher = published.message.as_ref().as_ref().publisher;
        if published.exchange.is_some() && verdict.is_lost(publisher) {
            published.is_refused = true;
            let leg = published.leg.take();
            owed.extend(leg.and_then(|leg| leg.done(Some(Reason::SessionTakenOver))));
        }
    }
    owed
}

/// A publish is not kept. What follows for an exchange is its own receipt's, which it has none of yet.
fn refuse(published: &Published, leg: Leg, reason: Reason) -> Option<Owed> {
    let Some((exchange, publisher)) = published.exchange.zip(published.publisher.clone()) else {
        return leg.done(Some(reason));
    };
    let whose = (exchange.packet_id, exchange.print);
    let mut owed = Owed::of_exchange(publisher, whose, Some(leg));
    owed.failures.push((0, reason));
    Some(owed)
}

fn let_go(stored: Stored, failure: Option<Reason>) -> Option<Owed> {
    let again: Again = *stored.again?;
    again.leg.and_then(|leg| leg.done(failure))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageRef;
    use crate::proto::mqtt::{PacketId, Qos};
    use crate::receipt::Receipt;
    use crate::session::Life;
    use crate::session::outbound::Outbound;
    use crate::session::queued::Share;
    use crate::session::received::{Origin, Print};
    use crate::store::redis::{Change, Fence};
    use crate::store::{Begun, Repeat};

    const KEY: u64 = 7;

    fn session() -> Arc<Session> {
        let session = Session::new(1, "c", Outbound::new(true), Life::default());
        session.recent.lock().expect(KEY);
        Arc::new(session)
    }

    /// A ticket with a message that was on its way to the session when it came again.
    fn repeated(session: &Arc<Session>) -> Ticket {
        let message = MessageRef::any(Qos::ExactlyOnce);
        let receipt = Receipt::new(1);
        let leg = receipt.leg(Some(0));
        let owed = Owed::of_exchange(session.clone(), (PacketId::MIN, Print::any()), None);
        receipt.seal(Some(owed));
        assert!(receipt.commit().is_none(), "it waits for the message");
        let again = Again {
            message: Arc::new(message.to_message()),
            key: KEY,
            qos: Qos::ExactlyOnce,
            origin: Origin { source: 1, id: 1 },
            stamp: 1,
            share: None,
            leg: Some(leg),
            inbound: None,
        };
        let repeat = Repeat {
            session: session.clone(),
            again: Box::new(again),
        };
        Ticket {
            repeats: vec![repeat],
            ..Ticket::default()
        }
    }

    #[tokio::test]
    async fn a_repeat_is_answered_as_what_was_on_its_way() {
        let broker = Broker::in_memory();
        let session = session();
        session.recent.lock().note(KEY, Qos::ExactlyOnce);
        let owed = broker.judge_repeats(&mut repeated(&session));
        assert!(matches!(&*owed, [owed] if owed.failures.is_empty()));
    }

    #[tokio::test]
    async fn a_repeat_is_not_confirmed_where_its_session_has_gone_meanwhile() {
        let broker = Broker::in_memory();
        let session = session();
        session.outbound.lock().move_away();
        let owed = broker.judge_repeats(&mut repeated(&session));
        // There is no cluster here to route it again.
        assert!(matches!(&*owed, [owed] if !owed.failures.is_empty()));
    }

    #[tokio::test]
    async fn a_group_whose_member_has_gone_takes_a_message_when_it_comes_again() {
        let broker = Broker::in_cluster();
        let cluster = broker.cluster.clone().expect("there is one");
        let (session, origin) = (session(), Origin { source: 5, id: 1 });
        cluster.picked.claim(origin, ("g", "t"), 1, 0);
        session.outbound.lock().move_away();
        let mut ticket = repeated(&session);
        let again = &mut ticket.repeats[0].again;
        again.origin = origin;
        again.share = Some(Arc::new(Share {
            group: "g".into(),
            filter: "t".into(),
        }));
        broker.judge_repeats(&mut ticket);
        assert!(!cluster.picked.has(origin, ("g", "t")));
    }

    /// As where its client has been at another gateway meanwhile, and is done with it.
    #[tokio::test]
    async fn only_a_group_is_owed_what_came_for_a_session_that_has_ended() {
        let broker = Broker::in_memory();
        for is_of_group in [false, true] {
            let session = session();
            let mut ticket = repeated(&session);
            let Some(Repeat { session, mut again }) = ticket.repeats.pop() else {
                panic!("there is one");
            };
            again.share = is_of_group.then(|| {
                Arc::new(Share {
                    group: "g".into(),
                    filter: "t".into(),
                })
            });
            let number = session.number;
            ticket.deliveries.push(Stored {
                session,
                seq: 0,
                again: Some(again),
            });
            let fence = Fence {
                number,
                why: Fenced::Missing,
                epoch: 0,
            };
            let verdict = Verdict {
                fenced: vec![fence],
                ..Verdict::default()
            };
            let owed = broker.judge(&mut ticket, &verdict);
            // There is no cluster here to choose another member.
            let is_refused = matches!(&*owed, [owed] if !owed.failures.is_empty());
            assert_eq!(is_refused, is_of_group);
        }
    }

    /// Its client hears that when the identifier is gone, and takes it for another message.
    #[tokio::test]
    async fn a_retained_publish_of_an_exchange_that_is_not_kept_ends_the_exchange() {
        let broker = Broker::in_memory();
        let session = session();
        session.received.lock().insert_routing(PacketId::MIN);
        let receipt = Receipt::new(1);
        let mut ticket = Ticket::default();
        ticket.published.push(Published {
            message: Arc::new(MessageRef::any(Qos::ExactlyOnce).to_message()),
            client_id: "c".into(),
            username: "".into(),
            leg: Some(receipt.leg(Some(0))),
            publisher: Some(session),
            is_held: true,
            is_unkept: false,
            exchange: Some(Begun {
                packet_id: PacketId::MIN,
                origin: Origin { source: 1, id: 1 },
                is_resumed: false,
                print: Print::any(),
            }),
            name: None,
            is_refused: false,
        });
        let topic = MessageRef::any(Qos::ExactlyOnce).topic;
        let verdict = Verdict {
            retained: vec![(topic.into(), Change::Full)],
            ..Verdict::default()
        };
        let owed = broker.judge(&mut ticket, &verdict);
        assert!(ticket.published[0].is_refused);
        let [owed] = &*owed else {
            panic!("{owed:?}");
        };
        assert_eq!(owed.failures, [(0, Reason::QuotaExceeded)]);
        assert!(owed.parent.is_some() && owed.number == 0);
    }

    #[tokio::test]
    async fn nothing_is_said_of_a_repeat_while_nothing_is_known() {
        let broker = Broker::in_memory();
        let session = session();
        assert!(broker.judge_repeats(&mut repeated(&session)).is_empty());
    }
}
