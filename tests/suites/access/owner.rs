//! A session is for whoever made it: nobody else gets it, or disturbs it, by its client identifier.

use gatemq_tests::{Client, Connect, unique, wire::Will};
use serde_json::json;

use super::scene::{
    NOT_AUTHORIZED, RULES, USERS, attempt, builder, connect, login, start, two_gateways,
};
use crate::cluster::api::ask;

/// A session of a user that outlives its connection.
fn persistent(level: u8, client_id: &str, username: &str) -> Connect {
    Connect {
        clean: false,
        properties: Connect::persistent(level, client_id).properties,
        ..login(level, client_id, username)
    }
}

#[test]
fn c1_another_user_does_not_get_it_and_its_client_notices_nothing() {
    let broker = start();
    let id = unique("owned");
    let (mut ann, _) = Client::connect(&broker, &persistent(5, &id, "ann"));
    ann.subscribe("mine/#", 1);
    let mut other = connect(&broker, 5, &unique("other"), "ann");
    for level in [4, 5] {
        let refused = if level == 5 { NOT_AUTHORIZED } else { 5 };
        for connect in [login(level, &id, "bob"), persistent(level, &id, "root")] {
            assert_eq!(attempt(&broker, &connect).code, refused);
        }
    }
    other.publish("mine/a", b"still", 1);
    assert_eq!(ann.receive().payload, b"still");
    // Nor while it is away.
    ann.disconnect();
    other.publish("mine/a", b"kept", 1);
    for connect in [login(5, &id, "bob"), persistent(5, &id, "bob")] {
        assert_eq!(attempt(&broker, &connect).code, NOT_AUTHORIZED);
    }
    let (mut ann, connack) = Client::connect(&broker, &persistent(5, &id, "ann"));
    assert!(connack.session_present);
    assert_eq!(ann.receive().payload, b"kept");
    // When it has ended the name is free.
    ann.disconnect();
    let mut ending = login(5, &id, "ann");
    ending.clean = true;
    assert_eq!(attempt(&broker, &ending).code, 0);
    assert_eq!(attempt(&broker, &login(5, &id, "bob")).code, 0);
}

#[test]
fn it_is_theirs_after_a_restart_too() {
    let broker = builder(&format!("{USERS}{RULES}")).storage("redb").start();
    let id = unique("owned");
    let (mut ann, _) = Client::connect(&broker, &persistent(5, &id, "ann"));
    ann.subscribe("mine/#", 1);
    ann.disconnect();
    broker.kill();
    broker.restart();
    assert_eq!(
        attempt(&broker, &persistent(5, &id, "bob")).code,
        NOT_AUTHORIZED
    );
    let (_, connack) = Client::connect(&broker, &persistent(5, &id, "ann"));
    assert!(connack.session_present);
}

#[test]
fn a_will_of_somebody_else_is_not_set_off() {
    let broker = start();
    let id = unique("owned");
    let mut watcher = connect(&broker, 5, &unique("watch"), "ann");
    watcher.subscribe("gone/#", 1);
    let (mut ann, _) = Client::connect(
        &broker,
        &Connect {
            will: Some(Will {
                topic: "gone/ann".into(),
                payload: b"gone".to_vec(),
                qos: 1,
                ..Will::default()
            }),
            ..persistent(5, &id, "ann")
        },
    );
    assert_eq!(attempt(&broker, &login(5, &id, "bob")).code, NOT_AUTHORIZED);
    ann.ping();
    watcher.expect_silence(200);
    ann.cut();
    assert_eq!(watcher.receive().topic, "gone/ann");
}

/// A session from before anybody looked is nobody's in particular.
#[test]
fn what_was_nobodys_is_for_whoever_comes() {
    let users = format!("{USERS}{RULES}");
    let broker = builder(&users).arg("--allow-anonymous").start();
    let id = unique("free");
    let anonymous = Connect::persistent(5, &id);
    let (client, _) = Client::connect(&broker, &anonymous);
    client.disconnect();
    let (client, connack) = Client::connect(&broker, &persistent(5, &id, "ann"));
    assert!(connack.session_present);
    client.disconnect();
    assert_eq!(attempt(&broker, &anonymous).code, NOT_AUTHORIZED);
}

/// Whom nobody knows any more cannot end its session itself.
#[test]
fn what_a_user_left_who_is_no_more_is_ended_by_an_operator() {
    let (cluster, folder) = two_gateways(&format!("{USERS}{RULES}"));
    let gateways = cluster.gateways();
    let (away, there) = (unique("owned"), unique("owned"));
    let (mut left, _) = gateways[0].connect(&persistent(5, &away, "ann"));
    left.subscribe("mine/#", 1);
    left.disconnect();
    let (mut stays, _) = gateways[0].connect(&persistent(5, &there, "ann"));
    for id in [&away, &there] {
        let refused = gateways[1].attempt(&login(5, id, "bob")).1.code;
        assert_eq!(refused, NOT_AUTHORIZED);
    }
    let end = |id: &str| {
        let request = format!("DELETE /clients/{id}?session=true");
        ask(cluster.node("c1"), &request, None)
    };
    let ended = end(&away);
    assert_eq!(
        (&ended["was_connected"], &ended["session_ended"]),
        (&json!(false), &json!(true))
    );
    let ended = end(&there);
    assert_eq!(ended["was_connected"], true);
    stays.expect_disconnect(0x98);
    for id in [&away, &there] {
        let (client, connack) = gateways[1].attempt(&login(5, id, "bob"));
        assert_eq!((connack.code, connack.session_present), (0, false));
        client.disconnect();
    }
    drop(folder);
}

#[test]
fn nor_does_another_user_get_it_on_another_gateway() {
    let (cluster, _folder) = two_gateways(&format!("{USERS}{RULES}"));
    let gateways = cluster.gateways();
    let id = unique("owned");
    let (mut ann, _) = gateways[0].connect(&persistent(5, &id, "ann"));
    ann.subscribe("mine/#", 1);
    for connect in [login(5, &id, "bob"), persistent(5, &id, "bob")] {
        assert_eq!(gateways[1].attempt(&connect).1.code, NOT_AUTHORIZED);
    }
    ann.publish("mine/a", b"still", 1);
    assert_eq!(ann.receive().payload, b"still");
    ann.disconnect();
    assert_eq!(
        gateways[1].attempt(&persistent(5, &id, "bob")).1.code,
        NOT_AUTHORIZED
    );
    let (_ann, connack) = gateways[1].connect(&persistent(5, &id, "ann"));
    assert!(connack.session_present, "for its own user it moves");
}
