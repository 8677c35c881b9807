//! From a message to one session: what the session does with it, and what follows from that.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::{Published, Turn};
use crate::config::OnFull;
use crate::message::Message;
use crate::proto::mqtt::{Qos, Reason};
use crate::session::frames::Delivery;
use crate::session::outbound::{Outbound, Taken};
use crate::session::queued::Terms;
use crate::session::{End, Session};
use crate::store::{QueueShelf, keys, record};

impl Turn<'_> {
    /// Gives a message to a session.
    #[inline]
    pub(super) fn deliver(
        &mut self,
        session: &Arc<Session>,
        delivery: &mut Delivery<'_>,
        terms: &Terms<'_>,
        published: &mut Published,
    ) {
        let mut outbound = session.outbound.lock();
        if outbound.is_stored()
            && self.broker.store.is_short()
            && terms.qos.min(delivery.message.qos) > Qos::AtMostOnce
        {
            self.tally.dropped += 1;
            published.refused = Some(Reason::QuotaExceeded); // before the disk is full
            return;
        }
        let mut taken = outbound.deliver(delivery, terms, &self.broker.bounds);
        if taken == Taken::Full && self.broker.bounds.on_full == OnFull::DropOldest {
            let mut shelf = QueueShelf {
                store: &self.broker.store,
                session: session.number,
                batch: &mut self.batch,
            };
            if outbound.drop_oldest(&mut shelf) {
                self.tally.dropped += 1;
                taken = outbound.deliver(delivery, terms, &self.broker.bounds);
            }
        }
        self.settle(session, outbound, taken, delivery, terms, published);
    }

    /// Does what follows from what a session did with a message.
    #[inline]
    pub(super) fn settle(
        &mut self,
        session: &Arc<Session>,
        mut outbound: MutexGuard<'_, Outbound>,
        taken: Taken,
        delivery: &Delivery<'_>,
        terms: &Terms<'_>,
        published: &mut Published,
    ) {
        match taken {
            Taken::Accepted => {
                self.tally.delivered += 1;
                if let Some(link) = &mut outbound.link {
                    if !link.is_dirty && !link.outbox.is_empty() {
                        link.is_dirty = true;
                        self.spare.dirty.push(session.clone());
                    }
                    let patience = self.broker.config.limits.stuck_timeout.as_millis() as u64;
                    if link.is_blocked && self.now.saturating_sub(link.moved_at) > patience {
                        drop(outbound);
                        session.request_end(End::stuck());
                    }
                }
            }
            Taken::Store(seq) => {
                drop(outbound);
                self.store_queued(session, seq, delivery, terms);
            }
            Taken::Dropped => self.tally.dropped += 1,
            Taken::Full => {
                drop(outbound);
                self.tally.dropped += 1;
                match self.broker.bounds.on_full {
                    OnFull::EndSession => self.doomed.push(session.clone()),
                    OnFull::Reject | OnFull::DropOldest => {
                        published.refused = Some(Reason::QuotaExceeded);
                    }
                }
            }
        }
    }

    fn store_queued(
        &mut self,
        session: &Arc<Session>,
        seq: u64,
        delivery: &Delivery<'_>,
        terms: &Terms<'_>,
    ) {
        let message = &delivery.message;
        let qos = terms.qos.min(message.qos);
        let value = &mut self.spare.value;
        if delivery.body != 0 {
            if self.stored_body != delivery.body {
                self.stored_body = delivery.body;
                value.clear();
                message.store(value);
                self.batch.put(&keys::body(delivery.body), value);
            }
            self.batch
                .put(&keys::reference(delivery.body, session.number, seq), &[]);
        }
        value.clear();
        record::store_queued(value, qos, terms, message, delivery.body);
        self.batch.put(&keys::queue(session.number, seq), value);
        self.deliveries.push((session.clone(), seq));
        self.must_commit = true;
    }

    /// Gives a retained message to a new subscriber. `seen` is the state of the retained messages
    /// in which it was read: if its topic has changed since, it is read again, so that no old
    /// value follows a newer one that was routed meanwhile.
    pub(crate) fn deliver_retained(
        &mut self,
        session: &Arc<Session>,
        message: &Arc<Message>,
        seen: u64,
        terms: &Terms<'_>,
    ) {
        const TRIES: usize = 3;
        let retained = &self.broker.retained;
        let topic = message.as_ref().as_ref().topic.to_owned();
        let (mut message, mut seen) = (message.clone(), seen);
        let mut frames = std::mem::take(&mut self.spare.frames);
        for attempt in 1..=TRIES {
            if message.as_ref().as_ref().is_expired(self.now) {
                retained.expire(&self.broker.store, &topic, self.now, self);
                break;
            }
            let mut delivery = Delivery::of(&message, self.now, &mut frames);
            let mut outbound = session.outbound.lock();
            // Under the lock under which a newer one would be delivered.
            if retained.n_changes() == seen || attempt == TRIES {
                let taken = outbound.deliver(&mut delivery, terms, &self.broker.bounds);
                let mut published = Published::default();
                self.settle(session, outbound, taken, &delivery, terms, &mut published);
                break;
            }
            drop(outbound);
            seen = retained.n_changes();
            let Some(newer) = retained.get(&self.broker.store, &topic) else {
                break;
            };
            message = newer;
        }
        self.spare.frames = frames;
    }
}
