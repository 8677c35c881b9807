//! Which key a token is verified with.

use jsonwebtoken::EncodingKey;

use super::super::keys::read;
use super::super::tests::{claims, secret, sign_text};
use super::*;
use crate::config::KeySource;

fn key(id: Option<&str>, text: &str) -> Key {
    let source = KeySource::Secret {
        text: text.to_owned(),
        is_base64: false,
    };
    let key = read(&source, &[Algorithm::HS256]).unwrap().remove(0);
    Key {
        id: id.map(str::to_owned),
        ..key
    }
}

fn verify(head: &str, keys: &[Key]) -> Result<String, Flaw> {
    let signer = EncodingKey::from_secret("x".repeat(32).as_bytes()).unwrap();
    let text = sign_text(head, &claims().to_string(), &signer, Algorithm::HS256);
    let token = Token::read(text.as_bytes()).expect("it is one").unwrap();
    let verified = token.verify(keys.iter());
    verified.map(|(_, key)| key.id.clone().unwrap_or_default())
}

#[test]
fn a_token_names_its_key() {
    let (right, wrong) = ("x".repeat(32), "y".repeat(32));
    let keys = [key(Some("a"), &wrong), key(Some("b"), &right)];
    let head = |id: &str| format!(r#"{{"alg":"HS256","kid":"{id}"}}"#);
    assert_eq!(verify(&head("b"), &keys), Ok("b".to_owned()));
    assert_eq!(verify(&head("a"), &keys), Err(Flaw::Signature));
    assert_eq!(verify(&head("c"), &keys), Err(Flaw::Key));
    // One that names none has all tried, but not any number.
    assert_eq!(verify(r#"{"alg":"HS256"}"#, &keys), Ok("b".to_owned()));
    let mut many: Vec<Key> = (0..TRIES).map(|_| key(Some("a"), &wrong)).collect();
    many.push(key(Some("b"), &right));
    assert_eq!(verify(r#"{"alg":"HS256"}"#, &many), Err(Flaw::Signature));
    // A key without a name is for whatever a token names.
    assert_eq!(verify(&head("c"), &[key(None, &right)]), Ok(String::new()));
    assert_eq!(verify(r#"{"alg":"none"}"#, &keys), Err(Flaw::Algorithm));
    let of_configuration = read(&secret(), &[Algorithm::HS256]).unwrap();
    assert_eq!(verify(&head("c"), &of_configuration), Err(Flaw::Signature));
}

/// Whatever is changed in one, it is no token, or not the one that was signed.
#[test]
fn a_damaged_token_is_not_taken() {
    let right = "x".repeat(32);
    let keys = [key(Some("b"), &right)];
    let signer = EncodingKey::from_secret(right.as_bytes()).unwrap();
    let heads = [r#"{"alg":"HS256","kid":"b"}"#, r#"{"alg":"HS256"}"#];
    let sign = |head: &&str| {
        sign_text(head, &claims().to_string(), &signer, Algorithm::HS256).into_bytes()
    };
    let valid: Vec<Vec<u8>> = heads.iter().map(sign).collect();
    gatemq_storage::suite::damage::each(&valid, 20_000, |bytes| {
        if let Some(Ok(token)) = Token::read(bytes) {
            let is_taken = token.verify(keys.iter()).is_ok();
            assert_eq!(is_taken, valid.iter().any(|text| text == bytes));
        }
    });
}
