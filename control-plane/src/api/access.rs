//! Who may ask.
//!
//! With tokens, whoever shows one, in the header only: an address goes into logs and histories. What
//! it opens is said by its scope ([`token`]), which is looked at before each endpoint ([`guard`]); what it asked for
//! is in the log ([`about`]).
//! Without one, whoever is on this machine; but not a web page that a browser on it shows, of
//! another site (`Origin`) or under a name that was made to point here (`Host`).

pub(super) mod about;
pub(super) mod guard;
pub(super) mod token;

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use self::guard::Caller;
use self::token::{Scope, Token};
use super::problem::Problem;
use super::settings::now;

/// Who may not ask.
#[derive(Debug)]
struct Refused {
    /// The name of a token that is known all the same.
    who: String,
    /// For the log.
    why: &'static str,
    problem: Box<Problem>,
}

/// The rule.
pub(super) enum Access {
    Tokens(Vec<Token>),
    Local,
    Nobody,
}

impl Access {
    pub(super) fn new(tokens: Vec<Token>, is_local: bool) -> Self {
        match tokens.is_empty() {
            false => Self::Tokens(tokens),
            true if is_local => Self::Local,
            true => Self::Nobody,
        }
    }

    /// Who asks; `now` is in Unix milliseconds.
    fn check(&self, headers: &HeaderMap, now: u64) -> Result<Caller, Refused> {
        match self {
            Self::Tokens(tokens) => check_token(tokens, headers, now),
            Self::Local if is_foreign(headers) => Err(Refused {
                who: String::new(),
                why: "a web page, or another name of this machine, without a token",
                problem: Box::new(Problem::forbidden(
                    "without a token, the API answers no web pages and no other names of this \
                     machine",
                    "call it as 127.0.0.1, [::1] or localhost, or configure api.tokens and send \
                     one",
                )),
            }),
            Self::Local => Ok(Caller {
                name: "this machine".to_owned(),
                scope: Scope::Admin,
                publish: Arc::default(),
            }),
            Self::Nobody => Err(Refused {
                who: String::new(),
                why: "the API has no token",
                problem: Box::new(Problem::forbidden(
                    "the API is reached by other machines here, and has no token",
                    "configure api.tokens (`gatemq token` makes one), or let http listen on \
                     127.0.0.1",
                )),
            }),
        }
    }
}

/// Lets through who may ask.
pub(super) async fn check(
    State(access): State<Arc<Access>>,
    mut request: Request,
    next: Next,
) -> Response {
    match access.check(request.headers(), now()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(Refused { who, why, problem }) => {
            let response = problem.into_response();
            guard::tell_refused(&request, &who, why, response.status());
            response
        }
    }
}

fn check_token(tokens: &[Token], headers: &HeaderMap, now: u64) -> Result<Caller, Refused> {
    const INVALID: &str = "Bearer realm=\"gatemq\", error=\"invalid_token\"";
    let header = headers.get(AUTHORIZATION);
    let shown = header.map(|value| value.as_bytes());
    let shown = shown.and_then(|value| match value.split_at_checked(7) {
        Some((scheme, shown)) if scheme.eq_ignore_ascii_case(b"bearer ") => Some(shown),
        _ => None,
    });
    let refused = |who: &str, why, detail, challenge| Refused {
        who: who.to_owned(),
        why,
        problem: Box::new(Problem::unauthorized(detail, challenge)),
    };
    let Some(shown) = shown else {
        let (detail, challenge) = (
            "there is no token in the request",
            "Bearer realm=\"gatemq\"",
        );
        return Err(refused("", "no token", detail, challenge));
    };
    match token::find(tokens, shown) {
        None => {
            let detail = "the token is another one";
            Err(refused("", "another token", detail, INVALID))
        }
        Some(token) if token.expires.is_some_and(|expires| expires <= now) => {
            let why = "the token has expired";
            Err(refused(&token.name, why, why, INVALID))
        }
        Some(token) => Ok(Caller {
            name: token.name.clone(),
            scope: token.scope,
            publish: token.publish.clone(),
        }),
    }
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
        access.check(&headers.collect(), 1_000).is_ok()
    }

    #[test]
    fn a_token_is_taken_whole_and_from_the_header() {
        let access = Access::new(vec![Token::admin("a", "secret")], true);
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
    fn a_token_opens_until_it_expires() {
        let until = |expires| {
            let token = Token {
                expires: Some(expires),
                ..Token::admin("a", "secret")
            };
            asks(
                &Access::new(vec![token], true),
                &[(AUTHORIZATION, "Bearer secret")],
            )
        };
        assert!(until(1_001) && !until(1_000) && !until(0));
    }

    #[test]
    fn who_is_refused_is_named_as_far_as_it_is_known_and_why() {
        let token = Token {
            expires: Some(1_000),
            ..Token::admin("ann", "secret")
        };
        let access = Access::new(vec![token], true);
        let check = |shown: Option<&str>, who: &str, why: &str| {
            let header = |value: &str| (AUTHORIZATION, value.parse().expect("a header"));
            let headers = shown.map(header).into_iter().collect();
            let refused = access.check(&headers, 1_000).expect_err(why);
            assert_eq!((&*refused.who, refused.why), (who, why));
        };
        check(Some("Bearer secret"), "ann", "the token has expired");
        check(Some("Bearer other"), "", "another token");
        check(Some("Basic secret"), "", "no token");
        check(None, "", "no token");
    }

    #[test]
    fn without_a_token_this_machine_asks_and_no_web_page() {
        let access = Access::new(Vec::new(), true);
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
        assert!(!asks(
            &Access::new(Vec::new(), false),
            &[(HOST, "127.0.0.1")]
        ));
    }
}
