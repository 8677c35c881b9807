//! SCRAM over AUTH packets: clients that prove that they know a password and do not tell it.

mod prover;

use std::{fs, net::SocketAddr, time::Duration};

use gatemq_tests::{
    Broker, Client, Connect, Properties,
    broker::Builder,
    eventually, pause, unique,
    wire::{self, Connack, Will, property},
};

use super::scene::{BAD_LOGIN, NOT_AUTHORIZED, may_publish, n_answers};
use prover::{Answer, Prover};

const CONTINUE: u8 = 0x18;
const AGAIN: u8 = 0x19;
const PROTOCOL_ERROR: u8 = 0x82;
const BANNED: u8 = 0x8A;
const BAD_METHOD: u8 = 0x8C;
const RATE_EXCEEDED: u8 = 0x9F;

const SHA_256: &str = "SCRAM-SHA-256";
const SHA_512: &str = "SCRAM-SHA-512";

/// The passwords are `pencil` (the one of RFC 7677), `secret`, `bob` (of two users) and
/// `mosquitto`.
const USERS: &str = "
users:
- {username: user, password: 'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU='}
- {username: long, password: 'SCRAM-SHA-512$5000:MDEyMzQ1Njc4OWFiY2RlZg==$kt1ec/HTcCEt1tEYolvl8w/eRoCtHBIDvCRDt/9Ogxx+s5mrWuV6SCwXQidbJ0dHpjScNDbi8XD2abam3K4TXA==:nt7RhJuiplKjy+P0QaCGkH6Bgat6y06j3HJPQDIan9puN5ljOqOwYdDgQmqqwNI0jPLagRqD5huys3H9HMuIJw=='}
- {username: bob, client-id: bob-1, password: 'SCRAM-SHA-256$4096:ZmVkY2JhOTg3NjU0MzIxMA==$N9zTRjBk5x7IzuiCZsyK3SovmSexafBODgczzOpnUec=:8T/gzv5qp0Mk9J9wjeMq8PzHt9xUaMX/p69PVimOcd0='}
- {username: cy, password: 'SCRAM-SHA-256$4096:ZmVkY2JhOTg3NjU0MzIxMA==$N9zTRjBk5x7IzuiCZsyK3SovmSexafBODgczzOpnUec=:8T/gzv5qp0Mk9J9wjeMq8PzHt9xUaMX/p69PVimOcd0='}
- {username: plain, password: '$argon2id$v=19$m=19456,t=2,p=1$wrUOt2wYCwJg6bm0yYco4A$yk4a7FVK7bM9rKPS4LRpTDwz6ebE0nISUvLSAJ5aKvU'}
rules:
- {allow: all, topics: ['own/%u/#', 'shared/#']}
";

fn builder() -> Builder {
    super::scene::builder(USERS)
}

fn user() -> Prover {
    Prover::new(SHA_256, "user", "pencil")
}

fn properties(method: &str, data: impl AsRef<[u8]>) -> Properties {
    Properties::new()
        .text(property::AUTHENTICATION_METHOD, method)
        .binary(property::AUTHENTICATION_DATA, data.as_ref())
}

fn auth(reason: u8, method: &str, data: impl AsRef<[u8]>) -> Vec<u8> {
    wire::auth(reason, &properties(method, data))
}

/// A CONNECT with the first message, whatever else is in it.
fn with_first(prover: &Prover, connect: Connect) -> Connect {
    let all = properties(prover.method, prover.first());
    let expiry = connect.properties.number(property::SESSION_EXPIRY_INTERVAL);
    let all = match expiry {
        Some(expiry) => all.four(property::SESSION_EXPIRY_INTERVAL, expiry),
        None => all,
    };
    connect.properties(all)
}

/// The question that an AUTH of the broker has.
#[track_caller]
fn question(client: &mut Client, prover: &Prover) -> Answer {
    let auth = client.recv().disconnect(wire::AUTH);
    assert_eq!(auth.reason, CONTINUE, "{auth:?}");
    let method = auth.properties.string(property::AUTHENTICATION_METHOD);
    assert_eq!(method, Some(prover.method));
    let data = auth.properties.data(property::AUTHENTICATION_DATA);
    prover.answer(data.expect("it has data"))
}

/// The whole exchange; the signature in CONNACK must be that of one who knows the user.
#[track_caller]
fn attempt(broker: &Broker, prover: &Prover, connect: Connect) -> (Client, Connack) {
    let mut client = Client::connect_tcp(broker.tcp());
    client.set_level(5);
    client.send(&with_first(prover, connect).bytes());
    let answer = question(&mut client, prover);
    client.send(&auth(CONTINUE, prover.method, &answer.last));
    let connack = client.recv().connack(5);
    if connack.code == 0 {
        let method = connack.properties.string(property::AUTHENTICATION_METHOD);
        assert_eq!(method, Some(prover.method));
        let data = connack.properties.data(property::AUTHENTICATION_DATA);
        assert_eq!(data, Some(answer.signature.as_bytes()));
    } else {
        assert!(!connack.properties.has(property::AUTHENTICATION_DATA));
    }
    (client, connack)
}

fn anybody() -> Connect {
    Connect::new(5, unique("c"))
}

#[track_caller]
fn connect(broker: &Broker, prover: &Prover, connect: Connect) -> Client {
    let (client, connack) = attempt(broker, prover, connect);
    assert_eq!(connack.code, 0, "{connack:?}");
    client
}

/// How a client is refused before it is asked anything.
#[track_caller]
fn refused(broker: &Broker, connect: &Connect) -> u8 {
    let mut client = Client::connect_tcp(broker.tcp());
    let connack = client.handshake(connect);
    client.expect_closed();
    connack.code
}

#[test]
fn who_knows_the_password_comes_in_and_learns_that_the_server_knows_it() {
    let broker = builder().start();
    let long = Prover::new(SHA_512, "long", "secret");
    let mut client = connect(&broker, &user(), anybody());
    assert!(may_publish(&mut client, "own/user/a") && !may_publish(&mut client, "own/long/a"));
    let mut client = connect(&broker, &long, anybody());
    assert!(may_publish(&mut client, "own/long/a") && !may_publish(&mut client, "own/user/a"));
    // The user name may be in CONNECT, too, and is the same then.
    connect(&broker, &user(), anybody().username("user"));
    let (_, connack) = attempt(&broker, &user(), anybody().username("long"));
    assert_eq!(connack.code, NOT_AUTHORIZED);
    let bob = Prover::new(SHA_256, "bob", "bob");
    connect(&broker, &bob, Connect::new(5, "bob-1"));
    for (prover, id) in [(&bob, "bob-2"), (&user(), "bob-1")] {
        let (_, connack) = attempt(&broker, prover, Connect::new(5, id));
        assert_eq!(connack.code, NOT_AUTHORIZED, "somebody else's client id");
    }
}

#[test]
fn the_password_itself_is_good_as_well() {
    let broker = builder().start();
    for level in [3, 4, 5] {
        let with = |password: &str| {
            let connect = Connect::new(level, unique("c"));
            let (_, connack) =
                Client::attempt(&broker, &connect.username("user").password(password));
            connack.code
        };
        assert_eq!(with("pencil"), 0);
        assert_eq!(with("pencils"), if level == 5 { BAD_LOGIN } else { 4 });
    }
}

#[test]
fn what_comes_of_proofs_is_counted_by_source() {
    let broker = builder().start();
    let code = |user: &str, password: &str| {
        let prover = Prover::new(SHA_256, user, password);
        attempt(&broker, &prover, anybody()).1.code
    };
    assert_eq!(code("user", "pencil"), 0);
    assert_eq!(code("user", "pencils"), NOT_AUTHORIZED);
    assert_eq!(code("plain", "mosquitto"), NOT_AUTHORIZED, "no such proof");
    assert_eq!(code("nobody", "pencil"), NOT_AUTHORIZED);
    let (_, connack) = attempt(&broker, &user(), anybody().username("long"));
    assert_eq!(connack.code, NOT_AUTHORIZED);
    let said = ["allow", "deny", "pass"].map(|outcome| n_answers(&broker, outcome));
    assert_eq!(said, [1, 3, 1]);
    // Who it was is in the log, though CONNECT does not have the name.
    let line = |line: &str| line.contains("connection refused") && line.contains("user=\"nobody\"");
    eventually!(broker.log().lines().any(line));
}

/// Whoever is not there is asked and told the same as whoever is.
#[test]
fn nobody_learns_who_is_a_user() {
    let broker = super::scene::builder(USERS).start();
    let wrong = [
        Prover::new(SHA_256, "user", "pencils"),
        Prover::new(SHA_256, "nobody", "pencil"),
        Prover::new(SHA_256, "plain", "mosquitto"),
        Prover::new(SHA_256, "long", "secret"),
        Prover::new(SHA_512, "user", "pencil"),
    ];
    for prover in &wrong {
        let ask = || {
            let mut client = Client::connect_tcp(broker.tcp());
            client.send(&with_first(prover, anybody()).bytes());
            question(&mut client, prover)
        };
        let (one, two) = (ask(), ask());
        assert_eq!(one.salt, two.salt, "the same each time");
        assert_ne!(one.last, two.last, "another nonce each time");
        assert_eq!(one.salt.len(), 24);
        let (mut client, connack) = attempt(&broker, prover, anybody());
        let why = connack.properties.string(property::REASON_STRING);
        assert_eq!(connack.code, NOT_AUTHORIZED);
        assert_eq!(why, Some("no such user, or another password"));
        client.expect_closed();
    }
}

/// The salt that somebody is asked with.
fn salt(address: SocketAddr, prover: &Prover) -> String {
    let mut client = Client::connect_tcp(address);
    client.send(&with_first(prover, anybody()).bytes());
    question(&mut client, prover).salt
}

/// Salts that differ from one gateway to the other would show who is none, and so would those that are
/// others after a restart.
#[test]
fn nobody_learns_it_from_two_gateways_or_from_a_restart_either() {
    let nobody = Prover::new(SHA_256, "nobody", "pencil");
    let (cluster, folder) = super::scene::two_gateways(USERS);
    let gateways = cluster.gateways();
    let asked = salt(gateways[0].tcp(), &nobody);
    assert_eq!(salt(gateways[1].tcp(), &nobody), asked);
    drop((cluster, folder));
    let broker = builder().storage("redb").start();
    let asked = salt(broker.tcp(), &nobody);
    broker.terminate();
    broker.restart();
    assert_eq!(salt(broker.tcp(), &nobody), asked);
}

#[test]
fn methods_and_messages_that_are_none_are_refused() {
    let broker = builder().start();
    let says = |method: &str, data: &[u8]| anybody().properties(properties(method, data));
    let first = user().first();
    for method in [
        "SCRAM-SHA-1",
        "SCRAM-SHA-256-PLUS",
        "scram-sha-256",
        "PLAIN",
        "",
    ] {
        assert_eq!(
            refused(&broker, &says(method, first.as_bytes())),
            BAD_METHOD,
            "{method}"
        );
    }
    for data in [
        &b""[..],
        b"n,,",
        b"p=tls-exporter,,n=user,r=abc",
        b"n,a=root,n=user,r=abc",
        b"n,,n=user,r=abc,m=x",
        b"n,,n=\xFF,r=abc",
        &[b'x'; 20_000],
    ] {
        assert_eq!(
            refused(&broker, &says(SHA_256, data)),
            NOT_AUTHORIZED,
            "{data:?}"
        );
    }
    let no_data = Properties::new().text(property::AUTHENTICATION_METHOD, SHA_256);
    assert_eq!(
        refused(&broker, &anybody().properties(no_data)),
        NOT_AUTHORIZED
    );
    // Where nobody is known there is nothing to prove.
    let open = Broker::shared();
    assert_eq!(refused(&open, &says(SHA_256, first.as_bytes())), BAD_METHOD);
}

#[test]
fn before_connack_nothing_comes_but_what_goes_on() {
    let broker = builder().start();
    let publish = gatemq_tests::Publish::new("own/user/a", b"x").bytes(5);
    for (what, packets) in [
        ("another method", auth(CONTINUE, SHA_512, "c=biws")),
        ("from the start", auth(AGAIN, SHA_256, user().first())),
        ("success", auth(0, SHA_256, "v=")),
        ("no method", wire::auth(CONTINUE, &Properties::new())),
        ("PUBLISH", publish.clone()),
        ("PINGREQ", wire::pingreq()),
        ("CONNECT", anybody().bytes()),
    ] {
        let mut client = Client::connect_tcp(broker.tcp());
        client.send(&with_first(&user(), anybody()).bytes());
        question(&mut client, &user());
        client.send(&packets);
        let connack = client.recv().connack(5);
        assert_eq!(connack.code, PROTOCOL_ERROR, "{what}");
        client.expect_closed();
    }
    // Nor behind the proof.
    let mut client = Client::connect_tcp(broker.tcp());
    client.send(&with_first(&user(), anybody()).bytes());
    let answer = question(&mut client, &user());
    client.send(&[auth(CONTINUE, SHA_256, &answer.last), publish].concat());
    assert_eq!(client.recv().connack(5).code, PROTOCOL_ERROR);
    // A client may leave.
    let mut client = Client::connect_tcp(broker.tcp());
    client.send(&with_first(&user(), anybody()).bytes());
    question(&mut client, &user());
    client.send(&wire::disconnect());
    client.expect_closed();
}

#[test]
fn a_proof_that_does_not_come_in_time_comes_too_late() {
    let broker = super::scene::builder(USERS)
        .config(
            "auth: {sources: [{type: file, path: '{dir}/users.yml'}]}\n\
             limits: {connect-timeout: 500ms}",
        )
        .start();
    let mut client = Client::connect_tcp(broker.tcp());
    client.send(&with_first(&user(), anybody()).bytes());
    question(&mut client, &user());
    client.expect_closed();
}

#[test]
fn who_is_banned_is_not_asked_for_a_proof() {
    let broker = super::scene::builder(USERS)
        .file("bans.yml", "bans: [{username: user}]")
        .config(
            "auth: {sources: [{type: file, path: '{dir}/users.yml'}]}\n\
             bans: {file: '{dir}/bans.yml'}",
        )
        .start();
    assert_eq!(refused(&broker, &with_first(&user(), anybody())), BANNED);
    connect(&broker, &Prover::new(SHA_512, "long", "secret"), anybody());
}

#[test]
fn who_fails_again_and_again_has_to_wait() {
    let broker = builder().start();
    for _ in 0..5 {
        let (_, connack) = attempt(&broker, &Prover::new(SHA_256, "user", "x"), anybody());
        assert_eq!(connack.code, NOT_AUTHORIZED);
    }
    assert_eq!(
        refused(&broker, &with_first(&user(), anybody())),
        RATE_EXCEEDED
    );
    connect(&broker, &Prover::new(SHA_512, "long", "secret"), anybody());
    pause(Duration::from_millis(1100));
    connect(&broker, &user(), anybody());
}

#[test]
fn a_will_that_its_client_may_not_publish_is_refused() {
    let broker = builder().start();
    let will = |topic: &str| Will {
        topic: topic.into(),
        ..Will::default()
    };
    let (_, connack) = attempt(&broker, &user(), anybody().will(will("own/long/a")));
    assert_eq!(connack.code, NOT_AUTHORIZED);
    connect(&broker, &user(), anybody().will(will("own/user/a")));
}

/// Goes through an exchange on a connection; what the broker says at last is still to come.
#[track_caller]
fn prove_again(client: &mut Client, prover: &Prover) -> Answer {
    client.send(&auth(AGAIN, prover.method, prover.first()));
    let answer = question(client, prover);
    client.send(&auth(CONTINUE, prover.method, &answer.last));
    answer
}

#[test]
fn a_client_proves_again_who_it_is_while_messages_go_on() {
    let broker = builder().start();
    let mut client = connect(&broker, &user(), anybody());
    client.subscribe("shared/#", 1);
    for _ in 0..3 {
        client.send(&auth(AGAIN, SHA_256, user().first()));
        let answer = question(&mut client, &user());
        client.publish("shared/a", b"meanwhile", 1);
        assert_eq!(client.receive().payload, b"meanwhile");
        client.send(&auth(CONTINUE, SHA_256, &answer.last));
        let success = client.recv().disconnect(wire::AUTH);
        assert_eq!(success.reason, 0);
        let data = success.properties.data(property::AUTHENTICATION_DATA);
        assert_eq!(data, Some(answer.signature.as_bytes()));
        client.ping();
    }
}

#[test]
fn what_it_may_do_is_read_anew() {
    let broker = builder().start();
    let mut client = connect(&broker, &user(), anybody());
    assert!(!may_publish(&mut client, "new/a"));
    let users = USERS.replace("'shared/#'", "'shared/#', 'new/#'");
    fs::write(broker.dir().join("users.yml"), users).expect("it is writable");
    broker.signal("HUP");
    eventually!(broker.log().contains("read again"));
    let answer = prove_again(&mut client, &user());
    let success = client.recv().disconnect(wire::AUTH);
    assert_eq!(success.reason, 0);
    assert!(!answer.signature.is_empty() && may_publish(&mut client, "new/a"));
}

#[test]
fn who_fails_to_prove_it_again_is_disconnected() {
    let broker = builder().start();
    for prover in [
        Prover::new(SHA_256, "user", "wrong"),
        Prover::new(SHA_256, "nobody", "pencil"),
        // Another user's proof is right, and that session is not its own.
        Prover::new(SHA_256, "bob", "bob"),
        // Nor is it, where that user may have any client id.
        Prover::new(SHA_256, "cy", "bob"),
    ] {
        let mut client = connect(&broker, &user(), anybody());
        prove_again(&mut client, &prover);
        client.expect_disconnect(NOT_AUTHORIZED);
    }
}

#[test]
fn auth_packets_that_go_on_with_nothing_are_violations() {
    let broker = builder().start();
    let long = Prover::new(SHA_512, "long", "secret");
    for (what, packets) in [
        ("another method", auth(AGAIN, SHA_512, long.first())),
        ("a method that is none", auth(AGAIN, "PLAIN", "x")),
        ("no question", auth(CONTINUE, SHA_256, "c=biws")),
        ("success", auth(0, SHA_256, "v=x")),
        ("no method", wire::auth(AGAIN, &Properties::new())),
        ("nothing", vec![0xF0, 0]),
    ] {
        let mut client = connect(&broker, &user(), anybody());
        client.send(&packets);
        let end = client.recv().disconnect(wire::DISCONNECT);
        assert_eq!(end.reason, PROTOCOL_ERROR, "{what}");
        client.expect_closed();
    }
    let mut client = connect(&broker, &user(), anybody());
    client.send(&auth(AGAIN, SHA_256, user().first()));
    question(&mut client, &user());
    client.send(&auth(AGAIN, SHA_256, user().first()));
    client.expect_disconnect(PROTOCOL_ERROR);
    // Nor for those who came in otherwise.
    let plain = anybody().username("user").password("pencil");
    let (mut client, _) = Client::connect(&broker, &plain);
    client.send(&auth(AGAIN, SHA_256, user().first()));
    client.expect_disconnect(PROTOCOL_ERROR);
}

#[test]
fn what_becomes_of_will_and_session_when_the_proof_fails() {
    let broker = builder().start();
    let mut watcher = connect(&broker, &user(), anybody());
    watcher.subscribe("shared/gone", 1);
    let id = unique("s");
    let stored = || Connect::persistent(5, &id);
    let will = Will {
        topic: "shared/gone".into(),
        payload: b"gone".to_vec(),
        qos: 1,
        ..Will::default()
    };
    let mut client = connect(&broker, &user(), stored().will(will));
    client.subscribe("shared/kept", 1);
    prove_again(&mut client, &Prover::new(SHA_256, "user", "wrong"));
    client.expect_disconnect(NOT_AUTHORIZED);
    assert_eq!(watcher.receive().payload, b"gone", "the will is due");
    watcher.publish("shared/kept", b"kept", 1);
    let (_, connack) = attempt(&broker, &Prover::new(SHA_512, "long", "secret"), stored());
    assert_eq!(
        connack.code, NOT_AUTHORIZED,
        "the session is the other user's"
    );
    let (mut client, connack) = attempt(&broker, &user(), stored());
    assert_eq!((connack.code, connack.session_present), (0, true));
    assert_eq!(client.receive().payload, b"kept");
}

#[test]
fn who_is_no_user_any_more_is_disconnected() {
    let broker = builder().start();
    let mut client = connect(&broker, &user(), anybody());
    let users = USERS.replace("username: user", "username: other");
    fs::write(broker.dir().join("users.yml"), users).expect("it is writable");
    broker.signal("HUP");
    client.expect_disconnect(NOT_AUTHORIZED);
}
