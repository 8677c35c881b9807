//! What a server is asked, and what follows from its answers.

use std::sync::atomic::{AtomicBool, Ordering};

use super::super::fetch::tests::{Act, Server, answer, config};
use super::*;
use crate::auth::Rights;
use crate::auth::rules::Action;

fn source(server: &Server) -> HttpSource {
    let url = |path: &str| Some(server.url(path).to_string());
    HttpSource::open(&config::HttpSource {
        auth_url: url("/auth"),
        acl_url: url("/acl"),
        carriage: config::Carriage::Form,
        refresh: Duration::from_secs(60),
        fetch: config(),
    })
    .expect("it is right")
}

fn ann<'a>() -> Credentials<'a> {
    Credentials {
        client_id: "c-1",
        username: Some("ann"),
        password: Some(b"pass word"),
        address: Some([127, 0, 0, 2].into()),
    }
}

fn who<'a>(brought: Option<&'a Brought>) -> Who<'a> {
    Who {
        client_id: "c-1",
        username: Some("ann"),
        address: None,
        by: By::Username,
        brought,
    }
}

#[tokio::test]
async fn all_that_a_client_shows_is_asked_with() {
    let server = Server::start(|_| answer("200 OK", "1")).await;
    let source = source(&server);
    let Ok(Admission::Allowed(known)) = source.admit(&ann()).await else {
        panic!("it says 1");
    };
    assert_eq!((known.by, known.is_superuser), (By::Username, false));
    let nameless = Credentials {
        username: None,
        address: None,
        ..ann()
    };
    let Ok(Admission::Allowed(known)) = source.admit(&nameless).await else {
        panic!("it says 1");
    };
    assert_eq!(known.by, By::ClientId);
    // Nothing that could be asked with.
    for password in [None, Some(&b"\xFF"[..])] {
        let credentials = Credentials { password, ..ann() };
        let admission = source.admit(&credentials).await;
        assert_eq!(admission.unwrap(), Admission::Unknown);
    }
    let asked = server.asked();
    let bodies = asked.iter().map(|request| request.rsplit("\r\n").next());
    let expected = [
        "username=ann&user=ann&clientid=c-1&peerhost=127.0.0.2&password=pass+word",
        "clientid=c-1&password=pass+word",
    ];
    assert_eq!(bodies.collect::<Vec<_>>(), expected.map(Some));
}

#[tokio::test]
async fn rules_of_the_client_count_before_those_of_the_other_answer() {
    let server = Server::start(|request| match request.starts_with("POST /auth ") {
        true => answer(
            "200 OK",
            r#"{"result": "allow", "acl": [
                {"permission": "deny", "action": "all", "topic": "a/%c"}]}"#,
        ),
        false => answer("200 OK", r#"{"a/#": 3, "b": 1}"#),
    })
    .await;
    let source = source(&server);
    let Ok(Admission::Allowed(known)) = source.admit(&ann()).await else {
        panic!("it says allow");
    };
    let brought = known.brought.expect("it says more");
    let part = source.rights(&who(Some(&brought))).await.unwrap();
    let rights = Rights::of(&who(None), part);
    assert!(!rights.allow(Action::Publish, "a/c-1"));
    assert!(rights.allow(Action::Publish, "a/c-2"));
    assert!(rights.allow(Action::Subscribe, "b") && !rights.allow(Action::Publish, "b"));
    assert!(!rights.allow(Action::Publish, "c"));
    // Whom another source has let in the first answer does not concern.
    let rights = Rights::of(&who(None), source.rights(&who(None)).await.unwrap());
    assert!(rights.allow(Action::Publish, "a/c-1"));
}

#[tokio::test]
async fn whoever_may_not_be_there_is_refused() {
    let server = Server::start(|request| match request.starts_with("POST /auth ") {
        true => answer("200 OK", r#"{"result": "allow", "expire_at": 1}"#),
        false => answer("403 Forbidden", ""),
    })
    .await;
    let source = source(&server);
    let refused = source.rights(&who(None)).await;
    assert!(matches!(refused, Err(Unavailable::Refused)));
    assert_eq!(source.admit(&ann()).await.unwrap(), Admission::Denied);
}

#[tokio::test]
async fn one_of_which_a_name_is_left_is_known_by_its_rules() {
    let server = Server::start(|request| {
        let known = request
            .split("username=")
            .nth(1)
            .and_then(|rest| rest.split('&').next());
        match known {
            Some("ann") => answer("200 OK", "{}"),
            Some("bob") => answer("403 Forbidden", ""),
            _ => answer("404 Not Found", ""),
        }
    })
    .await;
    let source = source(&server);
    for (principal, is_known) in [
        ("user ann", true),
        ("user bob", false),
        ("user cy", false),
        ("client c-1", false),
    ] {
        let identity = Identity::of_principal(principal);
        let admission = source.look_up("c-1", &identity).await.unwrap();
        let is_allowed = matches!(admission, Admission::Allowed(_));
        assert_eq!(is_allowed, is_known, "{principal}");
    }
}

#[tokio::test]
async fn a_server_that_fails_lets_nobody_in_and_is_asked_again() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = is_up.clone();
    let server = Server::start(move |_| match up.load(Ordering::SeqCst) {
        true => answer("200 OK", "1"),
        false => Act::Hang(Vec::new()),
    })
    .await;
    let source = source(&server);
    let failed = source.admit(&ann()).await;
    assert!(matches!(failed, Err(Unavailable::Failed(_))), "{failed:?}");
    is_up.store(true, Ordering::SeqCst);
    let admission = source.admit(&ann()).await;
    assert!(matches!(admission, Ok(Admission::Allowed(_))));
}

/// The connection ends by itself, and a session without one goes on.
#[test]
fn what_was_said_holds_for_the_session() {
    let identity = |expires_at| Identity {
        by: By::Username,
        brought: Some(Arc::new(Brought {
            expires_at,
            is_superuser: true,
            ..Brought::default()
        })),
        ..Identity::default()
    };
    for expires_at in [None, Some(1)] {
        let admission = identity(expires_at).still();
        assert!(matches!(admission, Admission::Allowed(known) if known.is_superuser));
    }
    assert_eq!(Identity::default().still(), Admission::Unknown);
}

#[test]
fn what_is_said_of_a_wrong_url_has_no_password_of_it() {
    for (url, shown) in [
        ("http://eve:s3cret@host/a", "http://<hidden>@host/a"),
        (
            "http://eve:s3cret@host/a?key=s3cret",
            "http://<hidden>@host/a",
        ),
        (
            "https://eve:s3cret?s3cret/@s3cret@host",
            "https://<hidden>@host",
        ),
        ("eve:s3cret@host", "<hidden>@host"),
        ("ftp://host/a?key=s3cret", "ftp://host/a"),
        ("http://host/a#s3cret", "http://host/a"),
    ] {
        let config = config::HttpSource {
            auth_url: Some(url.to_owned()),
            acl_url: None,
            carriage: config::Carriage::Form,
            refresh: Duration::from_secs(60),
            fetch: config(),
        };
        let error = HttpSource::open(&config).expect_err(url).to_string();
        assert!(error.contains(shown), "{url}: {error}");
        assert!(!error.contains("s3cret"), "{url}: {error}");
    }
}
