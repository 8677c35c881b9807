//! Kafka, the way to it, and bridges fail: F26. Two rules share a real Kafka behind a relay: what one
//! of them takes is acknowledged when it is in a bridge's spool, so that nobody waits for Kafka; what
//! the other one takes is acknowledged when Kafka has it, and not before.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    Cluster, Kafka, Node,
    cluster::Kind,
    faults::{Run, Scenario},
    kafka::{Detour, judge::judge, reader::read_all},
    nemesis::{
        Relay,
        relay::{Direction, Fault},
    },
    patience::{becomes_true, pause},
    ports,
    traffic::{
        Traffic,
        publisher::{self, Plan, WINDOW},
    },
    unique,
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "F26",
    title: "Kafka is away, slow or breaks off, and bridges to it are killed",
    is_short: false,
    act: kafka_fails,
}];

/// Topics of Kafka, called as their rules, and the filters of those.
const SPOOLED: (&str, &[&str]) = ("spooled", &["+/one", "+/deep/#"]);
const CONFIRMED: (&str, &[&str]) = ("confirmed", &["+/confirmed/#"]);
const N_PARTITIONS: u16 = 3;
/// Publishers let this time pass between two messages, on the average: absent subscribers have to
/// have room for all of them.
const PACE: Duration = Duration::from_millis(10);
/// What Kafka had when it went is acknowledged by then.
const ON_ITS_WAY: Duration = Duration::from_secs(2);
/// How soon those who wait for Kafka are answered when it is back: bridges try again every 10 s at
/// least.
const BACK: Duration = Duration::from_secs(45);
/// How soon nothing waits any more for Kafka.
const DRAINED: Duration = Duration::from_secs(60);
/// How long who waits for Kafka does: longer than it is away.
const PATIENT: Duration = Duration::from_secs(150);
const BRIDGES: [&str; 2] = ["b1", "b2"];

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Nobody listens.
    Refused,
    /// SIGKILL.
    Killed,
    /// SIGSTOP.
    Stopped,
    /// Nothing comes through.
    Stalled,
    /// All takes up to a second longer.
    Slow,
    /// Connections break off by RST, amid what is sent or answered.
    Torn,
    /// A bridge is killed, and started again.
    Bridge,
}

/// What a run works with.
struct Scene<'a> {
    relay: Relay,
    kafka: Kafka,
    cluster: &'a Cluster,
    bridges: Vec<&'a Node>,
    traffic: Traffic<'a>,
    /// Who waits for Kafka.
    waiting: Vec<publisher::Running>,
    /// A bridge of several was killed: its topics were another's meanwhile.
    have_moved: bool,
}

// --- F26 ---

fn kafka_fails(run: &mut Run) {
    let port = ports::free();
    let relay = Relay::start(([127, 0, 0, 1], port)).expect("a port is free");
    let begin = relay.address();
    let kafka = Kafka::start_behind(Detour { port, begin });
    for (topic, _) in [SPOOLED, CONFIRMED] {
        kafka.create_topic(topic, N_PARTITIONS.into());
    }
    let builder = Cluster::builder().setting(&setting(begin));
    let mut cluster = builder.control(1).gateways(2).start();
    let names = &BRIDGES[..1 + run.random.below(BRIDGES.len())];
    for name in names {
        cluster.add(Kind::Bridge, name);
    }
    let traffic = run.traffic(&cluster).paced(PACE);
    let traffic = traffic
        .with_absent_subscribers()
        .with_present_subscribers()
        .with_publishers();
    let waiting = (0..2).map(|number| wait_for_kafka(run, &traffic, number));
    let mut scene = Scene {
        waiting: waiting.collect(),
        bridges: names.iter().map(|name| cluster.node(name)).collect(),
        cluster: &cluster,
        have_moved: false,
        relay,
        kafka,
        traffic,
    };
    for trouble in chosen(run) {
        run.somewhere(&scene.traffic);
        let since = match trouble {
            Trouble::Bridge => scene.kill_a_bridge(run),
            Trouble::Slow | Trouble::Torn => scene.disturb(run, trouble),
            _ => scene.take_away(run, trouble),
        };
        scene.is_back(run, since);
    }
    scene.conclude(run);
}

/// Where bridges find Kafka, and what they bring there. While the only bridge starts, publishes wait.
fn setting(kafka: SocketAddr) -> String {
    let rule = |(name, filters): (&str, &[&str]), ack: &str| {
        let filters = filters.join("', '");
        format!("{{name: {name}, filters: ['{filters}'], topic: {name}, ack: {ack}}}")
    };
    let (spooled, confirmed) = (rule(SPOOLED, "spool"), rule(CONFIRMED, "kafka"));
    format!(
        "bridge: {{kafka: [{{brokers: ['{kafka}']}}], rules: [{spooled}, {confirmed}]}}\n\
         cluster: {{bridge-wait: 2m}}"
    )
}

/// Somebody whose messages are acknowledged when Kafka has them.
fn wait_for_kafka(run: &mut Run, traffic: &Traffic<'_>, number: usize) -> publisher::Running {
    let topic = |name: &str| format!("{}/confirmed/{name}/{number}", traffic.prefix());
    let plan = Plan {
        client: unique("waits"),
        level: if number == 0 { 5 } else { 4 },
        topics: vec![(topic("one"), 1), (topic("two"), 2)],
        route: traffic.route(number),
        history: run.history(),
        random: run.random.fork(),
        pace: PACE,
    };
    plan.start_patient(PATIENT)
}

/// What goes wrong in this run, in its order: one of each kind in the short form, all of it else.
fn chosen(run: &mut Run) -> Vec<Trouble> {
    use Trouble::{Bridge, Killed, Refused, Slow, Stalled, Stopped, Torn};
    let kinds: [&[Trouble]; 3] = [
        &[Refused, Killed, Stopped, Stalled],
        &[Slow, Torn],
        &[Bridge],
    ];
    let is_short = run.rounds(1, 0) > 0;
    let mut all: Vec<Trouble> = Vec::new();
    for kind in kinds {
        match is_short {
            true => all.push(kind[run.random.below(kind.len())]),
            false => all.extend(kind),
        }
    }
    for last in (1..all.len()).rev() {
        all.swap(last, run.random.below(last + 1));
    }
    all
}

fn seconds(n: usize) -> Duration {
    Duration::from_secs(n.try_into().expect("small"))
}

fn millis(n: usize) -> Duration {
    Duration::from_millis(n.try_into().expect("small"))
}

// === impl Scene ===

impl Scene<'_> {
    /// Kafka cannot be had for a while. Who does not wait for it goes on, and nobody is answered who
    /// does. A bridge may be killed meanwhile: what it took is in its spool. Returns when Kafka is back.
    fn take_away(&mut self, run: &mut Run, trouble: Trouble) -> Instant {
        let op = format!("{trouble:?}");
        run.makes(&op, "kafka", || {
            match trouble {
                Trouble::Killed => self.kafka.kill(),
                Trouble::Stopped => self.kafka.pause(),
                Trouble::Stalled => self.relay.set(Fault::Stall),
                _ => {
                    self.relay.refuse();
                    self.relay.reset();
                }
            }
            true
        });
        let since = Instant::now();
        pause(ON_ITS_WAY);
        let early = self.n_answered();
        self.traffic.everyone_goes_on();
        if run.random.once_in(2) {
            self.kill_a_bridge(run);
        }
        // Once in the plan's length.
        let length = match trouble {
            Trouble::Refused => run.rounds(8, 60),
            _ => run.rounds(8, 10),
        };
        pause(seconds(length).saturating_sub(since.elapsed()));
        self.traffic.everyone_goes_on();
        let late = self.n_answered();
        if late > early {
            let n = late - early;
            run.fail(format!("{n} were acknowledged without Kafka ({trouble:?})"));
        }
        match trouble {
            Trouble::Killed => self.kafka.restart(),
            Trouble::Stopped => self.kafka.resume(),
            _ => self.relay.heal(),
        }
        run.healed(&op, "kafka");
        let healed = Instant::now();
        run.probe(&self.traffic);
        healed
    }

    /// Kafka is there, and hard to reach. Returns when it is not any more.
    fn disturb(&mut self, run: &mut Run, trouble: Trouble) -> Instant {
        let op = format!("{trouble:?}");
        run.begins(&op, "kafka");
        let n_hit = self.relay.n_hit();
        let (since, length) = (Instant::now(), seconds(run.rounds(5, 15)));
        if trouble == Trouble::Slow {
            let [least, more] = [100, 400].map(millis);
            self.relay.set(Fault::delay(least, more));
        }
        while since.elapsed() < length {
            if trouble == Trouble::Torn {
                // Hellos and metadata are some hundred bytes, a batch is up to some thousand.
                let part = 100 + run.random.below(12_000);
                let part = u64::try_from(part).expect("small");
                let direction = match run.random.once_in(3) {
                    true => Direction::Down,
                    false => Direction::Up,
                };
                self.relay.heal();
                self.relay.set_one(direction, Fault::ResetAfter(part));
            }
            self.traffic.everyone_goes_on();
            pause(millis(100 + run.random.below(600)));
        }
        run.sees(&op, "kafka", self.relay.n_hit() > n_hit);
        self.relay.heal();
        run.healed(&op, "kafka");
        let healed = Instant::now();
        run.probe(&self.traffic);
        healed
    }

    /// SIGKILL. Where there is another bridge, that one takes its topics. Returns when it is there again.
    fn kill_a_bridge(&mut self, run: &mut Run) -> Instant {
        let node = self.bridges[run.random.below(self.bridges.len())];
        let killed = run.kill(node);
        if self.bridges.len() > 1 {
            self.have_moved = true;
            run.recovers(&self.traffic, killed);
        } else {
            pause(millis(run.random.below(1_000)));
        }
        run.restart(node);
        let back = Instant::now();
        run.recovers(&self.traffic, back);
        back
    }

    /// How many messages were answered that wait for Kafka.
    fn n_answered(&self) -> usize {
        self.waiting.iter().map(|one| one.n_settled()).sum()
    }

    /// Who waits for Kafka is answered, for something that was sent from now on.
    fn is_back(&self, run: &mut Run, since: Instant) {
        for one in &self.waiting {
            let goal = one.n_settled() + WINDOW + 1;
            let has_it = becomes_true(BACK, || one.n_settled() >= goal || !one.is_alive());
            if !has_it || !one.is_alive() {
                run.fail(format!("who waits for Kafka stands still before {goal}"));
            }
        }
        run.took(since.elapsed());
    }

    /// Everybody finishes, and all that was acknowledged is in Kafka.
    fn conclude(self, run: &mut Run) {
        for one in self.waiting {
            if let Err(trouble) = one.finish() {
                run.fail(trouble);
            }
        }
        run.conclude(self.traffic);
        let since = Instant::now();
        let mut lag = Vec::new();
        let is_drained = becomes_true(DRAINED, || {
            lag = self.bridges.iter().map(|node| lag_of(node)).collect();
            lag.iter().all(|of_node| *of_node == [Some(0.0); 2])
        });
        match is_drained {
            true => run.note(format!(
                "{} bridges, drained after {:.1?}",
                self.bridges.len(),
                since.elapsed()
            )),
            false => run.fail(format!("bridges have not drained: {lag:?}")),
        }
        let records = run.history().records();
        for (topic, filters) in [SPOOLED, CONFIRMED] {
            // What one bridge has in its spool may come behind what another took later.
            let is_ordered = topic != SPOOLED.0 || !self.have_moved;
            let found = read_all(&self.kafka.address(), topic, N_PARTITIONS.into());
            let verdict = judge(&records, &found, filters, is_ordered);
            match verdict.is_good() {
                true => run.note(format!("{topic}: {verdict}")),
                false => run.fail(format!("{topic}: {verdict}")),
            }
        }
        run.look_at(self.cluster);
    }
}

/// Records on their way to Kafka, and bytes that wait for that in the spool.
fn lag_of(node: &Node) -> [Option<f64>; 2] {
    let spool = format!("bridge_spool_bytes{{rule=\"{}\"}}", SPOOLED.0);
    ["bridge_open{kafka=\"main\"}", &*spool].map(|name| node.metric(name))
}
