//! A cluster in a network of its own: who is cut off is cut off, and comes back.

use std::{
    fs,
    time::{Duration, Instant},
};

use gatemq_tests::{
    Client, Cluster, Publish, cluster::REDIS, eventually, nemesis::CLIENTS, patience, skip, unique,
    wire,
};

const LONG: Duration = Duration::from_secs(30);

fn start(what: &str) -> Option<Cluster> {
    let builder = Cluster::builder().control(3).gateways(2).in_network();
    match builder.try_start() {
        Ok(cluster) => Some(cluster),
        Err(why) => {
            skip(what, &why.to_string());
            None
        }
    }
}

/// Whether a message that one publishes comes to the other.
fn passes(publisher: &mut Client, subscriber: &mut Client, topic: &str) -> bool {
    publisher.send(&Publish::new(topic, "x").bytes(4));
    let came = subscriber.recv_within(Duration::from_millis(500));
    came.is_some_and(|packet| packet.kind == wire::PUBLISH)
}

#[test]
fn nodes_are_cut_off_and_come_back() {
    let Some(cluster) = start("a cluster in a network") else {
        return;
    };
    let network = cluster.network();
    assert_eq!(network.nodes(), ["c1", "c2", "c3", "g1", "g2", "redis"]);
    let [one, two] = ["g1", "g2"].map(|name| cluster.node(name));
    assert_ne!(one.tcp().ip(), two.tcp().ip());
    let topic = unique("topic");
    let mut subscriber = one.v4(&unique("sub"));
    subscriber.subscribe(&topic, 0);
    let mut publisher = two.v4(&unique("pub"));
    assert!(passes(&mut publisher, &mut subscriber, &topic));

    // Between gateways alone.
    network.partition(&["g1"], &["g2"]);
    assert!(!passes(&mut publisher, &mut subscriber, &topic));
    network.heal();
    let mended = || passes(&mut publisher, &mut subscriber, &topic);
    assert!(
        patience::becomes_true(LONG, mended),
        "{}",
        two.log().tail(20)
    );

    // From its Redis alone: its own clients are there, and what has to be stored is not taken.
    network.partition(&["g2"], &["redis"]);
    let stored = Publish::new(&topic, "kept").retain().qos(1, 7);
    publisher.send(&stored.bytes(4));
    let answer = publisher.recv_within(Duration::from_secs(2));
    assert!(answer.is_none(), "nobody has it: {answer:?}");
    network.heal();
    let returns = || two.get("/readyz").is_some_and(|(status, _)| status == 200);
    assert!(patience::becomes_true(LONG, returns));

    // A node that is paused is the node, not what it is started by.
    two.pause();
    let state = || fs::read_to_string(format!("/proc/{}/stat", two.pid()));
    eventually!(state().is_ok_and(|state| state.contains("(gatemq-gateway) T")));
    assert!(two.get("/healthz").is_none());
    two.resume();
    two.kill();
    assert!(!two.is_running());
    two.restart();

    // Clients, too, can be cut off.
    network.partition(&[CLIENTS], &["g2"]);
    assert!(two.get("/healthz").is_none());
    network.heal();
    assert!(two.get("/healthz").is_some());
}

#[test]
fn nodes_with_certificates_are_in_a_network_whose_store_is_far_away() {
    let builder = Cluster::builder().control(1).gateways(1).tls().in_network();
    let cluster = match builder.try_start() {
        Ok(cluster) => cluster,
        Err(why) => return skip("a cluster in a network", &why.to_string()),
    };
    let time = Duration::from_millis(150);
    let network = cluster.network();
    if let Err(why) = network.delay("g1", REDIS, time, time / 3) {
        return skip("a delay", &why.to_string());
    }
    let mut publisher = cluster.node("g1").v4(&unique("pub"));
    publisher.ping();
    let start = Instant::now();
    publisher.publish_retained(&unique("topic"), "kept", 1);
    assert!(start.elapsed() >= 2 * time, "{:?}", start.elapsed());
    // It takes a while until there are connections again.
    let killed = cluster
        .redis()
        .command(&["CLIENT", "KILL", "TYPE", "NORMAL"]);
    assert_ne!(killed.trim(), "0");
    publisher.publish_retained(&unique("topic"), "kept", 1);
    network.delay_all(time / 10, time / 10).expect("as before");
    publisher.publish_retained(&unique("topic"), "kept", 1);
    network.heal();
    publisher.publish_retained(&unique("topic"), "kept", 1);
}
