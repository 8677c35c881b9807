//! The will of a client is published once, whatever becomes of the client, and its node.

use std::time::Duration;

use gatemq_tests::{
    Client, Cluster, Connect, Properties, Will,
    patience::{becomes_true, pause},
    unique, wire,
    wire::property,
};

/// How long the will of a client may take whose node was killed: its lease runs out, the others
/// adopt its sessions.
const ADOPTED: Duration = Duration::from_secs(20);
/// Redis takes nothing from who writes for so long, in milliseconds, or until it is told to.
const MUTE: &str = "60000";

fn will(topic: &str, payload: &str, qos: u8, delay: u32) -> Will {
    let delay = Properties::new().four(property::WILL_DELAY_INTERVAL, delay);
    Will::new(topic, payload).qos(qos).properties(delay)
}

fn watcher(node: &gatemq_tests::Node, topic: &str) -> Client {
    let mut watcher = node.v5(&unique("watcher"));
    watcher.subscribe(topic, 2);
    watcher
}

/// [MQTT-3.1.2-8]
#[test]
fn a_will_of_each_qos_reaches_other_nodes() {
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let topic = unique("will");
    let mut watchers = [one, two, three].map(|node| watcher(node, &topic));
    for level in [4, 5] {
        for qos in 0..3 {
            let payload = format!("level {level}, qos {qos}");
            let connect = Connect::new(level, unique("dies"));
            let client = one.connect(&connect.will(will(&topic, &payload, qos, 0))).0;
            client.cut();
            for watcher in &mut watchers {
                let publish = watcher.receive();
                assert_eq!(publish.payload, payload.as_bytes());
                assert_eq!((publish.qos, publish.retain), (qos, false));
            }
            // [MQTT-3.14.4-3]
            let connect = Connect::new(level, unique("leaves"));
            let client = two.connect(&connect.will(will(&topic, "x", qos, 0))).0;
            client.disconnect();
        }
    }
    for watcher in &mut watchers {
        watcher.expect_silence(50);
    }
}

/// [MQTT-3.1.2-14], [MQTT-3.1.2-15]
#[test]
fn a_retained_will_is_retained_on_all_nodes() {
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let topic = unique("will");
    let connect = Connect::new(5, unique("dies"));
    let mut watcher = watcher(two, &topic);
    let client = one
        .connect(&connect.will(will(&topic, "gone", 1, 0).retain()))
        .0;
    client.cut();
    let publish = watcher.receive();
    assert_eq!(
        (publish.payload.as_slice(), publish.retain),
        (&b"gone"[..], false)
    );
    for node in [one, two, three] {
        let mut late = node.v4(&unique("late"));
        late.subscribe(&topic, 1);
        let publish = late.receive();
        assert_eq!(
            (publish.payload.as_slice(), publish.retain),
            (&b"gone"[..], true)
        );
    }
}

/// [MQTT-3.1.3-9]
#[test]
fn a_delayed_will_waits_and_is_cancelled_by_coming_back_on_another_node() {
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let topic = unique("delay");
    let mut watcher = watcher(three, &topic);
    let client_id = unique("delays");
    let connect =
        |payload: &str| Connect::persistent(5, &client_id).will(will(&topic, payload, 1, 1));
    one.connect(&connect("first")).0.cut();
    // It comes back in time, elsewhere; the delay passes.
    let (client, connack) = two.connect(&connect("second"));
    assert!(connack.session_present);
    watcher.expect_silence(1_800);
    // It does not come back: that will is due, once, after its delay.
    client.cut();
    watcher.expect_silence(500);
    assert_eq!(watcher.receive().payload, b"second");
    watcher.expect_silence(100);
    // A will that was published is not there for the next node.
    let (client, connack) = three.connect(&Connect::persistent(5, &client_id));
    assert!(connack.session_present);
    client.cut();
    watcher.expect_silence(100);
}

/// [MQTT-3.1.3-9]: a takeover is not the end of the session; without a delay the will is due.
#[test]
fn a_takeover_from_another_node_publishes_a_will_without_delay_only() {
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let topic = unique("taken");
    let mut watcher = watcher(three, &topic);
    let (now, later) = (unique("now"), unique("later"));
    let connect = |client_id: &str, delay| {
        Connect::persistent(5, client_id).will(will(&topic, client_id, 1, delay))
    };
    let mut olds = [
        one.connect(&connect(&now, 0)).0,
        one.connect(&connect(&later, 1)).0,
    ];
    let mut news = [
        two.connect(&Connect::persistent(5, &now)).0,
        two.connect(&Connect::persistent(5, &later)).0,
    ];
    for old in &mut olds {
        old.expect_disconnect(0x8E);
    }
    assert_eq!(watcher.receive().payload, now.as_bytes());
    watcher.expect_silence(1_800);
    for new in &mut news {
        new.ping();
    }
}

/// The end of a session is the end of the delay `[MQTT-3.1.2-8]`: with a clean start on another
/// node the old session's will is due.
#[test]
fn a_clean_start_on_another_node_publishes_the_delayed_will() {
    let cluster = Cluster::shared();
    let [one, two, three] = cluster.three();
    let topic = unique("clean");
    let mut watcher = watcher(three, &topic);
    let connect = Connect::persistent(5, unique("clean"));
    let delayed = connect.clone().will(will(&topic, "gone", 1, 60));
    one.connect(&delayed).0.cut();
    watcher.expect_silence(100);
    let connack = two.connect(&connect.clean(true)).1;
    assert!(!connack.session_present);
    assert_eq!(watcher.receive().payload, b"gone");
    watcher.expect_silence(50);
}

/// "offline" never follows the "online" of the next connection.
#[test]
fn a_will_comes_before_what_the_next_connection_publishes() {
    let cluster = Cluster::shared();
    let nodes = cluster.three();
    let topic = unique("presence");
    let mut watcher = watcher(nodes[2], &topic);
    let connect = Connect::new(4, unique("presence")).will(Will::new(&topic, "offline").qos(1));
    let mut old: Option<Client> = None;
    for round in 0..20 {
        let mut client = nodes[round % 2].connect(&connect).0;
        client.publish(&topic, "online", 1);
        if old.is_some() {
            assert_eq!(watcher.receive().payload, b"offline", "round {round}");
        }
        assert_eq!(watcher.receive().payload, b"online", "round {round}");
        old = Some(client);
    }
    watcher.expect_silence(50);
}

/// The gateway itself is killed: all of its clients die with it, and who has a will gets it, once.
#[test]
fn wills_of_a_killed_gateway_are_published_once() {
    let cluster = Cluster::builder().control(1).gateways(3).start();
    let [one, two, three] = cluster.three();
    let topic = unique("killed");
    let mut watchers = [two, three].map(|node| watcher(node, &topic));
    // Its DISCONNECT has no acknowledgement; what comes after it has.
    let left = Connect::persistent(5, unique("left"));
    one.connect(&left.will(will(&topic, "has left", 1, 0)))
        .0
        .disconnect();
    let mut clients = Vec::new();
    let mut connect = |name: &str, connect: Connect, delay| {
        clients.push(one.connect(&connect.will(will(&topic, name, 1, delay))).0);
    };
    let comes_back = unique("comesback");
    connect("clean 4", Connect::new(4, unique("a")), 0);
    connect("clean 5", Connect::new(5, unique("b")), 0);
    connect("persistent", Connect::persistent(4, unique("c")), 0);
    connect("delayed", Connect::persistent(5, unique("d")), 2);
    connect("comes back", Connect::persistent(5, &comes_back), 60);
    one.kill();
    for watcher in &mut watchers {
        watcher.set_limit(ADOPTED);
        let mut received: Vec<_> = (0..4)
            .map(|_| {
                let payload = watcher.receive().payload;
                String::from_utf8(payload).expect("text")
            })
            .collect();
        received.sort();
        assert_eq!(received, ["clean 4", "clean 5", "delayed", "persistent"]);
    }
    let connack = two.connect(&Connect::persistent(5, &comes_back)).1;
    assert!(connack.session_present);
    // The gateway comes back, and publishes nothing of it again.
    one.restart();
    pause(Duration::from_millis(500));
    let mut last = one.v5(&unique("last"));
    last.publish(&topic, "last", 1);
    for watcher in &mut watchers {
        assert_eq!(watcher.receive().payload, b"last");
        watcher.expect_silence(50);
    }
    drop(clients);
}

/// A gateway that stops in order disconnects its clients with a reason, and their wills are out.
#[test]
fn an_orderly_stop_publishes_wills_once_and_keeps_delayed_ones() {
    let cluster = Cluster::builder().control(1).gateways(2).start();
    let nodes = cluster.gateways();
    let (one, two) = (nodes[0], nodes[1]);
    let topic = unique("stops");
    let mut watcher = watcher(two, &topic);
    let now = Connect::persistent(5, unique("now")).will(will(&topic, "now", 1, 0));
    let later = Connect::persistent(5, unique("later")).will(will(&topic, "later", 1, 1));
    let mut clients = [one.connect(&now).0, one.connect(&later).0];
    assert!(one.terminate().success());
    for client in &mut clients {
        let last = client.until_closed().pop().expect("a DISCONNECT");
        assert_eq!(last.disconnect(wire::DISCONNECT).reason, 0x8B);
    }
    watcher.set_limit(ADOPTED);
    assert_eq!(watcher.receive().payload, b"now");
    assert_eq!(watcher.receive().payload, b"later");
    watcher.expect_silence(300);
}

/// How many wills are stored.
fn n_stored(cluster: &Cluster) -> usize {
    let keys = cluster.redis().command(&["KEYS", "*:w:*"]);
    keys.lines().filter(|line| line.contains(":w:")).count()
}

/// A will stays stored until all have it whom it is for.
#[test]
fn a_will_is_forgotten_when_every_node_has_it() {
    let cluster = Cluster::builder().control(1).gateways(2).start();
    let nodes = cluster.gateways();
    let topic = unique("kept");
    let mut watcher = watcher(nodes[1], &topic);
    let connect = Connect::persistent(5, unique("dies")).will(will(&topic, "gone", 2, 0));
    let client = nodes[0].connect(&connect).0;
    assert_eq!(n_stored(&cluster), 1);
    nodes[1].pause();
    client.cut();
    // Its own node has let go of it long since, and the other one does not say a word.
    pause(Duration::from_millis(700));
    let n_kept = n_stored(&cluster);
    nodes[1].resume();
    assert_eq!(n_kept, 1, "nobody had it");
    assert_eq!(watcher.receive().payload, b"gone");
    let is_forgotten = becomes_true(ADOPTED, || n_stored(&cluster) == 0);
    assert!(is_forgotten, "everybody has it");
    watcher.expect_silence(50);
}

/// Somebody at the second gateway who is to get a will of a client that the first one has just lost. The
/// will is due after `delay` seconds, and nothing can be written into Redis from now on.
fn waits_for_a_will_without_redis(cluster: &Cluster, qos: u8, delay: u32) -> Client {
    let [one, two] = ["g1", "g2"].map(|name| cluster.node(name));
    let topic = unique("left");
    let present = watcher(two, &topic);
    let connect = Connect::persistent(5, unique("dies")).will(will(&topic, "gone", qos, delay));
    one.connect(&connect).0.cut();
    pause(Duration::from_millis(500)); // that it is gone is stored
    let redis = cluster.redis();
    redis.command(&["CLIENT", "PAUSE", MUTE, "WRITE"]);
    present
}

/// The gateway that publishes a will dies when it has routed it and before it could forget it:
/// whoever publishes it again reaches nobody who has had it.
#[test]
fn a_will_that_is_published_again_reaches_nobody_twice() {
    let cluster = Cluster::builder().control(1).gateways(2).start();
    let mut present = waits_for_a_will_without_redis(&cluster, 2, 2);
    present.set_limit(ADOPTED);
    assert_eq!(present.receive().payload, b"gone");
    cluster.node("g1").kill();
    cluster.redis().command(&["CLIENT", "UNPAUSE"]);
    assert_eq!(n_stored(&cluster), 1, "it could not be forgotten");
    let is_forgotten = becomes_true(ADOPTED, || n_stored(&cluster) == 0);
    assert!(is_forgotten, "it was published again");
    present.expect_silence(300);
}

/// Of QoS 0 nobody would know it again: it leaves when it is out of the store, and not before.
#[test]
fn a_will_of_qos_0_comes_once_though_its_gateway_dies() {
    let cluster = Cluster::builder().control(1).gateways(2).start();
    let mut present = waits_for_a_will_without_redis(&cluster, 0, 1);
    present.expect_silence(1_500);
    cluster.node("g1").kill();
    cluster.redis().command(&["CLIENT", "UNPAUSE"]);
    present.set_limit(ADOPTED);
    assert_eq!(present.receive().payload, b"gone");
    let is_forgotten = becomes_true(ADOPTED, || n_stored(&cluster) == 0);
    assert!(is_forgotten, "it was published");
    present.expect_silence(300);
}
