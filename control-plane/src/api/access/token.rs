//! Tokens of the API: each has a name, and a scope that says how much it opens. What is kept of one
//! is its SHA-256, so that whoever reads the configuration cannot use it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::hex::hex;

/// How much a token opens; each scope has all of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Looks.
    Viewer,
    /// Does what goes by: drains gateways, disconnects clients, publishes.
    Operator,
    /// Changes what stays: members and settings.
    Admin,
}

/// A token, as far as it is known.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Whose it is, for the log.
    pub name: String,
    /// SHA-256 of its text.
    pub sha256: [u8; 32],
    /// What it opens.
    pub scope: Scope,
    /// From when on it opens nothing, in Unix milliseconds.
    pub expires: Option<u64>,
    /// Filters of the topics that it publishes to, where its scope lets it publish at all; empty for
    /// all topics.
    pub publish: Arc<[String]>,
}

// === impl Scope ===

impl Scope {
    /// All of them, the smallest first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let found = Self::ALL.into_iter().find(|scope| scope.name() == text);
        found.ok_or(())
    }
}

// === impl Token ===

impl Token {
    /// One that opens everything, by its text.
    pub fn admin(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            sha256: hash(text.as_bytes()),
            scope: Scope::Admin,
            expires: None,
            publish: Arc::default(),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Token");
        shown.field("name", &self.name).field("scope", &self.scope);
        shown.finish_non_exhaustive()
    }
}

/// A new token that nobody guesses, 256 random bits, and its SHA-256: both in hexadecimal digits.
///
/// # Errors
///
/// The system has no random numbers.
pub fn generate() -> Result<(String, String), String> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| error.to_string())?;
    let text = hex(&random);
    let hashed = hex(&hash(text.as_bytes()));
    Ok((text, hashed))
}

/// The one that was shown. How long it takes tells nothing of any of them.
pub(super) fn find<'a>(tokens: &'a [Token], shown: &[u8]) -> Option<&'a Token> {
    let shown = hash(shown);
    let mut found = u64::MAX;
    for (at, token) in (0..).zip(tokens) {
        let is_it: Choice = token.sha256.ct_eq(&shown);
        found.conditional_assign(&at, is_it);
    }
    tokens.get(usize::try_from(found).ok()?)
}

fn hash(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_known_by_its_hash() {
        let (text, hashed) = generate().expect("random numbers");
        assert_eq!((text.len(), hashed.len()), (64, 64));
        assert_ne!(generate().expect("random numbers").0, text);
        let tokens = [
            Token::admin("a", "another"),
            Token::admin("b", &text),
            Token::admin("c", "a third"),
        ];
        assert_eq!(hex(&tokens[1].sha256), hashed);
        let name = |shown: &str| find(&tokens, shown.as_bytes()).map(|token| &*token.name);
        assert_eq!(name(&text), Some("b"));
        assert_eq!(name("a third"), Some("c"));
        for other in ["", &hashed, &text[1..]] {
            assert_eq!(name(other), None);
        }
        assert_eq!(find(&[], b""), None);
    }

    #[test]
    fn scopes_contain_each_other() {
        assert!(Scope::Viewer < Scope::Operator && Scope::Operator < Scope::Admin);
        for scope in Scope::ALL {
            assert_eq!(scope.name().parse(), Ok(scope));
        }
        assert_eq!("root".parse::<Scope>(), Err(()));
    }
}
