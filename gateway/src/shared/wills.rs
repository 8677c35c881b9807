//! Wills of sessions that any gateway may have.
//!
//! Whoever has a session publishes its will when that is due, and the will stays stored until
//! everybody whom it is for has it. A gateway that dies on the way leaves it to whoever has the
//! session next, who publishes it once more under the same [`Origin`]: it reaches those who have
//! not had it. While it is under way here nobody else gets the session, within bounds of time.
//! One with a delay is published only if Redis says when that is over that nobody else has it: whoever
//! has it forgets such a will, and this gateway may have stood still meanwhile, or be cut off.
//!
//! [`Origin`]: crate::session::received::Origin

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use gatemq_node::seeded_bug::{Bug, is_seeded};
use gatemq_storage::Batch;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::broker::Broker;
use crate::proto::mqtt::Qos;
use crate::receipt::{IfRefused, Owed};
use crate::store::{Name, Ticket, keys};
use crate::turn::Turn;
use crate::turn::traced::From;
use crate::will::{Late, Leave, Still, Will};

/// Wills that are being published here, by session.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    last_ticket: u64,
    by_session: HashMap<u64, Vec<Entry>, RandomState>,
}

#[derive(Debug)]
struct Entry {
    ticket: u64,
    /// Whether it is the one that is stored: no later one has taken its place.
    is_stored: bool,
}

// === impl UnderWay ===

impl UnderWay {
    /// A will of a session is being published.
    pub(crate) fn begin(&self, session: u64) -> u64 {
        let mut state = self.state.lock();
        state.last_ticket += 1;
        let ticket = state.last_ticket;
        let entries = state.by_session.entry(session).or_default();
        entries.iter_mut().for_each(|entry| entry.is_stored = false);
        entries.push(Entry {
            ticket,
            is_stored: true,
        });
        ticket
    }

    /// Forgets a will that is still under way, by `forget`, if it is still the one that is stored.
    pub(crate) fn forget<T>(
        &self,
        session: u64,
        ticket: u64,
        forget: impl FnOnce() -> T,
    ) -> Option<T> {
        let mut state = self.state.lock();
        let entries = state.by_session.get_mut(&session)?;
        let entry = entries.iter_mut().find(|entry| entry.ticket == ticket)?;
        std::mem::take(&mut entry.is_stored).then(forget)
    }

    /// It is under way no more. `forget` is called if it is still the one that is stored.
    pub(crate) fn end(&self, session: u64, ticket: u64, forget: impl FnOnce()) {
        let mut state = self.state.lock();
        let Some(entries) = state.by_session.get_mut(&session) else {
            return;
        };
        if let Some(at) = entries.iter().position(|entry| entry.ticket == ticket) {
            if entries.swap_remove(at).is_stored {
                forget(); // under the lock: no other one is stored in between
            }
            if entries.is_empty() {
                state.by_session.remove(&session);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Another will of a session is stored, by `store`: whatever is under way is not to be forgotten
    /// there any more.
    pub(crate) fn replace<T>(&self, session: u64, store: impl FnOnce() -> T) -> T {
        let mut state = self.state.lock();
        let entries = state.by_session.get_mut(&session).into_iter().flatten();
        entries.for_each(|entry| entry.is_stored = false);
        store()
    }

    /// Whether a will of a session is being published.
    pub(crate) fn has(&self, session: u64) -> bool {
        self.state.lock().by_session.contains_key(&session)
    }

    /// Waits until no will of a session is being published.
    pub(crate) async fn out(&self, session: u64) {
        self.wait(|state| !state.by_session.contains_key(&session))
            .await;
    }

    /// Waits until none is, but for as many as are held and stay in the store.
    pub(crate) async fn all_out(&self, n_held: impl Fn() -> usize) {
        /// How often it is looked whether one is held by now.
        const LOOK: Duration = Duration::from_millis(20);
        let out = self.wait(|state| state.n_under_way() <= n_held());
        tokio::pin!(out);
        while tokio::time::timeout(LOOK, &mut out).await.is_err() {
            self.changed.notify_waiters();
        }
    }

    async fn wait(&self, is_so: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if is_so(&self.state.lock()) {
                return;
            }
            changed.await;
        }
    }
}

impl State {
    fn n_under_way(&self) -> usize {
        self.by_session.values().map(Vec::len).sum()
    }
}

// === publishing ===

impl Broker {
    /// Publishes a will that is stored in Redis, if its client still may, and forgets it when it is
    /// safe wherever it goes.
    pub(crate) fn publish_stored_will(self: &Arc<Self>, session: u64, will: &Will, leave: Leave) {
        let ticket = self.wills.begin(session);
        match leave {
            Leave::Given => self.let_out(session, ticket, will),
            Leave::Refused => self
                .wills
                .end(session, ticket, || self.forget_will(session)),
            Leave::Unknown | Leave::Later => {
                let (broker, will) = (self.clone(), will.clone());
                let late = Late::new(self, session);
                // If this gateway stops first, whoever has the session then asks.
                self.see_to("will", async move {
                    match broker.wait_with_will(late, &will, leave).await {
                        Some(Still::Due) => broker.let_out(session, ticket, &will),
                        Some(Still::Elsewhere) => broker.wills.end(session, ticket, || ()),
                        Some(Still::Back) | None => broker
                            .wills
                            .end(session, ticket, || broker.forget_will(session)),
                    }
                });
            }
        }
    }

    /// Waits until a will may be published; `None` if it may not.
    async fn wait_with_will(&self, mut late: Late, will: &Will, leave: Leave) -> Option<Still> {
        late.begin(self, will).await;
        match self.wait_for_leave(will, leave).await {
            true => Some(late.judge(self, will).await),
            false => None,
        }
    }

    /// A will is due. Of QoS 0 it goes to other nodes without a name by which they would know it again,
    /// so it is out of the store before it leaves; others are forgotten when everybody has them.
    fn let_out(self: &Arc<Self>, session: u64, ticket: u64, will: &Will) {
        if will.message.as_ref().qos > Qos::AtMostOnce {
            return self.route_stored_will(session, ticket, will);
        }
        let forgetting = self.wills.forget(session, ticket, || {
            let mut batch = Batch::default();
            batch.delete(&keys::will(session));
            self.store.make_safe(batch)
        });
        let (broker, will) = (self.clone(), will.clone());
        let late = Late::new(self, session);
        self.see_to("will", async move {
            let is_forgotten = match forgetting {
                Some(forgotten) => match forgotten.await {
                    Ok(is_safe) => is_safe,
                    Err(_) => return, // the store has stopped: it is there still, or is lost
                },
                None => true, // a later one is stored in its place
            };
            // Not where another gateway has it; but there may have been no room for what else was to
            // be stored with it.
            let is_elsewhere =
                !is_forgotten && late.judge(&broker, &will).await == Still::Elsewhere;
            match is_elsewhere {
                true => broker.wills.end(session, ticket, || ()),
                false => broker.route_stored_will(session, ticket, &will),
            }
        });
    }

    fn route_stored_will(self: &Arc<Self>, session: u64, ticket: u64, will: &Will) {
        let mut turn = Turn::new(self);
        turn.if_refused = IfRefused::Lost;
        turn.route_will(will, session);
        if !turn.must_wait() {
            turn.finish(None);
            self.wills
                .end(session, ticket, || self.forget_will(session));
            return;
        }
        let (sender, done) = oneshot::channel();
        turn.finish(Some(Owed::of_nobody(sender)));
        let (broker, client_id) = (self.clone(), will.client_id.clone());
        self.see_to("will", async move {
            let done = done.await;
            if let Ok(Some(reason)) = done {
                tracing::warn!(client.id = &*client_id, %reason, "will not published everywhere");
            }
            broker.wills.end(session, ticket, || {
                if done.is_ok() {
                    broker.forget_will(session);
                }
            });
        });
    }

    /// Takes a will out of the store.
    pub(super) fn forget_will(&self, session: u64) {
        let mut batch = Batch::default();
        batch.delete(&keys::will(session));
        self.store.submit(batch, Ticket::default());
    }
}

impl Turn<'_> {
    /// Routes a session's will under the origin that is stored with it.
    fn route_will(&mut self, will: &Will, session: u64) {
        let message = will.message_at(self.now, self.settings.message_expiry);
        self.has_publisher = message.qos > Qos::AtMostOnce;
        let client_id = &*will.client_id;
        let origin = will.origin.filter(|_| !is_seeded(Bug::WillTwice));
        let name = origin.map(Name::Will);
        let published = self.publish_traced(message, (From::Will, client_id), |turn, message| {
            if message.retain {
                return turn.publish_stored(&message, will.author(), (name, Some(session)));
            }
            let plan = turn.broker.table.plan(message.topic);
            turn.begin_message();
            if let Some(name) = name.filter(|_| turn.has_publisher) {
                turn.go_on_as(name);
            }
            let published = turn.route_begun(message, &plan, will.author());
            turn.since = None;
            published
        });
        if let Some(reason) = published.refused.filter(|_| !message.retain) {
            tracing::warn!(client.id = client_id, %reason, "will not published everywhere");
        }
        self.has_publisher = false;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_will_is_forgotten_unless_a_later_one_is_stored() {
        let wills = UnderWay::default();
        let n_forgotten = Cell::new(0);
        let forget = || n_forgotten.set(n_forgotten.get() + 1);
        let first = wills.begin(7);
        let second = wills.begin(7);
        let other = wills.begin(8);
        wills.end(7, first, forget);
        assert_eq!(n_forgotten.get(), 0, "the second is the one that is stored");
        assert!(wills.has(7));
        wills.end(7, second, forget);
        assert_eq!((n_forgotten.get(), wills.has(7)), (1, false));
        wills.replace(8, || ());
        wills.end(8, other, forget);
        wills.end(8, other, forget);
        assert_eq!((n_forgotten.get(), wills.has(8)), (1, false));
    }

    #[test]
    fn a_will_is_forgotten_once_while_it_is_under_way_or_afterwards() {
        let wills = UnderWay::default();
        let (first, other) = (wills.begin(7), wills.begin(8));
        assert_eq!(wills.forget(7, first, || "forgotten"), Some("forgotten"));
        assert_eq!(wills.forget(7, first, || "again"), None);
        wills.end(7, first, || panic!("it is forgotten"));
        wills.replace(8, || ());
        assert_eq!(wills.forget(8, other, || "the later one"), None);
    }

    #[tokio::test]
    async fn who_wants_the_session_waits_until_its_will_is_out() {
        let wills = UnderWay::default();
        wills.out(7).await;
        let ticket = wills.begin(7);
        let short = Duration::from_millis(5);
        assert!(tokio::time::timeout(short, wills.out(7)).await.is_err());
        wills.out(8).await;
        tokio::join!(wills.out(7), wills.all_out(|| 0), async {
            wills.end(7, ticket, || ());
        });
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_wills_that_are_held() {
        let wills = UnderWay::default();
        wills.begin(7);
        let short = Duration::from_millis(100);
        let out = tokio::time::timeout(short, wills.all_out(|| 0));
        assert!(out.await.is_err());
        let n_held = Cell::new(0);
        tokio::join!(wills.all_out(|| n_held.get()), async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            n_held.set(1); // nobody says so
        });
    }
}
