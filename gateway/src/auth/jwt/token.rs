//! A token's form and signature. Pure.
//!
//! How a token is signed the configuration says, and which key is for what: of what the token itself
//! says only the algorithm and the name of the key are looked at, to choose among those.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::keys::Key;
use crate::auth::json;

/// The longest token, in bytes.
const LONGEST: usize = 16 * 1024;
/// Keys that are tried where a token does not name its own.
const TRIES: usize = 8;

/// A token that is not verified yet.
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// What is signed.
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// `None` for one that is not known at all, such as `none`.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) key_id: Option<String>,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Too long, or with something in it that must be understood and is not.
    Form,
    Algorithm,
    /// No key is for it.
    Key,
    Signature,
}

impl<'a> Token<'a> {
    /// Reads a token's head; `None` if the text is no token at all.
    pub(super) fn read(text: &'a [u8]) -> Option<Result<Self, Flaw>> {
        let text = std::str::from_utf8(text).ok()?;
        let (message, signature) = text.rsplit_once('.')?;
        let (head, payload) = message.split_once('.')?;
        let is_encoded = |part: &str| {
            let mut bytes = part.bytes();
            bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if head.is_empty() || ![head, payload, signature].into_iter().all(is_encoded) {
            return None;
        }
        if text.len() > LONGEST {
            return head.starts_with("eyJ").then_some(Err(Flaw::Form)); // `{"`
        }
        let head = json::parse(&URL_SAFE_NO_PAD.decode(head).ok()?).ok()?;
        let algorithm = head.get("alg")?.as_str().map(str::parse);
        let key_id = match head.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(_) => return Some(Err(Flaw::Form)),
        };
        // What is critical none of us understands; and a payload that is not encoded is none.
        if head.get("crit").is_some() || head.get("b64").is_some() {
            return Some(Err(Flaw::Form));
        }
        Some(Ok(Self {
            message,
            payload,
            signature,
            algorithm: algorithm.and_then(Result::ok),
            key_id,
        }))
    }

    /// Whether one of the keys is for it.
    pub(super) fn has_key(&self, keys: &[Key]) -> bool {
        keys.iter().any(|key| self.is_for(key))
    }

    /// Verifies the signature; returns the claims, and the key that it was made with.
    pub(super) fn verify<'k>(
        &self,
        keys: impl Iterator<Item = &'k Key>,
    ) -> Result<(Map<String, Value>, &'k Key), Flaw> {
        let algorithm = self.algorithm.ok_or(Flaw::Algorithm)?;
        let mut flaw = Flaw::Key;
        for key in keys.filter(|key| self.is_for(key)).take(TRIES) {
            flaw = Flaw::Signature;
            let message = self.message.as_bytes();
            let verified =
                jsonwebtoken::crypto::verify(self.signature, message, &key.key, algorithm);
            if verified == Ok(true) {
                return Ok((self.claims()?, key));
            }
        }
        Err(flaw)
    }

    fn claims(&self) -> Result<Map<String, Value>, Flaw> {
        let payload = URL_SAFE_NO_PAD.decode(self.payload);
        let payload = payload.map_err(|_| Flaw::Form)?;
        match json::parse(&payload) {
            Ok(Value::Object(claims)) => Ok(claims),
            Ok(_) | Err(_) => Err(Flaw::Form),
        }
    }

    /// A key without a name is for every token of its algorithms.
    fn is_for(&self, key: &Key) -> bool {
        let is_named = match (&self.key_id, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            _ => true,
        };
        let algorithm = self.algorithm;
        is_named && algorithm.is_some_and(|algorithm| key.algorithms.contains(&algorithm))
    }
}

#[cfg(test)]
mod tests;
