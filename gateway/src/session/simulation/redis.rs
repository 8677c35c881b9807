//! What Redis has of the session: `write.lua`, `claim.lua` and `state.lua` in few words.

use std::collections::BTreeMap;

use crate::proto::mqtt::{PacketId, Qos};
use crate::restore::after;
use crate::session::outbound::Outbound;
use crate::session::queued::{PAGE, Queued};
use crate::session::received::{Origin, Received};
use crate::session::recent::{EXACT, Recent, go_on};

#[derive(Default)]
pub(super) struct Redis {
    owner: usize,
    /// The epoch, and the one in which the owner got the session.
    epoch: u64,
    since: u64,
    queue: BTreeMap<u64, Queued>,
    /// By place in the ring.
    recent: BTreeMap<u64, u64>,
    /// The last number that a message of QoS 2 had.
    last_seq: Option<u64>,
    received: BTreeMap<PacketId, Origin>,
    /// Of the record; `u64::MAX` while there is a connection.
    sent_below: u64,
    /// From here on nothing has been sent.
    edge: u64,
    /// Whether a page is read by and by.
    pub(super) is_slow: bool,
    /// How often a message was put into the queue.
    n_puts: BTreeMap<u32, usize>,
}

/// What a batch says.
#[derive(Debug)]
pub(super) enum Write {
    /// A message, with what it is known by at QoS 2.
    Put(Queued, Option<u64>),
    /// Of QoS 2, that the client has it.
    Had(Queued),
    Forget(u64),
    Edge(u64),
    Identifier(PacketId, Origin),
    Released(PacketId),
    /// The connection has ended.
    Record(u64),
}

impl Redis {
    pub(super) fn new(is_slow: bool) -> Self {
        Self {
            is_slow,
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How often a message may come without DUP: as often as it was put into the queue.
    pub(super) fn n_firsts(&self, number: u32) -> usize {
        self.n_puts.get(&number).copied().unwrap_or_default()
    }

    /// Writes a batch, if it is of the owner; returns whether it is.
    pub(super) fn write(&mut self, owner: usize, epoch: u64, writes: Vec<Write>) -> bool {
        if owner != self.owner || !(self.since..=self.epoch).contains(&epoch) {
            return false;
        }
        for write in writes {
            match write {
                Write::Put(queued, key) => self.put(queued, key),
                Write::Had(queued) => {
                    self.queue.insert(queued.seq, queued);
                }
                Write::Forget(seq) => {
                    self.queue.remove(&seq);
                }
                Write::Edge(edge) => self.edge = self.edge.max(edge),
                Write::Identifier(packet_id, origin) => {
                    self.received.insert(packet_id, origin);
                }
                Write::Released(packet_id) => {
                    self.received.remove(&packet_id);
                }
                // That of a connection does not follow the claim of the next one.
                Write::Record(sent_below) if epoch == self.epoch => self.sent_below = sent_below,
                Write::Record(_) => {}
            }
        }
        true
    }

    fn put(&mut self, queued: Queued, key: Option<u64>) {
        let number = super::gateway::number_of(&queued).expect("a message");
        let n_puts = self.n_puts.entry(number).or_default();
        *n_puts += 1;
        if let Some(key) = key {
            assert_eq!(*n_puts, 1, "{number} is in the queue twice");
            self.recent.insert(queued.seq % EXACT, key);
            self.last_seq = self.last_seq.max(Some(queued.seq));
        }
        let seq = queued.seq;
        assert!(self.queue.insert(seq, queued).is_none(), "{seq} is taken");
    }

    /// A connection gets the session, at the gateway that has it or at another one; or a gateway
    /// adopts it, without one.
    pub(super) fn claim(&mut self, owner: usize, is_connected: bool) -> u64 {
        self.epoch += 1;
        if owner != self.owner {
            (self.owner, self.since) = (owner, self.epoch);
        }
        if is_connected {
            self.sent_below = u64::MAX;
        }
        self.epoch
    }

    /// What whoever has claimed it makes of what there is: `shared/arrival.rs`. `sent_below` is the
    /// record's of before the claim.
    pub(super) fn restore(&mut self, sent_below: u64) -> (Outbound, Recent, Received) {
        let next = |seq: Option<u64>| seq.map_or(0, |seq| seq + 1);
        let first = self.queue.first_key_value().map(|(seq, _)| *seq);
        let last = self.queue.last_key_value().map(|(seq, _)| *seq);
        let least = after(sent_below, Some(self.edge));
        let sent_below = match sent_below {
            u64::MAX => self.edge,
            sent_below => sent_below,
        };
        let n_bytes = self.queue.values().map(Queued::size).sum();
        let next_seq = next(last).max(next(self.last_seq));
        let outbound = Outbound::restored(first.zip(last), sent_below, self.queue.len(), n_bytes);
        let at = next_seq % EXACT;
        let ring = self.recent.range(at..).chain(self.recent.range(..at));
        let recent = Recent::restored(ring.map(|(_, key)| *key).collect());
        let mut received = Received::default();
        for (packet_id, origin) in &self.received {
            received.insert_unknown(*packet_id, *origin);
        }
        let outbound = outbound
            .going_on_at(go_on(next_seq, least))
            .with_edge(self.edge);
        (outbound, recent, received)
    }

    pub(super) fn sent_below(&self) -> u64 {
        self.sent_below
    }

    pub(super) fn page(&self, from: u64, to: u64) -> (Vec<Queued>, Option<u64>) {
        let page = self.queue.range(from..to).take(PAGE);
        let page: Vec<Queued> = page.map(|(_, queued)| queued.clone()).collect();
        let is_whole = page.len() < PAGE;
        let next = page.last().filter(|_| !is_whole).map(|last| last.seq + 1);
        (page, next)
    }
}

/// What a message is stored as once its client has it.
pub(super) fn had(seq: u64) -> Queued {
    Queued {
        seq,
        qos: Qos::ExactlyOnce,
        retain: false,
        ids: smallvec::SmallVec::new(),
        share: None,
        body: 0,
        message: None,
    }
}
