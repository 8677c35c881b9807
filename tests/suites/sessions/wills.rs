//! Wills with a delay, and wills over a restart: each is sent once, or not at all.

use std::time::{Duration, Instant};

use gatemq_tests::{
    Broker, Client, Connect, Properties, Will, pause, unique,
    wire::{self, property},
};

use super::restart::{End, for_each_way, resume};

fn delayed(topic: &str, seconds: u32) -> Will {
    let properties = Properties::new()
        .four(property::WILL_DELAY_INTERVAL, seconds)
        .text(property::CONTENT_TYPE, "last/words")
        .user("a", "1");
    Will::new(topic, b"gone").qos(1).properties(properties)
}

fn watcher(broker: &Broker, topic: &str) -> Connect {
    let connect = Connect::persistent(5, unique("watcher"));
    let mut client = Client::connect(broker, &connect).0;
    client.subscribe(topic, 1);
    client.disconnect();
    connect
}

/// The will comes to the watcher within this time, once, and not again after a restart.
#[track_caller]
fn comes_once(broker: &Broker, watcher: &Connect, limit: Duration) {
    let mut client = resume(broker, watcher);
    client.set_limit(limit);
    let will = client.receive();
    assert_eq!(will.payload, b"gone");
    assert_eq!(
        will.properties.string(property::CONTENT_TYPE),
        Some("last/words")
    );
    assert_eq!(will.properties.users(), [("a", "1")]);
    assert!(!will.properties.has(property::WILL_DELAY_INTERVAL));
    client.expect_silence(300);
    client.ping();
    client.disconnect();
    End::Killed.restart(broker);
    resume(broker, watcher).expect_silence(1000);
}

#[test]
fn a_delayed_will_that_waits_comes_once_after_a_restart() {
    for_each_way(|broker, end| {
        let topic = unique("will");
        let watcher = watcher(broker, &topic);
        let connect = Connect::persistent(5, unique("dying")).will(delayed(&topic, 3));
        let mut dying = Client::connect(broker, &connect).0;
        dying.ping();
        dying.cut();
        let start = Instant::now();
        // Long enough that the broker has seen the end, short enough that the will still waits.
        pause(Duration::from_millis(500));
        end.restart(broker);
        let mut client = resume(broker, &watcher);
        if start.elapsed() < Duration::from_secs(2) {
            client.expect_silence(200);
        }
        client.disconnect();
        comes_once(broker, &watcher, Duration::from_secs(6));
    });
}

/// The broker's own end is its clients' end as well.
#[test]
fn the_wills_of_clients_that_were_connected_come_after_a_kill() {
    for_each_way(|broker, _| {
        let topic = unique("will");
        let watcher = watcher(broker, &topic);
        let connect = Connect::persistent(5, unique("dying")).will(delayed(&topic, 1));
        let mut dying = Client::connect(broker, &connect).0;
        dying.ping();
        End::Killed.restart(broker);
        comes_once(broker, &watcher, Duration::from_secs(6));
        drop(dying);
    });
}

#[test]
fn the_will_of_a_clean_session_comes_after_a_kill() {
    let broker = Broker::builder().storage("redb").start();
    let topic = unique("will");
    let watcher = watcher(&broker, &topic);
    let connect = Connect::new(5, unique("dying")).will(delayed(&topic, 0));
    let mut dying = Client::connect(&broker, &connect).0;
    dying.ping();
    End::Killed.restart(&broker);
    comes_once(&broker, &watcher, Duration::from_secs(6));
}

#[test]
fn a_client_that_is_back_in_time_after_a_restart_is_not_mourned() {
    for_each_way(|broker, end| {
        let topic = unique("will");
        let watcher = watcher(broker, &topic);
        let connect = Connect::persistent(5, unique("back")).will(delayed(&topic, 2));
        Client::connect(broker, &connect).0.ping();
        end.restart(broker);
        let back = resume(broker, &connect);
        resume(broker, &watcher).expect_silence(3000);
        back.disconnect();
        resume(broker, &watcher).expect_silence(200);
    });
}

/// A session that ends before the delay is over takes its will with it: now. Section 3.1.3.2.2.
#[test]
fn the_will_does_not_wait_longer_than_the_session() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = Client::v5(&broker, &unique("watcher"));
    watcher.subscribe(&topic, 0);
    let expiry = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, 1);
    let connect = Connect::new(5, unique("short"))
        .properties(expiry)
        .will(delayed(&topic, 60));
    Client::connect(&broker, &connect).0.cut();
    let start = Instant::now();
    assert_eq!(watcher.receive().payload, b"gone");
    let took = start.elapsed().as_secs_f64();
    assert!((0.9..3.0).contains(&took), "after {took} s");

    // And a clean start ends the old session, so that its will is sent at once.
    let connect = Connect::persistent(5, unique("clean")).will(delayed(&topic, 60));
    Client::connect(&broker, &connect).0.cut();
    watcher.expect_silence(200);
    let start = Instant::now();
    let _new = Client::connect(&broker, &connect.clean(true)).0;
    assert_eq!(watcher.receive().payload, b"gone");
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn disconnect_with_will_message_sends_it_and_a_normal_one_does_not() {
    let broker = Broker::shared();
    let topic = unique("will");
    let mut watcher = Client::v5(&broker, &unique("watcher"));
    watcher.subscribe(&topic, 0);
    let connect = Connect::new(5, unique("dying")).will(Will::new(&topic, b"gone"));
    Client::connect(&broker, &connect).0.disconnect();
    watcher.expect_silence(200);
    let mut client = Client::connect(&broker, &connect).0;
    client.send(&wire::disconnect_with(0x04, &Properties::new()));
    client.until_closed();
    assert_eq!(watcher.receive().payload, b"gone");
    watcher.expect_silence(100);
}

#[test]
fn a_retained_will_is_kept_over_a_restart() {
    for_each_way(|broker, end| {
        let topic = unique("will");
        let will = Will::new(&topic, b"gone").qos(1).retain();
        let mut watcher = Client::v5(broker, &unique("watcher"));
        watcher.subscribe(&topic, 1);
        Client::connect(broker, &Connect::new(4, unique("dying")).will(will))
            .0
            .cut();
        assert_eq!(watcher.receive().payload, b"gone");
        end.restart(broker);
        let mut late = Client::v5(broker, &unique("late"));
        late.subscribe(&topic, 1);
        let kept = late.receive();
        assert_eq!((kept.payload.as_slice(), kept.retain), (&b"gone"[..], true));
    });
}
