//! What is wrong with a request, or stands in its way: RFC 9457, with a hint what to do.

use axum::extract::OriginalUri;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tonic::{Code, Status};
use utoipa::ToSchema;

/// The media type of a problem.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// A problem, on its way to an answer.
#[derive(Debug)]
pub(super) struct Problem {
    kind: &'static str,
    status: StatusCode,
    detail: String,
    what_to_do: String,
    header: Option<(HeaderName, &'static str)>,
}

/// A problem, as it is answered (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Body {
    /// A URN that stands for this kind of problem.
    #[serde(rename = "type")]
    kind: String,
    /// The kind in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong here.
    detail: String,
    /// What helps.
    what_to_do: String,
}

// === impl Problem ===

impl Problem {
    fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind,
            status,
            detail: detail.into(),
            what_to_do: "see /api/v1/openapi.json for what is taken".to_owned(),
            header: None,
        }
    }

    pub(super) fn hint(mut self, what_to_do: impl Into<String>) -> Self {
        self.what_to_do = what_to_do.into();
        self
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    pub(super) fn unknown_parameter(name: &str, known: &[String]) -> Self {
        let detail = format!("there is no query parameter {name:?} here");
        let what_to_do = match known {
            [] => "leave the query out: this endpoint takes none".to_owned(),
            known => format!("use {}", known.join(", ")),
        };
        Self::new(StatusCode::BAD_REQUEST, "unknown-parameter", detail).hint(what_to_do)
    }

    pub(super) fn bad_setting(problem: &gatemq_node::config::Problem) -> Self {
        let detail = format!("{}: {}", problem.key, problem.what);
        Self::new(StatusCode::BAD_REQUEST, "bad-setting", detail)
            .hint("GET /api/v1/config tells each setting and what it may be")
    }

    /// A bridge could not go by a rule.
    pub(super) fn bad_rule(bridge: &str, problem: &gatemq_node::config::Problem) -> Self {
        let detail = format!("{}: {} ({bridge} says so)", problem.key, problem.what);
        Self::new(StatusCode::BAD_REQUEST, "bad-rule", detail).hint(
            "the keys are those of bridge.rules in a bridge's file; its kafka is one of that file",
        )
    }

    pub(super) fn unauthorized(detail: &str, challenge: &'static str) -> Self {
        let mut problem = Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).hint(
            "send the header Authorization: Bearer TOKEN, with a token of api.tokens or api.token",
        );
        problem.header = Some((WWW_AUTHENTICATE, challenge));
        problem
    }

    pub(super) fn forbidden(detail: &str, what_to_do: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail).hint(what_to_do)
    }

    pub(super) fn not_found(what: impl Into<String>, what_to_do: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", what).hint(what_to_do)
    }

    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "refused", detail)
            .hint("look at the state (GET /api/v1/members, /api/v1/cluster), and ask for what fits")
    }

    pub(super) fn too_large() -> Self {
        let detail = "the body has more than 65536 bytes";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail).hint("send less at once")
    }

    pub(super) fn media_type() -> Self {
        let detail = "the body has to be JSON";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "media-type", detail)
            .hint("send the header Content-Type: application/json")
    }

    pub(super) fn not_joined(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "not-joined", detail).hint(
            "name HOST:PORT of the gossip of a node that runs, with the same gossip keys and of \
             the same cluster or of none",
        )
    }

    pub(super) fn no_leader(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "no-leader", detail)
            .hint("nothing was changed: try again; GET /api/v1/cluster tells who leads");
        problem.header = Some((RETRY_AFTER, "1"));
        problem
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            .hint("try again; GET /api/v1/members tells which nodes answer");
        problem.header = Some((RETRY_AFTER, "1"));
        problem
    }

    pub(super) fn not_taken(detail: impl Into<String>) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "not-taken", detail)
            .hint("the message is not with everybody whom it was for: publish it again later")
    }

    pub(super) fn undecided(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "undecided", detail)
            .hint("nobody knows whether it was done: look, and repeat it if it was not")
    }

    /// What a call to another node came to.
    pub(super) fn of_call(name: &str, status: &Status) -> Self {
        let detail = format!("{name}: {}", status.message());
        match status.code() {
            Code::InvalidArgument => Self::bad_request(status.message()),
            Code::FailedPrecondition => Self::conflict(detail),
            Code::Unavailable => Self::unavailable(detail),
            _ => Self::undecided(detail),
        }
    }
}

/// The kind of problem that a status stands for, in words.
pub(super) fn title(status: u16) -> &'static str {
    match status {
        400 => "The request is not right",
        401 => "A token is needed",
        403 => "Not by this caller",
        404 => "There is no such thing",
        405 => "Not with this method",
        409 => "It does not fit the state",
        413 => "Too much at once",
        415 => "Not in this form",
        502 => "The other node was not joined",
        503 => "It cannot be done now",
        504 => "It is not known what became of it",
        _ => "Something is wrong",
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status.as_u16();
        let body = Body {
            kind: format!("urn:gatemq:problem:{}", self.kind),
            title: title(status),
            status,
            detail: self.detail,
            what_to_do: self.what_to_do,
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some((name, value)) = self.header {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// A path that is none.
pub(super) async fn no_route(OriginalUri(uri): OriginalUri) -> Problem {
    Problem::not_found(
        format!("there is nothing at {}", uri.path()),
        "GET /api/v1/openapi.json lists what there is",
    )
}

/// A method that a path does not have; which it has is in the header `Allow`.
pub(super) async fn no_method(method: Method, OriginalUri(uri): OriginalUri) -> Problem {
    let detail = format!("{} does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", detail)
        .hint("use a method of the header Allow")
}
