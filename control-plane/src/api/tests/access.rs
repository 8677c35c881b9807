//! What each scope opens: one row for each endpoint of the document.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Request, StatusCode};

use super::fixture::Cluster;
use crate::api::Scope::{Admin, Operator, Viewer};
use crate::api::{Scope, Token};

const NEEDED: [(&str, Scope); 33] = [
    ("GET /bans", Viewer),
    ("GET /bans/{kind}/{value}", Viewer),
    ("GET /bridge/rules", Viewer),
    ("GET /bridge/rules/{name}", Viewer),
    ("GET /clients", Viewer),
    ("GET /clients/{id}", Viewer),
    ("GET /cluster", Viewer),
    ("GET /cluster/hash", Viewer),
    ("GET /config", Viewer),
    ("GET /config/history", Viewer),
    ("GET /members", Viewer),
    ("GET /members/{name}", Viewer),
    ("GET /openapi.json", Viewer),
    ("GET /routes", Viewer),
    ("GET /routes/explain", Viewer),
    ("GET /stats", Viewer),
    ("GET /traces", Viewer),
    ("POST /config/validate", Viewer),
    ("DELETE /bans/{kind}/{value}", Operator),
    ("DELETE /clients/{id}", Operator),
    ("DELETE /traces/{name}", Operator),
    ("GET /traces/{name}", Operator),
    ("POST /bans", Operator),
    ("POST /members/{name}/drain", Operator),
    ("POST /publish", Operator),
    ("POST /traces", Operator),
    ("POST /traces/{name}/stop", Operator),
    ("DELETE /bridge/rules/{name}", Admin),
    ("DELETE /config/{key}", Admin),
    ("DELETE /members/{name}", Admin),
    ("POST /members", Admin),
    ("PUT /bridge/rules/{name}", Admin),
    ("PUT /config/{key}", Admin),
];

#[tokio::test]
async fn a_token_that_names_topics_publishes_to_no_others() {
    let operator = |name: &str, publish: &[&str]| Token {
        scope: Operator,
        publish: publish.iter().map(|filter| (*filter).to_owned()).collect(),
        ..Token::admin(name, name)
    };
    let some = operator("some", &["alarms/#", "+/set"]);
    let tokens = vec![some, operator("all", &[])];
    let cluster = Cluster::start_with(tokens, false).await;
    let (_, desk) = cluster.serve("g1", super::fixture::Desk::default()).await;
    let publish = async |token: &str, topic: &str| {
        let asked = Request::post("/api/v1/publish")
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, "application/json");
        let body = Body::from(serde_json::json!({"topic": topic}).to_string());
        cluster.send(asked.body(body).expect("a request")).await
    };
    for topic in ["alarms", "alarms/a/b", "pump/set"] {
        let answer = publish("some", topic).await;
        assert_eq!(answer.status, StatusCode::OK, "{topic}: {answer:?}");
    }
    for topic in ["alarm", "pump/set/x", "$x/set", "alarms/../x", "#", "+/set"] {
        let is_named = topic.starts_with("alarms/") || topic == "+/set";
        let answer = publish("some", topic).await;
        let is_refused = answer.status == StatusCode::FORBIDDEN;
        assert_eq!(is_refused, !is_named, "{topic}: {answer:?}");
        if is_refused {
            let hint = answer.body["what_to_do"].as_str().expect("a hint");
            assert!(hint.contains("alarms/#, +/set"), "{hint}");
        }
        assert_eq!(
            publish("all", topic).await.status,
            StatusCode::OK,
            "{topic}"
        );
    }
    let published = desk.published.lock();
    let is_refused = |topic: &str| ["alarm", "pump/set/x", "$x/set", "#"].contains(&topic);
    let n_refused = published.iter().filter(|it| is_refused(&it.topic)).count();
    assert_eq!(n_refused, 4, "only by the one that names none");
}

#[tokio::test]
async fn each_endpoint_is_open_to_its_scope_and_wider_ones() {
    let tokens = Scope::ALL.map(|scope| Token {
        scope,
        ..Token::admin(scope.name(), scope.name())
    });
    let cluster = Cluster::start_with(tokens.into(), false).await;
    let send = async |method: &str, path: &str, scope: Scope| {
        let asked = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(AUTHORIZATION, format!("Bearer {scope}"));
        cluster
            .send(asked.body(Body::empty()).expect("a request"))
            .await
    };
    let document = send("GET", "/openapi.json", Viewer).await.body;
    let mut documented = BTreeMap::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("a path") {
            let scope = operation["security"][0]["token"][0].as_str();
            let scope = scope.and_then(|scope| scope.parse().ok());
            documented.insert(format!("{} {path}", method.to_uppercase()), scope);
        }
    }
    let needed = NEEDED.map(|(operation, scope)| (operation.to_owned(), Some(scope)));
    assert_eq!(documented, BTreeMap::from(needed));
    for (operation, needed) in NEEDED {
        let (method, path) = operation.split_once(' ').expect("a method and a path");
        let path = path.replace(['{', '}'], "");
        for scope in Scope::ALL {
            let answer = send(method, &path, scope).await;
            let is_open = answer.status != StatusCode::FORBIDDEN;
            assert_eq!(
                is_open,
                scope >= needed,
                "{operation} by {scope}: {answer:?}"
            );
            if !is_open {
                let detail = answer.body["detail"].as_str().expect("a detail");
                assert!(detail.contains(needed.name()), "{detail}");
            }
        }
    }
}
