//! SUBACK means routed, whatever goes on: F37.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    Client, Cluster, Node, Publish,
    cluster::Kind,
    faults::{Run, Scenario},
    history::{Event, History, Name, Random, Uid, encode},
    traffic::Journal,
    unique, wire,
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "F37",
    title: "SUBSCRIBE on one gateway, PUBLISH on another as soon as SUBACK is there",
    is_short: true,
    act: published_after_suback,
}];

/// Ordered pairs of different gateways of three.
const PAIRS: [(usize, usize); 6] = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
/// How long an answer may take: a gateway that is gone is waited for until its lease has run out.
const PATIENCE: Duration = Duration::from_secs(15);
/// A message that did not come by then will not come: PUBACK was first.
const HOPELESS: Duration = Duration::from_secs(3);

/// Pairs of a subscriber and a publisher race, while a gateway comes and goes.
fn published_after_suback(run: &mut Run) {
    let mut cluster = Cluster::builder().control(1).gateways(3).start();
    cluster.add(Kind::Gateway, "visitor");
    let visitor = cluster.node("visitor");
    let (n_rounds, n_visits) = (run.rounds(100, 400), run.rounds(1, 4));
    let (history, nobody) = (run.history(), run.traffic(&cluster));
    let (nodes, start) = (cluster.three(), Instant::now());
    let pairs = PAIRS.map(|pair| (pair, run.random.fork()));
    let racing = Arc::clone(&history);
    let race_all = |go_on: &AtomicBool| {
        thread::scope(|scope| {
            for ((from, to), random) in pairs {
                let (from, to, history) = (nodes[from], nodes[to], &racing);
                scope.spawn(move || race(from, to, history, random, n_rounds, go_on));
            }
        });
    };
    run.meanwhile(race_all, |run| {
        for _ in 0..n_visits {
            run.kill(visitor);
            run.restart(visitor);
            run.probe(&nobody);
        }
    });
    let rounds = history.n_accepted();
    run.note(format!("{rounds} rounds in {:.0?}", start.elapsed()));
    run.judge();
    run.look_at(&cluster);
}

/// One pair: at least so many rounds, and while it is to go on.
pub(super) fn race(
    from: &Node,
    to: &Node,
    history: &Arc<History>,
    random: Random,
    n_rounds: usize,
    go_on: &AtomicBool,
) {
    let mut pair = Pair::new(from, to, history, random);
    let mut round = 0;
    while round < n_rounds || go_on.load(Relaxed) {
        round += 1;
        pair.round();
    }
    pair.end();
}

/// Who subscribes, and who publishes when it is told that the other one has.
pub(super) struct Pair<'a> {
    subscriber: Racer<'a>,
    publisher: Racer<'a>,
    random: Random,
}

// === impl Pair ===

impl<'a> Pair<'a> {
    /// Both are connected, to these gateways.
    pub(super) fn new(from: &Node, to: &Node, history: &'a Arc<History>, random: Random) -> Self {
        Self {
            subscriber: Racer::new(to.v4(&unique("sub")), to, history),
            publisher: Racer::new(from.v5(&unique("pub")), from, history),
            random,
        }
    }

    /// A new filter, and a message for it as soon as SUBACK is there. Returns how long SUBACK took, or
    /// nothing where it refuses: then nobody promised anything, and nothing is published.
    pub(super) fn round(&mut self) -> Option<Duration> {
        let name = unique("race");
        let topic = format!("{name}/{name}");
        // Some have a wildcard in their first level, which is in all parts of a table.
        let filter = match self.random.below(4) {
            0 => format!("+/{name}"),
            1 => format!("{name}/#"),
            _ => topic.clone(),
        };
        let start = Instant::now();
        let is_granted = self.subscriber.subscribe(&filter);
        let took = start.elapsed();
        if !is_granted {
            return None;
        }
        self.publisher.publish(&topic);
        self.subscriber.receive();
        self.subscriber.unsubscribe(&filter);
        Some(took)
    }

    /// No more is published.
    pub(super) fn end(self) {
        let client = self.subscriber.name;
        self.subscriber.history.record(Event::Drained { client });
    }
}

/// One of a pair, on its one connection.
struct Racer<'a> {
    client: Client,
    name: Name,
    journal: Journal,
    history: &'a History,
}

// === impl Racer ===

impl<'a> Racer<'a> {
    fn new(mut client: Client, node: &Node, history: &'a Arc<History>) -> Self {
        client.set_limit(PATIENCE);
        let name = unique("racer");
        let mut journal = Journal::new(&name, history);
        journal.connecting(node.tcp(), true);
        journal.connected(false);
        Self {
            client,
            name: name.as_str().into(),
            journal,
            history,
        }
    }

    /// Whether it is granted.
    fn subscribe(&mut self, filter: &str) -> bool {
        let (client, name): (_, Name) = (self.name.clone(), filter.into());
        self.history.record(Event::Subscribing {
            client: client.clone(),
            filter: name.clone(),
            qos: 1,
        });
        let code = self.client.subscribe(filter, 1);
        let is_granted = code < 0x80;
        self.history.record(match is_granted {
            true => Event::Subscribed {
                client,
                filter: name,
                qos: code,
            },
            false => Event::SubscribeRefused {
                client,
                filter: name,
                reason: code,
            },
        });
        is_granted
    }

    fn unsubscribe(&mut self, filter: &str) {
        let (client, name): (_, Name) = (self.name.clone(), filter.into());
        self.history.record(Event::Unsubscribing {
            client: client.clone(),
            filter: name.clone(),
        });
        self.client.unsubscribe(&[filter]);
        self.history.record(Event::Unsubscribed {
            client,
            filter: name,
        });
    }

    fn publish(&mut self, topic: &str) {
        let uid = Uid {
            publisher: self.name.clone(),
            topic: topic.into(),
            seq: 0,
        };
        let id = self.client.next_id();
        let publish = Publish::new(topic, encode(&uid, 0)).qos(1, id);
        self.journal.sent(&uid, &publish);
        self.client.send(&publish.bytes(5));
        let reason = self.client.expect_ack(wire::PUBACK, id).reason;
        self.journal.answered(uid, reason);
    }

    fn receive(&mut self) {
        let Some(packet) = self.client.recv_within(HOPELESS) else {
            return; // the judge sees what is missing
        };
        let publish = packet.publish(4);
        self.client.acknowledge(&publish);
        self.journal.received(&publish);
    }
}
