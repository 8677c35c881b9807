//! D2: web pages that call the API by a browser that trusts them, and requests that mean one thing
//! to a proxy and another one here.

use std::time::Duration;

use gatemq_tests::{Cluster, Node};

use crate::listeners::http_client::{self, Answer};

fn ask(node: &Node, method: &str, path: &str, headers: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    http_client::send(node.http(), request.as_bytes())
}

/// Without a token this machine may ask; the browser on it is asked by the whole world.
#[test]
fn d2_no_web_page_calls_the_api() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let node = cluster.node("c1");
    let path = "/api/v1/members";
    assert_eq!(ask(node, "GET", path, "Host: localhost\r\n").status, 200);
    for headers in [
        "Host: rebound.example\r\n",
        "Host: 127.0.0.1.rebound.example\r\n",
        "Host: localhost.rebound.example\r\n",
        "Host: localhost@rebound.example\r\n",
        "Host: 0.0.0.0\r\n",
        "Host: \r\n",
        "",
        "Host: localhost\r\nOrigin: http://page.example\r\n",
        "Host: localhost\r\nOrigin: null\r\n",
        "Host: localhost\r\nOrigin: http://localhost:1\r\n",
    ] {
        for method in ["GET", "DELETE", "POST", "OPTIONS"] {
            let answer = ask(node, method, path, headers);
            assert!(
                matches!(answer.status, 400 | 403),
                "{headers:?}: {answer:?}"
            );
        }
    }
    // A page may ask what it may do: nobody says that it may.
    let preflight = "Host: localhost\r\nOrigin: http://page.example\r\n\
                     Access-Control-Request-Method: DELETE\r\n";
    for path in [path, "/metrics", "/healthz", "/mqtt/stats", "/cluster/conf"] {
        for method in ["OPTIONS", "GET"] {
            let head = ask(node, method, path, preflight).head.to_lowercase();
            assert!(!head.contains("access-control-"), "{path}: {head}");
            assert!(!head.contains("set-cookie"), "{path}: {head}");
        }
    }
    super::is_well(&cluster);
}

/// A request whose length can be read in two ways is refused, or is the last one of its connection.
#[test]
fn d2_a_request_is_one_request() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let node = cluster.node("c1");
    let hidden = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let n_hidden = hidden.len();
    let both = |te: &str, cl: &str| {
        format!("POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\n{te}{cl}\r\n0\r\n\r\n{hidden}")
    };
    let te = "Transfer-Encoding: chunked\r\n";
    let chunked = |chunks: &str| {
        format!("POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\n{te}\r\n{chunks}{hidden}")
    };
    let extension = "a".repeat(100_000);
    let cases = [
        ("a length and chunks", both(te, "Content-Length: 5\r\n")),
        ("chunks and a length", both("Content-Length: 5\r\n", te)),
        (
            "two lengths",
            both("Content-Length: 0\r\n", "Content-Length: 5\r\n"),
        ),
        ("two lengths in one", both("Content-Length: 0, 5\r\n", "")),
        ("a signed length", both("Content-Length: +5\r\n", "")),
        ("a hexadecimal length", both("Content-Length: 0x5\r\n", "")),
        (
            "a length of 2^64",
            both("Content-Length: 18446744073709551616\r\n", ""),
        ),
        (
            "another encoding",
            both("Transfer-Encoding: identity\r\n", ""),
        ),
        (
            "chunked twice",
            both("Transfer-Encoding: chunked, x\r\n", ""),
        ),
        (
            "nearly chunked",
            both("Transfer-Encoding: xchunked\r\n", ""),
        ),
        (
            "a blank before the colon",
            both("Transfer-Encoding : chunked\r\n", ""),
        ),
        (
            "a folded header",
            both("X: y\r\n Transfer-Encoding: chunked\r\n", ""),
        ),
        (
            "a bare CR",
            both("X: y\rTransfer-Encoding: chunked\r\n", ""),
        ),
        ("a NUL", both("X: a\0b\r\n", "")),
        ("a chunk of 2^64", chunked("10000000000000000\r\n")),
        ("a chunk of -1", chunked("-1\r\n")),
        ("a chunk without a size", chunked("\r\n")),
        (
            "a long extension",
            chunked(&format!("1;{extension}\r\nx\r\n0\r\n\r\n")),
        ),
        ("a chunk that goes on", chunked("1\r\nxyz\r\n0\r\n\r\n")),
        (
            "trailers without an end",
            chunked(&format!("0\r\n{}", "X: y\r\n".repeat(20_000))),
        ),
    ];
    for (what, request) in cases {
        let heard = super::send(node.http(), request.as_bytes(), Duration::from_millis(700));
        let heard = String::from_utf8_lossy(&heard);
        assert!(heard.matches("HTTP/1.1 ").count() <= 1, "{what}: {heard}");
        assert!(!heard.contains("200 OK"), "{what}: {heard}");
    }
    // What is short in one way and long in the other is as long as its header says.
    let long = format!(
        "POST /api/v1/config/validate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {n_hidden}\r\n\
         Content-Type: application/json\r\nConnection: close\r\n\r\n{hidden}"
    );
    let heard = super::send(node.http(), long.as_bytes(), Duration::from_secs(2));
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard.starts_with("HTTP/1.1 400 "), "{heard}");
    assert_eq!(heard.matches("HTTP/1.1 ").count(), 1, "{heard}");
    super::is_well(&cluster);
}

/// Paths, queries and bodies that ended or opened other brokers.
#[test]
fn d2_strange_requests_are_refused() {
    let cluster = Cluster::builder().control(1).gateways(1).start();
    let node = cluster.node("c1");
    let host = "Host: localhost\r\n";
    let no_control = "a\u{1}b";
    for path in [
        "/api/v1/clients/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/api/v1/members/..%2fcluster",
        "/api/v1/config/..%2f..%2fmembers",
        "/api/v1/../../etc/passwd",
        "/api/v1/%2e%2e/%2e%2e/etc/passwd",
        "/api/v1/..;/members",
        "/api/v1//members",
        "/API/v1/members",
        "/api/v1/members%00",
        "/api/v1/members/%ff%fe",
        "/api/v1/clients/%00",
        "/api/v1/routes/explain?topic=%00",
        "/api/v1/routes/explain?topic=%ff",
        "/api/v1/clients?limit=99999999999999999999",
        "/api/v1/clients?limit=-1",
        "/api/v1/clients?cursor=%ff",
        "/api/v1/clients?cursor=AAA",
        "/api/v1/members?%",
        "/api/v1/members?[]=1",
        "/cluster/../../etc/passwd",
        "/metrics/..%2fapi",
    ] {
        for method in ["GET", "DELETE", "PUT", "POST"] {
            let answer = ask(node, method, path, host);
            let is_refused = (400..500).contains(&answer.status);
            // A cursor is anything that was the last of a page, a topic any text.
            let nothing = ["\"items\":[]", "\"filters\":[]"];
            let is_empty = nothing.iter().any(|it| answer.body.contains(it));
            assert!(is_refused || is_empty, "{method} {path}: {answer:?}");
            assert!(!answer.body.contains("root:"), "{method} {path}");
        }
    }
    let members = node.get("/api/v1/members").expect("the node answers");
    assert!(members.1.contains("\"g1\"") && members.1.contains("\"c1\""));
    // Headers and targets that are too long or not text.
    let long = "a".repeat(64 << 10);
    let many: String = (0..2_000).map(|at| format!("X-{at}: y\r\n")).collect();
    for (target, headers) in [
        (format!("/api/v1/members?{long}"), host.to_owned()),
        ("/api/v1/members".to_owned(), format!("{host}X: {long}\r\n")),
        ("/api/v1/members".to_owned(), format!("{host}{many}")),
        (format!("/api/v1/members/{no_control}"), host.to_owned()),
        (
            "/api/v1/members".to_owned(),
            format!("{host}{no_control}: x\r\n"),
        ),
    ] {
        let answer = ask(node, "GET", &target, &headers);
        let is_refused = answer.status == 0 || (400..500).contains(&answer.status);
        assert!(
            is_refused,
            "{}: {answer:?}",
            &target[..30.min(target.len())]
        );
    }
    let json = |body: &str| {
        let length = body.len();
        format!("{host}Content-Type: application/json\r\nContent-Length: {length}\r\n")
    };
    let deep = [
        "[".repeat(10_000),
        "{\"a\":".repeat(10_000),
        format!("{{\"topic\":{}", "[".repeat(10_000)),
        format!("{{\"settings\":{}", "{\"a\":".repeat(10_000)),
        format!("{{\"topic\":\"{}\"}}", "a".repeat(100_000)),
        "{\"topic\":\"\\ud800\"}".to_owned(),
        "{\"topic\":1e999999}".to_owned(),
        "\u{feff}{}".to_owned(),
    ];
    for body in &deep {
        for (method, path) in [
            ("POST", "/api/v1/publish"),
            ("POST", "/api/v1/config/validate"),
            ("POST", "/api/v1/members"),
            ("PUT", "/api/v1/config/limits.max-inflight"),
        ] {
            let headers = json(body);
            let request =
                format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n{body}");
            let answer = http_client::send(node.http(), request.as_bytes());
            let is_refused = answer.status == 0 || (400..500).contains(&answer.status);
            assert!(is_refused, "{path} {:.30}: {answer:?}", body);
        }
    }
    super::is_well(&cluster);
}
