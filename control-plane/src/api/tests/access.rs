//! What each scope opens: one row for each endpoint of the document.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::header::AUTHORIZATION;
use axum::http::{Request, StatusCode};

use super::fixture::Cluster;
use crate::api::Scope::{Admin, Operator, Viewer};
use crate::api::{Scope, Token};

const NEEDED: [(&str, Scope); 23] = [
    ("GET /bans", Viewer),
    ("GET /bans/{kind}/{value}", Viewer),
    ("GET /clients", Viewer),
    ("GET /clients/{id}", Viewer),
    ("GET /cluster", Viewer),
    ("GET /config", Viewer),
    ("GET /config/history", Viewer),
    ("GET /members", Viewer),
    ("GET /members/{name}", Viewer),
    ("GET /openapi.json", Viewer),
    ("GET /routes", Viewer),
    ("GET /routes/explain", Viewer),
    ("GET /stats", Viewer),
    ("POST /config/validate", Viewer),
    ("DELETE /bans/{kind}/{value}", Operator),
    ("DELETE /clients/{id}", Operator),
    ("POST /bans", Operator),
    ("POST /members/{name}/drain", Operator),
    ("POST /publish", Operator),
    ("DELETE /config/{key}", Admin),
    ("DELETE /members/{name}", Admin),
    ("POST /members", Admin),
    ("PUT /config/{key}", Admin),
];

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
