//! What follows a commit: messages that are safe are sent, and publishers are acknowledged.
//!
//! This is where the rule for PUBACK and PUBREC is kept: they wait on the ticket of the batch
//! that made their message safe, and leave here, after it.

use std::sync::Arc;

use crate::broker::Broker;
use crate::session::Session;
use crate::store::{Owed, Ticket};
use crate::turn::Turn;

/// Handles commits, in their order, until the gateway stops.
pub(crate) async fn run(broker: Arc<Broker>) {
    loop {
        let groups = tokio::select! {
            biased;
            groups = broker.store.completed().take() => groups,
            () = broker.tasks_end.cancelled() => return,
        };
        for group in groups {
            handle(&broker, group);
            tokio::task::consume_budget().await;
        }
    }
}

fn handle(broker: &Arc<Broker>, group: Vec<Ticket>) {
    let mut turn = Turn::new(broker);
    let mut ready: Vec<Arc<Session>> = Vec::new();
    let mut owed = Vec::new();
    for ticket in group {
        for (session, seq) in ticket.deliveries {
            if session.outbound.lock().commit(seq) {
                broker.remove_stored(&session);
                continue;
            }
            if ready
                .last()
                .is_none_or(|last| last.number != session.number)
            {
                ready.push(session);
            }
        }
        for (topic, number) in ticket.retained {
            if broker.retained.commit(&topic, number, &mut turn.batch) {
                turn.retained.push((topic, number));
            }
        }
        owed.extend(ticket.owed);
        if let Some(waiter) = ticket.waiter {
            let _ = waiter.send(()); // whoever waited may have gone
        }
    }
    ready.sort_unstable_by_key(|session| session.number);
    ready.dedup_by_key(|session| session.number);
    for owed in owed {
        send(&mut turn, &owed); // a SUBACK before the messages of its subscription
    }
    for session in ready {
        turn.pump(&session);
    }
    turn.finish(None);
}

/// Gives a connection what it is owed, if it is still there.
fn send(turn: &mut Turn<'_>, owed: &Owed) {
    use std::sync::atomic::Ordering::AcqRel;
    let mut outbound = owed.session.outbound.lock();
    let Some(link) = outbound
        .link
        .as_mut()
        .filter(|link| link.epoch == owed.epoch)
    else {
        return;
    };
    owed.session.released.fetch_add(owed.n_released, AcqRel);
    owed.session.settled.fetch_add(1, AcqRel);
    link.outbox.append_slice(&owed.packets);
    let waker = if link.is_paused {
        link.waker.clone()
    } else {
        None
    };
    link.is_paused = false;
    turn.mark(&owed.session, &mut outbound);
    drop(outbound);
    if let Some(waker) = waker {
        waker.wake();
    }
}
