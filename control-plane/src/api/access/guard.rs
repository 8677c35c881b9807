//! What stands before each endpoint: whether the caller's scope opens it, and, of what is more than
//! a look or was not let in, a line in the log (`target: audit`) that says who has asked for what, from where, and what
//! came of it.

use std::sync::Arc;

use axum::extract::{OriginalUri, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use gatemq_node::admin::Peer;
use gatemq_proto::topic;

use super::about::{About, shorten};
use super::token::Scope;
use crate::api::problem::Problem;

/// Stands where a secret may have been.
const HIDDEN: &str = "<hidden>";

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

    /// Whether its scope is wide enough for what an endpoint does not always do.
    ///
    /// # Errors
    ///
    /// It is not.
    pub(in crate::api) fn must_have(&self, needed: Scope) -> Result<(), Problem> {
        match self.scope >= needed {
            true => Ok(()),
            false => Err(refusal(Some(self), needed)),
        }
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
pub(in crate::api) async fn pass(needed: Scope, mut request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().cloned();
    let asked = Asked::of(&request);
    request.extensions_mut().insert(asked.about.clone());
    let response = match &caller {
        Some(caller) if caller.scope >= needed => next.run(request).await,
        caller => refusal(caller.as_ref(), needed).into_response(),
    };
    if needed > Scope::Viewer {
        let who = caller.as_ref().map_or("", Caller::name);
        asked.tell(who, None, response.status());
    }
    response
}

/// Tells of a request that was not let in. Who asks wrongly may do so in a wrong place, too: what is
/// behind the question mark is left out.
pub(super) fn tell_refused(request: &Request, who: &str, why: &str, outcome: StatusCode) {
    let mut asked = Asked::of(request);
    if let Some(end) = asked.what.find('?') {
        asked.what.replace_range(end + 1.., HIDDEN);
    }
    asked.tell(who, Some(why), outcome);
}

/// What was asked, and from where.
struct Asked {
    what: String,
    from: String,
    about: About,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let extensions = request.extensions();
        let from = extensions.get::<Peer>().map(|peer| peer.0.to_string());
        let uri = extensions.get::<OriginalUri>().map(|OriginalUri(uri)| uri);
        let uri = uri.unwrap_or(request.uri());
        let mut what = format!("{} {}", request.method(), uri.path());
        if let Some(query) = uri.query() {
            what.push('?');
            what.push_str(&without_secrets(query));
        }
        Self {
            what: shorten(what),
            from: from.unwrap_or_default(),
            about: About::default(),
        }
    }

    fn tell(self, who: &str, why: Option<&str>, outcome: StatusCode) {
        let (what, from, outcome) = (self.what, self.from, outcome.as_u16());
        let about = self.about.said();
        tracing::info!(target: "audit", who, what, outcome, from, why, about, "asked of the API");
    }
}

/// A query without the values of keys that are named as secrets are.
fn without_secrets(query: &str) -> String {
    let fields = query.split('&').map(|field| match field.split_once('=') {
        Some((key, _)) if is_secret(key) => format!("{key}={HIDDEN}"),
        _ => field.to_owned(),
    });
    fields.collect::<Vec<_>>().join("&")
}

/// Whether a key has the name of a secret. One with characters that are encoded has none of the API's
/// own names, and may have any.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let named = ["token", "key", "password", "passwd", "secret", "auth", "%"];
    named.iter().any(|name| key.contains(name))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_as_a_secret_is_not_in_the_log() {
        for (query, shown) in [
            ("force=true&limit=3", "force=true&limit=3"),
            ("token=s3cret", "token=<hidden>"),
            ("a=b&Access_Token=s3cret=", "a=b&Access_Token=<hidden>"),
            (
                "api-key=s3cret&password=s3cret",
                "api-key=<hidden>&password=<hidden>",
            ),
            ("%74oken=s3cret", "%74oken=<hidden>"),
            ("topic=a%2Fkey", "topic=a%2Fkey"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(query), shown, "{query}");
        }
    }
}
