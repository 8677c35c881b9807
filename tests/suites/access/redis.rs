//! Users and rules in Redis, under the keys that comqtt has.

use std::time::{Duration, Instant};

use gatemq_tests::{
    Broker, Client, Connect, broker::Builder, eventually, pause, redis::Redis, unique,
};

use super::scene::{
    BAD_LOGIN, NOT_AUTHORIZED, UNAVAILABLE, attempt, connect, login, may_publish, may_subscribe,
};

const USERS: &str = "comqtt:auth";

/// `more` are keys of the source.
fn builder(redis: &Redis, more: &str) -> Builder {
    let address = redis.address();
    Broker::builder().config(format!(
        "auth: {{max-failures: 0, sources: [{{type: redis, addr: ['{address}'], timeout: 500ms, refresh: 1s, {more}}}]}}"
    ))
}

fn start(redis: &Redis) -> Broker {
    builder(redis, "auth: {password-hash: plain}").start()
}

/// A user whose password is its name, who may do everything.
fn put(redis: &Redis, name: &str) {
    let user = format!(r#"{{"username":"{name}","password":"{name}","allow":true}}"#);
    redis.command(&["HSET", USERS, name, &user]);
    rule(redis, name, "#", "3");
}

fn rule(redis: &Redis, name: &str, filter: &str, access: &str) {
    redis.command(&["HSET", &format!("comqtt:acl:{name}"), filter, access]);
}

#[test]
fn only_those_come_in_who_are_stored() {
    let redis = Redis::start();
    let broker = start(&redis);
    put(&redis, "ann");
    for (name, json) in [
        ("off", r#"{"password":"off","allow":false}"#),
        ("mute", r#"{"password":"mute"}"#),
        ("odd", r#"{"password":"odd","allow":tr"#),
        ("none", r#"{"password":"","allow":true}"#),
    ] {
        redis.command(&["HSET", USERS, name, json]);
    }
    let id = unique("c");
    for level in [3, 4, 5] {
        assert_eq!(attempt(&broker, &login(level, &id, "ann")).code, 0);
        let refused = if level == 5 { BAD_LOGIN } else { 4 };
        for (username, password) in [
            ("ann", "bob"),
            ("ann", ""),
            ("Ann", "ann"),
            ("ann ", "ann"),
            ("zed", "ann"),
            ("", ""),
            ("off", "off"),
            ("mute", "mute"),
        ] {
            let wrong = Connect::new(level, &id)
                .username(username)
                .password(password);
            assert_eq!(
                attempt(&broker, &wrong).code,
                refused,
                "{username} {password}"
            );
        }
        // What cannot be read is nobody's, and of the others nothing is in doubt.
        let refused = if level == 5 { UNAVAILABLE } else { 3 };
        for (username, password) in [("odd", "odd"), ("none", "")] {
            let wrong = Connect::new(level, &id)
                .username(username)
                .password(password);
            assert_eq!(attempt(&broker, &wrong).code, refused, "{username}");
        }
    }
    assert_eq!(
        broker.log().matches("stored for a client is wrong").count(),
        2
    );
    assert!(!broker.log().contains("does not say who they are"));
}

#[test]
fn the_longest_filter_decides() {
    let redis = Redis::start();
    let broker = start(&redis);
    put(&redis, "ann");
    for (filter, access) in [
        ("a/#", "1"),
        ("a/secret/#", "0"),
        ("up/%c", "2"),
        ("b/+", "3"),
        ("+/c", "0"),
        ("odd/#", "4"),
        ("bad/x#", "3"),
    ] {
        rule(&redis, "ann", filter, access);
    }
    let id = unique("ann");
    let mut ann = connect(&broker, 5, &id, "ann");
    let own = format!("up/{id}");
    for (topic, publishes, subscribes) in [
        ("any", true, true),
        ("a/x", false, true),
        ("a/secret/x", false, false),
        (&*own, true, false),
        ("up/other", true, true),
        ("b/x", true, true),
        ("b/c", false, false),
        ("odd/x", false, false),
        ("bad/y", false, false),
    ] {
        assert_eq!(may_publish(&mut ann, topic), publishes, "{topic}");
        assert_eq!(may_subscribe(&mut ann, topic), subscribes, "{topic}");
    }
    assert_eq!(
        broker.log().matches("stored for a client is wrong").count(),
        2
    );
    // No rules are no rights.
    redis.command(&["DEL", "comqtt:acl:ann"]);
    let mut ann = connect(&broker, 5, &unique("ann"), "ann");
    assert!(!may_publish(&mut ann, "any") && !may_subscribe(&mut ann, "any"));
}

#[test]
fn keys_and_ways_are_what_the_configuration_says() {
    let redis = Redis::start();
    let more = "auth: {mode: client-id, prefix: comqtt-auth, password-hash: sha256}, \
                acl: {mode: client-id, prefix: comqtt-acl}";
    let broker = builder(&redis, more).start();
    let secret = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    let user = format!(r#"{{"password":"{secret}","allow":true}}"#);
    redis.command(&["HSET", "comqtt-auth", "pump-7", &user]);
    redis.command(&["HSET", "comqtt-acl:pump-7", "up/%c", "2"]);
    let right = Connect::new(5, "pump-7").username("any").password("secret");
    let (mut pump, connack) = Client::attempt(&broker, &right);
    assert_eq!(connack.code, 0);
    assert!(may_publish(&mut pump, "up/pump-7"));
    assert!(!may_publish(&mut pump, "up/pump-8"));
    let other = Connect::new(5, "pump-8")
        .username("pump-7")
        .password("secret");
    assert_eq!(attempt(&broker, &other).code, BAD_LOGIN);
}

/// Names that mean something to somebody are names.
#[test]
fn d4_a_name_is_no_command() {
    let redis = Redis::start();
    let broker = start(&redis);
    put(&redis, "ann");
    let long = "x".repeat(60_000);
    let names = [
        "*",
        "a*",
        "?",
        "[a-z]nn",
        "comqtt:auth",
        "'",
        "\"",
        "\\",
        "{}",
        "{ann}",
        "%",
        "%s",
        "$",
        "' OR '1'='1",
        ":",
        "::",
        "ann:",
        "\u{feff}ann",
        "\u{1F600}",
        &long,
    ];
    let size = redis.command(&["DBSIZE"]);
    for name in names {
        let named = Connect::new(4, unique("c")).username(name).password("ann");
        assert_eq!(attempt(&broker, &named).code, 4, "{name:.40}");
    }
    assert_eq!(redis.command(&["DBSIZE"]), size);
    assert!(
        !broker.log().contains("does not say who they are"),
        "{}",
        broker.log()
    );
    // And whoever is called so is let in.
    let quoted = "o'Neil \"{*}\":%u";
    let user = r#"{"password":"x","allow":true}"#;
    redis.command(&["HSET", USERS, quoted, user]);
    rule(&redis, quoted, "a", "3");
    let named = Connect::new(5, unique("c")).username(quoted).password("x");
    let (mut client, connack) = Client::attempt(&broker, &named);
    assert_eq!(connack.code, 0);
    assert!(may_publish(&mut client, "a"));
    let asked = redis.command(&["INFO", "commandstats"]);
    for command in ["keys", "scan", "hscan", "eval", "evalsha", "flushall"] {
        assert!(!asked.contains(&format!("cmdstat_{command}:")), "{asked}");
    }
}

#[test]
fn without_redis_nobody_new_comes_in_and_nobody_has_to_go() {
    let redis = Redis::start();
    let broker = start(&redis);
    put(&redis, "ann");
    let mut ann = connect(&broker, 5, &unique("ann"), "ann");
    ann.subscribe("a", 1);
    for way in ["killed", "stopped"] {
        match way {
            "killed" => redis.kill(),
            _ => redis.pause(),
        }
        let begun = Instant::now();
        let connack = attempt(&broker, &login(5, &unique("c"), "ann"));
        assert_eq!(connack.code, UNAVAILABLE, "{way}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{way}");
        let refused = attempt(&broker, &login(5, &unique("c"), "nobody"));
        assert_eq!(
            refused.code, UNAVAILABLE,
            "{way}: nobody knows that it is nobody"
        );
        // More than one round of questions.
        pause(Duration::from_secs(2));
        ann.publish("a", b"x", 1);
        assert_eq!(ann.receive().topic, "a", "{way}");
        match way {
            "killed" => redis.restart(),
            _ => redis.resume(),
        }
        eventually!(attempt(&broker, &login(5, &unique("c"), "ann")).code == 0);
        ann.ping();
    }
    // One line when it begins, one when it ends.
    let log = broker.log();
    assert_eq!(log.matches("does not say who they are").count(), 2, "{log}");
    eventually!(broker.log().matches("answers again").count() == 2);
}

#[test]
fn a_redis_that_is_not_there_yet_does_not_end_the_start() {
    let redis = Redis::start();
    put(&redis, "ann");
    redis.kill();
    let broker = start(&redis);
    eventually!(broker.log().contains("does not say who they are"));
    let connack = attempt(&broker, &login(5, &unique("c"), "ann"));
    assert_eq!(connack.code, UNAVAILABLE);
    redis.restart();
    eventually!(attempt(&broker, &login(5, &unique("c"), "ann")).code == 0);
    assert_eq!(broker.log().matches("does not say who they are").count(), 1);
}

#[test]
fn a_change_holds_for_those_who_are_there() {
    let redis = Redis::start();
    let broker = start(&redis);
    for name in ["ann", "bob", "cat"] {
        put(&redis, name);
    }
    let [mut ann, mut bob, mut cat] =
        ["ann", "bob", "cat"].map(|name| connect(&broker, 5, &unique(name), name));
    cat.subscribe("a/#", 1);
    rule(&redis, "cat", "a/b", "0");
    eventually!(!may_publish(&mut cat, "a/b"));
    ann.publish("a/b", b"not for cat", 1);
    ann.publish("a/c", b"for cat", 1);
    while cat.receive().payload != b"for cat" {}
    rule(&redis, "cat", "a/b", "3");
    eventually!(may_publish(&mut cat, "a/b"));
    // Deleted, and another password: both have to go, within the time that is set and a bit.
    redis.command(&["HDEL", USERS, "bob"]);
    bob.expect_disconnect(NOT_AUTHORIZED);
    redis.command(&["HSET", USERS, "cat", r#"{"password":"new","allow":true}"#]);
    eventually!(attempt(&broker, &login(5, &unique("c"), "cat")).code == BAD_LOGIN);
    eventually!(broker.log().matches("let in no more").count() <= 2);
    ann.ping();
}

/// And nothing else of the user is changed, and nobody has to log in again.
#[test]
fn a_weak_password_is_stored_anew() {
    let redis = Redis::start();
    let user = r#"{"client":"c","password":"$2b$05$10OJE9UY1F.N4D3eU8NUXOYGQA3zhPeUsmWW.zS0KDyvuz0nAqgWG","allow":true}"#;
    redis.command(&["HSET", USERS, "ann", user]);
    rule(&redis, "ann", "#", "3");
    let right = || {
        Connect::new(5, unique("c"))
            .username("ann")
            .password("correct horse")
    };
    let plain = builder(&redis, "auth: {}").start();
    assert_eq!(attempt(&plain, &right()).code, 0);
    assert_eq!(redis.command(&["HGET", USERS, "ann"]), user);
    let broker = builder(&redis, "auth: {rehash: true}").start();
    let (mut ann, connack) = Client::attempt(&broker, &right());
    assert_eq!(connack.code, 0);
    let stored = redis.command(&["HGET", USERS, "ann"]);
    assert!(
        stored.contains("$argon2id$") && stored.contains(r#""client":"c""#),
        "{stored}"
    );
    assert_eq!(attempt(&broker, &right()).code, 0);
    pause(Duration::from_secs(2));
    ann.ping();
    assert_eq!(redis.command(&["HGET", USERS, "ann"]), stored);
}

#[test]
fn what_cannot_work_ends_the_start_and_says_no_password() {
    for (more, says) in [
        ("auth: {password-hash: rot13}", "rot13"),
        ("auth: {password-hash: hmac-sha1}", "hash-key"),
        ("auth: {prefix: ''}", "auth.prefix"),
        ("acl: {prefix: ''}", "acl.prefix"),
        ("auth: {mode: none}, acl: {mode: none}", "neither"),
        ("auth: {mode: both}", "\"both\""),
        ("refresh: 500ms", "500ms"),
        ("timeout: 2m", "2m"),
        ("db: -1", "-1"),
        ("adr: []", "unknown key"),
    ] {
        let redis = format!("addr: ['127.0.0.1:1'], password: hunter2, {more}");
        let started = Broker::builder()
            .config(format!("auth: {{sources: [{{type: redis, {redis}}}]}}"))
            .try_start();
        let Err(trouble) = started else {
            panic!("it started: {more}");
        };
        assert!(
            trouble.contains("auth.sources") && trouble.contains(says),
            "{trouble}"
        );
        assert!(!trouble.contains("hunter2"), "{trouble}");
    }
}

#[test]
fn a_password_of_redis_is_in_no_log() {
    let redis = Redis::start();
    let broker = builder(&redis, "username: gate, password: hunter2").start();
    let connack = attempt(&broker, &login(5, &unique("c"), "ann"));
    assert_eq!(connack.code, UNAVAILABLE);
    eventually!(broker.log().contains("Password authentication failed"));
    assert!(!broker.log().contains("hunter2"));
}
