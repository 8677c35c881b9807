//! B6 and B7: one client id fought over, and more sessions than anyone needs.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish, eventually, unique,
    wire::{self, property},
};

use super::{
    oracle::{Oracle, scaled},
    verdict::connected,
};

/// 8 threads connect, subscribe and publish as the same client. Scale 1: for 3 s.
fn fight(connects: &[Connect; 2], way: &str) {
    let broker = Broker::builder().storage(way).start();
    let oracle = Oracle::watch(&broker);
    let topic = unique("fight");
    let end = Instant::now() + Duration::from_secs(3) * u32::try_from(scaled(1)).unwrap_or(1);
    let n_won = AtomicUsize::new(0);
    thread::scope(|scope| {
        for worker in 0..8 {
            let (broker, topic, n_won, connect) = (&broker, &topic, &n_won, &connects[worker % 2]);
            scope.spawn(move || {
                while Instant::now() < end {
                    let mut client = Client::connect_tcp(broker.tcp());
                    client.set_level(connect.level);
                    let level = connect.level;
                    client.send(&connect.bytes());
                    client.send(&wire::subscribe(
                        level,
                        1,
                        &Properties::new(),
                        &[(topic, 1)],
                    ));
                    client.send(&Publish::new(topic, b"x").qos(1, 2).bytes(level));
                    client.send(&wire::pingreq());
                    let answers = std::iter::from_fn(|| client.recv_within(Duration::from_secs(5)));
                    // Either all is answered or someone else took over.
                    if answers
                        .into_iter()
                        .any(|packet| packet.kind == wire::PINGRESP)
                    {
                        n_won.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(n_won.load(Ordering::Relaxed) > 0, "nobody ever got through");
    eprintln!("{} sessions got through", n_won.load(Ordering::Relaxed));

    // One owner: of two clients the first is sent away, and a message arrives once.
    let mut first = Client::connect(&broker, &connects[0]).0;
    let mut second = Client::connect(&broker, &connects[0].clone().clean(true)).0;
    let last = first.until_closed().pop();
    if connects[0].level == 5 {
        let reason = last
            .expect("a DISCONNECT")
            .disconnect(wire::DISCONNECT)
            .reason;
        assert_eq!(reason, 0x8E);
    }
    second.subscribe(&topic, 1);
    connected(&broker, 5).publish(&topic, b"final", 1);
    assert_eq!(second.receive().payload, b"final");
    second.expect_silence(100);
    second.disconnect();
    drop(first);
    oracle.judge(48 * 1024);
}

#[test]
fn b6_clean_clients_fight_for_an_id() {
    let id = unique("fought");
    fight(&[Connect::new(5, &id), Connect::new(4, &id)], "memory");
}

#[test]
fn b6_persistent_clients_fight_for_an_id() {
    let id = unique("fought");
    fight(
        &[Connect::persistent(5, &id), Connect::persistent(4, &id)],
        "memory",
    );
}

#[test]
fn b6_stored_and_clean_clients_fight_for_an_id() {
    let id = unique("fought");
    fight(&[Connect::persistent(5, &id), Connect::new(5, &id)], "redb");
}

/// The loser comes back at once, and so does the next: comqtt's endless takeover. Here each one
/// of them is served in turn and the broker does not spin.
#[test]
fn b6_taken_over_clients_that_return_at_once() {
    let broker = Broker::builder().start();
    let oracle = Oracle::watch(&broker);
    let connect = Connect::persistent(5, unique("returning"));
    let mut inside = Client::connect(&broker, &connect).0;
    for _ in 0..scaled(300) {
        let next = Client::connect(&broker, &connect).0;
        inside.expect_disconnect(0x8E);
        inside = next;
    }
    inside.ping();
    drop(inside);
    oracle.judge(16 * 1024);
}

/// Scale 1: a quota of 200 sessions.
#[test]
fn b7_sessions_end_at_their_quota() {
    let quota = scaled(200);
    // The canary's two clients have sessions as well.
    let broker = Broker::builder()
        .config(format!("limits: {{max-sessions: {}}}\n", quota + 2))
        .start();
    let oracle = Oracle::watch(&broker);
    let for_ever = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, u32::MAX);
    let connect = |id: &str| Connect::new(5, id).properties(for_ever.clone());
    let ids: Vec<_> = (0..quota).map(|_| unique("hoard")).collect();
    for id in &ids {
        Client::connect(&broker, &connect(id)).0.disconnect();
    }
    for _ in 0..20 {
        let (mut client, connack) = Client::attempt(&broker, &connect(&unique("hoard")));
        assert_eq!(connack.code, 0x97, "{connack:?}");
        client.expect_closed();
        let (mut client, connack) = Client::attempt(&broker, &Connect::new(4, unique("hoard")));
        assert_eq!(connack.code, 3, "{connack:?}");
        client.expect_closed();
    }
    // Those who have one may come back, and one who gives it up makes room.
    let (client, connack) = Client::connect(&broker, &connect(&ids[0]).clean(false));
    assert!(connack.session_present);
    client.disconnect();
    Client::connect(&broker, &Connect::new(5, &ids[1]))
        .0
        .disconnect();
    eventually!({
        let (client, connack) = Client::attempt(&broker, &connect(&unique("late")));
        drop(client);
        connack.code == 0
    });
    oracle.judge(16 * 1024);
}

#[test]
fn b7_the_longest_session_expiry_is_told() {
    let broker = Broker::builder()
        .config("limits: {session-expiry: 3600}\n")
        .shared();
    for (asked, told) in [
        (u32::MAX, Some(3600)),
        (7200, Some(3600)),
        (60, None),
        (0, None),
    ] {
        let expiry = Properties::new().four(property::SESSION_EXPIRY_INTERVAL, asked);
        let connect = Connect::new(5, unique("expiry")).properties(expiry);
        let (_, connack) = Client::connect(&broker, &connect);
        let found = connack.properties.number(property::SESSION_EXPIRY_INTERVAL);
        assert!(
            found == told || told.is_none() && found == Some(asked),
            "{asked}: {found:?}"
        );
    }
}

/// Scale 1: 1,000 subscriptions of one session are its limit.
#[test]
fn b7_subscriptions_of_a_session_end_at_their_quota() {
    let quota = scaled(1_000);
    let broker = Broker::builder()
        .config(format!("limits: {{max-subscriptions: {quota}}}\n"))
        .start();
    let oracle = Oracle::watch(&broker);
    for level in [4, 5] {
        let mut client = connected(&broker, level);
        for number in 0..quota {
            client.subscribe(&format!("quota/{number}"), 0);
        }
        let suback = client.subscribe_with(&Properties::new(), &[("one/more", 0), ("quota/0", 1)]);
        let code = if level == 5 { 0x97 } else { 0x80 };
        assert_eq!(suback.codes, [code, 1], "level {level}");
        client.unsubscribe(&["quota/1"]);
        client.subscribe("one/more", 0);
        client.disconnect();
    }
    oracle.judge(32 * 1024);
}
