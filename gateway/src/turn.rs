//! One turn of work: everything that follows from one read of a socket, one group of commits,
//! or one timer.
//!
//! A turn collects: packets go into outboxes and their links on a list, changes into one batch.
//! [`Turn::finish`] then hands the batch to the store and writes each link once, however many
//! messages it got. Comes after [`crate::connection`]; what waits for the commit continues in
//! [`crate::completion`].

use std::cell::RefCell;
use std::sync::Arc;

use gatemq_router::{Plan, Strategy, share};
use gatemq_storage::Batch;
use hashbrown::HashMap;
use parking_lot::MutexGuard;
use smallvec::SmallVec;

use crate::broker::Broker;
use crate::config::{OnFull, ShareStrategy};
use crate::message::{Message, MessageRef};
use crate::metrics::Tally;
use crate::proto::mqtt::{Qos, Reason};
use crate::rounds::Promise;
use crate::session::frames::{Delivery, Frames};
use crate::session::outbound::{Outbound, Share, Taken, Terms};
use crate::session::{End, Session, Subscription};
use crate::store::{Owed, QueueShelf, Ticket, keys, record};

/// Bodies from this size on are stored once for several queues.
const BODY_FROM: usize = 256;

/// The work of one turn.
#[derive(Debug)]
pub(crate) struct Turn<'b> {
    pub(crate) broker: &'b Arc<Broker>,
    /// Unix milliseconds, read once.
    pub(crate) now: u64,
    /// Changes of the store.
    pub(crate) batch: Batch,
    /// Whether something in the batch must be safe before its cause is acknowledged.
    pub(crate) must_commit: bool,
    pub(crate) tally: Tally,
    /// Packets for the connection whose turn it is, to go out at its end.
    pub(crate) replies: Vec<u8>,
    /// Packets for it that go out when the batch is safe.
    pub(crate) deferred: Vec<u8>,
    deliveries: Vec<(Arc<Session>, u64)>,
    /// Retained topics that changed, with the numbers of the changes.
    pub(crate) retained: Vec<(Box<str>, u64)>,
    doomed: Vec<Arc<Session>>,
    /// The body that was stored last.
    stored_body: u64,
    spare: Spare,
}

/// What is kept from turn to turn for its buffers.
#[derive(Debug, Default)]
struct Spare {
    frames: Frames,
    dirty: Vec<Arc<Session>>,
    overlapping: HashMap<u64, Overlap>,
    value: Vec<u8>,
}

/// A session that a message reaches through several subscriptions.
#[derive(Debug)]
struct Overlap {
    session: Arc<Session>,
    qos: Qos,
    retain_as_published: bool,
    ids: SmallVec<[u32; 4]>,
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Published {
    /// Whether any subscriber matched.
    pub(crate) is_matched: bool,
    /// Why it must not be acknowledged with success.
    pub(crate) refused: Option<Reason>,
}

thread_local! {
    static SPARE: RefCell<Vec<Spare>> = const { RefCell::new(Vec::new()) };
}

impl<'b> Turn<'b> {
    pub(crate) fn new(broker: &'b Arc<Broker>) -> Self {
        Self {
            broker,
            now: broker.clock.now(),
            batch: Batch::default(),
            must_commit: false,
            tally: Tally::default(),
            replies: Vec::new(),
            deferred: Vec::new(),
            deliveries: Vec::new(),
            retained: Vec::new(),
            doomed: Vec::new(),
            stored_body: 0,
            spare: SPARE.with_borrow_mut(Vec::pop).unwrap_or_default(),
        }
    }

    /// Keeps a retained message and routes a publish to everybody who subscribed.
    pub(crate) fn publish(
        &mut self,
        message: MessageRef<'_>,
        plan: &Plan<Subscription>,
        client_id: &str,
    ) -> Published {
        if message.retain
            && let Err(reason) = self.retain(&message)
        {
            return Published {
                is_matched: false,
                refused: Some(reason),
            };
        }
        self.route(message, plan, client_id)
    }

    /// Sets or clears the retained message of a topic.
    fn retain(&mut self, message: &MessageRef<'_>) -> Result<(), Reason> {
        if self.broker.store.is_short() {
            return Err(Reason::QuotaExceeded);
        }
        let maximum = self.broker.config.limits.max_retained;
        let make = || Arc::new(message.to_message());
        let broker = self.broker;
        match broker
            .retained
            .set(&broker.store, &mut self.batch, message, make, maximum)
        {
            Ok(Some(number)) => {
                self.retained.push((message.topic.into(), number));
                self.must_commit = true;
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(crate::retained::Full) => Err(Reason::QuotaExceeded),
        }
    }

    /// Routes a publish.
    pub(crate) fn route(
        &mut self,
        message: MessageRef<'_>,
        plan: &Plan<Subscription>,
        client_id: &str,
    ) -> Published {
        let mut published = Published::default();
        let mut frames = std::mem::take(&mut self.spare.frames);
        let mut delivery = Delivery::new(message, self.now, &mut frames);
        match plan.filters() {
            [] => {}
            [filter] => {
                let subscribers = filter.subscribers();
                let direct = subscribers.direct.as_slice();
                if direct.len() + subscribers.groups.len() > 1 {
                    self.consider_body(&mut delivery);
                } else {
                    delivery.is_lone = true;
                }
                for member in direct {
                    let subscription = &member.value;
                    published.is_matched = true;
                    if subscription.no_local && member.key == message.publisher {
                        continue; // [MQTT-3.8.3-3]
                    }
                    let ids = [subscription.id];
                    let terms = Terms {
                        qos: subscription.qos,
                        retain: subscription.retain_as_published && message.retain,
                        ids: &ids[..usize::from(subscription.id != 0)],
                        share: None,
                    };
                    self.deliver(&subscription.session, &mut delivery, &terms, &mut published);
                }
                for group in subscribers.groups.values() {
                    self.deliver_to_group(group, &mut delivery, client_id, &mut published);
                }
            }
            filters => {
                self.consider_body(&mut delivery);
                let mut overlapping = std::mem::take(&mut self.spare.overlapping);
                for filter in filters {
                    let subscribers = filter.subscribers();
                    for member in subscribers.direct.as_slice() {
                        published.is_matched = true;
                        if !(member.value.no_local && member.key == message.publisher) {
                            overlap(&mut overlapping, member.key, &member.value);
                        }
                    }
                    for group in subscribers.groups.values() {
                        self.deliver_to_group(group, &mut delivery, client_id, &mut published);
                    }
                }
                // [MQTT-3.3.4-2]: one copy with the highest QoS and every identifier.
                for (_, mut overlap) in overlapping.drain() {
                    overlap.ids.sort_unstable();
                    overlap.ids.dedup();
                    let terms = Terms {
                        qos: overlap.qos,
                        retain: overlap.retain_as_published && message.retain,
                        ids: &overlap.ids,
                        share: None,
                    };
                    self.deliver(&overlap.session, &mut delivery, &terms, &mut published);
                }
                self.spare.overlapping = overlapping;
            }
        }
        self.spare.frames = frames;
        published
    }

    /// Reserves a number for the body of a message that several queues may store.
    fn consider_body(&self, delivery: &mut Delivery<'_>) {
        if delivery.message.qos > Qos::AtMostOnce && delivery.message.size() >= BODY_FROM {
            delivery.body = self.broker.store.new_number();
        }
    }

    /// Gives a message to one member of a group, the next one where a member refuses.
    fn deliver_to_group(
        &mut self,
        group: &gatemq_router::Group<Subscription>,
        delivery: &mut Delivery<'_>,
        client_id: &str,
        published: &mut Published,
    ) {
        published.is_matched = true;
        let members = group.members.as_slice();
        let strategy = strategy(self.broker.config.share_strategy);
        let topic = delivery.message.topic;
        let start = strategy.start(members.len(), &group.cursor, || share::Hints {
            client: hash(client_id),
            topic: hash(topic),
            random: hash_number(self.broker.store.new_number()),
        });
        let mut full = None;
        // Members with a connection first, then those whose session can keep it.
        for wants_link in [true, false] {
            for offset in 0..members.len() {
                let at = (start + offset) % members.len();
                let subscription = &members[at].value;
                let mut outbound = subscription.session.outbound.lock();
                if outbound.link.is_some() != wants_link {
                    continue;
                }
                let ids = [subscription.id];
                let terms = Terms {
                    qos: subscription.qos,
                    retain: subscription.retain_as_published && delivery.message.retain,
                    ids: &ids[..usize::from(subscription.id != 0)],
                    share: subscription.share.as_ref(),
                };
                match outbound.deliver(delivery, &terms, &self.broker.bounds) {
                    Taken::Dropped => {}
                    Taken::Full => {
                        full.get_or_insert(&subscription.session);
                    }
                    taken => {
                        let session = &subscription.session;
                        self.settle(session, outbound, taken, delivery, &terms, published);
                        strategy.settle(at, &group.cursor);
                        return;
                    }
                }
            }
        }
        self.tally.dropped += 1;
        match full {
            None => {} // nobody is there who could take it, as with any other subscriber
            Some(session) if self.broker.bounds.on_full == OnFull::EndSession => {
                self.doomed.push(session.clone());
            }
            Some(_) => published.refused = Some(Reason::QuotaExceeded),
        }
    }

    /// Gives a message to a session.
    #[inline]
    fn deliver(
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
    fn settle(
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

    /// Gives a shared message of a session that ended to another member of its group.
    pub(crate) fn redeliver(&mut self, share: &Arc<Share>, message: &Arc<Message>) {
        let plan = self.broker.table.plan(message.as_ref().as_ref().topic);
        let Some(filter) = plan
            .filters()
            .iter()
            .find(|filter| *filter.text() == *share.filter)
        else {
            return;
        };
        let subscribers = filter.subscribers();
        let Some(group) = subscribers.groups.get(&share.group) else {
            return;
        };
        let mut frames = std::mem::take(&mut self.spare.frames);
        let mut delivery = Delivery::of(message, self.now, &mut frames);
        self.deliver_to_group(group, &mut delivery, "", &mut Published::default());
        self.spare.frames = frames;
    }

    /// Sends a session what it may be sent now.
    pub(crate) fn pump(&mut self, session: &Arc<Session>) {
        let mut outbound = session.outbound.lock();
        let mut shelf = QueueShelf {
            store: &self.broker.store,
            session: session.number,
            batch: &mut self.batch,
        };
        outbound.pump(
            &mut shelf,
            &mut self.spare.frames,
            self.now,
            &self.broker.bounds,
        );
        self.mark(session, &mut outbound);
    }

    /// Notes that a link has something to be written.
    pub(crate) fn mark(&mut self, session: &Arc<Session>, outbound: &mut Outbound) {
        if let Some(link) = &mut outbound.link
            && !link.is_dirty
            && !link.outbox.is_empty()
        {
            link.is_dirty = true;
            self.spare.dirty.push(session.clone());
        }
    }

    /// Ends the turn: submits what is to be stored, and writes every link that got something.
    /// `owed` goes out when the batch is safe.
    pub(crate) fn finish(mut self, owed: Option<Owed>) {
        self.submit(owed);
        while let Some(session) = self.spare.dirty.pop() {
            session.flush(self.now);
        }
        self.end();
    }

    /// Ends the turn of a connection: as [`Self::finish`], but the links are written at the end
    /// of the thread's round. Whoever gets the promise has to come back for that.
    pub(crate) fn finish_in_round(mut self, owed: Option<Owed>) -> Option<Promise> {
        self.submit(owed);
        let promise = self.broker.rounds.add(&mut self.spare.dirty);
        self.end();
        promise
    }

    fn submit(&mut self, owed: Option<Owed>) {
        if owed.is_some() || !self.batch.is_empty() || !self.deliveries.is_empty() {
            let ticket = Ticket {
                deliveries: std::mem::take(&mut self.deliveries),
                owed,
                retained: std::mem::take(&mut self.retained),
                waiter: None,
            };
            self.broker
                .store
                .submit(std::mem::take(&mut self.batch), ticket);
        }
    }

    fn end(mut self) {
        for session in std::mem::take(&mut self.doomed) {
            self.broker.end_overfull(&session);
        }
        self.broker.metrics.add(&self.tally);
        SPARE.with_borrow_mut(|spares| {
            if spares.len() < 4 {
                spares.push(self.spare);
            }
        });
    }
}

fn overlap(overlapping: &mut HashMap<u64, Overlap>, key: u64, subscription: &Subscription) {
    let overlap = overlapping.entry(key).or_insert_with(|| Overlap {
        session: subscription.session.clone(),
        qos: Qos::AtMostOnce,
        retain_as_published: false,
        ids: SmallVec::new(),
    });
    overlap.qos = overlap.qos.max(subscription.qos);
    overlap.retain_as_published |= subscription.retain_as_published;
    if subscription.id != 0 {
        overlap.ids.push(subscription.id);
    }
}

/// How the strategy begins on one node: there, every member is local.
fn strategy(strategy: ShareStrategy) -> Strategy {
    match strategy {
        ShareStrategy::RoundRobin | ShareStrategy::Local => Strategy::RoundRobin,
        ShareStrategy::Random => Strategy::Random,
        ShareStrategy::Sticky => Strategy::Sticky,
        ShareStrategy::HashClient => Strategy::HashClient,
        ShareStrategy::HashTopic => Strategy::HashTopic,
    }
}

fn hash(text: &str) -> u64 {
    use std::hash::BuildHasher;
    foldhash::fast::FixedState::with_seed(0x7368_6172).hash_one(text)
}

fn hash_number(number: u64) -> u64 {
    use std::hash::BuildHasher;
    foldhash::fast::RandomState::default().hash_one(number)
}
