//! The client of the session, and what it must and must not see.

use std::collections::{BTreeMap, BTreeSet};

use super::gateway::Owed;
use super::redis::{Write, had};
use super::{MAX_INFLIGHT, PUBLISHERS, World};
use crate::proto::mqtt::{PacketId, Qos, Reason};
use crate::session::link::Link;
use crate::session::outbound::Acknowledged;
use crate::session::outbound::tests::{Seen, taken};

#[derive(Default)]
pub(super) struct Client {
    /// The number of its connection; 0 for none.
    pub(super) connection: u64,
    receive_maximum: usize,
    /// What it has received, and the last that was new of each publisher.
    known: BTreeSet<u32>,
    last: BTreeMap<u32, u32>,
    /// QoS 2 that its application has been given.
    given: BTreeSet<u32>,
    /// How often each came without DUP.
    n_firsts: BTreeMap<u32, usize>,
    /// QoS 2 exchanges that are open, over connections.
    open: BTreeMap<PacketId, u32>,
    /// Of this connection: what came and is not finished; what is to be answered.
    unfinished: BTreeMap<PacketId, u32>,
    to_answer: Vec<Answer>,
    /// What its own exchanges were told.
    pub(super) told: Vec<Owed>,
}

#[derive(Clone, Copy)]
enum Answer {
    Acknowledge(PacketId),
    Received(PacketId),
    Complete(PacketId),
}

impl Client {
    pub(super) fn has(&self, number: u32) -> bool {
        self.known.contains(&number)
    }

    pub(super) fn lose_connection(&mut self) {
        self.connection = 0;
        self.unfinished.clear();
        self.to_answer.clear();
        self.told.clear();
    }

    /// The gateway sends an acknowledgement.
    pub(super) fn owed(&mut self, owed: Owed) {
        match owed {
            Owed::Release(id) => self.to_answer.push(Answer::Complete(id)),
            owed => self.told.push(owed),
        }
    }

    fn see(&mut self, seen: Seen) {
        let Seen::Publish(id, number, qos, dup) = seen else {
            let Seen::Release(id) = seen else {
                unreachable!("there are two kinds");
            };
            return self.to_answer.push(Answer::Complete(id));
        };
        let other = self.unfinished.insert(id, number);
        assert_eq!(other, None, "{id} is in use when {number} comes");
        assert!(
            self.unfinished.len() <= self.receive_maximum,
            "too many at once"
        );
        *self.n_firsts.entry(number).or_default() += usize::from(!dup);
        if self.known.insert(number) {
            let last = self.last.insert(number % PUBLISHERS, number);
            assert!(last < Some(number), "{number} comes too late");
        }
        if qos == Qos::AtLeastOnce {
            return self.to_answer.push(Answer::Acknowledge(id));
        }
        match self.open.insert(id, number) {
            None => assert!(self.given.insert(number), "{number} is given twice"),
            Some(other) => {
                assert_eq!(other, number, "{id} was that of {other}");
                assert!(dup, "{number} comes again without DUP");
            }
        }
        self.to_answer.push(Answer::Received(id));
    }
}

impl World {
    /// The client is there, takes what is sent, and answers some of it.
    pub(super) fn serve(&mut self) {
        if self.client.connection == 0 {
            self.connect();
        }
        let redis = &self.redis;
        let here = self.gateways.last_mut().and_then(Option::as_mut);
        let here = here.expect("the last one is there");
        here.pump(redis);
        if self.dice.one_in(2) {
            here.read(redis);
            here.pump(redis);
        }
        for seen in taken(&mut here.outbound) {
            self.client.see(seen);
        }
        for (number, n) in &self.client.n_firsts {
            assert!(
                *n <= self.redis.n_firsts(*number),
                "{number} comes again without DUP"
            );
        }
        for _ in 0..self.dice.roll(2 * MAX_INFLIGHT as u64) {
            self.answer();
        }
        self.go_on_with_exchanges();
    }

    fn connect(&mut self) {
        self.n_connections += 1;
        self.client.connection = self.n_connections;
        self.client.receive_maximum = 1 + self.dice.roll(MAX_INFLIGHT as u64) as usize;
        let window = self.client.receive_maximum;
        let at = self.last();
        let epoch = self.redis.claim(at, true);
        let here = self.here();
        here.epoch = epoch;
        if here.outbound.link.is_some() {
            here.outbound.detach();
        }
        here.outbound.attach(Link::any(window));
        self.send_exchanges_again();
    }

    /// The connection ends, and the gateway notices.
    pub(super) fn disconnect(&mut self) {
        if self.is_calm || self.client.connection == 0 {
            return;
        }
        self.client.lose_connection();
        let here = self.here();
        here.outbound.detach();
        let sent_below = here.outbound.sent_below();
        here.batch.writes.push(Write::Record(sent_below));
        let at = self.last();
        self.submit_of(at);
    }

    /// The client answers something, in any order.
    fn answer(&mut self) {
        let n = self.client.to_answer.len() as u64;
        if n == 0 {
            return;
        }
        let at = self.dice.roll(n) as usize;
        let connection = self.client.connection;
        let answer = self.client.to_answer.swap_remove(at);
        let here = self.gateways.last_mut().and_then(Option::as_mut);
        let here = here.expect("the last one is there");
        let (acknowledged, id) = match answer {
            Answer::Acknowledge(id) => {
                self.client.unfinished.remove(&id);
                (here.outbound.handle_puback(id), id)
            }
            Answer::Received(id) => (here.outbound.handle_pubrec(id, Reason::Success), id),
            Answer::Complete(id) => {
                self.client.unfinished.remove(&id);
                self.client.open.remove(&id);
                (here.outbound.handle_pubcomp(id), id)
            }
        };
        match acknowledged {
            Acknowledged::Finished { seq, .. } => here.batch.writes.push(Write::Forget(seq)),
            Acknowledged::Received { seq, is_new, .. } => {
                if is_new {
                    here.batch.writes.push(Write::Had(had(seq)));
                }
                // Behind what is written.
                here.batch.owed.push((connection, Owed::Release(id)));
            }
            Acknowledged::Unknown => {}
        }
    }
}
