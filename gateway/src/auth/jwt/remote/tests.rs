//! Keys that a server has: when they are read, and what holds while they cannot be.

use std::sync::atomic::AtomicUsize;

use jsonwebtoken::Header;

use super::super::keys::tests::set_of;
use super::super::tests::{claims, config, encoding};
use super::super::{JwtSource, Source};
use super::*;
use crate::auth::fetch::tests::{Act, Server, answer, config as fetch};
use crate::auth::{Admission, Credentials};
use crate::config;

/// A server with what is at this place of `SETS`, and a source that reads it.
async fn scene(refresh: Duration) -> (Server, Arc<AtomicUsize>, JwtSource) {
    let at = Arc::new(AtomicUsize::new(0));
    let now = at.clone();
    let server = Server::start(move |_| match now.load(Ordering::SeqCst) {
        0 => answer("200 OK", &set_of(&[("rsa.pub", "a")])),
        1 => answer("200 OK", &set_of(&[("rsa.pub", "a"), ("ec256.pub", "b")])),
        2 => answer("500 Oh", ""),
        3 => answer("200 OK", r#"{"keys":[]}"#),
        _ => Act::Hang(Vec::new()),
    })
    .await;
    let source = config::JwtSource {
        remote: Some(RemoteKeys {
            url: server.url("/keys").to_string(),
            refresh,
            fetch: fetch(),
        }),
        ..config(&[Algorithm::RS256, Algorithm::ES256], Vec::new())
    };
    (server, at, JwtSource::open(&source).unwrap())
}

fn token(key: &str, id: &str) -> String {
    let by = if key == "ec256" {
        Algorithm::ES256
    } else {
        Algorithm::RS256
    };
    let head = Header {
        kid: Some(id.to_owned()),
        ..Header::new(by)
    };
    jsonwebtoken::encode(&head, &claims(), &encoding(key)).unwrap()
}

async fn show(source: &JwtSource, token: &str) -> Result<bool, Unavailable> {
    let credentials = Credentials {
        client_id: "c-1",
        username: Some("ann"),
        password: Some(token.as_bytes()),
        address: None,
    };
    let admission = source.admit(&credentials).await?;
    assert_ne!(admission, Admission::Unknown);
    Ok(matches!(admission, Admission::Allowed(_)))
}

/// Lets the last attempt be that long ago.
async fn age(source: &JwtSource, by: Duration) {
    let remote = source.remote.as_ref().unwrap();
    let mut tried_at = remote.tried_at.lock().await;
    *tried_at = tried_at.map(|at| at.checked_sub(by).expect("the machine is up"));
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn keys_are_read_once_and_again_for_one_that_is_not_known() {
    let (server, at, source) = scene(HOUR).await;
    for _ in 0..3 {
        assert!(show(&source, &token("rsa", "a")).await.unwrap());
    }
    assert_eq!(server.asked().len(), 1);
    // Whoever makes up names of keys does not have them read each time.
    at.store(1, Ordering::SeqCst);
    for id in ["b", "c", "d"] {
        assert!(!show(&source, &token("ec256", id)).await.unwrap());
    }
    assert_eq!(server.asked().len(), 1);
    age(&source, PAUSE).await;
    assert!(show(&source, &token("ec256", "b")).await.unwrap());
    assert!(show(&source, &token("rsa", "a")).await.unwrap());
    // The key of another, and one under another's name.
    assert!(!show(&source, &token("other", "a")).await.unwrap());
    assert!(!show(&source, &token("ec256", "a")).await.unwrap());
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn what_was_read_holds_while_the_server_fails() {
    let (server, at, source) = scene(Duration::ZERO).await;
    assert!(show(&source, &token("rsa", "a")).await.unwrap());
    for failure in 2..=4 {
        at.store(failure, Ordering::SeqCst);
        age(&source, PAUSE).await;
        let n_before = server.asked().len();
        assert!(
            show(&source, &token("rsa", "a")).await.unwrap(),
            "{failure}"
        );
        assert_eq!(server.asked().len(), n_before + 1);
        // And it is not asked all the time.
        assert!(
            show(&source, &token("rsa", "a")).await.unwrap(),
            "{failure}"
        );
        assert_eq!(server.asked().len(), n_before + 1);
    }
    at.store(1, Ordering::SeqCst);
    age(&source, PAUSE).await;
    assert!(show(&source, &token("ec256", "b")).await.unwrap());
}

#[tokio::test]
async fn without_keys_nobody_is_let_in_until_there_are() {
    let (_server, at, source) = scene(HOUR).await;
    at.store(2, Ordering::SeqCst);
    for _ in 0..2 {
        let shown = show(&source, &token("rsa", "a")).await;
        assert!(matches!(shown, Err(Unavailable::Failed(_))), "{shown:?}");
    }
    at.store(0, Ordering::SeqCst);
    age(&source, FIRST_PAUSE).await;
    assert!(show(&source, &token("rsa", "a")).await.unwrap());
}

#[tokio::test]
async fn a_crowd_has_them_read_once() {
    let (server, _, source) = scene(HOUR).await;
    let (source, shown) = (Arc::new(source), token("rsa", "a"));
    let crowd: Vec<_> = (0..50)
        .map(|_| {
            let (source, shown) = (source.clone(), shown.clone());
            tokio::spawn(async move { show(&source, &shown).await })
        })
        .collect();
    for one in crowd {
        assert!(one.await.unwrap().unwrap());
    }
    assert_eq!(server.asked().len(), 1);
}
