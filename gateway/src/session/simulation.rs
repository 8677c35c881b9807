//! A stored session over its whole life: gateways that have it one after the other, what Redis has of
//! it, and a client that comes, goes and acknowledges, against what was promised to its publishers.
//!
//! The pure parts are put together as the gateway does it: `turn/deliver.rs` gives a message to the
//! session, batches go to Redis one after the other (`store/redis/scripts/write.lua`) and their
//! verdicts come back (`completion.rs`, `shared/judge.rs`); `shared/arrival.rs` makes a session of
//! what is stored. Connections break, with or without the end of one having been written; the
//! session is handed over, or taken from a gateway that goes on and whose writes come too late; a
//! gateway dies with what is on its way, of which some may be stored already. Publishers send again
//! what is not acknowledged, and what comes back.
//!
//! - What was acknowledged is received, each publisher's in order, QoS 2 once.
//! - No packet identifier stands for two messages at a time, nor is the Receive Maximum exceeded,
//!   nor does a message come again without DUP.
//! - What the client itself publishes at QoS 2 is routed under one origin, whoever routes it.

mod client;
mod exchanges;
mod gateway;
mod redis;

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::mqtt::Qos;
use crate::seeds::{self, Dice};
use client::Client;
use exchanges::Exchanges;
use gateway::Here;
use redis::Redis;

/// Steps of one run.
const LENGTH: usize = 250;
/// Messages are theirs in turn; order is that of each.
const PUBLISHERS: u32 = 2;
/// The largest Receive Maximum: `limits.max_inflight`.
const MAX_INFLIGHT: usize = 24;

struct World {
    dice: Dice,
    redis: Redis,
    /// The last one has the session, the others had it; `None` for those that have died.
    gateways: Vec<Option<Here>>,
    client: Client,
    exchanges: Exchanges,
    messages: Vec<Published>,
    /// What is to be routed again, in the order of publishing.
    returned: BTreeSet<u32>,
    /// Counts connections of the client, and tries of messages.
    n_connections: u64,
    n_tries: u64,
    is_calm: bool,
}

/// A message for the session, as its publisher knows it.
struct Published {
    qos: Qos,
    /// What gateways know it by.
    key: u64,
    /// The gateway where it is, and which try that is; what comes of others is of no interest.
    at: usize,
    nth_try: u64,
    is_acknowledged: bool,
}

#[test]
fn nothing_stored_is_lost_or_counted_twice_whoever_has_the_session() {
    let mut n = BTreeMap::new();
    seeds::try_each("nothing_stored_is_lost", 2_500, |seed| {
        let mut world = World::new(seed);
        for _ in 0..LENGTH {
            world.step();
        }
        world.finish();
        *n.entry("messages").or_insert(0) += world.messages.len();
        *n.entry("gateways").or_insert(0) += world.gateways.len();
        *n.entry("connections").or_insert(0) += world.n_connections as usize;
        *n.entry("exchanges").or_insert(0) += world.exchanges.n_done();
    });
    eprintln!("{n:?}");
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let is_slow = dice.one_in(2);
        Self {
            redis: Redis::new(is_slow),
            gateways: vec![Some(Here::new())],
            client: Client::default(),
            exchanges: Exchanges::default(),
            messages: Vec::new(),
            returned: BTreeSet::new(),
            n_connections: 0,
            n_tries: 0,
            is_calm: false,
            dice,
        }
    }

    fn step(&mut self) {
        match self.dice.roll(40) {
            0..=4 => {
                for _ in 0..=self.dice.roll(12) {
                    self.publish();
                }
            }
            5..=7 => self.return_again(),
            8 if self.dice.one_in(6) => self.publisher_dies(),
            9..=15 => self.submit(),
            16..=20 => self.write(),
            21..=25 => self.judge(),
            26 if self.dice.one_in(2) => self.disconnect(),
            27 if self.dice.one_in(4) => self.hand_over(),
            28 if self.dice.one_in(4) => self.take_over(),
            29 if self.dice.one_in(4) => self.die(),
            30 | 31 => self.publish_exchange(),
            _ => self.serve(),
        }
    }

    /// The gateway that has the session.
    fn here(&mut self) -> &mut Here {
        let here = self.gateways.last_mut().and_then(Option::as_mut);
        here.expect("the last one is there")
    }

    fn last(&self) -> usize {
        self.gateways.len() - 1
    }

    // --- publishers ---

    /// One more message; not while an earlier one is elsewhere, see `cluster/moves.rs`. Whoever
    /// publishes may not know yet who has the session.
    fn publish(&mut self) {
        let mut at = self.last();
        if at > 0 && self.gateways[at - 1].is_some() && self.dice.one_in(3) {
            at -= 1;
        }
        let number = self.messages.len() as u32;
        if self.is_elsewhere(number, at) {
            return;
        }
        let qos = [Qos::AtLeastOnce, Qos::ExactlyOnce][self.dice.roll(2) as usize];
        self.messages.push(Published {
            qos,
            key: u64::from(number) + 1,
            at,
            nth_try: 0,
            is_acknowledged: false,
        });
        self.route(number, at);
    }

    /// Whether an earlier message of its publisher is not acknowledged, and not at that gateway.
    fn is_elsewhere(&self, number: u32, at: usize) -> bool {
        let earlier = (0..number).zip(&self.messages);
        let mut earlier = earlier.filter(|(it, _)| it % PUBLISHERS == number % PUBLISHERS);
        earlier.any(|(_, it)| !it.is_acknowledged && it.at != at)
    }

    fn route(&mut self, number: u32, at: usize) {
        self.n_tries += 1;
        self.returned.remove(&number);
        let message = &mut self.messages[number as usize];
        (message.at, message.nth_try) = (at, self.n_tries);
        self.deliver(number, at);
    }

    /// What came back goes to who has the session, the oldest first; what is behind it and still
    /// somewhere else waits.
    fn return_again(&mut self) {
        let last = self.last();
        for number in self.returned.clone() {
            if !self.is_elsewhere(number, last) {
                self.route(number, last);
            }
        }
    }

    /// Their own gateway has died: publishers send again what is not acknowledged. At QoS 2 it is
    /// known that it is the same.
    fn publisher_dies(&mut self) {
        let numbered = (0..).zip(&self.messages);
        let open = numbered.filter(|(_, it)| !it.is_acknowledged);
        let open: Vec<u32> = open.map(|(number, _)| number).collect();
        for number in open {
            self.n_tries += 1;
            let message = &mut self.messages[number as usize];
            if message.qos == Qos::AtLeastOnce {
                message.key = self.n_tries << 32;
            }
            self.route(number, self.last());
        }
    }

    fn acknowledge(&mut self, number: u32, nth_try: u64) {
        let message = &mut self.messages[number as usize];
        if message.nth_try == nth_try {
            message.is_acknowledged = true;
        }
    }

    fn give_back(&mut self, number: u32, nth_try: u64) {
        let message = &self.messages[number as usize];
        if message.nth_try == nth_try && !message.is_acknowledged {
            self.returned.insert(number);
        }
    }

    // --- the end ---

    /// All is written, and the client takes everything.
    fn finish(&mut self) {
        self.is_calm = true;
        for _ in 0..20_000 {
            self.return_again();
            for at in 0..self.gateways.len() {
                self.submit_of(at);
                self.write_of(at);
                self.judge_of(at);
            }
            self.serve();
            let is_open = self.messages.iter().any(|it| !it.is_acknowledged);
            if !is_open && self.redis.is_empty() && self.exchanges.is_done() {
                break;
            }
        }
        for (number, message) in (0..).zip(&self.messages) {
            assert!(message.is_acknowledged, "{number} is not acknowledged");
            assert!(self.client.has(number), "{number} is lost");
        }
        self.exchanges.check_done();
        assert!(self.redis.is_empty(), "something is left");
        assert_eq!(self.here().outbound.n_queued(), 0);
    }
}
