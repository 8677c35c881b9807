//! Clients and rules over HTTP: what a server says holds, and what it does not say lets nobody in.

use std::{
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

use super::scene::{BAD_LOGIN, NOT_AUTHORIZED, attempt, connect, login, try_publish};
use super::token::now;
use super::web::start_tls;
use crate::listeners::authority::Authority;

/// What a client is told of which nobody can say who it is.
const UNAVAILABLE: u8 = 0x88;

fn builder(web: &Web, more: &str) -> Builder {
    let (auth, acl) = (web.url("/auth"), web.url("/acl"));
    Broker::builder().config(format!(
        "auth: {{max-failures: 0, sources: [{{type: http, timeout: 500ms, auth-url: '{auth}', acl-url: '{acl}'{more}}}]}}"
    ))
}

fn is_auth(request: &str) -> bool {
    request.starts_with("POST /auth ") || request.starts_with("GET /auth?")
}

fn publish(topic: &str) -> Publish {
    Publish {
        qos: 1,
        ..Publish::new(topic, b"x")
    }
}

/// Whether a user's password is its name, in whatever form it is asked.
fn knows(request: &str) -> bool {
    let names = ["ann", "bob"];
    names.iter().any(|name| {
        let json = [
            format!(r#""password":"{name}""#),
            format!(r#""username":"{name}""#),
        ];
        let form = [format!("password={name}"), format!("username={name}")];
        let has = |texts: [String; 2]| texts.iter().all(|text| request.contains(text));
        has(json) || has(form)
    })
}

#[test]
fn servers_of_comqtt_say_who_comes_in_and_what_it_may_do() {
    for more in [
        "",
        ", content-type: form",
        ", method: get",
        ", headers: [{name: x-key, value: k-1}]",
    ] {
        let web = Web::start(|request| match is_auth(request) {
            true => say(if knows(request) { "1" } else { "0" }),
            false => say(r##"{"#": 3, "secret/#": 0, "down/#": 1, "up/#": 2}"##),
        });
        let broker = builder(&web, more).start();
        for level in [3, 4, 5] {
            assert_eq!(attempt(&broker, &login(level, &unique("a"), "ann")).code, 0);
        }
        let wrong = login(5, &unique("a"), "ann").password("bob");
        assert_eq!(attempt(&broker, &wrong).code, BAD_LOGIN);
        assert_eq!(
            attempt(&broker, &Connect::new(5, unique("a"))).code,
            BAD_LOGIN
        );
        let mut ann = connect(&broker, 5, &unique("ann"), "ann");
        let asked = [("#", 1), ("secret/a", 1), ("down/a", 1), ("up/a", 1)];
        let codes = ann.subscribe_with(&Properties::new(), &asked).codes;
        assert_eq!(codes, [1, NOT_AUTHORIZED, 1, NOT_AUTHORIZED], "{more}");
        for (topic, reason) in [
            ("open", 0),
            ("up/a", 0),
            ("down/a", NOT_AUTHORIZED),
            ("secret/a", NOT_AUTHORIZED),
        ] {
            let ack = try_publish(&mut ann, publish(topic));
            assert_eq!(ack.reason & 0x80, reason & 0x80, "{more} {topic}");
        }
        assert_eq!(ann.receive().topic, "open");
        let has_key = |request: &String| request.to_lowercase().contains("x-key: k-1");
        assert_eq!(web.asked().iter().all(has_key), more.contains("k-1"));
        assert!(!broker.log().contains("k-1"));
    }
}

#[test]
fn servers_of_emqx_say_it_in_one_answer() {
    let web = Web::start(|request| match is_auth(request) {
        true if request.contains(r#""username":"bob""#) => {
            say(r#"{"result": "allow", "is_superuser": true}"#)
        }
        true => say(r#"{"result": "allow", "acl": [
            {"permission": "allow", "action": "publish", "topic": "up/${clientid}/#"}]}"#),
        false => Act::Say(404, String::new()),
    });
    let broker = builder(&web, "").start();
    let mut ann = connect(&broker, 5, "a-1", "ann");
    let mut bob = connect(&broker, 5, "b-1", "bob");
    assert_eq!(bob.subscribe("#", 1), 1);
    assert_eq!(try_publish(&mut ann, publish("up/a-1/x")).reason, 0);
    for topic in ["up/a-2/x", "up/b-1", "a"] {
        assert_eq!(try_publish(&mut ann, publish(topic)).reason, NOT_AUTHORIZED);
    }
    assert_eq!(bob.receive().topic, "up/a-1/x");
}

#[test]
fn a_server_that_fails_lets_nobody_in_and_holds_nobody_up() {
    // What it does next, and whether it is for both questions.
    let kind = Arc::new(AtomicUsize::new(0));
    let acts: [fn() -> Act; 9] = [
        || say("1"),
        || Act::Hang(Vec::new()),
        || Act::Hang(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n".to_vec()),
        || Act::Send(Vec::new()),
        || Act::Send(b"HTTP/1.1 302 x\r\nlocation: /other\r\ncontent-length: 1\r\n\r\n1".to_vec()),
        || Act::Say(500, "1".to_owned()),
        || say("1".repeat(100_000)),
        || say("{\"result\": \"allow\""),
        || say("yes"),
    ];
    let now = Arc::clone(&kind);
    let web = Web::start(move |request| match is_auth(request) {
        true => acts[now.load(Ordering::SeqCst)](),
        false => say(r##"{"#": 3}"##),
    });
    let broker = builder(&web, ", connections: 4").start();
    let mut bob = connect(&broker, 5, &unique("bob"), "bob");
    let fds = broker.fd_count();
    for at in 1..acts.len() {
        kind.store(at, Ordering::SeqCst);
        let begun = Instant::now();
        let connack = attempt(&broker, &login(5, &unique("a"), "ann"));
        assert_eq!(connack.code, UNAVAILABLE, "{at}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{at}");
        bob.ping();
    }
    // A crowd, while it hangs.
    kind.store(1, Ordering::SeqCst);
    let crowd: Vec<Client> = (0..100)
        .map(|_| {
            let mut client = Client::connect_tcp(broker.tcp());
            client.send(&login(5, &unique("a"), "ann").bytes());
            client
        })
        .collect();
    bob.ping();
    for mut client in crowd {
        client.set_level(5);
        let packet = client.recv();
        assert_eq!(packet.connack(5).code, UNAVAILABLE);
    }
    // It is asked again as soon as it answers again.
    kind.store(0, Ordering::SeqCst);
    assert_eq!(attempt(&broker, &login(5, &unique("a"), "ann")).code, 0);
    eventually!(broker.log().contains("answers again"));
    eventually!(broker.fd_count() <= fds + 8);
}

#[test]
fn one_whose_rules_cannot_be_had_is_not_let_in() {
    for acl in [
        || Act::Say(500, String::new()),
        || say("1"),
        || say(r#"{"a": 7}"#),
        || Act::Hang(Vec::new()),
    ] {
        let web = Web::start(move |request| match is_auth(request) {
            true => say("1"),
            false => acl(),
        });
        let broker = builder(&web, "").start();
        let connack = attempt(&broker, &login(5, &unique("a"), "ann"));
        assert_eq!(connack.code, UNAVAILABLE);
    }
}

#[test]
fn the_next_source_is_asked_where_the_server_knows_nothing() {
    let web = Web::start(|_| Act::Say(404, String::new()));
    let url = web.url("/auth");
    let broker = Broker::builder()
        .file("users.yml", super::scene::USERS.to_owned() + super::scene::RULES)
        .config(format!(
            "auth: {{max-failures: 0, sources: [{{type: http, auth-url: '{url}'}}, {{type: file, path: '{{dir}}/users.yml'}}]}}"
        ))
        .start();
    assert_eq!(attempt(&broker, &login(5, &unique("a"), "ann")).code, 0);
    let wrong = login(5, &unique("a"), "ann").password("bob");
    assert_eq!(attempt(&broker, &wrong).code, BAD_LOGIN);
}

#[test]
fn d3_what_is_in_names_stays_in_them() {
    let web = Web::start(|request| match is_auth(request) {
        true => say("1"),
        false => say(r#"{"of/%u": 3}"#),
    });
    let broker = builder(&web, ", method: get").start();
    for name in [
        "ann&username=root",
        "a b#c?/../x",
        "#",
        "%0d%0aX-Y: z",
        "ä\u{1F980}",
    ] {
        let mut client = connect(&broker, 5, &unique("c"), name);
        for topic in ["of/root", "of/x"] {
            assert_eq!(
                try_publish(&mut client, publish(topic)).reason,
                NOT_AUTHORIZED
            );
        }
    }
    for request in web.asked() {
        let (line, rest) = request.split_once("\r\n").expect("a request");
        assert_eq!(
            line.matches("&username=").count() + line.matches("?username=").count(),
            1
        );
        assert_eq!(line.split(' ').count(), 3, "{line}");
        assert!(!rest.contains("X-Y"), "{rest}");
    }
}

#[test]
fn clients_are_judged_again_by_what_the_server_says_then() {
    let kind = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&kind);
    let web = Web::start(
        move |request| match (is_auth(request), now.load(Ordering::SeqCst)) {
            (true, _) => say("1"),
            (false, 0) => say(r#"{"a": 3}"#),
            (false, 1) => say(r#"{"b": 3}"#),
            (false, 2) => Act::Say(500, String::new()),
            (false, _) => match request.contains(r#""username":"ann""#) {
                true => Act::Say(403, String::new()),
                false => say(r#"{"b": 3}"#),
            },
        },
    );
    let broker = builder(&web, "").start();
    let mut ann = connect(&broker, 5, &unique("ann"), "ann");
    let mut bob = connect(&broker, 5, &unique("bob"), "bob");
    let judge_again = |at: usize| {
        kind.store(at, Ordering::SeqCst);
        let n_before = web.asked().len();
        broker.signal("HUP");
        eventually!(web.asked().len() >= n_before + if at == 0 { 0 } else { 2 });
    };
    assert_eq!(try_publish(&mut ann, publish("a")).reason & 0x80, 0);
    judge_again(1);
    eventually!(try_publish(&mut ann, publish("b")).reason & 0x80 == 0);
    assert_eq!(try_publish(&mut ann, publish("a")).reason, NOT_AUTHORIZED);
    // What was said holds while nothing is.
    judge_again(2);
    assert_eq!(try_publish(&mut ann, publish("b")).reason & 0x80, 0);
    assert_eq!(try_publish(&mut ann, publish("a")).reason, NOT_AUTHORIZED);
    judge_again(3);
    ann.expect_disconnect(NOT_AUTHORIZED);
    bob.ping();
}

#[test]
fn what_changes_on_the_server_holds_without_a_word() {
    let kind = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&kind);
    let web = Web::start(
        move |request| match (is_auth(request), now.load(Ordering::SeqCst)) {
            (true, _) => say("1"),
            (false, 0) => say(r#"{"a": 3}"#),
            (false, 1) => say(r#"{"b": 3}"#),
            (false, _) => Act::Say(403, String::new()),
        },
    );
    let broker = builder(&web, ", refresh: 1s").start();
    let mut ann = connect(&broker, 5, &unique("ann"), "ann");
    assert!(try_publish(&mut ann, publish("a")).reason < NOT_AUTHORIZED);
    kind.store(1, Ordering::SeqCst);
    eventually!(try_publish(&mut ann, publish("a")).reason == NOT_AUTHORIZED);
    assert!(try_publish(&mut ann, publish("b")).reason < NOT_AUTHORIZED);
    kind.store(2, Ordering::SeqCst);
    ann.expect_disconnect(NOT_AUTHORIZED);
}

#[test]
fn who_is_let_in_until_a_time_is_there_until_then() {
    let web = Web::start(|request| match is_auth(request) {
        true if request.contains(r#""username":"ann""#) => say(format!(
            r#"{{"result": "allow", "expire_at": {}}}"#,
            now() + 2
        )),
        true => say("1"),
        false => say(r##"{"#": 3}"##),
    });
    let broker = builder(&web, "").start();
    let mut bob = connect(&broker, 5, &unique("bob"), "bob");
    let mut ann = connect(&broker, 5, &unique("ann"), "ann");
    ann.ping();
    ann.expect_disconnect(NOT_AUTHORIZED);
    bob.ping();
}

#[test]
fn its_certificate_is_verified() {
    let authority = Authority::new("ours");
    let identity = authority.server();
    let web = start_tls(&identity, |_| say("1"));
    let url = web.url("/auth");
    for (ca, code) in [
        (authority.pem(), 0),
        (Authority::new("another's").pem(), UNAVAILABLE),
    ] {
        let broker = Broker::builder()
            .file("ca.pem", ca)
            .config(format!(
                "auth: {{max-failures: 0, sources: [{{type: http, auth-url: '{url}', ca-file: '{{dir}}/ca.pem'}}]}}"
            ))
            .start();
        assert_eq!(attempt(&broker, &login(5, &unique("a"), "ann")).code, code);
    }
}

/// Nor is anything else asked than what is written.
#[test]
fn proxies_of_the_environment_do_not_count() {
    let web = Web::start(|request| match is_auth(request) {
        true => say("1"),
        false => say(r##"{"#": 3}"##),
    });
    let proxy = Web::start(|_| say("0"));
    let mut builder = builder(&web, "");
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        builder = builder.env(name, &proxy.url(""));
    }
    let broker = builder.start();
    assert_eq!(attempt(&broker, &login(5, &unique("a"), "ann")).code, 0);
    assert_eq!(proxy.asked(), Vec::<String>::new());
}

#[test]
fn what_makes_no_sense_ends_the_start() {
    for (source, says) in [
        ("", "auth.sources[0].auth-url"),
        ("auth-url: auth.example", "is no URL"),
        ("auth-url: 'ftp://auth.example/'", "http://"),
        (
            "auth-url: 'http://a:b@auth.example/'",
            "put it into a header",
        ),
        (
            "auth-url: 'http://auth.example/', timeout: 1h",
            "is not a period",
        ),
        (
            "auth-url: 'http://auth.example/', method: put",
            "is not one of post, get",
        ),
        (
            "auth-url: 'https://auth.example/', ca-file: '{dir}/none.pem'",
            "none.pem",
        ),
        (
            "auth-url: 'http://auth.example/', headers: [{name: host, value: x}]",
            "not for the configuration",
        ),
    ] {
        let started = Broker::builder()
            .config(format!(
                "auth: {{max-failures: 0, sources: [{{type: http, {source}}}]}}"
            ))
            .try_start();
        let Err(trouble) = started else {
            panic!("it started: {source}");
        };
        assert!(trouble.contains(says), "{says}: {trouble}");
    }
}
