//! Who is a node of the control plane changes, or somebody claims to be one: F28 to F30.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Cluster, Node,
    cluster::Kind,
    faults::{Run, Scenario, commands, states},
    patience::{becomes_true, pause},
    unique,
};

use super::subscriptions::race;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "F28",
        title: "a control node is added, the leader is removed and comes again",
        is_short: false,
        act: membership_changes,
    },
    Scenario {
        name: "F29",
        title: "a control node starts with an empty directory under its old name",
        is_short: false,
        act: data_are_gone,
    },
    Scenario {
        name: "F30",
        title: "a cluster is begun a second time, or told of another one",
        is_short: false,
        act: two_clusters_meet,
    },
];

/// How long a change may take: a node has to prove itself before it votes.
const LIMIT: Duration = Duration::from_secs(40);
/// What gossip does in this time, it does.
const GOSSIP: Duration = Duration::from_secs(3);
/// What the line begins with by which a control node says why it does not start, or go on.
pub(super) const REASON: &str = "gatemq-control-plane: ";
/// What it says that would found a cluster and has heard of one.
const IS_FOUNDED: &str = "there is a cluster already";
/// And what it logs that has founded one.
const FOUNDED: &str = "cluster founded";
/// What is answered to who tells a node of one of another cluster.
const REFUSED: &str = "belongs to the cluster";

fn start() -> Cluster {
    let cluster = Cluster::builder().control(3).gateways(2).start();
    cluster.wait_for_voters();
    cluster
}

fn membership_changes(run: &mut Run) {
    let cluster = start();
    let traffic = run.everybody(&cluster);
    let n_rounds = run.rounds(1, 3);
    let spares = (0..n_rounds).map(|at| cluster.prepare(Kind::Control, &format!("c{}", 4 + at)));
    let spares: Vec<_> = spares.collect();
    let all: Vec<_> = cluster.controls().into_iter().chain(&spares).collect();
    let mut voters = cluster.controls();
    let (one, other) = (cluster.gateways()[0], cluster.gateways()[1]);
    let (history, random) = (run.history(), run.random.fork());
    let racing = Arc::clone(&history);
    run.meanwhile(
        |go_on| states::watch(&all, &history, go_on),
        |run| {
            run.meanwhile(
                |go_on| race(one, other, &racing, random, 1, go_on),
                |run| {
                    for spare in &spares {
                        run.somewhere(&traffic);
                        run.begins("membership", spare.name());
                        replace_leader(run, &mut voters, spare);
                        run.sees("membership", spare.name(), true); // or it had panicked
                        run.healed("membership", spare.name());
                        run.recovers(&traffic, Instant::now());
                    }
                },
            );
            run.agree(&voters);
        },
    );
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// One joins, and takes the place of the leader, which is removed, ends, and cannot come back.
fn replace_leader<'a>(run: &mut Run, voters: &mut Vec<&'a Node>, spare: &'a Node) {
    spare.restart();
    let leads = |node: &&Node| node.metric("control_leads") == Some(1.0);
    let mut leader = None;
    becomes_true(LIMIT, || {
        leader = voters.iter().copied().find(leads);
        leader.is_some()
    });
    let leader = leader.expect("somebody leads");
    let asked = voters[run.random.below(voters.len())];
    remove(asked, leader.name());
    let status = leader.wait(LIMIT);
    if status.success() || leader.log().count("was removed") == 0 {
        run.fail(format!(
            "{} was removed and ends so: {status}",
            leader.name()
        ));
    }
    voters.retain(|node| node.name() != leader.name());
    let votes = || spare.log().count("promoted to voter") > 0;
    if !becomes_true(LIMIT, votes) {
        run.fail(format!("{} does not come to vote", spare.name()));
    }
    voters.push(spare);
    must_end(run, leader, &format!("{} was removed", leader.name()));
}

/// By the API, again and again: it may be too early, or the answer may be lost with the leader.
pub(super) fn remove(asked: &Node, name: &str) {
    let path = format!("/api/v1/members/{name}");
    let removed = commands::until_gone(asked, &path);
    removed.unwrap_or_else(|why| panic!("{name} is not removed: {why}"));
}

/// A start that must fail, with one line of the program's that says why: whether it does.
fn must_end(run: &mut Run, node: &Node, why: &str) -> bool {
    let before = node.log().n_lines();
    node.launch().expect("the binary runs");
    let mut has_ended = false;
    becomes_true(LIMIT, || {
        has_ended = !node.is_running();
        has_ended
    });
    if !has_ended {
        let log = node.log().tail(5);
        run.fail(format!("{} runs, and must not:\n{log}", node.name()));
        node.kill();
        return false;
    }
    let status = node.wait(LIMIT);
    let log = node.log().text();
    let reasons = log.lines().skip(before);
    let reasons: Vec<_> = reasons.filter(|line| line.starts_with(REASON)).collect();
    let is_clear = reasons.len() == 1 && reasons[0].contains(why);
    if status.code().is_none_or(|code| code == 0) || !is_clear {
        run.fail(format!(
            "{} ends with {status}, and does not say {why:?} in one line:\n{}",
            node.name(),
            node.log().tail(5)
        ));
    }
    is_clear
}

fn data_are_gone(run: &mut Run) {
    let cluster = start();
    let traffic = run.everybody(&cluster);
    let (all, history) = (cluster.controls(), run.history());
    run.meanwhile(
        |go_on| states::watch(&all, &history, go_on),
        |run| {
            for _ in 0..run.rounds(1, 4) {
                run.somewhere(&traffic);
                let node = all[run.random.below(all.len())];
                let killed = run.kill(node);
                run.recovers(&traffic, killed);
                let aside = set_aside(node);
                // The founder, too, is told of the others, and not only to found.
                let others = all.iter().filter(|other| other.name() != node.name());
                let others: Vec<_> = others.map(|other| other.gossip()).collect();
                let members = format!("--members={}", others.join(","));
                let empty = node.with_flags(&[&members]);
                let is_founder = node.log().count(FOUNDED) > 0;
                let why = match is_founder {
                    true => IS_FOUNDED.to_owned(),
                    false => format!("{} is a member already", node.name()),
                };
                must_end(run, &empty, &why);
                put_back(node, &aside);
                run.restart(node);
                run.recovers(&traffic, Instant::now());
            }
            run.agree(&all);
        },
    );
    run.conclude(traffic);
    run.look_at(&cluster);
}

/// Takes a node's data away; it must not run.
fn set_aside(node: &Node) -> PathBuf {
    let aside = node.folder().join(unique("aside"));
    fs::rename(node.data_dir(), &aside).expect("it has data");
    aside
}

/// And gives them back.
fn put_back(node: &Node, aside: &Path) {
    // What could not become a node may have left something.
    let _nothing = fs::remove_dir_all(node.data_dir());
    fs::rename(aside, node.data_dir()).expect("they were set aside");
}

fn two_clusters_meet(run: &mut Run) {
    let cluster = start();
    let second = Cluster::builder().control(1).gateways(1).start();
    let traffic = run.everybody(&cluster);
    let (all, history) = (cluster.controls(), run.history());
    let ids = [&cluster, &second].map(identity);
    run.meanwhile(
        |go_on| states::watch(&all, &history, go_on),
        |run| {
            for _ in 0..run.rounds(2, 8) {
                run.somewhere(&traffic);
                match run.random.below(3) {
                    0 => begun_beside(run, &cluster),
                    1 => begun_again(run, &cluster),
                    _ => told_of_another(run, &cluster, &second),
                }
                run.recovers(&traffic, Instant::now());
                if [&cluster, &second].map(identity) != ids {
                    run.fail("a cluster is not the one it was");
                }
            }
            run.agree(&all);
        },
    );
    let topic = unique("second");
    let mut client = second.gateways()[0].v5(&unique("client"));
    client.subscribe(&topic, 1);
    client.publish(&topic, b"there", 1);
    run.conclude(traffic);
    run.look_at(&cluster);
    run.look_at(&second);
}

/// What tells a cluster from others: its id and who it takes for its nodes.
fn identity(cluster: &Cluster) -> (String, usize) {
    let mut found = (String::new(), 0);
    becomes_true(LIMIT, || {
        let node = cluster.controls().into_iter().next_back();
        let (_, body) = node
            .and_then(|it| it.get("/api/v1/cluster"))
            .unwrap_or_default();
        let told: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        let n_nodes = told["voters"].as_array().map_or(0, Vec::len);
        found = (told["cluster_id"].to_string(), n_nodes);
        n_nodes > 0
    });
    found
}

/// Somebody else begins a cluster, and is told of this one.
fn begun_beside(run: &mut Run, cluster: &Cluster) {
    let told = cluster.controls()[run.random.below(3)].gossip();
    let flags = ["--raft-bootstrap", "--control-size=1"].map(str::to_owned);
    let members = format!("--members={told}");
    let flags = flags.into_iter().chain([members]).collect();
    let node = cluster.prepare_with(Kind::Control, &unique("x"), flags);
    run.begins("second bootstrap", node.name());
    let is_refused = must_end(run, &node, IS_FOUNDED);
    run.sees("second bootstrap", node.name(), is_refused);
    run.healed("second bootstrap", node.name());
}

/// The founder has lost its data and is told of nobody: it may found another cluster, which must be
/// nothing to this one, unless it has heard of this one before. Then its data are back.
fn begun_again(run: &mut Run, cluster: &Cluster) {
    let node = cluster.node("c1");
    run.begins("begun again", node.name());
    node.kill();
    let aside = set_aside(node);
    let empty = node.with_flags(&[]);
    empty.launch().expect("the binary runs");
    let says = |what| empty.log().count(what) > 0;
    becomes_true(LIMIT, || says(FOUNDED) || !empty.is_running());
    pause(GOSSIP);
    let (has_founded, is_refused) = (says(FOUNDED), says(IS_FOUNDED));
    run.sees("begun again", node.name(), has_founded || is_refused);
    run.note(format!(
        "the founder without data: it {} another cluster, and {}",
        match has_founded {
            true => "has founded",
            false => "has not founded",
        },
        match empty.is_running() {
            true => "runs",
            false => "has ended",
        }
    ));
    empty.kill();
    put_back(node, &aside);
    node.restart();
    run.healed("begun again", node.name());
}

/// A node of each is told of one of the other's, and both refuse.
fn told_of_another(run: &mut Run, cluster: &Cluster, second: &Cluster) {
    let one = &cluster.nodes()[run.random.below(cluster.nodes().len())];
    let other = &second.nodes()[run.random.below(second.nodes().len())];
    let target = format!("{} {}", one.name(), other.name());
    run.begins("told of another", &target);
    let mut n_refused = 0;
    // Only nodes of the control plane can be told.
    for (asked, told) in [
        (&second.controls()[0], one),
        (&cluster.controls()[0], other),
    ] {
        let body = format!(r#"{{"address":"{}"}}"#, told.gossip());
        match asked.tell("POST", "/api/v1/members", &body) {
            Some((502, why)) if why.contains(REFUSED) => n_refused += 1,
            Some((status, why)) => run.fail(format!(
                "{} was told of a node of another cluster, and answers {status}: {why}",
                asked.name()
            )),
            None => run.fail(format!("{} does not answer any more", asked.name())),
        }
    }
    run.sees("told of another", &target, n_refused == 2);
    pause(GOSSIP);
    run.healed("told of another", &target);
}
