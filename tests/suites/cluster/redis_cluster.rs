//! The same on a Redis Cluster of three masters: sessions are spread over them.

use gatemq_tests::{
    Connect, Publish,
    cluster::{Builder, Shared},
    unique, wire,
};

use super::PAIRS;

fn cluster() -> Shared {
    Builder::default().whole(3).redis_cluster().shared()
}

#[test]
fn messages_go_from_each_node_to_each_other() {
    let cluster = cluster();
    let nodes = cluster.three();
    for (from, to) in PAIRS {
        for qos in 0..3 {
            let topic = unique("road");
            let mut subscriber = nodes[to].v4(&unique("sub"));
            subscriber.subscribe(&format!("{topic}/+"), qos);
            let mut publisher = nodes[from].v5(&unique("pub"));
            publisher.publish(&format!("{topic}/x"), b"hello", qos);
            let publish = subscriber.receive();
            assert_eq!(
                (publish.payload.as_slice(), publish.qos),
                (&b"hello"[..], qos)
            );
        }
    }
}

/// Many client identifiers, so that each master has some.
#[test]
fn sessions_move_with_queue_and_exchanges() {
    let cluster = cluster();
    let nodes = cluster.three();
    for round in 0..12 {
        let (from, to) = PAIRS[round % 6];
        let level = if round < 6 { 4 } else { 5 };
        let what = format!("round {round}, from {from} to {to}");
        let topic = unique("moves");
        let connect = Connect::persistent(level, unique("moves"));
        let mut old = nodes[from].connect(&connect).0;
        old.subscribe(&topic, 2);
        let mut publisher = nodes[to].v5(&unique("pub"));
        for number in 0..6_u8 {
            publisher.publish(&topic, [number], 1 + number % 2);
        }
        assert_eq!(old.receive().payload, [0], "{what}");
        let open = old.expect_publish();
        // Its own exchange is open, too.
        old.send(&Publish::new("x", b"once").qos(2, 9).bytes(level));
        old.recv_kind(wire::PUBREC);
        let (mut new, connack) = nodes[to].connect(&connect);
        assert!(connack.session_present, "{what}");
        old.until_closed();
        for number in 1..6_u8 {
            let publish = new.receive();
            assert_eq!(publish.payload, [number], "{what}");
            if number == 1 {
                assert_eq!((publish.id, publish.dup), (open.id, true), "{what}");
            }
        }
        new.send(&wire::ack(wire::PUBREL, 9));
        assert_eq!(new.expect_ack(wire::PUBCOMP, 9).reason, 0, "{what}");
        // And forgotten by a clean start where it came from.
        let clean = connect.clone().clean(true);
        let connack = nodes[from].connect(&clean).1;
        assert!(!connack.session_present, "{what}");
    }
}

#[test]
fn every_master_has_sessions() {
    let cluster = cluster();
    let nodes = cluster.three();
    for number in 0..60 {
        let connect = Connect::persistent(4, unique("spread"));
        nodes[number % 3].connect(&connect).0.disconnect();
    }
    let masters = cluster.redis_cluster().masters().iter();
    let sizes: Vec<_> = masters.map(|it| it.command(&["DBSIZE"])).collect();
    assert!(sizes.iter().all(|size| size != "0"), "keys: {sizes:?}");
}

#[test]
fn retained_messages_and_wills_are_there_on_all_nodes() {
    let cluster = cluster();
    let nodes = cluster.three();
    let root = unique("kept");
    for number in 0..9_u8 {
        let mut publisher = nodes[usize::from(number) % 3].v4(&unique("pub"));
        publisher.publish_retained(&format!("{root}/{number}"), [number], 1);
    }
    let topic = format!("{root}/will");
    let will = wire::Will::new(&topic, b"gone").qos(1).retain();
    let mut watcher = nodes[2].v4(&unique("watcher"));
    watcher.subscribe(&topic, 1);
    nodes[0]
        .connect(&Connect::persistent(4, unique("dies")).will(will))
        .0
        .cut();
    assert_eq!(watcher.receive().payload, b"gone");
    for node in nodes {
        let mut client = node.v4(&unique("sub"));
        client.subscribe(&format!("{root}/#"), 1);
        let mut topics: Vec<_> = (0..10).map(|_| client.receive().topic).collect();
        topics.sort();
        topics.dedup();
        assert_eq!(topics.len(), 10, "{topics:?}");
        client.expect_silence(20);
    }
}
