//! The sending half of a session against a model: random deliveries, commits in any order,
//! acknowledgements, lost connections, restarts. Whatever happens, a stored message reaches the
//! client in order, with its own identifier, until the client has finished it, and QoS 2 once.

mod bounded;
mod damaged;
mod told;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::*;
use crate::config::OnFull;
use crate::message::MessageRef;
use crate::proto::mqtt::Reason;
use crate::proto::mqtt::{self, Frame, Packet, Version};
use crate::seeds::{self, Dice};
use crate::session::queued::PAGE;
use smallvec::SmallVec;

/// The store of one session.
#[derive(Default)]
struct Model {
    entries: BTreeMap<u64, Queued>,
    /// Whether pages come later, and the one that was asked for.
    is_slow: bool,
    wanted: Option<(u64, u64)>,
    /// From here on nothing is sent, and what of that is not safe yet.
    edge: u64,
    next_edge: Option<u64>,
    /// What became of which message.
    told: RefCell<Vec<(u32, Fate)>>,
}

/// The identifier that a message has, or why it is not sent.
type Fate = Result<Option<NonZeroU16>, Lost>;

impl Shelf for Model {
    fn client_id(&self) -> &str {
        "c"
    }

    fn note(&self, message: &MessageRef<'_>, _: Option<IpAddr>, fate: Result<Flags, Lost>) {
        let number = message.payload.try_into().map(u32::from_be_bytes);
        let number = number.expect("four bytes");
        let fate = fate.map(|flags| flags.packet_id);
        self.told.borrow_mut().push((number, fate));
    }

    fn may_send(&mut self, _: &str) -> bool {
        true
    }

    fn page(&mut self, from: u64, to: u64) -> Option<(Vec<Queued>, Option<u64>)> {
        self.wanted = self.is_slow.then_some((from, to));
        (!self.is_slow).then(|| self.read(from, to))
    }

    fn forget(&mut self, seq: u64, _body: u64) {
        self.entries.remove(&seq);
    }

    fn move_edge(&mut self, edge: u64) {
        self.next_edge = Some(edge);
    }
}

impl Model {
    fn read(&self, from: u64, to: u64) -> (Vec<Queued>, Option<u64>) {
        let range = self.entries.range(from..to).take(PAGE);
        let page: Vec<Queued> = range.map(|(_, queued)| queued.clone()).collect();
        let next = page
            .last()
            .filter(|_| page.len() == PAGE)
            .map(|last| last.seq + 1);
        (page, next)
    }

    /// The edge is safe; returns whether it has moved.
    fn commit_edge(&mut self, outbound: &mut Outbound) -> bool {
        let edge = self.next_edge.take();
        self.edge = edge.unwrap_or(self.edge);
        outbound.commit_edge(self.edge);
        edge.is_some()
    }

    /// Gives a page that was asked for, as it is by now.
    fn answer(&mut self, outbound: &mut Outbound) -> bool {
        let Some((from, to)) = self.wanted.take() else {
            return false;
        };
        let (page, next) = self.read(from, to);
        outbound.handle_page((from, to), page, next);
        true
    }
}

pub(in crate::session) fn bounds() -> Bounds {
    Bounds {
        messages: 100_000,
        bytes: 1 << 30,
        outbox: 1 << 20,
        on_full: OnFull::EndSession,
        queue_qos0: false,
    }
}

pub(in crate::session) fn message(number: u32, qos: Qos) -> Message {
    MessageRef {
        publisher: 0,
        qos,
        retain: false,
        expires_at: u64::MAX,
        topic: "t",
        properties: &[],
        payload: &number.to_be_bytes(),
        trace: None,
    }
    .to_message()
}

/// What the client sees of the outbox: PUBLISH as (identifier, number, dup), PUBREL as identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum Seen {
    Publish(NonZeroU16, u32, Qos, bool),
    Release(NonZeroU16),
}

pub(in crate::session) fn taken(outbound: &mut Outbound) -> Vec<Seen> {
    let Some(link) = &mut outbound.link else {
        return Vec::new();
    };
    let outbox = std::mem::take(&mut link.outbox);
    let bytes = outbox.single().expect("small packets are in one piece");
    let (mut seen, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let Ok(Frame::Complete { total, .. }) = mqtt::frame(Version::V5, &bytes[at..], u32::MAX)
        else {
            panic!("a packet is cut off");
        };
        let packet = mqtt::decode(Version::V5, &bytes[at..at + total], &mqtt::Limits::NONE);
        seen.push(match packet.expect("a valid packet") {
            Packet::Publish(publish) => Seen::Publish(
                publish.packet_id.expect("QoS is above 0"),
                u32::from_be_bytes(publish.payload.try_into().expect("four bytes")),
                publish.qos,
                publish.dup,
            ),
            Packet::PubRel(ack) => Seen::Release(ack.packet_id),
            packet => panic!("unexpected {packet:?}"),
        });
        at += total;
    }
    seen
}

fn deliver(outbound: &mut Outbound, message: &Message, qos: Qos) -> Taken {
    let mut frames = Frames::default();
    let terms = Terms {
        qos,
        retain: false,
        ids: &[],
        share: None,
    };
    let mut delivery = Delivery::new(message.as_ref(), 0, &mut frames);
    outbound.deliver(&mut delivery, &terms, &bounds())
}

pub(in crate::session) fn entry(seq: u64, message: &Message, qos: Qos) -> Queued {
    Queued {
        seq,
        qos,
        retain: false,
        ids: SmallVec::new(),
        share: None,
        body: 0,
        message: Some(Arc::new(message.clone())),
    }
}

/// The client, and what it must and must not see.
#[derive(Default)]
struct Client {
    /// Numbers in the order in which each was first received.
    received: Vec<u32>,
    /// PUBLISH packets to be acknowledged, and QoS 2 exchanges that are open.
    to_acknowledge: Vec<(NonZeroU16, Qos)>,
    open: BTreeSet<NonZeroU16>,
    released: Vec<NonZeroU16>,
    /// QoS 2 numbers that the application has been given.
    given: BTreeSet<u32>,
}

impl Client {
    fn see(&mut self, seen: Vec<Seen>) {
        for seen in seen {
            match seen {
                Seen::Publish(id, number, qos, dup) => {
                    let is_first = !self.received.contains(&number);
                    assert!(is_first || dup, "message {number} came again without DUP");
                    if qos == Qos::ExactlyOnce && self.open.insert(id) {
                        assert!(
                            self.given.insert(number),
                            "message {number} was given twice"
                        );
                    }
                    if is_first {
                        self.received.push(number);
                    }
                    self.to_acknowledge.push((id, qos));
                }
                Seen::Release(id) => self.released.push(id),
            }
        }
    }

    /// Loses its connection: what it was about to send is gone; what it knows stays.
    fn lose_connection(&mut self) {
        self.to_acknowledge.clear();
        self.released.clear();
    }
}

/// Answers something that the client has received; returns whether there was anything.
fn answer(
    client: &mut Client,
    outbound: &mut Outbound,
    model: &mut Model,
    dice: &mut Dice,
) -> bool {
    if !client.released.is_empty() {
        let id = client.released.remove(0);
        client.open.remove(&id);
        if let Acknowledged::Finished { seq, .. } = outbound.handle_pubcomp(id) {
            model.forget(seq, 0);
        }
        return true;
    }
    if client.to_acknowledge.is_empty() {
        return false;
    }
    let at = dice.roll(client.to_acknowledge.len() as u64) as usize;
    let (id, qos) = client.to_acknowledge.remove(at);
    if qos == Qos::AtLeastOnce {
        if let Acknowledged::Finished { seq, .. } = outbound.handle_puback(id) {
            model.forget(seq, 0);
        }
    } else if let Acknowledged::Received { seq, .. } = outbound.handle_pubrec(id, Reason::Success) {
        let released = Queued {
            message: None,
            ..entry(seq, &message(0, qos), qos)
        };
        model.entries.insert(seq, released);
        client.released.push(id); // the broker answers with PUBREL at once
    }
    true
}

fn run(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut outbound = Outbound::new(true);
    let (mut model, mut client) = (Model::default(), Client::default());
    model.is_slow = seed % 2 == 1;
    let mut committing: Vec<(u64, Message, Qos)> = Vec::new();
    let mut n_delivered = 0;
    let window = 1 + dice.roll(40) as usize;
    for _ in 0..300 {
        match dice.roll(12) {
            0..=4 => {
                for _ in 0..=dice.roll(60) {
                    let qos = [Qos::AtLeastOnce, Qos::ExactlyOnce][dice.roll(2) as usize];
                    let message = message(n_delivered, qos);
                    n_delivered += 1;
                    match deliver(&mut outbound, &message, qos) {
                        Taken::Store(seq) => committing.push((seq, message, qos)),
                        taken => panic!("{taken:?}"),
                    }
                }
            }
            5 | 6 => {
                // A commit makes a beginning of what waits safe; they may end in any order.
                let n_safe = dice.roll(committing.len() as u64 + 1) as usize;
                let mut safe: Vec<_> = committing.drain(..n_safe).collect();
                for (seq, message, qos) in &safe {
                    model.entries.insert(*seq, entry(*seq, message, *qos));
                }
                while !safe.is_empty() {
                    let at = dice.roll(safe.len() as u64) as usize;
                    outbound.commit(safe.swap_remove(at).0);
                }
            }
            7 if dice.roll(4) == 0 => {
                outbound.detach();
                client.lose_connection();
            }
            8 if dice.roll(12) == 0 => {
                // The broker dies: what was not committed is gone, and nobody was told of it.
                outbound.detach();
                client.lose_connection();
                let first = model.entries.keys().next().copied();
                let last = model.entries.keys().next_back().copied();
                committing.clear();
                let n_stored = model.entries.len();
                model.next_edge = None;
                outbound = Outbound::restored(first.zip(last), model.edge, n_stored, 0)
                    .with_edge(model.edge);
            }
            _ => {
                if outbound.link.is_none() {
                    outbound.attach(Link::any(window));
                }
                outbound.pump(&mut model, &mut Frames::default(), 0, &bounds());
                if dice.roll(2) == 0 {
                    model.commit_edge(&mut outbound);
                    model.answer(&mut outbound);
                    outbound.pump(&mut model, &mut Frames::default(), 0, &bounds());
                }
                client.see(taken(&mut outbound));
                for _ in 0..dice.roll(80) {
                    if !answer(&mut client, &mut outbound, &mut model, &mut dice) {
                        break;
                    }
                }
                assert!(outbound.n_inflight() <= window);
            }
        }
    }
    finish(
        &mut outbound,
        &mut model,
        &mut client,
        committing,
        window,
        &mut dice,
    );
    let sorted = client.received.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(sorted, "seed {seed}: out of order");
    assert!(
        model.entries.is_empty(),
        "seed {seed}: {} left",
        model.entries.len()
    );
    assert_eq!(outbound.n_queued(), 0, "seed {seed}");
}

/// Commits the rest and lets the client take everything.
fn finish(
    outbound: &mut Outbound,
    model: &mut Model,
    client: &mut Client,
    committing: Vec<(u64, Message, Qos)>,
    window: usize,
    dice: &mut Dice,
) {
    for (seq, message, qos) in committing {
        model.entries.insert(seq, entry(seq, &message, qos));
        outbound.commit(seq);
    }
    if outbound.link.is_none() {
        outbound.attach(Link::any(window));
    }
    loop {
        outbound.pump(model, &mut Frames::default(), 0, &bounds());
        client.see(taken(outbound));
        let has_more = model.answer(outbound) | model.commit_edge(outbound);
        if !answer(client, outbound, model, dice) && !has_more {
            return;
        }
    }
}

#[test]
fn a_stored_queue_loses_nothing_repeats_nothing_and_keeps_its_order() {
    seeds::try_each("a_stored_queue_loses_nothing", 60, run);
}

/// What was to be stored here was refused, and goes to whoever has the session now.
#[test]
fn a_session_that_has_gone_is_sent_nothing_that_was_on_its_way_into_the_store() {
    let mut outbound = Outbound::new(true);
    outbound.attach(Link::any(10));
    let (mut model, mut frames) = (Model::default(), Frames::default());
    for number in 0..3 {
        let message = message(number, Qos::AtLeastOnce);
        let taken = deliver(&mut outbound, &message, Qos::AtLeastOnce);
        assert_eq!(taken, Taken::Store(u64::from(number)));
    }
    outbound.commit(0);
    assert_eq!(outbound.pump(&mut model, &mut frames, 0, &bounds()), 0);
    assert!(
        model.commit_edge(&mut outbound),
        "nobody knows that it may be sent"
    );
    assert_eq!(outbound.pump(&mut model, &mut frames, 0, &bounds()), 1);
    outbound.move_away();
    assert_eq!(outbound.pump(&mut model, &mut frames, 0, &bounds()), 0);
    assert_eq!(taken(&mut outbound).len(), 1);
}

/// Its publisher may send it once more, and what comes behind it would hide that it is missing.
#[test]
fn what_the_store_did_not_take_is_not_sent_nor_what_comes_behind_it() {
    let mut outbound = Outbound::new(true).with_edge(10);
    outbound.attach(Link::any(10));
    let (mut model, mut frames) = (Model::default(), Frames::default());
    for number in 0..4 {
        let message = message(number, Qos::AtLeastOnce);
        deliver(&mut outbound, &message, Qos::AtLeastOnce);
    }
    assert!(!outbound.refuse(1) && !outbound.commit(0) && !outbound.commit(2));
    assert_eq!(outbound.pump(&mut model, &mut frames, 0, &bounds()), 1);
    assert!(!outbound.end(), "one is on its way");
    assert!(outbound.refuse(3), "the store has all that there is");
}

#[test]
fn numbers_go_on_behind_what_was_finished_elsewhere() {
    for entries in [None, Some((3, 7))] {
        let mut outbound = Outbound::restored(entries, u64::MAX, 5, 0).going_on_at(9);
        let message = message(0, Qos::ExactlyOnce);
        let taken = deliver(&mut outbound, &message, Qos::ExactlyOnce);
        assert_eq!(taken, Taken::Store(9));
        // And what waits in the store is read as before.
        let mut model = Model::default();
        let stored = entries.into_iter().map(|(_, last)| last).chain([9]);
        for seq in stored.clone() {
            let entry = entry(seq, &message, Qos::ExactlyOnce);
            model.entries.insert(seq, entry);
        }
        outbound.commit(9);
        outbound = outbound.with_edge(10);
        outbound.attach(Link::any(8));
        outbound.pump(&mut model, &mut Frames::default(), 0, &bounds());
        let sent = outbound.window.iter().map(|sent| sent.seq);
        assert!(sent.eq(stored));
    }
}

/// What its client may have, it may wait for with its identifier [MQTT-4.3.3-7].
#[test]
fn what_was_sent_is_dropped_for_nothing_while_its_client_is_there() {
    let (mut model, mut frames) = (Model::default(), Frames::default());
    let mut outbound = Outbound::new(true).with_edge(10);
    outbound.attach(Link::any(4));
    for number in 0..4 {
        let message = message(number, Qos::ExactlyOnce);
        deliver(&mut outbound, &message, Qos::ExactlyOnce);
        let seq = u64::from(number);
        let entry = entry(seq, &message, Qos::ExactlyOnce);
        model.entries.insert(seq, entry);
        outbound.commit(seq);
    }
    assert_eq!(outbound.pump(&mut model, &mut frames, 0, &bounds()), 4);
    outbound.detach();
    // Room for one: the others are to be sent again, and wait.
    outbound.attach(Link::any(1));
    outbound.pump(&mut model, &mut frames, 0, &bounds());
    assert_eq!(outbound.drop_oldest(&mut model), None);
    assert_eq!(outbound.drop_expired(&mut model, u64::MAX), 0);
    assert_eq!(model.entries.len(), 4);
}

#[test]
fn an_exchange_that_a_connection_ends_amid_takes_no_room_for_ever() {
    let (mut model, mut frames) = (Model::default(), Frames::default());
    let mut outbound = Outbound::new(true).with_edge(10);
    let one = message(0, Qos::ExactlyOnce);
    let size = one.as_ref().size();
    let room = Bounds {
        bytes: size,
        ..bounds()
    };
    outbound.attach(Link::any(1));
    deliver(&mut outbound, &one, Qos::ExactlyOnce);
    model.entries.insert(0, entry(0, &one, Qos::ExactlyOnce));
    outbound.commit(0);
    assert_eq!(outbound.pump(&mut model, &mut frames, 0, &bounds()), 1);
    assert!(outbound.is_full(size, &room));
    let received = outbound.handle_pubrec(NonZeroU16::MIN, Reason::Success);
    assert!(matches!(received, Acknowledged::Received { .. }));
    assert!(!outbound.is_full(size, &room), "it is with its client");
}

#[test]
fn a_clean_session_keeps_its_order_behind_a_full_window() {
    let mut outbound = Outbound::new(false);
    outbound.attach(Link::any(2));
    for number in 0..5 {
        let message = message(number, Qos::AtLeastOnce);
        assert_eq!(
            deliver(&mut outbound, &message, Qos::AtLeastOnce),
            Taken::Accepted {
                is_sent: number < 2
            }
        );
    }
    assert_eq!((outbound.n_inflight(), outbound.n_queued()), (2, 5));
    let mut client = Client::default();
    client.see(taken(&mut outbound));
    let (mut model, mut dice) = (Model::default(), Dice::new(1));
    while answer(&mut client, &mut outbound, &mut model, &mut dice) {
        outbound.pump(&mut model, &mut Frames::default(), 0, &bounds());
        client.see(taken(&mut outbound));
    }
    assert_eq!(client.received, [0, 1, 2, 3, 4]);
}

#[test]
fn an_identifier_is_not_used_again_while_its_message_is_on_its_way() {
    let mut outbound = Outbound::new(false);
    outbound.attach(Link::any(70_000));
    for number in 0..70_000 {
        deliver(
            &mut outbound,
            &message(number, Qos::AtLeastOnce),
            Qos::AtLeastOnce,
        );
    }
    assert_eq!(outbound.n_inflight(), 65_535);
    let first = NonZeroU16::MIN;
    assert!(matches!(
        outbound.handle_puback(first),
        Acknowledged::Finished { seq: 0, .. }
    ));
    outbound.pump(&mut Model::default(), &mut Frames::default(), 0, &bounds());
    assert_eq!(
        outbound.n_inflight(),
        65_535,
        "the first identifier is free, and taken again"
    );
}

#[test]
fn stray_acknowledgements_change_nothing() {
    let mut outbound = Outbound::new(false);
    outbound.attach(Link::any(10));
    deliver(
        &mut outbound,
        &message(0, Qos::ExactlyOnce),
        Qos::ExactlyOnce,
    );
    for id in [1, 2, 65_535] {
        let id = NonZeroU16::new(id).expect("not zero");
        assert_eq!(outbound.handle_puback(id), Acknowledged::Unknown);
        assert_eq!(outbound.handle_pubcomp(id), Acknowledged::Unknown);
    }
    assert_eq!(outbound.n_inflight(), 1);
}
