//! The HTTP side of the broker: health, metrics, statistics.

use gatemq_tests::{Broker, Canary, Client, eventually, unique};

use super::http_client::{get, send};

/// The number behind a name in JSON that is not nested.
fn number(json: &str, name: &str) -> Option<u64> {
    let (_, rest) = json.split_once(&format!("\"{name}\":"))?;
    let digits: String = rest
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

#[test]
fn a_running_broker_is_healthy_and_ready() {
    let broker = Broker::shared();
    for path in ["/healthz", "/readyz"] {
        let answer = get(broker.http(), path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
}

#[test]
fn metrics_are_in_the_form_of_prometheus() {
    let broker = Broker::shared();
    let _client = Client::v5(&broker, &unique("metrics"));
    let answer = get(broker.http(), "/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    let head = answer.head.to_lowercase();
    assert!(
        head.contains("application/openmetrics-text") || head.contains("text/plain"),
        "{head}"
    );
    assert!(answer.body.contains("# TYPE "), "{}", answer.body);
    assert!(answer.body.contains("gateway_"), "{}", answer.body);
}

#[test]
fn statistics_follow_what_clients_do() {
    let broker = Broker::builder().start();
    let stats = |name: &str| {
        let answer = get(broker.http(), "/mqtt/stats");
        assert_eq!(answer.status, 200, "{answer:?}");
        let head = answer.head.to_lowercase();
        assert!(head.contains("content-type: application/json"), "{head}");
        number(&answer.body, name).unwrap_or_else(|| panic!("no number {name} in {}", answer.body))
    };
    assert_eq!(stats("clients_connected"), 0);
    let topic = unique("stats");
    let mut client = Client::v5(&broker, &unique("stats"));
    client.subscribe(&topic, 1);
    client.publish_retained(&topic, b"x", 1);
    client.receive();
    eventually!(stats("clients_connected") == 1);
    eventually!(stats("subscriptions") == 1);
    eventually!(stats("retained") >= 1);
    eventually!(stats("messages_received") >= 1);
    eventually!(stats("messages_sent") >= 1);
    assert!(stats("bytes_received") > 0);
    client.disconnect();
    eventually!(stats("clients_connected") == 0);
}

/// There is no API on a node by itself: who looks for it is told so.
#[test]
fn where_there_is_no_api_the_answer_says_what_there_is() {
    let broker = Broker::shared();
    for path in ["/api/v1", "/api/v1/", "/api/v1/bans"] {
        let answer = get(broker.http(), path);
        assert_eq!(answer.status, 404, "{answer:?}");
        let head = answer.head.to_lowercase();
        assert!(
            head.contains("content-type: application/problem+json"),
            "{head}"
        );
        assert!(answer.body.contains("bans.file"), "{answer:?}");
    }
}

#[test]
fn other_paths_are_not_found() {
    let broker = Broker::shared();
    for path in [
        "/",
        "/no/such",
        "/healthz/../..%2f..%2fetc/passwd",
        "//metrics",
    ] {
        assert_eq!(get(broker.http(), path).status, 404, "{path}");
    }
}

#[test]
fn other_methods_are_refused() {
    let broker = Broker::shared();
    for method in ["POST", "DELETE", "PUT"] {
        let request = format!(
            "{method} /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        );
        assert_eq!(
            send(broker.http(), request.as_bytes()).status,
            405,
            "{method}"
        );
    }
}

#[test]
fn garbage_on_the_http_port_hurts_nobody() {
    let broker = Broker::shared();
    let canary = Canary::start(&broker);
    let long_header = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(1 << 20));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(20_000));
    let requests: [&[u8]; 5] = [
        b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00\r\n\r\n",
        b"GET\r\n\r\n",
        &[0xFF; 512],
        long_header.as_bytes(),
        many_headers.as_bytes(),
    ];
    for request in requests {
        let answer = send(broker.http(), request);
        assert!(answer.status == 0 || answer.status >= 400, "{answer:?}");
    }
    assert_eq!(get(broker.http(), "/healthz").status, 200);
    canary.finish();
}
