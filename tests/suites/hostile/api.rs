//! D1: what each route of the API does for whom, and that it shows no secrets.

use std::collections::BTreeMap;

use gatemq_tests::{Broker, Cluster, Node};
use serde_json::Value;

use crate::listeners::http_client::{self, Answer};

/// Each operation, and the least scope that opens it.
const OPERATIONS: [(&str, &str); 33] = [
    ("DELETE /bans/{kind}/{value}", "operator"),
    ("DELETE /bridge/rules/{name}", "admin"),
    ("DELETE /clients/{id}", "operator"),
    ("DELETE /config/{key}", "admin"),
    ("DELETE /members/{name}", "admin"),
    ("DELETE /traces/{name}", "operator"),
    ("GET /bans", "viewer"),
    ("GET /bans/{kind}/{value}", "viewer"),
    ("GET /bridge/rules", "viewer"),
    ("GET /bridge/rules/{name}", "viewer"),
    ("GET /clients", "viewer"),
    ("GET /clients/{id}", "viewer"),
    ("GET /cluster", "viewer"),
    ("GET /cluster/hash", "viewer"),
    ("GET /config", "viewer"),
    ("GET /config/history", "viewer"),
    ("GET /members", "viewer"),
    ("GET /members/{name}", "viewer"),
    ("GET /openapi.json", "viewer"),
    ("GET /routes", "viewer"),
    ("GET /routes/explain", "viewer"),
    ("GET /stats", "viewer"),
    ("GET /traces", "viewer"),
    ("GET /traces/{name}", "operator"),
    ("POST /bans", "operator"),
    ("POST /config/validate", "viewer"),
    ("POST /members", "admin"),
    ("POST /members/{name}/drain", "operator"),
    ("POST /publish", "operator"),
    ("POST /traces", "operator"),
    ("POST /traces/{name}/stop", "operator"),
    ("PUT /bridge/rules/{name}", "admin"),
    ("PUT /config/{key}", "admin"),
];
/// Narrow to wide.
const SCOPES: [&str; 3] = ["viewer", "operator", "admin"];
/// Tokens, their SHA-256 and what the configuration says of them.
const TOKENS: [(&str, &str, &str); 4] = [
    (
        "viewer-token-of-tests",
        "892fc7aa65e575a919a76ff1661437e9fc50b9342d089f7f2442db95c4d0cdb6",
        "scope: viewer",
    ),
    (
        "operator-token-of-tests",
        "0e601db4f58daa30553034b71c145409ca4b0650706ca8ec955c33a7fdf20332",
        "scope: operator",
    ),
    (
        "admin-token-of-tests",
        "216ae1e3b89e2ae831cbd430ca2a7d22114b281f824e23387ae08f548e41cec4",
        "scope: admin",
    ),
    (
        "expired-token-of-tests",
        "a52f5080c39d4c95c70cdd44507281d241b10865dee45adb0660a6c145078459",
        "scope: admin, expires: 2024-01-01",
    ),
];
const GOSSIP_KEY: &str = "7f3a9b0c1d2e4f5061728394a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8";

fn start() -> Cluster {
    let tokens = TOKENS.map(|(token, sha256, more)| {
        let name = token.split('-').next().unwrap_or_default();
        format!("{{name: {name}, sha256: {sha256}, {more}}}")
    });
    Cluster::builder()
        .setting(&format!("api: {{tokens: [{}]}}", tokens.join(", ")))
        .setting(&format!("cluster: {{gossip-keys: [{GOSSIP_KEY}]}}"))
        .control(1)
        .gateways(1)
        .start()
}

/// Asks with the header `Authorization`, if there is one to send.
fn ask(node: &Node, operation: &str, authorization: Option<&str>) -> Answer {
    let (method, path) = operation.split_once(' ').expect("a method and a path");
    let header = authorization.map(|value| format!("Authorization: {value}\r\n"));
    let header = header.unwrap_or_default();
    let request = format!(
        "{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\
         Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    http_client::send(node.http(), request.as_bytes())
}

/// Asks for what is anywhere.
fn get(node: &Node, path: &str, token: Option<&str>) -> Answer {
    let header = token.map(|token| format!("Authorization: {}\r\n", bearer(token)));
    let header = header.unwrap_or_default();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n");
    http_client::send(node.http(), request.as_bytes())
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// The operations of the document, with the scope that it says each needs.
fn documented(node: &Node) -> BTreeMap<String, String> {
    let answer = ask(node, "GET /openapi.json", Some(&bearer(TOKENS[0].0)));
    let document: Value = serde_json::from_str(&answer.body).expect("JSON");
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let scope = &operation["security"][0]["token"][0];
            let name = format!("{} {path}", method.to_uppercase());
            let scope = scope.as_str().unwrap_or("none").to_owned();
            operations.insert(name, scope);
        }
    }
    operations
}

#[test]
fn d1_every_route_opens_for_its_scope_and_for_nobody_else() {
    let cluster = start();
    let node = cluster.node("c1");
    let expected = OPERATIONS.map(|(name, scope)| (name.to_owned(), scope.to_owned()));
    assert_eq!(documented(node), BTreeMap::from(expected));
    let rank = |scope: &str| SCOPES.iter().position(|it| *it == scope);
    let mut shown = String::new();
    for (operation, needed) in OPERATIONS {
        // What is named so is not there, and an empty object is no body of any of them.
        let asked = operation.replace(['{', '}'], "");
        let mut check = |authorization: Option<&str>, what: &str, may: bool, refusal: u16| {
            let answer = ask(node, &asked, authorization);
            let is_refused = [401, 403].contains(&answer.status);
            assert_eq!(is_refused, !may, "{operation}, {what}: {answer:?}");
            assert!(may || answer.status == refusal, "{operation}, {what}");
            shown.push_str(&answer.head);
            shown.push_str(&answer.body);
        };
        let admin = TOKENS[2].0;
        for (at, scope) in SCOPES.iter().enumerate() {
            let may = rank(scope) >= rank(needed);
            check(Some(&bearer(TOKENS[at].0)), scope, may, 403);
        }
        check(None, "nobody", false, 401);
        check(Some(&bearer(TOKENS[3].0)), "expired", false, 401);
        check(Some(&bearer(TOKENS[2].1)), "its hash", false, 401);
        check(Some(&bearer("")), "an empty token", false, 401);
        check(
            Some(&bearer(&format!("{admin} ,{admin}"))),
            "two",
            false,
            401,
        );
        check(Some(admin), "no scheme", false, 401);
        check(Some(&format!("Basic {admin}")), "Basic", false, 401);
        // Other methods are no way around it.
        let (_, path) = asked.split_once(' ').expect("a path");
        for method in ["OPTIONS", "PATCH", "HEAD", "TRACE", "get", "X"] {
            let answer = ask(node, &format!("{method} {path}"), None);
            assert!(
                matches!(answer.status, 401 | 405),
                "{method} {path}: {answer:?}"
            );
        }
    }
    // Nor is the token taken from anywhere else.
    for path in [
        "/members?token=",
        "/members?access_token=",
        "/members?api_key=",
    ] {
        let asked = format!("GET {path}{}", TOKENS[2].0);
        assert_eq!(ask(node, &asked, None).status, 401, "{path}");
    }
    let tokens = TOKENS.map(|(token, ..)| token);
    let mut secrets = tokens.to_vec();
    secrets.extend([GOSSIP_KEY, TOKENS[2].1]);
    // The addresses that were asked just now are the caller's to keep; no header is.
    let log = node.log().text();
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} is shown");
        assert!(
            !log.contains(&format!("Bearer {secret}")),
            "{secret} is in the log"
        );
    }
    assert!(
        !log.contains(GOSSIP_KEY) && !log.contains(TOKENS[0].0),
        "{log}"
    );
    for path in [
        "/cluster/conf",
        "/cluster/ms",
        "/metrics",
        "/readyz",
        "/api/v1",
    ] {
        let text = get(node, path, Some(TOKENS[2].0)).body;
        for secret in tokens.iter().chain([&GOSSIP_KEY]) {
            assert!(!text.contains(secret), "{secret} is at {path}");
        }
    }
    super::is_well(&cluster);
}

#[test]
fn d1_where_there_are_tokens_nothing_but_health_is_shown_without_one() {
    let cluster = start();
    for name in ["c1", "g1"] {
        let node = cluster.node(name);
        for path in ["/cluster/conf", "/cluster/ms", "/metrics", "/mqtt/stats"] {
            if (name, path) == ("c1", "/mqtt/stats") {
                continue; // a control plane has none
            }
            let status = |token| get(node, path, token).status;
            let all = [None, Some(TOKENS[3].0), Some("another-token-of-tests")];
            assert_eq!(all.map(status), [401; 3], "{path} of {name}");
            for (token, ..) in &TOKENS[..3] {
                assert_eq!(status(Some(token)), 200, "{path} of {name}");
            }
        }
        for path in ["/healthz", "/readyz"] {
            assert_eq!(get(node, path, None).status, 200, "{path} of {name}");
        }
    }
}

#[test]
fn d1_metrics_are_open_where_that_is_asked_for() {
    let broker = |more: &str| {
        let (_, sha256, scope) = TOKENS[0];
        let token = format!("{{name: looks, sha256: {sha256}, {scope}}}");
        let yaml = format!("api: {{tokens: [{token}], {more}}}\n");
        Broker::builder().config(yaml).start()
    };
    for (more, status) in [("open-metrics: true", 200), ("open-metrics: false", 401)] {
        let broker = broker(more);
        for path in ["/metrics", "/mqtt/stats"] {
            assert_eq!(
                http_client::get(broker.http(), path).status,
                status,
                "{more}"
            );
        }
    }
}
