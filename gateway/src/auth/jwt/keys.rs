//! Keys that tokens are verified with: each is of one kind, and is used for the algorithms of that
//! kind that are configured, whatever a token says.
//!
//! A secret is never a public key, nor the other way round; sets of keys (JWKS) bring public keys
//! only. Keys that are weaker than RFC 7518 asks are not taken.

use std::hash::BuildHasher;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use foldhash::fast::FixedState;
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde_json::Value;

use crate::auth::json;
use crate::config::KeySource;

/// Keys of one set.
const MAX_KEYS: usize = 64;
/// Bytes of an RSA modulus: 2,048 to 8,192 bits.
const RSA: std::ops::RangeInclusive<usize> = 256..=1024;

/// A key.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name, if it has one.
    pub(super) id: Option<String>,
    /// What it is used for.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
    /// Tells it from others; 0 for one that comes and goes by itself.
    pub(super) mark: u64,
}

/// Reads keys of the configuration. Each has to be good for one of the algorithms at least.
pub(super) fn read(source: &KeySource, algorithms: &[Algorithm]) -> Result<Vec<Key>, String> {
    match source {
        KeySource::Secret { text, is_base64 } => {
            let key = secret(text.as_bytes(), *is_base64, algorithms);
            key.map(|key| vec![key])
                .map_err(|what| format!("the secret {what}"))
        }
        KeySource::SecretFile { path, is_base64 } => {
            let bytes = file(path)?;
            let key = secret(bytes.trim_ascii_end(), *is_base64, algorithms);
            key.map(|key| vec![key])
                .map_err(|what| format!("{} {what}", path.display()))
        }
        KeySource::PublicKey(path) => {
            let key = public(&file(path)?, algorithms);
            key.map(|key| vec![key])
                .map_err(|what| format!("{} {what}", path.display()))
        }
        KeySource::Set(path) => {
            let mut keys = set(&file(path)?, algorithms)
                .map_err(|what| format!("{} {what}", path.display()))?;
            for key in &mut keys {
                key.mark = mark(&key.key);
            }
            Ok(keys)
        }
    }
}

fn file(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

fn secret(text: &[u8], is_base64: bool, algorithms: &[Algorithm]) -> Result<Key, String> {
    let is_pem = |bytes: &[u8]| bytes.trim_ascii_start().starts_with(b"-----BEGIN");
    let bytes = match is_base64 {
        true => STANDARD
            .decode(text)
            .map_err(|_| "is not in Base64".to_owned())?,
        false => text.to_vec(),
    };
    if is_pem(text) || is_pem(&bytes) {
        return Err("is no secret, but a key in PEM: name its file in public-key".to_owned());
    }
    let algorithms = of_family(algorithms, AlgorithmFamily::Hmac);
    let needed = algorithms.iter().map(|algorithm| match algorithm {
        Algorithm::HS512 => 64,
        Algorithm::HS384 => 48,
        _ => 32,
    });
    let Some(needed) = needed.max() else {
        return Err("is for none of the algorithms".to_owned());
    };
    if bytes.len() < needed {
        return Err(format!(
            "is too short: {needed} bytes are needed, for example from `openssl rand -hex {needed}`"
        ));
    }
    let key = DecodingKey::from_secret(&bytes).map_err(|_| "is empty".to_owned())?;
    Ok(new(None, algorithms, key))
}

/// Reads a public key, PEM.
fn public(pem: &[u8], algorithms: &[Algorithm]) -> Result<Key, String> {
    let text = String::from_utf8_lossy(pem);
    if text.contains("PRIVATE KEY") {
        return Err("has a private key in it, which belongs to whoever issues tokens".to_owned());
    }
    if !text.contains("PUBLIC KEY") {
        return Err("has no public key (-----BEGIN PUBLIC KEY-----) in it".to_owned());
    }
    let readers = [
        DecodingKey::from_rsa_pem,
        DecodingKey::from_ec_pem,
        DecodingKey::from_ed_pem,
    ];
    let key = readers.iter().find_map(|read| read(pem).ok());
    let key = key.ok_or("has no key of a kind that is known (RSA, EC, Ed25519)")?;
    let algorithms = usable(&key, algorithms)?;
    if algorithms.is_empty() {
        return Err("is for none of the algorithms".to_owned());
    }
    Ok(new(None, algorithms, key))
}

/// Reads a set of keys. Those that are for something else, or of a kind that is not known, are left
/// out; one at least has to be left.
pub(super) fn set(text: &[u8], algorithms: &[Algorithm]) -> Result<Vec<Key>, String> {
    let set = json::parse(text)?;
    let Some(Value::Array(found)) = set.get("keys") else {
        return Err("is no set of keys".to_owned());
    };
    if found.len() > MAX_KEYS {
        return Err(format!("has more than {MAX_KEYS} keys"));
    }
    let keys = found.iter();
    let keys: Vec<Key> = keys.filter_map(|key| one_of_set(key, algorithms)).collect();
    match keys.is_empty() {
        true => Err("has no key for any of the algorithms".to_owned()),
        false => Ok(keys),
    }
}

fn one_of_set(value: &Value, algorithms: &[Algorithm]) -> Option<Key> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    if value.get("use").is_some() && text("use") != Some("sig") {
        return None;
    }
    let key = match (text("kty")?, text("crv")) {
        ("RSA", _) => DecodingKey::from_rsa_raw_components(&bytes("n")?, &bytes("e")?),
        ("EC", Some("P-256" | "P-384")) => {
            DecodingKey::from_ec_components(text("x")?, text("y")?).ok()?
        }
        ("OKP", Some("Ed25519")) => DecodingKey::from_ed_components(text("x")?).ok()?,
        _ => return None,
    };
    let mut algorithms = usable(&key, algorithms).ok()?;
    if value.get("alg").is_some() {
        let named: Algorithm = text("alg")?.parse().ok()?;
        algorithms.retain(|algorithm| *algorithm == named);
    }
    let id = text("kid").map(str::to_owned);
    let key = Key {
        mark: 0,
        ..new(id, algorithms, key)
    };
    (!key.algorithms.is_empty()).then_some(key)
}

fn new(id: Option<String>, algorithms: Vec<Algorithm>, key: DecodingKey) -> Key {
    Key {
        id,
        algorithms,
        mark: mark(&key),
        key,
    }
}

fn mark(key: &DecodingKey) -> u64 {
    use jsonwebtoken::DecodingKeyKind;
    let hash = match key.kind() {
        DecodingKeyKind::SecretOrDer(bytes) => FixedState::default().hash_one(bytes),
        DecodingKeyKind::RsaModulusExponent { n, e } => FixedState::default().hash_one((n, e)),
    };
    hash | 1
}

/// The algorithms that a public key is good for.
fn usable(key: &DecodingKey, algorithms: &[Algorithm]) -> Result<Vec<Algorithm>, String> {
    use jsonwebtoken::DecodingKeyKind;
    let family = key.family();
    let mut algorithms = of_family(algorithms, family);
    match (family, key.kind()) {
        (AlgorithmFamily::Rsa, kind) => {
            let n_bytes = match kind {
                DecodingKeyKind::RsaModulusExponent { n, .. } => n.len(),
                DecodingKeyKind::SecretOrDer(der) => {
                    let components = DEFAULT_PROVIDER
                        .key_utils
                        .rsa_pub_components_from_public_key;
                    let (n, _) = components(der).map_err(|_| "has a damaged key in it")?;
                    n.len()
                }
            };
            if !RSA.contains(&n_bytes) {
                return Err("has a key of less than 2,048 or more than 8,192 bits".to_owned());
            }
        }
        (AlgorithmFamily::Ec, DecodingKeyKind::SecretOrDer(point)) => {
            let own = match point.len() {
                65 => Algorithm::ES256,
                97 => Algorithm::ES384,
                _ => return Err("has a key on a curve that is not known".to_owned()),
            };
            algorithms.retain(|algorithm| *algorithm == own);
        }
        (AlgorithmFamily::Ed, DecodingKeyKind::SecretOrDer(point)) if point.len() == 32 => {}
        _ => return Err("has a key of a kind that is not known".to_owned()),
    }
    Ok(algorithms)
}

fn of_family(algorithms: &[Algorithm], family: AlgorithmFamily) -> Vec<Algorithm> {
    let algorithms = algorithms.iter().copied();
    algorithms
        .filter(|algorithm| algorithm.family() == family)
        .collect()
}

#[cfg(test)]
pub(super) mod tests;
