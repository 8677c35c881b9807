//! The ends of sessions: what is acknowledged at the same moment, what moves on, what comes first.

use std::{collections::BTreeSet, time::Duration};

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, Will, pause, unique,
    wire::{self, property},
};

use super::restart::{End, for_each_way, resume};

/// Retain Handling 1, in the subscription options.
const SEND_IF_NEW: u8 = 0x10;

fn expiry(seconds: u32) -> Properties {
    Properties::new().four(property::SESSION_EXPIRY_INTERVAL, seconds)
}

/// A stored session that is away and subscribed.
fn away(broker: &Broker, topic: &str) -> Connect {
    let connect = Connect::persistent(5, unique("away"));
    let mut client = Client::connect(broker, &connect).0;
    client.subscribe(topic, 1);
    client.disconnect();
    connect
}

/// A publisher that is told of success has nothing to fear: either the message is kept, or the
/// session has ended for good.
#[test]
fn the_end_of_a_full_session_is_safe_before_its_publisher_is_told() {
    let broker = Broker::builder()
        .storage("redb")
        .config("limits: {max-queued-messages: 3}\n")
        .start();
    for round in 0..10 {
        let topic = unique("full");
        let connect = away(&broker, &topic);
        let mut publisher = Client::v5(&broker, &unique("pub"));
        for number in 0..4_u8 {
            publisher.publish(&topic, [number], 1);
        }
        End::Killed.restart(&broker);
        let (_, connack) = Client::connect(&broker, &connect);
        assert!(!connack.session_present, "round {round}: a loss is hidden");
    }
}

#[test]
fn a_clean_start_is_final_even_if_the_broker_dies_at_once() {
    for_each_way(|broker, end| {
        let topic = unique("old");
        let connect = away(broker, &topic);
        Client::v5(broker, &unique("pub")).publish(&topic, b"old", 1);
        let clean = connect.clone().clean(true);
        drop(Client::connect(broker, &clean).0);
        end.restart(broker);
        let mut client = resume(broker, &connect);
        client.expect_silence(200);
        Client::v5(broker, &unique("pub")).publish(&topic, b"old", 1);
        client.expect_silence(200); // the subscription is gone, too
    });
}

/// The old connection's last words come before the new connection's first ones.
#[test]
fn a_will_comes_before_whatever_the_next_connection_publishes() {
    let broker = Broker::shared();
    let topic = unique("state");
    let mut watcher = Client::v5(&broker, &unique("watcher"));
    watcher.subscribe(&topic, 0);
    let connect = Connect::persistent(5, unique("device")).will(Will::new(&topic, b"offline"));
    let mut first = Client::connect(&broker, &connect).0;
    for _ in 0..30 {
        let mut second = Client::connect_tcp(broker.tcp());
        let online = Publish::new(&topic, b"online").bytes(5);
        second.set_level(5);
        second.send(&[connect.bytes(), online].concat());
        second.recv_kind(wire::CONNACK);
        assert_eq!(watcher.receive().payload, b"offline");
        assert_eq!(watcher.receive().payload, b"online");
        first = second;
    }
    drop(first);
}

#[test]
fn what_a_member_acknowledged_last_is_nobody_elses() {
    let broker = Broker::builder().storage("redb").start();
    for _ in 0..10 {
        let topic = unique("shared");
        let filter = format!("$share/group/{topic}");
        let connect = Connect::persistent(5, unique("leaving"));
        let mut leaving = Client::connect(&broker, &connect).0;
        leaving.subscribe(&filter, 1);
        Client::v5(&broker, &unique("pub")).publish(&topic, b"x", 1);
        let id = leaving.expect_publish().id.expect("QoS 1");
        let mut heir = Client::v5(&broker, &unique("heir"));
        heir.subscribe(&filter, 1);
        let end = wire::disconnect_with(0, &expiry(0));
        leaving.send(&[wire::ack(wire::PUBACK, id), end].concat());
        leaving.expect_closed();
        heir.expect_silence(150);
    }
}

/// What is queued for a member whose session ends while it is away moves on, also when the
/// broker dies in the middle of that.
#[test]
fn the_queue_of_a_member_that_is_gone_moves_on() {
    let broker = Broker::builder().storage("redb").start();
    let topic = unique("shared");
    let filter = format!("$share/group/{topic}");
    let short = Connect::new(5, unique("short"))
        .clean(false)
        .properties(expiry(1));
    let mut member = Client::connect(&broker, &short).0;
    member.subscribe(&filter, 1);
    member.cut();
    pause(Duration::from_millis(100));
    let mut publisher = Client::v5(&broker, &unique("pub"));
    for number in 0..100_u8 {
        publisher.publish(&topic, [number; 300], 1);
    }
    let mut heir = Client::v5(&broker, &unique("heir"));
    heir.subscribe(&filter, 1);
    for number in 0..100_u8 {
        assert_eq!(heir.receive().payload, [number; 300]);
    }
}

#[test]
fn what_has_expired_does_not_make_a_queue_full() {
    let broker = Broker::builder()
        .storage("redb")
        .config("limits: {max-queued-messages: 5}\n")
        .start();
    let topic = unique("stale");
    let connect = away(&broker, &topic);
    let mut publisher = Client::v5(&broker, &unique("pub"));
    let short = Properties::new().four(property::MESSAGE_EXPIRY_INTERVAL, 1);
    for id in 1..=5 {
        let stale = Publish::new(&topic, b"stale")
            .qos(1, id)
            .properties(short.clone());
        publisher.publish_packet(stale);
    }
    pause(Duration::from_millis(1_100));
    publisher.publish(&topic, b"fresh", 1);
    let mut client = resume(&broker, &connect);
    assert_eq!(client.receive().payload, b"fresh");
    client.expect_silence(100);
}

/// A client that goes away while retained messages are on their way gets the rest when it is back,
/// also from a broker that was restarted.
#[test]
fn retained_messages_that_were_on_their_way_are_owed() {
    for_each_way(|broker, end| {
        const COUNT: usize = 2_000;
        let root = unique("kept");
        let mut publisher = Client::v5(broker, &unique("pub"));
        for number in 0..COUNT {
            publisher.publish_retained(&format!("{root}/{number}"), vec![7; 1_000], 1);
        }
        let connect = Connect::persistent(5, unique("leaving"));
        let mut client = Client::connect(broker, &connect).0;
        client.subscribe(&format!("{root}/#"), 1);
        let mut topics: BTreeSet<_> = (0..10).map(|_| client.receive().topic).collect();
        client.cut();
        end.restart(broker);
        // Cut once more, by a client that subscribes again as most do: "send if new".
        let mut client = resume(broker, &connect);
        client.subscribe(&format!("{root}/#"), SEND_IF_NEW | 1);
        topics.insert(client.receive().topic);
        client.cut();
        let mut client = resume(broker, &connect);
        client.subscribe(&format!("{root}/#"), SEND_IF_NEW | 1);
        while topics.len() < COUNT {
            topics.insert(client.receive().topic);
        }
        while client.recv_within(Duration::from_millis(200)).is_some() {}
        client.disconnect();
        // Nothing is owed twice, when all has been sent.
        resume(broker, &connect).expect_silence(100);
    });
}
