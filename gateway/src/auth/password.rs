//! Passwords: is the one given the one stored?
//!
//! A source of users says by its [`scheme`] how the passwords that it stores are to be read. One
//! that cannot be read is an error and never matches, and so is one that would cost absurdly much
//! to compute: whoever may write to the source shall not stop the broker with it. Connections
//! verify through [`pool`], which bounds how much of the machine logins may take.
//!
//! Neither passwords nor keys are in what `Debug` shows or in the text of an error.

mod digest;
mod form;
pub(crate) mod pool;
pub(crate) mod scheme;
pub(crate) mod scram;
mod stored;

use scheme::Scheme;
use scram::{Mechanism, Secret};
pub(crate) use stored::Malformed;
use stored::{Function, NEW_COST, NEW_SALT, Stored};

/// What comparing a password with the stored one gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Match {
    Yes,
    No,
}

/// Whether a stored password can be read.
pub(crate) fn check(scheme: &Scheme, stored: &str, salt: &[u8]) -> Result<(), Malformed> {
    Stored::read(scheme, stored, salt).map(drop)
}

/// What to store for a new password: argon2id, with a salt of its own.
pub fn hash(given: &[u8]) -> String {
    let mut salt = vec![0; NEW_SALT];
    getrandom::fill(&mut salt).expect("the system has had random bytes since it started");
    let hash = Function::argon2id(NEW_COST, salt.clone()).compute(given);
    form::argon2id_text(NEW_COST, &salt, &hash)
}

/// The password is no text that both sides of SCRAM read alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password has characters that SCRAM does not take")]
pub struct NotForScram;

/// What to store for a new password that is to be good for SCRAM, too.
///
/// # Errors
///
/// It cannot be.
pub fn scram_text(given: &[u8], mechanism: Mechanism) -> Result<String, NotForScram> {
    let text = std::str::from_utf8(given).map_err(|_| NotForScram)?;
    let is_empty = stringprep::saslprep(text)
        .map_err(|_| NotForScram)?
        .is_empty();
    if is_empty {
        return Err(NotForScram);
    }
    let mut salt = [0; scram::NEW_SALT];
    getrandom::fill(&mut salt).expect("the system has had random bytes since it started");
    Ok(Secret::of(mechanism, scram::ROUNDS, &salt, given).text())
}

/// Whether a stored password is weaker than what [`hash`] makes: to be hashed anew the next time
/// its user gives it. One for SCRAM is to stay one.
pub(crate) fn needs_rehash(stored: &str) -> bool {
    let is_good = |stored: Stored| stored.is_strong() || stored.is_for_scram();
    !Stored::read(&Scheme::Auto, stored, b"").is_ok_and(is_good)
}

#[cfg(test)]
mod tests;
