//! Publishes, subscriptions and deliveries: each is judged, by the topic that it is about in the end.

use gatemq_tests::{Client, Connect, Properties, Publish, unique};

use super::scene::{NOT_AUTHORIZED, connect, login, start, try_publish};

const TOPIC_ALIAS: u8 = 0x23;

#[test]
fn c9_a_publish_that_is_denied_reaches_nobody() {
    let broker = start();
    let mut ann = connect(&broker, 5, &unique("ann"), "ann");
    ann.subscribe("#", 2);
    let mut bob = connect(&broker, 5, &unique("bob"), "bob");
    for topic in ["secret", "secret/x/y", "a/secret", "/secret"] {
        for retain in [false, true] {
            let publish = |qos| Publish {
                qos,
                retain,
                ..Publish::new(topic, b"no")
            };
            bob.send(&publish(0).bytes(5));
            assert_eq!(try_publish(&mut bob, publish(1)).reason, NOT_AUTHORIZED);
            assert_eq!(try_publish(&mut bob, publish(2)).reason, NOT_AUTHORIZED);
        }
    }
    // By an alias, set by a publish that is allowed, or by one that is not.
    let aliased = |topic: &str, alias| Publish {
        qos: 1,
        properties: Properties::new().two(TOPIC_ALIAS, alias),
        ..Publish::new(topic, b"by alias")
    };
    assert_eq!(try_publish(&mut bob, aliased("open", 1)).reason, 0);
    assert_eq!(try_publish(&mut bob, aliased("", 1)).reason, 0);
    let denied = try_publish(&mut bob, aliased("secret/a", 1));
    assert_eq!(denied.reason, NOT_AUTHORIZED);
    assert_eq!(try_publish(&mut bob, aliased("", 1)).reason, NOT_AUTHORIZED);
    for _ in 0..2 {
        assert_eq!(ann.receive().topic, "open");
    }
    // Before 5.0 there is no way to say no but to close; it is taken, and goes nowhere.
    let mut old = connect(&broker, 4, &unique("old"), "bob");
    old.publish("secret/a", b"no", 1);
    old.publish("secret/a", b"no", 2);
    ann.expect_silence(200);
    // Nor was anything kept.
    let mut late = connect(&broker, 5, &unique("late"), "ann");
    late.subscribe("#", 1);
    late.expect_silence(100);
}

#[test]
fn c6_each_filter_gets_its_own_answer() {
    let broker = start();
    let mut bob = connect(&broker, 5, &unique("bob"), "bob");
    let denied: Vec<String> = (0..100).map(|n| format!("secret/{n}")).collect();
    let mut asked: Vec<(&str, u8)> = denied.iter().map(|filter| (&**filter, 1)).collect();
    asked.insert(50, ("open/a", 1));
    let suback = bob.subscribe_with(&Properties::new(), &asked);
    for (at, code) in suback.codes.iter().enumerate() {
        let expected = if at == 50 { 1 } else { NOT_AUTHORIZED };
        assert_eq!(*code, expected, "the filter at {at}");
    }
    for (filter, code) in [
        ("$share/g/secret/a", NOT_AUTHORIZED),
        ("$share/secret/open/a", 1),
        ("+/secret", NOT_AUTHORIZED),
        ("secret", NOT_AUTHORIZED),
        ("$SYS/#", NOT_AUTHORIZED),
        ("secrets/#", 1),
        ("+/+", 1),
    ] {
        let suback = bob.subscribe_with(&Properties::new(), &[(filter, 1)]);
        assert_eq!(suback.codes, [code], "{filter}");
    }
    let mut old = connect(&broker, 4, &unique("old"), "bob");
    let suback = old.subscribe_with(&Properties::new(), &[("secret/a", 1), ("open/b", 1)]);
    assert_eq!(suback.codes, [0x80, 1]);
}

#[test]
fn c3_what_is_denied_is_not_delivered_by_any_way() {
    let broker = start();
    let mut ann = connect(&broker, 5, &unique("ann"), "ann");
    let publish = |ann: &mut Client, round: &str| {
        for qos in 0..3 {
            ann.publish("secret/x", format!("no {round}"), qos);
            ann.publish("open/x", format!("{round} {qos}"), qos);
        }
    };
    let expect = |bob: &mut Client, round: &str| {
        for qos in 0..3 {
            let received = bob.receive();
            let expected = ("open/x", format!("{round} {qos}").into_bytes());
            assert_eq!((&*received.topic, received.payload), expected);
        }
        bob.expect_silence(100);
    };
    ann.publish_retained("secret/kept", b"no", 1);
    ann.publish_retained("open/kept", b"yes", 1);
    let id = unique("bob");
    let persistent = Connect {
        properties: Connect::persistent(5, &id).properties,
        clean: false,
        ..login(5, &id, "bob")
    };
    let (mut bob, _) = Client::connect(&broker, &persistent);
    bob.subscribe("#", 2);
    assert_eq!(bob.receive().topic, "open/kept");
    bob.expect_silence(100);
    publish(&mut ann, "live");
    expect(&mut bob, "live");
    bob.disconnect();
    for qos in 1..3 {
        ann.publish("secret/x", b"no", qos);
        ann.publish("open/x", b"stored", qos);
    }
    let (mut bob, connack) = Client::connect(&broker, &persistent);
    assert!(connack.session_present);
    for _ in 1..3 {
        assert_eq!(bob.receive().payload, b"stored");
    }
    bob.expect_silence(100);
    publish(&mut ann, "again");
    expect(&mut bob, "again");
}

#[test]
fn c5_a_shared_message_goes_to_a_member_who_may_have_it() {
    let broker = start();
    let mut members = ["bob", "ann", "bob"].map(|user| {
        let mut client = connect(&broker, 5, &unique(user), user);
        client.subscribe("$share/g/+/+", 1);
        client
    });
    let mut ann = connect(&broker, 5, &unique("ann"), "ann");
    for n in 0..6 {
        ann.publish("secret/a", [n], 1);
    }
    for n in 0..6 {
        assert_eq!(members[1].receive().payload, [n]);
    }
    for bob in [0, 2] {
        members[bob].expect_silence(50);
    }
}

#[test]
fn one_who_may_do_everything_may_do_everything() {
    let broker = start();
    let mut root = connect(&broker, 5, &unique("root"), "root");
    root.subscribe("secret/#", 1);
    root.publish("secret/a", b"x", 1);
    assert_eq!(root.receive().topic, "secret/a");
    let codes = root
        .subscribe_with(&Properties::new(), &[("$SYS/#", 0)])
        .codes;
    assert_eq!(codes, [0]);
}
