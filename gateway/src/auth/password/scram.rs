//! What is stored of a password for SCRAM: enough to see that a client knows it, and to show the
//! client that the user is known here, and not enough to log in with.
//!
//! The text is that of PostgreSQL: `SCRAM-SHA-256$ROUNDS:SALT$STORED-KEY:SERVER-KEY`, in Base64.

use std::borrow::Cow;
use std::fmt;

use base64::engine::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::digest::Digest;
use super::scheme::Scheme;
use super::stored::Malformed;

/// What RFC 7677 asks for at least, and what PostgreSQL and others write: devices have to compute as
/// much each time they log in.
pub(crate) const ROUNDS: u32 = 4096;
/// No client computes more, and the broker does it, too, where it is given the password.
const MOST_ROUNDS: u32 = 1_000_000;
pub(crate) const NEW_SALT: usize = 16;
const LONGEST_SALT: usize = 128;

/// The two hashes of it that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// SCRAM-SHA-256, RFC 7677.
    Sha256,
    /// SCRAM-SHA-512, the same with SHA-512.
    Sha512,
}

/// What is stored of a user.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    mechanism: Mechanism,
    rounds: u32,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

// === impl Mechanism ===

impl Mechanism {
    const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Its name among those of SASL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    pub(super) fn digest(self) -> Digest {
        match self {
            Self::Sha256 => Digest::Sha256,
            Self::Sha512 => Digest::Sha512,
        }
    }
}

// === impl Secret ===

impl Secret {
    /// What is stored of a user, if it can log in by this mechanism.
    pub(crate) fn find(scheme: &Scheme, text: &str, mechanism: Mechanism) -> Option<Self> {
        let found = match scheme {
            Scheme::Auto => Self::read(text).ok()?,
            _ => return None,
        };
        (found.mechanism == mechanism).then_some(found)
    }

    pub(super) fn is_one(text: &str) -> bool {
        text.starts_with("SCRAM-")
    }

    pub(super) fn read(text: &str) -> Result<Self, Malformed> {
        const FORM: Malformed = Malformed::Form("scram");
        let (name, rest) = text.split_once('$').ok_or(FORM)?;
        let mechanism = Mechanism::named(name).ok_or(FORM)?;
        let (rounds_and_salt, keys) = rest.split_once('$').ok_or(FORM)?;
        let (rounds, salt) = rounds_and_salt.split_once(':').ok_or(FORM)?;
        let (stored_key, server_key) = keys.split_once(':').ok_or(FORM)?;
        let is_number = rounds.bytes().all(|byte| byte.is_ascii_digit());
        let rounds: u32 = rounds.parse().ok().filter(|_| is_number).ok_or(FORM)?;
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| FORM);
        let secret = Self {
            mechanism,
            rounds,
            salt: decode(salt)?,
            stored_key: decode(stored_key)?,
            server_key: decode(server_key)?,
        };
        let size = mechanism.digest().output_size();
        let have_size = [&secret.stored_key, &secret.server_key].map(|key| key.len() == size);
        let is_salted = (1..=LONGEST_SALT).contains(&secret.salt.len());
        if have_size != [true, true] || !is_salted || rounds < ROUNDS {
            return Err(FORM);
        }
        match rounds > MOST_ROUNDS {
            true => Err(Malformed::TooCostly("scram")),
            false => Ok(secret),
        }
    }

    /// Of a password.
    pub(super) fn of(mechanism: Mechanism, rounds: u32, salt: &[u8], given: &[u8]) -> Self {
        let digest = mechanism.digest();
        let size = digest.output_size();
        let salted = digest.stretched(&prepared(given), salt, rounds, size);
        let client_key = digest.keyed(&salted, b"Client Key");
        Self {
            mechanism,
            rounds,
            salt: salt.to_vec(),
            stored_key: digest.of(&[&client_key]),
            server_key: digest.keyed(&salted, b"Server Key"),
        }
    }

    /// One that nobody can know the password of; the same for the same text each time.
    pub(crate) fn decoy(mechanism: Mechanism, key: &[u8], text: &str) -> Self {
        let digest = mechanism.digest();
        let derive = |what: &str| digest.keyed(key, format!("{what}\0{text}").as_bytes());
        let mut salt = derive("salt");
        salt.truncate(NEW_SALT);
        Self {
            mechanism,
            rounds: ROUNDS,
            salt,
            stored_key: derive("stored key"),
            server_key: derive("server key"),
        }
    }

    pub(super) fn text(&self) -> String {
        let [salt, stored_key, server_key] =
            [&self.salt, &self.stored_key, &self.server_key].map(|bytes| STANDARD.encode(bytes));
        let (name, rounds) = (self.mechanism.name(), self.rounds);
        format!("{name}${rounds}:{salt}${stored_key}:{server_key}")
    }

    pub(super) fn parts(self) -> (Mechanism, u32, Vec<u8>, Vec<u8>) {
        (self.mechanism, self.rounds, self.salt, self.stored_key)
    }

    pub(super) fn stored_key(self) -> Vec<u8> {
        self.stored_key
    }

    /// What a client needs to compute its proof.
    pub(crate) fn salt_and_rounds(&self) -> (&[u8], u32) {
        (&self.salt, self.rounds)
    }

    /// The server's signature under an exchange, if the proof shows that the client knows the
    /// password. In a time that does not tell how much of it is right.
    pub(crate) fn verify(&self, exchange: &[u8], proof: &[u8]) -> Option<Vec<u8>> {
        let digest = self.mechanism.digest();
        let signature = digest.keyed(&self.stored_key, exchange);
        if proof.len() != signature.len() {
            return None;
        }
        let pairs = proof.iter().zip(&signature);
        let client_key: Vec<u8> = pairs.map(|(proof, signed)| proof ^ signed).collect();
        let is_right = bool::from(digest.of(&[&client_key]).ct_eq(&self.stored_key));
        is_right.then(|| digest.keyed(&self.server_key, exchange))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive() // not the keys
    }
}

/// A password as both sides hash it: by SASLprep, if it is a text that has such a form.
fn prepared(given: &[u8]) -> Cow<'_, [u8]> {
    let text = std::str::from_utf8(given).ok();
    match text.and_then(|text| stringprep::saslprep(text).ok()) {
        Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        Some(Cow::Borrowed(_)) | None => Cow::Borrowed(given),
    }
}
