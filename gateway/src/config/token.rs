//! Clients that bring tokens (JWT).

use std::path::PathBuf;
use std::time::Duration;

pub use jsonwebtoken::Algorithm;

use super::Fetch;

/// What is taken of tokens.
#[derive(Clone, Debug)]
pub struct JwtSource {
    /// Where a client's token is.
    pub from: TokenFrom,
    /// How tokens may be signed, and no other way.
    pub algorithms: Vec<Algorithm>,
    /// Where the keys are.
    pub keys: Vec<KeySource>,
    /// Where more of them are.
    pub remote: Option<RemoteKeys>,
    /// Who must have issued a token; `None` for anybody who has a key.
    pub issuer: Option<String>,
    /// For whom a token must be; `None` for anybody.
    pub audience: Option<String>,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// Whether a token has to say when it ends.
    pub requires_expiry: bool,
    /// Claims, and what has to be in each.
    pub verify: Vec<(String, Expected)>,
    /// The claim that is the client's user name; `None` if none is.
    pub username_claim: Option<String>,
    /// The claim with the client's rules; `None` if tokens have none.
    pub acl_claim: Option<String>,
    /// The claim that lets a client do everything, if there is one.
    pub superuser_claim: Option<String>,
}

/// Where in CONNECT a token is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenFrom {
    /// Instead of a password.
    #[default]
    Password,
    /// Instead of a user name.
    Username,
}

/// What a claim has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The user name that the client gave.
    Username,
    /// The client id.
    ClientId,
    /// This.
    Text(String),
}

/// Where keys are.
#[derive(Clone)]
pub enum KeySource {
    /// A secret.
    Secret {
        /// As it is written.
        text: String,
        /// Whether it is written in Base64.
        is_base64: bool,
    },
    /// A secret in a file.
    SecretFile {
        /// The file.
        path: PathBuf,
        /// Whether it is in Base64.
        is_base64: bool,
    },
    /// A file with a public key, PEM.
    PublicKey(PathBuf),
    /// A file with a set of public keys, JWKS.
    Set(PathBuf),
}

/// A set of public keys (JWKS) on a server.
#[derive(Clone, Debug)]
pub struct RemoteKeys {
    /// Where it is.
    pub url: String,
    /// How often it is read again.
    pub refresh: Duration,
    /// How the server is spoken to.
    pub fetch: Fetch,
}

impl std::fmt::Debug for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Secret { .. } => f.write_str("Secret"), // not the secret
            Self::SecretFile { path, .. } => f.debug_tuple("SecretFile").field(path).finish(),
            Self::PublicKey(path) => f.debug_tuple("PublicKey").field(path).finish(),
            Self::Set(path) => f.debug_tuple("Set").field(path).finish(),
        }
    }
}
