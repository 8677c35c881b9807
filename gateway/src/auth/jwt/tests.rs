//! Tokens of every kind, right and wrong in every way that other brokers were wrong about.
//!
//! The keys beside this file are for these tests, and nothing else knows them.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::auth::Rights;
use crate::auth::rules::Action;
use crate::config::KeySource;

pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

pub(super) fn pem(name: &str) -> &'static [u8] {
    match name {
        "rsa" => include_bytes!("tests/rsa.pem"),
        "rsa.pub" => include_bytes!("tests/rsa.pub.pem"),
        "other" => include_bytes!("tests/other.pem"),
        "other.pub" => include_bytes!("tests/other.pub.pem"),
        "weak.pub" => include_bytes!("tests/weak.pub.pem"),
        "ec256" => include_bytes!("tests/ec256.pem"),
        "ec256.pub" => include_bytes!("tests/ec256.pub.pem"),
        "ec384" => include_bytes!("tests/ec384.pem"),
        "ec384.pub" => include_bytes!("tests/ec384.pub.pem"),
        "ed" => include_bytes!("tests/ed.pem"),
        "ed.pub" => include_bytes!("tests/ed.pub.pem"),
        _ => panic!("no key {name}"),
    }
}

/// The file of a public key.
pub(super) fn public(name: &str) -> KeySource {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/auth/jwt/tests");
    KeySource::PublicKey(format!("{folder}/{name}.pub.pem").into())
}

pub(super) fn secret() -> KeySource {
    KeySource::Secret {
        text: SECRET.to_owned(),
        is_base64: false,
    }
}

pub(super) fn config(algorithms: &[Algorithm], keys: Vec<KeySource>) -> Config {
    Config {
        from: TokenFrom::Password,
        algorithms: algorithms.to_vec(),
        keys,
        remote: None,
        issuer: None,
        audience: None,
        leeway: Duration::ZERO,
        requires_expiry: true,
        verify: Vec::new(),
        username_claim: Some("sub".to_owned()),
        acl_claim: Some("acl".to_owned()),
        superuser_claim: None,
    }
}

pub(super) fn hmac() -> Config {
    config(&[Algorithm::HS256], vec![secret()])
}

pub(super) fn claims() -> Value {
    json!({"sub": "ann", "exp": wall_seconds() + 60})
}

/// Signs text for a head and claims, as they are.
pub(super) fn sign_text(head: &str, claims: &str, key: &EncodingKey, by: Algorithm) -> String {
    let message = [head, claims]
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .join(".");
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, by).unwrap();
    format!("{message}.{signature}")
}

pub(super) fn sign(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

pub(super) fn encoding(name: &str) -> EncodingKey {
    match name {
        "secret" => EncodingKey::from_secret(SECRET.as_bytes()),
        "rsa" | "other" => EncodingKey::from_rsa_pem(pem(name)),
        "ed" => EncodingKey::from_ed_pem(pem(name)),
        _ => EncodingKey::from_ec_pem(pem(name)),
    }
    .unwrap()
}

pub(super) async fn show(source: &JwtSource, token: impl AsRef<[u8]>) -> Admission {
    let credentials = Credentials {
        client_id: "c-1",
        username: Some("ann"),
        password: Some(token.as_ref()),
        address: None,
    };
    source.admit(&credentials).await.expect("it needs nobody")
}

fn is_allowed(admission: &Admission) -> bool {
    matches!(admission, Admission::Allowed(_))
}

const ALL: [(Algorithm, &str); 12] = [
    (Algorithm::HS256, "secret"),
    (Algorithm::HS384, "secret"),
    (Algorithm::HS512, "secret"),
    (Algorithm::RS256, "rsa"),
    (Algorithm::RS384, "rsa"),
    (Algorithm::RS512, "rsa"),
    (Algorithm::PS256, "rsa"),
    (Algorithm::PS384, "rsa"),
    (Algorithm::PS512, "rsa"),
    (Algorithm::ES256, "ec256"),
    (Algorithm::ES384, "ec384"),
    (Algorithm::EdDSA, "ed"),
];

fn key_source(name: &str) -> KeySource {
    match name {
        "secret" => secret(),
        name => public(name),
    }
}

#[tokio::test]
async fn tokens_are_taken_that_are_signed_as_configured_and_no_others() {
    for (algorithm, key) in ALL {
        let source = JwtSource::open(&config(&[algorithm], vec![key_source(key)])).unwrap();
        for (by, with) in ALL {
            let token = jsonwebtoken::encode(&Header::new(by), &claims(), &encoding(with));
            let admission = show(&source, token.unwrap()).await;
            assert_eq!(
                is_allowed(&admission),
                by == algorithm,
                "{by:?} {algorithm:?}"
            );
            assert_ne!(admission, Admission::Unknown);
        }
    }
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    // All that is configured for both kinds, and a token that is signed with what everybody knows.
    let algorithms = [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256];
    let keys = vec![secret(), public("rsa"), public("ec256")];
    let source = JwtSource::open(&config(&algorithms, keys)).unwrap();
    let der = URL_SAFE_NO_PAD.decode(
        String::from_utf8_lossy(pem("rsa.pub"))
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect::<String>()
            .replace('+', "-")
            .replace('/', "_"),
    );
    let known = [
        pem("rsa.pub").to_vec(),
        pem("rsa.pub").trim_ascii().to_vec(),
        pem("ec256.pub").to_vec(),
        der.unwrap_or_default(),
    ];
    for known in known.iter().filter(|known| !known.is_empty()) {
        let key = EncodingKey::from_secret(known).unwrap();
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &key);
        assert_eq!(show(&source, token.unwrap()).await, Admission::Denied);
    }
    for key in ["rsa", "ec256", "secret"] {
        let by = match key {
            "rsa" => Algorithm::RS256,
            "ec256" => Algorithm::ES256,
            _ => Algorithm::HS256,
        };
        let token = jsonwebtoken::encode(&Header::new(by), &claims(), &encoding(key)).unwrap();
        assert!(is_allowed(&show(&source, token).await));
    }
    let other = jsonwebtoken::encode(
        &Header::new(Algorithm::RS256),
        &claims(),
        &encoding("other"),
    );
    assert_eq!(show(&source, other.unwrap()).await, Admission::Denied);
}

#[tokio::test]
async fn what_is_wrong_with_a_token_lets_nobody_in() {
    let source = JwtSource::open(&hmac()).unwrap();
    let (key, hs256) = (encoding("secret"), Algorithm::HS256);
    let claims = claims().to_string();
    let signed = |head: &str| sign_text(head, &claims, &key, hs256);
    let right = signed(r#"{"alg":"HS256"}"#);
    assert!(is_allowed(&show(&source, &right).await));
    for head in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":""}"#,
        r#"{"alg":"HS512"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"ES512"}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"HS256","kid":1}"#,
    ] {
        assert_eq!(
            show(&source, signed(head)).await,
            Admission::Denied,
            "{head}"
        );
        // Nor without a signature.
        let token = signed(head);
        let (message, _) = token.rsplit_once('.').unwrap();
        let bare = show(&source, format!("{message}.")).await;
        assert_eq!(bare, Admission::Denied, "{head}");
    }
    let (message, signature) = right.rsplit_once('.').unwrap();
    let (head, payload) = message.split_once('.').unwrap();
    let other = URL_SAFE_NO_PAD.encode(claims.replace("ann", "bob"));
    for wrong in [
        format!("{message}."),
        format!("{message}.{}", &signature[1..]),
        format!("{message}.{signature}AA"),
        format!("{head}.{other}.{signature}"),
        format!("{head}..{signature}"),
        format!("{head}.{payload}A.{signature}"),
    ] {
        assert_eq!(show(&source, &wrong).await, Admission::Denied, "{wrong}");
    }
    for text in [
        "",
        "1",
        "[]",
        r#""ann""#,
        r#"{"sub":"ann","sub":"ann","exp":99999999999}"#,
        r#"{"sub":"bob","exp":99999999999,"sub":"ann"}"#,
        r#"{"sub":"ann","exp":1,"exp":99999999999}"#,
        r#"{"sub":"ann","exp":99999999999"#,
    ] {
        let token = sign_text(r#"{"alg":"HS256"}"#, text, &key, hs256);
        assert_eq!(show(&source, token).await, Admission::Denied, "{text}");
    }
    let deep = format!(
        r#"{{"sub":"ann","exp":99999999999,"a":{}1"#,
        "[".repeat(10_000)
    );
    let token = sign_text(r#"{"alg":"HS256"}"#, &deep, &key, hs256);
    assert_eq!(show(&source, token).await, Admission::Denied);
    let long = format!(
        r#"{{"sub":"ann","exp":99999999999,"a":"{}"}}"#,
        "x".repeat(20_000)
    );
    let token = sign_text(r#"{"alg":"HS256"}"#, &long, &key, hs256);
    assert_eq!(show(&source, token).await, Admission::Denied);
}

#[tokio::test]
async fn what_is_no_token_is_left_to_the_next_source() {
    let source = JwtSource::open(&hmac()).unwrap();
    for text in [
        "",
        "secret",
        "a.b.c",
        "a.b",
        "..",
        "eyJhbGciOiJIUzI1NiJ9",
        "eyJhbGciOiJIUzI1NiJ9.e30",
        "eyJhbGciOiJIUzI1NiJ9.e30.a.b",
        "eyJhbGciOiJIUzI1NiJ9.e30.a=",
        "e30.e30.a", // `{}`
        "\u{e4}.b.c",
    ] {
        assert_eq!(show(&source, text).await, Admission::Unknown, "{text}");
    }
    assert_eq!(show(&source, b"\xFF.b.c").await, Admission::Unknown);
    let deep = format!("{}.e30.a", URL_SAFE_NO_PAD.encode("[".repeat(10_000)));
    assert_eq!(show(&source, deep).await, Admission::Unknown);
    assert_eq!(show(&source, "a".repeat(1 << 20)).await, Admission::Unknown);
    let none = Credentials {
        client_id: "c-1",
        username: Some("ann"),
        password: None,
        address: None,
    };
    assert_eq!(source.admit(&none).await.unwrap(), Admission::Unknown);
}

fn who<'a>(by: By, brought: Option<&'a crate::auth::Brought>) -> Who<'a> {
    Who {
        client_id: "c-1",
        username: Some("ann"),
        address: None,
        by,
        brought,
    }
}

#[tokio::test]
async fn a_token_without_rules_has_no_rights_where_tokens_have_rules() {
    let source = JwtSource::open(&hmac()).unwrap();
    let mut with = claims();
    with["acl"] = json!({"pub": ["up/%u"]});
    for (claims, may) in [(with, true), (claims(), false)] {
        let Admission::Allowed(known) = show(&source, sign(&claims)).await else {
            panic!("it is right");
        };
        let part = source.part(&who(By::Username, known.brought.as_deref()));
        assert!(part.is_some());
        assert_eq!(
            Rights::of(&who(By::Username, None), part).allow(Action::Publish, "up/ann"),
            may
        );
    }
    // Whom nobody has let in has no token; whom another has let in, another says what it may.
    // A certificate is no token either.
    for by in [By::Nobody, By::Certificate] {
        let (who, part) = (who(by, None), source.part(&who(by, None)));
        assert!(part.is_some() && !Rights::of(&who, part).allow(Action::Publish, "up/ann"));
    }
    assert!(source.part(&who(By::Username, None)).is_none());
    let without = Config {
        acl_claim: None,
        ..hmac()
    };
    let source = JwtSource::open(&without).unwrap();
    assert!(source.part(&who(By::Nobody, None)).is_none());
}

#[tokio::test]
async fn a_token_may_be_in_the_place_of_a_user_name() {
    let config = Config {
        from: TokenFrom::Username,
        ..hmac()
    };
    let source = JwtSource::open(&config).unwrap();
    let token = sign(&claims());
    for (username, password) in [(Some(&*token), None), (Some(&*token), Some(&b"x"[..]))] {
        let credentials = Credentials {
            client_id: "c-1",
            username,
            password,
            address: None,
        };
        let Ok(Admission::Allowed(known)) = source.admit(&credentials).await else {
            panic!("it is right");
        };
        let brought = known.brought.expect("it says who it is");
        assert_eq!(brought.username.as_deref(), Some("ann"));
    }
    assert_eq!(show(&source, &token).await, Admission::Unknown);
}

#[tokio::test]
async fn a_key_that_is_gone_ends_it() {
    let file = std::env::temp_dir().join(format!("gatemq-jwt-{}", std::process::id()));
    std::fs::write(&file, SECRET).unwrap();
    let path = file.clone();
    let keys = vec![KeySource::SecretFile {
        path,
        is_base64: false,
    }];
    let source = JwtSource::open(&config(&[Algorithm::HS256], keys)).unwrap();
    let Admission::Allowed(known) = show(&source, sign(&claims())).await else {
        panic!("it is right");
    };
    let identity = |expires_at| Identity {
        by: known.by,
        mark: known.mark,
        brought: Some(Arc::new(crate::auth::Brought {
            expires_at,
            ..Default::default()
        })),
        ..Identity::default()
    };
    let later = Some(wall_seconds() + 60);
    let now = source.look_up("c-1", &identity(later)).await.unwrap();
    assert!(is_allowed(&now));
    // The connection ends by itself; a session that waits for its client goes on.
    let over = source.look_up("c-1", &identity(Some(1))).await.unwrap();
    assert!(is_allowed(&over));
    // One that cannot be read changes nothing.
    std::fs::write(&file, "short").unwrap();
    assert!(source.reload().unwrap_err().contains("too short"));
    let now = source.look_up("c-1", &identity(later)).await.unwrap();
    assert!(is_allowed(&now));
    std::fs::write(&file, SECRET.replace('0', "1")).unwrap();
    source.reload().unwrap();
    let now = source.look_up("c-1", &identity(later)).await.unwrap();
    assert_eq!(now, Admission::Denied);
    assert_eq!(show(&source, sign(&claims())).await, Admission::Denied);
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn what_would_let_in_anybody_is_an_error() {
    let error = |config: Config| JwtSource::open(&config).unwrap_err().to_string();
    assert!(error(config(&[], vec![secret()])).contains("algorithms"));
    assert!(error(config(&[Algorithm::HS256], vec![])).contains("no key"));
    let unbound = Config {
        username_claim: None,
        verify: vec![("role".to_owned(), Expected::Text("device".to_owned()))],
        ..hmac()
    };
    assert!(error(unbound).contains("binds a token to nobody"));
    let no_name = Config {
        from: TokenFrom::Username,
        verify: vec![("sub".to_owned(), Expected::Username)],
        ..hmac()
    };
    assert!(error(no_name).contains("%u"));
    for (keys, says) in [
        (public("weak"), "bits"),
        (public("none"), "cannot be read"),
        (public("ec256"), "none of the algorithms"),
        (secret(), "none of the algorithms"),
    ] {
        let error = error(config(&[Algorithm::RS256], vec![keys]));
        assert!(error.contains(says), "{error}");
    }
    assert!(!format!("{:?}", JwtSource::open(&hmac()).unwrap()).contains(SECRET));
}
