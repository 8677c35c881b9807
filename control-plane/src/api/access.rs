//! Who may ask.
//!
//! With a token, whoever shows it, in the header only: an address goes into logs and histories.
//! Without one, whoever is on this machine; but not a web page that a browser on it shows, of
//! another site (`Origin`) or under a name that was made to point here (`Host`).

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// The rule.
pub(super) enum Access {
    Token(String),
    Local,
    Nobody,
}

impl Access {
    pub(super) fn new(token: Option<String>, is_local: bool) -> Self {
        match token {
            Some(token) => Self::Token(token),
            None if is_local => Self::Local,
            None => Self::Nobody,
        }
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match self {
            Self::Token(token) => check_token(token, headers),
            Self::Local if is_foreign(headers) => Err(Problem::forbidden(
                "without a token, the API answers no web pages and no other names of this machine",
                "call it as 127.0.0.1, [::1] or localhost, or configure api.token and send it",
            )),
            Self::Local => Ok(()),
            Self::Nobody => Err(Problem::forbidden(
                "the API is reached by other machines here, and has no token",
                "configure api.token or api.token-file, or let http listen on 127.0.0.1",
            )),
        }
    }
}

/// Lets through who may ask.
pub(super) async fn check(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    match access.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check_token(token: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let header = headers.get(AUTHORIZATION);
    let shown = header.map(|value| value.as_bytes());
    let shown = shown.and_then(|value| match value.split_at_checked(7) {
        Some((scheme, shown)) if scheme.eq_ignore_ascii_case(b"bearer ") => Some(shown),
        _ => None,
    });
    match shown {
        Some(shown) if is_same(shown, token.as_bytes()) => Ok(()),
        Some(_) => Err(Problem::unauthorized(
            "the token is another one",
            "Bearer realm=\"gatemq\", error=\"invalid_token\"",
        )),
        None => Err(Problem::unauthorized(
            "there is no token in the request",
            "Bearer realm=\"gatemq\"",
        )),
    }
}

/// Whether two texts are the same; how long that takes tells only how long `shown` is.
fn is_same(shown: &[u8], token: &[u8]) -> bool {
    let mut differences = u8::from(shown.len() != token.len());
    for (at, byte) in shown.iter().enumerate() {
        let expected = token.get(at % token.len().max(1)).copied().unwrap_or(0);
        differences = black_box(differences | (byte ^ expected));
    }
    differences == 0 && !token.is_empty()
}

/// Whether a browser asks for a page of another site, or by a name that is not this machine's own.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let host = text(HOST).unwrap_or_default();
    let is_own = |origin: &str| origin.split_once("://").is_some_and(|(_, it)| it == host);
    !is_loopback(host) || text(ORIGIN).is_some_and(|origin| !is_own(origin))
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    fn asks(access: &Access, headers: &[(HeaderName, &str)]) -> bool {
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| (name.clone(), value.parse().expect("a header")));
        access.check(&headers.collect()).is_ok()
    }

    #[test]
    fn a_token_is_taken_whole_and_from_the_header() {
        let access = Access::new(Some("secret".to_owned()), true);
        assert!(asks(&access, &[(AUTHORIZATION, "Bearer secret")]));
        assert!(asks(&access, &[(AUTHORIZATION, "bearer secret")]));
        for wrong in [
            "Bearer secre",
            "Bearer secret1",
            "Bearer ",
            "Basic secret",
            "secret",
            "Bearer secretsecret",
        ] {
            assert!(!asks(&access, &[(AUTHORIZATION, wrong)]), "{wrong}");
        }
        assert!(!asks(&access, &[]));
    }

    #[test]
    fn without_a_token_this_machine_asks_and_no_web_page() {
        let access = Access::new(None, true);
        for host in [
            "127.0.0.1:8080",
            "[::1]:8080",
            "localhost",
            "LOCALHOST:80",
            "127.0.0.2",
        ] {
            assert!(asks(&access, &[(HOST, host)]), "{host}");
        }
        let own = [(HOST, "localhost:80"), (ORIGIN, "http://localhost:80")];
        assert!(asks(&access, &own));
        let other = [(HOST, "localhost:80"), (ORIGIN, "http://evil.example")];
        assert!(!asks(&access, &other));
        for host in [
            "evil.example:8080",
            "10.0.0.1",
            "",
            "[::2]",
            "127.0.0.1.evil.example",
        ] {
            assert!(!asks(&access, &[(HOST, host)]), "{host}");
        }
        assert!(!asks(&access, &[]), "a browser of old");
    }

    #[test]
    fn other_machines_need_a_token() {
        assert!(!asks(&Access::new(None, false), &[(HOST, "127.0.0.1")]));
    }
}
