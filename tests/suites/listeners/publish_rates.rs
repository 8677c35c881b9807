//! Rates of publishes: who is too fast is not read from. Nothing is lost, nobody is disconnected, and
//! others do not notice.

use std::{
    thread,
    time::{Duration, Instant},
};

use gatemq_tests::{
    Broker, Client, Connect, Publish, eventually, unique,
    wire::{self, Will},
};

use super::http_client::{get, n_hits};

/// Publishes in one go; every other one is of QoS 1, with identifiers from 1 on.
fn send(client: &mut Client, level: u8, topic: &str, n_publishes: u16) {
    let publish = |number: u16| match number % 2 {
        0 => Publish::new(topic, number.to_string()).bytes(level),
        _ => Publish::new(topic, number.to_string())
            .qos(1, number / 2 + 1)
            .bytes(level),
    };
    let packets: Vec<u8> = (0..n_publishes).flat_map(publish).collect();
    client.send(&packets);
}

/// All of them arrive, in order; returns how long that took, from before they were sent.
#[track_caller]
fn receive(client: &mut Client, n_publishes: u16, start: Instant) -> Duration {
    client.set_limit(Duration::from_secs(20));
    for number in 0..n_publishes {
        assert_eq!(client.receive().payload, number.to_string().as_bytes());
    }
    start.elapsed()
}

/// The same with several, while somebody else publishes, who does not notice: it is done before.
fn receive_beside(
    clients: &mut [Client],
    n_publishes: u16,
    start: Instant,
    other: &mut Client,
) -> Duration {
    thread::scope(|scope| {
        let receive = |client| receive(client, n_publishes, start);
        let receiving = scope.spawn(move || clients.iter_mut().map(receive).max());
        (0..5).for_each(|_| other.publish("other", b"x", 1));
        let others = start.elapsed();
        let took = receiving.join().expect("all of them arrive");
        let took = took.expect("there are clients");
        assert!(others < took, "{others:?} of another one, and {took:?}");
        took
    })
}

fn subscriber(broker: &Broker, topic: &str) -> Client {
    let mut subscriber = Client::v5(broker, &unique("sub"));
    subscriber.subscribe(topic, 1);
    subscriber
}

/// Nothing has come for a client.
#[track_caller]
fn expect_nothing(client: &mut Client) {
    client.send(&wire::pingreq());
    assert_eq!(client.recv().kind, wire::PINGRESP);
}

#[test]
fn a_client_that_publishes_too_fast_is_slowed_down_and_loses_nothing() {
    let broker = Broker::builder()
        .config("limits: {client-publish-rate: 50}\n")
        .start();
    for level in [4, 5] {
        let topic = unique("fast");
        let mut subscriber = subscriber(&broker, &topic);
        let mut fast = Client::connect(&broker, &Connect::new(level, unique("fast"))).0;
        let hits = n_hits(&broker, "client-publish-rate");
        // With a limit of its own.
        let mut other = Client::v5(&broker, &unique("other"));
        let start = Instant::now();
        send(&mut fast, level, &topic, 150);
        let subscribers = std::slice::from_mut(&mut subscriber);
        let took = receive_beside(subscribers, 150, start, &mut other);
        // A second's worth at once, and then 100 at their rate.
        assert!(took > Duration::from_millis(1_500), "after {took:?}");
        for number in 0..75 {
            fast.expect_ack(wire::PUBACK, number + 1);
        }
        fast.ping();
        assert!(n_hits(&broker, "client-publish-rate") > hits);
    }
}

#[test]
fn a_client_is_not_silent_while_the_broker_does_not_listen() {
    let broker = Broker::builder()
        .config("limits: {client-publish-bytes: 1000B}\n")
        .start();
    let mut subscriber = subscriber(&broker, "large");
    let connect = Connect::new(5, unique("large")).keep_alive(2);
    let mut client = Client::connect(&broker, &connect).0;
    // More than fits at once: it has to wait for four seconds.
    let start = Instant::now();
    client.send(&Publish::new("large", vec![b'x'; 5_000]).bytes(5));
    client.send(&Publish::new("large", b"end").bytes(5));
    subscriber.set_limit(Duration::from_secs(20));
    assert_eq!(subscriber.receive().payload.len(), 5_000);
    let took = start.elapsed().as_secs_f64();
    assert!(took > 3.5, "it came after {took} s");
    assert_eq!(subscriber.receive().payload, b"end");
    client.ping();
    assert!(n_hits(&broker, "client-publish-bytes") > 0);
}

#[test]
fn connections_of_one_user_share_its_rate() {
    let broker = Broker::builder()
        .file(
            "users.yml",
            "password-hash: plain\nunrestricted: true\n\
             users: [{username: ann, password: ann}, {username: bob, password: bob}]\n",
        )
        .config(
            "auth: {sources: [{type: file, path: '{dir}/users.yml'}]}\n\
             limits: {user-publish-rate: 50}\n",
        )
        .start();
    let login = |name: &str| {
        let connect = Connect::new(5, unique(name));
        Client::connect(&broker, &connect.username(name).password(name)).0
    };
    let mut subscribers = [login("bob"), login("bob")];
    let mut anns = [login("ann"), login("ann")];
    for (at, client) in subscribers.iter_mut().enumerate() {
        client.subscribe(&format!("rate/{at}"), 1);
    }
    let mut bob = login("bob");
    let start = Instant::now();
    for (at, client) in anns.iter_mut().enumerate() {
        send(client, 5, &format!("rate/{at}"), 75);
    }
    let took = receive_beside(&mut subscribers, 75, start, &mut bob);
    assert!(took > Duration::from_millis(1_500), "after {took:?}");
    assert!(n_hits(&broker, "user-publish-rate") > 0);
    anns.iter_mut().for_each(Client::ping);
}

#[test]
fn a_listener_has_rates_of_its_own() {
    let broker = Broker::builder()
        .args(["--tcp", ""])
        .config(
            "listeners:\n\
             - {transport: tcp, address: '127.0.0.1:0', listener-publish-rate: 50}\n\
             - {transport: unix, address: '{dir}/mqtt.sock', listener-publish-rate: 1000000}\n\
             limits: {listener-publish-rate: 1}\n",
        )
        .start();
    let mut subscribers = [subscriber(&broker, "l/0"), subscriber(&broker, "l/1")];
    let mut publishers = [Client::v5(&broker, "a"), Client::v5(&broker, "b")];
    let start = Instant::now();
    for (at, client) in publishers.iter_mut().enumerate() {
        send(client, 5, &format!("l/{at}"), 75);
    }
    for client in &mut subscribers {
        receive(client, 75, start);
    }
    let took = start.elapsed();
    assert!(took > Duration::from_millis(1_500), "after {took:?}");
    assert!(n_hits(&broker, "listener-publish-rate") > 0);
}

/// What waits of a client that is taken over is lost, but for its goodbye: it has no will then.
#[test]
fn a_goodbye_that_was_not_read_counts_when_its_client_is_back() {
    let broker = Broker::builder()
        .config("limits: {client-publish-rate: 1}\n")
        .start();
    let mut witness = subscriber(&broker, "will/#");
    for (level, says_goodbye) in [(5, true), (4, true), (5, false)] {
        let id = unique("client");
        let topic = format!("will/{level}/{says_goodbye}");
        let connect = Connect::new(level, &id).will(Will::new(&topic, "gone"));
        let mut client = Client::connect(&broker, &connect).0;
        send(&mut client, level, "t", 100);
        if says_goodbye {
            client.send(&wire::disconnect());
        }
        client.cut();
        Client::connect(&broker, &Connect::new(level, &id));
        match says_goodbye {
            true => expect_nothing(&mut witness),
            false => assert_eq!(witness.receive().topic, topic),
        }
    }
}

/// The same where the broker notices that the client has gone because it takes nothing any more.
#[test]
fn a_goodbye_that_was_not_read_counts_when_nobody_takes_what_is_sent() {
    let broker = Broker::builder()
        .config("limits: {client-publish-rate: 1}\n")
        .start();
    let mut witness = subscriber(&broker, "will");
    let mut publisher = Client::v5(&broker, &unique("pub"));
    let connect = Connect::new(5, unique("client")).will(Will::new("will", "gone"));
    let mut client = Client::connect(&broker, &connect).0;
    client.subscribe("news", 0);
    // 20 seconds of them.
    let publish = Publish::new("t", "x").bytes(5);
    client.send(&publish.repeat(20));
    client.send(&wire::disconnect());
    client.cut();
    let begin = Instant::now();
    eventually!({
        publisher.publish_packet(Publish::new("news", "x"));
        let metrics = get(broker.http(), "/metrics").body;
        metrics.contains("gateway_clients_connected 2\n")
    });
    assert!(begin.elapsed() < Duration::from_secs(10), "it was read");
    expect_nothing(&mut witness);
}
