//! Tokens as somebody else issues them.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use serde_json::{Value, json};

/// A secret that is long enough for every algorithm.
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Whoever has a pair of keys (P-256), and signs with the private one.
pub(super) struct Issuer {
    key: KeyPair,
    id: String,
}

/// Unix seconds.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is later").as_secs()
}

/// Claims of a user that end after some seconds.
pub(super) fn claims(user: &str, seconds: i64) -> Value {
    json!({"sub": user, "exp": now().saturating_add_signed(seconds)})
}

/// A token that is signed with [`SECRET`].
pub(super) fn token(claims: &Value) -> String {
    token_with(claims, SECRET.as_bytes())
}

/// One that is signed with these bytes.
pub(super) fn token_with(claims: &Value, secret: &[u8]) -> String {
    let key = EncodingKey::from_secret(secret).expect("it is not empty");
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).expect("it can be signed")
}

// === impl Issuer ===

impl Issuer {
    pub(super) fn new(id: &str) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        Self {
            key,
            id: id.to_owned(),
        }
    }

    /// The public key, PEM.
    pub(super) fn public_pem(&self) -> String {
        self.key.public_key_pem()
    }

    /// The public key, as one of a set.
    pub(super) fn public_jwk(&self) -> Value {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let point = self.key.public_key_raw();
        let (x, y) = point[1..].split_at(32);
        let [x, y] = [x, y].map(|half| URL_SAFE_NO_PAD.encode(half));
        json!({"kty": "EC", "crv": "P-256", "kid": self.id, "x": x, "y": y})
    }

    pub(super) fn token(&self, claims: &Value) -> String {
        let key = EncodingKey::from_ec_der(self.key.serialized_der());
        let header = Header {
            kid: Some(self.id.clone()),
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, claims, &key).expect("it can be signed")
    }
}
