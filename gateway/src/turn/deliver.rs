//! From a message to one session: what the session does with it, and what follows from that.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use gatemq_node::seeded_bug::{Bug, is_seeded};
use parking_lot::MutexGuard;

use super::{Published, Turn};
use crate::auth::rules::Action;
use crate::config::OnFull;
use crate::message::Message;
use crate::metrics::Limit;
use crate::proto::mqtt::{Qos, Reason};
use crate::session::frames::Delivery;
use crate::session::given_back::Standing;
use crate::session::outbound::{Outbound, Taken};
use crate::session::queued::Terms;
use crate::session::received::Origin;
use crate::session::{End, Session};
use crate::store::{Again, Repeat, Stored, keys, record};

/// What a message costs beyond its bytes, roughly.
pub(super) const OVERHEAD: usize = 64;
/// What a publisher is told of a session that nobody of this cluster has.
const STOLEN: Reason = Reason::UnspecifiedError;

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
        let standing = self.stand(session, delivery, terms);
        if standing == Standing::Behind {
            self.is_moved = true; // it comes again, behind what its source has for it elsewhere
            return;
        }
        if self.inbound.is_none()
            && !session.was_here(self.began)
            && delivery.message.qos > Qos::AtMostOnce
        {
            // It has just come, when it had been asked already whether the message is behind others:
            // those may be where it was, so it is routed again behind them.
            self.move_on(delivery, terms);
            return;
        }
        // One that it has given back it has not had, whatever was noted then.
        if standing == Standing::Free && self.pass_had(session, delivery, terms, published) {
            return;
        }
        if self.pass_known(session, delivery, terms) || !self.may_have(session, delivery) {
            return;
        }
        if delivery.message.retain {
            session.fresh.lock().note(delivery.message.topic);
        }
        let mut outbound = session.outbound.lock();
        if self.is_short_for(&outbound, delivery, terms) {
            self.tally.dropped += 1;
            self.capture_dropped(session, outbound.address(), delivery, "the disk is full");
            published.refused = Some(Reason::QuotaExceeded); // before the disk is full
            return;
        }
        let mut taken = outbound.deliver(delivery, terms, &self.settings.bounds);
        if taken == Taken::Full {
            taken = self.make_room(session, &mut outbound, delivery, terms);
        }
        // If another one is full it comes again, as one that nobody has had. What goes into a queue in
        // Redis is noted when it is there.
        let is_taken = match taken {
            Taken::Accepted { .. } => true,
            Taken::Store(_) => self.broker.store.redis().is_none(),
            _ => false,
        };
        let qos = terms.qos.min(delivery.message.qos);
        let is_noted = self.is_in_row && is_taken && qos == Qos::ExactlyOnce;
        self.settle(session, outbound, taken, delivery, terms, published);
        if is_noted {
            let key = self.delivery_key(terms);
            session.recent.lock().note(key, qos);
        }
    }

    /// Whether a message of another node may be given to a session now: not if there may be one before
    /// it that its source has sent it elsewhere, or that it has given back for that.
    #[inline]
    fn stand(&mut self, session: &Session, delivery: &Delivery<'_>, terms: &Terms<'_>) -> Standing {
        if self.inbound.is_none() || delivery.message.qos == Qos::AtMostOnce {
            return Standing::Free;
        }
        let is_unknown = session.is_unknown_to(self.source_knows);
        if terms.share.is_some() {
            // Of a group any member may get the next one, whatever came before.
            return match is_unknown {
                true => Standing::Behind,
                false => Standing::Free,
            };
        }
        let (origin, publisher) = (self.origin(), delivery.message.publisher);
        let cluster = self.broker.cluster.as_ref();
        let is_known =
            |known: Origin| cluster.is_some_and(|it| it.seen.lock().has(known.source, known.id));
        let mut recent = session.recent.lock();
        if is_unknown {
            recent.give_back(origin, publisher, is_known);
            return Standing::Behind;
        }
        recent.stand(origin, publisher, is_known)
    }

    /// Passes over a session that has had a message which goes round again; whether it has. Who waits
    /// for it there is seen to.
    #[inline]
    fn pass_had(
        &mut self,
        session: &Arc<Session>,
        delivery: &mut Delivery<'_>,
        terms: &Terms<'_>,
        published: &mut Published,
    ) -> bool {
        let forgets = is_seeded(Bug::Qos2DedupeOff) && delivery.message.qos == Qos::ExactlyOnce;
        if forgets || self.since.is_none_or(|since| !session.has_had(since)) {
            return false;
        }
        // But where it has gone, that was perhaps too late for it to be kept.
        let (is_moved, is_stolen) = {
            let outbound = session.outbound.lock();
            (outbound.is_moved(), outbound.is_stolen())
        };
        if is_stolen {
            published.refused = Some(STOLEN);
        } else if is_moved && delivery.message.qos > Qos::AtMostOnce {
            self.move_on(delivery, terms);
        } else {
            self.pass_known(session, delivery, terms);
        }
        true
    }

    /// Whether the client of a session may have a message of this topic; counted if not.
    pub(super) fn may_have(&mut self, session: &Session, delivery: &mut Delivery<'_>) -> bool {
        // Of a session that has gone, whoever has it judges.
        let is_allowed = self.broker.guard.is_none()
            || session.may_have(delivery.message.topic, &mut delivery.judged)
            || session.outbound.lock().is_moved();
        if !is_allowed {
            self.tally.deliveries_denied += 1;
            self.capture_dropped(
                session,
                None,
                delivery,
                "the client may not have this topic",
            );
        }
        is_allowed
    }

    /// Whether a message would have to be stored and there is no room on the disk.
    pub(super) fn is_short_for(
        &self,
        outbound: &Outbound,
        delivery: &Delivery<'_>,
        terms: &Terms<'_>,
    ) -> bool {
        outbound.is_stored()
            && self.broker.store.is_short()
            && terms.qos.min(delivery.message.qos) > Qos::AtMostOnce
    }

    /// Does what follows from what a session did with a message.
    #[inline]
    pub(super) fn settle(
        &mut self,
        session: &Arc<Session>,
        mut outbound: MutexGuard<'_, Outbound>,
        taken: Taken,
        delivery: &mut Delivery<'_>,
        terms: &Terms<'_>,
        published: &mut Published,
    ) {
        match taken {
            Taken::Accepted { is_sent } => {
                self.tally.delivered += u64::from(is_sent);
                if is_sent && self.broker.captures.is_any() {
                    self.capture_sent(session, &outbound, delivery, terms);
                }
                if is_sent && delivery.message.trace.is_some() {
                    let qos = terms.qos.min(delivery.message.qos);
                    outbound.trace_sent(&delivery.message, qos, &session.client_id);
                }
                self.weigh(terms.size(&delivery.message));
                if let Some(link) = &mut outbound.link {
                    self.spare.mark(session, link);
                    let patience = self.broker.config.limits.stuck_timeout.as_millis() as u64;
                    if link.is_blocked && self.now.saturating_sub(link.moved_at) > patience {
                        let epoch = link.epoch;
                        drop(outbound);
                        self.broker.metrics.limits_hit.inc(Limit::StuckTimeout);
                        session.request_end_of(epoch, End::stuck());
                    }
                }
            }
            Taken::Store(seq) => {
                if outbound.link.is_some() {
                    let mut shelf = self.shelves.of(session, self.broker, &mut self.batch);
                    outbound.keep_edge_ahead(&mut shelf);
                }
                drop(outbound);
                self.store_queued(session, seq, delivery, terms);
            }
            Taken::Moved => {
                drop(outbound);
                self.move_on(delivery, terms);
            }
            Taken::Stolen => {
                self.tally.dropped += 1;
                published.refused = Some(STOLEN);
            }
            Taken::Dropped => {
                self.tally.dropped += 1;
                let why = "the client is not there, is too slow, or takes no packet of that size";
                self.capture_dropped(session, outbound.address(), delivery, why);
            }
            Taken::Full => {
                let why = "its session takes no more: max-queued";
                self.capture_dropped(session, outbound.address(), delivery, why);
                self.broker.metrics.limits_hit.inc(Limit::MaxQueued);
                let is_stored = outbound.is_stored();
                drop(outbound);
                self.tally.dropped += 1;
                match self.settings.bounds.on_full {
                    OnFull::EndSession => self.doom(session, is_stored),
                    OnFull::Reject => published.refused = Some(Reason::QuotaExceeded),
                    // None of the others may go: it is this one then.
                    OnFull::DropOldest => {}
                }
            }
        }
    }

    /// A session takes no more: it ends, so that no loss is hidden. That it has ended is in the
    /// batch of this turn, so a publisher is acknowledged only when it is safe.
    fn doom(&mut self, session: &Arc<Session>, is_stored: bool) {
        if is_stored {
            self.batch.delete(&keys::session(session.number));
            self.must_commit = true;
        }
        let was_over = std::mem::replace(&mut session.life.lock().is_over, true);
        if !was_over {
            self.doomed.push(session.clone());
        }
    }

    fn store_queued(
        &mut self,
        session: &Arc<Session>,
        seq: u64,
        delivery: &mut Delivery<'_>,
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
        self.weight += value.len() + OVERHEAD;
        self.batch.put(&keys::queue(session.number, seq), value);
        let again = self.again(delivery, terms);
        if let Some(again) = &again {
            if again.qos == Qos::ExactlyOnce {
                let key = again.key.to_be_bytes();
                self.batch.put(&keys::recent(session.number, seq), &key);
            }
            session.recent.lock().expect(again.key);
        }
        self.deliveries.push(Stored {
            session: session.clone(),
            seq,
            again,
        });
        self.must_commit = true;
    }

    /// What a session that has had a message knows it by. What it gets as a member of a group is
    /// another copy than what it gets for itself `[MQTT-4.8.2]`.
    fn delivery_key(&mut self, terms: &Terms<'_>) -> u64 {
        let key = self.message_key();
        terms.share.map_or(key, |share| {
            FixedState::with_seed(key).hash_one((&*share.group, &*share.filter))
        })
    }

    /// What is needed to route a message again, where its session may be another gateway's by now. What
    /// is replayed whoever has that replays anew, and all others have had it.
    pub(super) fn again(
        &mut self,
        delivery: &mut Delivery<'_>,
        terms: &Terms<'_>,
    ) -> Option<Box<Again>> {
        if self.is_replay || self.broker.store.redis().is_none() {
            return None;
        }
        let again = Again {
            message: delivery.owned().clone(),
            key: self.delivery_key(terms),
            qos: known_as(terms.qos, delivery.message.qos),
            origin: self.origin(),
            stamp: self.stamp,
            share: terms.share.cloned(),
            leg: self.has_publisher.then(|| self.leg()),
            inbound: self.inbound,
        };
        Some(Box::new(again))
    }

    /// Passes over a session that has had a message of QoS 1 or 2, here or before it came here, or is
    /// about to; whether so. One is on its way into the queue already: what becomes of that is told
    /// to whoever routed it then, who may be gone. So whoever routes it now waits for it, too, and is
    /// answered the same.
    pub(super) fn pass_known(
        &mut self,
        session: &Arc<Session>,
        delivery: &mut Delivery<'_>,
        terms: &Terms<'_>,
    ) -> bool {
        let qos = terms.qos.min(delivery.message.qos);
        if qos == Qos::AtMostOnce || self.broker.store.redis().is_none() && !self.is_in_row {
            return false;
        }
        if is_seeded(Bug::Qos2DedupeOff) && qos == Qos::ExactlyOnce {
            return false;
        }
        let key = self.delivery_key(terms);
        let (has_had, expects) = {
            let mut recent = session.recent.lock();
            let has_had = recent.has(key, qos);
            if has_had && self.is_in_row && qos == Qos::ExactlyOnce {
                recent.note(key, qos); // it may come once more, behind many others
            }
            (has_had, recent.expects(key))
        };
        if has_had {
            return true;
        }
        // One outside of groups that has moved is given it where it is; in a group another one would be.
        if !expects || terms.share.is_none() && session.outbound.lock().is_moved() {
            return false;
        }
        if let Some(again) = self.again(delivery, terms) {
            self.repeats.push(Repeat {
                session: session.clone(),
                again,
            });
            self.must_commit = true;
        }
        true
    }

    /// A session has gone to another gateway: so does a message for it.
    pub(super) fn move_on(&mut self, delivery: &mut Delivery<'_>, terms: &Terms<'_>) {
        if self.inbound.is_some() {
            self.is_moved = true; // the gateway that it came from routes it again
            return;
        }
        let Some(mut again) = self.again(delivery, terms) else {
            return;
        };
        let leg = again.leg.take();
        match &self.broker.cluster {
            Some(cluster) => {
                if let Some(share) = terms.share {
                    cluster.picked.forget(again.origin, share.pick(), None);
                }
                cluster.route_again(*again, leg);
            }
            None => self.legs.extend(leg), // nobody else could have it
        }
    }

    /// Gives a retained message to a new subscriber. `seen` is the state of the retained messages
    /// in which it was read from the store: unless they are still in that state, its topic is
    /// looked up again, so that no old value follows a newer one that was routed meanwhile.
    pub(crate) fn deliver_retained(
        &mut self,
        session: &Arc<Session>,
        message: &Arc<Message>,
        seen: Option<u64>,
        terms: &Terms<'_>,
    ) {
        self.begin_message();
        self.is_replay = true;
        let retained = &self.broker.retained;
        // The lock under which a newer one would be delivered: what is looked up now comes first.
        let mut outbound = session.outbound.lock();
        let topic = message.as_ref().as_ref().topic;
        let is_shared = self.broker.store.redis().is_some();
        if is_shared && !is_own(topic) && session.fresh.lock().is_old(topic) {
            return; // a newer one has come
        }
        let latest = if is_own(topic) || is_shared || (seen.is_some() && retained.settled() == seen)
        {
            message.clone()
        } else if let Some(latest) = retained.get(&self.broker.store, topic) {
            latest
        } else {
            return; // cleared meanwhile
        };
        if latest.as_ref().as_ref().is_expired(self.now) {
            drop(outbound);
            self.expire_retained(topic);
            return;
        }
        let mut frames = std::mem::take(&mut self.spare.frames);
        let mut delivery = Delivery::of(&latest, self.now, &mut frames);
        let taken = if session.may(Action::Subscribe, topic) {
            outbound.deliver(&mut delivery, terms, &self.settings.bounds)
        } else {
            self.tally.deliveries_denied += 1;
            Taken::Accepted { is_sent: false } // it has had all that it may have
        };
        let mut published = Published::default();
        self.settle(
            session,
            outbound,
            taken,
            &mut delivery,
            terms,
            &mut published,
        );
        self.spare.frames = frames;
    }

    /// Clears the retained message of a topic if it has expired.
    pub(crate) fn expire_retained(&mut self, topic: &str) {
        let broker = self.broker;
        let expired = broker
            .retained
            .expire(&broker.store, &mut self.batch, topic, self.now);
        self.retained
            .extend(expired.map(|number| (topic.into(), number)));
    }
}

/// Whether a message is the broker's own: those are not in the store.
pub(crate) fn is_own(topic: &str) -> bool {
    topic.starts_with("$SYS/")
}

/// As what a session remembers a message: as one of QoS 2 if it was published so, also where the
/// subscription has QoS 1. In a group another member may have QoS 2, and must not get it, too.
fn known_as(granted: Qos, published: Qos) -> Qos {
    match granted {
        Qos::AtMostOnce => Qos::AtMostOnce,
        _ => published,
    }
}
