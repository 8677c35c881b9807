//! CONNECT: who comes in, and what the others are told.

use std::time::Duration;

use gatemq_tests::{
    Client, Connect, Publish, pause, unique,
    wire::{self, Will},
};

use super::scene::{
    BAD_LOGIN, NOT_AUTHORIZED, RULES, USERS, attempt, builder, connect, login, start,
};

#[test]
fn only_those_come_in_who_are_known() {
    let broker = start();
    let id = unique("c");
    let plain = |level| Connect::new(level, &id);
    for level in [3, 4, 5] {
        for username in ["ann", "root"] {
            assert_eq!(attempt(&broker, &login(level, &id, username)).code, 0);
        }
        let known = plain(level).username("any").password("pump-7");
        let known = Connect {
            client_id: b"pump-7".to_vec(),
            ..known
        };
        assert_eq!(attempt(&broker, &known).code, 0, "by its client id");
        let refused = if level == 5 { BAD_LOGIN } else { 4 };
        for wrong in [
            plain(level),
            plain(level).username("ann"),
            plain(level).username("ann").password(""),
            plain(level).username("ann").password("bob"),
            plain(level).username("nobody").password("ann"),
            plain(level).username("").password(""),
            plain(level).username("any").password("pump-7"),
            plain(level).username("ann\u{20}").password("ann"),
            plain(level).username("ann").password(b"ann\0"),
            plain(level).username("#").password("ann"),
        ] {
            assert_eq!(attempt(&broker, &wrong).code, refused, "{wrong:?}");
        }
    }
    // A password without a name, which 5.0 has.
    let nameless = plain(5).password("ann");
    assert_eq!(attempt(&broker, &nameless).code, BAD_LOGIN);
}

#[test]
fn nobody_comes_in_anonymously_unless_that_is_asked_for() {
    let users = format!("{USERS}{RULES}");
    let broker = builder(&users).arg("--allow-anonymous").start();
    let anonymous = Connect::new(5, unique("c"));
    assert_eq!(attempt(&broker, &anonymous).code, 0);
    // Whoever gives a name has to be the one.
    for named in [
        anonymous.clone().username("ann"),
        anonymous.clone().username("nobody"),
        anonymous.clone().password("x"),
        login(5, "pump-7", "nobody"),
    ] {
        assert_eq!(attempt(&broker, &named).code, BAD_LOGIN, "{named:?}");
    }
    let (mut client, _) = Client::connect(&broker, &anonymous);
    let asked = [("public/a", 1), ("private/a", 1)];
    let suback = client.subscribe_with(&Default::default(), &asked);
    assert_eq!(suback.codes, [1, NOT_AUTHORIZED]);
}

#[test]
fn a_name_that_was_not_looked_at_has_no_rights() {
    let broker = start();
    // `pump-7` comes in by its client id, and says that it is ann.
    let posing = Connect::new(5, "pump-7").username("zed").password("pump-7");
    let (mut client, connack) = Client::connect(&broker, &posing);
    assert_eq!(connack.code, 0);
    let suback = client.subscribe_with(&Default::default(), &[("#", 1), ("public/#", 1)]);
    assert_eq!(suback.codes, [NOT_AUTHORIZED, 1]);
    client.publish("up/pump-7", b"x", 1);
}

#[test]
fn c2_a_will_that_its_client_may_not_publish_is_refused() {
    let broker = start();
    let with_will = |topic: &str, username: &str| Connect {
        will: Some(Will {
            topic: topic.into(),
            payload: b"gone".to_vec(),
            qos: 1,
            retain: true,
            ..Will::default()
        }),
        ..login(5, &unique("w"), username)
    };
    for topic in ["secret", "secret/a", "a/secret", "$SYS/a"] {
        let connack = attempt(&broker, &with_will(topic, "bob"));
        assert_eq!(connack.code, NOT_AUTHORIZED, "{topic}");
    }
    let mut ann = connect(&broker, 5, &unique("ann"), "ann");
    ann.subscribe("#", 1);
    let (bob, _) = Client::connect(&broker, &with_will("open/will", "bob"));
    bob.cut();
    assert_eq!(ann.receive().topic, "open/will");
    ann.expect_silence(100);
}

#[test]
fn who_fails_again_and_again_has_to_wait() {
    const RATE_EXCEEDED: u8 = 0x9F;
    let broker = start();
    let (right, id) = (login(5, &unique("c"), "bob"), unique("c"));
    let wrong = |level| Connect::new(level, &id).username("bob").password("x");
    for _ in 0..5 {
        assert_eq!(attempt(&broker, &wrong(5)).code, BAD_LOGIN);
    }
    // It is not looked at any more, right or wrong.
    assert_eq!(attempt(&broker, &wrong(5)).code, RATE_EXCEEDED);
    assert_eq!(attempt(&broker, &wrong(4)).code, 3);
    assert_eq!(attempt(&broker, &right).code, RATE_EXCEEDED);
    // Others from there are not disturbed.
    assert_eq!(attempt(&broker, &login(5, &unique("c"), "ann")).code, 0);
    pause(Duration::from_millis(1100));
    assert_eq!(attempt(&broker, &right).code, 0);
    for _ in 0..4 {
        assert_eq!(attempt(&broker, &wrong(5)).code, BAD_LOGIN);
    }
    assert_eq!(attempt(&broker, &right).code, 0, "it has begun anew");
}

#[test]
fn what_comes_behind_a_connect_waits_until_it_is_known_who_it_is() {
    const N_MESSAGES: u16 = 60;
    // The password is `mosquitto`, and takes its time.
    let users = "users: [{username: ann, password: '$argon2id$v=19$m=19456,t=2,p=1$\
                 wrUOt2wYCwJg6bm0yYco4A$yk4a7FVK7bM9rKPS4LRpTDwz6ebE0nISUvLSAJ5aKvU'}]\n\
                 rules: [{allow: all, topics: ['#']}]";
    let broker = builder(users).start();
    let mut bytes = Connect::new(4, unique("c"))
        .username("ann")
        .password("mosquitto")
        .bytes();
    for number in 1..=N_MESSAGES {
        let publish = Publish {
            qos: 1,
            id: Some(number),
            ..Publish::new("a", [7; 1000])
        };
        bytes.extend(publish.bytes(4));
    }
    let mut client = Client::connect_tcp(broker.tcp());
    client.send(&bytes);
    assert_eq!(client.recv().connack(4).code, 0);
    for number in 1..=N_MESSAGES {
        client.expect_ack(wire::PUBACK, number);
    }
}
