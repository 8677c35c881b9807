//! B9, on one node: many wills at once.

use std::{collections::HashMap, time::Duration};

use gatemq_tests::{Broker, Client, Connect, Properties, Will, unique, wire, wire::property};

use super::{
    oracle::{Oracle, scaled},
    verdict::connected,
};

/// Connects so many clients with wills, cuts them all, and expects each will exactly once.
fn storm(properties: &Properties, count: usize, then: impl FnOnce(&Broker)) {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let prefix = unique("storm");
    let mut watcher = connected(&broker, 5);
    watcher.subscribe(&format!("{prefix}/#"), 1);
    let clients: Vec<_> = (0..count)
        .map(|number| {
            let topic = format!("{prefix}/{number}");
            let will = Will::new(&topic, b"gone")
                .qos(1)
                .properties(properties.clone());
            let expiry = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, 3600);
            let connect = Connect::new(5, unique("dying"))
                .will(will)
                .properties(expiry);
            Client::connect(&broker, &connect).0
        })
        .collect();
    for client in clients {
        client.cut();
    }
    then(&broker);
    let mut seen = HashMap::new();
    for _ in 0..count {
        let publish = watcher.recv_kind(wire::PUBLISH).publish(5);
        watcher.acknowledge(&publish);
        *seen.entry(publish.topic).or_insert(0) += 1;
    }
    watcher.expect_silence(500);
    assert_eq!(seen.len(), count, "a will twice, and another one never");
    drop(watcher);
    oracle.judge(32 * 1024);
}

/// Scale 1: 500 clients.
#[test]
fn b9_every_will_of_many_at_once_comes_once() {
    storm(&Properties::new(), scaled(500), |_| {});
}

/// Scale 1: 500 clients whose wills are due in the same second.
#[test]
fn b9_every_delayed_will_of_many_comes_once() {
    let delayed = Properties::new().four(property::WILL_DELAY_INTERVAL, 1);
    storm(&delayed, scaled(500), |_| {});
}

/// Scale 1: 300 clients that come back before their wills are due: none is sent.
#[test]
fn b9_wills_of_those_who_come_back_are_not_sent() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let topic = unique("spared");
    let mut watcher = connected(&broker, 5);
    watcher.subscribe(&topic, 0);
    let delayed = Properties::new().four(property::WILL_DELAY_INTERVAL, 2);
    let expiry = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, 3600);
    let connects: Vec<_> = (0..scaled(300))
        .map(|_| {
            let will = Will::new(&topic, b"gone").properties(delayed.clone());
            Connect::new(5, unique("spared"))
                .clean(false)
                .will(will)
                .properties(expiry.clone())
        })
        .collect();
    for connect in &connects {
        Client::connect(&broker, connect).0.cut();
    }
    let back: Vec<_> = connects
        .iter()
        .map(|connect| Client::connect(&broker, connect))
        .collect();
    assert!(back.iter().all(|(_, connack)| connack.session_present));
    watcher.expect_silence(
        Duration::from_secs(3)
            .as_millis()
            .try_into()
            .expect("it fits"),
    );
    for (client, _) in back {
        client.disconnect();
    }
    watcher.expect_silence(200);
    drop(watcher);
    oracle.judge(32 * 1024);
}
