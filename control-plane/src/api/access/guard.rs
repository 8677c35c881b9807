//! What stands before each endpoint: whether the caller's scope opens it, and, of what is more than
//! a look, a line in the log (`target: audit`) that says who has asked for what, from where, and what
//! came of it.

use std::sync::Arc;

use axum::extract::{OriginalUri, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use gatemq_node::admin::Peer;
use gatemq_proto::topic;

use super::token::Scope;
use crate::api::problem::Problem;

/// Who asks: an extension of each request that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) struct Caller {
    /// The name of its token.
    pub(super) name: String,
    pub(super) scope: Scope,
    /// Filters of the topics that it publishes to; empty for all.
    pub(super) publish: Arc<[String]>,
}

impl Caller {
    /// Whose token it showed.
    pub(in crate::api) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may publish to a topic.
    ///
    /// # Errors
    ///
    /// Its token names others.
    pub(in crate::api) fn may_publish(&self, topic: &str) -> Result<(), Problem> {
        let mut filters = self.publish.iter();
        if self.publish.is_empty() || filters.any(|filter| topic::matches(filter, topic)) {
            return Ok(());
        }
        Err(Problem::forbidden(
            &format!("the token {} does not publish to {topic:?}", self.name),
            &format!(
                "it publishes to {}: add to it, or show another",
                self.publish.join(", ")
            ),
        ))
    }
}

/// Lets through whose scope is wide enough.
pub(in crate::api) async fn pass(needed: Scope, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let caller = extensions.get::<Caller>().cloned();
    let from = extensions.get::<Peer>().map(|peer| peer.0.to_string());
    let uri = extensions.get::<OriginalUri>().map(|OriginalUri(uri)| uri);
    let path = uri.unwrap_or(request.uri()).path_and_query();
    let path = path.map_or_else(String::new, ToString::to_string);
    let method = request.method().clone();
    let response = match &caller {
        Some(caller) if caller.scope >= needed => next.run(request).await,
        caller => refusal(caller.as_ref(), needed).into_response(),
    };
    if needed > Scope::Viewer {
        tracing::info!(
            target: "audit",
            who = caller.map_or_else(String::new, |caller| caller.name),
            what = format!("{method} {path}"),
            outcome = response.status().as_u16(),
            from = from.unwrap_or_default(),
            "asked of the API"
        );
    }
    response
}

fn refusal(caller: Option<&Caller>, needed: Scope) -> Problem {
    let has = caller.map_or("no scope".to_owned(), |caller| {
        format!("{} has the scope {}", caller.name, caller.scope)
    });
    Problem::forbidden(
        &format!("this needs the scope {needed}, and the token {has}"),
        &format!("show a token of api.tokens with the scope {needed}, or a wider one"),
    )
}
