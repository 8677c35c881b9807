//! The router and the document are of one piece, and errors are problems.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HOST, WWW_AUTHENTICATE};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::fixture::Cluster;
use crate::api::endpoint::path_parameters;
use crate::api::{Token, table};

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "PATCH"];

/// Paths with their methods, as the document has them.
fn documented(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let paths = document["paths"].as_object().expect("paths");
    let methods = |item: &Value| {
        let keys = item.as_object().expect("a path").keys();
        keys.map(|key| key.to_uppercase()).collect()
    };
    paths
        .iter()
        .map(|(path, item)| (path.clone(), methods(item)))
        .collect()
}

#[tokio::test]
async fn every_route_is_in_the_document_and_the_other_way_round() {
    let cluster = Cluster::start().await;
    let document = cluster.get("/openapi.json").await;
    let documented = documented(&document);
    let n_operations: usize = documented.values().map(BTreeSet::len).sum();
    assert_eq!(n_operations, table().len());
    for endpoint in table() {
        assert!(documented.contains_key(endpoint.path), "{}", endpoint.path);
    }
    for (path, methods) in &documented {
        let levels = path.split('/').map(|level| match level.starts_with('{') {
            true => "some-thing",
            false => level,
        });
        let asked = levels.collect::<Vec<_>>().join("/");
        for method in METHODS {
            let answer = cluster.ask(method, &asked, None).await;
            let is_routed = answer.status != StatusCode::METHOD_NOT_ALLOWED
                && answer.body["detail"] != format!("there is nothing at /api/v1{asked}");
            assert_eq!(
                is_routed,
                methods.contains(method),
                "{method} {path}: {answer:?}"
            );
            if !is_routed {
                let allow = answer.headers[ALLOW].to_str().expect("text").split(',');
                let allowed: BTreeSet<_> = allow.map(str::trim).map(str::to_owned).collect();
                let head = methods.contains("GET").then(|| "HEAD".to_owned());
                let expected: BTreeSet<_> = methods.iter().cloned().chain(head).collect();
                assert_eq!(allowed, expected, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn the_document_is_whole() {
    let cluster = Cluster::start().await;
    let document = cluster.get("/openapi.json").await;
    // Two structures of one name would hide each other.
    let mut schemas: BTreeMap<String, String> = BTreeMap::new();
    for (name, schema) in table().into_iter().flat_map(|endpoint| endpoint.schemas) {
        let schema = serde_json::to_string(&schema).expect("a schema");
        let known = schemas.insert(name.clone(), schema.clone());
        assert!(
            known.is_none_or(|known| known == schema),
            "{name} is two things"
        );
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a name");
        let schema = &document["components"]["schemas"][name];
        assert!(schema.is_object(), "{name} is referred to and not there");
    }
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for operation in item.as_object().expect("a path").values() {
            let id = operation["operationId"].as_str().expect("an id");
            assert!(ids.insert(id.to_owned()), "{id} is twice there");
            assert!(
                operation["summary"]
                    .as_str()
                    .is_some_and(|it| !it.is_empty())
            );
            let has = |name: &str, place: &str| {
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let mut found = parameters.filter(|it| it["name"] == name && it["in"] == place);
                found.next().is_some()
            };
            assert!(
                path_parameters(path).all(|name| has(name, "path")),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_wrong_is_a_problem_with_a_hint() {
    let cluster = Cluster::start().await;
    let long = "x".repeat(70_000);
    let cases = [
        ("GET", "/nowhere", None, 404, "not-found"),
        ("GET", "", None, 404, "not-found"),
        ("GET", "/", None, 404, "not-found"),
        ("POST", "/", None, 404, "not-found"),
        ("GET", "/routes?limt=1", None, 400, "unknown-parameter"),
        ("GET", "/cluster?x", None, 400, "unknown-parameter"),
        ("GET", "/routes?limit=0", None, 400, "bad-request"),
        ("GET", "/routes?limit=many", None, 400, "bad-request"),
        ("GET", "/routes?cursor=%23", None, 400, "bad-request"),
        ("GET", "/routes?filter=a&prefix=b", None, 400, "bad-request"),
        ("GET", "/routes/explain", None, 400, "bad-request"),
        (
            "GET",
            "/routes/explain?topic=a%2F%2B",
            None,
            400,
            "bad-request",
        ),
        ("PUT", "/members", None, 405, "method"),
        ("POST", "/publish", None, 415, "media-type"),
        (
            "POST",
            "/publish",
            Some(json!({"topics": "a"})),
            400,
            "bad-request",
        ),
        (
            "POST",
            "/publish",
            Some(json!({"topic": long})),
            413,
            "too-large",
        ),
        (
            "POST",
            "/members",
            Some(json!({"address": "x"})),
            502,
            "not-joined",
        ),
        ("GET", "/members/nobody", None, 404, "not-found"),
        ("DELETE", "/members/nobody", None, 404, "not-found"),
        ("POST", "/members/nobody/drain", None, 404, "not-found"),
        ("DELETE", "/members/c1", None, 409, "refused"),
        (
            "PUT",
            "/config/tcp",
            Some(json!({"value": "x"})),
            400,
            "bad-setting",
        ),
    ];
    for (method, path, body, status, kind) in cases {
        let answer = cluster.ask(method, path, body).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{method} {path}: {answer:?}"
        );
        assert_eq!(answer.headers[CONTENT_TYPE], "application/problem+json");
        assert_eq!(answer.body["type"], format!("urn:gatemq:problem:{kind}"));
        assert_eq!(answer.body["status"], status);
        for field in ["title", "detail", "what_to_do"] {
            let text = answer.body[field].as_str().expect("a text");
            assert!(!text.is_empty(), "{method} {path}: {field}");
        }
    }
}

#[tokio::test]
async fn with_a_token_nothing_is_told_without_it() {
    let cluster = Cluster::start_with(vec![Token::admin("a", "a-long-secret")], false).await;
    let mut paths = vec!["/api/v1/nowhere".to_owned(), "/api/v1/".to_owned()];
    paths.extend(
        table()
            .iter()
            .map(|endpoint| format!("/api/v1{}", endpoint.path)),
    );
    for path in paths {
        let path = path.replace(['{', '}'], "");
        let asked = Request::builder().uri(&path).header(HOST, "127.0.0.1");
        let answer = cluster
            .send(asked.body(Body::empty()).expect("a request"))
            .await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.headers.contains_key(WWW_AUTHENTICATE), "{path}");
        assert_eq!(answer.body["status"], 401);
    }
    let asked = Request::builder()
        .uri("/api/v1/cluster")
        .header(AUTHORIZATION, "Bearer a-long-secret");
    let answer = cluster
        .send(asked.body(Body::empty()).expect("a request"))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    let asked = Request::builder().uri("/api/v1/cluster?token=a-long-secret");
    let answer = cluster
        .send(asked.body(Body::empty()).expect("a request"))
        .await;
    assert_eq!(
        answer.status,
        StatusCode::UNAUTHORIZED,
        "not in the address"
    );
}

#[tokio::test]
async fn other_machines_need_a_token() {
    let cluster = Cluster::start_with(Vec::new(), false).await;
    let answer = cluster.ask("GET", "/cluster", None).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}
