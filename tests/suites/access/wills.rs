//! A will is judged when its client connects, and again when its time has come.

use std::fs;

use gatemq_tests::{Broker, Client, Connect, Properties, Will, eventually, unique, wire::property};

use super::scene::{RULES, USERS, builder, connect, login};

const NOT_ANY_MORE: &str = "its client may not publish there any more";

/// A session whose will is due some seconds behind the end of its connection.
fn leaving(username: &str, seconds: u32) -> Connect {
    let properties = Properties::new().four(property::WILL_DELAY_INTERVAL, seconds);
    let will = Will::new(format!("last/{username}"), b"gone").qos(1);
    Connect {
        will: Some(will.properties(properties)),
        ..persistent(username)
    }
}

fn persistent(username: &str) -> Connect {
    let id = unique(username);
    Connect {
        clean: false,
        properties: Connect::persistent(5, &id).properties,
        ..login(5, &id, username)
    }
}

fn cut(broker: &Broker, connect: &Connect) {
    Client::connect(broker, connect).0.cut();
}

fn write(broker: &Broker, users: &str) {
    fs::write(broker.dir().join("users.yml"), users).expect("it is writable");
}

#[test]
fn whoever_lost_the_right_meanwhile_leaves_none() {
    let broker = builder(&format!("{USERS}{RULES}")).start();
    let mut root = connect(&broker, 5, &unique("root"), "root");
    root.subscribe("last/+", 1);
    cut(&broker, &leaving("bob", 2));
    cut(&broker, &leaving("ann", 2));
    let rules = RULES.replace("secret/#", "last/#"); // is denied to bob
    write(&broker, &format!("{USERS}{rules}"));
    broker.signal("HUP");
    // They go out in the order in which they are due.
    assert_eq!(root.receive().topic, "last/ann");
    eventually!(broker.log().matches(NOT_ANY_MORE).count() == 1);
}

#[test]
fn after_a_restart_the_users_and_rules_that_are_there_then_decide() {
    let broker = builder(&format!("{USERS}{RULES}")).storage("redb").start();
    let watcher = persistent("root");
    let (mut root, _) = Client::connect(&broker, &watcher);
    root.subscribe("last/+", 1);
    // Neither of them is let go of: the broker goes first.
    let clients: Vec<Client> = ["bob", "ann"]
        .map(|user| Client::connect(&broker, &leaving(user, 0)).0)
        .into();
    broker.kill();
    drop((root, clients));
    let users = USERS.replace("username: bob", "username: rob");
    write(&broker, &format!("{users}{RULES}"));
    broker.restart();
    let (mut root, _) = Client::connect(&broker, &watcher);
    assert_eq!(root.receive().topic, "last/ann");
    eventually!(broker.log().matches(NOT_ANY_MORE).count() == 1);
    root.ping();
}
