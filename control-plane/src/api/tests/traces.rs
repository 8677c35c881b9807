//! Traces are made, listed, and taken back.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::fixture::{Answer, Cluster, Desk, fields};

async fn trace(cluster: &Cluster, wanted: Value) -> Answer {
    cluster.ask("POST", "/traces", Some(wanted)).await
}

#[tokio::test]
async fn a_trace_is_made_listed_read_and_taken_back() {
    let cluster = Cluster::start().await;
    let (_, _) = cluster.serve("g1", Desk::default()).await;
    let made = trace(&cluster, json!({"name": "slow", "client_id": "dev-1"})).await;
    assert_eq!(made.status, StatusCode::OK, "{made:?}");
    let made = &made.body["trace"];
    assert_eq!(made["client_id"], "dev-1");
    assert_eq!(made["by"], "this machine, by the api of c1");
    let lasts = made["until"].as_u64().zip(made["at"].as_u64());
    assert_eq!(lasts.map(|(until, at)| until - at), Some(600_000));
    let listed = cluster.get("/traces").await;
    assert_eq!(fields(&listed["items"], "name"), ["slow"]);
    let read = cluster.get("/traces/slow?limit=5").await;
    assert_eq!(fields(&read["items"], "event"), ["connect"]);
    assert_eq!(fields(&read["items"], "node"), ["g1"]);
    let nobody = cluster.ask("GET", "/traces/slow?node=g9", None).await;
    assert_eq!(nobody.status, StatusCode::NOT_FOUND, "{nobody:?}");
    assert!(nobody.body["detail"].to_string().contains("node: "));
    let too_many = cluster.ask("GET", "/traces/slow?limit=1001", None).await;
    assert_eq!(too_many.status, StatusCode::BAD_REQUEST, "{too_many:?}");
    for _ in 0..2 {
        let stopped = cluster.ask("POST", "/traces/slow/stop", None).await;
        assert_eq!(stopped.body["trace"]["is_over"], true, "{stopped:?}");
    }
    let listed = cluster.get("/traces").await;
    assert_eq!(fields(&listed["items"], "is_over"), ["true"]);
    for was_there in [true, false] {
        let back = cluster.ask("DELETE", "/traces/slow", None).await;
        assert_eq!(back.body["was_there"], was_there, "{back:?}");
    }
    for (method, path) in [("GET", "/traces/slow"), ("POST", "/traces/slow/stop")] {
        let gone = cluster.ask(method, path, None).await;
        assert_eq!(gone.status, StatusCode::NOT_FOUND, "{gone:?}");
    }
    let none = cluster.ask("DELETE", "/traces/..%2Fslow", None).await;
    assert_eq!(none.status, StatusCode::BAD_REQUEST, "{none:?}");
}

#[tokio::test]
async fn what_makes_no_trace_is_refused_and_so_is_one_too_many() {
    let cluster = Cluster::start().await;
    for (wanted, named) in [
        (json!({"name": "x"}), "client_id, address and topic"),
        (json!({"client_id": "a"}), "name: "),
        (json!({"name": "../x", "client_id": "a"}), "name: "),
        (
            json!({"name": "x", "client_id": "a", "topic": "b"}),
            "client_id, address and topic",
        ),
        (json!({"name": "x", "topic": "a/#/b"}), "topic: "),
        (json!({"name": "x", "topic": "$share/g/a"}), "topic: "),
        (json!({"name": "x", "address": "10.0.0.0/33"}), "address: "),
        (json!({"name": "x", "client_id": ""}), "client_id: "),
        (
            json!({"name": "x", "client_id": "a", "seconds": 0}),
            "seconds: ",
        ),
        (
            json!({"name": "x", "client_id": "a", "seconds": 86_401}),
            "seconds: ",
        ),
        (
            json!({"name": "x", "client_id": "a", "payload": true}),
            "payload",
        ),
    ] {
        let answer = trace(&cluster, wanted.clone()).await;
        let status = answer.status;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wanted}: {answer:?}");
        let detail = answer.body["detail"].to_string();
        assert!(detail.contains(named), "{wanted}: {detail}");
    }
    for n in 0..16 {
        let made = trace(&cluster, json!({"name": format!("t{n}"), "topic": "a/#"})).await;
        assert_eq!(made.status, StatusCode::OK, "{made:?}");
    }
    let one_more = trace(&cluster, json!({"name": "t16", "topic": "a/#"})).await;
    assert_eq!(one_more.status, StatusCode::CONFLICT, "{one_more:?}");
    let instead = trace(&cluster, json!({"name": "t15", "topic": "b/#"})).await;
    assert_eq!(instead.status, StatusCode::OK, "{instead:?}");
}
