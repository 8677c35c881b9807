//! Redis is away for a while, or comes back without its data: the gateways stay, say what they
//! cannot do, and go on when it is back.

use std::{
    thread,
    time::{Duration, Instant},
};

use gatemq_tests::{
    Client, Cluster, Connect, Node, Properties, Publish,
    patience::{becomes_true, pause},
    traffic::Traffic,
    unique, wire,
};

/// How long things may take once Redis is back.
const RECOVERY: Duration = Duration::from_secs(20);

/// The CONNACK comes soon and says that the server is not available.
#[track_caller]
fn assert_refused(node: &Node) {
    for (level, code) in [(4, 3), (5, 0x88)] {
        let start = Instant::now();
        let mut client = Client::connect_tcp(node.tcp());
        client.set_limit(Duration::from_secs(8));
        let connack = client.handshake(&Connect::persistent(level, unique("refused")));
        assert_eq!(connack.code, code, "level {level}: {connack:02x?}");
        let took = start.elapsed();
        assert!(took < Duration::from_secs(6), "level {level}: {took:?}");
    }
}

/// Every gateway takes sessions again, and routes, keeps and delivers what they get.
#[track_caller]
fn assert_whole(cluster: &Cluster) {
    let nodes = cluster.gateways();
    for (number, node) in nodes.iter().enumerate() {
        let next = nodes[(number + 1) % nodes.len()];
        let connect = Connect::persistent(5, unique("whole"));
        let takes = becomes_true(RECOVERY, || {
            let (client, connack) = node.attempt(&connect);
            client.cut();
            connack.code == 0
        });
        assert!(takes, "{} takes no sessions", node.name());
        let topic = unique("whole");
        let (mut client, connack) = node.connect(&connect);
        assert!(connack.session_present);
        client.set_limit(RECOVERY);
        client.subscribe(&topic, 2);
        client.disconnect();
        let mut publisher = next.v5(&unique("pub"));
        publisher.set_limit(RECOVERY);
        publisher.publish(&topic, b"kept", 2);
        publisher.publish_retained(&topic, b"retained", 1);
        let (mut client, connack) = next.connect(&connect);
        client.set_limit(RECOVERY);
        assert!(connack.session_present);
        assert_eq!(client.receive().payload, b"kept");
        assert_eq!(client.receive().payload, b"retained");
        let mut late = node.v5(&unique("late"));
        late.set_limit(RECOVERY);
        late.subscribe(&topic, 1);
        assert_eq!(late.receive().payload, b"retained");
        publisher.publish_retained(&topic, b"", 1);
    }
}

/// A pair of clean clients on two gateways; each of its messages takes less than two seconds, and
/// so less than Redis is away.
struct Pair {
    publisher: Client,
    subscriber: Client,
    topic: String,
}

impl Pair {
    fn new(from: &Node, to: &Node) -> Self {
        let topic = unique("pair");
        let mut subscriber = to.v4(&unique("sub"));
        subscriber.subscribe(&topic, 1);
        let mut publisher = from.v5(&unique("pub"));
        publisher.set_limit(Duration::from_secs(2));
        subscriber.set_limit(Duration::from_secs(2));
        Self {
            publisher,
            subscriber,
            topic,
        }
    }

    #[track_caller]
    fn exchange(&mut self, n_messages: u8) {
        for number in 0..n_messages {
            for qos in [0, 1] {
                self.publisher.publish(&self.topic, [number, qos], qos);
                assert_eq!(self.subscriber.receive().payload, [number, qos]);
            }
        }
    }
}

#[test]
fn redis_that_stands_still_holds_up_only_what_needs_it() {
    let cluster = Cluster::builder().control(1).gateways(2).start();
    let nodes = cluster.gateways();
    let (one, two) = (nodes[0], nodes[1]);
    let mut pair = Pair::new(one, two);
    pair.exchange(5);
    let topic = unique("stored");
    let connect = Connect::persistent(5, unique("sub"));
    let mut stored = two.connect(&connect).0;
    stored.subscribe(&topic, 1);
    let mut publisher = one.v5(&unique("pub"));
    publisher.publish(&topic, b"before", 1);
    assert_eq!(stored.receive().payload, b"before");
    let before = nodes.iter().map(|node| node.rss_kib()).max();

    cluster.redis().pause();
    let paused_at = Instant::now();
    pair.exchange(20);
    // As many as a client may have unacknowledged, of which nothing may be acknowledged.
    let payload = vec![b'x'; 4 << 10];
    let flood = thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            for number in 1..=1_000 {
                let publish = Publish::new(&topic, &payload).qos(1, 1_000 + number);
                publisher.send(&publish.bytes(5));
            }
            publisher
        });
        assert_refused(one);
        assert_refused(two);
        pair.exchange(20);
        flooding.join().expect("it can send")
    });
    let mut publisher = flood;
    assert!(publisher.recv_within(Duration::from_millis(100)).is_none());
    pause(Duration::from_secs(5).saturating_sub(paused_at.elapsed()));
    pair.exchange(20);
    let after = nodes.iter().map(|node| node.rss_kib()).max();
    cluster.redis().resume();

    publisher.set_limit(RECOVERY);
    stored.set_limit(RECOVERY);
    for number in 1..=1_000 {
        let ack = publisher.expect_ack(wire::PUBACK, 1_000 + number);
        assert_eq!(ack.reason, 0, "message {number}");
        assert_eq!(
            stored.receive().payload.len(),
            payload.len(),
            "message {number}"
        );
    }
    stored.expect_silence(50);
    let (before, after) = (before.expect("two"), after.expect("two"));
    eprintln!("Redis stood still: {before} KiB before, {after} KiB during");
    assert!(after < before + 64 * 1024, "{before} KiB, then {after} KiB");
    assert_whole(&cluster);
}

#[test]
fn redis_that_is_killed_and_comes_back_with_its_data_loses_nothing() {
    let what = "Redis is killed";
    let cluster = Cluster::builder().control(1).gateways(2).start();
    let traffic = Traffic::new(what, &cluster)
        .with_absent_subscribers()
        .with_present_subscribers()
        .with_publishers();
    for _ in 0..3 {
        traffic.stream(200);
        cluster.redis().kill();
        pause(Duration::from_millis(1_500));
        cluster.redis().restart();
    }
    traffic.stream(200);
    traffic.finish(what, 800);
    assert_whole(&cluster);
}

#[test]
fn while_redis_is_down_clients_are_refused_and_others_go_on() {
    let cluster = Cluster::builder().control(1).gateways(2).start();
    let nodes = cluster.gateways();
    let mut pair = Pair::new(nodes[1], nodes[0]);
    let connect = Connect::persistent(5, unique("sub"));
    let topic = unique("kept");
    let mut stored = nodes[0].connect(&connect).0;
    stored.subscribe(&topic, 1);
    stored.disconnect();
    nodes[1].v5(&unique("pub")).publish(&topic, b"kept", 1);
    cluster.redis().kill();
    for node in &nodes {
        assert_refused(node);
        pair.exchange(10);
    }
    cluster.redis().restart();
    assert_whole(&cluster);
    let (mut stored, connack) = nodes[1].connect(&connect);
    assert!(connack.session_present);
    assert_eq!(stored.receive().payload, b"kept");
    pair.exchange(10);
}

/// Whoever sends clients to gateways sends none where each is refused; but nothing is restarted,
/// which would not help. The log says it once for all of them.
#[test]
fn a_gateway_is_not_ready_while_redis_is_down_and_says_why() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let node = cluster.gateways()[0];
    let get = |path| node.get(path).expect("it answers");
    assert_eq!(get("/readyz"), (200, "ready\n".to_owned()));
    cluster.redis().kill();
    let is_told = becomes_true(RECOVERY, || get("/readyz").0 == 503);
    assert!(is_told, "it is ready");
    let (_, body) = get("/readyz");
    let reason = r#"{"ready":false,"state":"store","reason":"the store does not answer"#;
    assert!(body.starts_with(reason), "{body}");
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..50 {
        let mut client = Client::connect_tcp(node.tcp());
        client.send(&Connect::persistent(5, unique("refused")).bytes());
        clients.push(client);
    }
    for client in &mut clients {
        client.set_limit(RECOVERY);
        client.set_level(5);
        assert_eq!(client.recv().connack(5).code, 0x88);
    }
    drop(clients);
    let is_summed_up = becomes_true(RECOVERY, || node.log().count("clients were refused") > 0);
    assert!(is_summed_up, "{}", node.log().tail(20));
    let log = node.log().text();
    let is_of_one = |line: &&str| line.contains(" INFO ") && line.contains("connection refused");
    assert_eq!(log.lines().find(is_of_one), None, "one by one, too");
    let n_lines = node.log().count(" WARN ");
    assert!(n_lines < 10, "{}", node.log().tail(n_lines));
    assert_eq!(get("/readyz").0, 503);
    assert_eq!(get("/healthz").0, 200);

    cluster.redis().restart();
    let is_ready = becomes_true(RECOVERY, || get("/readyz").0 == 200);
    assert!(is_ready, "{:?}", get("/readyz"));
    assert_whole(&cluster);
}

/// All that was in Redis is gone, which nobody promised: sessions are new, and everything works.
#[test]
fn redis_that_comes_back_empty_ends_sessions_and_nothing_else() {
    let cluster = Cluster::builder().control(1).gateways(2).start();
    let nodes = cluster.gateways();
    let (one, two) = (nodes[0], nodes[1]);
    let mut pair = Pair::new(one, two);
    let topic = unique("gone");
    let present = Connect::persistent(5, unique("present"));
    let absent = Connect::persistent(4, unique("absent"));
    let mut connected = one.connect(&present).0;
    connected.subscribe(&topic, 1);
    let mut client = two.connect(&absent).0;
    client.subscribe(&topic, 1);
    client.disconnect();
    let mut publisher = two.v5(&unique("pub"));
    publisher.publish(&topic, b"before", 1);
    assert_eq!(connected.receive().payload, b"before");

    cluster.redis().wipe();
    pair.exchange(10);
    // A publish to a session that is no more: whatever it is told, the sessions are new afterwards.
    publisher.set_limit(RECOVERY);
    let id = publisher.next_id();
    publisher.send(&Publish::new(&topic, b"during").qos(1, id).bytes(5));
    publisher.expect_ack(wire::PUBACK, id);
    for (connect, node) in [(&present, two), (&absent, one)] {
        let (mut client, connack) = node.connect(connect);
        assert!(!connack.session_present, "it was there, and is gone");
        client.set_limit(RECOVERY);
        let suback = client.subscribe_with(&Properties::new(), &[(&topic, 1)]);
        assert_eq!(suback.codes, [1]);
        publisher.publish(&topic, b"after", 1);
        assert_eq!(client.receive().payload, b"after");
    }
    assert_whole(&cluster);
    pair.exchange(10);
}

/// A session that Redis does not have any more is written nothing: so its client is told nothing
/// that would say so, only that it is over.
#[test]
fn nothing_is_confirmed_to_a_session_that_could_not_be_written() {
    // With one worker nothing is in time by chance: what follows a commit is done in one go.
    let builder = Cluster::builder().control(1).gateways(1);
    let cluster = builder.setting("workers: 1").start();
    let node = cluster.gateways()[0];
    let topic = unique("void");
    let mut publisher = node.v5(&unique("pub"));
    let check = |what: &str, before: &mut dyn FnMut(&mut Client) -> Vec<u8>| {
        let mut client = node.connect(&Connect::persistent(5, unique("void"))).0;
        let bytes = before(&mut client);
        assert_eq!(cluster.redis().command(&["FLUSHALL"]), "OK");
        client.send(&bytes);
        client.set_limit(RECOVERY);
        let packets = client.until_closed();
        let kinds: Vec<u8> = packets.iter().map(|p| p.kind).collect();
        assert_eq!(kinds, [wire::DISCONNECT], "{what}");
        // Nobody has taken the session over: it may come again.
        assert_eq!(packets[0].body.first(), Some(&0x89), "{what}");
    };
    let properties = Properties::new();
    check("SUBACK", &mut |client| {
        let id = client.next_id();
        wire::subscribe(5, id, &properties, &[(&topic, 1)])
    });
    check("UNSUBACK", &mut |client| {
        client.subscribe(&topic, 1);
        let id = client.next_id();
        wire::unsubscribe(5, id, &properties, &[&topic])
    });
    check("PUBREC", &mut |client| {
        let id = client.next_id();
        Publish::new(&topic, b"x").qos(2, id).bytes(5)
    });
    check("PUBCOMP", &mut |client| {
        let id = client.next_id();
        client.send(&Publish::new(&topic, b"x").qos(2, id).bytes(5));
        client.expect_ack(wire::PUBREC, id);
        wire::ack(wire::PUBREL, id)
    });
    check("PUBREL", &mut |client| {
        client.subscribe(&topic, 2);
        publisher.publish(&topic, b"x", 2);
        let publish = client.expect_publish();
        wire::ack(wire::PUBREC, publish.id.expect("it has QoS 2"))
    });
}

/// Something that uses the same keys and is not of the cluster claims a session, as claim.lua does:
/// nobody of the cluster will ever have it. Whoever publishes to it is told, not left waiting.
#[test]
fn a_session_that_a_stranger_has_taken_leaves_no_publisher_waiting() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let (node, redis) = (cluster.gateways()[0], cluster.redis());
    let (topic, client_id) = (unique("stolen"), unique("stolen"));
    let mut stored = node.connect(&Connect::persistent(5, client_id.clone())).0;
    stored.subscribe(&topic, 1);
    let mut publisher = node.connect(&Connect::persistent(5, unique("pub"))).0;
    publisher.publish(&topic, b"before", 1);
    assert_eq!(stored.receive().payload, b"before");

    let key = redis.command(&["KEYS", &format!("*:s:{client_id}")]);
    let field = |name| redis.command(&["HGET", &key, name]);
    let owner = field("owner");
    let claim = ["epoch", "2", "since", "2", "round", "0", "owner", "1"];
    let trail = ["token", "0", "connected", "1", "trail", &owner];
    assert_ne!(
        (&*owner, &*field("epoch")),
        ("1", "2"),
        "nobody has taken it yet"
    );
    redis.command(&[&["HSET", &key][..], &claim, &trail].concat());

    let (id, other_id) = (publisher.next_id(), 7);
    publisher.send(&Publish::new(&topic, b"lost").qos(1, id).bytes(5));
    let mut other = node.connect(&Connect::persistent(4, unique("pub"))).0;
    other.send(&Publish::new(&topic, b"lost").qos(1, other_id).bytes(4));
    stored.expect_disconnect(0x8E);
    publisher.set_limit(RECOVERY);
    assert_eq!(publisher.expect_ack(wire::PUBACK, id).reason, 0x80);
    other.set_limit(RECOVERY);
    assert!(
        other.until_closed().is_empty(),
        "3.1.1 knows no such answer"
    );
    assert_eq!(node.log().count("not of this cluster"), 1);
    // Nobody has to wait for this gateway to forget it, should it die.
    assert!(becomes_true(RECOVERY, || field("trail").is_empty()));
    assert!(becomes_true(RECOVERY, || {
        let id = publisher.next_id();
        publisher.send(&Publish::new(&topic, b"to nobody").qos(1, id).bytes(5));
        publisher.expect_ack(wire::PUBACK, id).reason == 0x10
    }));
}

/// A client of 3.1.1 does not know how much it may have on its way, and has 65,535 identifiers for
/// it: what waits for Redis is bounded all the same, and goes on by itself.
#[test]
fn redis_that_stands_still_bounds_what_waits_for_it() {
    const N_MESSAGES: u16 = 6_000;
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let node = cluster.gateways()[0];
    let topic = unique("bound");
    let mut publisher = node.connect(&Connect::persistent(4, unique("pub"))).0;
    publisher.publish(&topic, b"before", 2);
    let before = node.rss_kib();
    cluster.redis().pause();
    let payload = vec![b'x'; 32 << 10];
    let mut publisher = thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            for id in 1..=N_MESSAGES {
                publisher.send(&Publish::new(&topic, &payload).qos(2, 1_000 + id).bytes(4));
            }
            publisher
        });
        pause(Duration::from_secs(4));
        let after = node.rss_kib();
        let is_held_back = !flooding.is_finished();
        cluster.redis().resume();
        eprintln!("Redis stood still: {before} KiB before, {after} KiB during");
        assert!(is_held_back, "it took all of it");
        assert!(after < before + 96 * 1024, "{before} KiB, then {after} KiB");
        flooding.join().expect("it can send")
    });
    publisher.set_limit(RECOVERY);
    for id in 1..=N_MESSAGES {
        publisher.expect_ack(wire::PUBREC, 1_000 + id);
    }
}

/// The oldest of a queue have to be read from Redis before they can go: what comes meanwhile is kept, and
/// no publisher is refused for it.
#[test]
fn a_full_queue_makes_room_of_what_is_in_redis() {
    const ROOM: usize = 50;
    const SENT: u8 = 120;
    let builder = Cluster::builder().control(1).gateways(2);
    let cluster = builder
        .setting("session: {on-full: drop-oldest}")
        .setting("limits: {max-queued-messages: 50}")
        .start();
    let [one, other] = ["g1", "g2"].map(|name| cluster.node(name));
    let (topic, away) = (unique("full"), Connect::persistent(5, unique("away")));
    one.connect(&away).0.subscribe(&topic, 1);
    let mut publisher = other.v5(&unique("pub"));
    let ids: Vec<u16> = (0..SENT).map(|_| publisher.next_id()).collect();
    for (number, id) in (0..SENT).zip(&ids) {
        publisher.send(&Publish::new(&topic, [number]).qos(1, *id).bytes(5));
    }
    for id in ids {
        let reason = publisher.expect_ack(wire::PUBACK, id).reason;
        assert!(reason < 0x80, "{reason:#04x}");
    }
    // One after the other, and not at once: the pages have come by now.
    for number in SENT..SENT + 20 {
        publisher.publish(&topic, [number], 1);
    }
    let (mut client, connack) = other.connect(&away);
    assert!(connack.session_present);
    let received = std::iter::from_fn(|| {
        let packet = client.recv_within(Duration::from_secs(1))?;
        let publish = packet.publish(5);
        client.acknowledge(&publish);
        Some(publish.payload[0])
    });
    let received: Vec<u8> = received.collect();
    assert_eq!(received.last(), Some(&(SENT + 19)), "the newest is there");
    assert!(received.is_sorted(), "{received:?}");
    assert!((ROOM..=2 * ROOM).contains(&received.len()), "{received:?}");
}
