//! SUBACK means routed: whoever publishes after it, on whatever node, reaches the subscriber.

use std::{
    env, fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use gatemq_tests::{Client, Cluster, Node, Publish, cluster::Kind, unique, wire};

use super::PAIRS;

/// How long an answer may take: a gateway that is gone is waited for until its lease has run out.
const PATIENCE: Duration = Duration::from_secs(15);
/// A message that did not come by then will not come: PUBACK was first.
const HOPELESS: Duration = Duration::from_secs(3);

/// What happened in all the rounds.
#[derive(Default)]
struct Report {
    /// How long SUBACK took.
    times: Vec<Duration>,
    misses: Vec<String>,
}

/// `GATEMQ_SUBACK_ROUNDS`, or what an ordinary run has.
fn rounds() -> usize {
    match env::var("GATEMQ_SUBACK_ROUNDS") {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("GATEMQ_SUBACK_ROUNDS={text}: a number is expected")),
        Err(_) => 2_000,
    }
}

impl Report {
    /// One round: subscribes to a new filter, and publishes as soon as that is granted.
    fn round(&mut self, subscriber: &mut Client, publisher: &mut Client, what: &str) {
        // Every fourth filter has a wildcard in its first level, which is in all parts of a table.
        let topic = unique("race");
        let filter = match self.times.len() % 4 {
            0 => format!("+/{topic}"),
            1 => format!("{topic}/#"),
            _ => format!("{topic}/{topic}"),
        };
        let topic = format!("{topic}/{topic}");
        let start = Instant::now();
        assert_eq!(subscriber.subscribe(&filter, 1), 1);
        self.times.push(start.elapsed());
        let id = publisher.next_id();
        publisher.send(&Publish::new(&topic, b"now").qos(1, id).bytes(5));
        let ack = publisher.expect_ack(wire::PUBACK, id);
        let packet = subscriber.recv_within(HOPELESS);
        let arrived = packet.is_some_and(|packet| {
            let publish = packet.publish(4);
            subscriber.acknowledge(&publish);
            publish.topic == topic
        });
        if !arrived || ack.reason != 0 {
            let reason = ack.reason;
            let trouble = format!("{what}: {filter}: arrived: {arrived}, PUBACK {reason:#04x}");
            self.misses.push(trouble);
        }
        if self.times.len().is_multiple_of(2) {
            subscriber.unsubscribe(&[&filter]);
        }
    }

    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.misses.extend(other.misses);
    }

    #[track_caller]
    fn judge(mut self, what: &str) {
        self.times.sort();
        eprintln!("{what}: {self}");
        assert_eq!(self.misses, Vec::<String>::new(), "{what}");
    }

    fn time(&self, percent: usize) -> Duration {
        let index = (self.times.len() * percent / 100).min(self.times.len() - 1);
        self.times[index]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} rounds, {} misses, SUBACK p50 {:?}, p99 {:?}, longest {:?}",
            self.times.len(),
            self.misses.len(),
            self.time(50),
            self.time(99),
            self.time(100)
        )
    }
}

fn pair(from: &Node, to: &Node) -> (Client, Client) {
    let mut subscriber = to.v4(&unique("sub"));
    let mut publisher = from.v5(&unique("pub"));
    subscriber.set_limit(PATIENCE);
    publisher.set_limit(PATIENCE);
    (subscriber, publisher)
}

/// Rounds between all pairs of nodes at once, until there were so many and `is_over`.
fn race(cluster: &Cluster, n_rounds: usize, is_over: &(dyn Fn() -> bool + Sync)) -> Report {
    let nodes = cluster.three();
    let n_done = AtomicUsize::new(0);
    let all = Mutex::new(Report::default());
    thread::scope(|scope| {
        for (from, to) in PAIRS {
            let (n_done, all) = (&n_done, &all);
            scope.spawn(move || {
                let (mut subscriber, mut publisher) = pair(nodes[from], nodes[to]);
                let what = format!("from {from} to {to}");
                let mut report = Report::default();
                while n_done.fetch_add(1, Relaxed) < n_rounds || !is_over() {
                    report.round(&mut subscriber, &mut publisher, &what);
                }
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                all.add(report);
            });
        }
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn after_suback_every_message_arrives() {
    let cluster = Cluster::shared();
    race(&cluster, rounds(), &|| true).judge("quiet");
}

/// A gateway comes and goes all the time; it takes part from its first moment on.
#[test]
fn after_suback_every_message_arrives_while_a_gateway_comes_and_goes() {
    const N_LIVES: usize = 5;
    let mut cluster = Cluster::builder().whole(3).start();
    cluster.add(Kind::Gateway, "comes-and-goes");
    let nodes = cluster.three();
    let visitor = cluster.node("comes-and-goes");
    let n_lives = AtomicUsize::new(0);
    let has_failed = AtomicBool::new(false);
    let mut report = thread::scope(|scope| {
        let visits = scope.spawn(|| {
            let mut report = Report::default();
            while n_lives.load(Relaxed) < N_LIVES {
                visitor.terminate();
                visitor.restart();
                // It publishes what was subscribed to elsewhere, and the other way round.
                for (from, to) in [(visitor, nodes[1]), (nodes[2], visitor)] {
                    let (mut subscriber, mut publisher) = pair(from, to);
                    let what = format!("from {} to {}", from.name(), to.name());
                    for _ in 0..20 {
                        report.round(&mut subscriber, &mut publisher, &what);
                    }
                }
                n_lives.fetch_add(1, Relaxed);
            }
            report
        });
        let is_over = || n_lives.load(Relaxed) >= N_LIVES || visits.is_finished();
        let mut report = race(&cluster, rounds(), &is_over);
        match visits.join() {
            Ok(visits) => report.add(visits),
            Err(_) => has_failed.store(true, Relaxed),
        }
        report
    });
    assert!(!has_failed.load(Relaxed), "the visitor failed");
    report.misses.truncate(20);
    report.judge("while a gateway comes and goes");
}
