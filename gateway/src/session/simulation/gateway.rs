//! A gateway that has the session, or had it: turns, batches, and what comes of those.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::redis::{Redis, Write};
use super::{World, exchanges};
use crate::message::MessageRef;
use crate::proto::mqtt::{PacketId, Qos};
use crate::session::frames::{Delivery, Flags, Frames};
use crate::session::outbound::tests::{bounds, entry, message};
use crate::session::outbound::{Outbound, Taken};
use crate::session::queued::{Lost, Queued, Shelf, Terms};
use crate::session::received::Received;
use crate::session::recent::Recent;

pub(super) struct Here {
    pub(super) epoch: u64,
    pub(super) outbound: Outbound,
    pub(super) recent: Recent,
    pub(super) received: Received,
    /// What this turn writes; what is on its way; what has come back.
    pub(super) batch: Batch,
    on_way: VecDeque<Batch>,
    verdicts: VecDeque<(Batch, bool)>,
    /// Messages that came again while they were on their way into the queue.
    repeats: Vec<(u32, u64)>,
    /// A page that is being read.
    wanted: Option<(u64, u64)>,
}

/// What is written at once, and what follows.
#[derive(Default)]
pub(super) struct Batch {
    epoch: u64,
    pub(super) writes: Vec<Write>,
    /// Up to where the queue may be sent.
    edges: Vec<u64>,
    /// Messages for the session: number in its queue, message, try.
    deliveries: Vec<(u64, u32, u64)>,
    /// What the client is owed then, if it has that connection still.
    pub(super) owed: Vec<(u64, Owed)>,
    /// What the client has published, and is routed then.
    pub(super) published: Vec<exchanges::Routed>,
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owed {
    Release(PacketId),
    Received(PacketId),
    Complete(PacketId),
}

/// The queue in Redis, as the session sees it in a turn.
struct Reader<'a> {
    redis: &'a Redis,
    writes: &'a mut Vec<Write>,
    edges: &'a mut Vec<u64>,
    wanted: &'a mut Option<(u64, u64)>,
}

impl Shelf for Reader<'_> {
    fn page(&mut self, from: u64, to: u64) -> Option<(Vec<Queued>, Option<u64>)> {
        if self.redis.is_slow {
            *self.wanted = Some((from, to));
            return None;
        }
        Some(self.redis.page(from, to))
    }

    fn forget(&mut self, seq: u64, _: u64) {
        self.writes.push(Write::Forget(seq));
    }

    fn move_edge(&mut self, edge: u64) {
        self.writes.push(Write::Edge(edge));
        self.edges.push(edge);
    }

    fn client_id(&self) -> &str {
        "c"
    }

    fn note(&self, _: &MessageRef<'_>, _: Option<IpAddr>, fate: Result<Flags, Lost>) {
        assert!(fate.is_ok(), "there is room, and nothing expires");
    }

    fn may_send(&mut self, _: &str) -> bool {
        true
    }
}

impl Here {
    pub(super) fn new() -> Self {
        Self {
            epoch: 0,
            outbound: Outbound::new(true),
            recent: Recent::default(),
            received: Received::default(),
            batch: Batch::default(),
            on_way: VecDeque::new(),
            verdicts: VecDeque::new(),
            repeats: Vec::new(),
            wanted: None,
        }
    }

    /// Sends what may be sent now.
    pub(super) fn pump(&mut self, redis: &Redis) {
        let mut reader = Reader {
            redis,
            writes: &mut self.batch.writes,
            edges: &mut self.batch.edges,
            wanted: &mut self.wanted,
        };
        self.outbound
            .pump(&mut reader, &mut Frames::default(), 0, &bounds());
    }

    /// A page that was asked for has come, as it is by now.
    pub(super) fn read(&mut self, redis: &Redis) {
        if let Some((from, to)) = self.wanted.take() {
            let (page, next) = redis.page(from, to);
            self.outbound.handle_page((from, to), page, next);
        }
    }

    fn is_quiet(&self) -> bool {
        self.batch.is_empty() && self.on_way.is_empty() && self.verdicts.is_empty()
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.owed.is_empty() && self.published.is_empty()
    }
}

impl World {
    /// A message comes to a gateway, for the session: `turn/deliver.rs`.
    pub(super) fn deliver(&mut self, number: u32, at: usize) {
        let published = &self.messages[number as usize];
        let (qos, key, nth_try) = (published.qos, published.key, published.nth_try);
        let Some(here) = &mut self.gateways[at] else {
            return self.give_back(number, nth_try);
        };
        if here.recent.has(key, qos) {
            return self.acknowledge(number, nth_try);
        }
        if here.recent.expects(key) && !here.outbound.is_moved() {
            return here.repeats.push((number, nth_try));
        }
        let message = message(number, qos);
        let mut frames = Frames::default();
        let terms = Terms {
            qos,
            retain: false,
            ids: &[],
            share: None,
        };
        let mut delivery = Delivery::new(message.as_ref(), 0, &mut frames);
        match here.outbound.deliver(&mut delivery, &terms, &bounds()) {
            Taken::Store(seq) => {
                let known_by = (qos == Qos::ExactlyOnce).then_some(key);
                here.recent.expect(key);
                let queued = entry(seq, &message, qos);
                here.batch.writes.push(Write::Put(queued, known_by));
                here.batch.deliveries.push((seq, number, nth_try));
            }
            Taken::Moved => self.give_back(number, nth_try),
            taken => panic!("{taken:?}"),
        }
    }

    // --- batches ---

    pub(super) fn submit(&mut self) {
        let at = self.any();
        self.submit_of(at);
    }

    pub(super) fn write(&mut self) {
        let at = self.any();
        self.write_of(at);
    }

    pub(super) fn judge(&mut self) {
        let at = self.any();
        self.judge_of(at);
    }

    /// Mostly the one that has the session.
    fn any(&mut self) -> usize {
        let back = self.dice.roll(4) as usize / 3;
        self.last().saturating_sub(back)
    }

    /// The end of a turn.
    pub(super) fn submit_of(&mut self, at: usize) {
        if let Some(here) = &mut self.gateways[at]
            && !here.batch.is_empty()
        {
            let mut batch = std::mem::take(&mut here.batch);
            batch.epoch = here.epoch;
            here.on_way.push_back(batch);
        }
    }

    /// Redis carries out the first batch.
    pub(super) fn write_of(&mut self, at: usize) {
        if let Some(here) = &mut self.gateways[at]
            && let Some(mut batch) = here.on_way.pop_front()
        {
            let writes = std::mem::take(&mut batch.writes);
            let is_written = self.redis.write(at, batch.epoch, writes);
            here.verdicts.push_back((batch, is_written));
        }
    }

    /// What follows when a gateway hears of it: `completion.rs`, `shared/judge.rs`.
    pub(super) fn judge_of(&mut self, at: usize) {
        let Some(here) = &mut self.gateways[at] else {
            return;
        };
        let Some((batch, is_written)) = here.verdicts.pop_front() else {
            return;
        };
        if !is_written && batch.epoch == here.epoch {
            here.outbound.move_away();
        }
        for edge in batch.edges.into_iter().filter(|_| is_written) {
            here.outbound.commit_edge(edge);
        }
        for (seq, number, nth_try) in batch.deliveries {
            // The key of that try is what was noted when it came.
            let published = &self.messages[number as usize];
            let here = self.gateways[at].as_mut().expect("it is there");
            if is_written {
                here.recent.note(published.key, published.qos);
                here.outbound.commit(seq);
                self.acknowledge(number, nth_try);
            } else {
                self.give_back(number, nth_try);
            }
        }
        self.judge_repeats(at);
        for routed in batch.published {
            if is_written {
                self.route_exchange(at, routed);
            }
        }
        for (connection, owed) in batch.owed {
            let is_there = at == self.last() && connection == self.client.connection;
            if is_written && is_there {
                self.client.owed(owed);
            }
        }
    }

    fn judge_repeats(&mut self, at: usize) {
        let here = self.gateways[at].as_mut().expect("it is there");
        for (number, nth_try) in std::mem::take(&mut here.repeats) {
            let here = self.gateways[at].as_mut().expect("it is there");
            let key = self.messages[number as usize].key;
            if here.outbound.is_moved() {
                self.give_back(number, nth_try);
            } else if here.recent.expects(key) {
                here.repeats.push((number, nth_try));
            } else {
                self.acknowledge(number, nth_try);
            }
        }
    }

    // --- the session goes to another gateway ---

    /// In order: the connection ends, all is written, and what is only in memory goes along.
    pub(super) fn hand_over(&mut self) {
        self.disconnect();
        let at = self.last();
        while self.gateways[at]
            .as_ref()
            .is_some_and(|here| !here.is_quiet())
        {
            self.submit_of(at);
            self.write_of(at);
            self.judge_of(at);
        }
        let loose = self.here().recent.loose();
        self.arrive();
        for key in loose {
            self.here().recent.note(key, Qos::AtLeastOnce);
        }
    }

    /// From one that does not let go, and does not know yet.
    pub(super) fn take_over(&mut self) {
        self.client.lose_connection();
        self.arrive();
    }

    /// With all that it had in memory. What was on its way to Redis may get there still.
    pub(super) fn die(&mut self) {
        self.client.lose_connection();
        let at = self.last();
        self.submit_of(at);
        for _ in 0..self.dice.roll(4) {
            self.write_of(at);
        }
        self.gateways[at] = None;
        let numbered = (0..).zip(&self.messages);
        let lost = numbered.filter(|(_, it)| it.at == at && !it.is_acknowledged);
        let lost: Vec<u32> = lost.map(|(number, _)| number).collect();
        self.returned.extend(lost);
        self.arrive();
    }

    /// Another gateway makes the session of what is stored.
    fn arrive(&mut self) {
        let sent_below = self.redis.sent_below();
        let epoch = self.redis.claim(self.gateways.len(), false);
        let (outbound, recent, received) = self.redis.restore(sent_below);
        self.gateways.push(Some(Here {
            epoch,
            outbound,
            recent,
            received,
            ..Here::new()
        }));
    }
}

/// The number of a message in the queue.
pub(super) fn number_of(queued: &Queued) -> Option<u32> {
    let message: &Arc<_> = queued.message.as_ref()?;
    let payload = message.as_ref().as_ref().payload;
    payload.try_into().ok().map(u32::from_be_bytes)
}
