//! `/openapi.json`: the document, made from the table that the router is made from.

use std::sync::OnceLock;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder, Paths, ServerBuilder,
};

use super::endpoint::Endpoint;
use super::problem::Problem;
use super::{ROOT, table as all};

/// An OpenAPI document.
#[derive(ToSchema)]
#[schema(value_type = Object)]
struct Document(#[expect(dead_code, reason = "only its schema is used")] Value);

pub(super) fn table() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/openapi.json", "showDocument", "This document", show)
            .answers::<Document>("OpenAPI 3.1"),
    ]
}

async fn show() -> Response {
    /// It is the same as long as the program is.
    static DOCUMENT: OnceLock<Option<Value>> = OnceLock::new();
    match DOCUMENT.get_or_init(|| serde_json::to_value(document()).ok()) {
        Some(document) => Json(document).into_response(),
        None => Problem::unavailable("the document cannot be written").into_response(),
    }
}

/// The document.
pub(super) fn document() -> OpenApi {
    let mut paths = Paths::new();
    let mut components = ComponentsBuilder::new().security_scheme(
        "token",
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()),
    );
    for endpoint in all() {
        let Endpoint {
            method,
            path,
            operation,
            schemas,
            scope,
            ..
        } = endpoint;
        let operation = operation.securities(Some([
            SecurityRequirement::new("token", [scope.name()]),
            SecurityRequirement::default(),
        ]));
        let methods: Vec<HttpMethod> = vec![method];
        paths.add_path_operation(path, methods, operation.build());
        components = components.schemas_from_iter(schemas);
    }
    let info = InfoBuilder::new()
        .title("GateMQ")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Any node of the control plane answers. Reads are of its own state; a change goes \
             through the leader and is answered when it is committed. Names are in snake_case, \
             times are Unix milliseconds, problems are application/problem+json (RFC 9457).",
        ));
    OpenApiBuilder::new()
        .info(info.build())
        .servers(Some([ServerBuilder::new().url(ROOT).build()]))
        .paths(paths)
        .components(Some(components.build()))
        .security(Some([
            SecurityRequirement::new("token", [] as [&str; 0]),
            SecurityRequirement::default(),
        ]))
        .build()
}
