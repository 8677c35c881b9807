//! Wall clocks that are wrong: F33.

use std::time::{Duration, Instant};

use super::term;
use crate::{
    Client, Cluster, Connect, Node, Properties, Publish,
    faults::{Run, Scenario},
    nemesis::{Clock, clock::NOTICED},
    patience::{becomes_true, pause},
    traffic::Traffic,
    unique,
    wire::property,
};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "F33",
    title: "a gateway runs, dies and starts with a clock that is an hour ahead, then behind",
    is_short: false,
    act: a_clock_is_wrong,
}];

const HOUR: Duration = Duration::from_secs(3_600);
/// Seconds that sessions and messages live: more than a run takes, and less than the clock is
/// wrong.
const LIFE: u32 = 1_800;
/// What the log has of it.
const SAID: &str = "the wall clock of this machine differs from Redis's";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

fn a_clock_is_wrong(run: &mut Run) {
    let Some(wrap) = run.can("clock", Clock::wrap()) else {
        return;
    };
    let cluster = Cluster::builder().control(3).gateways(2);
    let cluster = cluster.wrap("g1", wrap).start();
    cluster.wait_for_voters();
    let traffic = run.everybody(&cluster);
    let [wrong, right] = ["g1", "g2"].map(|name| cluster.node(name));
    let clock = Clock::of(wrong.folder());
    let before = term(&cluster);
    let first = run.random.below(2);
    for round in 0..run.rounds(2, 6) {
        run.somewhere(&traffic);
        // Some are left behind while it is right, some while it is wrong, and some when it has
        // started with it: only then a gateway need go by it.
        let leave = || [Left::at(wrong, right), Left::at(right, wrong)];
        let mut left = Vec::from(leave());
        let (set, ahead) = match (first + round) % 2 {
            0 => (clock.ahead(HOUR), HOUR.as_secs_f64()),
            _ => (clock.behind(HOUR), -HOUR.as_secs_f64()),
        };
        set.expect("a folder of its own");
        run.fault("clock", wrong.name());
        pause(5 * NOTICED);
        traffic.everyone_goes_on();
        left.extend(leave());
        starts_again(run, &traffic, wrong);
        says_so(run, wrong, ahead, 1 + round);
        left.extend(leave());
        // Half of each come back while it is wrong, the others later.
        let (now, later): (Vec<_>, Vec<_>) = left.into_iter().partition(|_| run.random.once_in(2));
        for left in now {
            left.comes_back(run);
        }
        run.somewhere(&traffic);
        clock.right().expect("a folder of its own");
        run.healed("clock", wrong.name());
        run.recovers(&traffic, Instant::now());
        pause(5 * NOTICED);
        starts_again(run, &traffic, wrong);
        says_so(run, wrong, 0.0, 1 + round);
        for left in later {
            left.comes_back(run);
        }
    }
    let elections = term(&cluster) - before;
    run.note(format!("{elections} elections beside a wrong clock"));
    // A busy machine may cost one.
    if elections > 2.0 {
        run.fail(format!(
            "{elections} elections, and only a wall clock was wrong"
        ));
    }
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// A gateway dies, and starts with the clock that it has now. Meanwhile its sessions are adopted.
fn starts_again(run: &mut Run, traffic: &Traffic<'_>, node: &Node) {
    let since = run.kill(node);
    run.recovers(traffic, since);
    run.restart(node);
    run.recovers(traffic, Instant::now());
}

/// By how many seconds its machine's clock is ahead of Redis's, and once in the log for each time
/// that it has started like that.
fn says_so(run: &mut Run, node: &Node, ahead: f64, n_times: usize) {
    let said = node.metric("gateway_clock_skew_seconds");
    if said.is_none_or(|said| (said - ahead).abs() > 60.0) {
        let name = node.name();
        run.fail(format!("{name} is {ahead} s ahead and says {said:?} s"));
    }
    let is_told = || node.log().count(SAID) >= n_times;
    if !becomes_true(PATIENCE, is_told) {
        run.fail(format!("{} has no line of it in its log", node.name()));
    }
}

/// A session that was left behind on one gateway with messages that wait for it, one from each
/// gateway. It comes back on the other one.
struct Left<'a> {
    client: String,
    from: &'a Node,
    to: &'a Node,
}

impl<'a> Left<'a> {
    #[track_caller]
    fn at(from: &'a Node, to: &'a Node) -> Self {
        let client = unique("left");
        let (mut subscriber, _) = connect(from, &client);
        subscriber.subscribe(&client, 1);
        subscriber.disconnect();
        for node in [from, to] {
            let mut publisher = node.v5(&unique("pub"));
            publisher.set_limit(PATIENCE);
            let life = Properties::new().four(property::MESSAGE_EXPIRY_INTERVAL, LIFE);
            let message = Publish::new(&client, node.name()).properties(life);
            let id = publisher.next_id();
            let ack = publisher.publish_packet(message.qos(1, id));
            let reason = ack.map(|ack| ack.reason);
            assert!(reason < Some(0x80), "{reason:?}");
            publisher.disconnect();
        }
        Self { client, from, to }
    }

    fn comes_back(self, run: &mut Run) {
        let (client, from, to) = (&self.client, self.from.name(), self.to.name());
        let (mut subscriber, session_present) = connect(self.to, client);
        if !session_present {
            run.fail(format!(
                "{client}: its session of {from} has expired at {to}"
            ));
            return;
        }
        let mut messages = Vec::new();
        while messages.len() < 2
            && let Some(packet) = subscriber.recv_within(PATIENCE)
        {
            let publish = packet.publish(5);
            subscriber.acknowledge(&publish);
            let left = publish.properties.number(property::MESSAGE_EXPIRY_INTERVAL);
            messages.push(String::from_utf8_lossy(&publish.payload).into_owned());
            // It waited some seconds, and was told to live for LIFE.
            if left.is_none_or(|left| !(LIFE / 2..=LIFE).contains(&left)) {
                run.fail(format!(
                    "{client}: a message of {messages:?} has {left:?} s left"
                ));
            }
        }
        messages.sort_unstable();
        messages.dedup();
        if messages.len() < 2 {
            run.fail(format!(
                "{client}: only messages of {messages:?} came, by {to}"
            ));
        }
        subscriber.disconnect();
    }
}

/// Whether there was a session, too.
#[track_caller]
fn connect(node: &Node, client: &str) -> (Client, bool) {
    let mut connect = Connect::persistent(5, client);
    connect.properties = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, LIFE);
    let (mut client, connack) = node.connect(&connect);
    client.set_limit(PATIENCE);
    (client, connack.session_present)
}
