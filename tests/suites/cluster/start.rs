//! What cannot be a node of the cluster ends with one line that says why.

use std::{fs, time::Duration};

use gatemq_tests::{
    Cluster, Connect, Node,
    cluster::Kind,
    patience::{becomes_true, pause},
    ports, unique,
};

/// How long a start may take to fail.
const LIMIT: Duration = Duration::from_secs(20);

/// Starts a node that must end by itself, and not with success; returns its last words.
#[track_caller]
pub(super) fn fails(node: &Node, words: &[&str]) -> String {
    fails_with(node, words).1
}

/// The same, with its exit code.
#[track_caller]
fn fails_with(node: &Node, words: &[&str]) -> (Option<i32>, String) {
    node.launch().expect("the binary runs");
    let status = node.wait(LIMIT);
    let log = node.log().text();
    assert!(!status.success(), "{status}\n{log}");
    assert!(!log.contains("panicked"), "{log}");
    // Lines of the log begin with their time; what the operator is told stands alone.
    let is_told = |line: &&str| {
        !line.starts_with("20") && !line.starts_with("listening: ") && *line != "ready"
    };
    let told: Vec<_> = log.lines().filter(is_told).collect();
    assert_eq!(told.len(), 1, "one line is expected:\n{log}");
    for word in words {
        assert!(told[0].contains(word), "{word} is not in: {}", told[0]);
    }
    (status.code(), told[0].to_owned())
}

fn n_members(node: &Node) -> usize {
    let (_, body) = node.get("/cluster/ms").expect("the node answers");
    body.matches("\"name\"").count()
}

#[test]
fn sessions_on_one_machine_are_no_cluster() {
    let cluster = Cluster::builder().control(1).start();
    for way in ["redb", "fjall"] {
        let node = cluster.prepare(Kind::Gateway, "g1");
        let node = node.with_flags(&[&format!("--storage-way={way}")]);
        fails(&node, &["storage.way", way, "redis"]);
    }
}

#[test]
fn a_gateway_without_its_redis_says_where_it_looked() {
    let cluster = Cluster::builder().control(1).start();
    let address = format!("127.0.0.1:{}", ports::free());
    let node = cluster.prepare(Kind::Gateway, "g1");
    let node = node.with_flags(&[&format!("--redis={address}")]);
    node.launch().expect("the binary runs");
    let is_told = || {
        let answer = node.get("/readyz");
        answer.is_some_and(|(status, body)| {
            let says = |what: &str| body.contains(what);
            status == 503 && says(r#""state":"store""#) && says(&address)
        })
    };
    assert!(becomes_true(LIMIT, is_told), "{:?}", node.get("/readyz"));
    let log = node.log().text();
    let warned = |line: &&str| line.contains(" WARN ") && line.contains(&address);
    assert_eq!(log.lines().filter(warned).count(), 1, "{log}");
    // Whoever has started it by mistake ends it as any other.
    let status = node.terminate();
    assert_eq!(status.code(), Some(1), "{}", node.log().text());
    assert!(node.log().count("stopped before the store") > 0);
}

/// Nodes and their Redis are started together, and it comes last.
#[test]
fn nodes_that_are_there_before_their_redis_wait_for_it() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let node = cluster.gateways()[0];
    cluster.redis().kill();
    node.kill();
    node.launch().expect("the binary runs");
    let waits = || {
        node.get("/readyz")
            .is_some_and(|(_, body)| body.contains("\"store\""))
    };
    assert!(becomes_true(LIMIT, waits), "{}", node.log().tail(20));
    pause(Duration::from_secs(1));
    assert!(node.log().count("redis cannot be used yet") > 0);
    cluster.redis().restart();
    let is_ready = || node.get("/readyz").is_some_and(|(status, _)| status == 200);
    assert!(becomes_true(LIMIT, is_ready), "{}", node.log().tail(20));
    let mut client = node.v4(&unique("client"));
    let topic = unique("late");
    client.subscribe(&topic, 1);
    client.publish(&topic, b"there", 1);
    assert_eq!(client.receive().payload, b"there");
}

/// What is wrong on its own machine is said before the others hear of a node: none of them has a
/// member, or a voter, that never was there.
#[test]
fn a_node_that_cannot_use_its_redis_or_its_sockets_joins_nothing() {
    let cluster = Cluster::builder().whole(1).start();
    let first = cluster.node("n1");
    let taken = format!("--tcp={}", first.tcp());
    let cases = [
        ("n2", "--redis-pass=wrong", "has no password"),
        ("n3", taken.as_str(), "cannot listen"),
    ];
    for (name, flag, says) in cases {
        let node = cluster.prepare(Kind::Whole, name);
        fails(&node.with_flags(&[flag]), &[says]);
        for path in ["/api/v1/members", "/cluster/ms"] {
            let (code, body) = first.get(path).expect("the node answers");
            assert_eq!(code, 200);
            assert!(!body.contains(name), "{path}: {body}");
        }
        assert_eq!(first.log().count(name), 0, "{}", first.log().tail(20));
    }
}

#[test]
fn a_name_is_used_once() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let mut asking = Vec::new();
    for kind in [Kind::Gateway, Kind::Control, Kind::Whole] {
        for name in ["g1", "c1"] {
            let node = cluster.prepare(kind, name);
            let (status, told) = fails_with(&node, &[name]);
            assert_eq!(status, Some(1), "{kind:?}: {told}");
            let log = node.log().text();
            let reason = told.split_once(": ").map_or("", |(_, reason)| reason);
            assert_eq!(log.matches(reason).count(), 1, "{log}");
            assert_eq!(node.log().count(" ERROR "), 0, "{log}");
            asking.push((name, node.gossip()));
        }
    }
    // Those that have the names say who asked for them, once, and go on.
    for (name, address) in asking {
        let log = cluster.node(name).log().text();
        let warned = |line: &&str| line.contains(" WARN ") && line.contains(&address);
        assert!(log.lines().filter(warned).count() <= 1, "{log}");
        assert!(!log.contains(" ERROR "), "{log}");
    }
    let node = cluster.node("g1");
    let is_named = node.log().count("asks for this node's name") > 0;
    assert!(is_named, "{}", node.log().text());
    let topic = unique("still");
    let mut client = node.v4(&unique("client"));
    client.subscribe(&topic, 1);
    client.publish(&topic, b"there", 1);
    assert_eq!(client.receive().payload, b"there");
    assert_eq!(n_members(node), 2);
}

#[test]
fn a_second_cluster_is_not_begun_beside_the_first() {
    let cluster = Cluster::builder().whole(1).start();
    let first = cluster.node("n1");
    let seeds = format!("--members={}", first.gossip());
    let flags = vec!["--raft-bootstrap".to_owned(), seeds];
    let node = cluster.prepare_with(Kind::Control, "c9", flags);
    fails(&node, &["there is a cluster already"]);
}

/// Whoever was named may be of a cluster, however late it is.
#[test]
fn a_founder_waits_for_the_members_that_it_was_told_of() {
    let cluster = Cluster::builder().start();
    let other = cluster.prepare_with(Kind::Control, "c2", Vec::new());
    let flags = [
        "--raft-bootstrap",
        "--control-size=1",
        &format!("--members={}", other.gossip()),
    ];
    let founder = cluster.prepare_with(Kind::Control, "c1", flags.map(str::to_owned).into());
    founder.launch().expect("the binary runs");
    pause(Duration::from_secs(6));
    assert_eq!(founder.log().count("cluster founded"), 0);
    assert_eq!(founder.log().count("waiting for the members that"), 1);
    let other = other.with_flags(&[&format!("--members={}", founder.gossip())]);
    other.launch().expect("the binary runs");
    for node in [&founder, &other] {
        node.wait_until_ready().expect("it is ready");
    }
    assert_eq!(founder.log().count("cluster founded"), 1);
}

#[test]
fn a_founder_without_its_data_waits_for_those_that_it_remembers() {
    let mut cluster = Cluster::builder().control(1).start();
    cluster.add(Kind::Control, "c2");
    let (founder, other) = (cluster.node("c1"), cluster.node("c2"));
    let is_learner = becomes_true(LIMIT, || founder.log().count("learner added") > 0);
    assert!(is_learner, "it does not take part");
    other.terminate();
    founder.terminate();
    fs::remove_dir_all(founder.data_dir().join("control")).expect("it had data");
    founder.launch().expect("the binary runs");
    let waits = becomes_true(LIMIT, || {
        founder.log().count("waiting for one of the members") == 1
    });
    assert!(waits, "{}", founder.log().text());
    other.launch().expect("the binary runs");
    assert!(!founder.wait(LIMIT).success());
    assert_eq!(founder.log().count("there is a cluster already"), 1);
    assert_eq!(founder.log().count("cluster founded"), 1);
}

/// What is remembered for the next start is whom there is somebody to find.
#[test]
fn a_member_that_was_removed_is_not_remembered() {
    let mut cluster = Cluster::builder().control(1).start();
    for (kind, name) in [(Kind::Control, "c2"), (Kind::Control, "c3")] {
        cluster.add(kind, name);
    }
    let node = cluster.node("c1");
    let remembered = || {
        let path = node.data_dir().join("c1-nodes.json");
        fs::read_to_string(path).unwrap_or_default()
    };
    let has = |name: &str| {
        let text = remembered();
        text.lines()
            .any(|line| line.split(' ').nth(1) == Some(name))
    };
    let is_learner = becomes_true(LIMIT, || node.log().count("learner added") >= 2);
    assert!(is_learner, "they do not take part: {}", node.log().text());
    assert!(becomes_true(LIMIT, || has("c2") && has("c3")));
    cluster.node("c2").kill();
    cluster.node("c3").terminate();
    assert!(becomes_true(LIMIT, || n_members(node) == 1));
    assert!(has("c2") && has("c3"), "they may be back: {}", remembered());
    let (status, body) = node
        .ask("DELETE", "/api/v1/members/c2")
        .expect("the node answers");
    assert_eq!(status, 200, "{body}");
    let is_forgotten = becomes_true(LIMIT, || !has("c2"));
    assert!(is_forgotten && has("c3"), "{}", remembered());
}

/// It would wait for itself, for ever.
#[test]
fn a_node_that_is_told_of_itself_alone_says_so() {
    let cluster = Cluster::builder().start();
    for kind in [Kind::Control, Kind::Gateway] {
        let node = cluster.prepare_with(kind, "n1", Vec::new());
        let node = node.with_flags(&[&format!("--members={}", node.gossip())]);
        node.launch().expect("the binary runs");
        let says = "the members given are this node only";
        let is_said = becomes_true(LIMIT, || node.log().count(says) == 1);
        let log = node.log().text();
        assert!(is_said, "{log}");
        let line = log.lines().find(|line| line.contains(says));
        let line = line.unwrap_or_default();
        assert!(line.contains(" WARN ") && line.contains("--raft-bootstrap"));
        assert_eq!(node.terminate().code(), Some(1), "it was not started yet");
    }
    // Who begins a cluster may name itself, as all its nodes do.
    let founder = cluster.prepare_with(Kind::Control, "c1", Vec::new());
    let members = format!("--members={}", founder.gossip());
    let founder = founder.with_flags(&["--raft-bootstrap", "--control-size=1", &members]);
    founder.restart();
    founder.restart();
    assert_eq!(founder.log().count(" WARN "), 0, "{}", founder.log().text());
}

/// Their gateways would take each other's sessions.
#[test]
fn two_clusters_do_not_share_the_keys_in_redis() {
    let cluster = Cluster::builder().whole(1).start();
    let flags = ["--raft-bootstrap", "--control-size=1"].map(str::to_owned);
    let other = cluster.prepare_with(Kind::Whole, "n9", flags.into());
    fails(&other, &["redis", "gatemq:", "of the cluster", "--members"]);
    // It has begun nothing, so that with a place of its own it can.
    assert_eq!(other.log().count("cluster founded"), 0);
    let apart = other.with_flags(&["--redis-db=1"]);
    apart.restart();
    assert_eq!(apart.log().count("cluster founded"), 1);
    cluster.node("n1").restart();
}

/// Who is no node of the cluster must not take its sessions.
#[test]
fn sessions_in_redis_are_for_nodes_of_a_cluster() {
    let cluster = Cluster::builder().whole(1).start();
    for kind in [Kind::Whole, Kind::Gateway] {
        let alone = cluster.prepare_with(kind, "alone", Vec::new());
        fails(&alone, &["--raft-bootstrap", "--members"]);
    }
}

/// A gateway with other sessions than the others' would lose what they acknowledged.
#[test]
fn all_gateways_have_one_store() {
    let cluster = Cluster::builder().whole(1).gateways(1).start();
    for (flag, says) in [
        ("--redis-db=1", "sessions are not at the keys"),
        ("--redis-prefix=other", "keys that begin with other:"),
        ("--storage-way=memory", "--storage-way redis"),
    ] {
        let node = cluster.prepare(Kind::Gateway, "g2");
        fails(&node.with_flags(&[flag]), &[says]);
    }
    // One with a control plane is no member either, and leaves nothing where it was told to look.
    let node = cluster.prepare(Kind::Whole, "n2");
    fails(
        &node.with_flags(&["--redis-prefix=elsewhere"]),
        &["elsewhere:"],
    );
    assert_eq!(
        cluster.redis().command(&["EXISTS", "elsewhere:cluster"]),
        "0"
    );
    // Nor may one that is known come back with another, the founder least of all.
    for name in ["g1", "n1"] {
        let node = cluster.node(name);
        node.terminate();
        fails(&node.with_flags(&["--redis-prefix=other"]), &["other:"]);
        node.restart();
    }
    let members = cluster.node("n1").get("/api/v1/members");
    let (_, body) = members.expect("the node answers");
    assert!(!body.contains("g2") && !body.contains("n2"), "{body}");
}

/// Redis has lost all while nobody was there to notice: the operator says that it is the right one.
#[test]
fn an_empty_redis_is_taken_when_the_operator_says_so() {
    let cluster = Cluster::builder().whole(1).start();
    let node = cluster.node("n1");
    node.terminate();
    cluster.redis().command(&["FLUSHALL"]);
    let told = fails(node, &["SET \"gatemq:cluster\" "]);
    let mark = told.rsplit(' ').nth(1).expect("what is before NX");
    cluster
        .redis()
        .command(&["SET", "gatemq:cluster", mark, "NX"]);
    node.restart();
}

/// The flag is left on the founder's command line for good: it founds once.
#[test]
fn a_founder_that_starts_again_founds_nothing() {
    let cluster = Cluster::builder().whole(1).start();
    let node = cluster.node("n1");
    let topic = unique("kept");
    let connect = Connect::persistent(5, unique("sub"));
    let mut client = node.connect(&connect).0;
    client.subscribe(&topic, 1);
    client.disconnect();
    node.terminate();
    node.restart();
    assert_eq!(node.log().count("cluster founded"), 1);
    let (mut client, connack) = node.connect(&connect);
    assert!(connack.session_present);
    client.publish(&topic, b"kept", 1);
    assert_eq!(client.receive().payload, b"kept");
}

#[test]
fn a_control_node_without_its_data_is_refused_under_its_old_name() {
    let mut cluster = Cluster::builder().control(1).gateways(1).start();
    cluster.add(Kind::Control, "c2");
    let node = cluster.node("c2");
    let is_learner = becomes_true(LIMIT, || {
        cluster.node("c1").log().count("learner added") > 0
    });
    assert!(is_learner, "it does not take part");
    node.kill();
    fs::remove_dir_all(node.data_dir()).expect("it had data");
    // While the old one may still be there, the name is held; then it is refused for good.
    fails(&node.with_flags(&[]), &["c2"]);
    // Under another name it is welcome, and the cluster did not suffer.
    cluster.add(Kind::Control, "c3");
    let gateway = cluster.node("g1");
    let mut client = gateway.v4(&unique("client"));
    client.subscribe(&unique("filter"), 1);
}

/// Whether it runs when it is removed, or is started again afterwards.
#[test]
fn a_control_node_that_was_removed_ends_and_says_so() {
    let mut cluster = Cluster::builder().control(1).start();
    cluster.add(Kind::Control, "c2");
    let (founder, node) = (cluster.node("c1"), cluster.node("c2"));
    let is_learner = becomes_true(LIMIT, || founder.log().count("learner added") > 0);
    assert!(is_learner, "it does not take part");
    let (status, body) = founder
        .ask("DELETE", "/api/v1/members/c2")
        .expect("the node answers");
    assert_eq!(status, 200, "{body}");
    let status = node.wait(LIMIT);
    let log = node.log().text();
    assert_eq!(status.code(), Some(69), "{log}");
    let told = |line: &&str| line.starts_with("gatemq-control-plane: ");
    let told: Vec<_> = log.lines().filter(told).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("c2 was removed") && told[0].contains("empty its data directory"));
    // Nor does it come back, whatever gossip tells it, and when.
    let nobody = format!("--members=127.0.0.1:{}", ports::free());
    for flags in [&[][..], &[&*nobody]] {
        fails(&node.with_flags(flags), &["c2 was removed"]);
    }
    fs::remove_dir_all(node.data_dir()).expect("it had data");
    node.with_flags(&[]).restart();
}

#[test]
fn a_node_with_the_data_of_another_name_is_refused() {
    let mut cluster = Cluster::builder().control(1).start();
    cluster.add(Kind::Control, "c2");
    let node = cluster.node("c2");
    let is_learner = becomes_true(LIMIT, || {
        cluster.node("c1").log().count("learner added") > 0
    });
    assert!(is_learner, "it does not take part");
    node.terminate();
    let other = node.with_flags(&["--node-name=other"]);
    fails(&other, &["c2", "other"]);
}

/// A node of one cluster that is told to gossip with another is no bridge: it ends, or stays with
/// its own, and both go on apart. Their nodes have the same names, as two clusters may.
#[test]
fn two_clusters_do_not_become_one() {
    let first = Cluster::builder().control(1).gateways(1).start();
    let mut second = Cluster::builder().control(1).gateways(1).start();
    second.add(Kind::Control, "strange");
    let strange = second.node("strange");
    let is_learner = becomes_true(LIMIT, || second.node("c1").log().count("learner added") > 0);
    assert!(is_learner, "it does not take part");
    strange.terminate();
    let seeds = [first.node("c1").gossip(), second.node("c1").gossip()];
    for seeds in [
        seeds[0].clone(),
        seeds.join(","),
        format!("{},{}", seeds[1], seeds[0]),
    ] {
        let bridge = strange.with_flags(&[&format!("--members={seeds}")]);
        bridge.launch().expect("the binary runs");
        let says_so = becomes_true(LIMIT, || bridge.log().count("belongs to the cluster") > 0);
        assert!(says_so, "{}", bridge.log().text());
        // Gossip goes round several times meanwhile.
        pause(Duration::from_secs(2));
        for node in first.nodes() {
            let own = becomes_true(LIMIT, || n_members(node) == 2);
            assert!(own, "{}: {:?}", node.name(), node.get("/cluster/ms"));
        }
        for node in second
            .nodes()
            .iter()
            .filter(|node| node.name() != "strange")
        {
            let n_own = 2 + usize::from(bridge.is_running());
            let found = becomes_true(LIMIT, || n_members(node) == n_own);
            assert!(found, "{}: {:?}", node.name(), node.get("/cluster/ms"));
        }
        if bridge.is_running() {
            bridge.terminate();
        }
        assert_eq!(bridge.log().count("panicked"), 0);
    }
    // Each still works, and alone.
    let topic = unique("apart");
    let mut clients = [&first, &second].map(|cluster| {
        let mut client = cluster.node("g1").v4(&unique("client"));
        client.subscribe(&topic, 1);
        client
    });
    let mut publisher = first.node("g1").v4(&unique("pub"));
    publisher.publish(&topic, b"first", 1);
    assert_eq!(clients[0].receive().payload, b"first");
    clients[1].expect_silence(100);
}
