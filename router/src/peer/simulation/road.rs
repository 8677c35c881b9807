//! Lanes and streams between nodes, and what becomes of what is on them.

use std::collections::VecDeque;

use gatemq_proto::cluster::peer::ForwardReply;
use gatemq_proto::mqtt::Qos;
use prost::Message as _;

use super::{LIMITS, NODES, Receipt, Verdict, World};
use crate::peer::ledger::Ledger;
use crate::peer::outbox::{Outbox, Push, Settled, StreamId};
use crate::peer::{Draft, Message, Picks};

pub(super) struct Lane {
    outbox: Outbox<Receipt>,
    /// The stream that it has, or asks for.
    stream: Option<u64>,
}

pub(super) struct Stream {
    pub(super) id: u64,
    stream: StreamId,
    source: u64,
    destination: u64,
    lane: u32,
    /// What comes to the destination, and what goes back.
    frames: VecDeque<(u64, Vec<Message>)>,
    back: VecDeque<Back>,
    /// Whether the destination reads it, before, or no more.
    phase: Phase,
    pub(super) ledger: Ledger,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asked,
    Read,
    Over,
}

enum Back {
    Taken,
    Refused,
    Reply(ForwardReply),
}

impl Lane {
    fn new() -> Self {
        Self {
            outbox: Outbox::new(LIMITS),
            stream: None,
        }
    }
}

impl World {
    /// Brings a message to where its session is, from the node that has to answer for it.
    pub(super) fn forward(&mut self, number: usize, is_again: bool) {
        let told = &self.messages[number];
        let (at, lane, nth_try) = (told.node, told.lane, self.n_tries);
        let home = self.sessions[told.session].home;
        let receipt = (told.qos > Qos::AtMostOnce).then_some((number, nth_try));
        self.n_tries += 1;
        self.open.extend(receipt);
        if home == self.nodes[at].incarnation {
            return self.take_here(at, number, receipt);
        }
        let is_kept = receipt.is_some();
        let outgoing = Draft {
            id: told.origin.1,
            source: if is_kept { told.origin.0 } else { 0 },
            qos: told.qos,
            is_retained: false,
            publisher: number as u64,
            expires_at: None,
            topic: b"t",
            properties: b"",
            payload: &((number as u128) << 64 | u128::from(nth_try)).to_be_bytes(),
            client_id: "",
            knows: 0,
        };
        let outgoing = outgoing.seal();
        let outgoing = if is_again { outgoing.again() } else { outgoing };
        let parcel = outgoing.address(true, Picks::default());
        let node = &mut self.nodes[at];
        let lane = node.lanes.entry((home, lane)).or_insert_with(Lane::new);
        match lane.outbox.push(parcel, receipt, false) {
            Push::Taken => {}
            Push::Dropped(receipt) | Push::Closed(receipt) => {
                if let Some(receipt) = receipt {
                    self.settled(receipt, &Verdict::Moved);
                }
            }
        }
    }

    /// Lanes that have no stream ask for one.
    pub(super) fn open_streams(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if !node.is_up {
            return;
        }
        for ((destination, number), lane) in &mut node.lanes {
            if lane.stream.is_some() || lane.outbox.is_empty() {
                continue;
            }
            self.n_tries += 1;
            lane.stream = Some(self.n_tries);
            self.streams.push(Stream {
                id: self.n_tries,
                stream: lane.outbox.open_stream(),
                source: node.incarnation,
                destination: *destination,
                lane: *number,
                frames: VecDeque::new(),
                back: VecDeque::new(),
                phase: Phase::Asked,
                ledger: match self.tells_early {
                    true => Ledger::telling_early(),
                    false => Ledger::default(),
                },
            });
        }
    }

    pub(super) fn take_batches(&mut self, at: usize) {
        if !self.nodes[at].is_up {
            return;
        }
        let mut settled = Settled::new();
        for lane in self.nodes[at].lanes.values_mut() {
            let mut streams = self.streams.iter_mut();
            let Some(stream) = streams.find(|it| Some(it.id) == lane.stream) else {
                continue;
            };
            if let Some(batch) = lane.outbox.take_batch(stream.stream, &mut settled) {
                let parcels = batch.parcels.iter().map(|parcel| {
                    let mut out = Vec::new();
                    parcel.put(0, &mut out);
                    Message::decode(&out[..]).expect("it is whole")
                });
                stream.frames.push_back((batch.first, parcels.collect()));
            }
        }
        self.settle_all(settled);
    }

    /// Something on a stream arrives: an opening, a frame, or what goes back.
    pub(super) fn bring(&mut self, which: usize) {
        let Some(stream) = self.streams.get_mut(which) else {
            return;
        };
        let reply = stream
            .ledger
            .take_reply()
            .filter(|_| stream.phase == Phase::Read);
        stream.back.extend(reply.map(Back::Reply));
        match self.dice.roll(3) {
            0 => self.bring_back(which),
            _ if self.streams[which].phase == Phase::Asked => self.seat(which),
            _ => self.bring_frame(which),
        }
    }

    /// `take_seat`: an older stream of the lane is read no further.
    fn seat(&mut self, which: usize) {
        let (id, source, lane) = self.key(which);
        let Some(at) = self.place_of(self.streams[which].destination) else {
            // Nobody there, or somebody else by now.
            let stream = &mut self.streams[which];
            stream.phase = Phase::Over;
            stream.back.push_back(Back::Refused);
            return;
        };
        let older = self.nodes[at].seats.insert((source, lane), id);
        if let Some(older) = self.streams.iter_mut().find(|it| Some(it.id) == older) {
            older.phase = Phase::Over;
            older.back.push_back(Back::Refused);
        }
        let stream = &mut self.streams[which];
        stream.phase = Phase::Read;
        stream.back.push_back(Back::Taken);
    }

    fn bring_frame(&mut self, which: usize) {
        let key = self.key(which);
        let stream = &mut self.streams[which];
        let Some((first, messages)) = stream.frames.pop_front() else {
            return;
        };
        let destination = stream.destination;
        let Some(at) = self.place_of(destination) else {
            return;
        };
        let stream = &mut self.streams[which];
        if stream.phase != Phase::Read {
            return;
        }
        let is_answered = messages.iter().map(|message| message.id != 0);
        let entered = stream.ledger.enter(first, is_answered);
        entered.expect("numbers follow each other");
        for (number, message) in (first..).zip(&messages) {
            self.take(at, key, number, message);
        }
    }

    fn bring_back(&mut self, which: usize) {
        let stream = &mut self.streams[which];
        let Some(back) = stream.back.pop_front() else {
            return;
        };
        let (id, key, stream_id) = (stream.id, (stream.destination, stream.lane), stream.stream);
        let Some(at) = self.place_of(self.streams[which].source) else {
            return;
        };
        let Some(lane) = self.nodes[at].lanes.get_mut(&key) else {
            return;
        };
        let mut settled = Settled::new();
        match back {
            Back::Taken => lane.outbox.handle_accepted(stream_id),
            Back::Refused if lane.stream == Some(id) => {
                lane.stream = None;
                lane.outbox.end_stream();
            }
            Back::Refused => {}
            Back::Reply(reply) => {
                let handled = lane.outbox.handle_reply(stream_id, reply, &mut settled);
                handled.expect("it is of what was sent");
            }
        }
        self.settle_all(settled);
    }

    /// A stream breaks for its source. What is on its way may still arrive, or not.
    pub(super) fn cut(&mut self) {
        let n = self.streams.len() as u64;
        if n == 0 || self.is_calm {
            return;
        }
        let which = self.dice.roll(n) as usize;
        self.break_off(which);
        if self.dice.one_in(2) {
            self.streams.swap_remove(which);
        }
    }

    fn break_off(&mut self, which: usize) {
        let stream = &self.streams[which];
        let (id, key) = (stream.id, (stream.destination, stream.lane));
        if let Some(at) = self.place_of(stream.source)
            && let Some(lane) = self.nodes[at].lanes.get_mut(&key)
            && lane.stream == Some(id)
        {
            lane.stream = None;
            lane.outbox.end_stream();
        }
    }

    /// A node has died: what came from it may still arrive, what went to it does not.
    pub(super) fn lose_streams_of(&mut self, at: usize) {
        let incarnation = self.nodes[at].incarnation;
        for which in 0..self.streams.len() {
            if self.streams[which].destination == incarnation {
                self.break_off(which);
            }
        }
        self.streams.retain(|it| it.destination != incarnation);
    }

    /// Nothing is left of an incarnation.
    pub(super) fn close_lanes(&mut self, at: usize, gone: u64) {
        if !self.nodes[at].is_up {
            return;
        }
        let mut settled = Settled::new();
        for ((destination, _), lane) in &mut self.nodes[at].lanes {
            if *destination == gone {
                lane.outbox.close(&mut settled);
                lane.stream = None;
            }
        }
        self.settle_all(settled);
    }

    fn settle_all(&mut self, settled: Settled<Receipt>) {
        for (receipt, verdict) in settled {
            self.settled(receipt, &verdict);
        }
    }

    /// Lanes that have something left, for whoever looks why.
    pub(super) fn left(&self) -> Vec<String> {
        let lanes = self.nodes.iter().flat_map(|node| {
            let lanes = node
                .lanes
                .iter()
                .filter(|(_, lane)| !lane.outbox.is_empty());
            lanes.map(|(to, lane)| {
                let mut streams = self.streams.iter();
                let stream = streams.find(|it| Some(it.id) == lane.stream);
                let phase = stream.map(|it| (it.phase, it.frames.len(), it.ledger.n_open()));
                let n_unsettled = lane.outbox.n_unsettled();
                let from = node.incarnation;
                format!(
                    "{from} to {to:?}: {n_unsettled}, {:?}, {phase:?}",
                    lane.stream
                )
            })
        });
        lanes.collect()
    }

    fn key(&self, which: usize) -> (u64, u64, u32) {
        let stream = &self.streams[which];
        (stream.id, stream.source, stream.lane)
    }

    /// The node that an incarnation is, if it is there.
    pub(super) fn place_of(&self, incarnation: u64) -> Option<usize> {
        let is_it = |at: &usize| {
            let node = &self.nodes[*at];
            node.is_up && node.incarnation == incarnation
        };
        (0..NODES as usize).find(is_it)
    }
}
