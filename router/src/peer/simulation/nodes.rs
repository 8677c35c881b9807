//! Nodes: what they take from others and commit, and how they die and come back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gatemq_proto::mqtt::Qos;

use super::road::Lane;
use super::{Fate, First, NODES, SESSIONS, Seen, Verdict, World};
use crate::peer::Message;
use crate::peer::parcel::Flags;

pub(super) struct Node {
    pub(super) incarnation: u64,
    pub(super) is_up: bool,
    pub(super) seen: Seen,
    /// By destination and number.
    pub(super) lanes: BTreeMap<(u64, u32), Lane>,
    /// The stream of each source and lane.
    pub(super) seats: BTreeMap<(u64, u32), u64>,
    /// What was taken and is being committed, in its order; then what is to be answered, in any.
    pub(super) pending: VecDeque<Pending>,
    committed: Vec<(Answer, Verdict)>,
    /// What others gave back.
    pub(super) returned: VecDeque<usize>,
    /// For each source and lane the last try that came for the first time.
    last: BTreeMap<(u64, u32), u64>,
    /// Messages that it did not take.
    turned_down: BTreeSet<usize>,
}

pub(super) struct Pending {
    number: usize,
    is_new: bool,
    /// When its session had come: what was for it before is refused by the store.
    arrived: u64,
    answer: Answer,
}

/// Who is to be told.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// The source, on a stream.
    Stream(u64, u64),
    /// A publisher of this node.
    Here(super::Receipt),
    Nobody,
}

impl Node {
    pub(super) fn new(incarnation: u64) -> Self {
        Self {
            incarnation,
            is_up: true,
            seen: Seen::default(),
            lanes: BTreeMap::new(),
            seats: BTreeMap::new(),
            pending: VecDeque::new(),
            committed: Vec::new(),
            returned: VecDeque::new(),
            last: BTreeMap::new(),
            turned_down: BTreeSet::new(),
        }
    }
}

impl World {
    /// A message comes on a stream: `take` of the gateway's `inbound.rs`.
    pub(super) fn take(
        &mut self,
        at: usize,
        stream: (u64, u64, u32),
        number: u64,
        message: &Message,
    ) {
        let (id, source, lane) = stream;
        let payload = message.payload.as_ref().try_into().map(u128::from_be_bytes);
        let payload = payload.expect("sixteen bytes");
        let (uid, nth_try) = ((payload >> 64) as usize, payload as u64);
        let told = &self.messages[uid];
        let flags = Flags::of(message).expect("a QoS");
        assert_eq!(
            (message.source, message.id),
            match told.qos {
                Qos::AtMostOnce => (0, 0),
                _ => told.origin,
            }
        );
        let is_alive = self.place_of(source).is_some();
        let node = &mut self.nodes[at];
        let is_kept = flags.qos() > Qos::AtMostOnce;
        let answer = match is_kept {
            true => Answer::Stream(id, number),
            false => Answer::Nobody,
        };
        let session = &self.sessions[told.session];
        let is_home = session.home == node.incarnation;
        let is_known = is_kept && node.seen.has(message.source, message.id);
        // What is of the dead may come behind what was sent again in their place.
        assert!(
            !is_known || !is_alive || flags.is_repeat(),
            "{uid} is no repeat"
        );
        if !is_home || (!is_known && self.dice.one_in(24)) {
            // It has moved, or takes no more.
            let verdict = match is_home {
                true => Verdict::Refused {
                    reason: 0x97,
                    picks: Vec::new(),
                },
                false => Verdict::Moved,
            };
            node.turned_down.insert(uid);
            node.committed.extend(is_kept.then_some((answer, verdict)));
            return;
        }
        if !is_known && !node.turned_down.contains(&uid) {
            let last = node.last.insert((source, lane), nth_try);
            assert!(last < Some(nth_try), "{uid} came behind try {last:?}");
        }
        self.enter(at, uid, answer);
    }

    /// A message for a session of the node itself.
    pub(super) fn take_here(&mut self, at: usize, number: usize, receipt: Option<super::Receipt>) {
        self.enter(at, number, receipt.map_or(Answer::Nobody, Answer::Here));
    }

    /// A message is on its way into its session's queue, unless the session has had it: those that
    /// were here when it came first. Who has come since does not have it; but it may have come again.
    fn enter(&mut self, at: usize, number: usize, answer: Answer) {
        let told = &self.messages[number];
        let session = &self.sessions[told.session];
        let (source, id) = told.origin;
        self.stamp += 1;
        let node = &mut self.nodes[at];
        let now = First {
            stamp: self.stamp,
            knows: 0,
        };
        let first = match told.qos > Qos::AtMostOnce {
            true => node.seen.note(source, id, now),
            false => None,
        };
        let arrived = session.arrived;
        let is_new = first.is_none_or(|first| {
            let is_it = |it: &Pending| (it.number, it.arrived) == (number, arrived);
            let has_had = session.stored.contains(&(number, arrived));
            first.stamp < arrived && !has_had && !node.pending.iter().any(is_it)
        });
        node.pending.push_back(Pending {
            number,
            is_new,
            arrived,
            answer,
        });
    }

    /// Some of what was taken is safe, in its order; what its session has had already it does not
    /// get once more.
    pub(super) fn commit(&mut self, at: usize) {
        if !self.nodes[at].is_up {
            return;
        }
        let n = self.dice.roll(6) as usize;
        for _ in 0..n {
            let node = &mut self.nodes[at];
            let Some(pending) = node.pending.pop_front() else {
                return;
            };
            let told = &self.messages[pending.number];
            let session = &mut self.sessions[told.session];
            let is_here = session.home == node.incarnation && session.arrived == pending.arrived;
            let verdict = match is_here {
                false => Verdict::Moved, // the store has refused it
                true => {
                    let is_known = |(known, _): &(usize, u64)| *known == pending.number;
                    let has_had =
                        told.qos == Qos::ExactlyOnce && session.stored.iter().any(is_known);
                    if pending.is_new && !has_had {
                        session.stored.push((pending.number, session.arrived));
                    }
                    Verdict::Accepted
                }
            };
            node.committed.push((pending.answer, verdict));
        }
    }

    /// Somebody is told, in any order.
    pub(super) fn settle(&mut self, at: usize) {
        for _ in 0..self.dice.roll(6) {
            let n = self.nodes[at].committed.len() as u64;
            if n == 0 || !self.nodes[at].is_up {
                return;
            }
            let which = self.dice.roll(n) as usize;
            let (answer, verdict) = self.nodes[at].committed.swap_remove(which);
            match answer {
                Answer::Stream(id, number) => {
                    if let Some(stream) = self.streams.iter_mut().find(|it| it.id == id) {
                        stream.ledger.settle(number, verdict);
                    }
                }
                Answer::Here(receipt) => self.settled(receipt, &verdict),
                Answer::Nobody => {}
            }
        }
    }

    // --- nodes come and go ---

    /// A session goes to another node that is there.
    pub(super) fn move_session(&mut self) {
        let up = self.nodes.iter().filter(|node| node.is_up);
        let up: Vec<u64> = up.map(|node| node.incarnation).collect();
        let session = self.dice.roll(SESSIONS) as usize;
        if let Some(home) = self.dice.pick(&up) {
            self.give(session, home);
        }
    }

    fn give(&mut self, session: usize, home: u64) {
        self.stamp += 1;
        let session = &mut self.sessions[session];
        if session.home != home {
            (session.home, session.arrived) = (home, self.stamp);
        }
    }

    pub(super) fn die(&mut self) {
        let at = self.dice.roll(NODES) as usize;
        let n_up = self.nodes.iter().filter(|node| node.is_up).count();
        let others: Vec<usize> = (0..NODES as usize)
            .filter(|other| *other != at && self.nodes[*other].is_up)
            .collect();
        if self.is_calm || n_up < 2 || !self.nodes[at].is_up {
            return;
        }
        self.nodes[at].is_up = false;
        self.nodes[at].returned.clear();
        self.dead.push(self.nodes[at].incarnation);
        self.lose_streams_of(at);
        // Its publishers go elsewhere.
        let other = self.dice.pick(&others).expect("another one is up");
        let (messages, mut again) = (&mut self.messages, Vec::new());
        for (number, message) in messages.iter_mut().enumerate() {
            if message.node != at || message.fate != Fate::Open {
                continue;
            }
            self.open.retain(|(known, _)| *known != number);
            match message.qos {
                Qos::ExactlyOnce => {
                    message.node = other;
                    again.push(number);
                }
                _ => message.fate = Fate::Unknown,
            }
        }
        again
            .into_iter()
            .for_each(|number| self.forward(number, true));
    }

    /// The control plane says that the dead are gone, and others have their sessions.
    pub(super) fn fence(&mut self) {
        let up = self.nodes.iter().filter(|node| node.is_up);
        let up: Vec<u64> = up.map(|node| node.incarnation).collect();
        for gone in std::mem::take(&mut self.dead) {
            for session in 0..self.sessions.len() {
                if self.sessions[session].home == gone {
                    let home = self.dice.pick(&up).expect("somebody is up");
                    self.give(session, home);
                }
            }
            for at in 0..NODES as usize {
                self.close_lanes(at, gone);
            }
        }
    }

    /// Those that have died come back, as others.
    pub(super) fn restart(&mut self) {
        for at in 0..NODES as usize {
            if !self.nodes[at].is_up {
                self.n_incarnations += 1;
                self.nodes[at] = Node::new(self.n_incarnations);
            }
        }
    }
}
