//! Bans are made, listed, and taken back.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::fixture::{Answer, Cluster, fields};

async fn ban(cluster: &Cluster, wanted: Value) -> Answer {
    cluster.ask("POST", "/bans", Some(wanted)).await
}

#[tokio::test]
async fn a_ban_is_made_shown_replaced_and_taken_back() {
    let cluster = Cluster::start().await;
    let made = ban(
        &cluster,
        json!({"kind": "address", "value": "::ffff:10.0.0.0/104", "reason": "scans"}),
    )
    .await;
    assert_eq!(made.status, StatusCode::OK, "{made:?}");
    let state = cluster.control.consensus().state();
    assert_eq!(made.body["revision"], state.revision());
    let shown = cluster.get("/bans/address/10.0.0.0%2F8").await;
    assert_eq!(shown, made.body["ban"]);
    let expected = [
        ("value", json!("10.0.0.0/8")),
        ("reason", json!("scans")),
        ("by", json!("this machine, by the api of c1")),
        ("until", Value::Null),
        ("is_automatic", json!(false)),
    ];
    for (field, value) in expected {
        assert_eq!(shown[field], value, "{shown}");
    }
    let again = json!({"kind": "address", "value": "10.0.0.0/8", "seconds": 3_600});
    assert_eq!(ban(&cluster, again).await.status, StatusCode::OK);
    let shown = cluster.get("/bans/address/10.0.0.0%2F8").await;
    let lasts = shown["until"].as_u64().zip(shown["at"].as_u64());
    assert_eq!(lasts.map(|(until, at)| until - at), Some(3_600_000));
    for was_banned in [true, false] {
        let back = cluster
            .ask("DELETE", "/bans/address/10.0.0.0%2F8", None)
            .await;
        assert_eq!(back.status, StatusCode::OK, "{back:?}");
        assert_eq!(back.body["was_banned"], was_banned);
    }
    let gone = cluster.ask("GET", "/bans/address/10.0.0.0%2F8", None).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND, "{gone:?}");
}

#[tokio::test]
async fn pages_have_each_ban_once_and_none_that_is_over() {
    let cluster = Cluster::start().await;
    for (kind, value) in [
        ("username", "eve"),
        ("client_id", "b\nb"),
        ("client_id_prefix", "x"),
        ("client_id", "a"),
        ("client_id", "c/c"),
        ("address", "fd00::/8"),
        ("address", "10.0.0.1"),
    ] {
        let made = ban(&cluster, json!({"kind": kind, "value": value})).await;
        assert_eq!(made.status, StatusCode::OK, "{made:?}");
    }
    let over = gatemq_proto::cluster::state::Ban {
        kind: 2,
        value: "adam".to_owned(),
        until: 1,
        ..Default::default()
    };
    let kind = gatemq_proto::cluster::state::command::Kind::Ban(over);
    cluster.propose(kind).await;
    let mut seen = Vec::new();
    let mut path = "/bans?limit=2".to_owned();
    loop {
        let page = cluster.get(&path).await;
        seen.extend(fields(&page["items"], "value"));
        match page["next"].as_str() {
            Some(next) => path = format!("/bans?limit=2&cursor={next}"),
            None => break,
        }
    }
    let expected = ["a", "b\nb", "c/c", "eve", "10.0.0.1", "fd00::/8", "x"];
    assert_eq!(seen, expected);
    assert_eq!(
        cluster.list("/bans?kind=address", "value").await,
        ["10.0.0.1", "fd00::/8"]
    );
    let over = cluster.ask("GET", "/bans/username/adam", None).await;
    assert_eq!(over.status, StatusCode::NOT_FOUND);
    assert_eq!(cluster.get("/bans/client_id/c%2Fc").await["value"], "c/c");
}

#[tokio::test]
async fn what_is_wrong_with_a_ban_is_named() {
    let cluster = Cluster::start().await;
    let long = "x".repeat(1_025);
    for (wanted, told) in [
        (json!({"kind": "colour", "value": "red"}), "the body: "),
        (json!({"kind": "username"}), "value"),
        (json!({"kind": "username", "value": ""}), "value: is empty"),
        (json!({"kind": "client_id", "value": "a\u{0}"}), "value: "),
        (
            json!({"kind": "address", "value": "10.1.2.3/8"}),
            "write 10.0.0.0/8",
        ),
        (json!({"kind": "address", "value": "nowhere"}), "value: "),
        (
            json!({"kind": "username", "value": "eve", "reason": long}),
            "reason: is a text of at most 1024 bytes",
        ),
        (
            json!({"kind": "username", "value": "eve", "until": 1}),
            "until: is over",
        ),
        (
            json!({"kind": "username", "value": "eve", "seconds": 0}),
            "seconds: ",
        ),
        (
            json!({"kind": "username", "value": "eve", "seconds": 315_360_001}),
            "seconds: ",
        ),
        (
            json!({"kind": "username", "value": "eve", "seconds": 1, "until": 9}),
            "exclude each other",
        ),
    ] {
        let refused = ban(&cluster, wanted.clone()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{wanted}");
        let detail = refused.body["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(told), "{wanted}: {detail}");
    }
    let bad_kind = cluster.ask("GET", "/bans/colour/red", None).await;
    assert_eq!(bad_kind.status, StatusCode::BAD_REQUEST);
    assert_eq!(cluster.list("/bans", "value").await, [""; 0]);
}
