//! Rights that change while clients are connected: from a SIGHUP on, what the file says now holds.

use std::{fs, time::Duration};

use gatemq_tests::{Broker, Client, Connect, Properties, Publish, eventually, unique};

use super::scene::{
    BAD_LOGIN, NOT_AUTHORIZED, RULES, USERS, attempt, connect, login, start, try_publish,
};

fn put(broker: &Broker, users: &str) {
    fs::write(broker.dir().join("users.yml"), users).expect("it is writable");
    broker.signal("HUP");
}

fn publish(topic: &str) -> Publish {
    Publish {
        qos: 1,
        ..Publish::new(topic, b"x")
    }
}

#[test]
fn c4_rights_that_are_taken_away_are_gone() {
    let broker = start();
    let mut ann = connect(&broker, 5, &unique("ann"), "ann");
    let mut bob = connect(&broker, 5, &unique("bob"), "bob");
    bob.subscribe("open/#", 1);
    assert_eq!(try_publish(&mut bob, publish("open/a")).reason, 0);
    bob.receive();
    put(
        &broker,
        &format!("{USERS}{}", RULES.replace("secret/#", "open/#")),
    );
    eventually!(try_publish(&mut bob, publish("open/a")).reason == NOT_AUTHORIZED);
    ann.publish("open/a", b"not for bob", 1);
    ann.publish("open/a", b"nor this", 0);
    let codes = bob
        .subscribe_with(&Properties::new(), &[("open/b", 1)])
        .codes;
    assert_eq!(codes, [NOT_AUTHORIZED]);
    // What it may have published and got until then has come by now.
    while let Some(packet) = bob.recv_within(Duration::from_millis(300)) {
        let publish = packet.publish(5);
        bob.acknowledge(&publish);
        assert_eq!(publish.payload, b"x");
    }
    // And what is given is there.
    put(&broker, &format!("{USERS}{RULES}"));
    eventually!(try_publish(&mut bob, publish("open/a")).reason == 0);
    assert_eq!(bob.receive().payload, b"x");
}

#[test]
fn whoever_is_let_in_no_more_is_disconnected() {
    let broker = start();
    let mut ann = connect(&broker, 5, &unique("ann"), "ann");
    let mut bob = connect(&broker, 5, &unique("bob"), "bob");
    put(
        &broker,
        &format!("{}{RULES}", USERS.replace("username: bob", "username: rob")),
    );
    bob.expect_disconnect(NOT_AUTHORIZED);
    assert_eq!(
        attempt(&broker, &login(5, &unique("b"), "bob")).code,
        BAD_LOGIN
    );
    ann.ping();
}

#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let broker = start();
    let mut bob = connect(&broker, 5, &unique("bob"), "bob");
    for wrong in [
        "",
        "rules: [",
        "users: []",
        "rules: [{allow: all, topics: ['a#']}]",
    ] {
        let n_said = || broker.log().matches("stays in force").count();
        let before = n_said();
        put(&broker, wrong);
        eventually!(n_said() == before + 1);
        assert!(try_publish(&mut bob, publish("open/a")).reason < NOT_AUTHORIZED);
        assert_eq!(
            try_publish(&mut bob, publish("secret/a")).reason,
            NOT_AUTHORIZED
        );
        assert_eq!(attempt(&broker, &login(5, &unique("a"), "ann")).code, 0);
    }
}

/// Whoever had the old password is not told that it holds.
#[test]
fn a_password_that_has_changed_ends_the_connections_of_the_old_one() {
    let broker = start();
    let mut ann = connect(&broker, 5, &unique("ann"), "ann");
    let mut bob = connect(&broker, 5, &unique("bob"), "bob");
    let users = USERS.replace("password: bob", "password: new");
    put(&broker, &format!("{users}{RULES}"));
    bob.expect_disconnect(NOT_AUTHORIZED);
    ann.ping();
}

/// One that is gone is not taken for another one who has its client id.
#[test]
fn a_user_that_is_removed_becomes_nobody_else() {
    let broker = start();
    let mut bob = connect(&broker, 5, "console", "bob");
    let users = USERS.replace(
        "{username: bob, password: bob}",
        "{client-id: console, password: x, superuser: true}",
    );
    put(&broker, &format!("{users}{RULES}"));
    bob.expect_disconnect(NOT_AUTHORIZED);
}

/// What is stored for a client that is let in no more for a while is there when it is again.
#[test]
fn a_mistake_in_the_file_costs_no_message() {
    let broker = start();
    let id = unique("bob");
    let persistent = Connect {
        clean: false,
        properties: Connect::persistent(5, &id).properties,
        ..login(5, &id, "bob")
    };
    let (mut bob, _) = Client::connect(&broker, &persistent);
    bob.subscribe("open/#", 1);
    bob.disconnect();
    let mut ann = connect(&broker, 5, &unique("ann"), "ann");
    put(
        &broker,
        &format!("{}{RULES}", USERS.replace("username: bob", "username: bbo")),
    );
    eventually!(attempt(&broker, &login(5, &unique("b"), "bob")).code == BAD_LOGIN);
    put(&broker, &format!("{USERS}{RULES}"));
    eventually!(attempt(&broker, &login(5, &unique("b"), "bob")).code == 0);
    ann.publish("open/a", b"kept", 1);
    let (mut bob, connack) = Client::connect(&broker, &persistent);
    assert!(connack.session_present);
    assert_eq!(bob.receive().payload, b"kept");
}
