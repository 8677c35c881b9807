//! How a source's stored passwords are to be read, as its configuration says.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::digest::Digest;

/// By name; those of comqtt by their number as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Plain,
    Bcrypt,
    Md5,
    Sha1,
    Sha256,
    Sha512,
    HmacSha1,
    HmacSha256,
    HmacSha512,
    Argon2id,
    Pbkdf2,
    /// Each stored text says itself what it is.
    Auto,
}

impl Mode {
    /// In the order of comqtt's numbers, then those that it does not have.
    pub(crate) const ALL: [(Self, &str); 12] = [
        (Self::Plain, "plain"),
        (Self::Bcrypt, "bcrypt"),
        (Self::Md5, "md5"),
        (Self::Sha1, "sha1"),
        (Self::Sha256, "sha256"),
        (Self::Sha512, "sha512"),
        (Self::HmacSha1, "hmac-sha1"),
        (Self::HmacSha256, "hmac-sha256"),
        (Self::HmacSha512, "hmac-sha512"),
        (Self::Argon2id, "argon2id"),
        (Self::Pbkdf2, "pbkdf2"),
        (Self::Auto, "auto"),
    ];
    const N_NUMBERED: usize = 9;
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_it = |(number, (_, name)): &(usize, (Self, &str))| {
            *name == text || (*number < Self::N_NUMBERED && number.to_string() == text)
        };
        let found = Self::ALL.into_iter().enumerate().find(is_it);
        found.map(|(_, (mode, _))| mode).ok_or(Error::UnknownMode)
    }
}

/// Where the salt of a column of its own goes when a password is hashed by md5, sha1, sha256 or
/// sha512. All other schemes have theirs in the stored text, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SaltPosition {
    #[default]
    Disable,
    Prefix,
    Suffix,
}

impl FromStr for SaltPosition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "disable" => Ok(Self::Disable),
            "prefix" => Ok(Self::Prefix),
            "suffix" => Ok(Self::Suffix),
            _ => Err(Error::UnknownSaltPosition),
        }
    }
}

/// The key of the HMAC modes.
#[derive(Clone)]
pub(crate) struct Key(Arc<[u8]>);

impl Key {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A mode with all that it needs.
#[derive(Clone, Debug)]
pub(crate) enum Scheme {
    Plain,
    Hashed { digest: Digest, salt: SaltPosition },
    Keyed { digest: Digest, key: Key },
    Bcrypt,
    Argon2id,
    Pbkdf2,
    Auto,
}

impl Scheme {
    /// `hash_key` may be there for a mode that has no use for it: comqtt's samples have it always.
    pub(crate) fn new(
        mode: Mode,
        hash_key: Option<&str>,
        salt: SaltPosition,
    ) -> Result<Self, Error> {
        let hashed = |digest| Self::Hashed { digest, salt };
        let keyed = |digest| match hash_key {
            None | Some("") => Err(Error::NoKey),
            Some(key) => Ok(Self::Keyed {
                digest,
                key: Key(key.as_bytes().into()),
            }),
        };
        let scheme = match mode {
            Mode::Plain => Self::Plain,
            Mode::Bcrypt => Self::Bcrypt,
            Mode::Md5 => hashed(Digest::Md5),
            Mode::Sha1 => hashed(Digest::Sha1),
            Mode::Sha256 => hashed(Digest::Sha256),
            Mode::Sha512 => hashed(Digest::Sha512),
            Mode::HmacSha1 => keyed(Digest::Sha1)?,
            Mode::HmacSha256 => keyed(Digest::Sha256)?,
            Mode::HmacSha512 => keyed(Digest::Sha512)?,
            Mode::Argon2id => Self::Argon2id,
            Mode::Pbkdf2 => Self::Pbkdf2,
            Mode::Auto => Self::Auto,
        };
        if salt != SaltPosition::Disable && !matches!(scheme, Self::Hashed { .. }) {
            return Err(Error::SaltHasNoPlace);
        }
        Ok(scheme)
    }
}

/// What a configuration has wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("not a way to store passwords; known are 0 to 8 and the names from plain to auto")]
    UnknownMode,
    #[error("not a salt position; known are prefix, suffix and disable")]
    UnknownSaltPosition,
    #[error("the hmac modes need a hash-key, and it may not be empty")]
    NoKey,
    #[error("salt-position is for md5, sha1, sha256 and sha512 only")]
    SaltHasNoPlace,
}
