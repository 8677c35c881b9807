//! `kill -9` at random moments of a QoS 1 and QoS 2 stream, and a restart on the same data.

use std::time::Duration;

use gatemq_tests::{Broker, patience, traffic::Subscriber};

use super::scenario::{Scenario, rounds};

/// Subscribers with persistent sessions are away all the time.
fn absent_subscriber(storage: &str, usual: usize) {
    let what = format!("kill -9, subscribers away, {storage}");
    let rounds = rounds(usual);
    let mut scenario = Scenario::new(&what, Broker::builder().storage(storage))
        .with_absent_subscribers()
        .with_publishers();
    for _ in 0..rounds {
        scenario.kill_somewhere();
        scenario.broker.restart();
    }
    let verdict = scenario.finish();
    eprintln!("{what}: {rounds} kills, {verdict}");
    verdict.assert_green(20 * rounds, &what);
    scenario.assert_no_complaints();
}

/// Subscribers with persistent sessions are there, answer late, and cut their connections in
/// every phase of an exchange. Without kills, the stream is as long as with `usual` ones.
fn careless_subscriber(storage: &str, kills: bool, usual: usize) {
    let what = format!("careless subscribers, kills: {kills}, {storage}");
    let rounds = rounds(usual);
    let mut scenario = Scenario::new(&what, Broker::builder().storage(storage));
    let mut subscribers = Vec::new();
    for (level, qos) in [(5, 2), (4, 2), (5, 1)] {
        let mut subscriber = scenario.subscriber(level, qos);
        subscriber.receive_maximum = if level == 5 { 20 } else { u16::MAX };
        subscriber.careless = Some(scenario.random.fork());
        subscriber
            .subscribe_and_leave()
            .expect("the subscription is granted");
        subscribers.push(subscriber.start());
    }
    scenario = scenario.with_publishers();
    for _ in 0..rounds {
        if kills {
            scenario.kill_somewhere();
            scenario.broker.restart();
        } else {
            scenario.stream(200);
        }
    }
    scenario.finish();
    for subscriber in subscribers {
        if let Err(trouble) = subscriber.drain() {
            panic!("{trouble}\n{}", scenario.broker.log());
        }
    }
    let verdict = scenario.history.judge();
    eprintln!("{what}: {rounds} rounds, {verdict}");
    verdict.assert_green(20 * rounds, &what);
    scenario.assert_no_complaints();
}

/// Two subscribers with a backlog connect, take a few messages, and connect again before what they
/// acknowledged is written down: each new connection reads the stored queue while it changes.
fn hasty_subscribers(storage: &str) {
    let what = format!("hasty subscribers, {storage}");
    let mut scenario = Scenario::new(&what, Broker::builder().storage(storage));
    let mut subscribers = Vec::new();
    for level in [4, 5] {
        let mut subscriber = scenario.subscriber(level, 1);
        subscriber.receive_maximum = 100;
        subscriber.careless = Some(scenario.random.fork());
        subscriber.cut_once_in = 40;
        subscriber
            .subscribe_and_leave()
            .expect("the subscription is granted");
        subscribers.push(subscriber);
    }
    scenario = scenario.with_publishers();
    scenario.stream(4_000);
    scenario.finish();
    let names: Vec<_> = subscribers.iter().map(|one| one.client.clone()).collect();
    let running: Vec<_> = subscribers.into_iter().map(Subscriber::start).collect();
    let received = || names.iter().all(|name| scenario.history.missing(name) == 0);
    patience::becomes_true(Duration::from_secs(30), received);
    for subscriber in running {
        if let Err(trouble) = subscriber.drain() {
            panic!("{trouble}\n{}", scenario.broker.log());
        }
    }
    let verdict = scenario.history.judge();
    eprintln!("{what}: {verdict}");
    verdict.assert_green(4_000, &what);
    scenario.assert_no_complaints();
}

#[test]
fn kill_9_loses_nothing_for_an_absent_subscriber_redb() {
    absent_subscriber("redb", 50);
}

#[test]
fn kill_9_loses_nothing_for_an_absent_subscriber_fjall() {
    absent_subscriber("fjall", 50);
}

#[test]
fn kill_9_loses_nothing_for_a_careless_subscriber_redb() {
    careless_subscriber("redb", true, 8);
}

#[test]
fn kill_9_loses_nothing_for_a_careless_subscriber_fjall() {
    careless_subscriber("fjall", true, 4);
}

#[test]
fn a_careless_subscriber_gets_everything_in_order_memory() {
    careless_subscriber("memory", false, 20);
}

#[test]
fn a_careless_subscriber_gets_everything_in_order_redb() {
    careless_subscriber("redb", false, 10);
}

#[test]
fn a_careless_subscriber_gets_everything_in_order_fjall() {
    careless_subscriber("fjall", false, 10);
}

#[test]
fn hasty_subscribers_get_everything_in_order_memory() {
    hasty_subscribers("memory");
}

#[test]
fn hasty_subscribers_get_everything_in_order_redb() {
    hasty_subscribers("redb");
}

#[test]
fn hasty_subscribers_get_everything_in_order_fjall() {
    hasty_subscribers("fjall");
}
