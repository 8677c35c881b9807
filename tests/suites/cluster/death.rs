//! Nodes are killed, stopped and started again: what was acknowledged arrives, and what cannot be
//! promised is refused instead of hanging.

use std::{
    thread,
    time::{Duration, Instant},
};

use gatemq_tests::{
    Client, Cluster, Connect, Node, Properties, Publish, Will,
    patience::{becomes_true, pause},
    traffic::Traffic,
    unique,
    wire::{self, property},
};

/// How long a cluster may take to get over the loss of a node.
const RECOVERY: Duration = Duration::from_secs(20);

/// A QoS 1 publish is acknowledged in this time.
#[track_caller]
fn publish_within(publisher: &mut Client, topic: &str, payload: &[u8], limit: Duration) -> u8 {
    publisher.set_limit(limit);
    let publish = Publish {
        qos: 1,
        ..Publish::new(topic, payload)
    };
    publisher.publish_packet(publish).expect("a PUBACK").reason
}

/// Subscribes and returns the code of the SUBACK, whatever it is, and how long it took.
#[track_caller]
fn try_subscribe(client: &mut Client, filter: &str) -> (u8, Duration) {
    let start = Instant::now();
    let suback = client.subscribe_with(&Properties::new(), &[(filter, 1)]);
    (suback.codes[0], start.elapsed())
}

/// The next message. The end of an exchange of QoS 2 has no acknowledgement, so a gateway that is
/// lost may have forgotten it: its PUBREL then comes again.
#[track_caller]
fn receive(client: &mut Client, level: u8) -> Publish {
    loop {
        let packet = client.recv();
        if packet.kind != wire::PUBREL {
            let publish = packet.publish(level);
            client.acknowledge(&publish);
            return publish;
        }
        let id = packet.ack(wire::PUBREL, level).id;
        client.send(&wire::ack(wire::PUBCOMP, id));
    }
}

// === gateways ===

#[test]
fn killed_gateways_lose_nothing() {
    const ROUNDS: usize = 4;
    let what = "gateways are killed";
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let traffic = Traffic::new(what, &cluster)
        .with_absent_subscribers()
        .with_present_subscribers()
        .with_publishers();
    let mut longest = Duration::ZERO;
    for round in 0..ROUNDS {
        traffic.stream(100);
        let node = cluster.three()[round % 3];
        node.kill();
        longest = longest.max(traffic.stream(200));
        node.restart();
    }
    traffic.stream(100);
    eprintln!("{what}: 200 messages took at most {longest:?}");
    traffic.finish_lossless(what, 400 * ROUNDS);
}

#[test]
fn gateways_that_stop_in_order_lose_nothing() {
    const ROUNDS: usize = 3;
    let what = "gateways stop in order";
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let traffic = Traffic::new(what, &cluster)
        .with_absent_subscribers()
        .with_present_subscribers()
        .with_publishers();
    for round in 0..ROUNDS {
        traffic.stream(100);
        let node = cluster.three()[round % 3];
        assert!(node.terminate().success());
        traffic.stream(200);
        node.restart();
    }
    traffic.finish_lossless(what, 300 * ROUNDS);
}

#[test]
fn all_gateways_killed_at_once_lose_nothing() {
    let what = "all gateways are killed";
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let traffic = Traffic::new(what, &cluster)
        .with_absent_subscribers()
        .with_publishers();
    for _ in 0..2 {
        traffic.stream(200);
        for node in cluster.three() {
            node.kill();
        }
        for node in cluster.three() {
            node.launch().expect("it starts");
        }
        for node in cluster.three() {
            node.wait_until_ready().expect("it becomes ready");
        }
        traffic.stream(100);
    }
    traffic.finish_lossless(what, 600);
}

/// Sessions of a killed gateway are adopted: their messages are accepted and kept while their
/// clients are away, without anybody connecting.
#[test]
fn sessions_of_a_killed_gateway_go_on_without_it() {
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let [one, two, three] = cluster.three();
    let topic = unique("adopted");
    let mut sessions = Vec::new();
    for number in 0..20 {
        let connect = Connect::persistent(if number % 2 == 0 { 4 } else { 5 }, unique("sub"));
        let mut client = one.connect(&connect).0;
        client.subscribe(&topic, 1 + number % 2);
        sessions.push((connect, client));
    }
    let mut publisher = two.v5(&unique("pub"));
    publisher.publish(&topic, b"before", 2);
    for (_, client) in &mut sessions[..10] {
        assert_eq!(client.receive().payload, b"before");
        client.ping();
    }
    one.kill();
    let killed_at = Instant::now();
    assert_eq!(
        publish_within(&mut publisher, &topic, b"at once", RECOVERY),
        0
    );
    let until_acknowledged = killed_at.elapsed();
    let is_adopted = becomes_true(RECOVERY, || {
        let adopted = [two, three].map(|node| node.metric("gateway_sessions"));
        adopted.into_iter().flatten().sum::<f64>() >= 21.0
    });
    eprintln!(
        "acknowledged {until_acknowledged:?} after the kill, adopted after {:?}",
        killed_at.elapsed()
    );
    assert!(is_adopted, "the sessions are not adopted");
    assert_eq!(
        publish_within(&mut publisher, &topic, b"adopted", RECOVERY),
        0
    );
    for (number, (connect, _)) in sessions.iter().enumerate() {
        let level = connect.level;
        let (mut client, connack) = [two, three][number % 2].connect(connect);
        assert!(connack.session_present, "session {number}");
        let mut received = Vec::new();
        while received.last().is_none_or(|last| last != b"adopted") {
            received.push(receive(&mut client, level).payload);
        }
        let expected: &[&[u8]] = match number < 10 {
            true => &[b"at once", b"adopted"],
            false => &[b"before", b"at once", b"adopted"],
        };
        assert_eq!(received, expected, "session {number}");
        client.expect_silence(5);
    }
}

/// [MQTT-3.2.2-3], [MQTT-3.1.3-9]: a client that is told of a session does not subscribe again, and
/// nothing of this one was stored. Its client comes before the session is adopted, which would end it.
#[test]
fn a_session_that_ends_with_its_connection_ends_with_its_gateway() {
    const DELAY: u32 = 3600;
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let [one, two, three] = cluster.three();
    let topic = unique("ended");
    let mut watcher = three.v5(&unique("watcher"));
    watcher.subscribe(&format!("{topic}/will"), 1);
    let mut came = Vec::new();
    for (level, is_clean) in [(5, false), (4, true)] {
        let mut will = Will::new(format!("{topic}/will"), b"gone").qos(1);
        if level == 5 {
            will = will.properties(Properties::new().four(property::WILL_DELAY_INTERVAL, DELAY));
        }
        let connect = Connect::new(level, unique("brief"))
            .clean(is_clean)
            .will(will);
        let mut client = one.connect(&connect).0;
        client.subscribe(&topic, 1);
        came.push((connect, client));
    }
    one.kill();
    let mut back = Vec::new();
    for (connect, _) in came {
        let level = connect.level;
        let (mut client, connack) = two.connect(&connect.clean(false));
        assert!(!connack.session_present, "level {level}");
        client.subscribe(&topic, 1);
        back.push(client);
        assert_eq!(watcher.receive().payload, b"gone", "level {level}");
    }
    three.v5(&unique("pub")).publish(&topic, b"x", 1);
    for client in &mut back {
        assert_eq!(client.receive().payload, b"x");
    }
    watcher.expect_silence(50);
}

#[test]
fn routes_of_a_killed_gateway_vanish_and_those_of_others_stay() {
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let [one, two, three] = cluster.three();
    let (theirs, stays) = (unique("theirs"), unique("stays"));
    let mut there = two.v5(&unique("there"));
    there.subscribe(&stays, 1);
    let mut dies = three.v5(&unique("dies"));
    dies.subscribe(&theirs, 1);
    dies.subscribe(&stays, 1);
    let mut publisher = one.v5(&unique("pub"));
    assert_eq!(publish_within(&mut publisher, &theirs, b"x", RECOVERY), 0);
    three.kill();
    let vanishes = becomes_true(RECOVERY, || {
        publish_within(&mut publisher, &theirs, b"x", RECOVERY) == 0x10
    });
    assert!(vanishes, "the route is still there");
    assert_eq!(publish_within(&mut publisher, &stays, b"1", RECOVERY), 0);
    assert_eq!(there.receive().payload, b"1");
    // The control plane starts anew: what it knows is on its disk.
    cluster.node("c1").restart();
    assert_eq!(publish_within(&mut publisher, &stays, b"2", RECOVERY), 0);
    assert_eq!(there.receive().payload, b"2");
    assert_eq!(
        publish_within(&mut publisher, &theirs, b"x", RECOVERY),
        0x10
    );
    // And whoever is new since gets everything.
    three.restart();
    let mut late = three.v5(&unique("late"));
    late.set_limit(RECOVERY);
    late.subscribe(&theirs, 1);
    assert_eq!(publish_within(&mut publisher, &theirs, b"3", RECOVERY), 0);
    assert_eq!(late.receive().payload, b"3");
    let mut publisher = three.v5(&unique("pub"));
    assert_eq!(publish_within(&mut publisher, &stays, b"4", RECOVERY), 0);
    assert_eq!(there.receive().payload, b"4");
    there.expect_silence(50);
}

/// A gateway that stands still, loses its clients to others, and goes on: what it believes does not
/// count any more.
#[test]
fn a_gateway_that_stood_still_does_no_harm() {
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let [one, two, three] = cluster.three();
    let topic = unique("zombie");
    let connect = Connect::persistent(5, unique("moves"));
    let mut old = one.connect(&connect).0;
    old.subscribe(&topic, 2);
    let mut publisher = three.v5(&unique("pub"));
    publisher.publish(&topic, b"before", 2);
    assert_eq!(old.receive().payload, b"before");
    old.ping();
    one.pause();
    // What it has not read yet when it goes on: it may not acknowledge it and lose it.
    let id = old.next_id();
    old.send(&Publish::new(&topic, b"from the old").qos(1, id).bytes(5));
    let mut new = Client::connect_tcp(two.tcp());
    new.set_limit(RECOVERY);
    let connack = new.handshake(&connect);
    assert_eq!((connack.code, connack.session_present), (0, true));
    publisher.set_limit(RECOVERY);
    for number in 0..20_u8 {
        publisher.publish(&topic, [number], 1 + number % 2);
    }
    one.resume();
    let farewell = old.until_closed();
    let is_acknowledged = farewell.iter().any(|packet| packet.kind == wire::PUBACK);
    let n_delivered = farewell
        .iter()
        .filter(|packet| packet.kind == wire::PUBLISH)
        .count();
    assert_eq!(n_delivered, 0, "the zombie delivers: {farewell:?}");
    let mut received = Vec::new();
    while received.last() != Some(&vec![19]) {
        received.push(receive(&mut new, 5).payload);
    }
    // What the old connection sent last comes now, if it comes.
    while let Some(packet) = new.recv_within(Duration::from_millis(500)) {
        let publish = packet.publish(5);
        new.acknowledge(&publish);
        received.push(publish.payload);
    }
    let is_delivered = received.iter().any(|it| it == b"from the old");
    assert!(!is_acknowledged || is_delivered, "{received:?}");
    received.retain(|it| it != b"from the old");
    let expected: Vec<_> = (0..20_u8).map(|number| vec![number]).collect();
    assert_eq!(received, expected);
    // The gateway takes part again.
    let mut again = one.v5(&unique("again"));
    again.set_limit(RECOVERY);
    again.subscribe(&topic, 1);
    publisher.publish(&topic, b"after", 1);
    assert_eq!(again.receive().payload, b"after");
    assert_eq!(new.receive().payload, b"after");
}

/// A gateway that stands still does not hear of new subscribers: when it goes on, it acknowledges
/// nothing that they miss.
#[test]
fn a_gateway_that_stood_still_acknowledges_nothing_that_new_subscribers_miss() {
    const PUBLISHERS: usize = 20;
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let [one, two, _] = cluster.three();
    let topic = unique("unheard");
    let new_publisher = |_| one.v5(&unique("pub"));
    let mut publishers: Vec<Client> = (0..PUBLISHERS).map(new_publisher).collect();
    one.pause();
    let mut subscriber = two.v5(&unique("sub"));
    subscriber.set_limit(RECOVERY);
    subscriber.subscribe(&topic, 1); // granted when nothing can be acknowledged there any more
    for (publisher, number) in publishers.iter_mut().zip(0_u8..) {
        let id = publisher.next_id();
        publisher.send(&Publish::new(&topic, [number]).qos(1, id).bytes(5));
    }
    // It is fenced by now, and ends its connections when it hears of that.
    pause(Duration::from_secs(3));
    one.resume();
    let mut acknowledged = Vec::new();
    for (publisher, number) in publishers.iter_mut().zip(0_u8..) {
        let farewell = publisher.until_closed();
        if farewell.iter().any(|packet| packet.kind == wire::PUBACK) {
            acknowledged.push(number);
        }
    }
    let mut received = Vec::new();
    while let Some(packet) = subscriber.recv_within(Duration::from_secs(1)) {
        let publish = packet.publish(5);
        subscriber.acknowledge(&publish);
        received.extend(publish.payload);
    }
    acknowledged.retain(|number| !received.contains(number));
    assert_eq!(acknowledged, Vec::<u8>::new(), "they are missed");
}

// === the control plane ===

/// Clients notice nothing but a pause: QoS 0 goes on at once, QoS 1 when there is a leader again.
#[test]
fn a_killed_leader_is_replaced() {
    let cluster = Cluster::builder().control(3).gateways(2).start();
    cluster.wait_for_voters();
    let nodes = cluster.gateways();
    let topic = unique("leader");
    let mut subscriber = nodes[1].v4(&unique("sub"));
    subscriber.subscribe(&topic, 1);
    let mut publisher = nodes[0].v5(&unique("pub"));
    let mut longest = Duration::ZERO;
    // The founder leads; then whoever leads is one of the other two, and it comes back before.
    cluster.node("c1").kill();
    for number in 0..100_u8 {
        publisher.publish(&topic, [number], 0);
        assert_eq!(subscriber.receive().payload, [number]);
        let start = Instant::now();
        let reason = publish_within(&mut publisher, &topic, &[number, 1], RECOVERY);
        longest = longest.max(start.elapsed());
        assert_eq!(reason, 0);
        assert_eq!(subscriber.receive().payload, [number, 1]);
        pause(Duration::from_millis(50));
    }
    subscriber.set_limit(RECOVERY);
    let new = unique("new");
    let (code, took) = try_subscribe(&mut subscriber, &new);
    assert_eq!(code, 1);
    eprintln!("the leader was killed: longest PUBACK {longest:?}, then SUBACK {took:?}");
    publisher.publish(&new, b"new", 1);
    assert_eq!(subscriber.receive().payload, b"new");
    cluster.node("c1").restart();
    cluster.node("c2").kill();
    let other = unique("other");
    let (code, _) = try_subscribe(&mut subscriber, &other);
    assert_eq!(code, 1, "two of three nodes are a quorum");
    publisher.publish(&other, b"other", 1);
    assert_eq!(subscriber.receive().payload, b"other");
}

#[test]
fn without_a_quorum_what_is_there_goes_on_and_what_is_new_is_refused() {
    const WATCHED: Duration = Duration::from_secs(3);
    let cluster = Cluster::builder()
        .control(3)
        .gateways(2)
        .setting("cluster: {subscribe-timeout: 2s}")
        .start();
    cluster.wait_for_voters();
    let nodes = cluster.gateways();
    let (one, two) = (nodes[0], nodes[1]);
    let topic = unique("quorum");
    let mut subscriber = two.v4(&unique("sub"));
    subscriber.subscribe(&topic, 1);
    let mut publisher = one.v5(&unique("pub"));
    publisher.publish(&topic, b"1", 1);
    assert_eq!(subscriber.receive().payload, b"1");
    for name in ["c1", "c2"] {
        cluster.node(name).kill();
    }
    // The leases run out in this time.
    pause(Duration::from_secs(3));
    let before = footprints(&nodes);
    publisher.publish(&topic, b"2", 0);
    assert_eq!(subscriber.receive().payload, b"2");
    // QoS 1 is not acknowledged: somebody might have subscribed.
    publisher.send(&Publish::new(&topic, b"3").qos(1, 333).bytes(5));
    // A new filter is refused in time, with both versions; the connection stays.
    for level in [4, 5] {
        let mut new = one.connect(&Connect::new(level, unique("new"))).0;
        new.set_limit(RECOVERY);
        let (code, took) = try_subscribe(&mut new, &unique("new"));
        assert!(code >= 0x80, "level {level}: {code:#04x} after {took:?}");
        assert!(took < Duration::from_secs(5), "level {level}: {took:?}");
        new.ping();
    }
    pause(WATCHED);
    // Nobody storms: little work is done, and little is said of it.
    let watched = before[0].0.elapsed();
    for (node, (_, processor, n_lines)) in nodes.iter().zip(before) {
        let used = node.processor_time() - processor;
        let said = node.log().n_lines() - n_lines;
        eprintln!("{}: {used:?} of {watched:?}, {said} lines", node.name());
        assert!(used < watched / 2, "{}: {used:?}", node.name());
        assert!(said < 200, "{}: {said} lines", node.name());
    }
    let early = publisher.recv_within(Duration::from_millis(50));
    assert!(early.is_none(), "acknowledged without a lease: {early:?}");
    for name in ["c1", "c2"] {
        cluster.node(name).restart();
    }
    publisher.set_limit(RECOVERY);
    assert_eq!(publisher.expect_ack(wire::PUBACK, 333).reason, 0);
    assert_eq!(subscriber.receive().payload, b"3");
    let subscribes = becomes_true(RECOVERY, || {
        subscriber.set_limit(RECOVERY);
        try_subscribe(&mut subscriber, &format!("{topic}/new")).0 == 1
    });
    assert!(subscribes, "a new filter is still refused");
    publisher.publish(&format!("{topic}/new"), b"4", 1);
    assert_eq!(subscriber.receive().payload, b"4");
}

/// When it was looked, processor time, lines of the log.
fn footprints(nodes: &[&Node]) -> Vec<(Instant, Duration, usize)> {
    let of_node = |node: &&Node| (Instant::now(), node.processor_time(), node.log().n_lines());
    nodes.iter().map(of_node).collect()
}

/// [MQTT-3.8.4-1] under way: a SUBSCRIBE that waits when the quorum is lost is answered.
#[test]
fn a_subscribe_that_waits_is_answered_when_the_quorum_is_lost_meanwhile() {
    let cluster = Cluster::builder()
        .control(3)
        .gateways(1)
        .setting("cluster: {subscribe-timeout: 2s}")
        .start();
    cluster.wait_for_voters();
    let node = cluster.gateways()[0];
    let answers: Vec<_> = thread::scope(|scope| {
        let subscribing: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(move || {
                    let mut client = node.v5(&unique("sub"));
                    client.set_limit(Duration::from_secs(6));
                    let mut codes = Vec::new();
                    for _ in 0..400 {
                        let (code, _) = try_subscribe(&mut client, &unique("f"));
                        codes.push(code);
                        if code >= 0x80 {
                            break;
                        }
                    }
                    codes
                })
            })
            .collect();
        pause(Duration::from_millis(300));
        for name in ["c1", "c3"] {
            cluster.node(name).kill();
        }
        let joined = subscribing.into_iter().map(|thread| thread.join());
        joined
            .map(|codes| codes.expect("each is answered"))
            .collect()
    });
    for codes in answers {
        let last = codes.last().expect("a SUBACK");
        assert!(*last >= 0x80, "the last one was granted: {codes:02x?}");
    }
}

/// What is refused takes back nothing that the client has asked for since.
#[test]
fn a_subscribe_that_is_refused_leaves_a_later_one_of_its_filter() {
    const TIMEOUT: Duration = Duration::from_secs(4);
    let cluster = Cluster::builder()
        .control(1)
        .gateways(2)
        .setting("cluster: {subscribe-timeout: 4s}")
        .start();
    let nodes = cluster.gateways();
    let mut publisher = nodes[1].v5(&unique("pub"));
    for is_given_up in [false, true] {
        let filter = unique("again");
        let mut client = nodes[0].v5(&unique("sub"));
        client.set_limit(TIMEOUT * 3);
        let (none, options) = (Properties::new(), [(&*filter, 1)]);
        let subscribe = |id: u16| wire::subscribe(5, id, &none, &options);
        let control = cluster.node("c1");
        control.pause();
        client.send(&subscribe(11));
        pause(TIMEOUT / 2);
        if is_given_up {
            client.send(&wire::unsubscribe(5, 12, &none, &[&*filter]));
        }
        client.send(&subscribe(13));
        let refused = client.recv_kind(wire::SUBACK).suback(wire::SUBACK, 5);
        control.resume();
        assert_eq!(refused.id, 11);
        assert!(refused.codes[0] >= 0x80, "{refused:02x?}");
        if is_given_up {
            client.recv_kind(wire::UNSUBACK);
        }
        let granted = client.recv_kind(wire::SUBACK).suback(wire::SUBACK, 5);
        assert_eq!((granted.id, &*granted.codes), (13, &[1][..]));
        publisher.set_limit(RECOVERY);
        publisher.publish(&filter, b"x", 1);
        assert_eq!(client.receive().payload, b"x", "{is_given_up}");
    }
}

// === everything ===

/// The power goes: all processes but Redis at once, which has its own tests.
#[test]
fn a_whole_cluster_that_is_killed_comes_back_with_everything() {
    let cluster = Cluster::builder().whole(3).start();
    cluster.wait_for_voters();
    let [one, two, three] = cluster.three();
    let topic = unique("power");
    let kept = unique("kept");
    let connect = Connect::persistent(5, unique("sub"));
    let mut subscriber = one.connect(&connect).0;
    subscriber.subscribe(&topic, 2);
    let mut publisher = two.v5(&unique("pub"));
    publisher.publish(&topic, b"1", 1);
    publisher.publish(&topic, b"2", 2);
    publisher.publish_retained(&kept, b"kept", 1);
    for node in cluster.nodes() {
        node.kill();
    }
    for node in cluster.nodes() {
        node.launch().expect("it starts");
    }
    for node in cluster.nodes() {
        let ready = node.wait_until_ready();
        ready.unwrap_or_else(|trouble| panic!("{}: {trouble}", node.name()));
    }
    let (mut subscriber, connack) = three.connect(&connect);
    subscriber.set_limit(RECOVERY);
    assert!(connack.session_present);
    assert_eq!(subscriber.receive().payload, b"1");
    assert_eq!(subscriber.receive().payload, b"2");
    let mut publisher = one.v5(&unique("pub"));
    assert_eq!(publish_within(&mut publisher, &topic, b"3", RECOVERY), 0);
    assert_eq!(subscriber.receive().payload, b"3");
    let (code, _) = try_subscribe(&mut subscriber, &kept);
    assert_eq!(code, 1);
    assert_eq!(subscriber.receive().payload, b"kept");
}
