//! Whom the API of any node bans is kept out by every gateway.

use std::time::Duration;

use gatemq_tests::{
    Client, Cluster, Connect, Node, Will,
    patience::{becomes_true, pause},
    unique,
};
use serde_json::{Value, json};

use super::api::{LIMIT, ask};

const BANNED: u8 = 0x8A;
/// What who is there is told: the other one is of CONNACK only `[MQTT-3.14.2-1]`.
const DISMISSED: u8 = 0x98;

fn ban(node: &Node, kind: &str, value: &str) {
    let body = json!({"kind": kind, "value": value, "reason": "a test"});
    ask(node, "POST /bans", Some(body));
}

fn unban(node: &Node, kind: &str, value: &str) {
    let value = value.replace('/', "%2F");
    let answer = ask(node, &format!("DELETE /bans/{kind}/{value}"), None);
    assert_eq!(answer["was_banned"], true);
}

/// The code that a CONNECT is answered with; whoever gets in leaves again.
fn code(node: &Node, connect: &Connect) -> u8 {
    let (client, connack) = node.attempt(connect);
    if connack.code == 0 {
        client.disconnect();
    }
    connack.code
}

#[track_caller]
fn becomes(node: &Node, connect: &Connect, expected: u8) {
    assert!(
        becomes_true(LIMIT, || code(node, connect) == expected),
        "{}",
        node.log().tail(20)
    );
}

fn of_user(level: u8, username: &str) -> Connect {
    Connect::new(level, unique("of-user")).username(username)
}

/// Of three nodes of the control plane and three gateways: connections end on all of them, and
/// nobody comes back, until the ban is taken back.
#[test]
fn a_ban_ends_connections_everywhere_and_keeps_them_out() {
    let cluster = Cluster::builder().control(3).gateways(3).start();
    let (made_by, taken_back_by) = (cluster.node("c1"), cluster.node("c3"));
    let gateways = cluster.gateways();
    let topic = unique("wills");
    let mut watcher = gateways[0].v5(&unique("watcher"));
    watcher.subscribe(&topic, 1);
    // A user, at each gateway; and somebody who has done nothing.
    let mut users: Vec<Client> = gateways
        .iter()
        .map(|node| {
            let will = Will::new(&topic, "gone").qos(1);
            node.connect(&of_user(5, "eve").will(will)).0
        })
        .collect();
    let mut old = gateways[1].connect(&of_user(4, "eve")).0;
    let mut other = gateways[1].connect(&of_user(5, "ann")).0;
    ban(made_by, "username", "eve");
    for user in &mut users {
        user.expect_disconnect(DISMISSED);
    }
    old.expect_closed();
    for node in &gateways {
        becomes(node, &of_user(5, "eve"), BANNED);
        assert_eq!(code(node, &of_user(4, "eve")), 5);
        assert_eq!(code(node, &of_user(5, "ann")), 0);
    }
    other.ping();
    watcher.expect_silence(300);
    // One that begins anew knows of it from its first client on.
    gateways[2].restart();
    assert_eq!(code(gateways[2], &of_user(5, "eve")), BANNED);
    unban(taken_back_by, "username", "eve");
    for node in &gateways {
        becomes(node, &of_user(5, "eve"), 0);
    }
}

#[test]
fn a_client_id_waits_in_vain_for_its_messages_until_it_is_let_in_again() {
    let cluster = Cluster::builder().control(1).gateways(2).start();
    let node = cluster.node("c1");
    let [one, two] = ["g1", "g2"].map(|name| cluster.node(name));
    let topic = unique("queued");
    let client_id = unique("banned");
    let connect = Connect::persistent(5, &client_id);
    let mut client = one.connect(&connect).0;
    client.subscribe(&topic, 1);
    ban(node, "client_id", &client_id);
    client.expect_disconnect(DISMISSED);
    becomes(two, &connect, BANNED);
    let mut publisher = two.v5(&unique("pub"));
    publisher.publish(&topic, b"while it was away", 1);
    assert_eq!(code(one, &connect), BANNED);
    unban(node, "client_id", &client_id);
    let mut client = None;
    let is_back = becomes_true(LIMIT, || {
        let (again, connack) = two.attempt(&connect);
        client = (connack.code == 0).then_some((again, connack));
        client.is_some()
    });
    assert!(is_back, "{}", two.log().tail(20));
    let (mut client, connack) = client.expect("it is back");
    assert!(connack.session_present);
    assert_eq!(client.receive().payload, b"while it was away");
}

/// Beginnings of client ids reach those that the broker makes up; addresses reach everybody.
#[test]
fn beginnings_and_addresses_are_kept_out_and_what_is_over_is_not() {
    let cluster = Cluster::builder().control(1).gateways(2).start();
    let node = cluster.node("c1");
    let gateways = cluster.gateways();
    let assigned = Connect::new(5, "");
    ban(node, "client_id_prefix", "gatemq-");
    for gateway in &gateways {
        becomes(gateway, &assigned, BANNED);
        assert_eq!(code(gateway, &Connect::new(5, unique("named"))), 0);
    }
    unban(node, "client_id_prefix", "gatemq-");
    let mut clients = gateways
        .iter()
        .map(|gateway| gateway.v5(&unique("local")))
        .collect::<Vec<_>>();
    ban(node, "address", "127.0.0.0/8");
    for client in &mut clients {
        client.expect_disconnect(DISMISSED);
    }
    for gateway in &gateways {
        becomes(gateway, &assigned, BANNED);
    }
    // The one with an end takes the place of the one without.
    let body = json!({"kind": "address", "value": "127.0.0.0/8", "seconds": 3});
    let made = ask(node, "POST /bans", Some(body));
    assert!(made["ban"]["until"].is_u64(), "{made}");
    assert_eq!(code(gateways[0], &assigned), BANNED);
    for gateway in &gateways {
        becomes(gateway, &assigned, 0);
    }
    let is_listed = || ask(node, "GET /bans", None)["items"] != Value::Array(Vec::new());
    assert!(becomes_true(LIMIT, || !is_listed()));
}

/// What a gateway knows holds while the control plane is gone.
#[test]
fn bans_stay_while_the_control_plane_is_away() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let (control, gateway) = (cluster.node("c1"), cluster.node("g1"));
    let eve = of_user(5, "eve");
    ban(control, "username", "eve");
    becomes(gateway, &eve, BANNED);
    control.kill();
    pause(Duration::from_secs(2));
    assert_eq!(code(gateway, &eve), BANNED);
    control.restart();
    for _ in 0..20 {
        assert_eq!(code(gateway, &eve), BANNED, "nor while it reads a snapshot");
        pause(Duration::from_millis(50));
    }
    unban(control, "username", "eve");
    becomes(gateway, &eve, 0);
}

/// What one gateway sees, all of them act on; whoever takes the ban back means everywhere.
#[test]
fn whoever_flaps_at_one_gateway_is_kept_out_by_all() {
    let cluster = Cluster::builder()
        .control(1)
        .gateways(2)
        .tls()
        .setting("bans: {flapping: {max-connects: 3, window: 1m, ban: 1h}}")
        .start();
    let node = cluster.node("c1");
    let [one, two] = ["g1", "g2"].map(|name| cluster.node(name));
    let client_id = unique("flaps");
    let connect = Connect::new(5, &client_id);
    for _ in 0..3 {
        assert_eq!(code(one, &connect), 0);
    }
    one.connect(&connect).0.expect_disconnect(DISMISSED);
    becomes(two, &connect, BANNED);
    let path = format!("GET /bans/client_id/{client_id}");
    let ban = ask(node, &path, None);
    assert_eq!(
        (&ban["by"], &ban["is_automatic"]),
        (&json!("gateway g1"), &json!(true))
    );
    unban(node, "client_id", &client_id);
    for gateway in [one, two] {
        becomes(gateway, &connect, 0);
    }
}
