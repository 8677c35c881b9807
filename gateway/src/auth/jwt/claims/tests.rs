//! Each claim, and each way to be wrong.

use std::time::Duration;

use serde_json::json;

use super::super::tests::hmac;
use super::*;

const NOW: u64 = 1_000_000;

fn ann<'a>() -> Credentials<'a> {
    Credentials {
        client_id: "c-1",
        username: Some("ann"),
        password: None,
        address: None,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "tables are easier to read")]
fn judge_for(config: &JwtSource, claims: Value, credentials: &Credentials<'_>) -> Option<Brought> {
    let claims = claims.as_object().expect("an object");
    judge(claims, config, credentials, NOW).map(|(_, brought)| brought)
}

fn takes(config: &JwtSource, claims: Value) -> bool {
    judge_for(config, claims, &ann()).is_some()
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = json!({"sub": "ann", "exp": NOW + 60});
    claims[name] = value;
    claims
}

#[test]
fn times_are_compared_with_a_leeway() {
    let strict = hmac();
    let lenient = JwtSource {
        leeway: Duration::from_secs(30),
        ..hmac()
    };
    for (name, value, is_strict, is_lenient) in [
        ("exp", json!(NOW + 1), true, true),
        ("exp", json!(NOW), false, true),
        ("exp", json!(NOW - 29), false, true),
        ("exp", json!(NOW - 30), false, false),
        ("exp", json!(NOW as f64 + 1.5), true, true),
        ("exp", json!(u64::MAX), true, true),
        ("exp", json!(1e300), true, true),
        ("exp", json!(-1), false, false),
        ("exp", json!("99999999999"), false, false),
        ("exp", json!(null), false, false),
        ("nbf", json!(NOW), true, true),
        ("nbf", json!(NOW + 30), false, true),
        ("nbf", json!(NOW + 31), false, false),
        ("nbf", json!("0"), false, false),
        ("iat", json!(NOW), true, true),
        ("iat", json!(NOW + 31), false, false),
        ("iat", json!([0]), false, false),
    ] {
        assert_eq!(
            takes(&strict, with(name, value.clone())),
            is_strict,
            "{name} {value}"
        );
        assert_eq!(
            takes(&lenient, with(name, value.clone())),
            is_lenient,
            "{name} {value}"
        );
    }
    assert!(!takes(&strict, json!({"sub": "ann"})));
    let eternal = JwtSource {
        requires_expiry: false,
        ..hmac()
    };
    let brought = judge_for(&eternal, json!({"sub": "ann"}), &ann()).unwrap();
    assert_eq!(brought.expires_at, None);
    let brought = judge_for(&lenient, with("exp", json!(NOW)), &ann()).unwrap();
    assert_eq!(brought.expires_at, Some(NOW + 30));
}

#[test]
fn issuer_and_audience_are_the_ones_that_are_asked_for() {
    let config = JwtSource {
        issuer: Some("us".to_owned()),
        audience: Some("mqtt".to_owned()),
        ..hmac()
    };
    let of = |issuer: Value, audience: Value| {
        let mut claims = with("iss", issuer);
        claims["aud"] = audience;
        takes(&config, claims)
    };
    assert!(of(json!("us"), json!("mqtt")));
    assert!(of(json!("us"), json!(["http", "mqtt"])));
    for (issuer, audience) in [
        (json!("them"), json!("mqtt")),
        (json!(["us"]), json!("mqtt")),
        (json!(null), json!("mqtt")),
        (json!("us"), json!("http")),
        (json!("us"), json!(["http"])),
        (json!("us"), json!([])),
        (json!("us"), json!({"mqtt": true})),
        (json!("us"), json!(null)),
    ] {
        assert!(!of(issuer.clone(), audience.clone()), "{issuer} {audience}");
    }
    assert!(!takes(&config, with("iss", json!("us"))));
    assert!(!takes(&config, with("aud", json!("mqtt"))));
}

#[test]
fn a_token_is_for_its_client() {
    let nameless = Credentials {
        username: None,
        ..ann()
    };
    let by_claim = hmac();
    assert!(takes(&by_claim, with("sub", json!("ann"))));
    let brought = judge_for(&by_claim, with("sub", json!("ann")), &nameless).unwrap();
    assert_eq!(brought.username.as_deref(), Some("ann"));
    for sub in [
        json!("bob"),
        json!(""),
        json!(1),
        json!(null),
        json!("ann\n"),
        json!(["ann"]),
    ] {
        assert!(!takes(&by_claim, with("sub", sub.clone())), "{sub}");
    }
    assert!(!takes(&by_claim, json!({"exp": NOW + 60})));
    assert!(judge_for(&by_claim, with("sub", json!("a\0b")), &nameless).is_none());

    let by_names = JwtSource {
        username_claim: None,
        verify: vec![
            ("name".to_owned(), Expected::Username),
            ("clientid".to_owned(), Expected::ClientId),
            ("role".to_owned(), Expected::Text("device".to_owned())),
        ],
        ..hmac()
    };
    let claims = |name: &str, id: &str, role: &str| json!({"exp": NOW + 60, "name": name, "clientid": id, "role": role});
    let right = claims("ann", "c-1", "device");
    let brought = judge_for(&by_names, right.clone(), &ann()).unwrap();
    assert_eq!(brought.username.as_deref(), Some("ann"));
    assert!(judge_for(&by_names, right, &nameless).is_none());
    for (name, id, role) in [
        ("bob", "c-1", "device"),
        ("ann", "c-2", "device"),
        ("ann", "c-1", "root"),
        ("", "c-1", "device"),
    ] {
        assert!(
            !takes(&by_names, claims(name, id, role)),
            "{name} {id} {role}"
        );
    }

    let by_id = JwtSource {
        username_claim: None,
        verify: vec![("sub".to_owned(), Expected::ClientId)],
        ..hmac()
    };
    let claims = with("sub", json!("c-1"));
    let (by, brought) = judge(claims.as_object().unwrap(), &by_id, &ann(), NOW).unwrap();
    // The user name was not looked at.
    assert_eq!((by, brought.username), (By::ClientId, None));
    let unbound = JwtSource {
        username_claim: None,
        ..hmac()
    };
    assert!(!takes(&unbound, with("sub", json!("ann"))));
}

#[test]
fn nobody_is_a_superuser_unless_that_is_configured() {
    let claims = || with("superuser", json!(true));
    assert!(!judge_for(&hmac(), claims(), &ann()).unwrap().is_superuser);
    let config = JwtSource {
        superuser_claim: Some("superuser".to_owned()),
        ..hmac()
    };
    assert!(judge_for(&config, claims(), &ann()).unwrap().is_superuser);
    let without = judge_for(&config, with("a", json!(1)), &ann()).unwrap();
    assert!(!without.is_superuser);
    for wrong in [json!("true"), json!(1), json!(null)] {
        assert!(!takes(&config, with("superuser", wrong)));
    }
}

#[test]
fn rules_that_are_not_understood_let_nobody_in() {
    let rules = |value: Value| judge_for(&hmac(), with("acl", value), &ann());
    let some = rules(json!({"pub": ["a/%c"], "all": ["b"]})).unwrap();
    let none = rules(json!({})).unwrap();
    let list = json!([{"permission": "allow", "action": "all", "topic": "b"}]);
    let names = crate::auth::rules::Names {
        username: Some("ann"),
        client_id: "c-1",
    };
    for brought in [some, rules(list).unwrap()] {
        let made = brought.rules.unwrap();
        assert!(
            made.judge(crate::auth::rules::Action::Publish, "b", names)
                .is_some()
        );
    }
    assert_eq!(none.rules.as_deref(), Some(&Ruleset::default()));
    for wrong in [
        json!(null),
        json!("#"),
        json!({"pub": "#"}),
        json!([1]),
        json!({"x": []}),
    ] {
        assert!(rules(wrong.clone()).is_none(), "{wrong}");
    }
    let without = JwtSource {
        acl_claim: None,
        ..hmac()
    };
    let brought = judge_for(&without, with("acl", json!(null)), &ann()).unwrap();
    assert_eq!(brought.rules, None);
}
