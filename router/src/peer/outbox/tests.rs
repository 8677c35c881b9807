//! The outbox, by cases and by a simulation: a source and a destination over a way that loses
//! connections and brings replies late, twice, or not at all.

use super::super::ledger::Ledger;
use super::super::{Draft, Flags, Message, Picks};
use super::*;
use gatemq_proto::cluster::peer::ForwardReply;
use gatemq_proto::mqtt::Qos;
use proptest::prelude::*;
use prost::Message as _;
use std::collections::{HashMap, HashSet};

const LIMITS: Limits = Limits {
    credit_messages: 8,
    credit_bytes: 1600,
    batch_messages: 5,
    batch_bytes: 200,
    idle_bytes: 300,
};

fn parcel(id: u64, qos: Qos, size: usize) -> Parcel {
    let draft = Draft {
        id,
        source: 0,
        qos,
        is_retained: false,
        publisher: id,
        expires_at: None,
        topic: b"t",
        properties: b"",
        payload: &vec![b'x'; size],
        client_id: "",
        knows: 0,
    };
    draft.seal().address(true, Picks::default())
}

fn message(parcel: &Parcel) -> Message {
    let mut out = Vec::new();
    parcel.put(0, &mut out);
    Message::decode(&out[..]).unwrap()
}

/// An outbox with an open stream, and so many messages of QoS 1 with receipts 1, 2, ...
fn open_with(n: u64) -> (Outbox<u64>, StreamId) {
    let mut outbox = Outbox::new(LIMITS);
    for id in 1..=n {
        push(&mut outbox, id, Qos::AtLeastOnce);
    }
    let stream = outbox.open_stream();
    outbox.handle_accepted(stream);
    (outbox, stream)
}

fn push(outbox: &mut Outbox<u64>, id: u64, qos: Qos) {
    let receipt = (qos != Qos::AtMostOnce).then_some(id);
    assert_eq!(outbox.push(parcel(id, qos, 4), receipt, false), Push::Taken);
}

/// The publishers of the messages in the next batch, negative if marked as repeats.
fn take(outbox: &mut Outbox<u64>, stream: StreamId) -> Vec<i64> {
    let batch = outbox.take_batch(stream, &mut Settled::new());
    let seen = |parcel: &Parcel| {
        let message = message(parcel);
        let sign = if Flags::of(&message).unwrap().is_repeat() {
            -1
        } else {
            1
        };
        message.publisher as i64 * sign
    };
    batch.map_or_else(Vec::new, |batch| batch.parcels.iter().map(seen).collect())
}

fn reply(
    outbox: &mut Outbox<u64>,
    stream: StreamId,
    through: u64,
    moved: &[u64],
) -> Vec<(u64, Verdict)> {
    let refusal = |&number: &u64| Refusal {
        number,
        is_moved: true,
        ..Refusal::default()
    };
    let mut settled = Settled::new();
    let reply = ForwardReply {
        through,
        refusals: moved.iter().map(refusal).collect(),
        early: Vec::new(),
    };
    outbox.handle_reply(stream, reply, &mut settled).unwrap();
    settled.into()
}

fn accepted(ids: impl IntoIterator<Item = u64>) -> Vec<(u64, Verdict)> {
    ids.into_iter().map(|id| (id, Verdict::Accepted)).collect()
}

#[test]
fn what_waits_goes_in_one_batch_up_to_its_bound() {
    let (mut outbox, stream) = open_with(7);
    assert_eq!(take(&mut outbox, stream), [1, 2, 3, 4, 5]);
    assert_eq!(take(&mut outbox, stream), [6, 7]);
    assert!(take(&mut outbox, stream).is_empty());
}

#[test]
fn a_message_larger_than_a_batch_goes_alone() {
    let (mut outbox, stream) = open_with(1);
    outbox.push(parcel(2, Qos::AtLeastOnce, 300), Some(2), false);
    push(&mut outbox, 3, Qos::AtLeastOnce);
    assert_eq!(take(&mut outbox, stream), [1]);
    assert_eq!(take(&mut outbox, stream), [2]);
    assert_eq!(take(&mut outbox, stream), [3]);
}

#[test]
fn a_message_larger_than_the_credit_goes_when_nothing_is_unanswered() {
    let (mut outbox, stream) = open_with(1);
    outbox.push(parcel(2, Qos::AtLeastOnce, 1900), Some(2), false);
    assert_eq!(take(&mut outbox, stream), [1]);
    assert!(take(&mut outbox, stream).is_empty());
    reply(&mut outbox, stream, 1, &[]);
    assert_eq!(take(&mut outbox, stream), [2]);
}

#[test]
fn without_credit_qos_0_waits_behind_qos_1() {
    let (mut outbox, stream) = open_with(9);
    push(&mut outbox, 10, Qos::AtMostOnce);
    assert_eq!(
        take(&mut outbox, stream).len() + take(&mut outbox, stream).len(),
        8
    );
    assert!(take(&mut outbox, stream).is_empty());
    assert_eq!(reply(&mut outbox, stream, 1, &[]), accepted([1]));
    assert_eq!(take(&mut outbox, stream), [9, 10]);
    assert_eq!(outbox.n_unsettled(), 8);
}

#[test]
fn nothing_is_sent_before_the_stream_is_accepted_nor_after_it_broke() {
    let (mut outbox, first) = open_with(1);
    outbox.end_stream();
    assert!(take(&mut outbox, first).is_empty());
    let second = outbox.open_stream();
    assert!(take(&mut outbox, second).is_empty() && outbox.is_current(second));
    outbox.handle_accepted(first);
    assert!(take(&mut outbox, second).is_empty());
    outbox.handle_accepted(second);
    assert_eq!(take(&mut outbox, second), [1]);
}

#[test]
fn a_new_stream_repeats_what_is_unanswered_and_then_goes_on() {
    let (mut outbox, first) = open_with(7);
    take(&mut outbox, first);
    push(&mut outbox, 8, Qos::AtMostOnce);
    assert_eq!(reply(&mut outbox, first, 2, &[]), accepted([1, 2]));
    let second = outbox.open_stream();
    outbox.handle_accepted(second);
    assert!(
        reply(&mut outbox, first, 5, &[]).is_empty(),
        "of the old stream"
    );
    assert_eq!(take(&mut outbox, second), [-3, -4, -5, 6, 7]);
    assert_eq!(take(&mut outbox, second), [8]);
    assert_eq!(reply(&mut outbox, second, 4, &[]), accepted([3, 4, 5, 6]));
}

#[test]
fn a_refusal_is_settled_in_its_turn_and_not_sent_again() {
    let (mut outbox, first) = open_with(4);
    take(&mut outbox, first);
    assert!(reply(&mut outbox, first, 0, &[2, 4]).is_empty());
    let second = outbox.open_stream();
    outbox.handle_accepted(second);
    assert_eq!(take(&mut outbox, second), [-1, -3]);
    // Number 2 of this stream is message 3.
    assert!(reply(&mut outbox, second, 0, &[2]).is_empty());
    let settled = reply(&mut outbox, second, 2, &[]);
    let moved = |id| (id, Verdict::Moved);
    assert_eq!(
        settled,
        [(1, Verdict::Accepted), moved(2), moved(3), moved(4)]
    );
}

#[test]
fn one_that_is_not_answered_keeps_no_credit_from_those_accepted_early() {
    let (mut outbox, mut stream) = open_with(1);
    let (mut settled, mut number) = (Settled::new(), 1);
    for id in 2..200 {
        push(&mut outbox, id, Qos::AtLeastOnce);
        assert!(!take(&mut outbox, stream).is_empty(), "{id}");
        let early = vec![number + 1];
        let reply = ForwardReply {
            early,
            ..ForwardReply::default()
        };
        outbox.handle_reply(stream, reply, &mut settled).unwrap();
        number += 1;
        assert_eq!(settled.pop_front(), Some((id, Verdict::Accepted)));
        assert_eq!(outbox.n_unsettled(), 1);
        assert!(outbox.kept.len() <= 40, "what is settled leaves");
        if id % 50 == 0 {
            // Of a new stream the first one is the first again; the others are not sent again.
            stream = outbox.open_stream();
            outbox.handle_accepted(stream);
            assert_eq!(take(&mut outbox, stream), [-1]);
            number = 1;
        }
    }
    assert_eq!(reply(&mut outbox, stream, number, &[]), accepted([1]));
    assert!(outbox.is_empty());
}

/// The publisher is told, and its credit is free, however long the first one is open.
#[test]
fn what_is_refused_for_good_is_settled_at_once() {
    let (mut outbox, first) = open_with(3);
    take(&mut outbox, first);
    let refused = |number| ForwardReply {
        refusals: vec![Refusal {
            number,
            reason: 0x83,
            ..Refusal::default()
        }],
        ..ForwardReply::default()
    };
    let verdict = || Verdict::Refused {
        reason: 0x83,
        picks: vec![],
    };
    let mut settled = Settled::new();
    let reply_2 = outbox.handle_reply(first, refused(2), &mut settled);
    assert_eq!(reply_2, Ok(()));
    assert_eq!(settled, [(2, verdict())]);
    assert_eq!(outbox.n_unsettled(), 2);
    let second = outbox.open_stream();
    outbox.handle_accepted(second);
    assert_eq!(take(&mut outbox, second), [-1, -3]);
    settled.clear();
    // In its turn where that has come.
    let through = ForwardReply {
        through: 2,
        ..refused(2)
    };
    assert_eq!(outbox.handle_reply(second, through, &mut settled), Ok(()));
    assert_eq!(settled, [(1, Verdict::Accepted), (3, verdict())]);
    assert!(outbox.is_empty());
}

#[test]
fn what_has_moved_waits_for_its_turn_unless_there_is_none() {
    let (mut outbox, stream) = open_with(4);
    take(&mut outbox, stream);
    assert!(reply(&mut outbox, stream, 0, &[2]).is_empty());
    let mut settled = Settled::new();
    let early = ForwardReply {
        early: vec![3],
        ..ForwardReply::default()
    };
    assert_eq!(outbox.handle_reply(stream, early, &mut settled), Ok(()));
    let moved = |id| (id, Verdict::Moved);
    assert_eq!(settled, [moved(2), (3, Verdict::Accepted)]);
    assert_eq!(reply(&mut outbox, stream, 0, &[4]), [moved(4)]);
    assert_eq!(reply(&mut outbox, stream, 4, &[]), accepted([1]));
    assert!(outbox.is_empty());
}

#[test]
fn an_answer_for_what_was_not_sent_is_a_violation() {
    let (mut outbox, stream) = open_with(9);
    take(&mut outbox, stream);
    let mut settled = Settled::new();
    let violation = Violation::Ahead { number: 6, sent: 5 };
    for (through, early) in [(6, vec![]), (1, vec![6])] {
        let reply = ForwardReply {
            through,
            refusals: vec![],
            early,
        };
        let result = outbox.handle_reply(stream, reply, &mut settled);
        assert_eq!(result, Err(violation));
    }
    assert!(settled.is_empty());
}

#[test]
fn qos_0_is_dropped_when_full_and_when_it_waits_for_a_stream() {
    let (mut outbox, _) = open_with(0);
    let zero = || parcel(1, Qos::AtMostOnce, 100);
    assert_eq!(outbox.push(zero(), None, true), Push::Dropped(None));
    let one = parcel(1, Qos::AtLeastOnce, 100);
    assert_eq!(outbox.push(one, Some(1), true), Push::Taken);
    outbox.end_stream();
    let n_taken = (0..9)
        .take_while(|_| outbox.push(zero(), None, false) == Push::Taken)
        .count();
    assert_eq!(n_taken, 1);
}

#[test]
fn closing_settles_all_as_moved_in_order() {
    let (mut outbox, stream) = open_with(7);
    take(&mut outbox, stream);
    push(&mut outbox, 8, Qos::AtMostOnce);
    reply(&mut outbox, stream, 1, &[]);
    let mut settled = Settled::new();
    let (bytes, n_dropped) = outbox.close(&mut settled);
    let expected: Vec<_> = (2..=7).map(|id| (id, Verdict::Moved)).collect();
    assert_eq!(Vec::from(settled), expected);
    assert!(bytes > 0 && n_dropped == 1 && outbox.is_empty());
    let late = outbox.push(parcel(9, Qos::AtLeastOnce, 1), Some(9), false);
    assert_eq!(late, Push::Closed(Some(9)));
}

// === simulation ===

/// A step of the world; the number chooses where there is a choice.
#[derive(Clone, Copy, Debug)]
enum Step {
    Push(Qos, usize),
    Take,
    Receive,
    Settle(usize, u8),
    Reply,
    BringReply,
    BringReplyTwice,
    BringLateReply(usize),
    Break,
    Open,
}

fn step() -> impl Strategy<Value = Step> {
    let qos = prop_oneof![
        Just(Qos::AtMostOnce),
        Just(Qos::AtLeastOnce),
        Just(Qos::ExactlyOnce)
    ];
    prop_oneof![
        6 => (qos, prop_oneof![9 => 0usize..60, 1 => 60usize..600]).prop_map(|(q, n)| Step::Push(q, n)),
        4 => Just(Step::Take),
        4 => Just(Step::Receive),
        6 => (0usize..64, 0u8..8).prop_map(|(n, v)| Step::Settle(n, v)),
        3 => Just(Step::Reply),
        3 => Just(Step::BringReply),
        1 => Just(Step::BringReplyTwice),
        1 => (0usize..64).prop_map(Step::BringLateReply),
        1 => Just(Step::Break),
        2 => Just(Step::Open),
    ]
}

/// The world: one source, one destination, and what is between them.
struct World {
    /// Whether the destination tells of what is done before others.
    is_early: bool,
    outbox: Outbox<u64>,
    stream: Option<StreamId>,
    frames: VecDeque<(u64, Vec<Message>)>,
    replies: VecDeque<(StreamId, ForwardReply)>,
    /// All replies that ever were: any may come again.
    past: Vec<(StreamId, ForwardReply)>,
    ledger: Ledger,
    /// Open at the destination: number in the stream, and publisher.
    open: Vec<(u64, u64)>,
    pushed: Vec<(u64, Qos)>,
    arrived: Vec<u64>,
    arrived_ids: HashSet<u64>,
    verdicts: HashMap<u64, HashSet<u8>>,
    settled: Settled<u64>,
    /// Those of QoS 1 and 2 in the order of their pushes, until they are settled.
    unsettled: VecDeque<u64>,
    n_settled: usize,
}

fn ledger(is_early: bool) -> Ledger {
    match is_early {
        true => Ledger::telling_early(),
        false => Ledger::default(),
    }
}

impl World {
    fn new(is_early: bool) -> Self {
        Self {
            is_early,
            outbox: Outbox::new(LIMITS),
            stream: None,
            frames: VecDeque::new(),
            replies: VecDeque::new(),
            past: Vec::new(),
            ledger: ledger(is_early),
            open: Vec::new(),
            pushed: Vec::new(),
            arrived: Vec::new(),
            arrived_ids: HashSet::new(),
            verdicts: HashMap::new(),
            settled: Settled::new(),
            unsettled: VecDeque::new(),
            n_settled: 0,
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Push(qos, size) => self.push(qos, size),
            Step::Take => self.take(),
            Step::Receive => self.receive(),
            Step::Settle(which, verdict) => self.settle(which, verdict),
            Step::Reply => {
                if let (Some(stream), Some(reply)) = (self.stream, self.ledger.take_reply()) {
                    self.past.push((stream, reply.clone()));
                    self.replies.push_back((stream, reply));
                }
            }
            Step::BringReply => {
                if let Some((stream, reply)) = self.replies.pop_front() {
                    self.bring(stream, reply);
                }
            }
            Step::BringReplyTwice => {
                if let Some((stream, reply)) = self.replies.front().cloned() {
                    self.bring(stream, reply);
                }
            }
            Step::BringLateReply(which) => {
                // Of an earlier stream: within one, HTTP/2 keeps the order.
                let earlier = |past: &&(StreamId, _)| Some(past.0) != self.stream;
                let earlier: Vec<_> = self.past.iter().filter(earlier).cloned().collect();
                if !earlier.is_empty() {
                    let (stream, reply) = earlier[which % earlier.len()].clone();
                    self.bring(stream, reply);
                }
            }
            Step::Break => {
                self.stream = None;
                self.outbox.end_stream();
                self.lose_stream();
            }
            Step::Open => {
                self.lose_stream();
                let stream = self.outbox.open_stream();
                self.outbox.handle_accepted(stream);
                self.stream = Some(stream);
            }
        }
        self.check();
    }

    fn push(&mut self, qos: Qos, size: usize) {
        let id = self.pushed.len() as u64 + 1;
        let receipt = (qos != Qos::AtMostOnce).then_some(id);
        match self.outbox.push(parcel(id, qos, size), receipt, false) {
            Push::Taken => {
                self.pushed.push((id, qos));
                self.unsettled.extend(receipt);
            }
            Push::Dropped(receipt) => assert_eq!(receipt, None),
            Push::Closed(_) => panic!("nobody closed it"),
        }
    }

    fn take(&mut self) {
        let Some(stream) = self.stream else { return };
        let Some(batch) = self.outbox.take_batch(stream, &mut self.settled) else {
            return;
        };
        let n = batch.parcels.len();
        assert!(n == 1 || (n <= LIMITS.batch_messages && batch.bytes <= LIMITS.batch_bytes));
        let bytes: usize = batch.parcels.iter().map(Parcel::len).sum();
        assert_eq!(bytes, batch.bytes);
        self.frames
            .push_back((batch.first, batch.parcels.iter().map(message).collect()));
    }

    fn receive(&mut self) {
        let Some((first, messages)) = self.frames.pop_front() else {
            return;
        };
        let is_answered = messages.iter().map(|message| message.id != 0);
        self.ledger.enter(first, is_answered).unwrap();
        for (number, message) in (first..).zip(messages) {
            let publisher = message.publisher;
            let is_repeat = Flags::of(&message).unwrap().is_repeat();
            if self.arrived_ids.insert(publisher) {
                self.arrived.push(publisher);
            } else {
                assert!(is_repeat, "a repeat of {publisher} is marked");
                assert_ne!(message.id, 0, "QoS 0 is sent once");
            }
            if message.id != 0 {
                self.open.push((number, publisher));
            }
        }
    }

    fn settle(&mut self, which: usize, kind: u8) {
        if self.open.is_empty() {
            return;
        }
        let (number, publisher) = self.open.swap_remove(which % self.open.len());
        let verdict = match kind {
            0 => Verdict::Moved,
            1 => Verdict::Refused {
                reason: 0x97,
                picks: vec![],
            },
            _ => Verdict::Accepted,
        };
        self.verdicts
            .entry(publisher)
            .or_default()
            .insert(kind.min(2));
        self.ledger.settle(number, verdict);
    }

    fn bring(&mut self, stream: StreamId, reply: ForwardReply) {
        self.outbox
            .handle_reply(stream, reply, &mut self.settled)
            .unwrap();
    }

    /// What is between the two is gone; the destination begins the next stream anew.
    fn lose_stream(&mut self) {
        self.frames.clear();
        self.replies.clear();
        self.open.clear();
        self.ledger = ledger(self.is_early);
    }

    fn check(&mut self) {
        let n = self.outbox.n_unsettled();
        assert!(n <= LIMITS.credit_messages);
        assert!(n <= 1 || self.outbox.kept_bytes <= LIMITS.credit_bytes);
        // First arrivals are in the order of the pushes.
        assert!(self.arrived.is_sorted());
        // Receipts are settled once, in order but for what is refused for good and where any is
        // early, and only as the destination said.
        for (id, verdict) in self.settled.drain(..) {
            let place = self.unsettled.iter().position(|known| *known == id);
            let place = place.expect("it was not settled before");
            assert!(place == 0 || self.is_early || matches!(verdict, Verdict::Refused { .. }));
            self.unsettled.remove(place);
            self.n_settled += 1;
            let kind = match verdict {
                Verdict::Moved | Verdict::Moving { .. } => 0,
                Verdict::Refused { .. } => 1,
                Verdict::Accepted => 2,
            };
            assert!(
                self.verdicts[&id].contains(&kind),
                "{id} was not {verdict:?}"
            );
        }
    }

    /// Lets all come through over a last good stream.
    fn finish(&mut self) {
        self.apply(Step::Open);
        let rest = [
            Step::Take,
            Step::Receive,
            Step::Settle(0, 2),
            Step::Reply,
            Step::BringReply,
        ];
        while !self.outbox.is_empty() {
            let before = (
                self.outbox.n_unsettled(),
                self.arrived.len(),
                self.n_settled,
            );
            for _ in 0..2 * LIMITS.credit_messages {
                rest.into_iter().for_each(|step| self.apply(step));
            }
            let after = (
                self.outbox.n_unsettled(),
                self.arrived.len(),
                self.n_settled,
            );
            assert!(before != after || self.outbox.is_empty(), "it stands still");
        }
        while !self.frames.is_empty() {
            self.apply(Step::Receive);
        }
        let kept = |(id, qos): &(u64, Qos)| (*qos != Qos::AtMostOnce).then_some(*id);
        let kept: Vec<u64> = self.pushed.iter().filter_map(kept).collect();
        assert_eq!(self.n_settled, kept.len());
        assert!(
            kept.iter().all(|id| self.arrived_ids.contains(id)),
            "nothing is lost"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_all_is_settled_once_in_order_and_nothing_is_lost(
        is_early in any::<bool>(), steps in prop::collection::vec(step(), 0..300)
    ) {
        let mut world = World::new(is_early);
        for step in steps {
            world.apply(step);
        }
        world.finish();
    }
}
