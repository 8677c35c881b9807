//! Retained messages that a stored session is owed: those that were still on their way when its
//! connection broke, or its gateway was killed.

use std::collections::BTreeSet;
use std::time::Duration;

use gatemq_tests::{Client, Cluster, Connect, Node, patience::pause, unique};

/// Retained messages: many more than may wait for the client, which is half of what its queue takes.
const COUNT: usize = 400;
const MAX_QUEUED: &str = "limits: {max-queued-messages: 100}";

/// SUBSCRIBE's "send if new".
const SEND_IF_NEW: u8 = 1 << 4;

/// Sets the retained messages; the filter that matches them.
fn set(node: &Node, qos: u8) -> String {
    let root = unique("owed");
    let mut publisher = node.v5(&unique("pub"));
    for number in 0..COUNT {
        publisher.publish_retained(&format!("{root}/{number}"), b"kept", qos);
    }
    format!("{root}/#")
}

/// Subscribes, and takes so few of the messages that most of them are still to be read when it ends;
/// their topics.
fn begin(node: &Node, connect: &Connect, filter: &str, qos: u8) -> (Client, Vec<String>) {
    let mut client = node.connect(connect).0;
    client.subscribe(filter, qos);
    let topics = (0..10).map(|_| client.receive().topic).collect();
    client.ping(); // what it acknowledged has been heard
    (client, topics)
}

/// The client is back, and its session is there.
fn come_back(node: &Node, connect: &Connect) -> Client {
    let (client, connack) = node.connect(connect);
    assert!(connack.session_present, "at {}", node.name());
    client
}

/// Receives until there is a message of each topic, and nothing comes any more.
fn take_all(client: &mut Client, topics: &mut Vec<String>) {
    let mut all = BTreeSet::from_iter(topics.clone());
    while all.len() < COUNT {
        topics.push(client.receive().topic);
        all.extend(topics.last().cloned());
    }
    take_rest(client, topics);
}

fn take_rest(client: &mut Client, topics: &mut Vec<String>) {
    while let Some(packet) = client.recv_within(Duration::from_millis(200)) {
        let publish = packet.publish(5);
        client.acknowledge(&publish);
        topics.push(publish.topic);
    }
    client.ping();
}

#[test]
fn what_was_on_its_way_comes_to_whichever_gateway_the_client_comes_back() {
    let cluster = Cluster::builder().control(1).gateways(3);
    let cluster = cluster.setting(MAX_QUEUED).start();
    let [one, two, three] = cluster.three();
    let filters = [1, 2].map(|qos| set(one, qos));
    for (node, subscribes, qos) in [
        (one, false, 1),
        (two, false, 2),
        (two, true, 1),
        (one, true, 2),
    ] {
        let filter = &filters[usize::from(qos) - 1];
        let connect = Connect::persistent(5, unique("sub"));
        let (client, mut topics) = begin(one, &connect, filter, qos);
        client.cut();
        let mut client = come_back(node, &connect);
        if subscribes {
            client.subscribe(filter, SEND_IF_NEW | qos); // as most do
        }
        take_all(&mut client, &mut topics);
        assert_eq!(topics.len(), COUNT, "each comes once");
        client.disconnect();
        // Nothing is owed any more, wherever it comes back.
        for node in [three, node] {
            let mut client = come_back(node, &connect);
            client.subscribe(filter, SEND_IF_NEW | qos);
            client.expect_silence(200);
            client.disconnect();
        }
    }
    // Of what is cancelled nothing is owed either.
    let connect = Connect::persistent(5, unique("sub"));
    let (mut client, mut topics) = begin(one, &connect, &filters[0], 1);
    client.unsubscribe(&[&filters[0]]);
    client.disconnect();
    let mut client = come_back(two, &connect);
    take_rest(&mut client, &mut topics);
    assert!(topics.len() < COUNT);
    client.disconnect();
    come_back(one, &connect).expect_silence(200);
}

#[test]
fn what_was_on_its_way_outlives_the_gateway() {
    let cluster = Cluster::builder().control(1).gateways(3);
    let cluster = cluster.setting(MAX_QUEUED).start();
    let [one, two, three] = cluster.three();
    for qos in [1, 2] {
        let filter = set(two, qos);
        let connect = Connect::persistent(5, unique("sub"));
        let (_client, mut topics) = begin(one, &connect, &filter, qos);
        if qos == 2 {
            pause(Duration::from_millis(300)); // all that has gone out is what the store says
        }
        one.kill();
        let mut client = come_back(two, &connect);
        take_all(&mut client, &mut topics);
        assert!(qos < 2 || topics.len() == COUNT, "of QoS 2 each comes once");
        client.disconnect();
        come_back(three, &connect).expect_silence(200);
        one.restart();
    }
}
