//! A broker that does everything right, with publishers, subscribers, groups and wills that make it
//! hard: connections are cut, messages are sent again, sessions end, subscriptions come and go.
//! What the seed says happens; what a rule allows either way is chosen by it too.

use std::collections::{BTreeMap, VecDeque};

use crate::history::{self, Ending, Event, FaultOutcome, Name, Random, Record, SessionEnd, Uid};

pub(super) const SECOND: u64 = 1_000_000_000;
/// A connection that none is later than.
pub(super) const LATEST: u32 = u32::MAX;
/// A subscriber to everything, at QoS 2, that stays.
pub(super) const STAYS: &str = "stays";
/// Topics and their QoS.
const TOPICS: [(&str, u8); 4] = [("t/0", 1), ("t/1", 2), ("t/2", 2), ("t/3", 0)];
/// Who subscribes to what at the beginning, and with which QoS.
const SUBSCRIBERS: [(&str, &[(&str, u8)]); 8] = [
    (STAYS, &[("t/#", 2)]),
    ("overlaps", &[("t/+", 1), ("t/1", 2)]),
    ("changes", &[("t/1", 2)]),
    ("leaves", &[("t/#", 1)]),
    ("member1", &[("$share/g/t/#", 2)]),
    ("member2", &[("$share/g/t/#", 2)]),
    ("member3", &[("$share/h/t/+", 1), ("t/2", 1)]),
    ("member4", &[("$share/h/t/+", 1)]),
];

/// A broker's world.
pub(super) struct World {
    random: Random,
    t: u64,
    records: Vec<Record>,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    wills: Vec<Will>,
    n_wills: u64,
    fault: Option<&'static str>,
    applied: [u64; 3],
}

struct Subscriber {
    name: Name,
    connection: u32,
    /// Filter and granted QoS, as the broker has it.
    subscriptions: BTreeMap<&'static str, u8>,
    queue: VecDeque<(Uid, u8)>,
    /// It has ended its session, and is not seen again.
    is_gone: bool,
    /// A SUBSCRIBE or UNSUBSCRIBE of `t/1` that is to be answered, and whether the broker has it.
    open: Option<(bool, bool)>,
}

struct Publisher {
    name: Name,
    connection: u32,
    next: [u64; TOPICS.len()],
    inflight: VecDeque<Inflight>,
}

#[derive(Clone)]
struct Inflight {
    uid: Uid,
    qos: u8,
    /// The broker has it: from this connection, or from one before.
    is_taken: bool,
    was_taken: bool,
    n_sent: usize,
}

/// A will whose client is gone, and when it is due.
struct Will {
    uid: Uid,
    qos: u8,
    at: u64,
    client: Name,
}

/// The history of a right broker.
pub(super) fn right(random: &mut Random) -> Vec<Record> {
    let mut world = World::new(random);
    for _ in 0..90 + world.random.below(50) {
        world.step();
    }
    world.end()
}

/// An event at a time after the last one.
pub(super) fn push(records: &mut Vec<Record>, event: Event) {
    let t = records.last().map_or(1, |record| record.t) + 1_000;
    records.push(Record { t, event });
}

pub(super) fn connecting(client: &Name, connection: u32, clean_start: bool) -> Event {
    Event::Connecting {
        client: client.clone(),
        connection,
        node: "n1".into(),
        clean_start,
    }
}

pub(super) fn connected(client: &Name, connection: u32, present: bool, clean: bool) -> Event {
    Event::Connected {
        client: client.clone(),
        connection,
        node: "n1".into(),
        session_present: present,
        clean_start: clean,
    }
}

pub(super) fn disconnected(client: &Name, connection: u32, ending: Ending) -> Event {
    Event::Disconnected {
        client: client.clone(),
        connection,
        ending,
    }
}

pub(super) fn sent(uid: &Uid, qos: u8, dup: bool) -> Event {
    Event::Sent {
        uid: uid.clone(),
        connection: 1,
        qos,
        retain: false,
        dup,
        empty: false,
    }
}

pub(super) fn accepted(uid: &Uid) -> Event {
    Event::Accepted {
        uid: uid.clone(),
        connection: LATEST,
    }
}

pub(super) fn received(client: &str, connection: u32, uid: &Uid, qos: u8, dup: bool) -> Event {
    Event::Received {
        client: client.into(),
        connection,
        topic: uid.topic.clone(),
        uid: Some(uid.clone()),
        qos,
        dup,
        retain: false,
    }
}

// === impl World ===

impl World {
    fn new(random: &mut Random) -> Self {
        let of_name = |name: &str| Subscriber {
            name: name.into(),
            connection: 1,
            subscriptions: BTreeMap::new(),
            queue: VecDeque::new(),
            is_gone: false,
            open: None,
        };
        let publisher = |name: &str| Publisher {
            name: name.into(),
            connection: 1,
            next: [0; TOPICS.len()],
            inflight: VecDeque::new(),
        };
        let mut world = Self {
            random: random.fork(),
            t: 1,
            records: Vec::new(),
            subscribers: SUBSCRIBERS.iter().map(|(name, _)| of_name(name)).collect(),
            publishers: ["p1", "p2"].map(publisher).into(),
            wills: Vec::new(),
            n_wills: 0,
            fault: None,
            applied: [0; 3],
        };
        let names = SUBSCRIBERS.iter().map(|(name, _)| *name);
        for name in names.chain(["p1", "p2"]) {
            let is_clean = world.random.once_in(2);
            world.record(connecting(&name.into(), 1, is_clean));
            world.record(connected(&name.into(), 1, false, is_clean));
        }
        for (number, (name, filters)) in SUBSCRIBERS.iter().enumerate() {
            for (filter, qos) in *filters {
                let (client, filter_name) = (Name::from(*name), Name::from(*filter));
                world.record(Event::Subscribing {
                    client: client.clone(),
                    filter: filter_name.clone(),
                    qos: *qos,
                });
                world.subscribers[number].subscriptions.insert(filter, *qos);
                world.record(Event::Subscribed {
                    client,
                    filter: filter_name,
                    qos: *qos,
                });
            }
        }
        world
    }

    fn record(&mut self, event: Event) {
        self.t += 1 + u64::try_from(self.random.below(20_000_000)).expect("small");
        let t = self.t;
        self.records.push(Record { t, event });
    }

    fn step(&mut self) {
        self.fire_wills();
        let (publisher, subscriber) = (self.random.below(2), self.random.below(8));
        match self.random.below(48) {
            0..14 => self.send(publisher),
            14..22 => self.take(publisher),
            22..28 => self.acknowledge(publisher),
            28..38 => self.deliver(subscriber),
            38 => self.cut_publisher(publisher),
            39 => self.cut_subscriber(subscriber),
            40 | 41 => self.change(),
            42 | 43 => self.client_with_will(),
            44 => self.fault(),
            45 => self.state_hash(),
            46 if self.random.once_in(4) => self.end_session(3),
            46 if self.random.once_in(4) => self.end_session(7),
            _ => self.deliver(0),
        }
    }

    /// Everything that is under way comes to its end, and the subscribers drain.
    fn end(mut self) -> Vec<Record> {
        for publisher in 0..2 {
            while !self.publishers[publisher].inflight.is_empty() {
                self.take(publisher);
                self.acknowledge(publisher);
            }
        }
        while self.subscribers[2].open.is_some() {
            self.change();
        }
        self.t += 100 * SECOND;
        self.fire_wills();
        if let Some(target) = self.fault.take() {
            self.record_fault(target, FaultOutcome::Healed);
        }
        for number in 0..self.subscribers.len() {
            while !self.subscribers[number].queue.is_empty() {
                self.deliver(number);
            }
            let client = self.subscribers[number].name.clone();
            if !self.subscribers[number].is_gone {
                self.record(Event::Drained {
                    client: client.clone(),
                });
            }
            self.record(Event::Probe {
                client,
                ok: true,
                after: 9 * SECOND,
            });
        }
        self.records
    }

    // --- publishers ---

    fn send(&mut self, number: usize) {
        let topic = self.random.below(TOPICS.len());
        let publisher = &mut self.publishers[number];
        let (name, qos) = TOPICS[topic];
        let uid = Uid {
            publisher: publisher.name.clone(),
            topic: name.into(),
            seq: publisher.next[topic],
        };
        publisher.next[topic] += 1;
        publisher.inflight.push_back(Inflight {
            uid: uid.clone(),
            qos,
            is_taken: false,
            was_taken: false,
            n_sent: 1,
        });
        self.record_sent(number, &uid, qos, false);
    }

    fn record_sent(&mut self, number: usize, uid: &Uid, qos: u8, dup: bool) {
        let event = Event::Sent {
            uid: uid.clone(),
            connection: self.publishers[number].connection,
            qos,
            retain: false,
            dup,
            empty: false,
        };
        self.record(event);
    }

    /// The broker takes the next message, unless it refuses it.
    fn take(&mut self, number: usize) {
        let connection = self.publishers[number].connection;
        let inflight = &mut self.publishers[number].inflight;
        let Some(place) = inflight.iter().position(|it| !it.is_taken) else {
            return;
        };
        if inflight[place].qos > 0 && !inflight[place].was_taken && self.random.once_in(15) {
            let uid = inflight.remove(place).expect("it is there").uid;
            let reason = 0x87;
            return self.record(Event::Refused {
                uid,
                connection,
                reason,
            });
        }
        let message = &mut inflight[place];
        // [MQTT-4.3.3-10]; QoS 1 that is sent again is a new message.
        let is_known = message.qos == 2 && message.was_taken;
        (message.is_taken, message.was_taken) = (true, true);
        let message = message.clone();
        if message.qos == 0 {
            inflight.remove(place);
        }
        if !is_known {
            self.route(&message.uid, message.qos);
        }
    }

    fn acknowledge(&mut self, number: usize) {
        let publisher = &mut self.publishers[number];
        let connection = publisher.connection;
        if publisher.inflight.front().is_some_and(|it| it.is_taken) {
            let message = publisher.inflight.pop_front().expect("it is there");
            let uid = message.uid;
            // Some are never answered.
            if self.random.once_in(12) {
                return;
            }
            self.record(Event::Accepted {
                uid: uid.clone(),
                connection,
            });
            if message.qos == 2 {
                self.record(Event::Completed { uid, connection });
            }
        }
    }

    fn cut_publisher(&mut self, number: usize) {
        let publisher = &mut self.publishers[number];
        publisher.connection += 1;
        let (name, connection) = (publisher.name.clone(), publisher.connection);
        self.record(disconnected(&name, connection - 1, Ending::Cut));
        self.record(connecting(&name, connection, false));
        self.record(connected(&name, connection, true, false));
        self.publishers[number].inflight.retain(|it| it.qos > 0);
        for place in 0..self.publishers[number].inflight.len() {
            let message = &mut self.publishers[number].inflight[place];
            message.is_taken = false;
            message.n_sent += 1;
            let message = message.clone();
            self.record_sent(number, &message.uid, message.qos, true);
        }
    }

    // --- the broker ---

    fn route(&mut self, uid: &Uid, qos: u8) {
        let mut groups: BTreeMap<&str, Vec<(usize, u8)>> = BTreeMap::new();
        for (number, subscriber) in self.subscribers.iter_mut().enumerate() {
            let mut own: Option<u8> = None;
            for (filter, granted) in &subscriber.subscriptions {
                let group = history::shared(filter);
                let inner = group.map_or(*filter, |(_, inner)| inner);
                if !history::matches(inner, &uid.topic) {
                    continue;
                }
                match group {
                    Some(_) => groups.entry(filter).or_default().push((number, *granted)),
                    None => own = own.max(Some(*granted)),
                }
            }
            if let Some(granted) = own {
                let delivery = (uid.clone(), granted.min(qos));
                subscriber.queue.push_back(delivery);
            }
        }
        for members in groups.values() {
            let (member, granted) = members[self.random.below(members.len())];
            let delivery = (uid.clone(), granted.min(qos));
            self.subscribers[member].queue.push_back(delivery);
        }
    }

    fn deliver(&mut self, number: usize) {
        let subscriber = &mut self.subscribers[number];
        let Some((uid, qos)) = subscriber.queue.pop_front() else {
            return;
        };
        let (name, connection) = (subscriber.name.clone(), subscriber.connection);
        if qos == 0 && self.random.once_in(5) {
            return;
        }
        self.record(received(&name, connection, &uid, qos, false));
        if qos == 1 && self.random.once_in(10) {
            let is_cut = self.random.once_in(2);
            if is_cut {
                self.cut_subscriber(number);
            }
            let connection = self.subscribers[number].connection;
            self.record(received(&name, connection, &uid, qos, !is_cut));
        }
    }

    fn cut_subscriber(&mut self, number: usize) {
        let subscriber = &mut self.subscribers[number];
        if subscriber.is_gone {
            return;
        }
        subscriber.connection += 1;
        let (name, connection) = (subscriber.name.clone(), subscriber.connection);
        if self.random.once_in(2) {
            self.record(disconnected(&name, connection - 1, Ending::Cut));
        }
        self.record(connecting(&name, connection, false));
        self.record(connected(&name, connection, true, false));
    }

    /// Somebody leaves for good. With QoS 2 what it had goes with it; with QoS 1 a group keeps it.
    fn end_session(&mut self, number: usize) {
        let subscriber = &mut self.subscribers[number];
        if std::mem::replace(&mut subscriber.is_gone, true) {
            return;
        }
        let (client, connection) = (subscriber.name.clone(), subscriber.connection);
        subscriber.subscriptions.clear();
        let queue = std::mem::take(&mut subscriber.queue);
        if number == 7 {
            self.subscribers[6].queue.extend(queue);
        }
        let reason = SessionEnd::Chosen;
        self.record(disconnected(&client, connection, Ending::Orderly));
        self.record(Event::SessionEnded { client, reason });
    }

    /// One subscriber unsubscribes and subscribes again, with all that may come in between.
    fn change(&mut self) {
        const CHANGES: usize = 2;
        let (client, filter) = (self.subscribers[CHANGES].name.clone(), Name::from("t/1"));
        let subscriber = &mut self.subscribers[CHANGES];
        let is_there = subscriber.subscriptions.contains_key("t/1");
        let qos = 2;
        match subscriber.open {
            None => {
                subscriber.open = Some((!is_there, false));
                self.record(match is_there {
                    true => Event::Unsubscribing { client, filter },
                    false => Event::Subscribing {
                        client,
                        filter,
                        qos,
                    },
                });
            }
            Some((true, false)) => {
                subscriber.subscriptions.insert("t/1", qos);
                subscriber.open = Some((true, true));
            }
            Some((false, false)) => {
                subscriber.subscriptions.remove("t/1");
                subscriber.open = Some((false, true));
            }
            Some((is_subscribe, true)) => {
                subscriber.open = None;
                self.record(match is_subscribe {
                    true => Event::Subscribed {
                        client,
                        filter,
                        qos,
                    },
                    false => Event::Unsubscribed { client, filter },
                });
            }
        }
    }

    // --- wills ---

    /// A client with a will connects, and goes in one of the ways in which clients go.
    fn client_with_will(&mut self) {
        self.n_wills += 1;
        let client = Name::from(format!("dies{}", self.n_wills));
        let delay = u32::try_from(self.random.below(3)).expect("small");
        let qos = [1, 2][self.random.below(2)];
        let uid = Uid {
            publisher: client.clone(),
            topic: "t/will".into(),
            seq: 0,
        };
        let armed = Event::WillArmed {
            client: client.clone(),
            connection: 1,
            uid: uid.clone(),
            qos,
            retain: false,
            delay,
        };
        self.record(connecting(&client, 1, true));
        self.record(armed);
        self.record(connected(&client, 1, false, true));
        match self.random.below(4) {
            0 => self.record(disconnected(&client, 1, Ending::Orderly)),
            1 => {}
            _ => {
                self.record(disconnected(&client, 1, Ending::Cut));
                self.wills.push(Will {
                    at: self.t + u64::from(delay) * SECOND,
                    uid,
                    qos,
                    client,
                });
            }
        }
    }

    /// Wills that are due are published; some clients come back before.
    fn fire_wills(&mut self) {
        for place in (0..self.wills.len()).rev() {
            if self.wills[place].at <= self.t {
                let will = self.wills.swap_remove(place);
                self.route(&will.uid, will.qos);
            } else if self.random.once_in(40) {
                let will = self.wills.swap_remove(place);
                self.record(connecting(&will.client, 2, false));
                self.record(connected(&will.client, 2, true, false));
            }
        }
    }

    // --- what is not a client's ---

    fn fault(&mut self) {
        match self.fault.take() {
            Some(target) => self.record_fault(target, FaultOutcome::Healed),
            None => {
                self.fault = Some("n1");
                self.record_fault("n1", FaultOutcome::Installed);
            }
        }
    }

    fn record_fault(&mut self, target: &str, outcome: FaultOutcome) {
        self.record(Event::Fault {
            op: "stop".into(),
            target: target.into(),
            outcome,
        });
    }

    fn state_hash(&mut self) {
        let node = self.random.below(3);
        let applied = self.applied[node] + u64::try_from(self.random.below(3)).expect("small");
        self.applied[node] = applied;
        self.record(Event::StateHash {
            node: format!("c{node}").into(),
            life: 1,
            applied,
            hash: format!("{:08x}", history::crc32(&applied.to_be_bytes())).into(),
        });
    }
}
