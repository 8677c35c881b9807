//! Clients that bring tokens: who comes in with which, what it may do, and until when.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use gatemq_tests::{
    Broker, Client, Connect, Properties, Publish,
    broker::Builder,
    eventually, unique,
    web::{Act, Web, say},
};
use serde_json::{Value, json};

use super::scene::{BAD_LOGIN, NOT_AUTHORIZED, RULES, USERS, attempt, login, try_publish};
use super::token::{Issuer, SECRET, claims, now, token, token_with};

fn builder(source: &str) -> Builder {
    Broker::builder().config(format!(
        "auth: {{max-failures: 0, sources: [{{type: jwt, leeway: 0s, {source}}}]}}"
    ))
}

fn with_secret(more: &str) -> Builder {
    builder(&format!("algorithms: [HS256], secret: '{SECRET}'{more}"))
}

fn ann(token: &str) -> Connect {
    Connect::new(5, unique("ann"))
        .username("ann")
        .password(token)
}

fn with_rules(seconds: i64, rules: Value) -> Value {
    let mut claims = claims("ann", seconds);
    claims["acl"] = rules;
    claims
}

fn publish(topic: &str) -> Publish {
    Publish {
        qos: 1,
        ..Publish::new(topic, b"x")
    }
}

#[test]
fn whoever_has_a_token_of_its_own_comes_in() {
    let broker = with_secret("").start();
    for level in [3, 4, 5] {
        let right = token(&claims("ann", 60));
        let connect = |name: &str, token: &str| {
            Connect::new(level, unique("c"))
                .username(name)
                .password(token)
        };
        assert_eq!(attempt(&broker, &connect("ann", &right)).code, 0);
        let refused = if level == 5 { BAD_LOGIN } else { 4 };
        for wrong in [
            connect("bob", &right),
            connect("ann", &token(&claims("bob", 60))),
            connect("ann", &token(&claims("ann", -1))),
            connect("ann", &token(&json!({"sub": "ann"}))),
            connect(
                "ann",
                &token_with(&claims("ann", 60), &SECRET.as_bytes()[1..]),
            ),
            connect("ann", &right.replace('.', "")),
            connect(
                "ann",
                "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJleHAiOjk5OTk5OTk5OTk5fQ.",
            ),
            connect("ann", ""),
        ] {
            assert_eq!(attempt(&broker, &wrong).code, refused, "{wrong:?}");
        }
    }
    let nameless = Connect::new(5, unique("c")).password(token(&claims("ann", 60)));
    assert_eq!(attempt(&broker, &nameless).code, 0);
    assert!(!broker.log().contains(SECRET));
}

#[test]
fn a_token_says_what_its_client_may_do() {
    let broker = with_secret("").start();
    let rules = json!({"pub": ["up/%c/#"], "sub": ["down/${username}"], "all": ["open"]});
    let connect = Connect {
        client_id: b"pump-7".to_vec(),
        ..ann(&token(&with_rules(60, rules)))
    };
    let (mut client, _) = Client::connect(&broker, &connect);
    let asked = [("down/ann", 1), ("down/bob", 1), ("open", 1), ("#", 1)];
    let codes = client.subscribe_with(&Properties::new(), &asked).codes;
    assert_eq!(codes, [1, NOT_AUTHORIZED, 1, NOT_AUTHORIZED]);
    for (topic, may) in [
        ("up/pump-7/a", true),
        ("up/pump-8/a", false),
        ("down/ann", false),
    ] {
        let ack = try_publish(&mut client, publish(topic));
        assert_eq!(ack.reason != NOT_AUTHORIZED, may, "{topic}");
    }
    // Without a word of rules there is no right.
    let (mut client, _) = Client::connect(&broker, &ann(&token(&claims("ann", 60))));
    assert_eq!(
        try_publish(&mut client, publish("a")).reason,
        NOT_AUTHORIZED
    );
    // Nor is what is not understood none.
    let wrong = ann(&token(&with_rules(60, json!({"pub": "a"}))));
    assert_eq!(attempt(&broker, &wrong).code, BAD_LOGIN);
    // Where tokens have no rules, nobody has any.
    let broker = with_secret(", acl-claim: ''").start();
    let (mut client, _) = Client::connect(&broker, &ann(&token(&claims("ann", 60))));
    assert!(try_publish(&mut client, publish("a")).reason < NOT_AUTHORIZED);
}

#[test]
fn what_is_no_token_is_for_the_next_source() {
    let broker = Broker::builder()
        .file("users.yml", format!("{USERS}{RULES}"))
        .config(format!(
            "auth: {{max-failures: 0, sources: [{{type: jwt, algorithms: [HS256], secret: '{SECRET}'}}, \
             {{type: file, path: '{{dir}}/users.yml'}}]}}"
        ))
        .start();
    let (mut bob, connack) = Client::connect(&broker, &login(5, &unique("b"), "bob"));
    assert_eq!(connack.code, 0);
    assert!(try_publish(&mut bob, publish("open")).reason < NOT_AUTHORIZED);
    // Whoever has a token has the rights of the user that it names, too.
    let (mut client, connack) = Client::connect(&broker, &ann(&token(&claims("ann", 60))));
    assert_eq!(connack.code, 0);
    assert!(try_publish(&mut client, publish("open")).reason < NOT_AUTHORIZED);
    let wrong = ann(&token(&claims("ann", -60)));
    assert_eq!(attempt(&broker, &wrong).code, BAD_LOGIN);
}

#[test]
fn a_public_key_verifies_and_is_no_secret() {
    let (issuer, other) = (Issuer::new("a"), Issuer::new("a"));
    let pem = issuer.public_pem();
    let source =
        "algorithms: [ES256, HS256], public-key: '{dir}/key.pem', secret-file: '{dir}/secret'";
    let broker = builder(source)
        .file("key.pem", &pem)
        .file("secret", format!("{SECRET}\n"))
        .start();
    let claims = claims("ann", 60);
    for right in [issuer.token(&claims), token(&claims)] {
        assert_eq!(attempt(&broker, &ann(&right)).code, 0);
    }
    for wrong in [
        other.token(&claims),
        token_with(&claims, pem.as_bytes()),
        token_with(&claims, pem.trim().as_bytes()),
    ] {
        assert_eq!(attempt(&broker, &ann(&wrong)).code, BAD_LOGIN);
    }
    // A key that is replaced ends whom it has let in.
    let (mut client, _) = Client::connect(&broker, &ann(&issuer.token(&claims)));
    let (mut stays, _) = Client::connect(&broker, &ann(&token(&claims)));
    fs::write(broker.dir().join("key.pem"), other.public_pem()).expect("it is writable");
    broker.signal("HUP");
    client.expect_disconnect(NOT_AUTHORIZED);
    stays.ping();
    assert_eq!(attempt(&broker, &ann(&other.token(&claims))).code, 0);
}

#[test]
fn keys_of_a_server_are_read_and_read_again() {
    let (first, second) = (Arc::new(Issuer::new("a")), Arc::new(Issuer::new("b")));
    let kind = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&kind);
    let keys = [&first, &second].map(|issuer| issuer.public_jwk());
    let web = Web::start(move |_| match now.load(Ordering::SeqCst) {
        0 => say(json!({"keys": [keys[0]]}).to_string()),
        1 => Act::Hang(Vec::new()),
        _ => say(json!({"keys": [keys[1]]}).to_string()),
    });
    let url = web.url("/keys");
    let source = format!("algorithms: [ES256], jwks-url: '{url}', timeout: 500ms");
    let broker = builder(&source).start();
    let claims = claims("ann", 60);
    let code = |issuer: &Issuer| attempt(&broker, &ann(&issuer.token(&claims))).code;
    assert_eq!((code(&first), code(&first)), (0, 0));
    assert_eq!(web.asked().len(), 1);
    // One that is not known, while there is nothing to be had.
    kind.store(1, Ordering::SeqCst);
    assert_eq!(code(&second), BAD_LOGIN);
    assert_eq!(code(&first), 0);
    kind.store(2, Ordering::SeqCst);
    eventually!(Duration::from_secs(20), code(&second) == 0);
    assert_eq!(code(&first), BAD_LOGIN, "its key is gone");
}

#[test]
fn when_a_token_ends_its_connection_ends() {
    let broker = with_secret("").start();
    let rules = json!({"all": ["#"]});
    let (mut long, _) = Client::connect(&broker, &ann(&token(&with_rules(60, rules.clone()))));
    let end = now() + 3;
    let short = token(&with_rules(3, rules));
    let (mut five, _) = Client::connect(&broker, &ann(&short));
    let four = Connect::new(4, unique("c"))
        .username("ann")
        .password(&short);
    let (mut four, _) = Client::connect(&broker, &four);
    // One that is busy, and one that takes nothing.
    five.subscribe("a", 1);
    let (mut busy, _) = Client::connect(&broker, &ann(&short));
    let begun = Instant::now();
    while now() < end - 1 {
        busy.ping();
        five.ping();
    }
    five.expect_disconnect(NOT_AUTHORIZED);
    four.expect_closed();
    busy.expect_disconnect(NOT_AUTHORIZED);
    assert!(now() >= end, "too early");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    long.ping();
    assert_eq!(attempt(&broker, &ann(&short)).code, BAD_LOGIN);
}

/// Its client comes again, with a new one.
#[test]
fn what_is_stored_for_one_whose_token_has_ended_is_there_when_it_comes_again() {
    let broker = with_secret("").start();
    let rules = json!({"all": ["#"]});
    let id = unique("ann");
    let persistent = |seconds| Connect {
        clean: false,
        properties: Connect::persistent(5, &id).properties,
        client_id: id.clone().into_bytes(),
        ..ann(&token(&with_rules(seconds, rules.clone())))
    };
    let (mut client, _) = Client::connect(&broker, &persistent(2));
    client.subscribe("a", 1);
    client.expect_disconnect(NOT_AUTHORIZED);
    let (mut other, _) = Client::connect(&broker, &ann(&token(&with_rules(60, rules.clone()))));
    let n_read = || broker.log().matches("clients and rules read again").count();
    broker.signal("HUP");
    eventually!(n_read() > 0);
    other.ping();
    other.publish("a", b"kept", 1);
    let (mut client, connack) = Client::connect(&broker, &persistent(60));
    assert!(connack.session_present);
    assert_eq!(client.receive().payload, b"kept");
}

#[test]
fn what_makes_no_sense_ends_the_start() {
    let issuer = Issuer::new("a");
    for (source, says) in [
        (format!("secret: '{SECRET}'"), "algorithms"),
        ("algorithms: [HS256]".to_owned(), "no key"),
        (format!("algorithms: [none], secret: '{SECRET}'"), "none"),
        ("algorithms: [HS256], secret: short".to_owned(), "too short"),
        (
            format!("algorithms: [RS256], secret: '{SECRET}'"),
            "none of the algorithms",
        ),
        (
            "algorithms: [HS256], secret-file: '{dir}/key.pem'".to_owned(),
            "public-key",
        ),
        (
            "algorithms: [RS256], public-key: '{dir}/key.pem'".to_owned(),
            "none of the algorithms",
        ),
        (
            format!("algorithms: [HS256], secret: '{SECRET}', username-claim: ''"),
            "binds",
        ),
        (
            format!("algorithms: [HS256], secret: '{SECRET}', verify: [{{claim: a, is: 'x-%c'}}]"),
            "verify",
        ),
        (
            "algorithms: [RS256], jwks-url: 'keys.example'".to_owned(),
            "jwks-url",
        ),
    ] {
        let started = builder(&source)
            .file("key.pem", issuer.public_pem())
            .try_start();
        let Err(trouble) = started else {
            panic!("it started: {source}");
        };
        assert!(trouble.contains(says), "{says}: {trouble}");
        assert!(!trouble.contains(SECRET), "{trouble}");
    }
}
