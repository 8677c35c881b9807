//! A source of users who bring tokens (JWT).

use gatemq_gateway::config::{self as gateway, Algorithm, TokenFrom};
use gatemq_node::config::{Number, Period};
use serde::{Deserialize, Serialize};

use super::super::choice::Choice;
use super::super::{Chosen, filled};
use super::http::{Header, fetch};

/// What is taken of tokens.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct JwtSource {
    pub from: Chosen<TokenFrom>,
    pub algorithms: Vec<Chosen<Algorithm>>,
    pub secret: String,
    pub secret_file: String,
    pub secret_base64: bool,
    pub public_key: String,
    pub jwks_file: String,
    pub jwks_url: String,
    pub jwks_refresh: Period<10_000, 604_800_000>,
    pub headers: Vec<Header>,
    pub ca_file: String,
    pub timeout: Period<100, 60_000>,
    pub issuer: String,
    pub audience: String,
    pub leeway: Period<0, 300_000>,
    pub require_exp: bool,
    pub username_claim: String,
    pub verify: Vec<Claim>,
    pub acl_claim: String,
    pub superuser_claim: String,
}

/// A claim, and what it has to say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Claim {
    pub claim: String,
    pub is: String,
}

impl Choice for TokenFrom {
    const NAMES: &'static [(&'static str, Self)] =
        &[("password", Self::Password), ("username", Self::Username)];
}

impl Choice for Algorithm {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("HS256", Self::HS256),
        ("HS384", Self::HS384),
        ("HS512", Self::HS512),
        ("RS256", Self::RS256),
        ("RS384", Self::RS384),
        ("RS512", Self::RS512),
        ("PS256", Self::PS256),
        ("PS384", Self::PS384),
        ("PS512", Self::PS512),
        ("ES256", Self::ES256),
        ("ES384", Self::ES384),
        ("EdDSA", Self::EdDSA),
    ];
}

// === impl JwtSource ===

impl Default for JwtSource {
    fn default() -> Self {
        Self {
            from: Chosen::default(),
            algorithms: Vec::new(),
            secret: String::new(),
            secret_file: String::new(),
            secret_base64: false,
            public_key: String::new(),
            jwks_file: String::new(),
            jwks_url: String::new(),
            jwks_refresh: Period::new(600_000),
            headers: Vec::new(),
            ca_file: String::new(),
            timeout: Period::new(2_000),
            issuer: String::new(),
            audience: String::new(),
            leeway: Period::new(10_000),
            require_exp: true,
            username_claim: "sub".to_owned(),
            verify: Vec::new(),
            acl_claim: "acl".to_owned(),
            superuser_claim: String::new(),
        }
    }
}

impl JwtSource {
    /// One with every key set.
    pub(super) fn example() -> Self {
        Self {
            algorithms: vec![Chosen(Algorithm::RS256)],
            public_key: "./jwt.pem".to_owned(),
            headers: vec![Header::default()],
            verify: vec![Claim {
                claim: "clientid".to_owned(),
                is: "%c".to_owned(),
            }],
            ..Self::default()
        }
    }

    /// What the gateway is told, or which key is wrong.
    pub(super) fn to_gateway(&self) -> Result<gateway::AuthSource, (&'static str, String)> {
        if self.algorithms.is_empty() {
            return Err(("algorithms", "names none".to_owned()));
        }
        let verify = self.verify.iter().map(Claim::to_gateway);
        let remote = (!self.jwks_url.is_empty()).then(|| gateway::RemoteKeys {
            url: self.jwks_url.clone(),
            refresh: self.jwks_refresh.duration(),
            fetch: fetch(
                self.timeout.duration(),
                Number::new(1),
                &self.ca_file,
                &self.headers,
            ),
        });
        Ok(gateway::AuthSource::Jwt(gateway::JwtSource {
            from: self.from.0,
            algorithms: self.algorithms.iter().map(|chosen| chosen.0).collect(),
            keys: self.keys(),
            remote,
            issuer: filled(&self.issuer),
            audience: filled(&self.audience),
            leeway: self.leeway.duration(),
            requires_expiry: self.require_exp,
            verify: verify.collect::<Result<_, _>>()?,
            username_claim: filled(&self.username_claim),
            acl_claim: filled(&self.acl_claim),
            superuser_claim: filled(&self.superuser_claim),
        }))
    }

    fn keys(&self) -> Vec<gateway::KeySource> {
        let is_base64 = self.secret_base64;
        let secret =
            filled(&self.secret).map(|text| gateway::KeySource::Secret { text, is_base64 });
        let file = filled(&self.secret_file)
            .map(|path| gateway::KeySource::SecretFile { path, is_base64 });
        let public = filled(&self.public_key).map(gateway::KeySource::PublicKey);
        let set = filled(&self.jwks_file).map(gateway::KeySource::Set);
        [secret, file, public, set].into_iter().flatten().collect()
    }
}

impl std::fmt::Debug for JwtSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the secret.
        f.debug_struct("JwtSource")
            .field("algorithms", &self.algorithms)
            .field("secret_file", &self.secret_file)
            .field("public_key", &self.public_key)
            .field("jwks_file", &self.jwks_file)
            .field("jwks_url", &self.jwks_url)
            .finish_non_exhaustive()
    }
}

// === impl Claim ===

impl Claim {
    fn to_gateway(&self) -> Result<(String, gateway::Expected), (&'static str, String)> {
        let expected = match self.is.as_str() {
            "%u" => gateway::Expected::Username,
            "%c" => gateway::Expected::ClientId,
            text if text.contains('%') => {
                let what = format!("{text:?} is neither %u, %c, nor a text without %");
                return Err(("verify", what));
            }
            text => gateway::Expected::Text(text.to_owned()),
        };
        if self.claim.is_empty() || self.is.is_empty() {
            return Err(("verify", "needs a claim, and what it is".to_owned()));
        }
        Ok((self.claim.clone(), expected))
    }
}
