//! Nodes that hear one another late, in part, or not at all: F9 to F16.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{
    at, leaders,
    locals::{Locals, acks_have_stopped},
    newcomers::Newcomer,
    term,
};
use crate::{
    Cluster, Connect, Node, Properties,
    cluster::REDIS,
    faults::{Run, Scenario, states},
    history::now,
    nemesis::Network,
    patience::pause,
    traffic::{Link, Traffic, subscriber::Running},
    unique, wire,
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "F9",
        title: "a gateway is cut off from control plane and store, both ways",
        is_short: false,
        act: a_gateway_is_cut_off,
    },
    Scenario {
        name: "F10",
        title: "a gateway is cut off from them one way, then the other way",
        is_short: false,
        act: a_gateway_is_cut_off_one_way,
    },
    Scenario {
        name: "F11",
        title: "the leader and a gateway are cut off from two control nodes and a gateway",
        is_short: false,
        act: the_leader_is_in_the_minority,
    },
    Scenario {
        name: "F12",
        title: "two gateways are cut off from one another alone",
        is_short: false,
        act: gateways_are_cut_off_from_one_another,
    },
    Scenario {
        name: "F13",
        title: "a link between two nodes comes and goes, 2 s each",
        is_short: false,
        act: a_link_flaps,
    },
    Scenario {
        name: "F14",
        title: "5 % and 30 % of what passes between nodes are lost",
        is_short: false,
        act: packets_are_lost,
    },
    Scenario {
        name: "F15",
        title: "200 to 300 ms between all nodes, each way; 2 s between two",
        is_short: false,
        act: packets_are_late,
    },
    Scenario {
        name: "F16",
        title: "a gateway has 1 Mbit/s",
        is_short: false,
        act: a_gateway_has_little_bandwidth,
    },
];

/// How long a gateway is cut off: its lease runs out, and it is fenced.
pub(super) const CUT: Duration = Duration::from_secs(6);
/// What was on its way at the moment of the cut has come by then.
const SETTLED: Duration = Duration::from_millis(500);
/// How soon after the heal everybody is answered: TCP waits longer for each repeat, and the last of
/// these waits may just have begun.
const SOON: Duration = Duration::from_secs(10);
/// A link comes or goes after this time.
const PERIOD: Duration = Duration::from_secs(2);

/// Three control nodes and as many gateways, with a network between them; all vote.
fn start(run: &mut Run, n_gateways: usize) -> Option<Cluster> {
    let builder = Cluster::builder().control(3).gateways(n_gateways);
    let cluster = run.can("network", builder.in_network().try_start())?;
    cluster.wait_for_voters();
    Some(cluster)
}

fn end(run: &mut Run, traffic: Traffic<'_>, cluster: &Cluster) {
    run.conclude(traffic);
    run.look_at(cluster);
}

/// So long something is in force.
fn load(run: &Run) -> Duration {
    let seconds = run.rounds(5, 20);
    Duration::from_secs(seconds.try_into().expect("small"))
}

/// All is well in the network, and everybody has to be answered soon.
fn heal(run: &mut Run, op: &str, target: &str, cluster: &Cluster, traffic: &Traffic<'_>) {
    cluster.network().heal();
    run.healed(op, target);
    let healed = Instant::now();
    run.recovers(traffic, healed);
    let took = healed.elapsed();
    if took > SOON {
        run.fail(format!("answered only {took:.1?} after {op} was over"));
    }
}

// --- F9, F10: a gateway, and what it needs ---

/// In which direction nothing passes.
#[derive(Clone, Copy, Debug)]
enum Way {
    Both,
    FromGateway,
    ToGateway,
}

impl Way {
    fn op(self) -> &'static str {
        match self {
            Self::Both => "cut off",
            Self::FromGateway => "not heard",
            Self::ToGateway => "not told",
        }
    }

    fn cut(self, network: &Network, gateway: &str, others: &[&str]) {
        match self {
            Self::Both => network.partition(&[gateway], others),
            Self::FromGateway => network.cut(&[gateway], others),
            Self::ToGateway => network.cut(others, &[gateway]),
        }
    }
}

fn a_gateway_is_cut_off(run: &mut Run) {
    cut_off(run, &[Way::Both]);
}

fn a_gateway_is_cut_off_one_way(run: &mut Run) {
    cut_off(run, &[Way::FromGateway, Way::ToGateway]);
}

fn cut_off(run: &mut Run, ways: &[Way]) {
    let Some(cluster) = start(run, 2) else { return };
    let n_rounds = run.rounds(ways.len(), 4);
    let traffic = run.everybody(&cluster);
    let mut newcomers = Vec::new();
    let needed = ["c1", "c2", "c3", REDIS];
    for number in 0..n_rounds {
        let way = ways[number % ways.len()];
        // New ones each time: what they publish is for nobody who needs Redis.
        let locals = Locals::start(run, &cluster);
        run.somewhere(&traffic);
        let node = at(&cluster, traffic.publisher_at(run.random.below(2)));
        run.makes(way.op(), node.name(), || {
            way.cut(cluster.network(), node.name(), &needed);
            true // or it had panicked
        });
        let (cut, start) = (now(), Instant::now());
        // From then on what this gateway acknowledges to its local publisher has to come elsewhere.
        let mut others = cluster.gateways().into_iter();
        let other = others.find(|it| it.name() != node.name());
        let other = other.expect("there are two");
        match traffic.newcomer(other.tcp(), &locals.topic(node)) {
            Ok(newcomer) => newcomers.push(newcomer),
            Err(trouble) => run.fail(trouble),
        }
        pause(CUT.saturating_sub(start.elapsed()));
        acks_have_stopped(run, node, cut);
        heal(run, way.op(), node.name(), &cluster, &traffic);
        locals.finish(run);
    }
    for newcomer in newcomers {
        newcomer.drain().unwrap_or_else(|trouble| run.fail(trouble));
    }
    end(run, traffic, &cluster);
}

// --- F11: the control plane is in two parts ---

/// The majority elects, and takes newcomers. The minority commits nothing, acknowledges nothing when its
/// lease is over, and refuses newcomers or lets them wait: it grants no subscription. Each newcomer wants
/// what somebody publishes on the other side, so that a SUBACK that is not true loses something (I1); one
/// that was told of a session has it afterwards (I6).
fn the_leader_is_in_the_minority(run: &mut Run) {
    let Some(cluster) = start(run, 2) else { return };
    let traffic = run.everybody(&cluster);
    let (all, history) = (cluster.controls(), run.history());
    let mut newcomers = Vec::new();
    run.meanwhile(
        |go_on| states::watch(&all, &history, go_on),
        |run| {
            for _ in 0..run.rounds(1, 3) {
                newcomers.extend(in_two_parts(run, &cluster, &traffic));
                run.agree(&all);
            }
        },
    );
    for newcomer in newcomers {
        newcomer.drain().unwrap_or_else(|trouble| run.fail(trouble));
    }
    end(run, traffic, &cluster);
}

/// One partition, and the newcomers that were let in then or after it.
fn in_two_parts(run: &mut Run, cluster: &Cluster, traffic: &Traffic<'_>) -> Vec<Running> {
    // New ones each time: what they publish is for nobody who needs Redis.
    let locals = Locals::start(run, cluster);
    run.somewhere(traffic);
    let (gateways, at) = (cluster.gateways(), run.random.below(2));
    let (with_leader, with_others) = (gateways[at], gateways[1 - at]);
    let asker = unique("asker");
    let opened = Link::open(with_leader.tcp(), &Connect::new(5, &asker));
    let (mut asker, ..) = opened.expect("the network is whole");
    let before = term(cluster);
    let leader = leave_in_minority(run, cluster, with_leader);
    let cut = now();
    let inside = Newcomer::start(run, with_leader, &locals.topic(with_others));
    let outside = Newcomer::start(run, with_others, &locals.topic(with_leader));
    commits_nothing(run, leader, &mut asker);
    acks_have_stopped(run, with_leader, cut);
    if term(cluster) <= before {
        run.fail("two of three control nodes elected nobody");
    }
    // While it is cut, whoever can decide lets in who comes.
    let mut come = vec![outside.comes_in()];
    if inside.is_granted() {
        run.fail("a gateway without a quorum granted a newcomer's subscription");
    }
    heal(run, "minority", leader.name(), cluster, traffic);
    come.push(inside.comes_in());
    let mut newcomers = Vec::new();
    for came in come {
        match came {
            Ok(newcomer) => newcomers.push(newcomer),
            Err(trouble) => run.fail(trouble),
        }
    }
    locals.go_on(run);
    locals.finish(run);
    newcomers
}

/// Cuts off the leader of the control plane, and this gateway, from all others: the fault
/// "minority" of who is returned, the leader. Both sides may reach the store: then only fencing is
/// between them.
pub(super) fn leave_in_minority<'a>(
    run: &mut Run,
    cluster: &'a Cluster,
    gateway: &Node,
) -> &'a Node {
    let leader = cluster.leader();
    let minority = [leader.name(), gateway.name()];
    let all = cluster.controls().into_iter().chain(cluster.gateways());
    let mut majority: Vec<_> = all.map(Node::name).collect();
    majority.retain(|name| !minority.contains(name));
    if run.random.once_in(2) {
        majority.push(REDIS);
    }
    run.fault("minority", leader.name());
    cluster.network().partition(&minority, &majority);
    leader
}

/// A leader without a quorum, whose gateway is asked for a new route meanwhile.
fn commits_nothing(run: &mut Run, leader: &Node, asker: &mut Link) {
    let committed = || leader.metric("control_log_committed");
    let start = Instant::now();
    pause(SETTLED);
    let before = committed();
    let topic = unique("topic");
    let filters = [(topic.as_str(), 1)];
    let subscribe = wire::subscribe(5, 1, &Properties::new(), &filters);
    let asked = asker.send(&subscribe).and_then(|()| {
        let left = CUT.saturating_sub(start.elapsed());
        asker.recv(left)
    });
    if let Ok(Some(packet)) = asked
        && packet.kind == wire::SUBACK
        && packet.suback(wire::SUBACK, 5).codes == [1]
    {
        run.fail("a gateway without a quorum granted a subscription");
    }
    pause(CUT.saturating_sub(start.elapsed()));
    let after = committed();
    if before.is_none() || before != after {
        let name = leader.name();
        run.fail(format!(
            "{name} alone committed from {before:?} to {after:?}"
        ));
    }
}

// --- F12: gateways ---

fn gateways_are_cut_off_from_one_another(run: &mut Run) {
    let Some(cluster) = start(run, 2) else { return };
    let traffic = run.everybody(&cluster);
    for _ in 0..run.rounds(1, 4) {
        run.somewhere(&traffic);
        run.makes("gateways apart", "g1 g2", || {
            cluster.network().partition(&["g1"], &["g2"]);
            true
        });
        pause(CUT);
        heal(run, "gateways apart", "g1 g2", &cluster, &traffic);
    }
    end(run, traffic, &cluster);
}

// --- F13 to F16: links that are bad ---

fn a_link_flaps(run: &mut Run) {
    let Some(cluster) = start(run, 2) else { return };
    let traffic = run.everybody(&cluster);
    let network = cluster.network();
    let nodes = network.nodes();
    let one = run.random.below(nodes.len());
    let other = (one + 1 + run.random.below(nodes.len() - 1)) % nodes.len();
    let [one, other] = [one, other].map(|number| nodes[number].as_str());
    let link = format!("{one} {other}");
    run.somewhere(&traffic);
    let (all, before) = (cluster.controls(), term(&cluster));
    let (mut seen, mut n_cuts) = (BTreeSet::new(), 0);
    run.meanwhile(
        |go_on| seen = leaders::watch(&all, go_on),
        |run| {
            run.begins("flapping", &link);
            let flap = network.flap(&[one], &[other], PERIOD);
            pause(PERIOD * run.rounds(4, 26).try_into().expect("small"));
            n_cuts = flap.end();
            run.sees("flapping", &link, n_cuts > 0);
            heal(run, "flapping", &link, &cluster, &traffic);
        },
    );
    let elections = term(&cluster) - before;
    let n_changes = seen.len().saturating_sub(1);
    run.note(format!(
        "{link} was cut {n_cuts} times: {n_changes} other leaders, {elections} elections"
    ));
    // A short form only tells of it: it is made while others need the machine.
    let is_full = run.rounds(0, 1) > 0;
    if is_full && n_changes > n_cuts {
        run.fail(format!("{n_changes} other leaders in {n_cuts} cuts"));
    }
    // An election may need a second attempt.
    if elections > 2.0 * n_cuts as f64 {
        run.fail(format!("{elections} elections in {n_cuts} cuts"));
    }
    end(run, traffic, &cluster);
}

fn packets_are_lost(run: &mut Run) {
    let Some(cluster) = start(run, 2) else { return };
    let traffic = run.everybody(&cluster);
    for per_thousand in [50, 300] {
        run.somewhere(&traffic);
        let share = format!("{per_thousand} of 1,000");
        run.makes("loss", &share, || {
            cluster.network().lose(per_thousand);
            true
        });
        pause(load(run));
        heal(run, "loss", &share, &cluster, &traffic);
    }
    end(run, traffic, &cluster);
}

fn packets_are_late(run: &mut Run) {
    let Some(cluster) = start(run, 2) else { return };
    let traffic = run.everybody(&cluster);
    let network = cluster.network();
    let before = term(&cluster);
    let jitter = Duration::from_millis(100);
    let nodes = network.nodes();
    let one = run.random.below(nodes.len());
    let other = (one + 1 + run.random.below(nodes.len() - 1)) % nodes.len();
    let pair = [one, other].map(|number| nodes[number].as_str());
    let (all, both) = ("all links", pair.join(" "));
    for link in [all, both.as_str()] {
        run.somewhere(&traffic);
        let delayed = match link == all {
            true => network.delay_all(2 * jitter, jitter),
            false => network.delay(pair[0], pair[1], Duration::from_secs(2), Duration::ZERO),
        };
        if run.can("delay", delayed).is_none() {
            break;
        }
        run.fault("delay", link);
        pause(load(run));
        heal(run, "delay", link, &cluster, &traffic);
    }
    // A leader that is 2 s away is another one's at once, and the way back may cost one more.
    let elections = term(&cluster) - before;
    run.note(format!("{elections} elections"));
    if elections > 10.0 {
        run.fail(format!("{elections} elections are a storm"));
    }
    end(run, traffic, &cluster);
}

fn a_gateway_has_little_bandwidth(run: &mut Run) {
    let Some(cluster) = start(run, 2) else { return };
    let traffic = run.everybody(&cluster);
    for _ in 0..run.rounds(1, 3) {
        run.somewhere(&traffic);
        let node = cluster.gateways()[run.random.below(2)].name();
        run.makes("bandwidth", node, || {
            cluster.network().limit(node, Some(1_000));
            true
        });
        traffic.everyone_goes_on(); // slowly
        pause(load(run));
        heal(run, "bandwidth", node, &cluster, &traffic);
    }
    end(run, traffic, &cluster);
}
