//! A stored password that has been read: which function it was made by, and what came out.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use subtle::ConstantTimeEq;

use super::Match;
use super::digest::Digest;
use super::form;
use super::scheme::{Key, SaltPosition, Scheme};
use super::scram::{Mechanism, Secret};

/// What OWASP asks of argon2id at least, in KiB and passes, all of one strength.
const STRONG: [(u32, u32); 5] = [
    (47_104, 1),
    (19_456, 2),
    (12_288, 3),
    (9_216, 4),
    (7_168, 5),
];
/// The one of them that new passwords get.
pub(super) const NEW_COST: Argon2Cost = Argon2Cost {
    memory: 19_456,
    passes: 2,
    lanes: 1,
};
pub(super) const NEW_SALT: usize = 16;
const NEW_OUTPUT: usize = 32;

/// bcrypt looks at no more of a password.
const BCRYPT_INPUT: usize = 72;
pub(super) const BCRYPT_OUTPUT: usize = 23;

/// What is usual for a scheme: the default of Go's library, which comqtt uses, and what OWASP asks
/// for.
const USUAL_BCRYPT_COST: u32 = 10;
const USUAL_ROUNDS: u32 = 600_000;

/// A stored password.
///
/// It has no `Debug`: there are keys in it, and where passwords are stored plain their hashes.
pub(super) struct Stored {
    pub(super) function: Function,
    pub(super) expected: Vec<u8>,
}

impl Stored {
    pub(super) fn read(scheme: &Scheme, text: &str, salt: &[u8]) -> Result<Self, Malformed> {
        if text.is_empty() {
            return Err(Malformed::Empty);
        }
        match scheme {
            // Compared by their hashes, plain ones tell nothing of their lengths either.
            Scheme::Plain => Ok(Self::plain(text)),
            Scheme::Hashed {
                digest,
                salt: position,
            } => Ok(Self {
                function: Function::hashed(*digest, *position, salt),
                expected: form::hex(text, digest.output_size())?,
            }),
            Scheme::Keyed { digest, key } => Ok(Self {
                function: Function::Keyed {
                    digest: *digest,
                    key: key.clone(),
                },
                expected: form::hex(text, digest.output_size())?,
            }),
            Scheme::Bcrypt => form::bcrypt(text),
            Scheme::Argon2id => form::argon2id(text),
            Scheme::Pbkdf2 => form::pbkdf2(text),
            Scheme::Auto => form::auto(text),
        }
    }

    /// One that costs what `like` does, or else what is usual.
    pub(super) fn decoy(scheme: &Scheme, like: Option<&str>) -> Self {
        if let Some(Ok(like)) = like.map(|text| Self::read(scheme, text, b"")) {
            return like;
        }
        let function = match scheme {
            Scheme::Plain => Function::hashed(Digest::Sha256, SaltPosition::Disable, b""),
            Scheme::Hashed { digest, salt } => Function::hashed(*digest, *salt, b""),
            Scheme::Keyed { digest, key } => Function::Keyed {
                digest: *digest,
                key: key.clone(),
            },
            Scheme::Bcrypt => Function::Bcrypt {
                cost: USUAL_BCRYPT_COST,
                salt: [0; 16],
            },
            Scheme::Argon2id | Scheme::Auto => Function::argon2id(NEW_COST, vec![0; NEW_SALT]),
            Scheme::Pbkdf2 => Function::Pbkdf2 {
                digest: Digest::Sha256,
                rounds: USUAL_ROUNDS,
                salt: vec![0; 16],
                size: Digest::Sha256.output_size(),
            },
        };
        Self {
            function,
            expected: Vec::new(),
        }
    }

    /// In a time that does not tell how much of it is right.
    pub(super) fn compare(&self, given: &[u8]) -> Match {
        let computed = self.function.compute(given);
        let is_equal = bool::from(computed.ct_eq(&self.expected));
        if is_equal && !self.function.is_blind_to(given) {
            Match::Yes
        } else {
            Match::No
        }
    }

    /// Whether it may be compared where a connection is served.
    pub(super) fn is_cheap(&self) -> bool {
        matches!(
            self.function,
            Function::Hashed { .. } | Function::Keyed { .. }
        )
    }

    /// Whether it is as strong as what is made now.
    pub(super) fn is_strong(&self) -> bool {
        let Function::Argon2id {
            cost,
            ref salt,
            size,
        } = self.function
        else {
            return false;
        };
        let is_costly = |&(memory, passes)| cost.memory >= memory && cost.passes >= passes;
        STRONG.iter().any(is_costly) && salt.len() >= NEW_SALT && size >= NEW_OUTPUT
    }

    pub(super) fn is_for_scram(&self) -> bool {
        matches!(self.function, Function::Scram { .. })
    }

    fn plain(text: &str) -> Self {
        let function = Function::hashed(Digest::Sha256, SaltPosition::Disable, b"");
        let expected = function.compute(text.as_bytes());
        Self { function, expected }
    }
}

/// What has to be computed of the password given.
pub(super) enum Function {
    Hashed {
        digest: Digest,
        before: Vec<u8>,
        after: Vec<u8>,
    },
    Keyed {
        digest: Digest,
        key: Key,
    },
    Bcrypt {
        cost: u32,
        salt: [u8; 16],
    },
    Argon2id {
        cost: Argon2Cost,
        salt: Vec<u8>,
        size: usize,
    },
    Pbkdf2 {
        digest: Digest,
        rounds: u32,
        salt: Vec<u8>,
        size: usize,
    },
    /// What comes out is the key that SCRAM stores.
    Scram {
        mechanism: Mechanism,
        rounds: u32,
        salt: Vec<u8>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Argon2Cost {
    /// KiB.
    pub(super) memory: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
}

impl Argon2Cost {
    pub(super) fn params(self, size: usize) -> Result<Params, argon2::Error> {
        Params::new(self.memory, self.passes, self.lanes, Some(size))
    }
}

impl Function {
    pub(super) fn hashed(digest: Digest, position: SaltPosition, salt: &[u8]) -> Self {
        let (before, after) = match position {
            SaltPosition::Disable => (Vec::new(), Vec::new()),
            SaltPosition::Prefix => (salt.to_vec(), Vec::new()),
            SaltPosition::Suffix => (Vec::new(), salt.to_vec()),
        };
        Self::Hashed {
            digest,
            before,
            after,
        }
    }

    /// With an output as long as that of new passwords.
    pub(super) fn argon2id(cost: Argon2Cost, salt: Vec<u8>) -> Self {
        Self::Argon2id {
            cost,
            salt,
            size: NEW_OUTPUT,
        }
    }

    pub(super) fn compute(&self, given: &[u8]) -> Vec<u8> {
        match self {
            Self::Hashed {
                digest,
                before,
                after,
            } => digest.of(&[before, given, after]),
            Self::Keyed { digest, key } => digest.keyed(key.bytes(), given),
            Self::Bcrypt { cost, salt } => {
                // It hashes the NUL behind the password as well.
                let mut input = [given, &[0]].concat();
                input.truncate(BCRYPT_INPUT);
                bcrypt::bcrypt(*cost, *salt, &input)[..BCRYPT_OUTPUT].to_vec()
            }
            Self::Argon2id { cost, salt, size } => {
                const CHECKED: &str = "costs and lengths are checked when it is read";
                let params = cost.params(*size).expect(CHECKED);
                let mut memory = vec![Block::new(); params.block_count()];
                let mut output = vec![0; *size];
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into_with_memory(given, salt, &mut output, &mut memory)
                    .expect(CHECKED);
                output
            }
            Self::Pbkdf2 {
                digest,
                rounds,
                salt,
                size,
            } => digest.stretched(given, salt, *rounds, *size),
            Self::Scram {
                mechanism,
                rounds,
                salt,
            } => Secret::of(*mechanism, *rounds, salt, given).stored_key(),
        }
    }

    /// Whether it gives the same for another password than `given`: bcrypt goes round and round
    /// one that ends in NUL, and HMAC pads its key with NULs. No tool makes passwords with a NUL.
    fn is_blind_to(&self, given: &[u8]) -> bool {
        let is_blind = matches!(
            self,
            Self::Bcrypt { .. } | Self::Pbkdf2 { .. } | Self::Scram { .. }
        );
        is_blind && given.contains(&0)
    }
}

/// Why a stored password cannot be used. It is for whoever keeps the source, and it tells nothing
/// of what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the stored password is empty")]
    Empty,
    #[error("the stored password does not say what it is hashed by")]
    Unknown,
    #[error("the stored password is not well-formed {0}")]
    Form(&'static str),
    #[error("the stored {0} hash would cost too much to compute")]
    TooCostly(&'static str),
}
