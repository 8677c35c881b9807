//! What is counted of logins: what each source said, and how long it took.

use std::net::TcpListener;

use gatemq_tests::{Broker, Client, unique};

use super::scene::{BAD_LOGIN, RULES, UNAVAILABLE, USERS, login};
use crate::listeners::http_client::{get, n_hits};

const RATE_EXCEEDED: u8 = 0x9F;

#[track_caller]
fn has(broker: &Broker, line: &str) {
    let body = get(broker.http(), "/metrics").body;
    assert!(body.lines().any(|found| found == line), "{line}: {body}");
}

#[test]
fn what_each_source_says_is_counted_and_timed() {
    // Nobody answers there.
    let closed = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = closed.local_addr().expect("it has an address").port();
    drop(closed);
    let broker = Broker::builder()
        .file("users.yml", format!("{USERS}{RULES}"))
        .config(format!(
            "auth: {{max-failures: 2, sources: [{{type: file, path: '{{dir}}/users.yml'}}, \
             {{type: http, auth-url: 'http://127.0.0.1:{port}/'}}]}}"
        ))
        .start();
    let code = |username: &str, password: &str| {
        let connect = login(5, &unique("m"), username).password(password);
        Client::attempt(&broker, &connect).1.code
    };
    assert_eq!((code("ann", "ann"), code("bob", "bob")), (0, 0));
    assert_eq!(
        (code("bob", "no"), code("bob", "no")),
        (BAD_LOGIN, BAD_LOGIN)
    );
    assert_eq!(code("bob", "bob"), RATE_EXCEEDED);
    assert_eq!(code("eve", "eve"), UNAVAILABLE);
    let file = "place=\"0\",source=\"file\"";
    let answers = |outcome: &str, n: u32| {
        let line = format!("gateway_auth_answers_total{{{file},outcome=\"{outcome}\"}} {n}");
        has(&broker, &line);
    };
    answers("allow", 2);
    answers("deny", 2);
    answers("pass", 1);
    let http = "gateway_auth_answers_total{place=\"1\",source=\"http\",outcome=\"unavailable\"} 1";
    has(&broker, http);
    has(
        &broker,
        &format!("gateway_auth_answer_seconds_count{{{file}}} 5"),
    );
    assert_eq!(n_hits(&broker, "max-failures"), 1);
    assert_eq!(n_hits(&broker, "max-logins-per-address"), 0);
}
