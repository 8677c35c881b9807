//! Which keys are taken, and for what.

use serde_json::json;

use super::super::tests::{SECRET, pem};
use super::*;

const EVERY: &[Algorithm] = &[
    Algorithm::HS256,
    Algorithm::RS256,
    Algorithm::PS256,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

#[test]
fn a_secret_is_long_enough_and_no_key_of_another_kind() {
    let long = SECRET.as_bytes();
    assert!(secret(&long[..32], false, &[Algorithm::HS256]).is_ok());
    assert!(secret(&long[..48], false, &[Algorithm::HS256, Algorithm::HS384]).is_ok());
    assert!(secret(long, false, &[Algorithm::HS512]).is_ok());
    let encoded = STANDARD.encode(&long[..32]);
    assert!(secret(encoded.as_bytes(), true, &[Algorithm::HS256]).is_ok());
    for (text, is_base64, algorithms, says) in [
        (&long[..31], false, &[Algorithm::HS256][..], "too short"),
        (
            &long[..47],
            false,
            &[Algorithm::HS256, Algorithm::HS384],
            "too short",
        ),
        (&long[..63], false, &[Algorithm::HS512], "too short"),
        (b"", false, &[Algorithm::HS256], "too short"),
        (&long[..32], true, &[Algorithm::HS256], "too short"),
        (b"?", true, &[Algorithm::HS256], "Base64"),
        (long, false, &[Algorithm::RS256], "none of the algorithms"),
        (pem("rsa.pub"), false, &[Algorithm::HS256], "PEM"),
    ] {
        let error = secret(text, is_base64, algorithms).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_public_key_is_for_the_algorithms_of_its_kind() {
    for (name, expected) in [
        ("rsa.pub", &[Algorithm::RS256, Algorithm::PS256][..]),
        ("ec256.pub", &[Algorithm::ES256]),
        ("ec384.pub", &[Algorithm::ES384]),
        ("ed.pub", &[Algorithm::EdDSA]),
    ] {
        assert_eq!(public(pem(name), EVERY).unwrap().algorithms, expected);
    }
    for (pem, says) in [
        (pem("rsa"), "private"),
        (pem("ed"), "private"),
        (pem("weak.pub"), "2,048"),
        (b"", "no public key"),
        (
            b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
            "no public key",
        ),
        (
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "known",
        ),
    ] {
        let error = public(pem, EVERY).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

/// A key of a set.
fn jwk(name: &str, id: &str) -> Value {
    let key = public(pem(name), EVERY).unwrap().key;
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let bytes = key.try_get_as_bytes().unwrap();
    match key.family() {
        AlgorithmFamily::Rsa => {
            let components = DEFAULT_PROVIDER
                .key_utils
                .rsa_pub_components_from_public_key;
            let (n, e) = components(bytes).unwrap();
            json!({"kty": "RSA", "kid": id, "n": encode(&n), "e": encode(&e)})
        }
        AlgorithmFamily::Ec => {
            let (x, y) = bytes[1..].split_at(bytes.len() / 2);
            let curve = if x.len() == 32 { "P-256" } else { "P-384" };
            json!({"kty": "EC", "crv": curve, "kid": id, "x": encode(x), "y": encode(y)})
        }
        _ => json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": encode(bytes)}),
    }
}

pub(in crate::auth::jwt) fn set_of(keys: &[(&str, &str)]) -> String {
    let keys: Vec<Value> = keys.iter().map(|(name, id)| jwk(name, id)).collect();
    json!({ "keys": keys }).to_string()
}

#[test]
fn a_set_has_public_keys_for_signatures() {
    let text = set_of(&[
        ("rsa.pub", "a"),
        ("ec256.pub", "b"),
        ("ec384.pub", "c"),
        ("ed.pub", "d"),
    ]);
    let keys = set(text.as_bytes(), EVERY).unwrap();
    let found: Vec<_> = keys
        .iter()
        .map(|key| (key.id.as_deref(), key.algorithms.len()))
        .collect();
    let expected = [("a", 2), ("b", 1), ("c", 1), ("d", 1)];
    assert_eq!(found, expected.map(|(id, n)| (Some(id), n)));
    let with = |name: &str, key: &str, value: Value| {
        let mut jwk = jwk(name, "a");
        jwk[key] = value;
        set(json!({"keys": [jwk]}).to_string().as_bytes(), EVERY)
    };
    let named = with("rsa.pub", "alg", "PS256".into()).unwrap();
    assert_eq!(named[0].algorithms, [Algorithm::PS256]);
    assert!(with("rsa.pub", "use", "sig".into()).is_ok());
    for (name, key, value) in [
        ("rsa.pub", "use", json!("enc")),
        ("rsa.pub", "use", json!(1)),
        ("rsa.pub", "alg", json!("RSA-OAEP")),
        ("rsa.pub", "alg", json!("HS256")),
        ("rsa.pub", "alg", json!("ES256")),
        ("rsa.pub", "n", json!("AAAA")),
        ("rsa.pub", "n", json!("A".repeat(4_000))),
        ("rsa.pub", "kty", json!("oct")),
        ("ec256.pub", "crv", json!("P-521")),
        ("ec256.pub", "x", json!("AAAA")),
        ("ed.pub", "crv", json!("Ed448")),
        ("ed.pub", "x", json!("AAAA")),
    ] {
        assert!(
            with(name, key, value.clone()).is_err(),
            "{name} {key} {value}"
        );
    }
    // A secret that everybody can read is none.
    let oct = json!({"keys": [{"kty": "oct", "k": "A".repeat(64), "alg": "HS256"}]});
    assert!(set(oct.to_string().as_bytes(), EVERY).is_err());
    for text in [
        "",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":[1]}"#,
        r#"{"keys":[],"keys":[]}"#,
    ] {
        assert!(set(text.as_bytes(), EVERY).is_err(), "{text}");
    }
    let many = json!({"keys": vec![jwk("ed.pub", "a"); MAX_KEYS + 1]}).to_string();
    assert!(
        set(many.as_bytes(), EVERY)
            .unwrap_err()
            .contains("more than")
    );
}
