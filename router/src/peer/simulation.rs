//! Nodes that forward to each other over a network that breaks, and die, against a ledger of what was
//! promised.
//!
//! Three nodes, two lanes to each other, publishers on each, and sessions that live on one of them
//! and go to another, in order or because theirs has died. Streams break while frames and replies
//! are under way, and what was under way may still arrive; they are opened again, and an older stream
//! may live on for a while beside a newer one. A node that dies loses what was not committed, what it
//! knew of repeats, and its incarnation; what it had not been answered its publishers send again
//! through another node: QoS 2 under its old origin.
//!
//! What is of this crate is the outbox, the ledger and what was seen; how they are put together is
//! as in `lane`, `inlet` and `service` (a newer stream takes the seat of an older one), and in the
//! gateway's `cluster/inbound.rs` and `reroute.rs`, in few words. What has to hold:
//!
//! - each receipt is settled once; what is accepted is with its session;
//! - no session gets a message of QoS 2 twice, nor one of QoS 1 while it stays where it is;
//! - each lane's messages come for the first time in the order in which they were forwarded, but
//!   for those that were turned down before: that may be forgotten with a stream;
//! - in the end all is settled that still has somebody to tell.

mod nodes;
mod road;

use std::collections::{BTreeMap, BTreeSet};

use gatemq_proto::mqtt::Qos;

use super::outbox::Limits;
use super::receipt::Verdict;
use super::{First, Seen};
use crate::seeds::{self, Dice};
use nodes::Node;
use road::Stream;

const NODES: u64 = 3;
const LANES: u64 = 2;
const SESSIONS: u64 = 4;
/// Steps of one run.
const LENGTH: usize = 400;

const LIMITS: Limits = Limits {
    credit_messages: 8,
    credit_bytes: 4_000,
    batch_messages: 4,
    batch_bytes: 300,
    idle_bytes: 2_000,
};

struct World {
    dice: Dice,
    tells_early: bool,
    nodes: Vec<Node>,
    streams: Vec<Stream>,
    sessions: Vec<Session>,
    /// By number.
    messages: Vec<Told>,
    /// Receipts that are not settled: message, try.
    open: BTreeSet<Receipt>,
    n_tries: u64,
    n_incarnations: u64,
    /// Incarnations that have died, and of which the others do not know yet.
    dead: Vec<u64>,
    /// Counts what happens to sessions: see `Seen`.
    stamp: u64,
    /// Nobody dies or is cut off any more.
    is_calm: bool,
}

type Receipt = (usize, u64);

/// Where messages are kept, whoever has it now.
struct Session {
    /// The incarnation that has it, and the stamp at which it came there.
    home: u64,
    arrived: u64,
    /// What it has got, and where it was then, by that stamp.
    stored: Vec<(usize, u64)>,
}

/// A message, as its publisher knows it.
struct Told {
    qos: Qos,
    session: usize,
    lane: u32,
    /// Who routed it first, and its number there.
    origin: (u64, u64),
    /// The node that is to answer its publisher.
    node: usize,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Accepted,
    Refused,
    /// Of QoS 0; or of QoS 1 with a node that has died: it is sent again as another one.
    Unknown,
}

#[test]
fn each_message_is_settled_once_and_delivered_whoever_dies() {
    let mut n_settled = BTreeMap::new();
    seeds::try_each("each_message_is_settled_once", 2_500, |seed| {
        let mut world = World::new(seed);
        for _ in 0..LENGTH {
            world.step();
        }
        world.finish();
        for message in &world.messages {
            *n_settled.entry(format!("{:?}", message.fate)).or_insert(0) += 1;
        }
    });
    eprintln!("{n_settled:?}");
}

impl World {
    fn new(seed: u64) -> Self {
        let sessions = (0..SESSIONS).map(|number| Session {
            home: number % NODES + 1,
            arrived: number,
            stored: Vec::new(),
        });
        Self {
            dice: Dice::new(seed),
            tells_early: seed % 2 == 1,
            nodes: (1..=NODES).map(Node::new).collect(),
            streams: Vec::new(),
            sessions: sessions.collect(),
            messages: Vec::new(),
            open: BTreeSet::new(),
            n_tries: 0,
            n_incarnations: NODES,
            dead: Vec::new(),
            stamp: SESSIONS,
            is_calm: false,
        }
    }

    fn step(&mut self) {
        match self.dice.roll(40) {
            0..=8 => self.publish(),
            9..=33 => self.carry(),
            34 => self.cut(),
            35 => self.move_session(),
            36 if self.dice.one_in(4) => self.die(),
            37 => self.fence(),
            38 => self.restart(),
            _ => self.return_again(),
        }
        self.check();
    }

    /// A little of everything that brings messages on.
    fn carry(&mut self) {
        let node = self.dice.roll(NODES) as usize;
        match self.dice.roll(7) {
            0 => self.open_streams(node),
            1 => self.take_batches(node),
            2 => self.commit(node),
            3 => self.settle(node),
            _ => {
                let at = self.dice.roll(self.streams.len().max(1) as u64) as usize;
                self.bring(at);
            }
        }
    }

    // --- publishers ---

    fn publish(&mut self) {
        let node = self.dice.roll(NODES) as usize;
        if !self.nodes[node].is_up {
            return;
        }
        let qos = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
        let qos = qos[self.dice.roll(3) as usize];
        let number = self.messages.len();
        self.messages.push(Told {
            qos,
            session: self.dice.roll(SESSIONS) as usize,
            lane: self.dice.roll(LANES) as u32,
            origin: (self.nodes[node].incarnation, number as u64 + 1),
            node,
            fate: match qos {
                Qos::AtMostOnce => Fate::Unknown,
                _ => Fate::Open,
            },
        });
        self.forward(number, false);
    }

    /// What became of a message, as its gateway is told.
    fn settled(&mut self, receipt: Receipt, verdict: &Verdict) {
        assert!(
            self.open.remove(&receipt),
            "{receipt:?} is settled twice: {verdict:?}"
        );
        let number = receipt.0;
        let message = &mut self.messages[number];
        assert_eq!(message.fate, Fate::Open, "{number}");
        match verdict {
            Verdict::Accepted => message.fate = Fate::Accepted,
            Verdict::Refused { .. } => message.fate = Fate::Refused,
            Verdict::Moved | Verdict::Moving { .. } => {
                self.nodes[message.node].returned.push_back(number);
            }
        }
    }

    /// What came back is routed by what is known now.
    fn return_again(&mut self) {
        let node = self.dice.roll(NODES) as usize;
        if let Some(number) = self.nodes[node].returned.pop_front() {
            self.forward(number, true);
        }
    }

    // --- what holds ---

    fn check(&self) {
        for (number, message) in self.messages.iter().enumerate() {
            let stored = &self.sessions[message.session].stored;
            let mut copies = stored.iter().filter(|(known, _)| *known == number);
            let n_copies = copies.clone().count();
            match message.qos {
                Qos::AtMostOnce | Qos::ExactlyOnce => assert!(n_copies <= 1, "{number} came twice"),
                Qos::AtLeastOnce => {
                    let mut from = BTreeSet::new();
                    assert!(
                        copies.all(|(_, it)| from.insert(*it)),
                        "{number} came twice"
                    );
                }
            }
            let is_there = message.fate != Fate::Accepted || n_copies > 0;
            assert!(is_there, "{number} is accepted, and nobody has it");
        }
    }

    /// Whoever is away comes back, and all comes through.
    fn finish(&mut self) {
        self.is_calm = true;
        let is_open = |message: &Told| message.fate == Fate::Open;
        for _ in 0..2_000 {
            self.fence();
            self.restart();
            for node in 0..NODES as usize {
                self.open_streams(node);
                self.take_batches(node);
                self.commit(node);
                self.settle(node);
                if let Some(number) = self.nodes[node].returned.pop_front() {
                    self.forward(number, true);
                }
            }
            (0..self.streams.len()).for_each(|at| self.bring(at));
            if !self.messages.iter().any(is_open) {
                break;
            }
        }
        self.check();
        let left = self.messages.iter().filter(|it| is_open(it)).count();
        let n_open = self.open.len();
        assert_eq!((left, n_open), (0, 0), "left: {:#?}", self.left());
    }
}
