//! How long sessions and messages last, with the broker running and over restarts.

use std::time::{Duration, Instant};

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, pause, unique,
    wire::{self, property},
};

use super::restart::{for_each_way, resume};

fn lasting(seconds: u32) -> Connect {
    let expiry = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, seconds);
    Connect::new(5, unique("lasting"))
        .clean(false)
        .properties(expiry)
}

fn is_present(broker: &Broker, connect: &Connect) -> bool {
    Client::connect(broker, connect).1.session_present
}

// [MQTT-3.1.2-23]
#[test]
fn sessions_end_when_their_time_is_over() {
    let broker = Broker::shared();
    let (short, long) = (lasting(1), lasting(60));
    for connect in [&short, &long] {
        Client::connect(&broker, connect).0.cut();
    }
    pause(Duration::from_millis(2500));
    assert!(!is_present(&broker, &short), "a second is over");
    assert!(is_present(&broker, &long), "a minute is not");
}

#[test]
fn the_time_counts_from_the_end_of_the_connection() {
    let broker = Broker::shared();
    let connect = lasting(2);
    let mut client = Client::connect(&broker, &connect).0;
    client.expect_silence(3000);
    client.cut();
    assert!(is_present(&broker, &connect));
}

#[test]
fn disconnect_may_change_the_expiry() {
    let broker = Broker::shared();
    let expiry = |seconds| Properties::new().four(property::SESSION_EXPIRY_INTERVAL, seconds);
    let (sooner, later) = (lasting(60), lasting(1));
    for (connect, seconds) in [(&sooner, 0), (&later, 60)] {
        let mut client = Client::connect(&broker, connect).0;
        client.send(&wire::disconnect_with(0, &expiry(seconds)));
        client.until_closed();
    }
    pause(Duration::from_millis(2500));
    assert!(!is_present(&broker, &sooner));
    assert!(is_present(&broker, &later));
}

#[test]
fn sessions_end_over_a_restart_too() {
    for_each_way(|broker, end| {
        let (short, long, connected) = (lasting(1), lasting(60), lasting(1));
        for connect in [&short, &long] {
            let mut client = Client::connect(broker, connect).0;
            client.subscribe("expiry/over/restart", 1);
            client.cut();
        }
        let _client = Client::connect(broker, &connected).0;
        pause(Duration::from_millis(300));
        let start = Instant::now();
        end.restart(broker);
        pause(Duration::from_millis(2500).saturating_sub(start.elapsed()));
        assert!(
            !is_present(broker, &short),
            "its second was over before or during the restart"
        );
        assert!(is_present(broker, &long));
    });
}

/// A session that was connected at the broker's end still has all its time afterwards.
#[test]
fn a_restart_does_not_shorten_the_time() {
    for_each_way(|broker, end| {
        let connect = lasting(30);
        let mut client = Client::connect(broker, &connect).0;
        client.ping();
        end.restart(broker);
        resume(broker, &connect).ping();
    });
}

// [MQTT-3.3.2-5] [MQTT-3.3.2-6]
#[test]
fn queued_messages_expire() {
    let broker = Broker::shared();
    expires(&broker, |_| {});
}

#[test]
fn queued_messages_expire_over_a_restart() {
    for_each_way(|broker, end| expires(broker, |broker| end.restart(broker)));
}

fn expires(broker: &Broker, between: impl FnOnce(&Broker)) {
    let topic = unique("expiry");
    let connect = Connect::persistent(5, unique("away"));
    let mut client = Client::connect(broker, &connect).0;
    client.subscribe(&topic, 1);
    client.disconnect();
    let mut publisher = Client::v5(broker, &unique("pub"));
    for (payload, expiry) in [
        ("first", Some(1)),
        ("second", Some(100)),
        ("third", Some(1)),
        ("fourth", None),
    ] {
        let mut properties = Properties::new();
        if let Some(expiry) = expiry {
            properties = properties.four(property::MESSAGE_EXPIRY_INTERVAL, expiry);
        }
        let publish = Publish::new(&topic, payload).properties(properties);
        publisher.publish_packet(Publish { qos: 1, ..publish });
    }
    let start = Instant::now();
    between(broker);
    pause(Duration::from_millis(2200).saturating_sub(start.elapsed()));
    let mut client = resume(broker, &connect);
    let second = client.receive();
    assert_eq!(second.payload, b"second");
    let left = second.properties.number(property::MESSAGE_EXPIRY_INTERVAL);
    assert!(
        left.is_some_and(|left| (90..=98).contains(&left)),
        "{left:?}"
    );
    let fourth = client.receive();
    assert_eq!(fourth.payload, b"fourth");
    assert!(!fourth.properties.has(property::MESSAGE_EXPIRY_INTERVAL));
    client.expect_silence(100);
}

#[test]
fn the_brokers_longest_life_of_a_message_holds() {
    let broker = Broker::builder()
        .config("limits: {message-expiry: 1s}\n")
        .shared();
    let topic = unique("life");
    let connect = Connect::persistent(4, unique("away"));
    let mut client = Client::connect(&broker, &connect).0;
    client.subscribe(&topic, 1);
    client.disconnect();
    let mut publisher = Client::v4(&broker, &unique("pub"));
    publisher.publish(&topic, b"old", 1);
    publisher.publish_retained(&unique("retained"), b"old", 1);
    pause(Duration::from_millis(2200));
    publisher.publish(&topic, b"new", 1);
    assert_eq!(resume(&broker, &connect).receive().payload, b"new");
}

#[test]
fn retained_messages_expire() {
    let broker = Broker::shared();
    let topic = unique("retained");
    let mut publisher = Client::v5(&broker, &unique("pub"));
    let expiry = Properties::new().four(property::MESSAGE_EXPIRY_INTERVAL, 1);
    let publish = Publish::new(&topic, b"x").retain().properties(expiry);
    publisher.publish_packet(Publish { qos: 1, ..publish });
    let mut early = Client::v4(&broker, &unique("early"));
    early.subscribe(&topic, 0);
    assert_eq!(early.receive().payload, b"x");
    pause(Duration::from_millis(2200));
    let mut late = Client::v4(&broker, &unique("late"));
    late.subscribe(&topic, 0);
    late.expect_silence(100);
}
